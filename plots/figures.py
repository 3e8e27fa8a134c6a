"""The figures: mass spectrum, data against samples, loss curves, ROC and SIC, S/B scan. Arrays in, matplotlib figures out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from common.files import write_whole

if TYPE_CHECKING:
    from evaluation.sculpting import Sculpting
    from evaluation_utils import Evaluation

MASS_LABEL = r"$m_{JJ}$ (TeV)"
BASELINE_LABELS = (r"$m_{J1}$ (TeV)", r"$\Delta m_J$ (TeV)", r"$\tau_{21}^{J1}$", r"$\tau_{21}^{J2}$")
N_BINS = 40


def feature_labels(n_features: int) -> list[str]:
    """Axis labels of m_JJ and the features."""
    further = [f"feature {i + 1}" for i in range(len(BASELINE_LABELS), n_features)]
    return [MASS_LABEL, *BASELINE_LABELS[:n_features], *further]


def save(figure: Figure, path: Path) -> None:
    """Write the figure, whole or not at all, and close it; the ending of `path` says the format, .png without one."""
    path = Path(path) if Path(path).suffix in (".png", ".pdf", ".svg") else Path(f"{path}.png")
    write_whole(path, lambda partial: figure.savefig(partial, format=path.suffix[1:], dpi=150))
    plt.close(figure)


def mass_spectrum(m_jj: np.ndarray, sr_range: tuple[float, float]) -> Figure:
    """Number of events against m_JJ (TeV), with the signal region shaded."""
    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    width = 0.1
    edges = np.arange(np.floor(m_jj.min() / width) * width, np.quantile(m_jj, 0.9999) + width, width)
    axes.hist(m_jj, bins=edges, histtype="step", color="black", label="data")
    axes.axvspan(*sr_range, color="tab:red", alpha=0.25, lw=0, label="signal region (SR)")
    for start, stop, label in ((edges[0], sr_range[0], "sideband (SB)"), (sr_range[1], edges[-1], None)):
        axes.axvspan(start, stop, color="tab:blue", alpha=0.12, lw=0, label=label)
    axes.set(xlabel=MASS_LABEL, ylabel=f"events / {width:g} TeV", yscale="log", xlim=(edges[0], edges[-1]))
    axes.legend()
    return figure


def data_against_samples(
    data: np.ndarray,
    samples: np.ndarray,
    data_name: str = "data",
    sample_name: str = "samples",
    labels: Sequence[str] | None = None,
) -> Figure:
    """Normalised histograms of m_JJ and every feature, with their ratio and Poisson errors; both arrays are [n, 1 + d].

    `labels` of the axes are those of the physical features where none are given.
    """
    labels = feature_labels(data.shape[1] - 1) if labels is None else labels
    figure, axes = plt.subplots(
        2, len(labels), figsize=(3.2 * len(labels), 4.2), height_ratios=(3, 1), sharex="col", squeeze=False, layout="constrained"
    )
    for column, (upper, lower) in enumerate(axes.T):
        both = np.concatenate([data[:, column], samples[:, column]])
        edges = np.linspace(*np.quantile(both, (0.001, 0.999)), N_BINS + 1)
        centres, width = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
        counts = [np.histogram(events[:, column], edges)[0] for events in (data, samples)]
        scales = [1 / (max(len(events), 1) * width) for events in (data, samples)]
        (d, s), (d_error, s_error) = zip(*[(n * k, np.sqrt(n) * k) for n, k in zip(counts, scales, strict=True)], strict=True)
        upper.errorbar(centres, d, d_error, fmt=".k", ms=3, label=data_name)
        upper.stairs(s, edges, color="tab:orange", label=sample_name)
        shown = (counts[0] > 0) & (counts[1] > 0)
        ratio = d[shown] / s[shown]
        error = ratio * np.sqrt((d_error[shown] / d[shown]) ** 2 + (s_error[shown] / s[shown]) ** 2)
        lower.errorbar(centres[shown], ratio, error, fmt=".k", ms=3)
        lower.axhline(1, color="tab:orange", lw=1)
        lower.set(xlabel=labels[column], ylim=(0.5, 1.5))
    axes[0, 0].set_ylabel("probability density")
    axes[1, 0].set_ylabel(f"{data_name} / {sample_name}")
    axes[0, 0].legend()
    return figure


def loss_curves(losses: Mapping[str, np.ndarray], ylabel: str = "loss per event (nats)", first_epoch: int = 0) -> Figure:
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
    axes.set(xlabel="epoch", ylabel=ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return figure


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
    grid = np.linspace(1e-3, 1, 1000)
    for axes, random in ((roc, 1 / grid), (sic, np.sqrt(grid))):
        axes.plot(grid, random, color="grey", ls=":", label="random")
        axes.set(xlabel=r"signal efficiency $\epsilon_S$", xlim=(0, 1))
        axes.legend(fontsize="small")
    roc.set(ylabel=r"background rejection $1/\epsilon_B$", yscale="log")
    sic.set(ylabel=r"significance improvement $\epsilon_S/\sqrt{\epsilon_B}$", ylim=sic_range)
    sic.set_title(r"shown where the statistical error of $\epsilon_B$ is at most 20 %", fontsize="small")
    return figure


def signal_scan(s_over_b: Sequence[float], max_sic: Sequence[Sequence[float]], label: str = "") -> Figure:
    """Max SIC against S/B in the signal region: median and 68 % band over the runs of every S/B."""
    order = np.argsort(s_over_b)
    x = 100 * np.asarray(s_over_b, dtype=float)[order]
    low, median, high = np.array([np.quantile(max_sic[i], (0.16, 0.5, 0.84)) for i in order]).T
    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    axes.fill_between(x, low, high, alpha=0.25, lw=0, label="68 % of the runs")
    axes.plot(x, median, marker="o", label=f"{label} median".strip())
    axes.axhline(1, color="grey", ls=":", label="no improvement")
    axes.set(xlabel="S/B in the signal region (%)", ylabel=r"max SIC (error of $\epsilon_B$ at most 20 %)", ylim=(0, None))
    axes.legend()
    return figure


def sculpting(results: Sequence[Sculpting], label: str = "") -> Figure:
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
    lower.set(xlabel=MASS_LABEL, ylabel="after / before", ylim=(0, 1.1 * highest), xlim=finest.edges[[0, -1]])
    upper.set(ylabel="probability density (1/TeV)", yscale="log", title=label)
    upper.legend(fontsize="small")
    return figure
