"""How well the signal was found: ROC and SIC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.curves import Evaluation, evaluate_scores

Pair, Triple = tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]


def roc_and_sic(
    evaluations: Mapping[str, Evaluation], sic_range: tuple[float, float] = (0, 20), draw_runs: bool = False
) -> Figure:
    """ROC (1/ε_B) and SIC (ε_S/√ε_B) against signal efficiency: medians over runs with 68 % bands, or every run.

    SIC curves are drawn where the relative statistical error of ε_B is at most 20 %.
    """
    figure, (roc, sic) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    for colour, (label, evaluation) in enumerate(evaluations.items()):
        style = {"color": f"C{colour % 10}"}
        tpr, reliable, floor = evaluation.tpr, evaluation.reliable, 1 / evaluation.n_background
        best, low, high = evaluation.median, evaluation.quantile(0.84), evaluation.quantile(0.16)
        if draw_runs and len(evaluation.fpr) > 1:
            roc.plot(tpr, 1 / np.maximum(evaluation.fpr, floor).T, **style, alpha=0.3, lw=0.7)
            sic.plot(tpr[reliable], evaluation.sic[:, reliable].T, **style, alpha=0.3, lw=0.7)
        elif len(evaluation.fpr) > 1:
            roc.fill_between(tpr, 1 / np.maximum(low.fpr, floor), 1 / np.maximum(high.fpr, floor), **style, alpha=0.25, lw=0)
            sic.fill_between(tpr[reliable], low.sic[reliable], high.sic[reliable], **style, alpha=0.25, lw=0)
        roc.plot(tpr, 1 / np.maximum(best.fpr, floor), **style, label=label)
        sic.plot(tpr[reliable], best.sic[reliable], **style, label=f"{label}: max SIC {evaluation.max_sic.value:.1f}")
        sic.plot(evaluation.max_sic.tpr, evaluation.max_sic.value, "o", ms=4, **style)
    _finish_axes(roc, sic, sic_range)
    sic.set_title(r"shown where the statistical error of $\epsilon_B$ is at most 20 %", fontsize="small")
    return figure


def curves_of_runs(
    collections: Sequence[tuple[str, Sequence[Pair], Triple]],
    sic_range: tuple[float, float] | None,
    *,
    along_a_scale: bool,
    name_runs: bool,
) -> Figure:
    """ROC (1/ε_B) and SIC (ε_S/√ε_B) of single runs, and the median of each collection; no rule leaves out rare background.

    Parameters
    ----------
    collections : sequence of (label, [(ε_S, ε_B) of every run], (ε_S, 1/ε_B, SIC) of the median)
    along_a_scale : bool
        Take the collections' colours from a scale instead of distinct ones.
    name_runs : bool
        Mention single runs in the legend.
    """
    figure, (roc, sic) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    scale = plt.get_cmap("viridis")(np.linspace(0, 0.95, len(collections)))
    for number, (label, runs, median) in enumerate(collections):
        style = {"color": scale[number] if along_a_scale else f"C{number % 10}"}
        suffix = f", {label}" if label else ""
        for axes, curve in ((roc, lambda tpr, fpr: 1 / fpr), (sic, lambda tpr, fpr: tpr / np.sqrt(fpr))):
            for run, (tpr, fpr) in enumerate(runs):
                name = f"{len(runs)} runs{suffix}" if name_runs and run == 0 else None
                axes.plot(tpr, curve(tpr, fpr), **style, alpha=0.3, lw=0.7, label=name)
        roc.plot(median[0], median[1], **style, label=f"median{suffix}")
        sic.plot(median[0], median[2], **style, label=f"median{suffix}")
    _finish_axes(roc, sic, sic_range)
    return figure


def plot_roc_and_sic(
    scores: np.ndarray | Mapping[str, np.ndarray], labels: np.ndarray, sic_range: tuple[float, float] = (0, 20)
) -> tuple[Figure, dict[str, Evaluation]]:
    """ROC and SIC of the scores [n] or [n_runs, n] of events with labels [n] (1 signal, 0 background).

    Several methods are given as a mapping from their names to their scores; several runs are drawn as median and 68 % band.

    Returns
    -------
    figure : matplotlib.figure.Figure
    evaluations : dict of Evaluation
        By name ("scores" where only an array is given): `evaluations[name].max_sic` is the largest SIC with its efficiencies,
        `.auc` and `.run_max_sic` are those of every run, `.tpr`, `.fpr` and `.sic` the curves.

    Raises
    ------
    InputError
        If a score is not finite, or if there are not as many scores as labels.
    """
    named = scores if isinstance(scores, Mapping) else {"scores": scores}
    evaluations = {name: evaluate_scores(values, labels) for name, values in named.items()}
    return roc_and_sic(evaluations, sic_range), evaluations


def _finish_axes(roc: Axes, sic: Axes, sic_range: tuple[float, float] | None) -> None:
    """Labels, legends, and what a random score would give."""
    grid = np.linspace(1e-3, 1, 1000)
    for axes, random in ((roc, 1 / grid), (sic, np.sqrt(grid))):
        axes.plot(grid, random, color="grey", ls=":", label="random")
        axes.set(xlabel=r"signal efficiency $\epsilon_S$", xlim=(0, 1))
        axes.legend(fontsize="small")
    roc.set(ylabel=r"background rejection $1/\epsilon_B$", yscale="log")
    sic.set(ylabel=r"significance improvement $\epsilon_S/\sqrt{\epsilon_B}$", ylim=sic_range)
