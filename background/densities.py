"""Density estimators on disk: train one and keep every epoch, load the best epochs as an ensemble."""

from __future__ import annotations

import glob
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from background.arrays import DATA, tag
from common.files import InputError, load_array, load_json, save_json, save_weights
from data_handler import save_arrays
from events.regions import EventSource, FeatureShift
from models.arrays import pick_device
from models.ensembles import EnsembleModel
from models.flow import ConditionalNormalizingFlow
from models.scalers import ExtPipeline, make_scaler, scaler_from_dict, scaler_to_dict
from models.training.checkpoints import CHECKPOINT, Checkpoint
from models.training.epochs import DIVERGED, best_epochs
from plots import figures

MIN_STEPS_PER_EPOCH = 40
LARGEST_LOG = 700.0  # exp of it is still a float64

logger = logging.getLogger(__name__)

# What the YAML file of the density estimator may set; the rest are flags or follow from the data.
CONFIG_KEYS = (
    "transform_type",
    "num_blocks",
    "num_hidden",
    "num_layers",
    "normalization",
    "num_bins",
    "tail_bound",
    "lr",
    "weight_decay",
    "schedule",
    "gradient_clip",
    "averaging",
    "precision",
    "compile",
)


@dataclass(frozen=True)
class DensityPreprocessing:
    """How events enter a density estimator, and what makes its losses comparable.

    Losses are quoted as densities of the logit-transformed, standardized features, whatever space the flow itself works in.
    """

    scaler: ExtPipeline
    reference: ExtPipeline
    shift: FeatureShift

    @classmethod
    def fit(cls, X: np.ndarray, use_logit: bool, shift: FeatureShift) -> DensityPreprocessing:
        """Learn range, mean and width of the training features X [n, d], which were shifted as `shift` says."""
        try:
            reference = make_scaler(use_logit=True).fit(X)
        except ValueError as error:
            raise InputError(f"the density estimator cannot be trained: {error}") from error
        return cls(reference if use_logit else make_scaler(use_logit=False).fit(X), reference, shift)

    @classmethod
    def load(cls, path: Path) -> DensityPreprocessing:
        """Read what `save` wrote."""
        content = load_json(path)
        try:
            scalers = (scaler_from_dict(content[name]) for name in ("scaler", "reference"))
            return cls(*scalers, FeatureShift(float(content["shift"]["strength"]), bool(content["shift"]["random"])))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: not the preprocessing of a density estimator ({error})") from error

    def save(self, path: Path) -> None:
        """Write the parameters as JSON."""
        scalers = {"scaler": scaler_to_dict(self.scaler), "reference": scaler_to_dict(self.reference)}
        save_json(path, scalers | {"shift": vars(self.shift)})

    @property
    def uses_logit(self) -> bool:
        """Whether the flow works on logits."""
        return len(self.scaler.steps) == 2

    @property
    def n_features(self) -> int:
        """Number of features d."""
        return self.scaler.steps[-1][1].n_features_in_

    def inside(self, events: np.ndarray, label: str) -> np.ndarray:
        """Events whose features lie inside the training range; those on its boundary or beyond are dropped and counted in the log."""
        keep = np.isfinite(self.reference.transform(events[:, 1:-1])).all(axis=1)
        if not keep.any():
            raise InputError(f"{label}: no event lies inside the feature range of the training events")
        logger.info(
            "%s: %d events, %d on or beyond the boundary of the training range dropped",
            label,
            keep.sum(),
            len(keep) - keep.sum(),
        )
        return events[keep]

    def loss_offset(self, X: np.ndarray) -> float:
        """What to add to the mean -log p of the flow's own space to quote it in the reference space (nats; 0 with logit)."""
        if self.uses_logit:
            return 0.0
        reference, own = (s.log_jacobian_determinant(X) for s in (self.reference, self.scaler))
        return float(np.mean(reference - own))


