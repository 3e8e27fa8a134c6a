"""ANODE's last stage: the SB flow and the SR flow -> likelihood ratios p_SR(x|m) / p_SB(x|m) of the test data (arXiv:2001.04990).

    python run_ANODE_training.py --savedir ANODE_results/
    python run_ANODE_training.py --savedir ANODE_results/ --inner_model
    python run_ANODE_evaluation.py --savedir ANODE_results/

Both are densities in the physical features, each mixed of its best epochs. Writes X_test.npy and
preds_matris.npy [1, 1, n_test], the ratios (and X_extrasig.npy, preds_matris_extrasig.npy), and sig_labels.npy [n_test], the labels.
Of events without labels it writes scores.npy instead: log ratios of all data in the signal region.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from background.options import DensityUseOptions
from common.options import option
from common.script import run_script
from events.options import ExtraSignalOptions

if TYPE_CHECKING:
    from events.regions import EventSource
    from models.density import FeatureDensity
    from workflow.stage import Stage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options(DensityUseOptions, ExtraSignalOptions):
    """Options of ANODE's last stage."""

    savedir: Path = option(Path("ANODE_results"), "folder for the ratios", metavar="DIR", chained_as=None, recorded=False)


def main(options: Options) -> None:
    """Load both flows and score the test data."""
    from workflow.stage import run_stage, seeded

    run_stage(stage(seeded(options, options.savedir)), resume=False)


def stage(options: Options) -> Stage:
    """ANODE's last stage with these options."""
    from background.anode import MODE
    from background.arrays import ARRAY_FILES, in_all_places
    from background.densities import density_name, load_densities, stored_densities
    from evaluation.folds import SCORES_FILE
    from evaluation.scores import ANODE_FILES, EVALUATION_FILES, SCORE_FILES
    from events.regions import ALL_DATA, EXTRA_SIGNAL, EXTRA_SIGNAL_IN_ONE, TEST_FILES, EventSource, has_labels
    from models.arrays import no_gpu
    from workflow.stage import Stage

    options = options.with_edges()
    labelled = has_labels(options.data_dir)

    def inputs() -> list[Path]:
        extra = () if options.no_extra_signal else (EXTRA_SIGNAL, EXTRA_SIGNAL_IN_ONE)
        trained = [path for each in stored_densities(options, *MODE.densities) for path in each.files()]
        return [*EventSource(options).paths(*((TEST_FILES, *extra) if labelled else (ALL_DATA,))), *trained]

    def work(folder: Path) -> dict[str, Any]:
        source = EventSource(options)
        densities = load_densities(options, source, *MODE.densities, no_gpu=no_gpu(options.device))
        source.columns.save(folder)
        return (_score_test_events if labelled else _score_all_data)(options, source, *densities, folder)

    return Stage(
        "likelihood_ratios",
        options.results_folder,
        options,
        inputs,
        in_all_places(*ARRAY_FILES, *SCORE_FILES, *ANODE_FILES, SCORES_FILE, *EVALUATION_FILES),
        work,
        must_match=("SR_min", "SR_max", "datashift", "random_shift"),
        after=tuple(f"density_estimator {density_name(options.model_file_name, region)}" for region in MODE.densities),
    )


def _score_test_events(
    options: Options, source: EventSource, outer: FeatureDensity, inner: FeatureDensity, folder: Path
) -> dict[str, Any]:
    """Write the ratios of the test events, and of the extra signal."""
    from background.anode import likelihood_ratio
    from common.files import save_arrays
    from events.view import DATA, Events

    extra_signal = None if options.no_extra_signal else source.extra_signal()
    tested = {"test": source.test()} | ({} if extra_signal is None else {"extrasig": Events.joined(*extra_signal)})
    counts = {}
    for name, events in tested.items():
        ratio, n_outside = likelihood_ratio(inner, outer, events, fiducial_cut=options.fiducial_cut)
        what = "the training range" + (" or the fiducial cut" if options.fiducial_cut else "")
        logger.info("%d of %d test events lie outside %s: their ratio counts as 0", n_outside, len(events), what)
        counts |= {f"events_{name}": len(events), f"outside_the_range_{name}": n_outside}
        array = Events.mix(events.m, events.x, DATA, events.label).array
        scores = f"preds_matris{'' if name == 'test' else '_extrasig'}"
        save_arrays(folder, {f"X_{name}": array, f"y_{name}": array[:, -2], scores: ratio[None, None]})
        if name == "test":
            save_arrays(folder, {"sig_labels": events.label})
    return counts


def _score_all_data(
    options: Options, source: EventSource, outer: FeatureDensity, inner: FeatureDensity, folder: Path
) -> dict[str, Any]:
    """Write scores.npy: log ratios of all data in the signal region, and what cuts on them select of the background."""
    import numpy as np

    from background.anode import held_out_background, scored_log_ratio
    from common.files import save_array
    from evaluation.folds import FILE, NO_FOLD, fill_in, unscored

    data, row = source.all_data()
    inside = np.flatnonzero(source.window.contains(data.m))
    held_out = held_out_background(outer, data.m[inside], source.window, source.rng("held-out background"))
    sets = (data[inside], held_out)
    ratios = [scored_log_ratio(inner, outer, events, fiducial_cut=options.fiducial_cut)[None] for events in sets]
    scores = unscored({"row": row, "m": data.m, "fold": NO_FOLD}, len(row), n_runs=1)
    fill_in(scores, inside, *ratios)
    save_array(folder / FILE, scores)
    save_array(folder / "preds_matris_held_out.npy", ratios[1][:, None])
    n_outside = int(np.isnan(ratios[0]).sum())
    text = "the SR flow has learned from the %d events that it scores: cuts find more than is expected, also without signal"
    logger.warning(text, len(inside))
    logger.info("%d of them lie outside the training range: no cut selects them", n_outside)
    return {"events": len(row), "scored": len(inside), "outside_the_range": n_outside}


if __name__ == "__main__":
    run_script(main, __doc__, Options)
