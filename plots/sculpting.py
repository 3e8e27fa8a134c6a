"""Background sculpting: mass spectra before and after cuts on the score."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.sculpting import Sculpting
from events.columns import M_JJ
from events.window import Window
from plots.style import BACKGROUND, drawable, shade_signal_region, styled

LARGEST_RATIO = 3.0


@styled
def sculpting(results: Sequence[Sculpting], label: str = "", window: Window | None = None) -> Figure:
    """Normalised mass spectra of the background before and after each cut, and their ratio with binomial errors (median run).

    There is a panel for every cut, with its own bins. `window` is the signal region, which is shaded; without it the variable is m_JJ.
    """
    n, resonant = len(results), M_JJ if window is None else window.resonant
    figure, panels = plt.subplots(
        2,
        n,
        figsize=(max(5.2, 3.3 * n), 4.9),
        height_ratios=(2, 1),
        sharex=True,
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    for cut, (upper, lower) in zip(results, panels.T, strict=True):
        middle = int(np.argsort(cut.chi2)[len(cut.chi2) // 2])
        _draw_cut(upper, lower, cut, cut.drawn.after[middle])
        for axes in (upper, lower) if window is not None else ():
            shade_signal_region(axes, *window.edges, named=axes is upper)
        upper.set_title(f"most anomalous {100 * cut.share:g} %, " + rf"$\chi^2$/ndf = {cut.chi2_per_ndf:.1f}", loc="left")
        lower.set_xlabel(drawable([resonant.axis])[0])
    finest = max(results, key=lambda cut: cut.share).drawn.edges
    panels[1, 0].set(ylabel="after / before", ylim=(0, LARGEST_RATIO), xlim=(finest[0], finest[-1]))
    density = f"probability density (1/{resonant.unit})" if resonant.unit else "probability density (1/unit)"
    panels[0, 0].set(ylabel=drawable([density])[0], yscale="log")
    panels[0, 0].legend(title=label or None, loc="lower left", fontsize=9.5)
    return figure


def _draw_cut(upper: Axes, lower: Axes, cut: Sculpting, after: np.ndarray) -> None:
    """Both spectra and their ratio, for one cut and one run."""
    edges, before = cut.drawn.edges, cut.drawn.before
    centres, widths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    density, share = before / cut.before.sum() / widths, cut.share
    upper.stairs(density, edges, color=BACKGROUND, fill=True, alpha=0.4, label="all background")
    scale = 1 / cut.before.sum() / share / widths
    some = after > 0
    points = {"fmt": ".k", "ms": 4, "lw": 1}
    upper.errorbar(centres[some], (after * scale)[some], (np.sqrt(after) * scale)[some], **points, label="after the cut")
    error = np.sqrt((1 - share) / (share * before))
    lower.axhline(1, color=BACKGROUND, lw=1.2)
    lower.errorbar(centres, after / (share * before), error, widths / 2, **points)
