"""Stage 4: the classifier's arrays -> an ensemble of classifiers and the scores of the test data.

    python run_classifier_training.py --data_dir CATHODE_results/ --savedir CATHODE_results/ --use_class_weights --save_model
    python run_classifier_training.py --data_dir CWoLa_results/ --savedir CWoLa_results/ --CWoLa --save_model

Writes loss_matris.npy, val_loss_matris.npy [n_runs, epochs] (NaN where a run was done already), preds_matris.npy (and
preds_matris_extrasig.npy, preds_matris_sideband.npy) [n_runs, n_kept, n_test], classifier_losses_run_R.png and, with --save_model,
my_classifier_epoch_E.par (the weights of all runs).
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.script import (
    DEVICE,
    NO_EXTRA_SIGNAL,
    RESUME,
    SEED,
    SEPARATE_VAL_SET,
    VERBOSE,
    finite_float,
    flag,
    positive_int,
    run_script,
    switch,
    whole_number,
)

if TYPE_CHECKING:
    from background.classifiers import ClassifierInput
    from workflow.stages import Stage

FLAGS = [
    flag("epochs", type=positive_int, default=100, metavar="N", help="passes over the training events"),
    flag("n_runs", type=positive_int, default=10, metavar="N", help="number of independent classifiers"),
    flag("batch_size", type=positive_int, default=128, metavar="N", help="events per step"),
    flag(
        "patience",
        type=whole_number,
        default=20,
        metavar="N",
        help="a classifier is done after N epochs without a lower validation loss; 0: never",
    ),
    flag("config_file", default="classifier.yml", metavar="FILE", help="YAML file with the classifier's hyperparameters"),
    switch("use_mjj", "give m_JJ to the classifier as well"),
    switch("supervised", "learn the true labels (signal or background) instead of data or sample"),
    switch("use_class_weights", "weight data and samples so that both count the same in total"),
    switch("CWoLa", "weight so that SB = SR in total, and the strip below the SR = the strip above"),
    flag(
        "SR_center",
        type=finite_float,
        default=3.5,
        metavar="TEV",
        help="m_JJ (TeV) between the two strips, for CWoLa",
    ),
    switch(
        "save_model",
        "keep the weights, and the mean score of every run's 10 epochs of lowest validation loss instead of every epoch's",
    ),
    SEPARATE_VAL_SET,
    NO_EXTRA_SIGNAL,
    flag("data_dir", default="CATHODE_results/", metavar="DIR", help="folder with the arrays of stage 3"),
    flag("savedir", default="CATHODE_results/", metavar="DIR", help="folder for losses and scores"),
    SEED,
    RESUME,
    DEVICE,
    VERBOSE,
]


def main(args: Namespace) -> None:
    """Read the arrays and the configuration, then train and score."""
    from workflow.stages import choose_seed, run_stage

    args.seed = choose_seed(args.seed, Path(args.savedir))
    run_stage(stage(args), resume=args.resume)


def stage(args: Namespace) -> Stage:
    """Stage 4 with these arguments."""
    from background.classifiers import CONFIG_KEYS, OUTPUTS, average_scores, load_classifier_arrays
    from background.lacathode import latent_folder, latent_folders
    from data_handler import read_config, writable_folder
    from models.classifier import NeuralNetworkClassifier
    from workflow.stages import Stage, recorded_flags

    config, data_dir = read_config(Path(args.config_file), NeuralNetworkClassifier, CONFIG_KEYS), Path(args.data_dir)

    def inputs() -> list[Path]:
        return [path for space in latent_folders(data_dir) for path in sorted(space.glob("X_*.npy"))]

    def work(folder: Path) -> dict[str, Any]:
        spaces = latent_folders(data_dir)
        arrays = [load_classifier_arrays(space, args.use_mjj, not args.no_extra_signal) for space in spaces]
        savedirs = [writable_folder(latent_folder(folder, number)) for number in range(len(spaces))]
        results = [_train(args, config, one, savedir) for one, savedir in zip(arrays, savedirs, strict=True)]
        if len(savedirs) > 1:
            average_scores(savedirs)
        return {f"latent space {number}": result for number, result in enumerate(results)} if len(results) > 1 else results[0]

    return Stage(
        "classifiers",
        Path(args.savedir),
        recorded_flags(args, config),
        inputs,
        OUTPUTS,
        work,
        fits=("supervised", "CWoLa"),
        after=("classifier_arrays",),
    )


def _train(args: Namespace, config: dict[str, Any], arrays: ClassifierInput, savedir: Path) -> dict[str, Any]:
    from background.classifiers import train_classifiers
    from data_handler import make_seed

    return train_classifiers(
        arrays,
        config,
        savedir,
        epochs=args.epochs,
        n_runs=args.n_runs,
        batch_size=args.batch_size,
        patience=args.patience,
        supervised=args.supervised,
        use_class_weights=args.use_class_weights,
        cwola_center=args.SR_center if args.CWoLa else None,
        separate_val_set=args.separate_val_set,
        save_model=args.save_model,
        seed=make_seed(args.seed, "classifier"),
        device=args.device,
    )


if __name__ == "__main__":
    run_script(main, __doc__, FLAGS)
