"""What all classifiers here have in common: two classes, weighted events, several runs of several members each, and what users call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets

from models.arrays import as_matrix


class PredictsClasses:
    """In front of a `BinaryClassifier`: `predict` gives classes, as scikit-learn's `cross_val_score`, `GridSearchCV` and others expect.

    Classes are those of `fit`; 0 and 1 where the classifier was read from a folder.
    """

    def predict(self, X: np.ndarray) -> np.ndarray:
        """The class [n] whose mean probability is above 1/2; the first one for rows with NaN, as no cut on the score selects them."""
        selected = self.predict_proba(X)[:, 1] > 0.5
        return self.classes_[selected.astype(int)]


class BinaryClassifier(ClassifierMixin, ABC):
    """A classifier into two classes made of `n_runs` independent ones, each the mean of `n_ensemble` members."""

    n_inputs: int | None
    n_runs: int
    n_ensemble: int
    val_split: float
    use_class_weights: bool

    @abstractmethod
    def predict_runs(self, X: np.ndarray) -> np.ndarray:
        """Probability of class 1 of every run and event [n_runs, n], float32; NaN for rows with NaN."""

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Mean probability of class 1 over the runs [n]."""
        return self.predict_proba(X)[:, 1]

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Probabilities of class 0 and class 1 [n, 2], averaged over the runs."""
        signal = self.predict_runs(X).mean(axis=0)
        return np.stack([1 - signal, signal], axis=1)

    def score(self, X: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None) -> float:
        """Share of the events on whose class the mean probability is right, at a cut of 0.5."""
        return float(np.average((self.predict_proba(X)[:, 1] > 0.5) == (np.ravel(y) == self.classes_[1]), weights=sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.classifier_tags.multi_class = False
        return tags

    @property
    def _n_members(self) -> int:
        if min(self.n_runs, self.n_ensemble) < 1:
            raise ValueError(f"n_runs = {self.n_runs} and n_ensemble = {self.n_ensemble} must be at least 1")
        return self.n_runs * self.n_ensemble

    def _mean_of_members(self, scores: np.ndarray) -> np.ndarray:
        """Scores of all members [n_runs * n_ensemble, ...], those of one run side by side, as the runs' means [n_runs, ...]."""
        return scores if self.n_ensemble == 1 else scores.reshape(self.n_runs, self.n_ensemble, *scores.shape[1:]).mean(axis=1)

    def _learn_classes(self, X: np.ndarray, y: np.ndarray) -> None:
        """Note the number of features and the two classes.

        Raises
        ------
        ValueError
            If they are not what a classifier can learn from.
        """
        self.n_features_in_ = as_matrix(X, width=self.n_inputs, owner=self).shape[1]
        if y is None:
            raise ValueError(f"This {type(self).__name__} requires y to be passed, but the target y is None")
        y = np.asarray(y)
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        if len(self.classes_) > 2:
            raise ValueError("Only binary classification is supported. The type of the target is multiclass.")

    def _events(
        self, X: np.ndarray, y: np.ndarray | None, weight: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """X [n, d], y [n] as 0 and 1, and the weight [n] of mean 1, without the rows that have NaN.

        Raises
        ------
        ValueError
            If an array is empty, infinite, of the wrong width or length, or if a class is absent.
        """
        X = as_matrix(X, width=self.n_features_in_, owner=self)
        y = np.ravel(np.asarray(y))
        if len(y) != len(X):
            raise ValueError(f"y or y_val is missing or has not one class for each of the {len(X)} rows of X or X_val")
        weight = np.ones(len(X)) if weight is None else as_matrix(weight, name="sample_weight", width=1, length=len(X))[:, 0]
        if np.isinf(X).any():
            raise ValueError("X holds infinity")
        keep = np.isfinite(X).all(axis=1)
        if not keep.all():
            X, y, weight = X[keep], y[keep], weight[keep]
        if not np.array_equal(np.unique(y), self.classes_) or len(self.classes_) != 2:
            raise ValueError(f"y must hold both classes, got 1 class or others than in training (n_samples={len(y)})")
        y = (y == self.classes_[1]).astype(int)
        if self.use_class_weights:
            weight = weight / np.bincount(y, weights=weight)[y]
        return X, y, weight / weight.mean()

    def _n_held_out(self, n: int) -> int:
        """How many of n events are held out for validation.

        Raises
        ------
        ValueError
            If that leaves none to train or to validate on.
        """
        n_val = round(self.val_split * n)
        if not 0 < n_val < n:
            raise ValueError(f"val_split = {self.val_split:g} of n_samples={n} leaves no event to train or to validate on")
        return n_val
