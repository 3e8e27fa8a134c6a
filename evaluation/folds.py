"""Scores in folds: background efficiencies, by which events of different folds compare, and what cuts on them select."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from common.contract import OutputFile
from common.errors import InputError
from common.files import array_shape, load_array
from evaluation.interpolation import interpolated_share
from evaluation.scores import BELOW_ALL
from evaluation.sculpting import RunSculpting, background_sculpting
from events.records import FOLDED, load_scores, scored
from events.view import UNKNOWN
from events.window import Window, stored_window

EFFICIENCIES = (0.1, 0.01, 0.001)
FEWEST_PASSING = 5  # held-out events of a fold, for an expectation that means something
SIDEBAND, HELD_OUT = "sideband", "held-out background"  # what expectations come from
NO_FOLD = -1  # in the ANODE mode, whose flows have seen all events
FILE = "scores.npy"
SCORES_FILE = OutputFile(
    FILE,
    "with folds, and of events without labels: a record for every event of data.npy of row (in the input), m, fold, score, "
    "background_efficiency, score_of_runs; NaN where there is no score (outside the feature range; ANODE's sideband): never selected",
    "[n]",
)


def background_efficiency(scores: np.ndarray, held_out: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Share of the background that scores at least as high as every event [n]; NaN where the score is NaN.

    It is (k + 1) / (N + 1) for k of N held-out background events, so that background that is distributed as these has an efficiency of at
    most ε with a probability of at most ε, and of just that at the multiples of 1 / (N + 1) (conformal p-value, arXiv:1604.04173,
    section 2). With weights w, k is the sum of those above and N of all, and the largest weight takes the place of 1.

    Parameters
    ----------
    scores : array [n]
    held_out : array [N]
        Scores of background events that no classifier has learned from; NaN is below all others.
    weights : array [N], optional
        How much each of them counts.

    Examples
    --------
    >>> background_efficiency(np.array([0.9, 0.5, np.nan]), np.array([0.1, 0.2, 0.6, np.nan]))
    array([0.2, 0.4, nan])
    """
    weights = np.ones(len(held_out)) if weights is None else np.asarray(weights, dtype=np.float64)
    order = np.argsort(np.where(np.isfinite(held_out), held_out, -np.inf))
    ordered = np.where(np.isfinite(held_out), held_out, -np.inf)[order]
    above = np.append(np.cumsum(weights[order][::-1])[::-1], 0.0)  # every held-out event, or the next one
    largest = weights.max()
    efficiency = (above[np.searchsorted(ordered, scores)] + largest) / (above[0] + largest)
    return np.where(np.isfinite(scores), efficiency, np.nan)


def unscored(known: np.ndarray | Mapping[str, Any], n: int, n_runs: int) -> np.ndarray:
    """Records [n] of scores.npy for events whose row, m and fold are known."""
    scores = np.empty(n, dtype=scored(n_runs))
    for name, _ in FOLDED:
        scores[name] = known[name]
    for name in ("score", "background_efficiency", "score_of_runs"):
        scores[name] = np.nan
    return scores


def fill_in(
    scores: np.ndarray, rows: np.ndarray, tested: np.ndarray, held_out: np.ndarray, weights: np.ndarray | None = None
) -> None:
    """Write the scores of some events, `rows` of the records, and the efficiencies that follow from them.

    Parameters
    ----------
    tested, held_out : arrays [n_runs, n], [n_runs, N]
        Scores of every run, of these events and of held-out background.
    weights : array [N] or None
        See `background_efficiency`.
    """
    mean = tested.mean(axis=0)
    scores["score_of_runs"][rows] = tested.T
    scores["score"][rows] = mean
    scores["background_efficiency"][rows] = background_efficiency(mean, held_out.mean(axis=0), weights)


@dataclass(frozen=True)
class Selected:
    """What a cut on the background efficiency selects of the data in a window.

    Attributes
    ----------
    efficiency : float
        Events of at most this background efficiency are selected.
    expected, error : float
        Events, if all data were background, and the statistical error of the difference between found and expected.
    found : int
    by : str
        Where the expectation comes from: `SIDEBAND` or `HELD_OUT`.
    held_out : float
        Events that are expected by the held-out background.
    """

    efficiency: float
    expected: float
    error: float
    found: int
    by: str
    held_out: float

    def summary(self) -> dict[str, Any]:
        """The numbers, for a JSON file."""
        return asdict(self)


def selected_by_cuts(
    efficiency: np.ndarray, fold: np.ndarray, n_held_out: Sequence[int], cuts: Sequence[float] = EFFICIENCIES
) -> list[Selected]:
    """What cuts select of data events of these background efficiencies [n], if background is as that held out; NaN is never selected.

    Efficiencies are multiples of 1 / (N + 1) for N held-out background events in a fold: ⌊ε (N + 1)⌋ / (N + 1) of the background pass a
    cut at ε. Cuts that so few held-out events pass that the expectation would mean little are left out. The error is that of a binomial
    for the data, and for the held-out background (of equal weights) from which the cut comes, folds taken as independent.

    Parameters
    ----------
    fold : array [n]
        From 0; all are of one fold where it is `NO_FOLD`.
    n_held_out : sequence of int
        Held-out background events of every fold.

    Examples
    --------
    >>> [cut] = selected_by_cuts(np.array([0.05, 0.5, 0.9, np.nan]), np.zeros(4), [999], [0.1])
    >>> round(cut.expected, 2), round(cut.error, 2), cut.found
    (0.4, 0.6, 1)
    """
    n = np.array([np.sum(np.maximum(fold, 0) == number) for number in range(len(n_held_out))])
    sizes, results = np.asarray(n_held_out) + 1.0, []
    for cut in cuts:
        passing = np.floor(cut * sizes + 1e-9)
        if passing.min() < FEWEST_PASSING:
            continue
        share = passing / sizes
        expected = n * share
        variance = expected * (1 - share) + expected**2 * (1 - share) / passing
        total = float(expected.sum())
        results.append(Selected(cut, total, float(np.sqrt(variance.sum())), int((efficiency <= cut).sum()), HELD_OUT, total))
    return results


