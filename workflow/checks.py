"""What a whole run needs, found out in its first seconds instead of after an hour."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from background import classifiers as classifier_training
from background import densities as density_estimation
from background.arrays import load_external_samples
from common.files import InputError
from data_handler import missing_files, read_config
from evaluation_utils import MIN_BACKGROUND
from events.regions import EventSource, FeatureShift
from models.arrays import pick_device
from models.classifier import NeuralNetworkClassifier
from models.flow import ConditionalNormalizingFlow

WITH_DENSITY_ESTIMATOR = ("CATHODE", "LaCATHODE", "ANODE")


def check_run(args: Namespace, save_dir: Path) -> None:
    """Check the configuration and the files that the mode of `run_all.py`'s arguments needs.

    Raises
    ------
    InputError
    """
    read_config(Path(args.DE_config_file), ConditionalNormalizingFlow, density_estimation.CONFIG_KEYS)
    read_config(Path(args.cf_config_file), NeuralNetworkClassifier, classifier_training.CONFIG_KEYS)
    pick_device(args.device)
    if args.mode != "CATHODE" and args.cf_external_samples:
        raise InputError("--cf_external_samples replaces the density estimator of the CATHODE mode, no other")
    if args.mode == "CWoLa" and not args.cf_SR_min < args.cf_SR_center < args.cf_SR_max:
        raise InputError(
            f"--cf_SR_center {args.cf_SR_center:g} lies outside the signal region, it cannot tell the two strips apart"
        )
    needed = (
        ["X_test", "preds_matris"] if args.cf_skip_train else ["X_train", "X_validation", "X_test"] if args.cf_skip_create else []
    )
    if needed and (args.mode != "ANODE" or args.cf_skip_train):
        if absent := missing_files(save_dir, needed):
            raise InputError(f"{save_dir / absent[0]}.npy: no such file, the stage that writes it cannot be skipped")
    else:
        shift = FeatureShift(args.datashift, args.random_shift)
        region = (args.cf_SR_min, args.cf_SR_max)
        check_events(args, EventSource(Path(args.data_dir), shift, args.seed, region, args.cf_separate_val_set))
        if args.DE_skip and args.mode in WITH_DENSITY_ESTIMATOR and not args.cf_external_samples:
            for name in (args.DE_file_name, f"{args.DE_file_name}_inner")[: 1 + (args.mode == "ANODE")]:
                density_estimation.best_model_paths(save_dir, name)


def check_events(args: Namespace, source: EventSource) -> None:
    """Whether the folder of separated events has what the mode needs.

    Raises
    ------
    InputError
    """
    test = source.test()
    labels = test[:, -1]
    if args.cf_external_samples:
        load_external_samples([Path(path) for path in args.cf_external_samples], test.shape[1] - 2, source.sr_range)
    if (labels == 1).sum() == 0 or (labels == 0).sum() < MIN_BACKGROUND:
        raise InputError(
            f"{args.data_dir}: the test events are {(labels == 1).sum()} signal and {(labels == 0).sum()} background, "
            f"a SIC needs signal and at least {MIN_BACKGROUND} background events"
        )
    if args.mode != "supervised" or not args.cf_extra_bkg:
        source.signal_region()
    if args.mode in WITH_DENSITY_ESTIMATOR and not args.DE_skip and not args.cf_external_samples:
        source.sideband()
    if args.mode == "CWoLa":
        source.strips()
    if args.mode in ("idealized_AD", "supervised") and args.cf_extra_bkg:
        source.extra_background()
    extra_signal = source.extra_signal() if args.mode == "supervised" or not args.no_extra_signal else None
    if args.mode == "supervised" and extra_signal is None:
        raise InputError(f"{args.data_dir}: no innerdata_extrasig*.npy with events, supervised training needs extra signal")
