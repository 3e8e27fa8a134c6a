"""Which epochs are used: never a NaN, never a diverged one, none that is far from the best, the last ones where that is asked for."""

from __future__ import annotations

import numpy as np
import pytest

from models.density import DensityPreprocessing, StoredDensity, load_density
from models.flow import ConditionalNormalizingFlow
from models.training.epochs import MIXED_WITHIN, EpochRule, usable_epochs


def test_lowest_first():
    assert list(usable_epochs(np.array([3.0, 1, 2, 4]))) == [1, 2, 0, 3]


def test_nan_infinite_and_diverged_epochs_are_never_selected():
    losses = np.array([np.nan, 4.0, np.inf, -np.inf, 1e9, 3.0])
    assert usable_epochs(losses, ceiling=5.0) == {5: 3.0, 1: 4.0}
    assert list(usable_epochs(losses, ceiling=np.nan)) == [5, 1, 4]


def test_no_usable_epoch_is_an_error():
    with pytest.raises(ValueError, match="none of the 2 epochs"):
        usable_epochs(np.array([np.nan, 2.0]), ceiling=1.0)


def test_rules():
    usable = usable_epochs(np.array([5.3, 5.21, 5.2, 5.1, 5.1005]))
    assert EpochRule("lowest", 3).choose(usable) == [3, 4, 2]
    assert EpochRule("lowest", 10, within=0.001).choose(usable) == [3, 4]
    assert EpochRule("last", 2).choose(usable) == [4, 3]


def test_an_epoch_far_from_the_best_is_not_mixed_in(tmp_path):
    """Ten epochs in all, and ten are wanted: those of the beginning stay out."""
    rng = np.random.default_rng(0)
    m = rng.uniform(size=(3000, 1))
    X = m + rng.normal(size=(3000, 2)) ** 3
    flow = ConditionalNormalizingFlow(tmp_path, num_inputs=2, num_blocks=3, num_hidden=16, epochs=10, lr=3e-3, random_state=0)
    flow.fit(X, m)
    val = np.sort(flow.val_losses_[1:])
    assert val[-1] > val[0] + 0.05, "the first epoch is far from the best"
    flow.save(tmp_path, "flow")
    DensityPreprocessing.fit(X, use_logit=False, names=["a", "b"]).save(tmp_path / "flow_preprocessing.json")
    mixed = load_density(tmp_path, "flow").estimator
    assert len(getattr(mixed, "models", [mixed])) == np.sum(val <= val[0] + MIXED_WITHIN) < 10
    assert len(StoredDensity(tmp_path, "flow").versions(10)) == 10, "each by itself can be had"


def test_a_diverging_training_ends_in_one_sentence():
    rng = np.random.default_rng(0)
    X, m = rng.normal(size=(500, 2)), rng.uniform(size=(500, 1))
    flow = ConditionalNormalizingFlow(num_inputs=2, num_blocks=2, num_hidden=8, epochs=3, lr=1e30, random_state=0)
    with pytest.raises(ValueError, match="none of the 3 epochs has a finite validation loss"):
        flow.fit(X, m)
