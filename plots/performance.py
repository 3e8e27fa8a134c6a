"""How well the signal was found: ROC, SIC, SICs of several methods side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from evaluation.curves import FIXED_FPR, MIN_BACKGROUND, Evaluation, evaluate_scores
from evaluation.errors import Merit
from plots.style import BAND, COLOURS, LIMIT, MARKERS, ONE, SEQUENTIAL, TWO, move_long_legend, styled

FAINT = {"alpha": 0.35, "lw": 0.6}
Pair, Triple = tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]


@styled
def roc_and_sic(
    evaluations: Mapping[str, Evaluation], sic_range: tuple[float, float] | None = None, draw_runs: bool = False
) -> Figure:
    """ROC (1/ε_B) and SIC (ε_S/√ε_B) against signal efficiency: medians over runs with 68 % bands; also every run, if asked for.

    SIC curves are drawn where the relative statistical error of ε_B is at most 20 %; so is the limit beyond which it is larger, where all
    have the same number of background events.
    """
    figure, (roc, sic) = plt.subplots(1, 2, figsize=TWO, layout="constrained")
    _draw_roc(roc, evaluations, draw_runs)
    _draw_sic(sic, evaluations, sic_range, draw_runs)
    return figure


@styled
def roc_curves(evaluations: Mapping[str, Evaluation], draw_runs: bool = False) -> Figure:
    """The first half of `roc_and_sic`."""
    figure, axes = plt.subplots(figsize=ONE, layout="constrained")
    _draw_roc(axes, evaluations, draw_runs)
    move_long_legend(axes)
    return figure


@styled
def sic_curves(evaluations: Mapping[str, Evaluation], draw_runs: bool = False) -> Figure:
    """The second half of `roc_and_sic`."""
    figure, axes = plt.subplots(figsize=ONE, layout="constrained")
    _draw_sic(axes, evaluations, None, draw_runs)
    move_long_legend(axes)
    return figure


def _draw_roc(axes: Axes, evaluations: Mapping[str, Evaluation], draw_runs: bool) -> None:
    for number, (label, evaluation) in enumerate(evaluations.items()):
        style, tpr = {"color": COLOURS[number % len(COLOURS)]}, evaluation.tpr
        best, low, high = (1 / np.maximum(evaluation.quantile(q).fpr, 1 / evaluation.n_background) for q in (0.5, 0.84, 0.16))
        if len(evaluation.fpr) > 1:
            axes.fill_between(tpr, low, high, **style, **BAND)
            if draw_runs:
                axes.plot(tpr, 1 / np.maximum(evaluation.fpr, 1 / evaluation.n_background).T, **style, **FAINT)
        axes.plot(tpr, best, **style, label=label)
    if (smallest := _smallest_fpr(evaluations)) is not None:
        axes.axhline(1 / smallest, color=LIMIT, ls="--", lw=1.2, label=r"error of $\epsilon_B$ 20 %, above: larger")
    _finish_roc(axes)


def _draw_sic(axes: Axes, evaluations: Mapping[str, Evaluation], sic_range: tuple[float, float] | None, draw_runs: bool) -> None:
    highest = 1.0
    for number, (label, evaluation) in enumerate(evaluations.items()):
        style, reliable = {"color": COLOURS[number % len(COLOURS)]}, evaluation.reliable
        tpr = evaluation.tpr[reliable]
        best, low, high = (evaluation.quantile(q).sic[reliable] for q in (0.5, 0.84, 0.16))
        if len(evaluation.fpr) > 1:
            axes.fill_between(tpr, low, high, **style, **BAND)
            if draw_runs:
                axes.plot(tpr, evaluation.sic[:, reliable].T, **style, **FAINT)
        axes.plot(tpr, best, **style, label=f"{label}: max SIC {evaluation.max_sic.value:.1f}")
        axes.plot(evaluation.max_sic.tpr, evaluation.max_sic.value, "o", **style)
        highest = max(highest, evaluation.max_sic.value, float(np.nanmax(high, initial=0)))
    if (smallest := _smallest_fpr(evaluations)) is None:
        axes.set_title(r"drawn where the statistical error of $\epsilon_B$ is at most 20 %", loc="left")
    else:
        tpr = np.array([0.0, 1.0])
        limit = tpr / np.sqrt(smallest)
        axes.plot(tpr, limit, color=LIMIT, ls="--", lw=1.2, label=r"error of $\epsilon_B$ 20 %, above: larger")
        axes.fill_between(tpr, limit, np.maximum(limit, 1e4), color=LIMIT, alpha=0.12, lw=0)
    _finish_sic(axes, sic_range or (0, 1.5 * highest))


def _smallest_fpr(evaluations: Mapping[str, Evaluation]) -> float | None:
    """The ε_B whose statistical error is 20 %; None where the numbers of background events differ."""
    numbers = {evaluation.n_background for evaluation in evaluations.values()}
    return MIN_BACKGROUND / numbers.pop() if len(numbers) == 1 else None


@styled
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
    figure, (roc, sic) = plt.subplots(1, 2, figsize=TWO, layout="constrained")
    scale = plt.get_cmap(SEQUENTIAL)(np.linspace(0, 0.95, len(collections)))
    for number, (label, runs, median) in enumerate(collections):
        style = {"color": scale[number] if along_a_scale else COLOURS[number % len(COLOURS)]}
        suffix = f", {label}" if label else ""
        for axes, curve in ((roc, lambda tpr, fpr: 1 / fpr), (sic, lambda tpr, fpr: tpr / np.sqrt(fpr))):
            for run, (tpr, fpr) in enumerate(runs):
                name = f"{len(runs)} runs{suffix}" if name_runs and run == 0 else None
                axes.plot(tpr, curve(tpr, fpr), **style, alpha=0.3, lw=0.7, label=name)
        roc.plot(median[0], median[1], **style, label=f"median{suffix}")
        sic.plot(median[0], median[2], **style, label=f"median{suffix}")
    _finish_roc(roc)
    _finish_sic(sic, sic_range)
    return figure


def plot_roc_and_sic(
    scores: np.ndarray | Mapping[str, np.ndarray], labels: np.ndarray, sic_range: tuple[float, float] | None = None
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


def _finish_roc(axes: Axes) -> None:
    """Labels, legend, and what a random score would give."""
    grid = np.linspace(1e-3, 1, 1000)
    axes.plot(grid, 1 / grid, color="black", ls=":", lw=1.2, label="random")
    axes.set(xlabel=r"signal efficiency $\epsilon_S$", xlim=(0, 1), yscale="log", ylabel=r"background rejection $1/\epsilon_B$")
    axes.legend(loc="upper right", fontsize=10)


def _finish_sic(axes: Axes, sic_range: tuple[float, float] | None) -> None:
    """The same of a SIC."""
    grid = np.linspace(1e-3, 1, 1000)
    axes.plot(grid, np.sqrt(grid), color="black", ls=":", lw=1.2, label="random")
    axes.set(xlabel=r"signal efficiency $\epsilon_S$", xlim=(0, 1))
    axes.set(ylabel=r"SIC = $\epsilon_S/\sqrt{\epsilon_B}$", ylim=sic_range)
    axes.legend(loc="upper right", fontsize=10)


@styled
def merits(found: Mapping[str, Merit]) -> Figure:
    """Max SIC and the SICs at fixed background efficiency of several methods, with their statistical errors."""
    figure, axes = plt.subplots(figsize=(ONE[0], 1.5 + 0.55 * len(found)), layout="constrained")
    quantities = {"max SIC": lambda merit: merit.max_sic}
    quantities |= {rf"SIC at $\epsilon_B$ = {fpr:g}": lambda merit, fpr=fpr: merit.sic_at.get(fpr) for fpr in FIXED_FPR}
    for number, (name, pick) in enumerate(quantities.items()):
        known = {row: value for row, merit in enumerate(found.values()) if (value := pick(merit)) is not None}
        if known:
            rows = np.array(list(known)) + 0.18 * (number - 1)
            values, errors = zip(*((value.value, value.error) for value in known.values()), strict=True)
            axes.errorbar(values, rows, xerr=errors, fmt=MARKERS[number], color=COLOURS[number], lw=1.2, capsize=2, label=name)
    axes.set_yticks(range(len(found)), list(found))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set(xlabel=r"SIC = $\epsilon_S/\sqrt{\epsilon_B}$", xlim=(0, None), ylim=(len(found) - 0.4, -0.6))
    axes.set_ylabel("run", loc="center")
    figure.legend(loc="outside lower center", ncols=3, fontsize=10, columnspacing=1)
    return figure
