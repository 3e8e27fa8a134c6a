"""What the classifier is given: inputs, target, and the weights of the events in the loss."""

from __future__ import annotations

import numpy as np
import pytest

from background.arrays import ClassifierArrays
from background.options import LearningOptions
from background.registry import MODES
from background.weights import balanced
from common.errors import InputError
from events.columns import Columns
from events.view import DATA, SAMPLE, SAMPLE_LABEL, Events


def events(m: np.ndarray, is_data: np.ndarray) -> Events:
    """Events of these masses with one feature, their mass."""
    return Events(np.column_stack([m, m, np.where(is_data, DATA, SAMPLE), np.full(len(m), SAMPLE_LABEL)]), mixed=True)


def weights(mode: str, m: np.ndarray, target: np.ndarray, **options: object) -> np.ndarray:
    return MODES.get(mode).weights(events(m, target == 1), target, LearningOptions(mode=mode, **options))


def test_balanced_weights_give_both_classes_the_same_sum():
    target = np.repeat([1, 0], [100, 900])
    given = weights("CATHODE", np.full(1000, 3.5), target, use_class_weights=True)
    assert given[target == 1].sum() == pytest.approx(500)
    assert given.mean() == pytest.approx(1)


def test_cwola_weights_balance_regions_and_strips():
    m = np.concatenate([np.full(50, 3.5), np.full(300, 3.2), np.full(100, 3.8)])
    given = weights("CWoLa", m, (m == 3.5).astype(int))
    sums = [given[m == value].sum() for value in (3.5, 3.2, 3.8)]
    np.testing.assert_allclose(sums, [225, 112.5, 112.5])


def test_no_weights_asked_for():
    assert (weights("CATHODE", np.full(3, 3.5), np.array([1, 0, 0])) == 1).all()


def test_an_empty_strip_is_refused():
    with pytest.raises(InputError, match="SR_center"):
        weights("CWoLa", np.full(4, 3.2), np.array([1, 0, 0, 0]), SR_center=9.0)
    with pytest.raises(InputError, match="empty"):
        balanced(np.array([1, 1]), {1: 0.5, 0: 0.5})


@pytest.mark.parametrize("use_mjj", [False, True])
@pytest.mark.parametrize("separate", [False, True])
def test_inputs_and_targets(use_mjj, separate):
    train, val = (events(np.linspace(3.3, 3.7, n), np.arange(n) % 2 == 0) for n in (40, 20))
    arrays = ClassifierArrays(train, val, val, None, None, Columns.positional(1))
    options = LearningOptions(separate_val_set=separate, use_mjj=use_mjj)
    sets = MODES.get("CATHODE").training_sets(arrays, options)
    assert [len(X) for X, _, _ in sets] == ([40, 20] if separate else [60])
    X, target, _ = sets[0]
    assert X.shape[1] == 1 + use_mjj
    assert target[:4].tolist() == [1, 0, 1, 0]
    if use_mjj and separate:
        assert X[:, 0].mean() == pytest.approx(0, abs=1e-6)
        assert X[:, 0].std() == pytest.approx(1)


def test_labels_are_learned_only_where_they_are():
    train = events(np.linspace(3.3, 3.7, 40), np.arange(40) % 2 == 0)
    arrays = ClassifierArrays(train, train, train, None, None, Columns.positional(1))
    with pytest.raises(InputError, match="the supervised mode needs the labels 1 and 0"):
        MODES.get("supervised").training_sets(arrays, LearningOptions(mode="supervised"))