def selected_in_window(
    m: np.ndarray,
    efficiency: np.ndarray,
    fold: np.ndarray,
    window: Window,
    n_held_out: Sequence[int],
    cuts: Sequence[float] = EFFICIENCIES,
) -> list[Selected]:
    """What cuts select of the data in a window, where the sideband says how much background passes.

    That share is interpolated (`interpolated_share`): held-out background would say what it is itself wrong by. Where the sideband has no
    scores, it is all there is to go by. Cuts that too few events of held-out background or of the sideband pass are left out.

    Parameters
    ----------
    m, efficiency, fold : arrays [n]
        Mass, background efficiency and fold of all data.
    window, n_held_out, cuts
        See `selected_by_cuts`.
    """
    inside, scored = window.contains(m), np.isfinite(efficiency)
    by_held_out = selected_by_cuts(efficiency[inside], fold[inside], n_held_out, cuts)
    if not scored[~inside].any():
        return by_held_out
    results = []
    for each in by_held_out:
        share = interpolated_share(m[~inside], efficiency[~inside] <= each.efficiency, m[inside], window)
        if share is not None:
            expected, of_fit = (inside.sum() * value for value in share)
            variance = expected * (1 - share[0]) + of_fit**2
            results.append(replace(each, expected=float(expected), error=float(np.sqrt(variance)), by=SIDEBAND))
    return results


@dataclass(frozen=True)
class ScoredRun:
    """The scores of a run whose events compare by their background efficiency.

    Attributes
    ----------
    scores : array [n]
        Records of scores.npy.
    window : Window
        The signal region.
    labels : array [n] or None
        1 signal, 0 background; None where nobody knows.
    n_held_out : tuple of int
        Held-out background events of every fold.
    """

    scores: np.ndarray
    window: Window
    labels: np.ndarray | None
    n_held_out: tuple[int, ...]

    @classmethod
    def read(cls, data_dir: Path, preds_dir: Path, folds: Sequence[str]) -> ScoredRun:
        """That in a folder.

        Parameters
        ----------
        data_dir, preds_dir : path
            Where the arrays of stage 3, and where the scores of stage 4 are.
        folds : sequence of str
            Names of the folders of folds below them; none where there are no folds (ANODE).

        Raises
        ------
        InputError
            If files are absent, damaged, or do not belong together.
        """
        scores, window = load_scores(Path(preds_dir) / FILE), stored_window(preds_dir) or stored_window(data_dir)
        if window is None:
            raise InputError(f"{preds_dir}: no columns.json that says where the signal region is")
        if set(np.unique(scores["fold"])) != set(range(len(folds)) if folds else [NO_FOLD]):
            raise InputError(f"{preds_dir}/{FILE}: is not of the {len(folds)} folds in {data_dir}")
        labels = np.full(len(scores), UNKNOWN)
        for fold, name in enumerate(folds):
            rows, path = np.flatnonzero(scores["fold"] == fold), Path(data_dir) / name / "X_test.npy"
            events = load_array(path, mapped=True)
            if events.ndim != 2 or len(events) != len(rows) or not np.array_equal(events[:, 0], scores["m"][rows]):
                raise InputError(f"{path}: not the {len(rows)} events that {preds_dir}/{FILE} has of this fold")
            labels[rows] = events[:, -1]
        places = [Path(preds_dir) / name for name in folds] or [Path(preds_dir)]
        n_held_out = tuple(math.prod(array_shape(place / "preds_matris_held_out.npy")[-1:]) for place in places)
        return cls(scores, window, None if (labels == UNKNOWN).all() else labels, n_held_out)

    @property
    def in_signal_region(self) -> np.ndarray:
        """Which events [n] are."""
        return self.window.contains(self.scores["m"])

    @property
    def efficiency(self) -> np.ndarray:
        """Background efficiency of every event [n]; NaN where it is never selected."""
        return self.scores["background_efficiency"]

    def selected(self) -> list[Selected]:
        """What cuts select in the signal region."""
        return selected_in_window(self.scores["m"], self.efficiency, self.scores["fold"], self.window, self.n_held_out)

    def tested(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores [1, n] and labels [n] of the events of the signal region, the score being 1 - background efficiency.

        Raises
        ------
        InputError
            If there are no labels.
        """
        if self.labels is None:
            raise InputError("the events have no labels: ROC and SIC need them")
        inside = self.in_signal_region
        efficiency = self.efficiency[inside]
        return np.where(np.isfinite(efficiency), 1 - efficiency, BELOW_ALL)[None], self.labels[inside]

    def sculpting(self) -> RunSculpting:
        """How cuts change the mass spectrum of the background, which is whole here.

        Raises
        ------
        InputError
            If there are no labels, or too few events.
        """
        if self.labels is None:
            raise InputError("the events have no labels: nobody knows which of them are background")
        background = (self.labels == 0) & np.isfinite(self.efficiency)
        inside = int((background & self.in_signal_region).sum())
        cuts = background_sculpting(self.scores["m"][background], -self.efficiency[background])
        return RunSculpting(cuts, int(background.sum()) - inside, inside, inside, self.window)
