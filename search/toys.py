"""The global p-value: how often background alone gives an excess as large in any window, at any efficiency.

A toy is a spectrum of all data, drawn from a fit of it, with the selections that every event passes. Of how many events pass none, one or
several selections (a pattern) near some mass, the scored data say; the numbers of those that pass a single selection are those of its
background fit, so that a signal in the data is not in the toys. Common events are common in toys, too.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from common.progress import progress
from search.bins import MassBins, joined_edges
from search.fit import BackgroundFit, FitError, SpectrumFitter

logger = logging.getLogger(__name__)

FEWEST_OF_A_CLASS = 10  # events near a mass that pass so many of a window's selections, for every such number
MOST_SWEEPS = 50
TOLERANCE = 1e-3  # relative, of the numbers of events that pass a selection
LARGEST_RESIDUAL = 0.01  # relative, of all events of a toy that pass a selection
MOST_FAILURES = 0.05  # share of toys in which a selection has no fit; with more it has no part in the global p-value


@dataclass(frozen=True)
class Selections:
    """The selections whose significance is sought, by window.

    Attributes
    ----------
    bins : tuple of MassBins
        Of every window.
    fits : tuple of dict
        Of every window: efficiency -> fit of the sideband that toys follow, the efficiencies falling, the first one 1.
    """

    bins: tuple[MassBins, ...]
    fits: tuple[Mapping[float, BackgroundFit], ...]


class PatternToys:
    """Toy spectra of all selections at once.

    Parameters
    ----------
    selections : Selections
    m : array [n]
        Resonant variable of all data.
    n_passed : sequence of array [n]
        Of every window: how many of its selections each event passes; 1 is the inclusive spectrum.

    Attributes
    ----------
    edges : array
        Of the cells in which masses are drawn: all edges of all windows' bins.
    cell, kind, rates : arrays [k], [k, windows], [k]
        The patterns: which cell, how many of each window's selections are passed, how many events are expected.

    Raises
    ------
    FitError
        If there is no fit of the spectrum of all data, from which the toys' masses are drawn.
    """

    def __init__(self, selections: Selections, m: np.ndarray, n_passed: Sequence[np.ndarray]) -> None:
        self.selections = selections
        self.edges = joined_edges(selections.bins)
        first = selections.bins[0]
        bins = MassBins.around(first.window, float(self.edges[0]), float(self.edges[-1]), first.sqrt_s)
        whole = SpectrumFitter(bins, leave_out=False).richest(bins.counts(m))
        order = np.argsort(m, kind="stable")
        patterns = np.stack(n_passed, axis=1)[order].astype(np.int64)  # [n, windows]
        starts = np.searchsorted(m[order], self.edges)
        sizes = np.array([len(fits) + 1 for fits in selections.fits])
        code = patterns @ np.concatenate([[1], np.cumprod(sizes[:-1])])
        expected = whole.between(self.edges)
        targets = [self._targets(bins, fits, expected) for bins, fits in zip(selections.bins, selections.fits, strict=True)]
        cells, kinds, rates = [], [], []
        for cell in range(len(self.edges) - 1):
            rows = _neighbourhood(patterns, starts[cell], starts[cell + 1], sizes)
            _, index, counts = np.unique(code[rows], return_index=True, return_counts=True)
            kind = patterns[rows][index]
            wanted = [target[:, cell] if np.isfinite(target[:, cell]).all() else None for target in targets]
            cells.append(np.full(len(kind), cell))
            kinds.append(kind)
            rates.append(expected[cell] * _reweighted(kind, counts / counts.sum(), wanted))
        self.rates, self.kind, self.cell = np.concatenate(rates), np.concatenate(kinds), np.concatenate(cells)
        self._sums = [
            [self._summing(bins, self.kind[:, window] > number) for number in range(len(fits))]
            for window, (bins, fits) in enumerate(zip(selections.bins, selections.fits, strict=True))
        ]
        for fits, spectra in zip(selections.fits, self.counted(self.rates), strict=True):
            for (cut, fit), spectrum in list(zip(fits.items(), spectra, strict=True))[1:]:
                if abs(spectrum.sum() / fit.expected.sum() - 1) > LARGEST_RESIDUAL:
                    text = "toys have %.1f events at efficiency %g in %s, where the fit has %.1f"
                    logger.warning(text, spectrum.sum(), cut, fit.bins.window, fit.expected.sum())

    def _targets(self, bins: MassBins, fits: Mapping[float, BackgroundFit], expected: np.ndarray) -> np.ndarray:
        """Shares [classes, cells] of all events that pass exactly 1, 2 ... of a window's selections; NaN outside its range."""
        passing = np.array([fit.between(self.edges) / expected for fit in fits.values()])
        passing[0] = 1.0
        passing = np.minimum.accumulate(passing, axis=0)  # two fits may cross where they extrapolate
        shares = -np.diff(passing, axis=0, append=0.0)
        outside = (self.edges[:-1] < bins.edges[0] * (1 - 1e-6)) | (self.edges[1:] > bins.edges[-1] * (1 + 1e-6))
        shares[:, outside] = np.nan
        return shares

    def _summing(self, bins: MassBins, passes: np.ndarray) -> csr_array:
        """Matrix [bins, k] that counts what passes a selection in every bin of a window."""
        middle = (self.edges[1:] + self.edges[:-1]) / 2
        at = np.searchsorted(bins.edges, middle[self.cell]) - 1
        chosen = np.flatnonzero(passes & (at >= 0) & (at < len(bins)))
        return csr_array((np.ones(len(chosen)), (at[chosen], chosen)), shape=(len(bins), len(self.cell)))

    def counted(self, events: np.ndarray) -> list[list[np.ndarray]]:
        """Counts [bins] of every window and efficiency, where there are so many events [k] of every pattern."""
        return [[matrix @ events for matrix in window] for window in self._sums]

    def draw(self, rng: np.random.Generator) -> list[list[np.ndarray]]:
        """Counts [bins] of every window and efficiency, of one toy."""
        return self.counted(rng.poisson(self.rates))


