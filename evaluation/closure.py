"""Closure: is a density estimator right where it has seen no event? Pseudo signal regions are left out of the sideband and sampled there.

Neither a label nor an event of the signal region is needed: so an analysis chooses its density estimator without looking into it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from common.contract import OutputFile, figure_file
from common.errors import InputError
from events.columns import Column
from events.view import Events
from events.window import Window

logger = logging.getLogger(__name__)

MARGIN = 0.5  # of sideband kept on either side of a pseudo signal region, in widths of it
SMALLEST_STEP = 0.5  # from one pseudo signal region to the next on the same side of the SR, in widths of it
BULK = (0.005, 0.995)  # quantiles of the sideband's masses between which pseudo signal regions lie
LARGEST_SAMPLE = 100_000  # events of each kind that are compared
N_BINS = 20
FEWEST_EVENTS = 2 * N_BINS
CLOSURE_FILES = (
    OutputFile(
        "NAME_closure.json", "with `--closure`: two-sample AUC, χ²/ndf and pulls of every feature, of every pseudo signal region"
    ),
    figure_file("NAME_closure", "with `--closure`: pulls between samples and data there"),
)


class Density(Protocol):
    """What is tested."""

    def sample(self, m: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One event x ~ p(x|m) [n, d] for every row of m [n, 1]; NaN where there is none."""


@dataclass(frozen=True)
class Closure:
    """Samples against the data of one pseudo signal region.

    Attributes
    ----------
    window : Window
        The region.
    n_events : int
        Data of the region that were compared, and as many samples.
    auc, auc_error : float
        Of boosted trees that tell samples from data, and its statistical error where both follow the same law; 0.5 is perfect.
    bins, pulls : arrays [d, 21], [d, 20]
        Edges of bins of equal numbers of data in every feature, and (data - samples) / error in them.
    """

    window: Window
    n_events: int
    auc: float
    auc_error: float
    bins: np.ndarray = field(repr=False)
    pulls: np.ndarray = field(repr=False)

    @property
    def chi2_per_ndf(self) -> np.ndarray:
        """Of every feature [d]: about 1 where the samples are right."""
        return np.sum(self.pulls**2, axis=1) / (self.pulls.shape[1] - 1)

    def summary(self, names: list[str]) -> dict[str, Any]:
        """The numbers; `names` are those of the features."""
        chi2 = dict(zip(names, self.chi2_per_ndf.tolist(), strict=True))
        numbers = {"events": self.n_events, "two_sample_auc": self.auc, "two_sample_auc_error": self.auc_error}
        return {self.window.resonant.name: list(self.window.edges)} | numbers | {"chi2_per_ndf": chi2}

    def content(self, names: list[str]) -> dict[str, Any]:
        """All of it, for a JSON file."""
        return self.summary(names) | {"bins": self.bins.tolist(), "pulls": self.pulls.tolist()}

    @classmethod
    def of(cls, content: Mapping[str, Any], resonant: Column) -> Closure:
        """What `content` made of a test.

        Raises
        ------
        InputError
            If it did not.
        """
        try:
            window, arrays = Window(*map(float, content[resonant.name]), resonant), (content["bins"], content["pulls"])
            bins, pulls = (np.array(values, dtype=np.float64) for values in arrays)
            area, error = float(content["two_sample_auc"]), float(content["two_sample_auc_error"])
            if bins.ndim != 2 or pulls.shape != (len(bins), bins.shape[1] - 1):
                raise ValueError(f"pulls of shape {pulls.shape}")
            return cls(window, int(content["events"]), area, error, bins, pulls)
        except (KeyError, TypeError, ValueError) as fault:
            raise InputError(f"not the result of a closure test, or that of another version ({fault!r})") from fault


