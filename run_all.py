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

Everything is written into one folder; the last lines say the max SIC and where the figure is.
"""

from __future__ import annotations

import logging
from argparse import Namespace
from pathlib import Path

import run_ANODE_evaluation as anode_evaluation
import run_ANODE_training as density
import run_classifier_data_creation as creation
import run_classifier_training as training
from command_line import arguments, flag, pick, run_script, switch

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
]


def main(args: Namespace) -> None:
    """Check what can be checked at once, then run the mode's stages and evaluate."""
    from run_checks import check_run

    save_dir = Path(args.save_dir or f"{args.mode}_results/")
    stages = plan(args, save_dir)
    check_run(args, save_dir)
    for stage, stage_args in stages:
        logger.info("%s", stage.__name__)
        stage.main(stage_args)
    evaluate(args.mode, save_dir)


def plan(args: Namespace, save_dir: Path) -> list[tuple[object, Namespace]]:
    """The stages of the mode with their arguments, in order; skipping a stage skips those before it."""
    shared = {name: getattr(args, name) for name in SHARED}
    region = {name: getattr(args, f"cf_{name}") for name in ("SR_min", "SR_max")}
    split = {"separate_val_set": args.cf_separate_val_set}
    estimator = {"config_file": args.DE_config_file, "model_file_name": args.DE_file_name, "savedir": str(save_dir)}
    if args.mode == "ANODE":
        if args.cf_skip_train:
            return []
        stages = density_stages(args, (False, True), shared | region | split | estimator)
        options = shared | region | estimator | {"no_extra_signal": args.no_extra_signal}
        return [*stages, (anode_evaluation, arguments(anode_evaluation.FLAGS, **options))]
    stages = []
    skip_create = args.cf_skip_create or args.cf_skip_train
    if args.mode in ("CATHODE", "LaCATHODE") and not skip_create and not args.cf_external_samples:
        stages += density_stages(args, (False,), shared | region | split | estimator)
    chosen = {f"{mode}": args.mode == mode for mode in ("CWoLa", "supervised", "idealized_AD")} | {
        "latent": args.mode == "LaCATHODE"
    }
    if not skip_create:
        options = {name: getattr(args, f"cf_{name}") for name in CREATION} | shared | estimator | chosen
        options |= {"no_logit_trained": args.DE_no_logit}
        options |= {name: getattr(args, name) for name in ("fiducial_cut", "no_extra_signal")}
        stages.append((creation, arguments(creation.FLAGS, **options)))
    if not args.cf_skip_train:
        options = {name: getattr(args, f"cf_{name}") for name in TRAINING} | split
        options |= {name: getattr(args, name) for name in ("seed", "device", "verbose", "no_extra_signal")}
        options |= {"data_dir": str(save_dir), "savedir": str(save_dir)}
        stages.append((training, arguments(training.FLAGS, **options, CWoLa=chosen["CWoLa"], supervised=chosen["supervised"])))
    return stages


def density_stages(args: Namespace, inner: tuple[bool, ...], options: dict) -> list[tuple[object, Namespace]]:
    """Stage 2 for the sideband and, where `inner` holds True, for the signal region."""
    if args.DE_skip:
        return []
    trained = {name: getattr(args, f"DE_{name}") for name in DENSITY}
    return [(density, arguments(density.FLAGS, **options, **trained, inner_model=value)) for value in inner]


def evaluate(mode: str, save_dir: Path) -> None:
    """Draw ROC, SIC and the background's sculpting, and say how well the signal was found."""
    import numpy as np

    from evaluation_utils import full_single_evaluation, sculpting_of_run
    from models.persistence import InputError

    figure = save_dir / "result_SIC.png"
    evaluation = full_single_evaluation(save_dir, save_dir, savefig=figure, return_all=True, label=mode)
    best = evaluation.max_sic
    logger.info("%s: AUC %.3f, tested on %d signal and %d background events", mode, evaluation.auc.mean(), evaluation.n_signal,
                evaluation.n_background)  # fmt: skip
    logger.info("%s: max SIC %.2f at ε_S = %.3f, ε_B = %.2e (median over runs: %d, statistical error of ε_B at most 20 %%)",
                mode, best.value, best.tpr, best.fpr, len(evaluation.auc))  # fmt: skip
    logger.info("figure: %s", figure)
    if (save_dir / "preds_matris_sideband.npy").is_file():
        try:
            cuts = sculpting_of_run(save_dir, save_dir, save_dir / "sculpting.png", mode)
        except InputError as error:
            logger.warning("no figure of background sculpting: %s", error)
            return
        for cut in cuts:
            logger.info("%s: sculpting by the most anomalous %g %% of the background: χ²/ndf %.2f, p = %.2g (medians over runs)",
                        mode, 100 * cut.share, cut.chi2_per_ndf, np.median(cut.p_value))  # fmt: skip


if __name__ == "__main__":
    run_script(main, __doc__, FLAGS)
