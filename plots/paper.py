"""Figures that the papers have and a single run has not: max SIC against what is varied, several modes in one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from common.files import writable_folder, write_whole
from plots.style import save

MARKERS = "os^Dvp*"


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
    figure, axes = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    for number, (label, values) in enumerate(points.items()):
        style = {"color": f"C{number % 10}"}
        x = factor * np.array(list(values))
        low, median, high = np.array([np.quantile(runs, (0.16, 0.5, 0.84)) for runs in values.values()]).T
        axes.fill_between(x, low, high, **style, alpha=0.2, lw=0)
        axes.plot(x, median, **style, marker=MARKERS[number % len(MARKERS)], label=label)
        for at, runs in zip(x, values.values(), strict=True):
            axes.plot(np.full(len(runs), at), runs, ".", **style, ms=3, alpha=0.5)
    axes.axhline(1, color="grey", ls=":", label="no improvement")
    axes.set(xlabel=xlabel, ylabel=r"max SIC (statistical error of $\epsilon_B$ at most 20 %)", ylim=(0, None))
    if log:
        axes.set_xscale("log")
    axes.legend(fontsize="small")
    return figure


def save_with_caption(figure: Figure, path: Path, caption: str) -> None:
    """Write the figure, and its caption beside it as text; the folder is made if need be, the ending of `path` says the format."""
    writable_folder(path.parent)
    save(figure, path)
    write_whole(path.with_suffix(".txt"), lambda partial: partial.write_text(f"{caption}\n", encoding="utf-8"))
