"""ANODE: the ratio of two densities, no classifier (arXiv:2001.04990)."""

from __future__ import annotations

import numpy as np

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


def likelihood_ratio(inner: FeatureDensity, outer: FeatureDensity, events: Events) -> tuple[np.ndarray, int]:
    """ANODE's anomaly score of every event [n], and how many lie outside the training range of either flow.

    Those cannot be scored; they stay in the test set as the least anomalous ones, with ratio 0.
    """
    log_ratio = log_likelihood_ratio(inner, outer, events)
    outside = ~np.isfinite(log_ratio)
    return np.where(outside, 0.0, np.exp(np.clip(log_ratio, -LARGEST_LOG, LARGEST_LOG))), int(outside.sum())


MODE = Anode()
