"""Which epochs are used: never a NaN, never a diverged one, all of them where there are too few."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from models.flow import ConditionalNormalizingFlow
from models.training.epochs import best_epochs


def test_lowest_first():
    assert best_epochs(np.array([3.0, 1, 2, 4]), 3).tolist() == [1, 2, 0]


def test_nan_infinite_and_diverged_epochs_are_never_selected(caplog):
    caplog.set_level(logging.INFO)
    losses = np.array([np.nan, 4.0, np.inf, -np.inf, 1e9, 3.0])
    assert best_epochs(losses, 10, ceiling=5.0).tolist() == [5, 1]
    assert "only 2 of 6 epochs are usable" in caplog.text
    assert best_epochs(losses, 10, ceiling=np.nan).tolist() == [5, 1, 4]


def test_no_usable_epoch_is_an_error():
    with pytest.raises(ValueError, match="none of the 2 epochs"):
        best_epochs(np.array([np.nan, 2.0]), 1, ceiling=1.0)


def test_a_diverging_training_ends_in_one_sentence():
    rng = np.random.default_rng(0)
    X, m = rng.normal(size=(500, 2)), rng.uniform(size=(500, 1))
    flow = ConditionalNormalizingFlow(num_inputs=2, num_blocks=2, num_hidden=8, epochs=3, lr=1e30, random_state=0)
    with pytest.raises(ValueError, match="none of the 3 epochs has a finite validation loss"):
        flow.fit(X, m)
