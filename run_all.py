"""The whole analysis on separated events, in one of its modes: density estimator, classifier arrays, classifiers, figures.

The best performance (arXiv:2109.00546 with the boosted trees of arXiv:2309.13111; without --cf_model hgb, networks as published):

    python run_all.py --data_dir separated_data/ --mode CATHODE --preset paper --cf_model hgb

What to compare it with; --cf_model hgb may be added to all but ANODE, and is better in all but LaCATHODE:

    python run_all.py --data_dir separated_data/ --mode LaCATHODE --preset paper
    python run_all.py --data_dir separated_data/ --mode ANODE --preset paper
    python run_all.py --data_dir separated_data/ --mode CWoLa --preset paper
    python run_all.py --data_dir separated_data/ --mode idealized_AD --preset paper
    python run_all.py --data_dir separated_data/ --mode supervised --preset paper

--preset paper stands for the flags of the mode that docs/running.md lists. A flag that is given beside it counts; one that is to be off
is followed by false: --preset paper --cf_oversampling false.

Everything is written into one folder; the last lines say the max SIC of every run, and where report.html is. STAGE.json there says what
was read and written: a stage whose flags, inputs and outputs are those of its record is not done again.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import run_ANODE_evaluation as anode_evaluation
import run_ANODE_training as density
import run_classifier_data_creation as creation
import run_classifier_training as training
from background.options import PresetOptions
from common.options import ReportOptions, ResumableOptions, chained, not_negative, option
from common.script import run_script

if TYPE_CHECKING:
    from workflow.plan import Step
    from workflow.stage import Stage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options(PresetOptions, ResumableOptions, ReportOptions):
    """Options of a whole run: those of its stages, and which of them are done."""

    density: density.Options = chained("DE_")
    arrays: creation.Options = chained("cf_")
    classifiers: training.Options = chained("cf_")
    likelihood: anode_evaluation.Options = chained("cf_")

    save_dir: Path | None = option(
        None, "folder for everything that is written", metavar="DIR", default_text="MODE_results", recorded=False
    )
    DE_seed: int | None = option(None, "random seed of the density estimator", check=not_negative, default_text="that of --seed")
    cf_seed: int | None = option(
        None, "random seed of the classifier and its arrays", check=not_negative, default_text="that of --seed"
    )
    DE_skip: bool = option(False, "use the density estimator that is in the folder already; --DE_dir implies it")
    cf_skip_create: bool = option(
        False, "use the classifier arrays that are in --save_dir already; no density estimator is needed then"
    )
    cf_skip_train: bool = option(False, "use the scores that are in --save_dir already: only evaluate")
    force: bool = option(False, "redo every stage, also those that are up to date, and replace results of other events")
    dry_run: bool = option(
        False, "only say what every stage would read and write, and whether it is up to date or why not", recorded=False
    )

    @classmethod
    def further_defaults(cls, values: Mapping[str, Any]) -> Mapping[str, Any]:
        from background.registry import MODES

        return {} if values["preset"] is None else MODES.get(values["mode"]).presets[values["preset"]]


def main(options: Options) -> None:
    """Check what can be checked at once, then do those stages of the mode that are not up to date, and evaluate."""
    from common.logfile import logged
    from reports.write import try_report
    from workflow.checks import check_results_are_of
    from workflow.plan import describe, do_steps
    from workflow.records import A_RUN, check_own_folder, locked, warnings_of
    from workflow.stage import perform, recover

    save_dir = options.save_dir or Path(f"{options.arrays.mode}_results")
    check_own_folder(save_dir, A_RUN)
    options = in_folder(options, save_dir)
    steps = plan(options)
    if not options.force:
        check_results_are_of(options.arrays.data_dir, [step.stage for step in steps if not step.is_skipped])
    if options.dry_run:
        check(options)
        sys.stdout.write(describe(steps, force=options.force, resume=options.resume))
        return
    with locked(save_dir):
        recover(save_dir)
        check(options)
        with logged(save_dir):
            of_events = [("separation", text) for text in warnings_of(options.arrays.data_dir, "separation")]
            do_steps(steps, force=options.force, resume=options.resume)
            of_steps = [(step.stage.name, text) for step in steps for text in warnings_of(step.stage.folder, step.stage.name)]
            for name, text in (*of_events, *of_steps):
                logger.warning("once more, from %s: %s", name, text)
            perform(evaluation(options, save_dir), resume=False)
            if not options.no_report:
                try_report(save_dir)


def in_folder(options: Options, save_dir: Path) -> Options:
    """The options with every stage's folders and seed."""
    from workflow.stage import choose_seed, recorded_seed

    seed = choose_seed(options.seed, save_dir)

    def of_stages(given: int | None, *names: str) -> int:
        wanted = given if given is not None else options.seed if options.seed is not None else recorded_seed(save_dir, *names)
        return seed if wanted is None else wanted

    weighted = options.classifiers.use_class_weights
    if not weighted and _is_oversampled(options.arrays):
        weighted = True
        logger.info("%s: data and background are weighted so that both count the same", options.arrays.flag("oversampling"))
    density_seed, seeds = of_stages(options.DE_seed, "density"), {"seed": of_stages(options.cf_seed, "classifier", "likelihood")}
    return replace(
        options,
        seed=seed,
        density=replace(options.density, savedir=options.arrays.DE_dir or save_dir, seed=density_seed),
        arrays=replace(options.arrays, savedir=save_dir, **seeds),
        classifiers=replace(options.classifiers, data_dir=save_dir, savedir=save_dir, use_class_weights=weighted, **seeds),
        likelihood=replace(options.likelihood, savedir=save_dir, **seeds),
    )


