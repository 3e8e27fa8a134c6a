"""Samples of the background: at which masses, and what becomes of those that are not finite or lie elsewhere."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from scipy.stats import ks_2samp
from toys import SR

from background.sampling import sample_finite, sample_masses, warn_of_extrapolation
from common.errors import InputError
from events.window import Window


def test_kde_masses_follow_the_data_and_stay_in_the_signal_region():
    rng = np.random.default_rng(0)
    data = SR[0] + 0.4 * rng.beta(1, 3, 20000)
    sampled = sample_masses(data, 20000, Window(*SR), 0.01, rng)
    assert SR[0] < sampled.min() < sampled.max() < SR[1]
    assert ks_2samp(data, sampled).pvalue > 0.01
    assert len(np.unique(sampled)) == 20000  # smoothed, not resampled
    uniform = sample_masses(data, 20000, Window(*SR), None, rng)
    assert uniform.mean() == pytest.approx(3.5, abs=0.005)


class BadSampler:
    """A density whose first samples are not all finite."""

    def __init__(self, n_bad: list[int]) -> None:
        self.n_bad, self.n_drawn = n_bad, []

    def sample(self, m: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        n = len(m)
        assert m.shape == (n, 1)
        self.n_drawn.append(n)
        features = np.column_stack([m, rng.normal(size=(n, 1))])
        features[: self.n_bad[len(self.n_drawn) - 1], 1] = np.nan
        return features


def test_samples_that_are_not_finite_are_drawn_again(caplog):
    caplog.set_level(logging.INFO)
    m = np.linspace(3.3, 3.7, 100)
    density = BadSampler([7, 2, 0])
    features = sample_finite(density, m, np.random.default_rng(0))
    np.testing.assert_array_equal(features[:, 0], m)
    assert np.isfinite(features).all()
    assert density.n_drawn == [100, 7, 2]
    assert "100 background events sampled, 9 not finite and drawn again" in caplog.text
    with pytest.raises(InputError, match="are not finite, after 10 further draws"):
        sample_finite(BadSampler([1] * 20), m, np.random.default_rng(0))


def test_samples_outside_the_training_range_are_reported(caplog):
    features = np.zeros((1000, 4))
    features[:10, 1], features[:11, 3] = 2, -2
    warn_of_extrapolation(features, (-np.ones(4), np.ones(4)), ["m_J1", "delta_m_J", "tau21_J1", "tau21_J2"])
    assert [record.getMessage() for record in caplog.records] == [
        "1.1 % of the sampled events lie outside the training range of tau21_J2"
    ]
