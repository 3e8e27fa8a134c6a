"""Loss curves."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def loss_curves(
    losses: Mapping[str, np.ndarray], ylabel: str = "loss per event (nats)", first_epoch: int = 0, xlabel: str = "epoch"
) -> Figure:
    """Loss against epoch; every entry is [n_epochs] or [n_runs, n_epochs], runs thin and their median thick."""
    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    trained = []
    for number, (label, values) in enumerate(losses.items()):
        colour = f"C{number % 10}"
        runs = np.atleast_2d(values)
        epochs = np.arange(first_epoch, first_epoch + runs.shape[1])
        if len(runs) > 1:
            axes.plot(epochs, runs.T, color=colour, alpha=0.25, lw=0.7)
        axes.plot(epochs, np.median(runs, axis=0), color=colour, label=label)
        trained.append(runs[:, max(-first_epoch, 0) :])
    finite = np.concatenate([values[np.isfinite(values)] for values in trained])
    if len(finite):  # one diverging epoch must not hide all others
        low, high = finite.min(), np.quantile(finite, 0.98)
        margin = 0.05 * (high - low) or 0.01
        axes.set_ylim(low - margin, high + margin)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return figure
