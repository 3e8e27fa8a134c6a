"""Features that a density estimator cannot describe (spikes, boundaries, few values), or not interpolate: they know the mass."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr
from sklearn.ensemble import HistGradientBoostingRegressor

from events.columns import Column
from events.window import Window
from models.dequantizer import cell_edges

logger = logging.getLogger(__name__)

LARGEST_SHARE = 0.01  # of the events that may have one and the same value
FEWEST_VALUES = 100  # of a feature that is not discrete
EVENTS_FOR_MASS = 20_000  # to learn how the resonant variable follows from the features, and as many to measure it
FEWEST_FOR_MASS = 200
NOTICEABLE, LARGE = 0.05, 0.5  # shares of the variance of the resonant variable


def warn_of_spikes(X: np.ndarray, names: Sequence[str], smeared: Sequence[str] = ()) -> None:
    """Name the features among X [n, d] that no continuous density describes: one warning for each, with what is wrong and its share.

    Those that are smeared before the density sees them are not looked at.
    """
    for name, values in zip(names, X.T, strict=True):
        if name not in smeared and (fault := spike(values)):
            logger.warning("the feature %s cannot be described by a density: %s", name, fault)


def is_discrete(values: np.ndarray) -> bool:
    """Whether a feature has few different values among so many events [n]."""
    return 1 < len(np.unique(values)) < min(FEWEST_VALUES, len(values) / 10)


def feature_range(X: np.ndarray) -> np.ndarray:
    """Lowest and highest value [2, d] of the features X [n, d].

    Discrete features reach half a spacing further, at both ends: their lowest and highest values are not on the boundary.

    Examples
    --------
    >>> feature_range(np.column_stack([np.linspace(0, 1, 300), np.tile([1.0, 2.0, 3.0], 100)]))
    array([[0. , 0.5],
           [1. , 3.5]])
    """
    ends = [cell_edges(np.unique(values))[[0, -1]] if is_discrete(values) else (values.min(), values.max()) for values in X.T]
    return np.array(ends, dtype=np.float64).T


def spike(values: np.ndarray) -> str:
    """What is wrong with the values [n] of a feature; empty where nothing is.

    Examples
    --------
    >>> spike(np.append(np.linspace(0, 1, 960), np.zeros(40)))
    '4.1 % of the events have the value 0, which is the lowest: they lie on the boundary and are cut'
    >>> spike(np.tile([1.0, 2.0, 3.0], 400))
    'it has only 3 different values: it must be dequantized'
    """
    distinct, counts = np.unique(values, return_counts=True)
    if is_discrete(values):
        return f"it has only {len(distinct)} different values: it must be dequantized"
    commonest = int(np.argmax(counts))
    share = counts[commonest] / len(values)
    if share <= LARGEST_SHARE:
        return ""
    text = f"{100 * share:.1f} % of the events have the value {distinct[commonest]:g}"
    if commonest in (0, len(distinct) - 1):
        text += f", which is the {'lowest' if commonest == 0 else 'highest'}: they lie on the boundary and are cut"
    return text


@dataclass(frozen=True)
class ColumnSummary:
    """What the values of a column are like.

    Attributes
    ----------
    name, unit : str
    low, high : float
        Range of those that are finite.
    nan_share : float
        Share of the events without a finite value.
    boundary_share : float
        Share of the others that have the lowest or the highest value.
    commonest, commonest_share : float
        The most frequent value, and its share.
    remark : str
        Why no density describes it; empty where nothing is wrong.
    """

    name: str
    unit: str
    low: float
    high: float
    nan_share: float
    boundary_share: float
    commonest: float
    commonest_share: float
    remark: str

    @classmethod
    def of(cls, column: Column, values: np.ndarray, *, is_feature: bool) -> ColumnSummary | None:
        """That of the values [n]; None where none is finite.

        Examples
        --------
        >>> summary = ColumnSummary.of(Column("n", "n"), np.array([0.0, 0.0, 1.0, 2.0, np.nan]), is_feature=False)
        >>> summary.low, summary.high, summary.nan_share, summary.boundary_share, summary.commonest_share
        (0.0, 2.0, 0.2, 0.75, 0.5)
        """
        finite = values[np.isfinite(values)]
        if len(finite) == 0:
            return None
        distinct, counts = np.unique(finite, return_counts=True)
        ends, most = counts[0] + (counts[-1] if len(counts) > 1 else 0), int(np.argmax(counts))
        shares = (len(values) - len(finite)) / len(values), float(ends / len(finite)), float(counts[most] / len(finite))
        low, high, commonest = (float(distinct[i]) for i in (0, -1, most))
        remark = spike(finite) if is_feature else ""
        return cls(column.name, column.unit, low, high, shares[0], shares[1], commonest, shares[2], remark)


def summary_table(summaries: Sequence[ColumnSummary]) -> list[str]:
    """The lines of a table that says of every column what its values are like."""
    head = ("column", "unit", "lowest", "highest", "NaN", "on boundary", "most frequent", "its share", "")
    rows = [
        (
            each.name,
            each.unit or "-",
            f"{each.low:.5g}",
            f"{each.high:.5g}",
            *(f"{100 * share:.3g} %" for share in (each.nan_share, each.boundary_share)),
            f"{each.commonest:.5g}",
            f"{100 * each.commonest_share:.3g} %",
            each.remark,
        )
        for each in summaries
    ]
    widths = [max(map(len, cells)) for cells in zip(head, *rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)]


@dataclass(frozen=True)
class MassKnowledge:
    """How well the features predict the resonant variable.

    Attributes
    ----------
    r2 : float
        Share of its variance that they explain; 0 or less where they know nothing.
    residual, spread : float
        Half the width of the interval that holds the middle 68 % of what is predicted wrong, and of the variable itself, in its
        unit.
    from_features : tuple of str
        Those without which the prediction would be noticeably worse, the most important one first; where each can be replaced by others,
        those that go up or down with the variable.
    residual_without : dict
        What `residual` would be without one of the first three of these.
    """

    r2: float
    residual: float
    spread: float
    from_features: tuple[str, ...]
    residual_without: dict[str, float]

    def is_within(self, width: float) -> bool:
        """Whether the variable is known to within a window of this width by its features, not just because it varies little."""
        return 2 * self.residual < width and self.r2 > LARGE


def warn_of_known_mass(
    X: np.ndarray, m: np.ndarray, names: Sequence[str], window: Window, rng: np.random.Generator
) -> MassKnowledge | None:
    """Measure how well the features of sideband events predict m, and warn where that is better than the signal region is wide.

    None where there are too few events to say anything.
    """
    if len(m) < FEWEST_FOR_MASS:
        logger.info("%d events are too few to measure how well the features predict %s", len(m), window.resonant.name)
        return None
    known, resonant = mass_knowledge(X, m, names, rng), window.resonant
    within, spread, width = (resonant.quantity(f"{value:.3g}") for value in (known.residual, known.spread, window.width))
    text = f"the features predict {resonant.name} to within ±{within} (without them ±{spread}); R² = {known.r2:.2f}"
    if known.is_within(window.width):
        without = ", ".join(
            f"without {name} ±{resonant.quantity(f'{residual:.3g}')}" for name, residual in known.residual_without.items()
        )
        logger.warning(
            "%s: better than the signal region is wide (%s): no density can be interpolated into it. Leave out some of %s (%s)",
            text,
            width,
            ", ".join(known.from_features),
            without,
        )
    elif known.r2 > LARGE:
        logger.info("%s, mostly from %s: LaCATHODE keeps the mass spectrum smoother", text, ", ".join(known.from_features))
    else:
        logger.info("%s", text)
    return known


def mass_knowledge(X: np.ndarray, m: np.ndarray, names: Sequence[str], rng: np.random.Generator) -> MassKnowledge:
    """How well boosted trees predict m [n] from the features X [n, d], measured with events they have not learned from.

    A density p(x|m) can be interpolated into the signal region where x changes slowly over its width. Features that together determine
    m, such as the momenta and the angle of two jets, do not: between sidebands that end at the window's edges there is nothing to learn
    from.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> m = rng.uniform(3, 4, 4000)
    >>> X = np.column_stack([m + 0.05 * rng.normal(size=4000), rng.normal(size=4000)])
    >>> known = mass_knowledge(X, m, ["echo", "noise"], rng)
    >>> known.r2 > 0.95, known.is_within(0.4), known.is_within(0.05), known.from_features
    (True, True, False, ('echo',))
    """
    rows = rng.permutation(len(m))[: 2 * EVENTS_FOR_MASS]
    learned, tested = np.array_split(rows, 2)
    x, truth = X[tested], m[tested]

    def fitted(columns: np.ndarray) -> HistGradientBoostingRegressor:
        return HistGradientBoostingRegressor(early_stopping=False, random_state=0).fit(X[learned][:, columns], m[learned])

    every = np.arange(X.shape[1])
    trees = fitted(every)
    variance, error = truth.var(), truth - trees.predict(x)
    losses = {}
    for column, name in enumerate(names):
        shuffled = x.copy()
        shuffled[:, column] = rng.permutation(shuffled[:, column])
        losses[name] = (np.mean((truth - trees.predict(shuffled)) ** 2) - np.mean(error**2)) / variance
    if max(losses.values()) <= NOTICEABLE:
        losses = {name: np.square(spearmanr(column, truth).statistic) for name, column in zip(names, x.T, strict=True)}
    important = tuple(name for name in sorted(losses, key=losses.get, reverse=True) if losses[name] > NOTICEABLE)
    without = {}
    for name in important[:3] if len(every) > 1 else ():
        others = every != names.index(name)
        without[name] = _half_width(truth - fitted(others).predict(x[:, others]))
    r2 = float(1 - np.mean(error**2) / variance)
    return MassKnowledge(r2, _half_width(error), _half_width(truth), important, without)


def _half_width(values: np.ndarray) -> float:
    low, high = np.quantile(values, (0.16, 0.84))
    return float(high - low) / 2


def n_shared(first: np.ndarray, second: np.ndarray) -> int:
    """How many events of the first array [n, k] are in the second one, too, with all their values.

    Examples
    --------
    >>> n_shared(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[3.0, 4.0], [2.0, 1.0]]))
    1
    """
    rows = [np.ascontiguousarray(a, dtype=np.float64).view([("", np.float64)] * a.shape[1])[:, 0] for a in (first, second)]
    return int(np.isin(*rows).sum())