def default_batch_size(n_train: int) -> int:
    """Events per step: 1024 are fast and accurate, but a small sample needs its steps more than full batches.

    Examples
    --------
    >>> [default_batch_size(n) for n in (1_500, 20_000, 480_000)]
    [64, 500, 1024]
    """
    return min(max(n_train // MIN_STEPS_PER_EPOCH, 64), 1024)


def epoch_path(folder: Path, name: str, epoch: int) -> Path:
    """Where the weights of one epoch are kept."""
    return Path(folder) / f"{name}_epoch_{epoch}.par"


def outputs(name: str) -> tuple[str, ...]:
    """Patterns of the files that belong to an estimator."""
    endings = ("_epoch_[0-9]*.par", "_train_losses.npy", "_val_losses.npy", "_preprocessing.json", "_losses.png")
    return tuple(f"{glob.escape(name)}{ending}" for ending in endings)


def train_density_estimator(
    train: np.ndarray,
    val: np.ndarray,
    config: Mapping[str, Any],
    savedir: Path,
    name: str,
    *,
    use_logit: bool,
    shift: FeatureShift,
    epochs: int,
    batch_size: int | None,
    patience: int,
    seed: int,
    device: str,
) -> dict[str, Any]:
    """Fit a flow to events [n, 2 + d], writing preprocessing, every epoch's weights, losses and their figure into `savedir`.

    An interrupted training goes on from the checkpoint that it left there.

    Returns
    -------
    dict
        Epoch and value of the lowest validation loss, -log p per event in nats for logit-transformed, standardized features.
    """
    preprocessing = DensityPreprocessing.fit(train[:, 1:-1], use_logit, shift)
    train, val = preprocessing.inside(train, "training"), preprocessing.inside(val, "validation")
    offsets = [preprocessing.loss_offset(events[:, 1:-1]) for events in (train, val)]
    flow = ConditionalNormalizingFlow(
        **config,
        num_inputs=preprocessing.n_features,
        epochs=epochs,
        batch_size=batch_size or default_batch_size(len(train)),
        early_stopping=patience > 0,
        patience=patience,
        no_gpu=pick_device(device).type == "cpu",
        verbose=True,
        random_state=seed,
    )
    preprocessing.save(savedir / f"{name}_preprocessing.json")

    def keep_epoch(epoch: int, module: torch.nn.Module, val_loss: float) -> None:
        save_weights(epoch_path(savedir, name, epoch), module.state_dict())

    X, X_val = (preprocessing.scaler.transform(events[:, 1:-1]) for events in (train, val))
    try:
        flow.fit(X, train[:, :1], X_val, val[:, :1], on_epoch=keep_epoch, checkpoint=Checkpoint(savedir / CHECKPOINT))
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"the density estimator cannot be trained: {error}") from error
    for epoch in np.flatnonzero(np.isfinite(flow.val_losses_[1:])):
        if not epoch_path(savedir, name, epoch).is_file():
            raise InputError(
                f"{epoch_path(savedir, name, epoch)}: has vanished during the training; without --resume it begins anew"
            )
    losses = flow.train_losses_ + offsets[0], flow.val_losses_ + offsets[1]
    save_arrays(savedir, {f"{name}_train_losses": losses[0], f"{name}_val_losses": losses[1]})
    figure = figures.loss_curves(
        {"training": losses[0], "validation": losses[1]}, r"$-\log p(x|m)$ per event (nats)", first_epoch=-1
    )
    figures.save(figure, savedir / f"{name}_losses.png")
    best = int(np.nanargmin(losses[1][1:]))
    logger.info("%s: lowest validation loss %.4f nats in epoch %d", name, losses[1][best + 1], best)
    return {
        "lowest_validation_loss": float(losses[1][best + 1]),
        "in_epoch": best,
        "epochs": int(np.isfinite(losses[1][1:]).sum()),
    }


def best_model_paths(folder: Path, name: str, n_best: int = 10) -> list[Path]:
    """Weights of the epochs of lowest validation loss, best first.

    Raises
    ------
    InputError
        If the losses or the weights are absent, or no epoch is usable.
    """
    losses_file = Path(folder) / f"{name}_val_losses.npy"
    losses = load_array(losses_file)
    if losses.ndim != 1 or len(losses) < 2:
        raise InputError(f"{losses_file}: shape {losses.shape}, expected [epochs + 1]")
    try:
        epochs = best_epochs(losses[1:], n_best, ceiling=losses[0] + DIVERGED)
    except ValueError as error:
        raise InputError(f"{losses_file}: {error}") from error
    paths = [epoch_path(folder, name, int(epoch)) for epoch in epochs]
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path}: no such file")
    return paths


def check_same_training(paths: Sequence[Path]) -> Path:
    """The preprocessing that belongs to epochs of one training.

    Raises
    ------
    InputError
        If they are of several.
    """
    if any(_preprocessing_file(path) != _preprocessing_file(paths[0]) for path in paths):
        raise InputError(f"{paths[0]}: epochs of different trainings cannot be mixed, they differ in their preprocessing")
    return _preprocessing_file(paths[0])


