"""Stage 3: density estimator and signal-region data -> the classifier's arrays.

    python run_classifier_data_creation.py --savedir CATHODE_results/ --n_samples 400000 --realistic_conditional --oversampling --no_logit
    python run_classifier_data_creation.py --savedir CWoLa_results/ --CWoLa --oversampling --no_logit
    python run_classifier_data_creation.py --savedir LaCATHODE_results/ --latent
    python run_classifier_data_creation.py --savedir my_results/ --external_samples my_samples.npy --no_logit

Writes X_train, X_validation, X_test (and X_extrasig) .npy with the columns m_JJ (TeV), preprocessed features, data (1) or sample (0),
label (1 signal, 0 background, 5 sample), X_sideband of the test sideband among them; y_*.npy, the data/sample column; and
data_vs_samples.png. Further latent spaces are written in the same form into latent_1/, latent_2/ ...
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.script import (
    DATA_DIR,
    DATASHIFT,
    DEVICE,
    NO_EXTRA_SIGNAL,
    RANDOM_SHIFT,
    SEED,
    SEPARATE_VAL_SET,
    SR_MAX,
    SR_MIN,
    VERBOSE,
    flag,
    positive_float,
    positive_int,
    run_script,
    switch,
)
from run_ANODE_training import FLAGS as DENSITY_FLAGS
from run_ANODE_training import MODEL_FILE_NAME

if TYPE_CHECKING:
    from background.arrays import BackgroundSamples
    from events.regions import EventSource
    from workflow.stages import Stage

FLAGS = [
    flag(
        "ANODE_models",
        nargs="+",
        metavar="PATH",
        help="weights (.par) to sample from; default: the 10 epochs of lowest validation loss in --savedir",
    ),
    MODEL_FILE_NAME,
    flag(
        "n_samples", type=positive_int, default=130000, metavar="N", help="background events to sample, shared between the epochs"
    ),
    switch("realistic_conditional", "sample m_JJ from a kernel density estimate of the SR training masses instead of uniformly"),
    flag(
        "KDE_bandwidth",
        type=positive_float,
        default=0.01,
        metavar="X",
        help="width of its Gaussian kernel, in logit(m_JJ scaled to (0, 1))",
    ),
    switch("oversampling", "use all samples, split between training and validation as the data are; otherwise as many as data"),
    switch("no_logit", "standardize the classifier's inputs without a logit transformation first"),
    switch("no_logit_trained", "the density estimator was trained with --no_logit"),
    switch("fiducial_cut", "keep only events with every feature, scaled by its range to (0, 1), between 0.05 and 0.95"),
    flag(
        "external_samples",
        nargs="+",
        metavar="FILE",
        help="background samples made elsewhere (.npy; columns m_JJ in TeV, then the features)",
    ),
    switch("latent", "LaCATHODE: the data in the density estimator's latent space, the background N(0, 1), four times as many"),
    flag(
        "n_latent_epochs",
        type=positive_int,
        default=1,
        metavar="N",
        help="epochs of the density estimator used as latent spaces, of lowest validation loss; the scores are averaged",
    ),
    switch("CWoLa", "the background are the sideband strips of 0.2 TeV on both sides of the SR"),
    switch("supervised", "true signal against true background"),
    switch("idealized_AD", "the background is true SR background"),
    switch(
        "extra_bkg",
        "idealized_AD and supervised: take the background from innerdata_extrabkg_*.npy, not from the SR data themselves",
    ),
    NO_EXTRA_SIGNAL,
    SEPARATE_VAL_SET,
    SR_MIN,
    SR_MAX,
    DATASHIFT,
    RANDOM_SHIFT,
    DATA_DIR,
    flag("savedir", default="CATHODE_results/", metavar="DIR", help="folder of the density estimator and for the arrays"),
    *[f for f in DENSITY_FLAGS if f.name == "config_file"],
    SEED,
    DEVICE,
    VERBOSE,
]


def main(args: Namespace) -> None:
    """Choose the background of the mode, mix, preprocess, write."""
    from workflow.stages import choose_seed, run_stage

    args.seed = choose_seed(args.seed, Path(args.savedir))
    run_stage(stage(args), resume=False)


def stage(args: Namespace) -> Stage:
    """Stage 3 with these arguments."""
    from background.densities import CONFIG_KEYS
    from background.lacathode import OUTPUTS
    from common.files import InputError
    from data_handler import read_config
    from events import regions as events
    from models.flow import ConditionalNormalizingFlow
    from run_ANODE_training import estimator_name
    from workflow.stages import Stage, recorded_flags

    if sum((args.supervised, args.idealized_AD, args.CWoLa, args.latent)) > 1:
        raise InputError("only one of --supervised, --idealized_AD, --CWoLa and --latent can be asked for")
    if args.latent and args.external_samples:
        raise InputError("--latent draws its background from N(0, 1): there is no use for --external_samples")
    shift = events.FeatureShift(args.datashift, args.random_shift)
    source = events.EventSource(Path(args.data_dir), shift, args.seed, (args.SR_min, args.SR_max), args.separate_val_set)
    uses_estimator = not (args.supervised or args.idealized_AD or args.CWoLa) and bool(
        args.ANODE_models or not args.external_samples
    )
    config = read_config(Path(args.config_file), ConditionalNormalizingFlow, CONFIG_KEYS) if uses_estimator else {}

    def inputs() -> list[Path]:
        groups = [events.SIGNAL_REGION, events.TEST_FILES, events.SIDEBAND if args.CWoLa else events.SIDEBAND[1:]]
        if args.supervised or not args.no_extra_signal:
            groups += [events.EXTRA_SIGNAL, events.EXTRA_SIGNAL_IN_ONE]
        if args.extra_bkg and (args.supervised or args.idealized_AD):
            groups.append(events.EXTRA_BACKGROUND)
        estimator = _estimator_files(args) if uses_estimator else []
        return [*source.files(*groups), *estimator, *(Path(path) for path in args.external_samples or ())]

    return Stage(
        "classifier_arrays",
        Path(args.savedir),
        recorded_flags(args, config),
        inputs,
        OUTPUTS,
        lambda folder: _create(args, source, config, folder),
        fits=("supervised", "idealized_AD", "CWoLa", "latent", "SR_min", "SR_max", "datashift", "random_shift"),
        after=(f"density_estimator {estimator_name(args.model_file_name, False)}",) if uses_estimator else (),
    )


def _create(args: Namespace, source: EventSource, config: dict[str, Any], folder: Path) -> dict[str, Any]:
    from background import arrays as mixing
    from background.lacathode import write_latent_arrays

    if args.latent:
        return write_latent_arrays(
            source,
            _models(args),
            config,
            folder,
            trained_with_logit=not args.no_logit_trained,
            extra_signal=not args.no_extra_signal,
            fiducial_cut=args.fiducial_cut,
            device=args.device,
        )
    if args.supervised:
        names = ("signal", "background")
        arrays = mixing.mix_supervised(source, args.extra_bkg, args.oversampling)
    elif args.idealized_AD:
        names = ("data", "background")
        arrays = mixing.mix_idealized(source, args.extra_bkg, args.oversampling, not args.no_extra_signal)
    elif args.CWoLa:
        names = ("data", "sideband strips")
        arrays = mixing.mix_cwola(source, args.oversampling, not args.no_extra_signal)
    else:
        names = ("data", "samples")
        arrays = mixing.mix_cathode(source, _samples(args, config), args.oversampling, not args.no_extra_signal)
    return mixing.write_classifier_arrays(
        arrays, folder, use_logit=not args.no_logit, fiducial_cut=args.fiducial_cut, names=names
    )


def _n_best(args: Namespace) -> int:
    return args.n_latent_epochs if args.latent else 10


def _estimator_files(args: Namespace) -> list[Path]:
    from background.densities import check_same_training, files_of_best

    if not args.ANODE_models:
        return files_of_best(Path(args.savedir), args.model_file_name, _n_best(args))
    models = [Path(path) for path in args.ANODE_models]
    return [check_same_training(models), *models]


def _models(args: Namespace) -> list[Path]:
    if args.ANODE_models:
        return [Path(path) for path in args.ANODE_models]
    if args.external_samples:
        return []
    from background.densities import best_model_paths

    return best_model_paths(Path(args.savedir), args.model_file_name, _n_best(args))


def _samples(args: Namespace, config: dict[str, Any]) -> BackgroundSamples:
    from background.arrays import BackgroundSamples

    return BackgroundSamples(
        models=_models(args),
        config=config,
        external=[Path(path) for path in args.external_samples or ()],
        n_samples=args.n_samples,
        kde_bandwidth=args.KDE_bandwidth if args.realistic_conditional else None,
        use_logit=not args.no_logit_trained,
        device=args.device,
    )


if __name__ == "__main__":
    run_script(main, __doc__, FLAGS)
