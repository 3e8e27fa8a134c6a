"""Mixtures: several fitted models answer as one; probabilities are averaged, samples are shared out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import logsumexp
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError

from common.progress import Progress, progress
from models.arrays import RandomState, as_generator, conditions_to_sample, with_conditions


class EnsembleModel(BaseEstimator):
    """The equal mixture of several fitted density estimators, or of several fitted classifiers.

    Parameters
    ----------
    models : sequence of estimators
        Fitted ones are used as they are; `fit` trains copies.
    verbose : bool
        Show progress bars.
    random_state : int, numpy generator or None
        Of the samples; None draws fresh ones.
    """

    __metadata_request__predict_log_proba = {"m": True}
    __metadata_request__predict_proba = {"m": True}

    def __init__(self, models: Sequence[Any] = (), verbose: bool = False, random_state: RandomState = None) -> None:
        self.models = models
        self.verbose = verbose
        self.random_state = random_state

    def __sklearn_is_fitted__(self) -> bool:
        ready = [getattr(model, "__sklearn_is_fitted__", lambda: True)() for model in self.models]
        return hasattr(self, "models_") or (len(ready) > 0 and all(ready))

    def fit(self, X: np.ndarray, m: np.ndarray, *args: Any, **kwargs: Any) -> EnsembleModel:
        """Fit a copy of every member to the same events; of classifiers, m are the classes."""
        self.models_ = [with_conditions(clone(model).fit, X, m, *args, **kwargs) for model in self.models]
        return self

    def predict_log_proba(self, X: np.ndarray, m: np.ndarray | None = None) -> np.ndarray:
        """log of the mean of the members' `predict_proba`: of densities [n] given m, or of classifiers [n, 2]."""
        if not self._conditional:
            return np.log(self.predict_proba(X))
        members = np.stack([with_conditions(model.predict_log_proba, X, m) for model in self._progress("log p(x|m)")])
        return logsumexp(members, axis=0) - np.log(len(members))

    def predict_proba(self, X: np.ndarray, m: np.ndarray | None = None) -> np.ndarray:
        """Mean of the members' densities p(x|m) [n], or of their class probabilities [n, 2]."""
        if self._conditional:
            return np.exp(self.predict_log_proba(X, m))
        return np.mean([model.predict_proba(X) for model in self._members()], axis=0)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Mean of the members' class-1 probabilities [n]."""
        return self.predict_proba(X)[:, 1]

    def score_samples(self, X: np.ndarray, m: np.ndarray) -> np.ndarray:
        """log p(x|m) of every event [n], in nats."""
        return self.predict_log_proba(X, m)

    def sample(self, n_samples: int = 1, m: np.ndarray | None = None, random_state: RandomState = None) -> np.ndarray:
        """Draw one event for every row of m [n, c] (or `n_samples` at a single one); the rows are dealt out evenly to the members."""
        m = conditions_to_sample(m, n_samples)
        rng, shares = as_generator(self.random_state if random_state is None else random_state), []
        n_members = len(self._members())
        for i, model in zip(range(len(m)), self._progress("sampling"), strict=False):  # some are idle where events are few
            shares.append(model.sample(len(m[i::n_members]), m[i::n_members], rng))
        samples = np.empty((len(m), shares[0].shape[1]))
        for i, share in enumerate(shares):
            samples[i::n_members] = share
        return samples

    @property
    def _conditional(self) -> bool:
        """Whether the members are densities given m, not classifiers."""
        return hasattr(self._members()[0], "sample")

    def _members(self) -> list[Any]:
        if len(self.models) == 0:
            raise ValueError("an ensemble needs at least one model")
        return getattr(self, "models_", list(self.models))

    def _progress(self, what: str) -> Progress:
        return progress(what, "model", iterable=self._members(), shown=self.verbose)


class EpochEnsembleModel(EnsembleModel):
    """The equal mixture of a network's epochs of lowest validation loss.

    Parameters
    ----------
    model : ConditionalNormalizingFlow or NeuralNetworkClassifier
        With a `save_path`; with `load=True` its epochs are read from there at first use, otherwise `fit` trains a copy of it (whose
        best epoch `model.load_best_model()` then brings into the model itself).
    n_best_epochs : int
    within : float
        None whose validation loss is further above the lowest one (nats). The stages mix epochs of a density within
        `models.training.epochs.MIXED_WITHIN`: early epochs make its samples worse.
    verbose, random_state
        As in `EnsembleModel`.
    """

    def __init__(
        self,
        model: Any = None,
        n_best_epochs: int = 10,
        verbose: bool = False,
        random_state: RandomState = None,
        within: float = np.inf,
    ) -> None:
        self.model = model
        self.n_best_epochs = n_best_epochs
        self.within = within
        self.verbose = verbose
        self.random_state = random_state

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "models_") or bool(getattr(self.model, "load", False))

    def fit(self, X: np.ndarray, m: np.ndarray, *args: Any, **kwargs: Any) -> EpochEnsembleModel:
        """Train the network, then read its best epochs back; of a classifier, m are the classes."""
        if getattr(self.model, "save_path", None) is None:
            raise ValueError("an ensemble of epochs needs a model with a save_path")
        self.__dict__.pop("models_", None)
        self._read(clone(self.model).set_params(load=False).fit(X, m, *args, **kwargs))
        return self

    def _read(self, model: Any) -> None:
        if self.n_best_epochs < 1:
            raise ValueError(f"n_best_epochs must be at least 1, not {self.n_best_epochs}")
        self.models_ = model.versions(self.n_best_epochs, self.within)

    def _members(self) -> list[Any]:
        if not hasattr(self, "models_"):
            if not getattr(self.model, "load", False):
                raise NotFittedError("this EpochEnsembleModel is not fitted yet: call fit, or use a model with load=True")
            self._read(self.model)
        return self.models_
