"""Stage 4: the weights of the events in the loss."""

from __future__ import annotations

import numpy as np
import pytest

from background.classifiers import event_weights
from common.files import InputError


def test_balanced_weights_give_both_classes_the_same_sum():
    target = np.repeat([1, 0], [100, 900])
    weights = event_weights(np.zeros((1000, 7)), target, True, None)
    assert weights[target == 1].sum() == pytest.approx(500)
    assert weights.mean() == pytest.approx(1)


def test_cwola_weights_balance_regions_and_strips():
    m = np.concatenate([np.full(50, 3.5), np.full(300, 3.2), np.full(100, 3.8)])
    target = (m == 3.5).astype(int)
    weights = event_weights(m[:, None], target, False, 3.5)
    sums = [weights[m == value].sum() for value in (3.5, 3.2, 3.8)]
    np.testing.assert_allclose(sums, [225, 112.5, 112.5])


def test_no_weights_asked_for():
    assert (event_weights(np.zeros((3, 7)), np.array([1, 0, 0]), False, None) == 1).all()


def test_an_empty_strip_is_refused():
    with pytest.raises(InputError, match="SR_center"):
        event_weights(np.full((4, 1), 3.2), np.array([1, 0, 0, 0]), False, 9.0)
