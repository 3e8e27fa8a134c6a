"""Figures of every pair of features: histograms, pulls between two samples, mean score. Arrays [n, d] in, matplotlib figures out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from events.columns import Columns
from events.features import BASELINE, columns_of
from plots.style import DIVERGING, SEQUENTIAL, drawable, styled

N_BINS = 30
MIN_EVENTS = 5  # of both samples together, for a pull that means something


@styled
def hists_2d(X: np.ndarray, labels: Sequence[str] | None = None, bins: int = N_BINS) -> Figure:
    """Number of events in bins of every pair of features."""

    def count(x: np.ndarray, edges: list[np.ndarray]) -> np.ndarray:
        counts = np.histogram2d(*x.T, bins=edges)[0]
        return np.where(counts > 0, counts, np.nan)

    return _pairs([X], count, LogNorm(), SEQUENTIAL, "events per bin", labels, bins)


@styled
def pulls_2d(data: np.ndarray, samples: np.ndarray, labels: Sequence[str] | None = None, bins: int = N_BINS) -> Figure:
    """Difference of two normalised samples in units of its statistical error, in bins of every pair of features.

    Where both follow the same density, the pulls are distributed as N(0, 1).
    """
    scale = len(data) / len(samples)

    def pull(x: np.ndarray, y: np.ndarray, edges: list[np.ndarray]) -> np.ndarray:
        n, k = (np.histogram2d(*events.T, bins=edges)[0] for events in (x, y))
        error = np.sqrt(n + scale**2 * k)
        return np.divide(n - scale * k, error, out=np.full_like(n, np.nan), where=n + k >= MIN_EVENTS)

    return _pairs([data, samples], pull, Normalize(-4, 4), DIVERGING, "(data − samples) / error (σ)", labels, bins)


@styled
def preds_2d(X: np.ndarray, scores: np.ndarray, labels: Sequence[str] | None = None, bins: int = N_BINS) -> Figure:
    """Mean score [n] in bins of every pair of features."""
    scores = np.asarray(scores)

    def mean(x: np.ndarray, edges: list[np.ndarray]) -> np.ndarray:
        summed, counts = (np.histogram2d(*x.T, bins=edges, weights=weights)[0] for weights in (scores, None))
        return np.divide(summed, counts, out=np.full_like(summed, np.nan), where=counts > 0)

    return _pairs([X], mean, Normalize(), SEQUENTIAL, "mean score", labels, bins)


def _pairs(
    samples: Sequence[np.ndarray],
    content: Callable[..., np.ndarray],
    norm: Normalize,
    colours: str,
    title: str,
    labels: Sequence[str] | None,
    bins: int,
) -> Figure:
    """One panel for every pair of features below the diagonal; ranges hold all but 0.1 % of the events at each end."""
    samples = [np.asarray(sample, dtype=np.float64) for sample in samples]
    d = samples[0].shape[1]
    if d < 2 or any(sample.shape[1] != d for sample in samples):
        raise ValueError("pairs need two features at least, and the same in all samples")
    if labels is None:
        known = columns_of(BASELINE).axes[1:]
        labels = [*known[:d], *Columns.positional(d).axes[1 + len(known) :]]
    labels = drawable(labels)
    both = np.concatenate(samples)
    edges = [np.linspace(*np.nanquantile(column, (0.001, 0.999)), bins + 1) for column in both.T]
    figure, panels = plt.subplots(
        d - 1, d - 1, figsize=(2.5 * (d - 1) + 1, 2.3 * (d - 1)), squeeze=False, sharex="col", sharey="row", layout="constrained"
    )
    values = {
        (j, i): content(*(sample[:, [i, j]] for sample in samples), [edges[i], edges[j]])
        for i, j in itertools.combinations(range(d), 2)
    }
    if norm.vmin is None:
        every = np.concatenate([v.ravel() for v in values.values()])
        norm.autoscale(every[np.isfinite(every)])
    for axes in panels.flat:
        axes.set_visible(False)
    for (j, i), value in values.items():
        axes = panels[j - 1, i]
        axes.set_visible(True)
        image = axes.pcolormesh(edges[i], edges[j], value.T, norm=norm, cmap=colours, rasterized=True)
        axes.set(xlabel=labels[i] if j == d - 1 else "", ylabel=labels[j] if i == 0 else "", title="")
        axes.xaxis.label.set_fontsize(11)
        axes.yaxis.label.set_fontsize(11)
    figure.colorbar(image, ax=panels, label=title, shrink=0.6)
    return figure
