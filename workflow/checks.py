"""What a whole run needs, found out in its first seconds instead of after an hour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from background.densities import stored_densities
from background.mode import Mode
from background.options import USUAL_FOLDS, ArraysOptions
from common.errors import InputError
from common.files import array_shape, missing_files
from evaluation.curves import MIN_BACKGROUND
from events.regions import EventSource, has_labels
from workflow.records import fingerprints, read_records
from workflow.stage import Stage

_OTHER_KIND = {
    True: "; the density estimator there is one for all events, not one for every fold",
    False: "; the density estimators there are those of folds",
}


def check_there(folder: Path, names: Sequence[str]) -> None:
    """Refuse to skip a stage whose arrays are absent.

    Raises
    ------
    InputError
    """
    if absent := missing_files(folder, names):
        raise InputError(f"{folder / absent[0]}.npy: no such file, the stage that writes it cannot be skipped")


def check_results_are_of(data_dir: Path, stages: Sequence[Stage]) -> None:
    """Refuse to replace finished results of other events, as far as STAGE.json says. Those of this folder may have changed.

    Raises
    ------
    InputError
    """
    for stage in stages:
        record = read_records(stage.folder).get(stage.name)
        if record is None or "read_from" not in record or str(data_dir.resolve()) in record["read_from"]:
            continue
        events = [path for path in stage.inputs() if path.parent.resolve() == data_dir.resolve() and path.is_file()]
        wanted = fingerprints(events, stage.folder)
        if any(record["inputs"].get(name, kept) != kept for name, kept in wanted.items()):
            others = ", ".join(record["read_from"])
            raise InputError(
                f"{stage.folder}: holds finished results of the events in {others}; those in {data_dir.resolve()} are others: "
                "another --save_dir keeps both, --force replaces them"
            )


def scores_all_data(mode: Mode, options: ArraysOptions) -> bool:
    """Whether a run scores all data instead of test events: in folds, and ANODE of events without labels."""
    return bool(options.k_folds) or not (mode.has_classifier or has_labels(options.data_dir))


def check_events(mode: Mode, options: ArraysOptions, *, density_is_trained: bool) -> None:
    """Refuse a folder of separated events that lacks what the mode needs, or a density estimator that is absent.

    Parameters
    ----------
    density_is_trained : bool
        Whether the density estimators that the mode needs are there already.

    Raises
    ------
    InputError
    """
    if not options.data_dir.is_dir():
        raise InputError(f"{options.data_dir}: no such folder")
    source, labelled = EventSource(options), has_labels(options.data_dir)
    if mode.needs_labels and not labelled:
        raise InputError(f"{options.data_dir}: the events have no labels, which the {mode.name} mode needs")
    if scores_all_data(mode, options):
        source.all_data()
    else:
        if not labelled and array_shape(options.data_dir / "innerdata_test.npy")[:1] == (0,):
            raise InputError(
                f"{options.data_dir}: innerdata_test.npy is empty, and there are no folds to score the data themselves in: "
                f"leave out {options.flag('k_folds')} 0, or give stage 1 a --SR_test_fraction"
            )
        labels = source.test().label
        n_signal, n_background = int((labels == 1).sum()), int((labels == 0).sum())
        if labelled and (n_signal == 0 or n_background < MIN_BACKGROUND):
            raise InputError(
                f"{options.data_dir}: the test events are {n_signal} signal and {n_background} background, "
                f"a SIC needs signal and at least {MIN_BACKGROUND} background events; "
                f"{options.flag('k_folds')} {USUAL_FOLDS} tests on the data themselves"
            )
    mode.check(source, options)
    if not options.no_extra_signal:
        source.extra_signal()
    regions = mode.densities_for(options)
    if density_is_trained:
        for path in (path for each in stored_densities(options, *regions) for path in each.files()):
            if not path.is_file():
                others = stored_densities(replace(options, k_folds=0 if options.k_folds else USUAL_FOLDS), *regions)
                has_others = others[0].preprocessing_file.is_file()
                raise InputError(f"{path}: no such file{_OTHER_KIND[bool(options.k_folds)] if has_others else ''}")
    elif options.k_folds and regions:
        source.sideband_for_fold(0, options.k_folds)
    else:
        for region in regions:
            source.sideband() if region == "sideband" else source.signal_region(separate_val_set=options.separate_val_set)
