"""Scans: what was reached against an axis of the grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from plots.style import drawable

MARKERS = "os^Dvp*X"
DECADES = 1.5  # an axis that spans more is logarithmic


@dataclass(frozen=True)
class Band:
    """Median and central 68 % [n] at values x [n] of an axis."""

    x: np.ndarray
    low: np.ndarray
    median: np.ndarray
    high: np.ndarray


def against_axis(quantities: Mapping[str, Mapping[str, Band]], axis: str, ticks: Sequence[str] = ()) -> Figure:
    """A panel for every quantity, in it a line with a band for every kind of run.

    Parameters
    ----------
    ticks : sequence of str
        What x = 0, 1, 2 ... are called, of an axis without numbers: there are points with bars, then.
    """
    size = (4.6 * len(quantities) + 0.6, 4.2)
    figure, panels = plt.subplots(1, len(quantities), figsize=size, sharex=True, squeeze=False, layout="constrained")
    for panel, (label, bands) in zip(panels[0], quantities.items(), strict=True):
        for number, (name, band) in enumerate(bands.items()):
            style = {"color": f"C{number % 10}", "marker": MARKERS[number % len(MARKERS)], "ms": 4}
            if ticks:
                errors = np.array([band.median - band.low, band.high - band.median])
                panel.errorbar(band.x, band.median, errors, ls="none", capsize=3, label=name, **style)
            else:
                panel.plot(band.x, band.median, label=name, **style)
                panel.fill_between(band.x, band.low, band.high, color=style["color"], alpha=0.2, lw=0)
        panel.set(xlabel=axis, ylabel=label)
        panel.set_ylim(bottom=0)
        x = np.concatenate([band.x for band in bands.values()])
        if ticks:
            panel.set_xticks(range(len(ticks)), drawable(ticks), rotation=30, ha="right")
        elif x.min() > 0 and np.log10(x.max() / x.min()) > DECADES:
            panel.set_xscale("log")
        title = "median, 68 % of the seeds"
        if any(bands):
            panel.legend(fontsize="small", title=title, title_fontsize="small")
        else:
            panel.set_title(title, fontsize="small")
    return figure
