"""Scores on disk: preds_matris*.npy of stage 4, averaged over the epochs that are scored, beside the events they belong to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from common.contract import OutputFile, figure_file
from common.errors import InputError
from common.files import load_array, save_array
from events.view import UNKNOWN, Events, drop_nan_rows
from models.training.epochs import DIVERGED, PUBLISHED_RULE, EpochRule, mean_over_epochs, usable_epochs

LOSS_BEFORE_TRAINING = math.log(2)  # nats, of a network that gives about 1/2 to every event
BELOW_ALL = -1.0  # the score of test events that have been cut: no cut on the score selects them
RULE = ("scored_epochs", "n_scored_epochs")
EVALUATION_FILES = (
    figure_file("result_SIC", "ROC and SIC"),
    figure_file("sculpting", "mass spectra of the background before and after cuts on the score"),
    figure_file("selected", "with scores.npy: mass spectra of all data, and of those selected at background efficiencies"),
    OutputFile("sculpting.json", "the verdict; χ²/ndf, p-value, change and Jensen-Shannon divergence (nats) of these cuts"),
    OutputFile("report.html", "everything on one page"),
)
SCORE_FILES = (
    OutputFile(
        "loss_matris.npy, val_loss_matris.npy",
        "training and validation loss (cross-entropy, nats); column E is after epoch E, NaN where the run was done already",
        "[n_runs, epochs]",
        "*loss_matris.npy",
    ),
    OutputFile(
        "preds_matris.npy",
        "scores of the test data (0 to 1, higher is more signal-like); n_kept is the number of epochs, or 1 (with `--save_model`, for "
        "trees and ensembles)",
        "[n_runs, n_kept, n_test]",
    ),
    OutputFile("preds_matris_extrasig.npy", "scores of the extra signal", "[n_runs, n_kept, n_extrasig]"),
    OutputFile(
        "preds_matris_sideband.npy",
        "scores of the test sideband, averaged over the epochs that are scored",
        "[n_runs, 1, n_sideband]",
    ),
    OutputFile("preds_matris_held_out.npy", "with folds, in fold_F/: scores of held-out background", "[n_runs, 1, n_held_out]"),
    OutputFile(
        "my_classifier_epoch_E.par",
        "with `--save_model`: weights of all runs after those epochs that were averaged (a PyTorch state dict)",
        pattern="my_classifier_epoch_[0-9]*.par",
    ),
    OutputFile(
        "my_classifier_estimator.json",
        "with `--save_model`: class and hyperparameters of the classifier, and every run's epochs, best first",
    ),
    OutputFile(
        "my_classifier_estimator_ARRAY.npy",
        "with `--save_model` and `--model hgb`: the nodes of all trees, their numbers, and all losses",
        pattern="my_classifier_estimator_*.npy",
    ),
    figure_file("classifier_losses_run_R", "losses of one run against the epoch", "classifier_losses_run_[0-9]*"),
)

ANODE_FILES = (
    OutputFile(
        "X_test.npy, X_extrasig.npy, y_test.npy, y_extrasig.npy",
        "as of stage 3, with features that are not preprocessed",
        pattern="[Xy]_*.npy",
    ),
    OutputFile(
        "preds_matris.npy, preds_matris_extrasig.npy",
        "likelihood ratios p_SR(x|m) / p_SB(x|m); 0 outside the training range of either flow",
        "[1, 1, n]",
        "preds_matris*.npy",
    ),
    OutputFile("sig_labels.npy", "labels of the test events (1 signal, 0 background)", "[n_test]"),
)


def losses_of_runs(losses: np.ndarray, n_ensemble: int) -> np.ndarray:
    """Mean loss of every run [n_runs, k] from those of its members [k, n_runs * n_ensemble], those of one run side by side.

    A member that is done (NaN) counts with its last loss until all of its run are.

    Examples
    --------
    >>> losses_of_runs(np.array([[4.0, 2.0], [3.0, np.nan], [np.nan, np.nan]]), n_ensemble=2)
    array([[3. , 2.5, nan]])
    """
    trained = np.isfinite(losses)
    last = np.maximum.accumulate(np.where(trained, np.arange(len(losses))[:, None], 0), axis=0)
    means = np.take_along_axis(losses, last, axis=0).reshape(len(losses), -1, n_ensemble).mean(axis=2)
    return np.where(trained.reshape(len(losses), -1, n_ensemble).any(axis=2), means, np.nan).T


def scored_rule(results: Mapping[str, Any]) -> EpochRule:
    """Which epochs are scored, as stage 4 says in its results; as published where it does not."""
    kind, n = (results.get(name) for name in RULE)
    known = kind in ("lowest", "last") and type(n) is int and n > 0
    return EpochRule(kind, n) if known else PUBLISHED_RULE


def scores_of_runs(preds_dir: Path, rule: EpochRule, predictions: str = "preds_matris") -> np.ndarray:
    """Scores of every run [n_runs, n_test]: the mean over the epochs that the rule chooses.

    Where stage 4 kept the weights (`--save_model`) it has averaged already, and the scores are returned as they are.

    Raises
    ------
    InputError
        If files are absent, or of shapes that do not belong together.
    """
    path, losses_path = Path(preds_dir) / f"{predictions}.npy", Path(preds_dir) / "val_loss_matris.npy"
    preds = load_array(path)
    if preds.ndim != 3:
        raise InputError(f"{path}: shape {preds.shape}, expected [n_runs, n_kept, n_test]")
    if preds.shape[1] == 1:
        return preds[:, 0]
    val_losses = load_array(losses_path)
    if val_losses.shape != preds.shape[:2]:
        raise InputError(f"{path}: {preds.shape[:2]} runs and epochs, but val_loss_matris.npy has {val_losses.shape}")
    try:
        used = [rule.choose(usable_epochs(losses, LOSS_BEFORE_TRAINING + DIVERGED)) for losses in val_losses]
    except ValueError as error:
        raise InputError(f"{losses_path}: {error}") from error
    return mean_over_epochs(lambda epoch: preds[:, epoch], used).astype(np.float32)


def load_events_and_scores(
    data_dir: Path, preds_dir: Path, events: str, predictions: str, rule: EpochRule
) -> tuple[Events, np.ndarray]:
    """The data among the events in EVENTS.npy, and their scores [n_runs, n].

    Raises
    ------
    InputError
        If files are absent, or do not belong together.
    """
    path = Path(data_dir) / f"{events}.npy"
    found = Events(drop_nan_rows(load_array(path), path), mixed=True)
    found = found if found.is_data.all() else found[found.is_data]
    scores = scores_of_runs(preds_dir, rule, predictions)
    if scores.shape[1] != len(found):
        raise InputError(f"{preds_dir}/{predictions}.npy: {scores.shape[1]} events, but {path} has {len(found)} data")
    return found, scores


def load_test_scores(
    data_dir: Path,
    preds_dir: Path,
    rule: EpochRule,
    extra_signal: bool | None = None,
    outside: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
) -> tuple[np.ndarray, np.ndarray]:
    """Scores [n_runs, n] and labels [n] of the test data, with the extra signal appended.

    Parameters
    ----------
    extra_signal : bool or None
        None uses the extra signal if it is there.
    outside : mapping
        Of X_test and X_extrasig: how many signal and background events stage 3 has cut. They come last, with a score below all others.
    """
    events, scores = load_events_and_scores(data_dir, preds_dir, "X_test", "preds_matris", rule)
    labels = events.label
    there = (Path(preds_dir) / "preds_matris_extrasig.npy").is_file()
    if extra_signal or (extra_signal is None and there):
        extra = scores_of_runs(preds_dir, rule, "preds_matris_extrasig")
        scores = np.concatenate([scores, extra], axis=1)
        labels = np.concatenate([labels, np.ones(extra.shape[1])])
        cut = [outside.get("X_test", {}), outside.get("X_extrasig", {})]
    else:
        cut = [outside.get("X_test", {})]
    cut_labels = np.repeat([1, 0], [sum(counts.get(kind, 0) for counts in cut) for kind in ("signal", "background")])
    return np.pad(scores, [(0, 0), (0, len(cut_labels))], constant_values=BELOW_ALL), np.concatenate([labels, cut_labels])


def average_scores(folders: Sequence[Path], rule: EpochRule) -> None:
    """Replace the scores in the first folder by their mean over all: the same events, seen in several latent spaces.

    Raises
    ------
    InputError
        If the folders hold different events.
    """
    for path in sorted(folders[0].glob("preds_matris*.npy")):
        kept = [scores_of_runs(folder, rule, path.stem) for folder in folders]
        if len({scores.shape for scores in kept}) > 1:
            raise InputError(f"{path}: the latent spaces hold different numbers of events")
        save_array(path, np.mean(kept, axis=0, dtype=np.float64)[:, None].astype(np.float32))


def searched_labels(run_dir: Path) -> np.ndarray:
    """Labels of the SR data that a run was trained and validated on.

    Raises
    ------
    InputError
        If the run has no arrays of stage 3 (ANODE).
    """
    parts = [Events(load_array(Path(run_dir) / f"X_{name}.npy"), mixed=True) for name in ("train", "validation")]
    return np.concatenate([part.label[part.is_data] for part in parts])


def signal_and_background(labels: np.ndarray, run_dir: Path) -> tuple[int, int]:
    """How many of the data of a run are signal, and how many background.

    Raises
    ------
    InputError
        If nobody knows, or if the "data" are no mixture of signal and background (supervised).
    """
    if len(labels) == 0 or (labels == UNKNOWN).any():
        raise InputError(f"{run_dir}: nobody knows the labels of its data")
    if not (labels == 0).any():
        raise InputError(f"{run_dir}: holds no background among its data, a supervised run has no S/B")
    return int((labels == 1).sum()), int((labels == 0).sum())


def load_classifier_losses(folder: Path) -> dict[str, np.ndarray]:
    """Training and validation losses [n_runs, epochs] of the classifiers (nats)."""
    return {
        "training": load_array(Path(folder) / "loss_matris.npy"),
        "validation": load_array(Path(folder) / "val_loss_matris.npy"),
    }
