"""The search: spectra with their background fits, p-values against the mass, significance against injected signal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from scipy.special import xlogy
from scipy.stats import norm

from events.columns import Column
from plots.style import drawable
from search.fit import BackgroundFit
from search.hunt import Measured, SearchedWindow

MOST_LINES = 8
PULL_RANGE = 6.0


def poisson_pulls(counts: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Signed roots [n] of twice the Poisson log-likelihood ratio of counts: standard deviations, also where few events are expected."""
    ratio = 2 * (xlogy(counts, counts / expected) - (counts - expected))
    return np.sign(counts - expected) * np.sqrt(np.maximum(ratio, 0))


def spectrum_with_fit(counts: np.ndarray, fit: BackgroundFit, measured: Measured, fit_range: tuple[float, float]) -> Figure:
    """Events [n] in bins of the mass with the fit, which has not seen the window; below, pulls (see `poisson_pulls`)."""
    bins, edges = fit.bins, np.array(fit.bins.edges)
    centres, inside = (edges[1:] + edges[:-1]) / 2, bins.in_window
    widths, is_shown = np.diff(edges), ~inside if measured.observed is None else np.ones(len(bins), dtype=bool)
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(6.4, 5.4), sharex=True, height_ratios=(3, 1), layout="constrained")
    name = f"fit of the sideband, {fit.order} parameters"
    upper.stairs(fit.expected / widths, edges, color="tab:blue", label=name, baseline=None)
    some = is_shown & (counts > 0)
    upper.errorbar(
        centres[some], counts[some] / widths[some], np.sqrt(counts[some]) / widths[some], fmt=".k", ms=4, lw=1, label="data"
    )
    pulls = poisson_pulls(counts, fit.expected)
    for chosen, fill in ((is_shown & ~inside, "tab:blue"), (is_shown & inside, "tab:red")):
        lower.bar(centres[chosen], pulls[chosen], widths[chosen], color=fill, alpha=0.7)
    for axes in (upper, lower):
        axes.axvspan(*bins.window.edges, color="tab:red", alpha=0.12, lw=0, label="signal region (SR)" if axes is upper else None)
    lower.axhline(0, color="black", lw=0.8)
    efficiency = "all events" if measured.efficiency == 1 else rf"$\epsilon_B \leq {measured.efficiency:g}$"
    digits = 0 if measured.expected >= 100 else 1
    title = f"{efficiency}; in the SR {measured.expected:.{digits}f} ± {measured.error:.{digits}f} expected"
    if measured.observed is not None:
        title += f", {measured.observed} found, {measured.z:+.1f} σ"
    unit, label = bins.window.resonant.unit, drawable([bins.window.resonant.axis])[0]
    upper.set(yscale="log", ylabel=f"events / {unit}" if unit else "events / unit", title=title)
    lower.set(xlabel=label, ylabel="pull (σ)", xlim=fit_range, ylim=(-PULL_RANGE, PULL_RANGE))
    fullest = max(float((counts / widths).max()), float((fit.expected / widths).max()))
    upper.set_ylim(max(0.3 * float((fit.expected / widths).min()), 0.1 / float(widths.max())), 3 * fullest)
    upper.title.set_fontsize("medium")
    upper.legend(fontsize="small")
    return figure


def p0_against_center(searched: Sequence[SearchedWindow], resonant: Column) -> Figure:
    """Local p-value of every window, one line for every efficiency."""
    figure, axes = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    smallest = 0.05
    for number, efficiency in enumerate(dict.fromkeys(each.efficiency for window in searched for each in window.measured)):
        points = [(window.bins.window.center, each.p0) for window in searched for each in window.measured
                  if each.efficiency == efficiency and each.p0 is not None]  # fmt: skip
        if not points:
            continue
        name = "all events" if efficiency == 1 else rf"$\epsilon_B \leq {efficiency:g}$"
        axes.plot(*zip(*points, strict=True), marker="os^Dvp*"[number % 7], color=f"C{number}", label=name)
        smallest = min(smallest, *(p0 for _, p0 in points))
    low, high = axes.get_xlim()
    strongest = int(np.ceil(norm.isf(smallest) + 0.1))
    for sigma in range(1, strongest + 1, math.ceil(strongest / MOST_LINES)):
        axes.axhline(float(norm.sf(sigma)), color="grey", lw=0.7, ls="--")
        place = {"xytext": (-3, 2), "textcoords": "offset points", "ha": "right", "fontsize": "small", "color": "grey"}
        axes.annotate(f"{sigma} σ", (high, float(norm.sf(sigma))), **place)
    label = drawable([f"center of the window in {resonant.axis}"])[0]
    axes.set(
        yscale="log", ylim=(float(norm.sf(strongest)) / 3, 1), xlim=(low, high), ylabel="local p-value of no excess", xlabel=label
    )
    axes.legend(fontsize="small")
    return figure


def significance_against_injected(s_over_b: Sequence[float], z: Mapping[float, Sequence[float | None]]) -> Figure:
    """Local significance of a window against S/B injected there, one line for every efficiency; a missing point has no fit."""
    figure, axes = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    for number, (efficiency, values) in enumerate(z.items()):
        points = [(100 * x, value) for x, value in zip(s_over_b, values, strict=True) if value is not None]
        if points:
            name = "all events" if efficiency == 1 else rf"$\epsilon_B \leq {efficiency:g}$"
            axes.plot(*zip(*points, strict=True), marker="os^Dvp*"[number % 7], color=f"C{number}", label=name)
    axes.axhline(0, color="black", lw=0.8)
    axes.set(xlabel="injected S/B in the signal region (%)", ylabel="local significance (σ)")
    axes.legend(fontsize="small")
    return figure
