"""The classifier ensemble on disk: read the arrays of stage 3, train, score the test data."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.files import InputError, load_array, save_array, save_weights
from data_handler import drop_nan_rows, save_arrays, writable_folder
from evaluation_utils import OUTPUTS as EVALUATED
from evaluation_utils import minimum_val_loss_model_evaluation
from models.arrays import pick_device
from models.classifier import NeuralNetworkClassifier
from models.training.checkpoints import CHECKPOINT, Checkpoint
from models.training.epochs import best_epochs
from plots import figures

logger = logging.getLogger(__name__)

# What the YAML file of the classifier may set; the rest are flags or follow from the data.
CONFIG_KEYS = ("layers", "lr", "weight_decay")
N_ENSEMBLE_EPOCHS = 10
OUTPUTS = tuple(
    f"{folder}{name}"
    for folder in ("", "latent_[0-9]*/")
    for name in ("loss_matris.npy", "val_loss_matris.npy", "preds_matris*.npy", "my_classifier_epoch_*.par",
                 "classifier_losses_run_*.png", *EVALUATED)
)  # fmt: skip


@dataclass(frozen=True)
class ClassifierInput:
    """Arrays of stage 3 [n, d + 3] as the classifier wants them."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    extrasig: np.ndarray | None
    sideband: np.ndarray | None
    use_mjj: bool

    def inputs(self, array: np.ndarray) -> np.ndarray:
        """The features; with `use_mjj` preceded by m_JJ, standardized on the training events."""
        if not self.use_mjj:
            return array[:, 1:-2]
        mass = self.train[:, 0].astype(np.float64)
        return np.column_stack([(array[:, 0] - mass.mean()) / mass.std(), array[:, 1:-2]])


def load_classifier_arrays(data_dir: Path, use_mjj: bool, extra_signal: bool) -> ClassifierInput:
    """Read X_train, X_validation, X_test and (if there and wanted) X_extrasig, X_sideband.

    Raises
    ------
    InputError
        If one is unreadable, empty, or of another width than X_train; or if training or validation lack data or samples.
    """
    names = ["X_train", "X_validation", "X_test"]
    optional = ["X_extrasig", "X_sideband"] if extra_signal else ["X_sideband"]
    names += [name for name in optional if (Path(data_dir) / f"{name}.npy").is_file()]
    arrays: dict[str, np.ndarray] = {}
    for name in names:
        path = Path(data_dir) / f"{name}.npy"
        array = load_array(path)
        if array.ndim != 2 or array.shape[1] < 4 or len(array) == 0:
            raise InputError(f"{path}: shape {array.shape}, expected [n, d + 3] (m_JJ, features, data or sample, label)")
        if arrays and array.shape[1] != arrays["X_train"].shape[1]:
            raise InputError(f"{path}: {array.shape[1] - 3} features, but X_train.npy has {arrays['X_train'].shape[1] - 3}")
        arrays[name] = drop_nan_rows(array, path)
    for name in names[:2]:
        if set(np.unique(arrays[name][:, -2])) != {0.0, 1.0}:
            raise InputError(f"{Path(data_dir) / name}.npy: needs data (1) and samples (0) in the column before the last")
    test = arrays["X_test"][arrays["X_test"][:, -2] == 1]
    if len(test) == 0:
        raise InputError(f"{Path(data_dir) / 'X_test'}.npy: holds no data to score")
    further = arrays.get("X_extrasig"), arrays.get("X_sideband")
    return ClassifierInput(arrays["X_train"], arrays["X_validation"], test, *further, use_mjj)


def event_weights(array: np.ndarray, target: np.ndarray, use_class_weights: bool, cwola_center: float | None) -> np.ndarray:
    """Weight of every event in the loss [n], of mean 1.

    Parameters
    ----------
    array : array [n, d + 3]
    target : array [n]
        1 or 0.
    use_class_weights : bool
        Balance the classes: the sum of the weights is the same for both.
    cwola_center : float or None
        Balance classes and, among class 0, the two sideband strips below and above this m_JJ (TeV).

    Examples
    --------
    >>> event_weights(np.zeros((4, 4)), np.array([1, 0, 0, 0]), True, None).round(3).tolist()
    [2.0, 0.667, 0.667, 0.667]
    """
    if cwola_center is not None:
        shares = {1: 0.5, 0: 0.25, -1: 0.25}
        group = np.where(target == 1, 1, np.where(array[:, 0] < cwola_center, 0, -1))
        data_masses = array[target == 1, 0]
        if not data_masses.min() <= cwola_center <= data_masses.max():
            raise InputError(
                f"SR_center = {cwola_center:g} TeV lies outside the signal region, it cannot tell the two strips apart"
            )
    elif use_class_weights:
        shares, group = {1: 0.5, 0: 0.5}, target
    else:
        return np.ones(len(array))
    weights = np.empty(len(array))
    for value, share in shares.items():
        members = group == value
        if not members.any():
            raise InputError("CWoLa weights: one of the two sideband strips is empty")
        weights[members] = share * len(array) / members.sum()
    return weights


UNKEPT = ".epochs"  # folder of the weights that nobody asked to keep, for as long as the training lasts


def weight_path(folder: Path, epoch: int) -> Path:
    """Where the weights of all runs in one epoch are kept."""
    return Path(folder) / f"my_classifier_epoch_{epoch}.par"


