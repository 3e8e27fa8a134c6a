"""Scans: what was reached against what was varied, with medians and bands over the runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from plots.style import BAND, COLOURS, MARKERS, ONE, drawable, styled

DECADES = 1.5  # an axis that spans more is logarithmic
CENTRAL = (0.16, 0.5, 0.84)


@dataclass(frozen=True)
class Band:
    """Median and central 68 % [n] at values x [n] of an axis."""

    x: np.ndarray
    low: np.ndarray
    median: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, points: Mapping[float, Sequence[float]], factor: float = 1.0) -> Band:
        """That of the values of all runs at every x, which is multiplied by a factor."""
        x = sorted(points)
        low, median, high = np.array([np.quantile(points[at], CENTRAL) for at in x]).T
        return cls(factor * np.array(x, dtype=float), low, median, high)


@styled
def against_axis(quantities: Mapping[str, Mapping[str, Band]], axis: str, ticks: Sequence[str] = ()) -> Figure:
    """A panel for every quantity, in it a line with a band for every kind of run.

    Parameters
    ----------
    ticks : sequence of str
        What x = 0, 1, 2 ... are called, of an axis without numbers: there are points with bars, then.
    """
    size = (ONE[0] * len(quantities), ONE[1])
    figure, panels = plt.subplots(1, len(quantities), figsize=size, sharex=True, squeeze=False, layout="constrained")
    for panel, (label, bands) in zip(panels[0], quantities.items(), strict=True):
        for number, (name, band) in enumerate(bands.items()):
            _draw(panel, band, number, name, as_points=bool(ticks))
        panel.set(xlabel=axis, ylabel=label)
        if min(band.low.min() for band in bands.values()) >= 0:
            panel.set_ylim(0, 1.05 * panel.get_ylim()[1])
        x = np.concatenate([band.x for band in bands.values()])
        if ticks:
            panel.set_xticks(range(len(ticks)), drawable(ticks), rotation=30, ha="right")
            panel.xaxis.set_minor_locator(NullLocator())
        elif x.min() > 0 and np.log10(x.max() / x.min()) > DECADES:
            panel.set_xscale("log")
        title = "median, 68 % of the seeds"
        if any(bands):
            panel.legend(title=title, title_fontsize=10)
        else:
            panel.set_title(title)
    return figure


@styled
def max_sic_scan(
    points: Mapping[str, Mapping[float, Sequence[float]]], xlabel: str, *, factor: float = 1.0, log: bool = False
) -> Figure:
    """Max SIC against what was varied: medians over the runs with 68 % bands, and every run as a dot.

    Parameters
    ----------
    points : mapping
        By the name of a curve and the value of what was varied: max SIC of all runs.
    factor : float
        By which that value is multiplied, 100 for a fraction in per cent.
    log : bool
        Draw it on a logarithmic scale.
    """
    figure, axes = plt.subplots(figsize=ONE, layout="constrained")
    for number, (label, values) in enumerate(points.items()):
        _draw(axes, Band.of(values, factor), number, label)
        for at, runs in values.items():
            axes.plot(np.full(len(runs), factor * at), runs, ".", color=COLOURS[number % len(COLOURS)], ms=4, alpha=0.5)
    axes.axhline(1, color="black", ls=":", lw=1.2, label="no improvement")
    axes.set(xlabel=xlabel, ylabel=r"max SIC (error of $\epsilon_B$ at most 20 %)", ylim=(0, None))
    if log:
        axes.set_xscale("log")
    axes.legend()
    return figure


def _draw(axes: Axes, band: Band, number: int, name: str, *, as_points: bool = False) -> None:
    """A line with its band, or points with bars."""
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    if as_points:
        errors = np.array([band.median - band.low, band.high - band.median])
        axes.errorbar(band.x, band.median, errors, fmt=marker, color=colour, capsize=3, label=name)
    else:
        axes.plot(band.x, band.median, color=colour, marker=marker, label=name)
        axes.fill_between(band.x, band.low, band.high, color=colour, **BAND)
