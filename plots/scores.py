"""Distributions of scores and background efficiencies."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from plots.style import BACKGROUND, BAND, COLOURS, ONE, SIGNAL, styled

N_BINS = 40
BINS_PER_DECADE = 5
FEWEST_EXPECTED = 3  # events in the first bin of efficiencies


@styled
def score_distributions(scores: Mapping[str, np.ndarray], xlabel: str, *, log: bool = False) -> Figure:
    """Share of events in bins of the score, with statistical errors as bands; of every kind of events [n] by its name.

    `log` has bins of equal width in the logarithm, for likelihood ratios.
    """
    figure, axes = plt.subplots(figsize=ONE, layout="constrained")
    every = np.concatenate([values[values > 0] if log else values for values in scores.values()])
    low, high = np.quantile(every, (0.001, 0.999)) if log else (every.min(), every.max())
    high = high if high > low else low + 1
    edges = np.geomspace(low, high, N_BINS + 1) if log else np.linspace(low, high, N_BINS + 1)
    for number, (name, values) in enumerate(scores.items()):
        colour = (BACKGROUND, SIGNAL, *COLOURS[2:])[number]
        counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
        share, error = counts / len(values), np.sqrt(counts) / len(values)
        floor = 0.3 / len(values)
        axes.stairs(share + error, edges, baseline=np.maximum(share - error, floor), fill=True, color=colour, **BAND)
        axes.stairs(np.maximum(share, floor), edges, color=colour, lw=1.6, baseline=floor, label=f"{name} ({len(values)} events)")
    axes.set(xlabel=xlabel, ylabel="share of events per bin", yscale="log", xscale="log" if log else "linear")
    axes.set_ylim(top=10 * axes.get_ylim()[1])
    axes.legend()
    return figure


@styled
def efficiency_distribution(efficiency: np.ndarray) -> Figure:
    """Events [n] in bins of their background efficiency, over what is expected if all are background."""
    figure, axes = plt.subplots(figsize=ONE, layout="constrained")
    lowest = min(0.1, FEWEST_EXPECTED / max(len(efficiency), 1))
    edges = np.append(0, np.geomspace(lowest, 1, int(np.ceil(-BINS_PER_DECADE * np.log10(lowest))) + 1))
    expected, counts = len(efficiency) * np.diff(edges), np.histogram(efficiency, edges)[0]
    drawn = np.append(lowest / (edges[2] / edges[1]), edges[1:])  # the first bin goes on to 0
    relative = np.sqrt(expected) / expected
    axes.stairs(1 + relative, drawn, baseline=np.maximum(1 - relative, 0), fill=True, color=BACKGROUND, **BAND)
    axes.axhline(1, color=BACKGROUND, label=r"all are background, $\pm\sqrt{n}$")
    centres = np.sqrt(drawn[1:] * drawn[:-1])
    axes.errorbar(
        centres, counts / expected, np.sqrt(counts) / expected, fmt=".k", ms=6, lw=1, label=f"data: {len(efficiency)} events"
    )
    axes.set(xscale="log", xlim=(drawn[0], 1), ylim=(0, None))
    axes.set(xlabel=r"background efficiency $\epsilon_B$ of the event", ylabel="events / expected background")
    axes.legend()
    return figure
