"""LaCATHODE's classifier arrays: data in the latent space of the sideband's flow against N(0, 1) (arXiv:2210.14924).

Every epoch of the flow is a latent space of its own. The arrays of the best one are in the run's folder, those of further ones below it.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from background.arrays import ClassifierArrays, mix, share_out, write_classifier_arrays
from background.densities import load_density_ensemble
from common.files import InputError
from data_handler import make_rng
from events.regions import EventSource
from models.scalers import ExtPipeline
from plots.figures import MASS_LABEL

logger = logging.getLogger(__name__)

OUTPUTS = tuple(f"{folder}{name}" for folder in ("", "latent_[0-9]*/") for name in ("X_*.npy", "y_*.npy", "data_vs_samples.png"))
LATENT_OVERSAMPLING = 4  # N(0, 1) events per data event, as published


def latent_folder(savedir: Path, number: int) -> Path:
    """Where the arrays of a latent space are: the first in the run's folder, the others below it."""
    return savedir if number == 0 else savedir / f"latent_{number}"


def latent_folders(savedir: Path) -> list[Path]:
    """The run's folder and those of its further latent spaces, if any."""
    further = (latent_folder(savedir, number) for number in itertools.count(1))
    return [savedir, *itertools.takewhile(lambda folder: (folder / "X_train.npy").is_file(), further)]


def mix_latent(source: EventSource, flow: ExtPipeline, extra_signal: bool) -> ClassifierArrays:
    """SR data in the latent space of the sideband's flow against N(0, 1), four times as many (arXiv:2210.14924).

    Events outside the flow's training range have no latent coordinates: they are dropped and counted in the log.
    """
    train, val = source.signal_region()
    rng = make_rng(source.seed, "latent background")
    n_background = LATENT_OVERSAMPLING * (len(train) + len(val))
    masses = rng.choice(train[:, 0], n_background)  # independent of the latent coordinates
    background = np.column_stack([masses, rng.standard_normal((n_background, train.shape[1] - 2))])

    def to_latent(name: str, events: np.ndarray) -> np.ndarray:
        latent = flow.transform(events[:, 1:-1], events[:, :1])
        inside = np.isfinite(latent).all(axis=1)
        if not inside.any():
            raise InputError(f"{name}: no event lies inside the range the density estimator was trained on")
        logger.info("%s: %d of %d events outside the density estimator's range dropped", name, (~inside).sum(), len(events))
        return np.column_stack([events[:, :1], latent, events[:, -1:]])[inside]

    shares = share_out(background, len(train), len(val), True, rng)
    return mix((train, val), shares, source, extra_signal=extra_signal, transform=to_latent)


def write_latent_arrays(
    source: EventSource,
    epochs: Sequence[Path],
    config: Mapping[str, Any],
    savedir: Path,
    *,
    trained_with_logit: bool,
    extra_signal: bool,
    fiducial_cut: bool,
    device: str,
) -> dict[str, Any]:
    """Write the classifier arrays of the latent space of every one of the flow's `epochs` (.par); returns their numbers of events."""
    counts = {}
    n_features = source.test().shape[1] - 2
    labels = [MASS_LABEL, *(f"latent $z_{k + 1}$" for k in range(n_features))]
    for number, path in enumerate(epochs):
        flow = load_density_ensemble([path], config, n_features, source.shift, device, trained_with_logit)
        arrays = mix_latent(source, flow, extra_signal)
        folder = latent_folder(savedir, number)
        names = ("data", "N(0, 1)")
        counts[f"latent space {number}"] = write_classifier_arrays(
            arrays, folder, use_logit=False, fiducial_cut=fiducial_cut, names=names, labels=labels
        )
    return counts
