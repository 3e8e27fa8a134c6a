"""The search: spectra with their background fits, p-values against the mass, significance against injected signal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from scipy.special import xlogy
from scipy.stats import norm

from events.window import Window
from plots.style import BACKGROUND, BAND, COLOURS, MARKERS, ONE, SIGNAL_REGION, TALL, drawable, shade_signal_region, styled
from search.hunt import FittedSpectrum, Measured

MOST_LINES = 10  # of significances in a figure
PULL_RANGE = 6.0  # at least
SMALLEST_P0 = 1e-290  # that is drawn: beyond 37 σ the logarithmic axis ends


def poisson_pulls(counts: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Signed roots [n] of twice the Poisson log-likelihood ratio of counts: standard deviations, also where few events are expected."""
    ratio = 2 * (xlogy(counts, counts / expected) - (counts - expected))
    return np.sign(counts - expected) * np.sqrt(np.maximum(ratio, 0))


@styled
def spectrum_with_fit(spectrum: FittedSpectrum, window: Window, measured: Measured) -> Figure:
    """Events [n] in bins of the mass with the fit, which has not seen the window; below, pulls (see `poisson_pulls`)."""
    edges, counts, expected = spectrum.edges, spectrum.counts, spectrum.expected
    centres, widths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    inside = (centres > window.low) & (centres < window.high)
    is_shown = ~inside if measured.observed is None else np.ones(len(counts), dtype=bool)
    figure, (upper, lower) = plt.subplots(2, 1, figsize=TALL, sharex=True, height_ratios=(3, 1), layout="constrained")
    low, high = np.maximum(expected - spectrum.error, 1e-3 * expected), expected + spectrum.error
    upper.stairs(high / widths, edges, baseline=low / widths, fill=True, color=BACKGROUND, **BAND)
    name = f"fit of the sideband, {measured.order} parameters"
    upper.stairs(expected / widths, edges, color=BACKGROUND, lw=1.6, label=name, baseline=None)
    some = is_shown & (counts > 0)
    points = {"fmt": ".k", "ms": 5, "lw": 1, "label": "data"}
    upper.errorbar(centres[some], counts[some] / widths[some], np.sqrt(counts[some]) / widths[some], **points)
    pulls = poisson_pulls(counts, expected)
    for chosen, fill in ((is_shown & ~inside, BACKGROUND), (is_shown & inside, SIGNAL_REGION)):
        lower.bar(centres[chosen], pulls[chosen], widths[chosen], color=fill, alpha=0.7)
    for axes in (upper, lower):
        shade_signal_region(axes, *window.edges, named=axes is upper)
    lower.axhline(0, color="black", lw=0.8)
    reach = max(PULL_RANGE, 1.1 * float(np.abs(pulls[is_shown]).max()))
    unit, label = window.resonant.unit, drawable([window.resonant.axis])[0]
    upper.set(yscale="log", ylabel=drawable([f"events / {unit or 'unit'}"])[0])
    upper.set_title(_what_is_found(measured), loc="left", fontsize=10)
    lower.set(xlabel=label, xlim=(edges[0], edges[-1]), ylim=(-reach, reach))
    lower.set_ylabel("pull (σ)", loc="center")
    fullest = max(float((counts / widths).max()), float((expected / widths).max()))
    upper.set_ylim(max(0.3 * float((expected / widths).min()), 0.1 / float(widths.max())), 3 * fullest)
    upper.legend()
    return figure


def _what_is_found(measured: Measured) -> str:
    """The title of a spectrum."""
    digits = 0 if measured.expected >= 100 else 1
    title = f"{_name_of(measured.efficiency)}; in the SR {measured.expected:.{digits}f} ± {measured.error:.{digits}f} expected"
    return title if measured.observed is None else f"{title},\n{measured.observed} found, {measured.z:+.1f} σ"


def _name_of(efficiency: float) -> str:
    """What a legend calls a cut."""
    return "all events" if efficiency == 1 else rf"$\epsilon_B \leq {efficiency:g}$"


@styled
def p0_against_center(searched: Sequence[tuple[Window, Sequence[Measured]]]) -> Figure:
    """Local p-value of every window, one line for every efficiency."""
    figure, axes = plt.subplots(figsize=ONE, layout="constrained")
    smallest, resonant = 0.05, searched[0][0].resonant
    for number, efficiency in enumerate(dict.fromkeys(each.efficiency for _, measured in searched for each in measured)):
        points = [(window.center, max(each.p0, SMALLEST_P0)) for window, measured in searched for each in measured
                  if each.efficiency == efficiency and each.p0 is not None]  # fmt: skip
        if not points:
            continue
        look = {"marker": MARKERS[number % len(MARKERS)], "color": COLOURS[number % len(COLOURS)]}
        axes.plot(*zip(*points, strict=True), **look, label=_name_of(efficiency))
        smallest = min(smallest, *(p0 for _, p0 in points))
    low, high = axes.get_xlim()
    strongest = int(np.ceil(norm.isf(smallest) + 0.1))
    for sigma in _lines(strongest):
        axes.axhline(float(norm.sf(sigma)), color="0.5", lw=0.7, ls="--")
        place = {"xytext": (-3, 2), "textcoords": "offset points", "ha": "right", "fontsize": 10.5, "color": "0.35"}
        axes.annotate(f"{sigma} σ", (high, float(norm.sf(sigma))), **place)
    label = drawable([f"center of the window in {resonant.axis}"])[0]
    axes.set(
        yscale="log",
        ylim=(float(norm.sf(strongest)) / 3, 1),
        xlim=(low, high),
        ylabel="local p-value (background only)",
        xlabel=label,
    )
    axes.legend()
    return figure


def _lines(strongest: int) -> list[int]:
    """Significances, the strongest first, that lie far enough apart on the axis of p-values for their names."""
    apart = -norm.logsf(strongest) / MOST_LINES
    lines = [strongest]
    for sigma in range(strongest - 1, 0, -1):
        if norm.logsf(sigma) - norm.logsf(lines[-1]) >= apart:
            lines.append(sigma)
    return [sigma for sigma in lines if -norm.logsf(sigma) >= apart / 2]


@styled
def significance_against_injected(s_over_b: Sequence[float], z: Mapping[float, Sequence[float | None]]) -> Figure:
    """Local significance of a window against S/B injected there, one line for every efficiency; a missing point has no fit."""
    figure, axes = plt.subplots(figsize=ONE, layout="constrained")
    for number, (efficiency, values) in enumerate(z.items()):
        points = [(100 * x, value) for x, value in zip(s_over_b, values, strict=True) if value is not None]
        if points:
            look = {"marker": MARKERS[number % len(MARKERS)], "color": COLOURS[number % len(COLOURS)]}
            axes.plot(*zip(*points, strict=True), **look, label=_name_of(efficiency))
    axes.axhline(0, color="black", lw=0.8)
    axes.set(xlabel="injected signal / data in the signal region (%)", ylabel="local significance (σ)")
    axes.legend()
    return figure