def _neighbourhood(patterns: np.ndarray, start: int, stop: int, sizes: np.ndarray) -> slice:
    """Events [.., windows] ordered by mass, around those of a cell, among which every kind of pattern is that there is at all."""
    wanted = [np.minimum(np.bincount(patterns[:, w], minlength=size), FEWEST_OF_A_CLASS) for w, size in enumerate(sizes)]
    reach = max(stop - start, 100)
    while True:
        rows = slice(max(start - reach, 0), stop + reach)
        found = (np.bincount(patterns[rows, w], minlength=size) for w, size in enumerate(sizes))
        if all((counts >= least).all() for counts, least in zip(found, wanted, strict=True)) or reach > len(patterns):
            return rows
        reach *= 2


def _reweighted(kind: np.ndarray, share: np.ndarray, wanted: Sequence[np.ndarray | None]) -> np.ndarray:
    """Shares [k] of patterns [k, windows], scaled until in every window each class has the share that it is to have.

    This is iterative proportional fitting (Deming and Stephan, 1940): among all shares with these sums it is the closest.
    """
    share = share.copy()
    for _ in range(MOST_SWEEPS):
        change = 0.0
        for window, target in enumerate(wanted):
            if target is None:
                continue
            found = np.bincount(kind[:, window], share, minlength=len(target) + 1)[1:]
            factors = np.divide(target, found, out=np.zeros_like(target), where=found > 0)
            share *= factors[kind[:, window] - 1]
            change = max(change, np.abs(factors[target > 0] - 1).max(initial=0))
        if change < TOLERANCE:
            break
    return share


@dataclass(frozen=True)
class ToyResults:
    """What the analysis of toys gave; NaN where a fit failed.

    Attributes
    ----------
    z : array [toys, windows, efficiencies]
        Local significance, below 0 for a deficit.
    p : array [toys, windows, efficiencies]
        Local p-values, neither capped nor discrete: evenly distributed if the analysis is right.
    """

    z: np.ndarray
    p: np.ndarray

    @property
    def reliable(self) -> np.ndarray:
        """Which selections [windows, efficiencies] have a fit in nearly all toys."""
        return np.isnan(self.z).mean(axis=0) <= MOST_FAILURES

    def global_p(self, observed: float) -> tuple[float, int]:
        """Share of toys whose largest significance is at least the observed one, the data counted as one of them; and their number.

        A fit that has failed in a toy counts as no excess; selections that are not `reliable` do not count at all.
        """
        n_above = int((np.where(self.reliable & ~np.isnan(self.z), self.z, -np.inf).max(axis=(1, 2)) >= observed).sum())
        return (1 + n_above) / (1 + len(self.z)), n_above


def analyse(toys: PatternToys, n_toys: int, systematic: Mapping[float, float], rng: np.random.Generator) -> ToyResults:
    """Draw toys and do to them what is done to data: fits with a choice of order, prediction, significance.

    The systematic error (efficiency -> relative error; empty: none) is drawn for every toy and window, one draw for all efficiencies.
    """
    fits = toys.selections.fits
    shape = (n_toys, len(fits), max(len(each) for each in fits))
    z, p = np.full(shape, np.nan), np.full(shape, np.nan)
    fitters = [SpectrumFitter(bins) for bins in toys.selections.bins]
    for toy in progress("toys", "toy", iterable=range(n_toys)):
        for window, spectra in enumerate(toys.draw(rng)):
            shift = rng.normal()
            for number, (cut, counts) in enumerate(zip(fits[window], spectra, strict=True)):
                try:
                    count = fitters[window].choose(counts, None).counted(counts, systematic.get(cut, 0.0), shift)
                except FitError:
                    continue
                z[toy, window, number], p[toy, window, number] = count.z, count.randomised_p(rng.uniform())
    return ToyResults(z, p)
