"""The search in one window: the range of the fit, and what is found and expected at every efficiency."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import chi2

from evaluation.folds import FEWEST_PASSING
from events.window import Window
from search.bins import MassBins
from search.counting import ONE_SIGMA, TWO_SIGMA
from search.fit import BackgroundFit, FitError, SpectrumFitter
from search.selection import ScoredWindow

logger = logging.getLogger(__name__)

ABOVE_THE_PEAK = 1.05  # the fit begins so far above the peak of the spectrum, or higher
LOWEST = 0.1  # masses below so much of the window's are not looked at
FEWEST_IN_A_BIN = 10  # it ends where a bin of the sideband has less events
FEWEST_GOOD, FEWEST_TOLERABLE = 0.05, 0.001  # goodness that the inclusive fit of a range should have, and must have
POOR = 0.01  # goodness below which a fit is warned of
GOODNESS_TOYS = 200


class LeftOutError(Exception):
    """A window cannot be searched, for the reason that is given."""


@dataclass(frozen=True)
class FitSettings:
    """How the spectra are fitted.

    Attributes
    ----------
    sqrt_s : float
        Energy of the collisions, in the unit of the resonant variable, like the other two.
    low, high : float or None
        Range of the fit; None: by the rules of `fit_bins`.
    systematic : mapping
        Efficiency -> relative error of the predicted background beside that of the fit; empty: none.
    """

    sqrt_s: float
    low: float | None = None
    high: float | None = None
    systematic: Mapping[float, float] = field(default_factory=dict)


def fit_bins(m: np.ndarray, window: Window, settings: FitSettings) -> MassBins:
    """The bins of the fit around a window; its own events are not looked at.

    Where no range is given, it begins 5 % above the peak of the spectrum or at a higher edge: the first from which on the fit of all
    sideband events is good (χ² probability of the deviance at least 0.05), else the best one, if that has at least 0.001. It ends before
    the first bin with less than 10 of these events.

    Parameters
    ----------
    m : array [n]
        Resonant variable of all data.

    Raises
    ------
    LeftOutError
        If this leaves less than one width of the window on either side of it, or nothing describes the sideband.
    """
    if settings.low is not None and len(m) and settings.low < m.min():
        raise LeftOutError(f"the fit is to begin at {settings.low:g}, below all data, which begin at {m.min():.4g}")
    sideband = m[~window.contains(m) & (m > LOWEST * window.low)]
    if len(sideband) == 0 or window.high >= settings.sqrt_s:
        raise LeftOutError(
            "there is no sideband" if len(sideband) == 0 else f"above the energy of the collisions, {settings.sqrt_s:g}"
        )
    ends = float(min(sideband.min(), window.low)), float(max(sideband.max(), window.high)) * 1.1
    whole = MassBins.around(window, *ends, settings.sqrt_s)
    counts, edges = whole.counts(sideband), np.array(whole.edges)
    fitted = np.flatnonzero(~whole.in_window)
    high = settings.high
    if high is None:
        few = [bin_ for bin_ in fitted if edges[bin_] >= window.high and counts[bin_] < FEWEST_IN_A_BIN]
        high = float(edges[few[0]] if few else edges[-1])
    if high * edges[1] / edges[0] < window.high + window.width:
        end = (
            f"{high:.4g}, where bins have fewer than {FEWEST_IN_A_BIN} events; {window.where_masses_are(m)}"
            if settings.high is None
            else f"{high:.4g}, where the fit is to end"
        )
        raise LeftOutError(f"less than its width between its upper edge and {end}")
    full = fitted[counts[fitted] >= min(FEWEST_IN_A_BIN, counts[fitted].max())]
    peak = full[np.argmax(counts[full] / np.diff(edges)[full])]
    lowest = ABOVE_THE_PEAK * float(edges[peak : peak + 2].mean()) if settings.low is None else settings.low
    room = (window.low - window.width) * edges[1] / edges[0]  # a bin more or less
    firsts = edges[(edges >= lowest * (1 - 1e-9)) & (edges <= room)]
    if len(firsts) == 0:
        raise LeftOutError(f"less than its width between {lowest:.4g}, where the fit may begin, and its lower edge")
    best, best_goodness = None, 0.0
    for first in firsts if settings.low is None else firsts[:1]:
        bins = MassBins.around(window, float(first), high, settings.sqrt_s)
        if not bins.has_room:
            raise LeftOutError(f"less than its width between its upper edge and {bins.edges[-1]:.4g}, where the fit ends")
        goodness = _goodness(bins, sideband)
        if goodness >= FEWEST_GOOD or settings.low is not None:
            return bins
        if goodness > best_goodness:
            best, best_goodness = bins, goodness
    if best is None or best_goodness < FEWEST_TOLERABLE:
        text = f"no fit that begins between {firsts[0]:.4g} and {firsts[-1]:.4g} describes the sideband"
        raise LeftOutError(f"{text} (the best one has p = {best_goodness:.1g}; a strong signal there?)")
    return best


def _goodness(bins: MassBins, sideband: np.ndarray) -> float:
    """Goodness of the fit of the sideband's events, by the distribution that its deviance has where there are many; 0 without a fit."""
    counts = bins.counts(sideband)
    try:
        fit = SpectrumFitter(bins).choose(counts, None)
    except FitError:
        return 0.0
    return float(chi2.sf(2 * fit.half_deviance, fit.n_bins - fit.order))


