"""Closure test: pulls between samples and the data of pseudo signal regions."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from evaluation.closure import Closure
from plots.style import BACKGROUND, drawable, styled

PULL_RANGE = 4.0


@styled
def closure_pulls(closures: Sequence[Closure], labels: Sequence[str]) -> Figure:
    """(data - samples) / error in bins of every feature, one row for every region; `labels` are the features' axes."""
    labels, n = drawable(labels), len(closures)
    figure, panels = plt.subplots(
        n, len(labels), figsize=(2.9 * len(labels), 2.2 * n + 0.5), sharex="col", sharey=True, squeeze=False, layout="constrained"
    )
    highest = max(PULL_RANGE, *(float(np.abs(closure.pulls).max()) for closure in closures))
    for closure, row in zip(closures, panels, strict=True):
        low, high, resonant = closure.window.low, closure.window.high, closure.window.resonant
        area = f"two-sample AUC {closure.auc:.4f} ± {closure.auc_error:.4f}"
        window = drawable([resonant.quantity(f"{low:.3g} < {resonant.label} < {high:.3g}")])[0]
        row[0].set_title(f"{window}: {closure.n_events} events, {area}", loc="left")
        for axes, edges, pulls, chi2 in zip(row, closure.bins, closure.pulls, closure.chi2_per_ndf, strict=True):
            axes.axhspan(-1, 1, color="grey", alpha=0.2, lw=0)
            axes.axhline(0, color="black", lw=0.8)
            axes.stairs(pulls, edges, color=BACKGROUND, fill=True, alpha=0.6)
            text = {"transform": axes.transAxes, "ha": "right", "va": "top", "fontsize": 10.5}
            axes.text(0.96, 0.95, rf"$\chi^2$/ndf = {chi2:.1f}", **text)
            axes.set_ylim(-1.1 * highest, 1.4 * highest)
    for row in panels:
        row[0].set_ylabel("pull (σ)", loc="center")
    for axes, label in zip(panels[-1], labels, strict=True):
        axes.set_xlabel(label)
    return figure
