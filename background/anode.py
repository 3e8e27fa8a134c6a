"""ANODE: the ratio of two densities, no classifier (arXiv:2001.04990)."""

from __future__ import annotations

import numpy as np

from background.arrays import FIDUCIAL
from background.mode import Mode
from events.view import Events
from models.density import FeatureDensity

LARGEST_LOG = 700.0  # exp of it is still a float64


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


def likelihood_ratio(
    inner: FeatureDensity, outer: FeatureDensity, events: Events, *, fiducial_cut: bool = False
) -> tuple[np.ndarray, int]:
    """ANODE's anomaly score of every event [n], and how many lie outside the training range of either flow.

    Those cannot be scored; they stay in the test set as the least anomalous ones, with ratio 0. So does what a fiducial cut leaves out.

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
    return np.where(outside, 0.0, np.exp(np.clip(log_ratio, -LARGEST_LOG, LARGEST_LOG))), int(outside.sum())


MODE = Anode()
