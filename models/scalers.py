"""Feature scalers that know their Jacobian, so that densities can be carried back to the physical features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

import numpy as np
from scipy.special import expit, log_expit, logit
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from common.errors import InputError
from models.arrays import RandomState, as_matrix, conditions_to_sample, with_conditions


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
        if not 0 <= self.epsilon < 0.5:
            raise InputError(f"epsilon = {self.epsilon:g} must be at least 0 and below 0.5")
        X = as_matrix(X)
        if np.isinf(X).any():
            raise ValueError("X holds infinity")
        if len(X) == 1:
            raise InputError("a range cannot be learned from n_samples=1")
        self.n_features_in_ = X.shape[1]
        self.data_min_ = np.fmin.reduce(X, axis=0)
        self.data_max_ = np.fmax.reduce(X, axis=0)
        if not np.all(self.data_max_ > self.data_min_):
            column = int(np.flatnonzero(~(self.data_max_ > self.data_min_))[0])
            raise InputError(f"feature {column} is constant, it has no range to scale by")
        return self

    def scale(self, X: np.ndarray) -> np.ndarray:
        """Features scaled by their range to (epsilon, 1 - epsilon); values outside (0, 1) are left as they come."""
        check_is_fitted(self)
        X = as_matrix(X, width=self.n_features_in_, owner=self)
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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

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
        return np.full(len(X), 0.0 if self.scale_ is None else -np.sum(np.log(self.scale_)))

    def inverse_log_jacobian_determinant(self, Z: np.ndarray) -> np.ndarray:
        """log |dx/dz| of every event [n], in nats."""
        return -self.log_jacobian_determinant(Z)


class ExtPipeline(Pipeline):
    """A scikit-learn Pipeline of scalers and flows, perhaps with a density estimator or a classifier at its end, that knows m.

    The conditions m [n, c], or m [n] where there is one, are handed as [n, c] to every step that has a use for them, whether
    scikit-learn's metadata routing is on or off. The Jacobian is carried through: with a density at the end, `predict_log_proba` is that
    of the features that go in, and `sample` returns such features.

    Examples
    --------
    >>> X = np.random.default_rng(1).normal(5, 2, size=(100, 1))
    >>> make_ext_pipeline(ExtStandardScaler()).fit(X).log_jacobian_determinant(X[:1]).round(1)
    array([-0.5])
    """

    def fit(
        self,
        X: np.ndarray,
        m: np.ndarray | None = None,
        X_val: np.ndarray | None = None,
        m_val: np.ndarray | None = None,
        **fit_params: Any,
    ) -> ExtPipeline:
        """Fit every step to what the steps before it make of X [n, d]; validation events pass through the same steps.

        Parameters
        ----------
        fit_params
            For the last step: the classes y of a classifier, for example.
        """
        for step in self._scalers():
            _call(step, "fit", X, m)
            X, X_val = (None if a is None else _call(step, "transform", a, c) for a, c in ((X, m), (X_val, m_val)))
        last = self.steps[-1][1]
        further = {"m": m, "X_val": X_val, "m_val": m_val} if _takes_m(last.fit) else {}
        with_conditions(last.fit, X, **{name: value for name, value in further.items() if value is not None}, **fit_params)
        return self

    def fit_transform(
        self, X: np.ndarray, y: np.ndarray | None = None, m: np.ndarray | None = None, **fit_params: Any
    ) -> np.ndarray:
        """Fit, then transform X [n, d]; m may come second, or by name after what scikit-learn's pipelines call y."""
        m = y if m is None else m
        return self.fit(X, m, **fit_params).transform(X, m)

    def transform(self, X: np.ndarray, m: np.ndarray | None = None) -> np.ndarray:
        """X [n, d] through all steps, to the latent space if the last one is a flow."""
        for _, step in self.steps:
            X = _call(step, "transform", X, m)
        return X

    def inverse_transform(self, Z: np.ndarray, m: np.ndarray | None = None) -> np.ndarray:
        """The X that `transform` takes to Z [n, d]."""
        for _, step in reversed(self.steps):
            Z = _call(step, "inverse_transform", Z, m)
        return Z

    def log_jacobian_determinant(self, X: np.ndarray, m: np.ndarray | None = None) -> np.ndarray:
        """log |dz/dx| of every event [n], in nats, summed over the steps."""
        total = np.zeros(len(X))
        for _, step in self.steps:
            total += _call(step, "log_jacobian_determinant", X, m)
            X = _call(step, "transform", X, m)
        return total

    def inverse_log_jacobian_determinant(self, Z: np.ndarray, m: np.ndarray | None = None) -> np.ndarray:
        """log |dx/dz| of every event [n], in nats, summed over the steps."""
        return -self.log_jacobian_determinant(self.inverse_transform(Z, m), m)

    def predict_log_proba(self, X: np.ndarray, m: np.ndarray | None = None) -> np.ndarray:
        """log p(x|m) of every event [n], in nats, per unit of the features that go in; NaN where a scaler has no value."""
        total = np.zeros(len(X))
        for step in self._scalers():
            total += _call(step, "log_jacobian_determinant", X, m)
            X = _call(step, "transform", X, m)
        return total + _call(self.steps[-1][1], "predict_log_proba", X, m)

    def predict(self, X: np.ndarray, m: np.ndarray | None = None) -> np.ndarray:
        """What the last step predicts of every event [n]: of `NeuralNetworkClassifier` the class-1 probability."""
        return _call(self.steps[-1][1], "predict", self._scaled(X, m), m)

    def predict_proba(self, X: np.ndarray, m: np.ndarray | None = None) -> np.ndarray:
        """The density p(x|m) of every event [n]; with a classifier at the end, its class probabilities [n, 2]."""
        last = self.steps[-1][1]
        if not hasattr(last, "sample"):
            return _call(last, "predict_proba", self._scaled(X, m), m)
        return np.exp(self.predict_log_proba(X, m))

    def score_samples(self, X: np.ndarray, m: np.ndarray | None = None) -> np.ndarray:
        """log p(x|m) of every event [n], in nats: scikit-learn's name for `predict_log_proba`."""
        return self.predict_log_proba(X, m)

    def score(self, X: np.ndarray, m: np.ndarray | None = None) -> float:
        """Mean log p(x|m) of the events inside the range of the scalers, in nats."""
        return float(np.nanmean(self.predict_log_proba(X, m)))

    def sample(self, n_samples: int = 1, m: np.ndarray | None = None, random_state: RandomState = None) -> np.ndarray:
        """Events x ~ p(x|m) in the features that go in, as the last step's `sample` draws them."""
        if m is not None:
            m = conditions_to_sample(m, n_samples)
            n_samples = len(m)
        Z = self.steps[-1][1].sample(n_samples, m, random_state)
        for step in reversed(self._scalers()):
            Z = _call(step, "inverse_transform", Z, m)
        return Z

    def _scaled(self, X: np.ndarray, m: np.ndarray | None) -> np.ndarray:
        """X as the last step sees it."""
        for step in self._scalers():
            X = _call(step, "transform", X, m)
        return X

    def _scalers(self) -> list[Any]:
        """All steps but the last."""
        return [step for _, step in self.steps[:-1]]


