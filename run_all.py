"""The whole analysis on separated events, in one of its modes: density estimator, classifier arrays, classifiers, figures.

The best performance (arXiv:2109.00546):

    python run_all.py --data_dir separated_data/ --mode CATHODE --cf_separate_val_set --no_extra_signal --cf_n_samples 400000 \\
        --cf_realistic_conditional --cf_oversampling --cf_no_logit --cf_use_class_weights --cf_save_model

What to compare it with:

    python run_all.py --data_dir separated_data/ --mode LaCATHODE --cf_separate_val_set --no_extra_signal --cf_use_class_weights \\
        --cf_save_model
    python run_all.py --data_dir separated_data/ --mode ANODE --no_extra_signal
    python run_all.py --data_dir separated_data/ --mode CWoLa --cf_separate_val_set --no_extra_signal --cf_oversampling \\
        --cf_no_logit --cf_use_class_weights --cf_save_model
    python run_all.py --data_dir separated_data/ --mode idealized_AD --cf_separate_val_set --no_extra_signal --cf_no_logit \\
        --cf_oversampling --cf_use_class_weights --cf_save_model --cf_extra_bkg
    python run_all.py --data_dir separated_data/ --mode supervised --cf_separate_val_set --no_extra_signal --cf_no_logit \\
        --cf_oversampling --cf_save_model --cf_extra_bkg

Everything is written into one folder; the last lines say the max SIC and where the figure is. STAGE.json there says what was read and
written: a stage whose flags, inputs and outputs are those of its record is not done again.
"""

from __future__ import annotations

import logging
import shutil
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import run_ANODE_evaluation as anode_evaluation
import run_ANODE_training as density
import run_classifier_data_creation as creation
import run_classifier_training as training
from common.script import RESUME, arguments, flag, pick, run_script, switch

if TYPE_CHECKING:
    from workflow.stages import Stage

logger = logging.getLogger(__name__)

MODES = ("CATHODE", "LaCATHODE", "ANODE", "CWoLa", "idealized_AD", "supervised")
SHARED = ("data_dir", "datashift", "random_shift", "seed", "device", "verbose")
# Flags of stage 3 and stage 4 that run_all takes under the prefix --cf_.
DENSITY = ("epochs", "batch_size", "patience", "no_logit")
CREATION = (
    "n_samples", "realistic_conditional", "KDE_bandwidth", "oversampling", "no_logit", "external_samples", "SR_min", "SR_max",
    "extra_bkg", "separate_val_set", "n_latent_epochs",
)  # fmt: skip
TRAINING = (
    "config_file",
    "epochs",
    "n_runs",
    "batch_size",
    "patience",
    "use_mjj",
    "use_class_weights",
    "SR_center",
    "save_model",
)

FLAGS = [
    flag("mode", choices=MODES, default="CATHODE", help="what plays the background, see README"),
    flag("save_dir", metavar="DIR", help="folder for everything that is written (default: MODE_results/)"),
    *pick(density.FLAGS, *SHARED),
    *pick(creation.FLAGS, "fiducial_cut", "no_extra_signal"),
    *pick(density.FLAGS, "config_file", *DENSITY, prefix="DE_"),
    flag("DE_file_name", **density.MODEL_FILE_NAME.settings),
    switch("DE_skip", "use the density estimator that is in --save_dir already"),
    *pick(creation.FLAGS, *CREATION, prefix="cf_"),
    *pick(training.FLAGS, *TRAINING, prefix="cf_"),
    switch("cf_skip_create", "use the classifier arrays that are in --save_dir already; no density estimator is needed then"),
    switch("cf_skip_train", "use the scores that are in --save_dir already: only evaluate"),
    RESUME,
    switch("force", "redo every stage, also those that are up to date"),
    switch("dry_run", "only say what every stage would read and write, and whether it is up to date or why not"),
]


def main(args: Namespace) -> None:
    """Check what can be checked at once, then do those stages of the mode that are not up to date, and evaluate."""
    from workflow.checks import check_run
    from workflow.records import locked
    from workflow.stages import check_skipped, choose_seed, describe, out_of_date, perform, recover

    save_dir = Path(args.save_dir or f"{args.mode}_results/")
    args.seed = choose_seed(args.seed, save_dir)
    stages = plan(args, save_dir)
    if args.dry_run:
        check_run(args, save_dir)
        sys.stdout.write(describe(stages, force=args.force, resume=args.resume))
        return
    with locked(save_dir):
        recover(save_dir)
        check_run(args, save_dir)
        for stage, is_skipped in stages:
            if is_skipped:
                check_skipped(stage)
                logger.info("%s: skipped", stage.name)
        for stage in (stage for stage, is_skipped in stages if not is_skipped):
            reason = "--force" if args.force else out_of_date(stage)
            if reason is None:
                logger.info("%s: up to date", stage.name)
                shutil.rmtree(stage.unfinished, ignore_errors=True)
            else:
                logger.info("%s: %s", stage.name, reason)
                perform(stage, resume=args.resume)
        perform(evaluation(args.mode, save_dir), resume=False)


