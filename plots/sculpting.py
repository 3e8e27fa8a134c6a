"""Background sculpting: mass spectra before and after cuts on the score."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from evaluation.sculpting import Sculpting
from events.columns import M_JJ, Column
from plots.style import drawable


def sculpting(results: Sequence[Sculpting], label: str = "", resonant: Column = M_JJ) -> Figure:
    """Normalised mass spectra of the background before and after each cut, and their ratio with binomial errors (median run)."""
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(6.4, 5.4), height_ratios=(2, 1), sharex=True, layout="constrained")
    finest, highest = max(results, key=lambda r: len(r.before)), 1.8
    width = np.diff(finest.edges)
    upper.stairs(finest.before / finest.before.sum() / width, finest.edges, color="black", label="all background")
    for number, r in enumerate(results):
        middle = np.argsort(r.chi2)[len(r.chi2) // 2]
        after, colour = r.after[middle], f"C{number}"
        name = f"most anomalous {100 * r.share:g} %: " + r"$\chi^2$/ndf" + f" = {r.chi2_per_ndf:.1f}"
        upper.stairs(after / after.sum() / np.diff(r.edges), r.edges, color=colour, label=name)
        share = after.sum() / r.before.sum()
        ratio, error = after / r.before / share, np.sqrt((1 - share) / (share * r.before))
        lower.errorbar((r.edges[1:] + r.edges[:-1]) / 2, ratio, error, fmt=".", ms=3, lw=1, color=colour)
        highest = max(highest, ratio.max())
    lower.axhline(1, color="black", lw=1)
    lower.set(xlabel=drawable([resonant.axis])[0], ylabel="after / before", ylim=(0, 1.1 * highest), xlim=finest.edges[[0, -1]])
    density = f"probability density (1/{resonant.unit})" if resonant.unit else "probability density"
    upper.set(ylabel=drawable([density])[0], yscale="log", title=label)
    upper.legend(fontsize="small")
    return figure