def _takes_m(function: Callable[..., Any]) -> bool:
    return "m" in signature(function).parameters


def _call(step: Any, method: str, X: np.ndarray, m: np.ndarray | None) -> Any:
    """A step's method, with m where it takes one."""
    function = getattr(step, method)
    return with_conditions(function, X, m) if _takes_m(function) else function(X)


def make_ext_pipeline(*steps: Any) -> ExtPipeline:
    """An `ExtPipeline` whose steps are named after their classes, as scikit-learn's `make_pipeline` does."""
    return ExtPipeline(make_pipeline(*steps).steps)


def make_scaler(*, use_logit: bool) -> ExtPipeline:
    """The preprocessing of flows and classifiers: (range and logit, then) zero mean and unit variance."""
    steps = [("logit", LogitScaler())] if use_logit else []
    return ExtPipeline([*steps, ("standard", ExtStandardScaler())])


def fit_scaler(ends: np.ndarray, X: np.ndarray, *, use_logit: bool) -> ExtPipeline:
    """The preprocessing whose range are the `ends` [2, d], and that standardizes X [n, d]."""
    scaler = make_scaler(use_logit=use_logit)
    for _, step in scaler.steps:
        X = step.fit(ends if isinstance(step, LogitScaler) else X).transform(X)
    return scaler


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
    if not isinstance(content, Mapping):
        raise InputError("preprocessing: not the parameters of a scaler")
    scaler = make_scaler(use_logit="logit" in content)
    try:
        learned = {
            (name, key): np.asarray(content[name][key], dtype=np.float64) for name, _ in scaler.steps for key in _LEARNED[name]
        }
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"preprocessing: not the parameters of a scaler ({error!r})") from error
    shapes = {values.shape for values in learned.values()}
    if len(shapes) != 1 or len(shape := shapes.pop()) != 1 or shape[0] == 0:
        raise InputError("preprocessing: entries of different lengths, or none")
    if not all(np.isfinite(values).all() for values in learned.values()) or (learned["standard", "scale_"] <= 0).any():
        raise InputError("preprocessing: entries that are not finite, or a width of 0")
    for name, step in scaler.steps:
        step.n_features_in_ = shape[0]
        for key in _LEARNED[name]:
            setattr(step, key, learned[name, key])
    return scaler
