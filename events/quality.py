"""Features that a density estimator cannot describe: spikes, boundaries, few values."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from models.dequantizer import cell_edges

logger = logging.getLogger(__name__)

LARGEST_SHARE = 0.01  # of the events that may have one and the same value
FEWEST_VALUES = 100  # of a feature that is not discrete


def warn_of_spikes(X: np.ndarray, names: Sequence[str], smeared: Sequence[str] = ()) -> None:
    """Name the features among X [n, d] that no continuous density describes: one warning for each, with what is wrong and its share.

    Those that are smeared before the density sees them are not looked at.
    """
    for name, values in zip(names, X.T, strict=True):
        if name not in smeared and (fault := spike(values)):
            logger.warning("the feature %s cannot be described by a density: %s", name, fault)


def is_discrete(values: np.ndarray) -> bool:
    """Whether a feature has few different values among so many events [n]."""
    return 1 < len(np.unique(values)) < min(FEWEST_VALUES, len(values) / 10)


def feature_range(X: np.ndarray) -> np.ndarray:
    """Lowest and highest value [2, d] of the features X [n, d].

    Discrete features reach half a spacing further, at both ends: their lowest and highest values are not on the boundary.

    Examples
    --------
    >>> feature_range(np.column_stack([np.linspace(0, 1, 300), np.tile([1.0, 2.0, 3.0], 100)]))
    array([[0. , 0.5],
           [1. , 3.5]])
    """
    ends = [cell_edges(np.unique(values))[[0, -1]] if is_discrete(values) else (values.min(), values.max()) for values in X.T]
    return np.array(ends, dtype=np.float64).T


def spike(values: np.ndarray) -> str:
    """What is wrong with the values [n] of a feature; empty where nothing is.

    Examples
    --------
    >>> spike(np.append(np.linspace(0, 1, 960), np.zeros(40)))
    '4.1 % of the events have the value 0, which is the lowest: they lie on the boundary and are cut'
    >>> spike(np.tile([1.0, 2.0, 3.0], 400))
    'it has only 3 different values: it must be dequantized'
    """
    distinct, counts = np.unique(values, return_counts=True)
    if is_discrete(values):
        return f"it has only {len(distinct)} different values: it must be dequantized"
    commonest = int(np.argmax(counts))
    share = counts[commonest] / len(values)
    if share <= LARGEST_SHARE:
        return ""
    text = f"{100 * share:.1f} % of the events have the value {distinct[commonest]:g}"
    if commonest in (0, len(distinct) - 1):
        text += f", which is the {'lowest' if commonest == 0 else 'highest'}: they lie on the boundary and are cut"
    return text


def n_shared(first: np.ndarray, second: np.ndarray) -> int:
    """How many events of the first array [n, k] are in the second one, too, with all their values.

    Examples
    --------
    >>> n_shared(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[3.0, 4.0], [2.0, 1.0]]))
    1
    """
    rows = [np.ascontiguousarray(a, dtype=np.float64).view([("", np.float64)] * a.shape[1])[:, 0] for a in (first, second)]
    return int(np.isin(*rows).sum())
