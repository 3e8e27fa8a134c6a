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
from plots.style import drawable

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


def mass_spectrum(m: np.ndarray, window: Window) -> Figure:
    """Number of events against the resonant variable, with the signal region shaded."""
    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    edges, resonant = spectrum_bins(m, window), window.resonant
    axes.hist(m, bins=edges, histtype="step", color="black", label="data")
    axes.axvspan(*window.edges, color="tab:red", alpha=0.25, lw=0, label="signal region (SR)")
    for start, stop, name in ((edges[0], window.low, "sideband (SB)"), (window.high, edges[-1], None)):
        axes.axvspan(start, stop, color="tab:blue", alpha=0.12, lw=0, label=name)
    _label_spectrum(axes, edges, resonant)
    axes.legend()
    return figure


def _label_spectrum(axes: Axes, edges: np.ndarray, resonant: Column) -> None:
    labels = drawable([resonant.axis, f"events / {resonant.quantity(f'{edges[1] - edges[0]:.3g}')}"])
    axes.set(xlabel=labels[0], ylabel=labels[1], yscale="log", xlim=(edges[0], edges[-1]))


def selected_spectra(m: np.ndarray, efficiency: np.ndarray, window: Window, cuts: Sequence[float]) -> Figure:
    """Number of events [n] against the resonant variable: all, and those of at most some background efficiencies."""
    figure, axes = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    edges, resonant = spectrum_bins(m, window), window.resonant
    axes.hist(m, bins=edges, histtype="step", color="black", label=f"all {len(m)} events")
    for number, cut in enumerate(cuts):
        chosen = m[efficiency <= cut]
        counts, centres = np.histogram(chosen, edges)[0], (edges[1:] + edges[:-1]) / 2
        shown = counts > 0
        name = rf"$\epsilon_B \leq {cut:g}$: {len(chosen)} events"
        axes.errorbar(centres[shown], counts[shown], np.sqrt(counts[shown]), fmt=".", ms=4, lw=1, color=f"C{number}", label=name)
    axes.axvspan(*window.edges, color="tab:red", alpha=0.15, lw=0, label="signal region (SR)")
    _label_spectrum(axes, edges, resonant)
    axes.legend(fontsize="small")
    return figure


def data_against_samples(
    data: np.ndarray,
    samples: np.ndarray,
    labels: Sequence[str],
    names: tuple[str, str] = ("data", "samples"),
) -> Figure:
    """Normalised histograms of m_JJ and every feature, with their ratio and Poisson errors; both arrays are [n, 1 + d].

    `labels` are those of the axes, `names` those of the two arrays.
    """
    labels, (data_name, sample_name) = drawable(labels), names
    n_rows = math.ceil(len(labels) / PER_ROW)
    n_columns = math.ceil(len(labels) / n_rows)
    figure = plt.figure(figsize=(3.2 * n_columns, 4.2 * n_rows), layout="constrained")
    rows = [
        part.subplots(2, n_columns, height_ratios=(3, 1), sharex="col", squeeze=False)
        for part in np.atleast_1d(figure.subfigures(n_rows))
    ]
    panels = np.concatenate([row.T for row in rows])  # [n, 2]
    for axes in panels[len(labels) :].flat:
        axes.set_visible(False)
    for column, (upper, lower) in enumerate(panels[: len(labels)]):
        both = np.concatenate([data[:, column], samples[:, column]])
        edges = np.linspace(*np.quantile(both, (0.001, 0.999)), N_BINS + 1)
        centres, width = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
        counts = [np.histogram(events[:, column], edges)[0] for events in (data, samples)]
        scales = [1 / (max(len(events), 1) * width) for events in (data, samples)]
        (d, s), (d_error, s_error) = zip(*[(n * k, np.sqrt(n) * k) for n, k in zip(counts, scales, strict=True)], strict=True)
        upper.errorbar(centres, d, d_error, fmt=".k", ms=3, label=data_name)
        upper.stairs(s, edges, color="tab:orange", label=sample_name)
        shown = (counts[0] > 0) & (counts[1] > 0)
        ratio = d[shown] / s[shown]
        error = ratio * np.sqrt((d_error[shown] / d[shown]) ** 2 + (s_error[shown] / s[shown]) ** 2)
        lower.errorbar(centres[shown], ratio, error, fmt=".k", ms=3)
        lower.axhline(1, color="tab:orange", lw=1)
        lower.set(xlabel=labels[column], ylim=(0.5, 1.5))
    for upper, lower in rows:
        upper[0].set_ylabel("probability density")
        lower[0].set_ylabel(f"{data_name} / {sample_name}")
    panels[0, 0].legend()
    return figure