def pseudo_signal_regions(sideband_masses: np.ndarray, signal_region: Window, n: int) -> list[Window]:
    """Windows in the sideband, as wide as the signal region, away from it and from the sideband's ends.

    On either side of the SR, beginning below it, at least half of a window's width of sideband is kept on both sides of every window. The
    first window of a side is the nearest to the SR, further ones are spread evenly as far as they go and may overlap, by half at most. A
    side that is too narrow for all that gets narrower windows.

    Parameters
    ----------
    sideband_masses : array [n]
        The resonant variable in the sideband.

    Raises
    ------
    InputError
        If less than 0.5 % of the sideband lies on one side.

    Examples
    --------
    >>> m = np.concatenate([np.linspace(2, 3.3, 500), np.linspace(3.7, 5, 500)])
    >>> [(round(window.low, 2), round(window.high, 2)) for window in pseudo_signal_regions(m, Window(3.3, 3.7), 3)]
    [(2.7, 3.1), (3.9, 4.3), (2.21, 2.61)]
    """
    low, high = np.quantile(sideband_masses, BULK)
    if not low < signal_region.low < signal_region.high < high:
        raise InputError(f"a closure test needs {100 * BULK[0]:g} % of the sideband's events on either side of the signal region")
    sides: list[list[Window]] = []
    for room, direction in ((signal_region.low - low, -1), (high - signal_region.high, 1)):
        edge, n_here = signal_region.edges[(1 + direction) // 2], (n + (1 - direction) // 2) // 2
        width = min(signal_region.width, room / (1 + 2 * MARGIN + SMALLEST_STEP * max(n_here - 1, 0)))
        if n_here and width < signal_region.width:
            text = "pseudo signal regions %s the signal region are only %s wide, not %.3g: the sideband there is %.3g wide"
            shown = signal_region.resonant.quantity(f"{width:.3g}")
            logger.warning(text, "below" if direction < 0 else "above", shown, signal_region.width, room)
        gaps = np.linspace(MARGIN * width, max(room - (1 + MARGIN) * width, MARGIN * width), max(n_here, 1))[:n_here]
        ends = [sorted((edge + direction * gap, edge + direction * (gap + width))) for gap in gaps]
        sides.append([replace(signal_region, low=float(start), high=float(stop)) for start, stop in ends])
    below, above = sides
    return [sides[i % 2][i // 2] for i in range(len(below) + len(above))]


def closure_test(
    learn: Callable[[Events, Events, Window], Density],
    sideband: tuple[Events, Events],
    window: Window,
    rng: np.random.Generator,
) -> Closure:
    """Leave a window out of the sideband, learn from the rest, and compare samples at the left-out masses with the data there.

    Parameters
    ----------
    learn : callable
        Makes of training events, validation events and the window the density to be tested.
    sideband : (Events, Events)
        Training and validation events.
    window : Window
        What is left out.

    Raises
    ------
    InputError
        If the window has too few events, or no sideband is left.

    Examples
    --------
    A density that knows the truth:

    >>> rng = np.random.default_rng(1)
    >>> m = rng.uniform(2, 5, 8000)
    >>> events = Events(np.column_stack([m, m + rng.normal(size=8000), np.zeros(8000)]))
    >>> class Truth:
    ...     def sample(self, m, rng):
    ...         return m + rng.normal(size=m.shape)
    >>> closure = closure_test(lambda train, val, window: Truth(), (events[:4000], events[4000:]), Window(3.3, 3.7), rng)
    >>> abs(closure.auc - 0.5) < 3 * closure.auc_error
    True
    """
    inside = [window.contains(events.m) for events in sideband]
    rest = [events[~out] for events, out in zip(sideband, inside, strict=True)]
    if min(map(len, rest)) == 0:
        raise InputError(f"no sideband is left without {window}")
    left_out = Events.joined(*(events[out] for events, out in zip(sideband, inside, strict=True)))
    left_out = left_out[rng.permutation(len(left_out))[:LARGEST_SAMPLE]]
    if len(left_out) < FEWEST_EVENTS:
        raise InputError(f"only {len(left_out)} events in {window}: too few for a closure test")
    density = learn(rest[0], rest[1], window)
    data, samples = left_out.x.astype(np.float64), density.sample(left_out.m[:, None].astype(np.float64), rng)
    samples = samples[np.isfinite(samples).all(axis=1)]
    n = min(len(data), len(samples))
    if n < FEWEST_EVENTS:
        raise InputError(f"only {n} samples in {window} are finite: too few for a closure test")
    auc, error = two_sample_auc(samples[:n], data[:n], rng)
    bins, pulls = zip(*(feature_pulls(data[:n, k], samples[:n, k]) for k in range(data.shape[1])), strict=True)
    return Closure(window, n, auc, error, np.stack(bins), np.stack(pulls))


def mean_auc(tests: Sequence[Closure]) -> tuple[float, float]:
    """Mean two-sample AUC of several regions, weighted by their statistical precision, and its error (as of regions that do not overlap).

    The spectrum falls steeply: without weights the regions with the fewest events would decide.
    """
    precision = np.array([test.auc_error for test in tests]) ** -2.0
    return float(np.average([test.auc for test in tests], weights=precision)), float(precision.sum() ** -0.5)


def two_sample_auc(samples: np.ndarray, data: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """AUC of boosted trees that tell samples [n, d] from data [n, d], and its statistical error; 0.5 is perfect.

    Each half of the events is judged by trees trained on the other half, and both areas are averaged. The error is that of two samples of
    the same law, √((2 k + 1) / 12) / k for k events of each kind (Mann and Whitney, 1947).
    """
    n = min(len(samples), len(data))
    X, y = np.concatenate([samples[:n], data[:n]]), np.repeat([1, 0], n)
    halves = np.array_split(rng.permutation(2 * n), 2)
    areas = []
    for train, test in (halves, halves[::-1]):
        trees = HistGradientBoostingClassifier(max_iter=200, learning_rate=0.05, random_state=int(rng.integers(2**31)))
        areas.append(roc_auc_score(y[test], trees.fit(X[train], y[train]).predict_proba(X[test])[:, 1]))
    return float(np.mean(areas)), math.sqrt((2 * n + 1) / 12) / n


def feature_pulls(data: np.ndarray, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges [21] of bins with equal numbers of data [n], and (data - samples) / √(data + samples) in them [20].

    Equal values make bins empty: these have a pull of 0.
    """
    edges = np.quantile(data, np.linspace(0, 1, N_BINS + 1))
    ends = np.concatenate([[-np.inf], edges[1:-1], [np.inf]])
    k, s = (np.histogram(values, ends)[0] for values in (data, samples))
    return edges, (k - s) / np.sqrt(np.maximum(k + s, 1))
