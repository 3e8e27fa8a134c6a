"""Evaluation for notebooks and scripts: the functions of the published code, with its return values, and this project's own.

    from evaluation_utils import evaluate_run, full_single_evaluation
    evaluate_run("CATHODE_results/", "CATHODE_results/", savefig="result_SIC").max_sic  # value, ε_S, ε_B
    tprs, rejections, sics = full_single_evaluation("CATHODE_results/", "CATHODE_results/", savefig="result_SIC")

Every max SIC is taken where the relative statistical error of ε_B is at most 20 %, that is where at least 25 background events pass. The
published functions (arXiv:2109.00546) return curves without such a rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from background.arrays import ClassifierArrays
from common.errors import InputError
from common.files import load_array
from evaluation.curves import MIN_BACKGROUND, Curves, Evaluation, MaxSIC, evaluate_scores, exact_curves, max_sic, sic_curve
from evaluation.errors import Measured, Merit, figures_of_merit
from evaluation.sculpting import Sculpting, background_sculpting
from events.view import Events
from models.registry import CLASSIFIERS
from plots.performance import curves_of_runs, plot_roc_and_sic
from plots.style import show_and_save
from workflow.evaluation import compare_runs, evaluate_run, load_test_scores, sculpting_of_run
from workflow.runs import signal_to_background

__all__ = [
    "MIN_BACKGROUND", "Curves", "Evaluation", "MaxSIC", "Measured", "Merit", "Sculpting", "background_sculpting", "classic_ANODE_eval",
    "compare_on_various_runs", "compare_runs", "evaluate_run", "evaluate_scores", "figures_of_merit", "full_single_evaluation",
    "load_test_scores", "max_sic", "minimum_val_loss_model_evaluation", "plot_roc_and_sic", "sculpting_of_run", "sic_curve",
    "signal_to_background", "tprs_fprs_sics",
]  # fmt: skip

CurvesByRun = dict[tuple[int, int], np.ndarray]  # by run and epoch
N_GRID = 1000  # signal efficiencies at which medians over runs are taken, as published


def tprs_fprs_sics(
    preds_matris: np.ndarray, y_test: np.ndarray, X_test: np.ndarray
) -> tuple[CurvesByRun, CurvesByRun, CurvesByRun]:
    """ε_S, ε_B and SIC of every run and epoch at every cut that background passes, as dictionaries by (run, epoch).

    Parameters
    ----------
    preds_matris : array [n_runs, n_epochs, n]
        Scores.
    y_test : array [n]
        1 for data; samples (0) are left out.
    X_test : array [n, k]
        Events, whose last column is the label (1 signal, 0 background).

    Raises
    ------
    InputError
        If signal or background is absent, or a score is not finite.
    """
    preds_matris, data = np.asarray(preds_matris), np.asarray(y_test) == 1
    labels = np.asarray(X_test)[data, -1]
    tprs, fprs, sics = {}, {}, {}
    for run, epochs in enumerate(preds_matris):
        for epoch, curve in enumerate(zip(*exact_curves(epochs[:, data], labels), strict=True)):
            passes = curve[1] > 0
            tprs[run, epoch], fprs[run, epoch], sics[run, epoch] = (values[passes] for values in curve)
    return tprs, fprs, sics


def full_single_evaluation(
    data_dir: Path,
    prediction_dir: Path,
    n_ensemble_epochs: int | None = None,
    extra_signal: bool | None = None,
    sic_range: tuple[float, float] = (0, 20),
    savefig: str | Path | None = None,
    suppress_show: bool = False,
    return_all: bool = False,
) -> tuple[list, ...]:
    """Draw ROC and SIC of all runs with their median.

    Parameters
    ----------
    data_dir, prediction_dir, n_ensemble_epochs, extra_signal, sic_range, savefig, suppress_show
        See `evaluate_run`.
    return_all : bool
        Return the single runs, too.

    Returns
    -------
    tprs, rejections, sics : lists of one array [1000]
        ε_S, and the medians over the runs of 1/ε_B and of the SIC.
    tprs_of_runs, fprs_of_runs : lists of one dictionary
        With `return_all`: those of `tprs_fprs_sics`.
    """
    scores, labels = load_test_scores(data_dir, prediction_dir, n_ensemble_epochs, extra_signal, all_events=False)
    tprs, fprs, _ = tprs_fprs_sics(scores[:, None], np.ones(len(labels)), labels[:, None])
    return compare_on_various_runs(
        [tprs],
        [fprs],
        [np.zeros(len(scores), dtype=int)],
        [""],
        sic_range,
        savefig,
        suppress_show=suppress_show,
        return_all=return_all,
    )


def classic_ANODE_eval(
    predsdir: Path,
    savefig: str | Path | None = None,
    suppress_show: bool = False,
    extra_signal: bool = True,
    return_all: bool = False,
) -> tuple[list, ...]:
    """`full_single_evaluation` of ANODE's likelihood ratios and sig_labels.npy; the extra signal joins them where it is.

    Raises
    ------
    InputError
        If a file is absent, or if there are not as many labels as scores.
    """
    folder = Path(predsdir)
    scores, labels = load_array(folder / "preds_matris.npy"), load_array(folder / "sig_labels.npy")
    if scores.ndim != 3 or scores.shape[-1] != len(labels):
        raise InputError(f"{folder / 'preds_matris.npy'}: shape {scores.shape}, but sig_labels.npy has {len(labels)} events")
    if extra_signal and (folder / "preds_matris_extrasig.npy").is_file():
        extra = load_array(folder / "preds_matris_extrasig.npy")
        scores, labels = np.concatenate([scores, extra], axis=-1), np.append(labels, np.ones(extra.shape[-1]))
    tprs, fprs, _ = tprs_fprs_sics(scores, np.ones(len(labels)), labels[:, None])
    first = [np.zeros(len(scores), dtype=int)]
    return compare_on_various_runs(
        [tprs], [fprs], first, [""], (0, 20), savefig, suppress_show=suppress_show, return_all=return_all
    )


def compare_on_various_runs(
    tprs_list: Sequence[CurvesByRun],
    fprs_list: Sequence[CurvesByRun],
    pick_epochs_list: Sequence[Sequence[int]],
    labels_list: Sequence[str],
    sic_lim: tuple[float, float] | None = None,
    savefig: str | Path | None = None,
    only_median: bool = False,
    continuous_colors: bool = False,
    reduced_legend: bool = False,
    suppress_show: bool = False,
    return_all: bool = False,
) -> tuple[list, ...]:
    """Several collections of runs in one figure: every run, and the median of each collection.

    Parameters
    ----------
    tprs_list, fprs_list : sequences of dictionaries
        Of every collection, what `tprs_fprs_sics` returns.
    pick_epochs_list : sequence of sequences of int
        Of every collection, the epoch of each run that is drawn.
    labels_list : sequence of str
        What the collections are called in the legend.
    sic_lim : (float, float), optional
        Range of the SIC axis.
    only_median, continuous_colors, reduced_legend : bool
        Leave out the single runs; colours along a scale; no entries of single runs in the legend.
    return_all : bool
        Return the dictionaries, too.

    Returns
    -------
    As `full_single_evaluation`, with one entry for every collection.

    Raises
    ------
    InputError
        If the lists are of different lengths.
    """
    lists = (tprs_list, fprs_list, pick_epochs_list, labels_list)
    if len({len(each) for each in lists}) != 1:
        raise InputError(f"as many labels, epochs and curves are needed, not {', '.join(str(len(each)) for each in lists)}")
    grids, rejections, sics, drawn = [], [], [], []
    for tprs, fprs, epochs, label in zip(*lists, strict=True):
        runs = [(tprs[run, int(epoch)], fprs[run, int(epoch)]) for run, epoch in enumerate(epochs)]
        grid = np.linspace(max(tpr.min() for tpr, _ in runs), min(tpr.max() for tpr, _ in runs), N_GRID)
        grids.append(grid)
        rejections.append(np.median([np.interp(grid, tpr, 1 / fpr) for tpr, fpr in runs], axis=0))
        sics.append(np.median([np.interp(grid, tpr, tpr / np.sqrt(fpr)) for tpr, fpr in runs], axis=0))
        drawn.append((label, [] if only_median else runs, (grid, rejections[-1], sics[-1])))
    figure = curves_of_runs(drawn, sic_lim, along_a_scale=continuous_colors, name_runs=not reduced_legend)
    show_and_save(figure, savefig, suppress_show)
    return (grids, rejections, sics, list(tprs_list), list(fprs_list)) if return_all else (grids, rejections, sics)


def minimum_val_loss_model_evaluation(
    data_dir: Path,
    prediction_dir: Path,
    n_epochs: int = 10,
    use_mjj: bool = False,
    predict_on_samples: bool = False,
    extra_signal: bool = True,
    take_mean: bool = True,
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """Scores by the weights that stage 4 kept (`--save_model`); nothing is written.

    Parameters
    ----------
    data_dir, prediction_dir : path
        Folders of X_test.npy (and X_train.npy), and of my_classifier_epoch_E.par.
    n_epochs : int
        So many epochs of every run, of lowest validation loss among those that were kept, at most all of them.
    use_mjj, predict_on_samples, extra_signal : bool
        Give m_JJ to the classifier; score samples in X_test.npy as well as data; score the extra signal, too.
    take_mean : bool
        Average over the epochs.

    Returns
    -------
    array [n_runs, 1 or n_epochs, n], and with `extra_signal` that of the extra signal
    """
    classifier = CLASSIFIERS.load(Path(prediction_dir), "my_classifier")
    arrays = ClassifierArrays.read(Path(data_dir), extra_signal=extra_signal)
    if extra_signal and arrays.extrasig is None:
        raise InputError(f"{Path(data_dir) / 'X_extrasig.npy'}: no such file")
    test = Events(load_array(Path(data_dir) / "X_test.npy"), mixed=True) if predict_on_samples else arrays.test
    tested = [test, *([arrays.extrasig] if extra_signal else [])]
    inputs = [arrays.inputs(events, use_mjj=use_mjj) for events in tested]
    several = hasattr(classifier, "predict_best")
    scores = [classifier.predict_best(X, n_epochs) if several else classifier.predict_runs(X)[:, None] for X in inputs]
    scores = [each.mean(axis=1, keepdims=True) if take_mean else each for each in scores]
    return tuple(scores) if extra_signal else scores[0]
