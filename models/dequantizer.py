"""Discrete features as continuous ones: a density describes them once they are smeared by their own spacing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from common.errors import InputError
from common.seeds import make_rng
from models.arrays import as_matrix


class Dequantizer(TransformerMixin, BaseEstimator):
    """Smear discrete columns evenly over the cells around their values; `inverse_transform` rounds back to these values.

    A cell reaches halfway to the values next to it, and beyond the lowest and the highest value as far as towards the inside. A column of
    whole numbers, for example, is smeared by -0.5 to 0.5 (uniform dequantization, arXiv:1511.01844).

    Parameters
    ----------
    columns : sequence of int
        Which columns are smeared; the others are left as they are.
    random_state : int
        Of the smearing. The same events are always smeared alike.

    Attributes
    ----------
    values_ : list of arrays
        The values of every one of these columns, in ascending order.

    Examples
    --------
    >>> dequantizer = Dequantizer(columns=[0]).fit([[0.0], [1.0], [3.0]])
    >>> smeared = dequantizer.transform([[0.0], [1.0], [3.0]])
    >>> bool(-0.5 < smeared[0, 0] < 0.5 < smeared[1, 0] < 2.0 < smeared[2, 0] < 4.0)
    True
    >>> dequantizer.inverse_transform(smeared).ravel()
    array([0., 1., 3.])
    """

    def __init__(self, columns: Sequence[int] = (), random_state: int = 0) -> None:
        self.columns = columns
        self.random_state = random_state

    def fit(self, X: np.ndarray, y: Any = None) -> Dequantizer:
        """Learn the values of the columns of X [n, d].

        Raises
        ------
        InputError
            If a column has one value only.
        """
        X = np.asarray(X)
        self.n_features_in_ = X.shape[1]
        self.values_ = [np.unique(X[:, column][np.isfinite(X[:, column])]).astype(np.float64) for column in self.columns]
        for column, values in zip(self.columns, self.values_, strict=True):
            if len(values) < 2:
                raise InputError(f"feature {column} is constant, it has no spacing to be smeared by")
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """X [n, d] with its discrete columns smeared; a value that was not there in training counts as the one next to it."""
        check_is_fitted(self)
        if not self.columns:
            return np.asarray(X)  # without a copy
        smeared, rng = as_matrix(X, width=self.n_features_in_, owner=self).copy(), make_rng(self.random_state, "dequantizer")
        for column, values in zip(self.columns, self.values_, strict=True):
            edges, cell = cell_edges(values), nearest(values, smeared[:, column])
            within = edges[cell] + rng.random(len(cell)) * (edges[cell + 1] - edges[cell])
            smeared[:, column] = np.where(np.isfinite(smeared[:, column]), within, np.nan)
        return smeared

    def inverse_transform(self, Z: np.ndarray) -> np.ndarray:
        """Z [n, d] with its discrete columns rounded to their values."""
        check_is_fitted(self)
        rounded = np.array(Z, dtype=np.float64)
        for column, values in zip(self.columns, self.values_, strict=True):
            rounded[:, column] = np.where(np.isfinite(rounded[:, column]), values[nearest(values, rounded[:, column])], np.nan)
        return rounded

    def log_jacobian_determinant(self, X: np.ndarray) -> np.ndarray:
        """0 for every event [n]: smeared events have the unit of the feature."""
        return np.zeros(len(X))

    def inverse_log_jacobian_determinant(self, Z: np.ndarray) -> np.ndarray:
        """0 for every event [n]."""
        return np.zeros(len(Z))

    def to_dict(self) -> dict[str, Any]:
        """What was learned, as plain numbers for a JSON file."""
        return {"columns": list(self.columns), "values": [values.tolist() for values in self.values_]}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], n_features: int) -> Dequantizer:
        """What `to_dict` described, of events with so many features.

        Raises
        ------
        ValueError
            If it describes no such thing.
        """
        columns, values = content["columns"], [np.asarray(each, dtype=np.float64) for each in content["values"]]
        if len(columns) != len(values) or not all(type(column) is int and 0 <= column < n_features for column in columns):
            raise ValueError("columns to be smeared that do not exist, or without values")
        if not all(each.ndim == 1 and len(each) > 1 and np.isfinite(each).all() and (np.diff(each) > 0).all() for each in values):
            raise ValueError("values of a discrete feature that are not ascending numbers")
        dequantizer = cls(columns)
        dequantizer.n_features_in_, dequantizer.values_ = n_features, values
        return dequantizer


def cell_edges(values: np.ndarray) -> np.ndarray:
    """Where the cells around ascending values [k] begin and end [k + 1].

    Examples
    --------
    >>> cell_edges(np.array([0.0, 1.0, 3.0]))
    array([-0.5,  0.5,  2. ,  4. ])
    """
    middles = (values[1:] + values[:-1]) / 2
    return np.concatenate([[2 * values[0] - middles[0]], middles, [2 * values[-1] - middles[-1]]])


def nearest(values: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Which of the ascending values [k] is nearest to every x [n]."""
    return np.searchsorted((values[1:] + values[:-1]) / 2, x)