def train_classifiers(
    arrays: ClassifierInput,
    config: Mapping[str, Any],
    savedir: Path,
    *,
    epochs: int,
    n_runs: int,
    batch_size: int,
    patience: int,
    supervised: bool,
    use_class_weights: bool,
    cwola_center: float | None,
    separate_val_set: bool,
    save_model: bool,
    seed: int,
    device: str,
) -> dict[str, Any]:
    """Train `n_runs` classifiers, score the test data, and write losses, scores and loss figures into `savedir`.

    An interrupted training goes on from the checkpoint that it left there. Returns lowest validation losses (nats) and epochs trained.
    """
    sets = [arrays.train, arrays.validation] if separate_val_set else [np.concatenate([arrays.train, arrays.validation])]
    fit_arguments = []
    for array in sets:
        target = array[:, -1] if supervised else array[:, -2]
        if set(np.unique(target)) != {0.0, 1.0}:
            raise InputError(
                "supervised training needs the labels 1 and 0 in the last column of X_train.npy and X_validation.npy"
            )
        fit_arguments.append((arrays.inputs(array), target, event_weights(array, target, use_class_weights, cwola_center)))
    (X, y, weight), (X_val, y_val, weight_val) = fit_arguments[0], (fit_arguments[1:] or [(None, None, None)])[0]
    scored = {"preds_matris": arrays.inputs(arrays.test)}
    if arrays.extrasig is not None:
        scored["preds_matris_extrasig"] = arrays.inputs(arrays.extrasig)
    kept_in = savedir if save_model else writable_folder(savedir / UNKEPT)

    classifier = NeuralNetworkClassifier(
        **config,
        n_inputs=X.shape[1],
        n_runs=n_runs,
        epochs=epochs,
        batch_size=batch_size,
        early_stopping=patience > 0,
        patience=patience,
        use_class_weights=False,  # they are part of the weights
        val_split=len(arrays.validation) / (len(arrays.train) + len(arrays.validation)),
        no_gpu=pick_device(device).type == "cpu",
        verbose=True,
        random_state=seed,
    )

    def keep_epoch(epoch: int, classifier: NeuralNetworkClassifier, val_losses: np.ndarray) -> None:
        save_weights(weight_path(kept_in, epoch), classifier.module_.state_dict())

    checkpoint = Checkpoint(savedir / CHECKPOINT)
    try:
        classifier.fit(X, y, X_val, y_val, weight, weight_val, on_epoch=keep_epoch, checkpoint=checkpoint)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"the classifiers cannot be trained: {error}") from error
    best = [best_epochs(losses, N_ENSEMBLE_EPOCHS) for losses in classifier.val_losses_[1:].T]
    scores = {}
    for name, events in scored.items():
        if save_model:
            scores[name] = _mean_scores(classifier, kept_in, best, events)
        else:
            scores[name] = np.full((n_runs, epochs, len(events)), np.nan, dtype=np.float32)
            for epoch in np.flatnonzero(np.isfinite(classifier.val_losses_[1:]).any(axis=1)):
                scores[name][:, epoch] = classifier.load_weights(weight_path(kept_in, epoch)).predict_runs(events)
    if arrays.sideband is not None:  # too many events to keep every epoch's scores
        scores["preds_matris_sideband"] = _mean_scores(classifier, kept_in, best, arrays.inputs(arrays.sideband))
    losses = {"loss_matris": classifier.train_losses_[1:].T, "val_loss_matris": classifier.val_losses_[1:].T}
    save_arrays(savedir, losses | scores)
    for run in range(n_runs):
        curves = {"training": losses["loss_matris"][run], "validation": losses["val_loss_matris"][run]}
        figures.save(figures.loss_curves(curves, "cross-entropy per event (nats)"), savedir / f"classifier_losses_run_{run}.png")
    lowest = np.nanmin(losses["val_loss_matris"], axis=1)
    logger.info(
        "classifiers (%d): lowest validation loss %.4f nats on average, %.4f to %.4f",
        n_runs,
        lowest.mean(),
        lowest.min(),
        lowest.max(),
    )
    return {"lowest_validation_losses": lowest.tolist(), "epochs": np.isfinite(losses["val_loss_matris"]).sum(axis=1).tolist()}


def _mean_scores(classifier: NeuralNetworkClassifier, folder: Path, best: list[np.ndarray], events: np.ndarray) -> np.ndarray:
    """Scores [n_runs, 1, n] averaged over every run's own best epochs, whose weights are in `folder`."""
    total = np.zeros((len(best), len(events)))
    for epoch in sorted({int(epoch) for epochs in best for epoch in epochs}):
        scores = classifier.load_weights(weight_path(folder, epoch)).predict_runs(events)
        for run, epochs in enumerate(best):
            if epoch in epochs:
                total[run] += scores[run] / len(epochs)
    return total[:, None].astype(np.float32)


def average_scores(folders: Sequence[Path]) -> None:
    """Replace the scores in the first folder by their mean over all: the same events, seen in several latent spaces.

    Raises
    ------
    InputError
        If the folders hold different events.
    """
    for path in sorted(folders[0].glob("preds_matris*.npy")):
        kept = [minimum_val_loss_model_evaluation(folder, N_ENSEMBLE_EPOCHS, path.stem) for folder in folders]
        if len({scores.shape for scores in kept}) > 1:
            raise InputError(f"{path}: the latent spaces hold different numbers of events")
        save_array(path, np.mean(kept, axis=0, dtype=np.float64)[:, None].astype(np.float32))
