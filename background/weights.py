"""Weights of events in the classifier's loss."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from common.errors import InputError


def balanced(group: np.ndarray, shares: Mapping[int, float]) -> np.ndarray:
    """Weights [n] of mean 1 with which every group has its share of the total.

    Parameters
    ----------
    group : array [n]
        The group of every event, a key of `shares`.
    shares : mapping
        They add up to 1.

    Raises
    ------
    InputError
        If a group is empty.

    Examples
    --------
    >>> balanced(np.array([1, 0, 0, 0]), {1: 0.5, 0: 0.5}).round(3).tolist()
    [2.0, 0.667, 0.667, 0.667]
    """
    weights = np.empty(len(group))
    for value, share in shares.items():
        members = group == value
        if not members.any():
            raise InputError("the events cannot be weighted: a class, or one of the two sideband strips, is empty")
        weights[members] = share * len(group) / members.sum()
    return weights
