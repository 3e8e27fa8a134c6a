"""ROC and SIC = ε_S/√ε_B of anomaly scores.

Every max SIC is taken where the relative statistical error of ε_B is at most 20 %, that is where at least 25 background events pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

from common.errors import InputError

MAX_RELATIVE_ERROR = 0.2
MIN_BACKGROUND = round(MAX_RELATIVE_ERROR**-2)  # events that pass, for that error: 25
FIXED_FPR = (1e-2, 1e-3)  # ε_B at which SICs are compared
TPR_GRID = np.linspace(0, 1, 1001)[1:]


class MaxSIC(NamedTuple):
    """The largest significance improvement of a curve, and where it is reached."""

    value: float
    tpr: float
    fpr: float


class Curves(NamedTuple):
    """Curves on a common grid of signal efficiencies: tpr [k], fpr and sic [k] or [n_runs, k]."""

    tpr: np.ndarray
    fpr: np.ndarray
    sic: np.ndarray


@dataclass(frozen=True)
class Evaluation:
    """ROC and SIC of several runs on a common grid of signal efficiencies.

    Attributes
    ----------
    tpr : array [k]
        Signal efficiencies ε_S.
    fpr, sic : arrays [n_runs, k]
        Background efficiencies ε_B, and ε_S/√ε_B.
    auc : array [n_runs]
        Areas under the ROC curves.
    run_max_sic : tuple of MaxSIC
        One for every run.
    run_sic_at : dict
        By the ε_B of `FIXED_FPR`: the SIC of every run there [n_runs].
    n_signal, n_background : int
        Test events behind the efficiencies.
    """

    tpr: np.ndarray = field(repr=False)
    fpr: np.ndarray = field(repr=False)
    sic: np.ndarray = field(repr=False)
    auc: np.ndarray
    run_max_sic: tuple[MaxSIC, ...]
    run_sic_at: Mapping[float, np.ndarray]
    n_signal: int
    n_background: int

    @classmethod
    def pooled(cls, several: Sequence[Evaluation]) -> Evaluation:
        """All runs of several evaluations as if they were those of one.

        Their test events may differ: the numbers of events are the smallest ones, so that the 20 % rule holds for all.
        """
        fpr, sic, auc = (np.concatenate([getattr(each, name) for each in several]) for name in ("fpr", "sic", "auc"))
        best = tuple(each for evaluation in several for each in evaluation.run_max_sic)
        n_signal, n_background = (min(getattr(each, name) for each in several) for name in ("n_signal", "n_background"))
        at = {e: np.concatenate([each.run_sic_at[e] for each in several]) for e in FIXED_FPR}
        return cls(several[0].tpr, fpr, sic, auc, best, at, n_signal, n_background)

    @property
    def median(self) -> Curves:
        """Pointwise median over the runs."""
        return self.quantile(0.5)

    def quantile(self, q: float) -> Curves:
        """Pointwise quantile of ε_B over the runs, and the SIC it means (NaN where it is 0)."""
        fpr = np.quantile(self.fpr, q, axis=0)
        return Curves(self.tpr, fpr, sic_curve(self.tpr, fpr))

    @property
    def reliable(self) -> np.ndarray:
        """Where on the grid [k] the median ε_B has a relative statistical error of at most 20 %."""
        return np.median(self.fpr, axis=0) * self.n_background >= 1 / MAX_RELATIVE_ERROR**2 - 1e-9

    @property
    def max_sic(self) -> MaxSIC:
        """Maximum of the pointwise median over the runs, under the 20 % rule; see `max_sic_of_runs`."""
        return max_sic_of_runs(self.fpr, self.run_max_sic, self.n_background)

    @property
    def sic_at(self) -> dict[float, float]:
        """By background efficiency: the median over the runs of SIC there, where at least 25 background events pass."""
        known = {e: runs for e, runs in self.run_sic_at.items() if round(e * self.n_background) >= MIN_BACKGROUND}
        return {e: float(np.median(runs)) for e, runs in known.items()}


def sic_curve(tpr: np.ndarray, fpr: np.ndarray) -> np.ndarray:
    """Significance improvement ε_S/√ε_B; NaN where no background passes.

    Examples
    --------
    >>> sic_curve(np.array([0.5, 0.9]), np.array([0.01, 0.25])).tolist()
    [5.0, 1.8]
    """
    tpr, fpr = np.asarray(tpr, dtype=np.float64), np.asarray(fpr, dtype=np.float64)
    return np.divide(tpr, np.sqrt(fpr), out=np.full_like(tpr, np.nan), where=fpr > 0)


def max_sic(
    tpr: np.ndarray,
    fpr: np.ndarray,
    n_background: int,
    max_relative_error: float = MAX_RELATIVE_ERROR,
) -> MaxSIC:
    """The largest SIC where the relative statistical error of ε_B, 1/√(events that pass), is small enough.

    Parameters
    ----------
    tpr, fpr : arrays [k]
    n_background : int
        Number of background events behind `fpr`.
    max_relative_error : float
        0.2 asks for 25 background events that pass.

    Raises
    ------
    InputError
        If not even the whole background has that many events.
    """
    reliable = np.asarray(fpr) * n_background >= 1 / max_relative_error**2 - 1e-9
    if not reliable.any():
        raise InputError(f"{n_background} background events are too few for a relative error of {max_relative_error:g}")
    sic = sic_curve(tpr, fpr)
    best = int(np.argmax(np.where(reliable, sic, -np.inf)))
    return MaxSIC(float(sic[best]), float(tpr[best]), float(fpr[best]))


def max_sic_of_runs(fpr: np.ndarray, of_runs: Sequence[MaxSIC], n_background: int) -> MaxSIC:
    """The largest SIC of the pointwise median of several runs' curves.

    Parameters
    ----------
    fpr : array [n_runs, k]
        ε_B of every run on the grid of signal efficiencies.
    of_runs : sequence of MaxSIC
        Of every run, on its exact curve: the answer for a single run, and, by their median, where all signal passes before 25 background
        events do, so that no point of the grid obeys the 20 % rule but that where everything passes.
    """
    median = np.median(fpr, axis=0)
    if len(of_runs) > 1 and (median[median * n_background >= MIN_BACKGROUND - 1e-9] < 1).any():
        return max_sic(TPR_GRID, median, n_background)
    return sorted(of_runs)[(len(of_runs) - 1) // 2]


def exact_curves(scores: np.ndarray, labels: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """ROC and SIC curves of every run, at every cut that changes them.

    Parameters
    ----------
    scores : array [n_runs, n]
        Higher is more signal-like.
    labels : array [n]
        1 signal, 0 background.

    Raises
    ------
    InputError
        If signal or background is absent, or a score is not finite.
    """
    labels = np.asarray(labels)
    scores = np.atleast_2d(scores)
    if labels.ndim != 1 or scores.ndim != 2 or scores.shape[1] != len(labels):
        raise InputError(
            f"scores of shape {scores.shape} do not fit to labels of shape {labels.shape}: expected [n_runs, n] and [n]"
        )
    if not (labels == 1).any() or not (labels == 0).any():
        raise InputError("ROC curves need signal and background events in the test set")
    if not np.isfinite(scores).all():
        raise InputError("some scores are not finite: leave those events out")
    curves = [roc_curve(labels == 1, run, drop_intermediate=False)[:2] for run in scores]
    fprs, tprs = [fpr for fpr, _ in curves], [tpr for _, tpr in curves]
    return tprs, fprs, [sic_curve(tpr, fpr) for tpr, fpr in zip(tprs, fprs, strict=True)]


def evaluate_scores(scores: np.ndarray, labels: np.ndarray) -> Evaluation:
    """Curves, areas and largest SIC of the scores [n_runs, n] of test events with labels [n]."""
    scores = np.atleast_2d(scores)
    tprs, fprs, _ = exact_curves(scores, labels)
    n_signal, n_background = int((labels == 1).sum()), int((labels == 0).sum())
    on_grid = np.stack([np.interp(TPR_GRID, tpr, fpr) for tpr, fpr in zip(tprs, fprs, strict=True)])
    return Evaluation(
        tpr=TPR_GRID,
        fpr=on_grid,
        sic=np.stack([sic_curve(TPR_GRID, fpr) for fpr in on_grid]),
        auc=np.array([roc_auc_score(labels == 1, run) for run in scores]),
        run_max_sic=tuple(max_sic(tpr, fpr, n_background) for tpr, fpr in zip(tprs, fprs, strict=True)),
        run_sic_at={
            e: np.array([np.interp(e, fpr, tpr) for tpr, fpr in zip(tprs, fprs, strict=True)]) / np.sqrt(e) for e in FIXED_FPR
        },
        n_signal=n_signal,
        n_background=n_background,
    )
