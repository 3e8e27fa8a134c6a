"""Feature scalers that know their Jacobian, so that densities can be carried back to the physical features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import expit, log_expit, logit
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from models.arrays import as_matrix
from models.persistence import InputError


class LogitScaler(TransformerMixin, BaseEstimator):
    """Scale every feature by its range to (epsilon, 1 - epsilon), then take the logit.

    Values on or beyond the boundary of the open interval (0, 1) have no logit and become NaN.

    Parameters
    ----------
    epsilon : float
        Margin kept free at both ends, 0 <= epsilon < 0.5. With 0 the events that define the range become NaN themselves.

    Examples
    --------
    >>> scaler = LogitScaler().fit([[0.0], [4.0]])
    >>> scaler.transform([[1.0], [2.0], [5.0]]).ravel().round(4)
    array([-1.0986,  0.    ,     nan])
    """

    def __init__(self, epsilon: float = 0.0) -> None:
        self.epsilon = epsilon

    def fit(self, X: np.ndarray, y: Any = None) -> LogitScaler:
        """Learn the range of every column of X [n, d]; NaN rows are ignored."""
        X = as_matrix(X)
        self.n_features_in_ = X.shape[1]
        self.data_min_ = np.nanmin(X, axis=0)
        self.data_max_ = np.nanmax(X, axis=0)
        if not np.all(self.data_max_ > self.data_min_):
            column = int(np.flatnonzero(~(self.data_max_ > self.data_min_))[0])
            raise InputError(f"feature {column} is constant, it has no range to scale by")
        return self

    def scale(self, X: np.ndarray) -> np.ndarray:
        """Features scaled by their range to (epsilon, 1 - epsilon); values outside (0, 1) are left as they come."""
        check_is_fitted(self)
        X = as_matrix(X, width=self.n_features_in_)
        return self.epsilon + (1 - 2 * self.epsilon) * (X - self.data_min_) / (self.data_max_ - self.data_min_)

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Logits of the scaled features [n, d]; NaN where a scaled feature is not inside (0, 1)."""
        scaled = self.scale(X)
        return logit(np.where((scaled > 0) & (scaled < 1), scaled, np.nan))

    def inverse_transform(self, Z: np.ndarray) -> np.ndarray:
        """Features of the logits Z [n, d]."""
        check_is_fitted(self)
        span = self.data_max_ - self.data_min_
        return self.data_min_ + span * (expit(np.asarray(Z, dtype=np.float64)) - self.epsilon) / (1 - 2 * self.epsilon)

    def log_jacobian_determinant(self, X: np.ndarray) -> np.ndarray:
        """log |dz/dx| of every event [n], in nats; NaN where `transform` is NaN."""
        return -self.inverse_log_jacobian_determinant(self.transform(X))

    def inverse_log_jacobian_determinant(self, Z: np.ndarray) -> np.ndarray:
        """log |dx/dz| of every event [n], in nats."""
        check_is_fitted(self)
        Z = np.asarray(Z, dtype=np.float64)
        span = (self.data_max_ - self.data_min_) / (1 - 2 * self.epsilon)
        return np.sum(log_expit(Z) + log_expit(-Z) + np.log(span), axis=1)


class ExtStandardScaler(StandardScaler):
    """scikit-learn's StandardScaler (population variance), extended by the Jacobian."""

    def log_jacobian_determinant(self, X: np.ndarray) -> np.ndarray:
        """log |dz/dx| of every event [n], in nats."""
        check_is_fitted(self)
        return np.full(len(X), -np.sum(np.log(self.scale_)))

    def inverse_log_jacobian_determinant(self, Z: np.ndarray) -> np.ndarray:
        """log |dx/dz| of every event [n], in nats."""
        return -self.log_jacobian_determinant(Z)


class ExtPipeline(Pipeline):
    """A scikit-learn Pipeline of scalers that carries the Jacobian through."""

    def log_jacobian_determinant(self, X: np.ndarray) -> np.ndarray:
        """log |dz/dx| of every event [n], in nats, summed over the steps."""
        total = np.zeros(len(X))
        for _, step in self.steps:
            total += step.log_jacobian_determinant(X)
            X = step.transform(X)
        return total

    def inverse_log_jacobian_determinant(self, Z: np.ndarray) -> np.ndarray:
        """log |dx/dz| of every event [n], in nats, summed over the steps."""
        return -self.log_jacobian_determinant(self.inverse_transform(Z))


def make_scaler(*, use_logit: bool) -> ExtPipeline:
    """The preprocessing of flows and classifiers: (range and logit, then) zero mean and unit variance."""
    steps = [("logit", LogitScaler())] if use_logit else []
    return ExtPipeline([*steps, ("standard", ExtStandardScaler())])


_LEARNED = {"logit": ("data_min_", "data_max_"), "standard": ("mean_", "scale_", "var_")}


def scaler_to_dict(scaler: ExtPipeline) -> dict[str, Any]:
    """What a fitted `make_scaler` has learned, as plain numbers for a JSON file."""
    return {name: {key: getattr(step, key).tolist() for key in _LEARNED[name]} for name, step in scaler.steps}


def scaler_from_dict(content: Mapping[str, Any]) -> ExtPipeline:
    """The fitted scaler that `scaler_to_dict` described.

    Raises
    ------
    InputError
        If entries are missing, not numbers, or of different lengths.
    """
    scaler = make_scaler(use_logit="logit" in content)
    try:
        n_features = {len(content[name][key]) for name, _ in scaler.steps for key in _LEARNED[name]}
        if len(n_features) != 1:
            raise InputError("preprocessing: entries of different lengths")
        for name, step in scaler.steps:
            for key in _LEARNED[name]:
                setattr(step, key, np.asarray(content[name][key], dtype=np.float64))
            step.n_features_in_ = n_features.copy().pop()
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"preprocessing: not the parameters of a scaler ({error!r})") from error
    return scaler
