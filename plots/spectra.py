"""Distributions of events: the mass spectrum, and data against what stands for the background."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from events.columns import Column
from events.window import Window
from plots.style import BACKGROUND, BAND, COLOURS, MARKERS, ONE, SHADE, SIDEBAND, TALL, drawable, shade_signal_region, styled

N_BINS = 40
PER_ROW = 7  # panels side by side
BINS_PER_WINDOW = 4
MOST_BINS = 200


def spectrum_bins(m: np.ndarray, window: Window) -> np.ndarray:
    """Edges of bins of equal width for values m [n], the edges of the window among them; the highest 0.01 % are left out."""
    low, high = float(m.min()), float(np.quantile(m, 0.9999))
    n_inside = BINS_PER_WINDOW if BINS_PER_WINDOW * (high - low) < MOST_BINS * window.width else 1
    width = window.width / n_inside
    first, last = np.floor((low - window.low) / width), np.ceil((high - window.low) / width)
    return window.low + width * np.arange(min(first, 0), max(last, n_inside) + 1)


@styled
def mass_spectrum(m: np.ndarray, window: Window) -> Figure:
    """Number of events against the resonant variable, with the signal region shaded."""
    figure, axes = plt.subplots(figsize=ONE, layout="constrained")
    edges, resonant = spectrum_bins(m, window), window.resonant
    axes.hist(m, bins=edges, histtype="step", color="black", lw=1.2, label="data")
    shade_signal_region(axes, *window.edges)
    for start, stop, name in ((edges[0], window.low, "sideband (SB)"), (window.high, edges[-1], None)):
        axes.axvspan(start, stop, color=SIDEBAND, **SHADE, label=name)
    _label_spectrum(axes, edges, resonant)
    axes.legend()
    return figure


def _label_spectrum(axes: Axes, edges: np.ndarray, resonant: Column) -> None:
    labels = drawable([resonant.axis, f"events / {resonant.quantity(f'{edges[1] - edges[0]:.3g}')}"])
    axes.set(xlabel=labels[0], ylabel=labels[1], yscale="log", xlim=(edges[0], edges[-1]))


@styled
def selected_spectra(m: np.ndarray, efficiency: np.ndarray, window: Window, cuts: Sequence[float]) -> Figure:
    """Number of events [n] against the resonant variable: all, and those of at most some background efficiencies."""
    figure, axes = plt.subplots(figsize=TALL, layout="constrained")
    edges, resonant = spectrum_bins(m, window), window.resonant
    axes.hist(m, bins=edges, histtype="step", color="black", lw=1.2, label=f"all {len(m)} events")
    for number, cut in enumerate(cuts):
        chosen = m[efficiency <= cut]
        counts, centres = np.histogram(chosen, edges)[0], (edges[1:] + edges[:-1]) / 2
        shown = counts > 0
        name = rf"$\epsilon_B \leq {cut:g}$: {len(chosen)} events"
        look = {"fmt": MARKERS[number % len(MARKERS)], "ms": 4, "lw": 1, "color": COLOURS[number % len(COLOURS)]}
        axes.errorbar(centres[shown], counts[shown], np.sqrt(counts[shown]), **look, label=name)
    shade_signal_region(axes, *window.edges)
    _label_spectrum(axes, edges, resonant)
    axes.legend()
    return figure


@styled
def data_against_samples(
    data: np.ndarray,
    samples: np.ndarray,
    labels: Sequence[str],
    names: tuple[str, str] = ("data", "samples"),
) -> Figure:
    """Normalised histograms of m_JJ and every feature with statistical errors, their ratio, and pulls; both arrays are [n, 1 + d].

    `labels` are those of the axes, `names` those of the two arrays.
    """
    labels = drawable(labels)
    n_rows = math.ceil(len(labels) / PER_ROW)
    n_columns = math.ceil(len(labels) / n_rows)
    figure = plt.figure(figsize=(3.0 * n_columns, 5.0 * n_rows), layout="constrained")
    rows = [
        part.subplots(3, n_columns, height_ratios=(3, 1, 1), sharex="col", squeeze=False)
        for part in np.atleast_1d(figure.subfigures(n_rows))
    ]
    panels = np.concatenate([row.T for row in rows])  # [n, 3]
    for axes in panels[len(labels) :].flat:
        axes.set_visible(False)
    for column, three in enumerate(panels[: len(labels)]):
        _compare(three, data[:, column], samples[:, column], names)
        three[-1].set_xlabel(labels[column])
    for upper, middle, lower in rows:
        upper[0].set_ylabel("share of events per bin")
        middle[0].set_ylabel("ratio", fontsize=10.5, loc="center")
        lower[0].set_ylabel("pull (σ)", fontsize=10.5, loc="center")
    panels[0, 0].legend(fontsize=9.5)
    return figure


def _compare(panels: Sequence[Axes], data: np.ndarray, samples: np.ndarray, names: tuple[str, str]) -> None:
    """Shares [n_bins] of two samples with statistical errors, their ratio, and their difference over its error."""
    upper, middle, lower = panels
    edges = np.linspace(*np.quantile(np.concatenate([data, samples]), (0.001, 0.999)), N_BINS + 1)
    centres = (edges[1:] + edges[:-1]) / 2
    counts = [np.histogram(values, edges)[0] for values in (data, samples)]
    (d, s), (d_error, s_error) = np.array(
        [[n / max(len(values), 1), np.sqrt(n) / max(len(values), 1)] for n, values in zip(counts, (data, samples), strict=True)]
    ).transpose(1, 0, 2)
    upper.stairs(s + s_error, edges, baseline=s - s_error, fill=True, color=BACKGROUND, **BAND)
    upper.stairs(s, edges, color=BACKGROUND, lw=1.5, label=names[1])
    upper.errorbar(centres, d, d_error, fmt=".k", ms=3, lw=1, label=names[0])
    upper.set_ylim(0, 1.3 * (d + d_error).max())
    some = (counts[0] > 0) & (counts[1] > 0)
    relative = np.divide(s_error, s, out=np.zeros_like(s), where=s > 0)
    middle.stairs(1 + relative, edges, baseline=1 - relative, fill=True, color=BACKGROUND, **BAND)
    middle.axhline(1, color=BACKGROUND, lw=1)
    middle.errorbar(centres[some], d[some] / s[some], d_error[some] / s[some], fmt=".k", ms=3, lw=1)
    middle.set_ylim(0.5, 1.5)
    error = np.hypot(d_error, s_error)
    lower.axhspan(-1, 1, color="grey", alpha=0.2, lw=0)
    lower.stairs(np.divide(d - s, error, out=np.zeros_like(d), where=error > 0), edges, fill=True, color="black", alpha=0.6)
    lower.set_ylim(-4, 4)