def plan(args: Namespace, save_dir: Path) -> list[tuple[Stage, bool]]:
    """The stages of the mode, in order, and whether they are to be skipped; skipping one skips those before it."""
    shared = {name: getattr(args, name) for name in SHARED}
    region = {name: getattr(args, f"cf_{name}") for name in ("SR_min", "SR_max")}
    split = {"separate_val_set": args.cf_separate_val_set}
    estimator = {"config_file": args.DE_config_file, "model_file_name": args.DE_file_name, "savedir": str(save_dir)}
    trained = {name: getattr(args, f"DE_{name}") for name in DENSITY} | shared | region | split | estimator
    flows = [density.stage(arguments(density.FLAGS, **trained, inner_model=inner)) for inner in (False, True)]
    if args.mode == "ANODE":
        options = shared | region | estimator | {"no_extra_signal": args.no_extra_signal}
        ratios = anode_evaluation.stage(arguments(anode_evaluation.FLAGS, **options))
        return [*((flow, args.DE_skip or args.cf_skip_train) for flow in flows), (ratios, args.cf_skip_train)]
    skip_create = args.cf_skip_create or args.cf_skip_train
    chosen = {mode: args.mode == mode for mode in ("CWoLa", "supervised", "idealized_AD")} | {"latent": args.mode == "LaCATHODE"}
    options = {name: getattr(args, f"cf_{name}") for name in CREATION} | shared | estimator | chosen
    options |= {"no_logit_trained": args.DE_no_logit} | {
        name: getattr(args, name) for name in ("fiducial_cut", "no_extra_signal")
    }
    stages = [(creation.stage(arguments(creation.FLAGS, **options)), skip_create)]
    if args.mode in ("CATHODE", "LaCATHODE") and not args.cf_external_samples and not skip_create:
        stages.insert(0, (flows[0], args.DE_skip))
    options = {name: getattr(args, f"cf_{name}") for name in TRAINING} | split
    options |= {name: getattr(args, name) for name in ("seed", "device", "verbose", "no_extra_signal")}
    options |= {"data_dir": str(save_dir), "savedir": str(save_dir), "CWoLa": chosen["CWoLa"], "supervised": chosen["supervised"]}
    return [*stages, (training.stage(arguments(training.FLAGS, **options)), args.cf_skip_train)]


def evaluation(mode: str, save_dir: Path) -> Stage:
    """What is done in the end, always: it takes seconds, and its figures are what the user came for."""
    from evaluation_utils import OUTPUTS
    from workflow.stages import Stage

    def inputs() -> list[Path]:
        return [
            path
            for name in ("X_test", "X_sideband", "preds_matris*", "val_loss_matris")
            for path in sorted(save_dir.glob(f"{name}.npy"))
        ]

    return Stage("evaluation", save_dir, {"mode": mode}, inputs, OUTPUTS, lambda folder: evaluate(mode, save_dir, folder))


def evaluate(mode: str, save_dir: Path, figures_dir: Path) -> dict[str, Any]:
    """Draw ROC, SIC and the background's sculpting, and say how well the signal was found."""
    import numpy as np

    from common.files import InputError
    from evaluation_utils import full_single_evaluation, sculpting_of_run

    figure = "result_SIC.png"
    result = full_single_evaluation(save_dir, save_dir, savefig=figures_dir / figure, return_all=True, label=mode)
    best = result.max_sic
    logger.info("%s: AUC %.3f, tested on %d signal and %d background events", mode, result.auc.mean(), result.n_signal,
                result.n_background)  # fmt: skip
    logger.info("%s: max SIC %.2f at ε_S = %.3f, ε_B = %.2e (median over runs: %d, statistical error of ε_B at most 20 %%)",
                mode, best.value, best.tpr, best.fpr, len(result.auc))  # fmt: skip
    logger.info("figure: %s", save_dir / figure)
    results = {"max_sic": float(best.value), "tpr": float(best.tpr), "fpr": float(best.fpr), "auc": result.auc.tolist()}
    if (save_dir / "preds_matris_sideband.npy").is_file():
        try:
            cuts = sculpting_of_run(save_dir, save_dir, figures_dir / "sculpting.png", mode)
        except InputError as error:
            logger.warning("no figure of background sculpting: %s", error)
            return results
        for cut in cuts:
            logger.info("%s: sculpting by the most anomalous %g %% of the background: χ²/ndf %.2f, p = %.2g (medians over runs)",
                        mode, 100 * cut.share, cut.chi2_per_ndf, np.median(cut.p_value))  # fmt: skip
        results["sculpting_chi2_per_ndf"] = {f"{cut.share:g}": float(cut.chi2_per_ndf) for cut in cuts}
    return results


if __name__ == "__main__":
    run_script(main, __doc__, FLAGS)
