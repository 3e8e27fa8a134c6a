"""ANODE's likelihood ratio."""

from __future__ import annotations

import numpy as np
import pytest
from toys import toy_background

from background.anode import likelihood_ratio, log_likelihood_ratio
from events.view import Events
from models.density import DensityPreprocessing, FeatureDensity
from models.flow import ConditionalNormalizingFlow


def test_anode_ratio_is_one_without_signal():
    """Two flows that work in different spaces, one with logit and one without, describe the same density: log ratio 0, narrow."""
    rng = np.random.default_rng(0)
    densities = []
    for n, masses in ((12000, (2.5, 4.5)), (6000, (3.3, 3.7))):
        events = Events(toy_background(n, rng, rng.uniform(*masses, n)))
        preprocessing = DensityPreprocessing.fit(events.x, use_logit=n == 12000, names=["a", "b", "c", "d"])
        flow = ConditionalNormalizingFlow(num_blocks=3, num_hidden=16, epochs=12, lr=3e-3, schedule="one_cycle", random_state=n)
        flow.fit(preprocessing.scaler.transform(events.x), events.m[:, None])
        densities.append(FeatureDensity(preprocessing, flow))
    test = Events(toy_background(4000, rng, rng.uniform(3.3, 3.7, 4000)))
    log_ratio = log_likelihood_ratio(densities[1], densities[0], test)
    inside = np.isfinite(log_ratio)
    ratio, n_outside = likelihood_ratio(densities[1], densities[0], test)
    assert n_outside == (~inside).sum()
    assert (ratio[~inside] == 0).all()
    cut, n_cut = likelihood_ratio(densities[1], densities[0], test, fiducial_cut=True)
    low, high = densities[1].preprocessing.training_range
    middle = (np.abs((test.x - low) / (high - low) - 0.5) < 0.45).all(axis=1)
    assert n_cut == (~(inside & middle)).sum() > n_outside
    np.testing.assert_array_equal(cut, np.where(middle, ratio, 0))
    log_ratio = log_ratio[inside]
    assert len(log_ratio) > 3950
    assert log_ratio.mean() == pytest.approx(0, abs=0.05)
    assert log_ratio.std() < 0.45
    assert np.median(ratio[inside]) == pytest.approx(1, abs=0.1)
