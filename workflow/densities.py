"""The trainings of stage 2: one density estimator or one for every fold, and those of the closure test."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from background.arrays import fold_folder
from background.densities import train_density
from background.options import DensityOptions
from common.files import save_json, writable_folder
from common.processes import run_side_by_side, usable_cores
from evaluation.closure import Closure, closure_test, mean_auc, pseudo_signal_regions
from events.quality import warn_of_spikes
from events.regions import EventSource
from events.view import Events
from events.window import Window
from models.arrays import pick_device
from models.density import FeatureDensity, TrainedDensity
from models.training.checkpoints import CHECKPOINT, Checkpoint
from plots import losses as figures
from plots.closure import closure_pulls
from plots.style import save

logger = logging.getLogger(__name__)


def train(options: DensityOptions, name: str, folder: Path) -> dict[str, Any]:
    """Train the density estimator of a region and write it; returns what STAGE.json says of it."""
    source = EventSource(options)  # read anew in every stage, so that the memory is free for the next one
    split = {"separate_val_set": options.separate_val_set}
    events = source.signal_region(**split) if options.inner_model else source.sideband()
    warn_of_spikes(events[0].x, source.columns.names, options.dequantize)
    trained = train_density(
        options, source, *events, options.window.center,
        purpose=f"density estimator {name}", checkpoint=Checkpoint(folder / CHECKPOINT),
    )  # fmt: skip
    return _written(trained, name, folder, name, options.figures)


def train_in_folds(options: DensityOptions, name: str, folder: Path) -> dict[str, Any]:
    """Train one for every fold, which has seen nothing of it, side by side where there are cores; results by fold."""
    source, n_folds = EventSource(options), options.k_folds
    warn_of_spikes(source.sideband_for_fold(0, n_folds)[0].x, source.columns.names, options.dequantize)

    def train_for(fold: int) -> dict[str, Any]:
        title, checkpoint = f"{name}, fold {fold}", Checkpoint(folder / CHECKPOINT).below(f"fold_{fold}")
        trained = train_density(
            options, source, *source.sideband_for_fold(fold, n_folds), options.window.center,
            purpose=f"density estimator {title}", checkpoint=checkpoint, fold=fold,
        )  # fmt: skip
        return _written(trained, name, writable_folder(fold_folder(folder, fold)), title, options.figures)

    found = run_side_by_side([partial(train_for, fold) for fold in range(n_folds)], _at_a_time(options))
    return {f"fold {fold}": results for fold, results in enumerate(found)}


def _written(trained: TrainedDensity, name: str, folder: Path, title: str, figure_format: str) -> dict[str, Any]:
    """Write a density estimator with its losses; returns the validation losses, -log p per event in nats for logit-transformed,
    standardized features.
    """
    trained.save(folder, name)
    curves = {"training": trained.train_losses, "validation": trained.val_losses}
    figure = figures.loss_curves(curves, r"$-\log p(x|m)$ per event (nats)", first_epoch=-1)
    save(figure, folder / f"{name}_losses.{figure_format}")
    val_losses = trained.val_losses
    best = int(np.nanargmin(val_losses[1:]))
    lowest, n_epochs = float(val_losses[best + 1]), int(np.isfinite(val_losses[1:]).sum())
    logger.info("%s: lowest validation loss %.4f nats in epoch %d", title, lowest, best)
    return {"lowest_validation_loss": lowest, "in_epoch": best, "epochs": n_epochs, "mixed_versions": trained.n_mixed}


def examine_closure(options: DensityOptions, name: str, folder: Path) -> dict[str, Any]:
    """Train without each of several pseudo signal regions, and compare samples with the data there."""
    source = EventSource(options)
    sideband, columns, checkpoint = source.sideband(), source.columns, Checkpoint(folder / CHECKPOINT)
    regions = pseudo_signal_regions(np.concatenate([events.m for events in sideband]), options.window, options.closure)

    def test(number: int) -> Closure:
        purpose = f"closure test {number} of {name}"

        def learn(train: Events, val: Events, left_out: Window) -> FeatureDensity:
            place = checkpoint.below(f"region_{number}")
            return train_density(options, source, train, val, left_out.center, purpose=purpose, checkpoint=place).density()

        return closure_test(learn, sideband, regions[number], source.rng(purpose))

    tests = run_side_by_side([partial(test, number) for number in range(len(regions))], _at_a_time(options))
    for found in tests:
        text = "%s: closure in %s: two-sample AUC %.4f ± %.4f (%d events)"
        logger.info(text, name, found.window, found.auc, found.auc_error, found.n_events)
    auc, error = mean_auc(tests)
    logger.info("%s: closure, mean two-sample AUC %.4f ± %.4f (%d regions)", name, auc, error, len(tests))
    results: dict[str, Any] = {"mean_two_sample_auc": auc, "mean_two_sample_auc_error": error}
    results["regions"] = [found.summary(columns.names) for found in tests]
    save_json(folder / f"{name}_closure.json", results | {"regions": [found.content(columns.names) for found in tests]})
    save(closure_pulls(tests, columns.axes[1:]), folder / f"{name}_closure.{options.figures}")
    return results


def _at_a_time(options: DensityOptions) -> int:
    """How many trainings go on at a time."""
    return 1 if pick_device(options.device).type != "cpu" else usable_cores(options.threads)  # a forked process cannot use a GPU
