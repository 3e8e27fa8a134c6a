"""Loss curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from plots.style import BAND, COLOURS, ONE, styled


@styled
def loss_curves(
    losses: Mapping[str, np.ndarray],
    ylabel: str = "loss per event (nats)",
    first_epoch: int = 0,
    xlabel: str = "epoch",
    chosen: Sequence[int] = (),
) -> Figure:
    """Loss against epoch; every entry is [n_epochs] or [n_runs, n_epochs]: the median over the runs, with a 68 % band.

    Parameters
    ----------
    chosen : sequence of int
        Epochs that are used: they are marked on the last of the curves.
    """
    figure, axes = plt.subplots(figsize=ONE, layout="constrained")
    trained, median = [], np.array([])
    for number, (label, values) in enumerate(losses.items()):
        colour, runs = COLOURS[number % len(COLOURS)], np.atleast_2d(np.asarray(values, dtype=np.float64))
        epochs, known = np.arange(first_epoch, first_epoch + runs.shape[1]), np.isfinite(runs).any(axis=0)
        low, median, high = np.full((3, runs.shape[1]), np.nan)
        low[known], median[known], high[known] = np.nanquantile(runs[:, known], (0.16, 0.5, 0.84), axis=0)
        if len(runs) > 1:
            axes.fill_between(epochs, low, high, color=colour, **BAND)
        name = f"{label}: median and 68 % of {len(runs)} runs" if len(runs) > 1 else label
        axes.plot(epochs, median, color=colour, label=name)
        trained.append(runs[:, max(-first_epoch, 0) :])
    marked = [epoch for epoch in chosen if 0 <= epoch - first_epoch < len(median)]
    if marked:
        heights = median[np.array(marked) - first_epoch]
        name = "epochs that are used" if len(marked) > 1 else "epoch that is used"
        axes.plot(marked, heights, "o", ms=6, mfc="none", mec="black", mew=1.2, label=name)
    finite = np.concatenate([values[np.isfinite(values)] for values in trained])
    if len(finite):  # one diverging epoch must not hide all others
        low, high = finite.min(), np.quantile(finite, 0.98)
        margin = 0.05 * (high - low) or 0.01
        axes.set_ylim(low - margin, high + 3 * margin)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.legend()
    return figure