def files_of_best(folder: Path, name: str, n_best: int = 10) -> list[Path]:
    """The files that the best epochs of an estimator are made of, or chosen by; where it is absent, those that should be there."""
    files = [Path(folder) / f"{name}_val_losses.npy", Path(folder) / f"{name}_preprocessing.json"]
    try:
        return [*files, *best_model_paths(folder, name, n_best)]
    except InputError:
        return files


def training_range(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest value [d] of every feature in the events that the estimator with these weights was trained on."""
    scaler = DensityPreprocessing.load(_preprocessing_file(path)).reference.steps[0][1]
    return scaler.data_min_, scaler.data_max_


def _preprocessing_file(path: Path) -> Path:
    return Path(f"{str(path).rsplit('_epoch_', 1)[0]}_preprocessing.json")


def load_density_ensemble(
    paths: Sequence[Path],
    config: Mapping[str, Any],
    n_features: int,
    shift: FeatureShift,
    device: str,
    use_logit: bool | None = None,
) -> ExtPipeline:
    """The equal mixture of trained epochs as a density of the physical features; their preprocessing is read from beside the first.

    Parameters
    ----------
    n_features : int
        Number of features of the events it is to describe.
    shift : FeatureShift
        How those events are shifted; the estimator must have been trained with the same.
    use_logit : bool, optional
        Whether the estimator must have been trained with logit; None accepts both.
    """
    preprocessing_file = check_same_training(paths)
    preprocessing = DensityPreprocessing.load(preprocessing_file)
    if preprocessing.n_features != n_features:
        raise InputError(f"{preprocessing_file}: {preprocessing.n_features} features, but the events have {n_features}")
    if use_logit is not None and use_logit != preprocessing.uses_logit:
        raise InputError(
            f"{preprocessing_file}: trained {'with' if preprocessing.uses_logit else 'without'} logit, asked for the other"
        )
    if preprocessing.shift != shift:
        raise InputError(f"{preprocessing_file}: trained with {preprocessing.shift}, but the events have {shift}")
    settings = dict(config) | {"num_inputs": n_features, "no_gpu": pick_device(device).type == "cpu"}
    flows = [ConditionalNormalizingFlow(**settings).load_weights(path) for path in paths]
    logger.info("density estimator: %d epochs, %s", len(paths), ", ".join(Path(path).name for path in paths))
    estimator = flows[0] if len(flows) == 1 else EnsembleModel(flows, verbose=True)
    return ExtPipeline([*preprocessing.scaler.steps, ("density", estimator)])


def write_likelihood_ratios(
    source: EventSource, config: Mapping[str, Any], models_dir: Path, name: str, savedir: Path, extra_signal: bool, device: str
) -> dict[str, Any]:
    """Score the test data with p_SR(x|m) / p_SB(x|m), ANODE's anomaly score, and write scores and events into `savedir`.

    Events outside the training range of either flow cannot be scored; they stay in the test set as the least anomalous ones.
    """
    sets = {"": source.test()}
    extrasig = source.extra_signal() if extra_signal else None
    if extrasig is not None:
        sets["_extrasig"] = np.concatenate(extrasig)
    n_features = sets[""].shape[1] - 2
    inner, outer = (
        load_density_ensemble(best_model_paths(models_dir, flow), config, n_features, source.shift, device)
        for flow in (f"{name}_inner", name)
    )
    counts = {}
    for suffix, events in sets.items():
        log_ratio = log_likelihood_ratio(inner, outer, events)
        outside = ~np.isfinite(log_ratio)
        logger.info("%d of %d test events lie outside the training range: their ratio counts as 0", outside.sum(), len(events))
        counts |= {f"events{suffix or '_test'}": len(events), f"outside_the_range{suffix or '_test'}": int(outside.sum())}
        array = tag(events[:, :-1], DATA, events[:, -1])
        ratio = np.where(outside, 0.0, np.exp(np.clip(log_ratio, -LARGEST_LOG, LARGEST_LOG)))[None, None]
        save_arrays(
            savedir, {f"X{suffix or '_test'}": array, f"y{suffix or '_test'}": array[:, -2], f"preds_matris{suffix}": ratio}
        )
    return counts


def log_likelihood_ratio(inner: ExtPipeline, outer: ExtPipeline, events: np.ndarray) -> np.ndarray:
    """log p_SR(x|m) - log p_SB(x|m) of events [n, 2 + d], in nats; NaN outside the training range of either flow.

    Both are densities of the physical features: each carries its own preprocessing's Jacobian.
    """
    X, m = events[:, 1:-1], events[:, :1]
    return inner.predict_log_proba(X, m) - outer.predict_log_proba(X, m)
