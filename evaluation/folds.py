"""Scores in folds: background efficiencies, by which events of different folds compare, and what cuts on them select."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.contract import OutputFile
from common.errors import InputError
from common.files import array_shape, load_array
from evaluation.scores import BELOW_ALL
from evaluation.sculpting import RunSculpting, background_sculpting
from events.view import UNKNOWN
from events.window import Window, stored_window

EFFICIENCIES = (0.1, 0.01, 0.001)
NO_FOLD = -1  # of an event that no trained classifier could have seen: ANODE has none
FILE = "scores.npy"
SCORES_FILE = OutputFile(
    FILE,
    "with folds, and of events without labels: a record for every event of data.npy of row (in the input), m, fold, score, "
    "background_efficiency, score_of_runs; NaN where an event is outside the feature range and never selected",
    "[n]",
)


def background_efficiency(scores: np.ndarray, held_out: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Share of the background that scores at least as high as every event [n]; NaN where the score is NaN.

    It is (k + 1) / (N + 1) for k of N held-out background events, so that background that is distributed as these has an efficiency of at
    most ε with a probability of at most ε, and of just that at the multiples of 1 / (N + 1) (conformal p-value, arXiv:1604.04173,
    section 2).

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
    weights = np.ones(len(held_out)) if weights is None else weights / np.mean(weights)
    order = np.argsort(np.where(np.isfinite(held_out), held_out, -np.inf))
    ordered = np.where(np.isfinite(held_out), held_out, -np.inf)[order]
    above = np.append(np.cumsum(weights[order][::-1])[::-1], 0.0)[np.searchsorted(ordered, scores)]
    return np.where(np.isfinite(scores), (above + 1) / (len(held_out) + 1), np.nan)


def score_records(known: np.ndarray | Mapping[str, Any], n: int, n_runs: int) -> np.ndarray:
    """Records [n] of scores.npy for events whose row, m and fold are known, nothing of which is scored yet."""
    kinds = [("row", "<i8"), ("m", "<f4"), ("fold", "<i4"), ("score", "<f4"), ("background_efficiency", "<f8")]
    scores = np.empty(n, dtype=[*kinds, ("score_of_runs", "<f4", (n_runs,))])
    for name in ("row", "m", "fold"):
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


def load_scores(path: Path) -> np.ndarray:
    """Read scores.npy.

    Raises
    ------
    InputError
        If the file is absent or damaged, or holds something else.
    """
    scores = load_array(path, records=True)
    wanted = ("row", "m", "fold", "score", "background_efficiency", "score_of_runs")
    if scores.dtype.names != wanted or scores.ndim != 1:
        raise InputError(f"{path}: no records of {', '.join(wanted)}")
    return scores


@dataclass(frozen=True)
class Selected:
    """What a cut on the background efficiency selects of the data in a window.

    Attributes
    ----------
    efficiency : float
        Events of at most this background efficiency are selected.
    expected, error : float
        Events, if all data were background, and the statistical error of it: of the data themselves, and of the held-out background that
        the cut comes from.
    found : int
    """

    efficiency: float
    expected: float
    error: float
    found: int

    def summary(self) -> dict[str, Any]:
        """The numbers, for a JSON file."""
        return asdict(self)


def selected_by_cuts(efficiency: np.ndarray, n_held_out: int, cuts: Sequence[float] = EFFICIENCIES) -> list[Selected]:
    """What cuts select of data events of these background efficiencies [n]; NaN is never selected.

    Parameters
    ----------
    n_held_out : int
        Held-out background events of all folds.

    Examples
    --------
    >>> [cut] = selected_by_cuts(np.array([0.05, 0.5, 0.9, np.nan]), 1000, [0.1])
    >>> round(cut.expected, 2), round(cut.error, 2), cut.found
    (0.4, 0.6, 1)
    """
    results = []
    for cut in cuts:
        expected = cut * len(efficiency)
        error = np.sqrt(expected * (1 - cut) + expected**2 * (1 - cut) / (cut * n_held_out))
        results.append(Selected(cut, expected, float(error), int((efficiency <= cut).sum())))
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
    n_held_out : int
        Held-out background events of all folds.
    """

    scores: np.ndarray
    window: Window
    labels: np.ndarray | None
    n_held_out: int

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
        labels = np.full(len(scores), UNKNOWN)
        for fold, name in enumerate(folds):
            rows, path = np.flatnonzero(scores["fold"] == fold), Path(data_dir) / name / "X_test.npy"
            of_fold = load_array(path, mapped=True)[:, -1]
            if len(of_fold) != len(rows):
                raise InputError(f"{path}: {len(of_fold)} events, but {preds_dir}/{FILE} has {len(rows)} of this fold")
            labels[rows] = of_fold
        places = [Path(preds_dir) / name for name in folds] or [Path(preds_dir)]
        n_held_out = sum(array_shape(place / "preds_matris_held_out.npy")[-1] for place in places)
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
        return selected_by_cuts(self.efficiency[self.in_signal_region], self.n_held_out)

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
        return RunSculpting(cuts, int(background.sum()) - inside, inside, inside, self.window.resonant)
