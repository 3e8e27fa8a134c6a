"""Statistical errors of SICs: how they would scatter with another test set of the same size."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from evaluation.curves import FIXED_FPR, MIN_BACKGROUND, TPR_GRID, evaluate_scores, max_sic, max_sic_of_runs

N_BOOTSTRAP = 100


@dataclass(frozen=True)
class Measured:
    """A number and its statistical error."""

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ± {self.error:.2f}"


@dataclass(frozen=True)
class Merit:
    """How well runs find the signal.

    Attributes
    ----------
    max_sic : Measured
        Of the pointwise median over the runs, under the 20 % rule.
    sic_at : dict
        By background efficiency: the median over the runs of SIC there, where at least 25 background events pass.
    """

    max_sic: Measured
    sic_at: dict[float, Measured]

    def summary(self) -> dict[str, Any]:
        """The numbers, for a JSON file."""
        return {"max_sic": asdict(self.max_sic)} | {f"sic_at_{fpr:g}": asdict(value) for fpr, value in self.sic_at.items()}


def figures_of_merit(scores: np.ndarray, labels: np.ndarray, n_bootstrap: int = N_BOOTSTRAP) -> Merit:
    """Max SIC and the SIC at fixed background efficiencies of the scores [n_runs, n] of test events with labels [n], with errors.

    Errors are standard deviations over bootstrap samples of the test events: every event is given a Poisson weight of mean 1, the same in
    all runs (Efron and Tibshirani, An introduction to the bootstrap, 1993). They are those of the test set alone: another training moves
    the numbers as well.

    Raises
    ------
    InputError
        As `evaluate_scores` does.
    """
    scores, labels = np.atleast_2d(scores), np.asarray(labels)
    evaluation = evaluate_scores(scores, labels)
    of_max_sic, *others = np.std(_bootstrap(scores, labels, n_bootstrap)[1], axis=0).tolist()
    errors = dict(zip(FIXED_FPR, others, strict=True))
    at = {fpr: Measured(value, errors[fpr]) for fpr, value in evaluation.sic_at.items()}
    return Merit(Measured(evaluation.max_sic.value, of_max_sic), at)


@dataclass(frozen=True)
class Difference:
    """How much better one method is than another on the same test events.

    Attributes
    ----------
    first, second : str
        Names of the methods.
    quantity : str
        "max SIC", or "SIC at ε_B = 0.01" and the like.
    value : Measured
        The first one's less the second one's. What both owe to the same events is not in its error.
    """

    first: str
    second: str
    quantity: str
    value: Measured


def paired_differences(scores: Mapping[str, np.ndarray], labels: np.ndarray, n_bootstrap: int = N_BOOTSTRAP) -> list[Difference]:
    """Differences between all pairs of methods, each with scores [n_runs, n] of the same test events with labels [n].

    Errors are standard deviations over bootstrap samples of the test events, the same ones for all methods: see `figures_of_merit`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> labels = np.repeat([1, 0], [500, 5000])
    >>> score = labels + rng.normal(size=5500)
    >>> [best, *_] = paired_differences({"a": score, "a again": score}, labels)
    >>> best.quantity, str(best.value)
    ('max SIC', '0.00 ± 0.00')
    """
    labels = np.asarray(labels)
    found = {name: _bootstrap(np.atleast_2d(each), labels, n_bootstrap) for name, each in scores.items()}
    n_background = int((labels == 0).sum())
    quantities = ["max SIC", *(f"SIC at ε_B = {fpr:g}" for fpr in FIXED_FPR)]
    known = [True, *(round(fpr * n_background) >= MIN_BACKGROUND for fpr in FIXED_FPR)]
    return [
        Difference(first, second, quantity, Measured(float((a - b)[k]), float(np.std((drawn_a - drawn_b)[:, k]))))
        for (first, (a, drawn_a)), (second, (b, drawn_b)) in itertools.combinations(found.items(), 2)
        for k, quantity in enumerate(quantities)
        if known[k]
    ]


def _bootstrap(scores: np.ndarray, labels: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Max SIC and SIC at `FIXED_FPR` [3] of scores [n_runs, n_events], and those of bootstrap samples [n, 3]; always the same samples."""
    runs, n_background, rng = [_Ordered.of(run, labels) for run in scores], int((labels == 0).sum()), np.random.default_rng(0)
    drawn = [_merit(runs, rng.poisson(1.0, len(labels)).astype(np.float64), n_background) for _ in range(n)]
    return _merit(runs, np.ones(len(labels)), n_background), np.array(drawn)


@dataclass(frozen=True)
class _Ordered:
    """A run's events from the highest score to the lowest: their numbers, which are signal, and the last one of every cut."""

    order: np.ndarray
    is_signal: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, labels: np.ndarray) -> _Ordered:
        order = np.argsort(-scores, kind="stable")
        ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # equal scores pass together
        return cls(order, labels[order] == 1, ends)

    def curve(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """tpr and fpr [k + 1] of weighted events."""
        ordered = weights[self.order]
        signal = np.cumsum(ordered * self.is_signal)[self.ends]
        background = np.cumsum(ordered * ~self.is_signal)[self.ends]
        return np.append(0.0, signal / signal[-1]), np.append(0.0, background / background[-1])


def _merit(runs: list[_Ordered], weights: np.ndarray, n_background: int) -> np.ndarray:
    """Max SIC, and SIC at `FIXED_FPR`."""
    curves = [run.curve(weights) for run in runs]
    fpr_on_grid = np.stack([np.interp(TPR_GRID, tpr, fpr) for tpr, fpr in curves])
    best = max_sic_of_runs(fpr_on_grid, [max_sic(*curve, n_background) for curve in curves], n_background)
    at = [np.median([np.interp(e, fpr, tpr) for tpr, fpr in curves]) / np.sqrt(e) for e in FIXED_FPR]
    return np.array([best.value, *at])