def _is_oversampled(options: creation.Options) -> bool:
    """Whether there is more background than data, which class weights then make up for."""
    from background.registry import MODES

    return options.oversampling and "oversampling" in getattr(MODES.get(options.mode), "uses", ())


def plan(options: Options) -> list[Step]:
    """The stages of the mode, in order, and whether they are skipped; skipping one skips those before it."""
    from background.registry import MODES
    from workflow.plan import Step

    mode = MODES.get(options.arrays.mode)
    skip_train, skip_create = options.cf_skip_train, options.cf_skip_create or options.cf_skip_train
    if mode.has_classifier:
        arrays, scores = creation.stage(options.arrays), training.stage(options.classifiers)
        last = [Step(arrays, skip_create), Step(scores, skip_train)]
    else:
        last = [Step(anode_evaluation.stage(options.likelihood), skip_train)]
    if mode.has_classifier and skip_create:
        return last
    skip_density = options.DE_skip or options.arrays.DE_dir is not None or skip_train
    regions, n_folds = mode.densities_for(options.arrays), options.arrays.with_folds().k_folds if mode.has_classifier else 0
    with_folds = replace(options.density, k_folds=n_folds)
    flows = [density.stage(replace(with_folds, inner_model=region == "signal_region")) for region in regions]
    if options.density.closure and not skip_density and regions:
        flows.insert(0, density.closure_stage(options.density))
    return [*(Step(flow, skip_density) for flow in flows), *last]


def evaluation(options: Options, save_dir: Path) -> Stage:
    """What follows the stages of the mode."""
    from workflow.evaluation import evaluation_stage

    return evaluation_stage(save_dir, options.arrays.mode, options.figures, options.preset)


def check(options: Options) -> None:
    """Refuse at once what would end the run later.

    Raises
    ------
    InputError
    """
    from background.registry import MODES
    from models.arrays import pick_device
    from workflow.checks import check_events, check_there, scores_all_data

    pick_device(options.device)
    mode, arrays = MODES.get(options.arrays.mode), options.arrays.with_folds()
    if not mode.has_classifier:
        arrays = replace(arrays, k_folds=0)
    mode.check_options(arrays)
    if mode.has_classifier:
        mode.check_weights(options.classifiers, arrays.window)
    elif unused := flags_of_classifiers(options):
        logger.info("%s: of no use in the %s mode, which has no classifier", ", ".join(unused), mode.name)
    if options.density.closure and not any(step.stage.name.startswith("closure") for step in plan(options)):
        text = "no closure test, which %s asks for: this run trains no density estimator"
        logger.warning(text, options.density.flag("closure"))
    if options.cf_skip_train:
        of_all = scores_all_data(mode, arrays) or (arrays.savedir / "scores.npy").is_file()  # the events may be gone
        check_there(arrays.savedir, ("scores",) if of_all else ("X_test", "preds_matris"))
    elif options.cf_skip_create and mode.has_classifier:
        first = "fold_0/" if arrays.k_folds else ""
        check_there(arrays.savedir, [f"{first}{name}" for name in ("X_train", "X_validation", "X_test")])
    else:
        check_events(mode, arrays, density_is_trained=options.DE_skip or arrays.DE_dir is not None)


def flags_of_classifiers(options: Options) -> list[str]:
    """The flags that were given and that only stages 3 and 4 have."""
    used = {part.flag(f.name) for part in (options.density, options.likelihood) for f in fields(part) if "help" in f.metadata}
    used -= {options.density.flag("k_folds")}  # without classifiers there are none
    flags = {
        part.flag(f.name): None
        for part in (options.arrays, options.classifiers)
        for f in fields(part)
        if f.metadata.get("recorded") and getattr(part, f.name) != f.default
    }
    return [flag for flag in flags if flag not in used and flag not in ("--mode", "--seed")]


if __name__ == "__main__":
    run_script(main, __doc__, Options)
