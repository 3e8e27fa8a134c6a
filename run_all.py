"""The whole analysis on separated events, in one of its modes: density estimator, classifier arrays, classifiers, figures.

The best performance (arXiv:2109.00546):

    python run_all.py --data_dir separated_data/ --mode CATHODE --cf_separate_val_set --no_extra_signal --cf_n_samples 400000 \\
        --cf_realistic_conditional --cf_oversampling --cf_no_logit --cf_use_class_weights --cf_save_model

What to compare it with:

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

MODES = ("CATHODE", "ANODE", "CWoLa", "idealized_AD", "supervised")
WITH_DENSITY_ESTIMATOR = ("CATHODE", "ANODE")
SHARED = ("data_dir", "datashift", "random_shift", "seed", "device", "verbose")
# Flags of stage 3 and stage 4 that run_all takes under the prefix --cf_.
CREATION = (
    "n_samples", "realistic_conditional", "KDE_bandwidth", "oversampling", "no_logit", "external_samples", "SR_min", "SR_max",
    "extra_bkg", "separate_val_set",
)  # fmt: skip
TRAINING = ("config_file", "epochs", "n_runs", "batch_size", "use_mjj", "use_class_weights", "SR_center", "save_model")

FLAGS = [
    flag("mode", choices=MODES, default="CATHODE", help="what plays the background, see README"),
    flag("save_dir", metavar="DIR", help="folder for everything that is written (default: MODE_results/)"),
    *pick(density.FLAGS, *SHARED),
    *pick(creation.FLAGS, "fiducial_cut", "no_extra_signal"),
    *pick(density.FLAGS, "config_file", "epochs", "batch_size", "no_logit", prefix="DE_"),
    flag("DE_file_name", **density.MODEL_FILE_NAME.settings),
    switch("DE_skip", "use the density estimator that is in --save_dir already"),
    *pick(creation.FLAGS, *CREATION, prefix="cf_"),
    *pick(training.FLAGS, *TRAINING, prefix="cf_"),
    switch("cf_skip_create", "use the classifier arrays that are in --save_dir already"),
    switch("cf_skip_train", "use the scores that are in --save_dir already: only evaluate"),
]


def main(args: Namespace) -> None:
    """Check what can be checked at once, then run the mode's stages and evaluate."""
    save_dir = Path(args.save_dir or f"{args.mode}_results/")
    stages = plan(args, save_dir)
    check_inputs(args, save_dir)
    for stage, stage_args in stages:
        logger.info("%s", stage.__name__)
        stage.main(stage_args)
    evaluate(args.mode, save_dir)


def plan(args: Namespace, save_dir: Path) -> list[tuple[object, Namespace]]:
    """The stages of the mode with their arguments, in order."""
    shared = {name: getattr(args, name) for name in SHARED}
    region = {name: getattr(args, f"cf_{name}") for name in ("SR_min", "SR_max", "separate_val_set")}
    estimator = {"config_file": args.DE_config_file, "model_file_name": args.DE_file_name, "savedir": str(save_dir)}
    stages: list[tuple[object, Namespace]] = []
    if args.mode in WITH_DENSITY_ESTIMATOR and not args.DE_skip and not args.cf_external_samples:
        trained = {name: getattr(args, f"DE_{name}") for name in ("epochs", "batch_size", "no_logit")}
        for inner in (False, True) if args.mode == "ANODE" else (False,):
            stages.append((density, arguments(density.FLAGS, **shared, **region, **estimator, **trained, inner_model=inner)))
    if args.mode == "ANODE":
        region.pop("separate_val_set")
        stages.append(
            (
                anode_evaluation,
                arguments(anode_evaluation.FLAGS, **shared, **region, **estimator, no_extra_signal=args.no_extra_signal),
            )
        )
        return stages
    if not args.cf_skip_create:
        created = {name: getattr(args, f"cf_{name}") for name in CREATION}
        stages.append((creation, arguments(
            creation.FLAGS, **shared, **estimator, **created, no_logit_trained=args.DE_no_logit, fiducial_cut=args.fiducial_cut,
            no_extra_signal=args.no_extra_signal, CWoLa=args.mode == "CWoLa", supervised=args.mode == "supervised",
            idealized_AD=args.mode == "idealized_AD",
        )))  # fmt: skip
    if not args.cf_skip_train:
        trained = {name: getattr(args, f"cf_{name}") for name in TRAINING}
        shared |= {"data_dir": str(save_dir)}
        stages.append((training, arguments(
            training.FLAGS, **{name: shared[name] for name in ("data_dir", "seed", "device", "verbose")}, **trained,
            separate_val_set=args.cf_separate_val_set, no_extra_signal=args.no_extra_signal, savedir=str(save_dir),
            CWoLa=args.mode == "CWoLa", supervised=args.mode == "supervised",
        )))  # fmt: skip
    return stages


def check_inputs(args: Namespace, save_dir: Path) -> None:
    """Find out in the first second what would otherwise fail after an hour: configuration, the mode's files, the folder.

    Raises
    ------
    InputError
    """
    import classifier_training
    import density_estimation
    from data_handler import FeatureShift, read_config, writable_folder
    from event_source import EventSource
    from models.classifier import NeuralNetworkClassifier
    from models.flow import ConditionalNormalizingFlow
    from models.persistence import InputError

    read_config(Path(args.DE_config_file), ConditionalNormalizingFlow, density_estimation.CONFIG_KEYS)
    read_config(Path(args.cf_config_file), NeuralNetworkClassifier, classifier_training.CONFIG_KEYS)
    shift = FeatureShift(args.datashift, args.random_shift)
    source = EventSource(Path(args.data_dir), shift, args.seed, (args.cf_SR_min, args.cf_SR_max), args.cf_separate_val_set)
    if not (args.cf_skip_create and args.mode != "ANODE"):
        source.test()
        if args.mode != "supervised" or not args.cf_extra_bkg:
            source.signal_region()
        if args.mode in ("CATHODE", "ANODE") and not args.DE_skip and not args.cf_external_samples:
            source.sideband()
        if args.mode == "CWoLa":
            source.strips()
        if args.mode in ("idealized_AD", "supervised") and args.cf_extra_bkg:
            source.extra_background()
        if args.mode == "supervised" and source.extra_signal() is None:
            raise InputError(f"{args.data_dir}: no innerdata_extrasig*.npy with events, supervised training needs extra signal")
    if args.DE_skip and args.mode in WITH_DENSITY_ESTIMATOR and not args.cf_skip_create:
        density_estimation.best_model_paths(save_dir, args.DE_file_name)
    writable_folder(save_dir)


def evaluate(mode: str, save_dir: Path) -> None:
    """Draw ROC and SIC, and say how well the signal was found."""
    from evaluation_utils import full_single_evaluation

    figure = save_dir / "result_SIC.png"
    evaluation = full_single_evaluation(save_dir, save_dir, savefig=figure, return_all=True)
    best = evaluation.max_sic
    logger.info("%s: AUC %.3f, tested on %d signal and %d background events", mode, evaluation.auc.mean(), evaluation.n_signal,
                evaluation.n_background)  # fmt: skip
    logger.info("%s: max SIC %.2f at ε_S = %.3f, ε_B = %.2e (median of %d runs, statistical error of ε_B at most 20 %%)",
                mode, best.value, best.tpr, best.fpr, len(evaluation.auc))  # fmt: skip
    logger.info("figure: %s", figure)


if __name__ == "__main__":
    run_script(main, __doc__, FLAGS)