@dataclass(frozen=True)
class Measured:
    """What a window has at one efficiency; None where there is no number.

    Attributes
    ----------
    efficiency : float
        Nominal background efficiency of the selection: a label, no number is made of it.
    observed : int or None
        Events in the signal region; None where they stay hidden.
    expected, error : float
        Background there by the fit of the sideband, and its error with the systematic one.
    fit_error : float
        The error of the fit alone.
    p0, z : float
        Local p-value of no excess, at most 0.5; local significance, below 0 for a deficit.
    yield_, interval_68, interval_95, limit : float, pairs of float
        Signal events: the best value, profile intervals, upper limit at 95 % (CLs).
    order, parameters : int, list of float
        Parameters of the dijet function: how many, and ln p0 (of events per unit of mass), p1, p2 ...
    goodness : float
        Share of toys of the fit that are described no better.
    method : str
        Whether p-value and limit are by the formulas for many events or summed over counts.
    failure : str
        Why there are no numbers.
    """

    efficiency: float
    observed: int | None = None
    expected: float | None = None
    error: float | None = None
    fit_error: float | None = None
    p0: float | None = None
    z: float | None = None
    yield_: float | None = None
    interval_68: tuple[float, float] | None = None
    interval_95: tuple[float, float] | None = None
    limit: float | None = None
    order: int | None = None
    parameters: list[float] = field(default_factory=list)
    goodness: float | None = None
    method: str = ""
    failure: str = ""


@dataclass(frozen=True)
class FittedSpectrum:
    """A mass spectrum and the fit of its sideband.

    Attributes
    ----------
    edges : array [n + 1]
        In the unit of the resonant variable.
    counts : array [n]
        Events; none in the signal region of a blind search.
    expected, error : arrays [n]
        Of the fit, in every bin.
    """

    edges: np.ndarray
    counts: np.ndarray
    expected: np.ndarray
    error: np.ndarray


@dataclass(frozen=True)
class SearchedWindow:
    """A window with all that was found in it.

    Attributes
    ----------
    bins : MassBins
    measured : tuple of Measured
        By falling efficiency.
    fits : dict
        Efficiency -> fit of the sideband, where there is one.
    spectra : dict
        Efficiency -> events in every bin.
    """

    bins: MassBins
    measured: tuple[Measured, ...]
    fits: dict[float, BackgroundFit]
    spectra: dict[float, np.ndarray]

    def richest_fits(self) -> dict[float, BackgroundFit]:
        """Efficiency -> the fit that toys are drawn from, where there is a fit."""
        fitter = SpectrumFitter(self.bins)
        return {efficiency: fitter.richest(self.spectra[efficiency]) for efficiency in self.fits}

    def spectrum(self, efficiency: float) -> FittedSpectrum | None:
        """The spectrum at an efficiency, None where there is no fit."""
        fit = self.fits.get(efficiency)
        return (
            None if fit is None else FittedSpectrum(np.array(self.bins.edges), self.spectra[efficiency], fit.expected, fit.error)
        )


def _peak_inside(fit: BackgroundFit) -> float | None:
    """Where a fit has its peak, if it rises to it from where it begins by more than its error there; None if it falls."""
    edges = np.array(fit.bins.edges)
    density, error = fit.expected / np.diff(edges), fit.error / np.diff(edges)
    peak = int(density.argmax())
    return float(edges[peak : peak + 2].mean()) if density[peak] - density[0] > error[0] else None


def search_window(
    scored: ScoredWindow, m: np.ndarray, cuts: Sequence[float], settings: FitSettings, rng: np.random.Generator, *, blind: bool
) -> SearchedWindow:
    """Fit the sideband and look into the signal region, at every efficiency.

    Parameters
    ----------
    m : array [n]
        Resonant variable of all data.
    cuts : sequence of float
        Efficiencies, falling.
    blind : bool
        Do not look into the signal region.
    """
    fitter, measured, fits, spectra = SpectrumFitter(scored.bins), [], {}, {}
    for cut in cuts:
        if not scored.allows(cut):
            few = f"{min(scored.n_held_out)} held-out background events in a fold are too few for a threshold"
            measured.append(Measured(cut, failure=f"{few}: {FEWEST_PASSING / cut:.0f} are needed"))
            continue
        counts = scored.bins.counts(m[scored.passing(cut)])
        if blind:
            counts[scored.bins.in_window] = 0
        spectra[cut] = counts
        found = None if blind else int(counts[scored.bins.in_window].sum())
        try:
            fits[cut] = fit = fitter.choose(counts, rng)
        except FitError as error:
            measured.append(Measured(cut, found, failure=str(error)))
            logger.warning("%s at %g: %s", scored.bins.window, cut, error)
            continue
        if (peak := _peak_inside(fit)) is not None:
            text = "%s at %g: the fit peaks at %.4g; dijet functions are for spectra that fall, and do less well here"
            logger.warning(text, scored.bins.window, cut, peak)
        goodness = fitter.goodness(counts, fit, GOODNESS_TOYS, rng)
        if goodness < POOR:
            logger.warning(
                "%s at %g: the fit is poor, goodness %.2g: its significance means little", scored.bins.window, cut, goodness
            )
        count = fit.counted(counts, settings.systematic.get(cut, 0.0))
        result: dict[str, Any] = {
            "expected": count.background,
            "error": count.error,
            "fit_error": fit.prediction[1],
            "order": fit.order,
        }
        result |= {"parameters": fit.parameters.tolist(), "goodness": goodness}
        if not blind:
            result |= {"observed": found, "p0": count.p0, "z": count.z, "yield_": count.yield_, "limit": count.limit}
            result |= {"interval_68": count.interval(ONE_SIGMA), "interval_95": count.interval(TWO_SIGMA)}
            result |= {"method": "asymptotic" if count.is_asymptotic else "summed over counts"}
        measured.append(Measured(cut, **result))
    return SearchedWindow(scored.bins, tuple(measured), fits, spectra)
