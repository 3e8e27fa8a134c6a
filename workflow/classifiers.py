"""The training of stage 4: an ensemble of classifiers on the arrays of a latent space, or of every fold; losses, scores, weights."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from background.arrays import ClassifierArrays, fold_folder
from background.mode import classifier_mode
from background.options import TREES, ClassifierOptions
from common.errors import InputError
from common.files import array_shape, load_array, save_array, save_arrays, writable_folder
from common.processes import usable_cores
from common.seeds import make_seed
from evaluation.folds import FILE, fill_in, unscored
from evaluation.scores import RULE, losses_of_runs
from events.records import load_folds
from models.arrays import no_gpu
from models.registry import CLASSIFIERS
from models.training.checkpoints import CHECKPOINT, Checkpoint
from plots import losses as figures
from plots.style import save

logger = logging.getLogger(__name__)

NAME = "my_classifier"
SUSPICIOUS_LOSS = 0.87  # of that of a blind classifier; 10 % of signal that is told from all background would give 0.93
TrainingSet = tuple[np.ndarray, np.ndarray, np.ndarray]  # inputs [n, d], target [n], weight [n]
SMALLEST_SPREAD = 1e-3  # of the scores of a network that is alive; one that has merely learned nothing has more than 0.01


def train_in_folds(
    options: ClassifierOptions, hyperparameters: dict[str, Any], places: list[Path], folder: Path
) -> dict[str, Any]:
    """Train the classifiers of every fold, and write scores.npy with what makes their scores comparable."""
    mode, options = classifier_mode(options), replace(options, separate_val_set=True)  # the other fold validates
    record = load_folds(options.data_dir / "folds.npy")
    _check_folds(record["fold"], places)
    scores, results = unscored(record, len(record), options.n_runs), {}
    for fold, place in enumerate(places):
        arrays, out = ClassifierArrays.read(place, extra_signal=False), writable_folder(fold_folder(folder, fold))
        rows = np.flatnonzero(record["fold"] == fold)
        logger.info("fold %d (of 0 to %d)", fold, len(places) - 1)
        results[f"fold {fold}"] = train(options, hyperparameters, arrays, out, f"classifier of fold {fold}")
        tested, held_out = (load_array(out / f"preds_matris{suffix}.npy")[:, 0] for suffix in ("", "_held_out"))
        learned = arrays.train[arrays.train.is_data]
        fill_in(scores, rows, tested, held_out, mode.held_out_weights(arrays.held_out, learned, options))
    save_array(folder / FILE, scores)
    n_outside = int(np.isnan(scores["score"]).sum())
    logger.info("%s: %d events, %d of them outside the feature range, which no cut selects", FILE, len(scores), n_outside)
    return {**results, "events": len(scores), "outside_the_range": n_outside}


def _check_folds(fold: np.ndarray, places: list[Path]) -> None:
    """Refuse arrays that are not those of all folds of folds.npy, before anything is trained."""
    if not np.array_equal(np.unique(fold), np.arange(len(places))):
        known = ", ".join(map(str, np.unique(fold)[:20]))
        raise InputError(f"{places[0].parent}: folds.npy has the folds {known}, but there are arrays of {len(places)} folds")
    for number, place in enumerate(places):
        found, wanted = array_shape(place / "X_test.npy"), int(np.sum(fold == number))
        if found[:1] != (wanted,):
            raise InputError(f"{place / 'X_test.npy'}: shape {found}, but folds.npy has {wanted} events of this fold")
        array_shape(place / "X_held_out.npy")


def train(
    options: ClassifierOptions,
    hyperparameters: dict[str, Any],
    arrays: ClassifierArrays,
    folder: Path,
    purpose: str = "classifier",
) -> dict[str, Any]:
    """Train the classifiers on one set of arrays, score what is to be scored, write losses, scores and weights.

    Parameters
    ----------
    purpose : str
        From it and the seed comes the classifiers' own seed.
    """
    sets = classifier_mode(options).training_sets(arrays, options)
    classifier = _fitted(options, hyperparameters, arrays, sets, folder, make_seed(options.seed, purpose))
    if options.save_model:
        classifier.save(folder, NAME)
    curves, n_ensemble = (classifier.train_losses_[1:], classifier.val_losses_[1:]), getattr(classifier, "n_ensemble", 1)
    learned, validated = (losses_of_runs(curve, n_ensemble) for curve in curves)
    save_arrays(folder, {"loss_matris": learned, "val_loss_matris": validated})
    keep_epochs = (
        hasattr(classifier, "predict_versions") and n_ensemble == 1 and not options.save_model and arrays.held_out is None
    )
    for ending, events in arrays.scored():
        every_epoch, inputs = keep_epochs and ending != "_sideband", arrays.inputs(events, use_mjj=options.use_mjj)
        scores = classifier.predict_versions(inputs) if every_epoch else classifier.predict_runs(inputs)[:, None]
        save_arrays(folder, {f"preds_matris{ending}": scores.astype(np.float32, copy=False)})
        if not ending:
            last = classifier.predict_runs(inputs) if every_epoch else scores[:, 0]
            spreads = np.nanmax(last, axis=1) - np.nanmin(last, axis=1)
            _warn_of_dead_runs(spreads, "nothing was learned" if options.model == TREES else "a lower learning rate helps")
    for run, losses in enumerate(zip(learned, validated, strict=True)):
        steps, loss = "trees (mean over the members)" if options.model == TREES else "epoch", "cross-entropy per event (nats)"
        figure = figures.loss_curves(dict(zip(("training", "validation"), losses, strict=True)), loss, xlabel=steps)
        save(figure, folder / f"classifier_losses_run_{run}.{options.figures}")
    lowest = np.nanmin(validated, axis=1)
    if options.mode != "supervised":
        _warn_of_more_than_a_signal(lowest.mean(), sets[0])
    text = "classifiers (%d): lowest validation loss %.4f nats on average, %.4f to %.4f"
    logger.info(text, len(lowest), lowest.mean(), lowest.min(), lowest.max())
    results = {"lowest_validation_losses": lowest.tolist(), "epochs": np.isfinite(validated).sum(axis=1).tolist()}
    return results | {name: value for name, value in classifier.get_params().items() if name in RULE}


def _fitted(
    options: ClassifierOptions,
    hyperparameters: dict[str, Any],
    arrays: ClassifierArrays,
    sets: list[TrainingSet],
    folder: Path,
    seed: int,
) -> Any:
    """The classifiers, trained on one set of events that each splits at random, or on two: training and validation."""
    n_val = len(arrays.validation)
    (X, y, weight), (X_val, y_val, weight_val) = sets if len(sets) == 2 else (sets[0], (None, None, None))
    classifier = CLASSIFIERS.create(
        options.model, hyperparameters, options, ("epochs", "batch_size"), **options.numbers, n_inputs=X.shape[1],
        use_class_weights=False, val_split=n_val / (len(arrays.train) + n_val), n_jobs=usable_cores(options.threads),
        no_gpu=no_gpu(options.device), verbose=True, random_state=seed,
    )  # fmt: skip
    try:
        return classifier.fit(X, y, X_val, y_val, weight, weight_val, checkpoint=Checkpoint(folder / CHECKPOINT))
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"the classifiers cannot be trained: {error}") from error


def _warn_of_more_than_a_signal(loss: float, learned: TrainingSet) -> None:
    """Compare a validation loss with that of a classifier that knows but the weights of the classes."""
    _, y, weight = learned
    share = np.average(y, weights=weight)
    blind = -share * np.log(share) - (1 - share) * np.log(1 - share)
    if loss < SUSPICIOUS_LOSS * blind:
        text = "classifiers: a validation loss of %.3f nats is far below %.3f: data and background differ by more than a signal"
        logger.warning(text, loss, blind)


def _warn_of_dead_runs(spreads: np.ndarray, advice: str) -> None:
    """A ReLU network that a large step has thrown off may give one score for all events, and never recovers."""
    dead = [str(run) for run, spread in enumerate(spreads) if spread < SMALLEST_SPREAD]
    if dead:
        text = "classifiers: run(s) %s give all test events practically the same score: %s"
        logger.warning(text, ", ".join(dead), advice)
