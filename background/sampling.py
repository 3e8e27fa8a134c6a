"""Background events in the signal region: masses, and features sampled from a density at these masses."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.special import expit, logit

from common.errors import InputError
from common.files import load_array
from events.view import SAMPLE_LABEL, Events, drop_nan_rows
from events.window import Window
from models.density import FeatureDensity

logger = logging.getLogger(__name__)

MAX_REDRAWS = 10
MAX_SHARE_OUTSIDE = 0.01  # of the samples


def as_samples(m: np.ndarray, x: np.ndarray) -> Events:
    """Events from masses m [n] (TeV) and features x [n, d] that nobody has measured."""
    return Events(np.column_stack([m, x, np.full(len(m), SAMPLE_LABEL)]))


def sample_masses(
    sr_masses: np.ndarray, n_samples: int, window: Window, kde_bandwidth: float | None, rng: np.random.Generator
) -> np.ndarray:
    """m_JJ (TeV) at which background is sampled.

    Parameters
    ----------
    sr_masses : array [n]
        SR training masses (TeV).
    kde_bandwidth : float or None
        Width of a Gaussian kernel density estimate of the logit of the masses scaled to (0, 1) by the SR; None samples uniformly.
    """
    low, high = window.edges
    if kde_bandwidth is None:
        return rng.uniform(low, high, n_samples)
    # A draw from a Gaussian KDE is a random training event plus Gaussian noise of the kernel's width.
    z = logit((rng.choice(np.asarray(sr_masses, dtype=np.float64), n_samples) - low) / (high - low))
    return low + (high - low) * expit(z + rng.normal(scale=kde_bandwidth, size=n_samples))


def sample_finite(density: FeatureDensity, m: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One event x ~ p(x|m) for every mass m [n] (TeV); what is not finite is drawn again, and counted in the log.

    Raises
    ------
    InputError
        If events are still not finite after `MAX_REDRAWS` draws.
    """
    features = density.sample(m[:, None], rng)
    counts = []
    while (bad := np.flatnonzero(~np.isfinite(features).all(axis=1))).size:
        counts.append(bad.size)
        if len(counts) > MAX_REDRAWS:
            raise InputError(
                f"the density estimator: {bad.size} of {len(m)} samples are not finite, after {MAX_REDRAWS} further draws"
            )
        features[bad] = density.sample(m[bad, None], rng)
    logger.info("%d background events sampled, %d not finite and drawn again", len(m), sum(counts))
    return features


def warn_of_extrapolation(
    features: np.ndarray,
    training_range: tuple[np.ndarray, np.ndarray],
    names: Sequence[str],
    whose: str = "the training range",
) -> None:
    """Warn where more than 1 % of the sampled features [n, d] lie outside the range of the training events."""
    low, high = training_range
    outside = ((features < low) | (features > high)).mean(axis=0)
    for k in np.flatnonzero(outside > MAX_SHARE_OUTSIDE):
        logger.warning("%.1f %% of the sampled events lie outside %s of %s", 100 * outside[k], whose, names[k])


def load_external_samples(paths: Sequence[Path], n_features: int, window: Window) -> Events:
    """Background samples made elsewhere, columns m_JJ (TeV) then features: those inside the SR.

    Raises
    ------
    InputError
        If a file is unreadable, has other columns, or if there are not two samples in the SR.
    """
    parts = []
    for path in paths:
        samples = load_array(path)
        if samples.ndim != 2 or samples.shape[1] != 1 + n_features:
            raise InputError(
                f"{path}: wrong number of columns: shape {samples.shape}, expected [n, {1 + n_features}] (m_JJ, features)"
            )
        samples = drop_nan_rows(samples, path)
        inside = window.contains(samples[:, 0])
        logger.info("%s: %d of %d samples are in the signal region", path, inside.sum(), len(samples))
        parts.append(samples[inside])
    joined = np.concatenate(parts)
    if len(joined) < 2:
        raise InputError(f"{paths[0]}: no sample in {window}")
    return as_samples(joined[:, 0], joined[:, 1:])
