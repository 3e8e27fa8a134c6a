"""ANODE: the ratio of two densities, no classifier (arXiv:2001.04990)."""

from __future__ import annotations

import numpy as np

from background.arrays import FIDUCIAL
from background.mode import Mode
from background.sampling import as_samples, sample_finite, sample_masses
from events.view import Events
from events.window import Window
from models.density import FeatureDensity

LARGEST_LOG = 700.0  # exp of it is still a float64
N_HELD_OUT = 200_000  # samples that say what a cut selects
KDE_BANDWIDTH = 0.01  # of their masses, as of CATHODE's


class Anode(Mode):
    """p_SR(x|m) / p_SB(x|m)."""

    name = "ANODE"
    background = "the SB flow and a second flow trained on the SR"
    score = "p_SR(x|m) / p_SB(x|m)"
    densities = ("sideband", "signal_region")


def log_likelihood_ratio(inner: FeatureDensity, outer: FeatureDensity, events: Events) -> np.ndarray:
    """log p_SR(x|m) - log p_SB(x|m) of every event [n], in nats; NaN outside the training range of either flow.

    Both are densities of the physical features: each carries its own preprocessing's Jacobian.
    """
    X, m = events.x, events.m[:, None]
    return inner.predict_log_proba(X, m) - outer.predict_log_proba(X, m)


def scored_log_ratio(inner: FeatureDensity, outer: FeatureDensity, events: Events, *, fiducial_cut: bool = False) -> np.ndarray:
    """`log_likelihood_ratio` of every event [n]; NaN also where a fiducial cut leaves it out.

    Parameters
    ----------
    fiducial_cut : bool
        Keep only events with every feature, scaled to (0, 1) by the range of the SR flow's training events, inside (0.05, 0.95).
    """
    log_ratio = log_likelihood_ratio(inner, outer, events)
    outside = ~np.isfinite(log_ratio)
    if fiducial_cut:
        low, high = inner.preprocessing.training_range
        scaled = (events.x - low) / (high - low)
        outside |= ~((scaled > FIDUCIAL[0]) & (scaled < FIDUCIAL[1])).all(axis=1)
    return np.where(outside, np.nan, log_ratio)


def likelihood_ratio(
    inner: FeatureDensity, outer: FeatureDensity, events: Events, *, fiducial_cut: bool = False
) -> tuple[np.ndarray, int]:
    """ANODE's anomaly score of every event [n], and how many lie outside the training range of either flow.

    Those cannot be scored; they stay in the test set as the least anomalous ones, with ratio 0. So does what a fiducial cut leaves out,
    see `scored_log_ratio`.
    """
    log_ratio = scored_log_ratio(inner, outer, events, fiducial_cut=fiducial_cut)
    outside = np.isnan(log_ratio)
    return np.where(outside, 0.0, np.exp(np.clip(log_ratio, -LARGEST_LOG, LARGEST_LOG))), int(outside.sum())


def held_out_background(outer: FeatureDensity, sr_masses: np.ndarray, window: Window, rng: np.random.Generator) -> Events:
    """Samples of the sideband's density at SR masses, which neither flow has seen: what a cut on the ratio selects of the background."""
    m = sample_masses(sr_masses, N_HELD_OUT, window, KDE_BANDWIDTH, rng)
    return as_samples(m, sample_finite(outer, m, rng))


MODE = Anode()
