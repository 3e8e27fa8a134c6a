"""Scans: what was reached against an axis of the grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

MARKERS = "os^Dvp*X"
DECADES = 1.5  # an axis that spans more is logarithmic


@dataclass(frozen=True)
class Band:
    """Median and central 68 % [n] at values x [n] of an axis."""

    x: np.ndarray
    low: np.ndarray
    median: np.ndarray
    high: np.ndarray


def against_axis(quantities: Mapping[str, Mapping[str, Band]], axis: str) -> Figure:
    """A panel for every quantity, in it a line with a band for every kind of run."""
    figure, panels = plt.subplots(
        1, len(quantities), figsize=(4.6 * len(quantities) + 0.6, 4.2), sharex=True, squeeze=False, layout="constrained"
    )
    for panel, (label, bands) in zip(panels[0], quantities.items(), strict=True):
        for number, (name, band) in enumerate(bands.items()):
            color = f"C{number % 10}"
            panel.plot(band.x, band.median, marker=MARKERS[number % len(MARKERS)], ms=4, color=color, label=name or None)
            panel.fill_between(band.x, band.low, band.high, color=color, alpha=0.2, lw=0)
        x = np.concatenate([band.x for band in bands.values()])
        if x.min() > 0 and np.log10(x.max() / x.min()) > DECADES:
            panel.set_xscale("log")
        panel.set(xlabel=axis, ylabel=label)
        panel.set_ylim(bottom=0)
        if any(bands):
            panel.legend(fontsize="small", title="median, 68 % of the seeds", title_fontsize="small")
    return figure
