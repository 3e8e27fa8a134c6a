"""The search: is there a bump in the mass spectrum of anomalous events? From separated events to local and global significance.

One window, the signal region of stage 1, with 5 folds:

    python run_bump_hunt.py --data_dir separated_data/ --mode CATHODE --cf_n_samples 400000 --cf_realistic_conditional \\
        --cf_oversampling --cf_no_logit --cf_model hgb

Six windows:

    python run_bump_hunt.py --data_dir separated_data/ --mode CATHODE --scan_min 3.2 --scan_max 5.0 --n_windows 6 \\
        --cf_n_samples 400000 --cf_realistic_conditional --cf_oversampling --cf_no_logit --cf_model hgb

What would be found of a known signal:

    python run_bump_hunt.py --data_dir separated_data/ --mode CWoLa --inject 0 0.002 0.004 0.006 --cf_oversampling --cf_no_logit \\
        --cf_model hgb

For every window the sideband is separated anew from data.npy, the mode is run in folds, events are selected by their background
efficiency, and the background in the window is what a fit of the sideband's spectrum says. Every window has a folder of its own; what is
up to date there is not done again. bump_hunt.json and .csv hold the results, report.html shows them.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import run_all
import run_ANODE_evaluation as anode_evaluation
import run_ANODE_training as density
import run_classifier_data_creation as creation
import run_classifier_training as training
from background.options import USUAL_FOLDS
from background.registry import MODES
from common.errors import InputError
from common.options import ReportOptions, chained, option
from common.script import run_script
from search.options import SearchOptions

if TYPE_CHECKING:
    from workflow.plan import Step
    from workflow.search import Hunt

SEARCHED = ("CATHODE", "LaCATHODE", "CWoLa")


@dataclass(frozen=True, kw_only=True)
class Options(SearchOptions, ReportOptions):
    """Options of a search, and of the stages that score the events of every window."""

    density: density.Options = chained("DE_")
    arrays: creation.Options = chained("cf_")
    classifiers: training.Options = chained("cf_")

    save_dir: Path | None = option(
        None, "folder for everything that is written", metavar="DIR", default_text="MODE_search", recorded=False
    )
    force: bool = option(False, "redo every stage, also those that are up to date", recorded=False)
    dry_run: bool = option(
        False, "only say what every stage would read and write, and whether it is up to date or why not", recorded=False
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.arrays.mode not in SEARCHED:
            raise InputError(f"{self.arrays.flag('mode')} {self.arrays.mode}: a search needs one of {', '.join(SEARCHED)}")
        if MODES.get(self.arrays.mode).needs_systematic and not any(self.systematic):
            raise InputError(
                f"{self.flag('systematic')}: {self.arrays.mode} needs a systematic error, because what its flow gets wrong in the window "
                "looks like a signal; docs/search.md has measured ones"
            )
        if self.arrays.k_folds == 0:
            raise InputError(
                f"{self.arrays.flag('k_folds')} 0: a search needs folds, so that no event is scored by what has seen it"
            )
        if self.is_scan and (self.arrays.SR_min, self.arrays.SR_max) != (None, None):
            raise InputError(f"{self.arrays.flag('SR_min')} and {self.arrays.flag('SR_max')} are of one window, not of a scan")


def main(options: Options) -> None:
    """Check what can be checked at once, then search: once, or for every amount of injected signal."""
    from common.logfile import logged
    from reports.write import try_report
    from workflow.plan import Step, do_steps
    from workflow.records import RECORD, locked
    from workflow.search import curve_stage
    from workflow.stage import recorded_seed, seeded

    save_dir = options.save_dir or Path(f"{options.arrays.mode}_search")
    begun = (save_dir, *sorted(save_dir.glob("**/window_*/separated_data")))  # records seeds before all is done
    options = seeded(options, next((folder for folder in begun if recorded_seed(folder) is not None), save_dir))
    hunts = searches(options, save_dir)
    if options.dry_run:
        sys.stdout.write("".join(hunt.describe(force=options.force) for hunt in hunts))
        return
    with locked(save_dir), logged(save_dir):
        for hunt in hunts:
            with nullcontext() if hunt.folder == save_dir else locked(hunt.folder):
                hunt.do(force=options.force)
        if len(hunts) > 1:
            folders = {hunt.s_over_b: hunt.folder for hunt in hunts}
            step = Step(curve_stage(options, save_dir, folders, hunts[0].window))
            do_steps([step], force=options.force, resume=False)
        for folder in () if options.no_report else dict.fromkeys((*(hunt.folder for hunt in hunts), save_dir)):
            if (folder / RECORD).is_file():
                try_report(folder)


def searches(options: Options, save_dir: Path) -> list[Hunt]:
    """A search for every amount of injected signal; what can be checked at once is checked.

    Raises
    ------
    InputError
    """
    from events.regions import EventSource
    from events.window import Window
    from workflow.records import A_SEARCH, check_own_folder, read_records
    from workflow.search import Hunt

    data_dir, given = options.arrays.data_dir, (options.arrays.SR_min, options.arrays.SR_max)
    if not data_dir.is_dir():
        raise InputError(f"{data_dir}: no such folder")
    if save_dir.resolve() == data_dir.resolve():
        raise InputError(f"{save_dir}: the separated events are there; the results need a folder of their own")
    source = EventSource(replace(options.arrays, SR_min=None, SR_max=None))
    source.all_data()
    run_all.check(run_in(options, data_dir, save_dir, None))
    stored = source.window
    window = Window(*(edge if value is None else value for value, edge in zip(given, stored.edges, strict=True)), stored.resonant)
    if window.low >= window.high:
        raise InputError(f"a signal region from {window.low:g} to {window.high:g}: what is not given is the edge of stage 1")
    if window.low <= 0:
        raise InputError(f"a signal region from {window.low:g} to {window.high:g}: a search needs one above 0")
    amounts = options.inject or (0.0,)
    folders = {x: save_dir / f"injected_{x:g}" if len(amounts) > 1 else save_dir for x in amounts}
    for folder in (save_dir, *folders.values()):
        check_own_folder(folder, A_SEARCH)
    other = "bump_hunt" if len(amounts) > 1 else "injection_curve"
    if other in read_records(save_dir):
        several = "one search" if len(amounts) > 1 else "several searches with injected signal"
        raise InputError(f"{save_dir}: holds results of {several}; these need another --save_dir")

    def steps_of(events: Path, folder: Path) -> list[Step]:
        shared = options.arrays.DE_dir
        run = run_in(options, events, folder, None if shared is None else shared / folder.relative_to(save_dir))
        run_all.check(run)
        return run_all.plan(run)

    hunts = [Hunt(options, data_dir, folder, window, x, steps_of) for x, folder in folders.items()]
    for place in [hunt.folder_of(each) for hunt in hunts for each in hunt.windows[0]]:
        if options.arrays.DE_dir is not None and not (shared := options.arrays.DE_dir / place.relative_to(save_dir)).is_dir():
            raise InputError(f"{shared}: no such folder, whose density estimator is to be used")
    return hunts


def run_in(options: Options, events: Path, folder: Path, shared: Path | None) -> run_all.Options:
    """A run of the mode: these separated events, into this folder, with a density estimator of its own or one that is shared."""
    region = {"data_dir": events, "SR_min": None, "SR_max": None}
    run = run_all.Options(
        density=replace(options.density, **region),
        arrays=replace(options.arrays, **region, DE_dir=shared, k_folds=options.arrays.k_folds or USUAL_FOLDS),
        classifiers=options.classifiers,
        likelihood=anode_evaluation.Options(),
        seed=options.seed,
        save_dir=folder,
        resume=options.resume,
        device=options.device,
        threads=options.threads,
    )
    return run_all.in_folder(run, folder)


if __name__ == "__main__":
    run_script(main, __doc__, Options)
