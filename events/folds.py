"""Folds: which one an event belongs to, and what the others do while one is scored."""

from __future__ import annotations

import numpy as np

from common.seeds import make_rng


def fold_numbers(n_events: int, n_folds: int, rng: np.random.Generator) -> np.ndarray:
    """The fold [n] of every event, at random; folds differ by one event at most.

    Examples
    --------
    >>> np.bincount(fold_numbers(11, 3, np.random.default_rng(1))).tolist()
    [4, 4, 3]
    """
    return rng.permutation(np.arange(n_events, dtype=np.int32) % n_folds)


def folds_of_data(n_events: int, n_folds: int) -> np.ndarray:
    """The fold [n] of every event of data.npy: the same for every seed, so that a flow fits to the classifiers of all who share it."""
    return fold_numbers(n_events, n_folds, make_rng(0, "folds"))


def learned_from(scored: int, n_folds: int) -> tuple[list[int], list[int]]:
    """The folds that train, and those that validate, what will score one fold.

    Examples
    --------
    >>> learned_from(0, 5), learned_from(4, 5)
    (([2, 3, 4], [1]), ([1, 2, 3], [0]))
    """
    validate = [(scored + 1) % n_folds]
    return [fold for fold in range(n_folds) if fold not in (scored, *validate)], validate
