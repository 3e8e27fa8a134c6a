"""Stage 3: density estimator and signal-region data -> the classifier's arrays.

    python run_classifier_data_creation.py --savedir CATHODE_results/ --n_samples 400000 --realistic_conditional --oversampling --no_logit
    python run_classifier_data_creation.py --savedir CWoLa_results/ --CWoLa --oversampling --no_logit
    python run_classifier_data_creation.py --savedir my_results/ --external_samples my_samples.npy --no_logit

Writes X_train, X_validation, X_test (and X_extrasig) .npy with the columns m_JJ (TeV), preprocessed features, data (1) or sample (0),
label (1 signal, 0 background, 5 sample); y_*.npy, the data/sample column; and data_vs_samples.png.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from command_line import (
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
    from classifier_data import BackgroundSamples

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
    import classifier_data as mixing
    from event_source import EventSource, FeatureShift
    from models.persistence import InputError

    shift = FeatureShift(args.datashift, args.random_shift)
    source = EventSource(Path(args.data_dir), shift, args.seed, (args.SR_min, args.SR_max), args.separate_val_set)
    savedir = Path(args.savedir)
    if sum((args.supervised, args.idealized_AD, args.CWoLa)) > 1:
        raise InputError("only one of --supervised, --idealized_AD and --CWoLa can be asked for")
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
        arrays = mixing.mix_cathode(source, _samples(args), args.oversampling, not args.no_extra_signal)
    mixing.write_classifier_arrays(arrays, savedir, use_logit=not args.no_logit, fiducial_cut=args.fiducial_cut, names=names)


def _samples(args: Namespace) -> BackgroundSamples:
    from classifier_data import BackgroundSamples

    external = [Path(path) for path in args.external_samples or ()]
    models = [Path(path) for path in args.ANODE_models or ()]
    if not models and not external:
        from density_estimation import best_model_paths

        models = best_model_paths(Path(args.savedir), args.model_file_name)
    return BackgroundSamples(
        models=models,
        config_file=Path(args.config_file),
        external=external,
        n_samples=args.n_samples,
        kde_bandwidth=args.KDE_bandwidth if args.realistic_conditional else None,
        use_logit=not args.no_logit_trained,
        device=args.device,
    )


if __name__ == "__main__":
    run_script(main, __doc__, FLAGS)
