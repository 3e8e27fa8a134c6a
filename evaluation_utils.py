"""How well the anomalies were found: ROC, SIC = ε_S/√ε_B, and their figures, from the arrays of stages 3 and 4.

Every max SIC is taken where the relative statistical error of ε_B is at most 20 %, that is where at least 25 background events pass.

    from evaluation_utils import full_single_evaluation
    full_single_evaluation("CATHODE_results/", "CATHODE_results/", savefig="result_SIC")
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

from common.files import InputError, load_array
from data_handler import drop_nan_rows
from evaluation.sculpting import background_sculpting as background_sculpting
from evaluation.sculpting import sculpting_of_run as sculpting_of_run
from models.training.epochs import best_epochs
from workflow.records import check_scored

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)
OUTPUTS = ("result_SIC.png", "sculpting.png", "sculpting.json")  # of the evaluation at the end of a run

MAX_RELATIVE_ERROR = 0.2
MIN_BACKGROUND = 25  # events that pass, for that error
TPR_GRID = np.linspace(0, 1, 1001)[1:]


class MaxSIC(NamedTuple):
    """The largest significance improvement of a curve, and where it is reached."""

    value: float
    tpr: float
    fpr: float


class Curves(NamedTuple):
    """Curves on a common grid of signal efficiencies: tpr [k], fpr and sic [k] or [n_runs, k]."""

    tpr: np.ndarray
    fpr: np.ndarray
    sic: np.ndarray


@dataclass(frozen=True)
class Evaluation:
    """ROC and SIC of several runs on a common grid of signal efficiencies.

    Attributes
    ----------
    tpr : array [k]
        Signal efficiencies ε_S.
    fpr, sic : arrays [n_runs, k]
        Background efficiencies ε_B, and ε_S/√ε_B.
    auc : array [n_runs]
        Areas under the ROC curves.
    run_max_sic : tuple of MaxSIC
        One for every run.
    n_signal, n_background : int
        Test events behind the efficiencies.
    """

    tpr: np.ndarray = field(repr=False)
    fpr: np.ndarray = field(repr=False)
    sic: np.ndarray = field(repr=False)
    auc: np.ndarray
    run_max_sic: tuple[MaxSIC, ...]
    n_signal: int
    n_background: int

    @property
    def median(self) -> Curves:
        """Pointwise median over the runs."""
        return self.quantile(0.5)

    def quantile(self, q: float) -> Curves:
        """Pointwise quantile of ε_B over the runs, and the SIC it means (NaN where it is 0)."""
        fpr = np.quantile(self.fpr, q, axis=0)
        return Curves(self.tpr, fpr, sic_curve(self.tpr, fpr))

    @property
    def reliable(self) -> np.ndarray:
        """Where on the grid [k] the median ε_B has a relative statistical error of at most 20 %."""
        return np.median(self.fpr, axis=0) * self.n_background >= 1 / MAX_RELATIVE_ERROR**2 - 1e-9

    @property
    def max_sic(self) -> MaxSIC:
        """Maximum of the pointwise median over the runs, under the 20 % rule."""
        return max_sic(self.tpr, self.median.fpr, self.n_background)


def sic_curve(tpr: np.ndarray, fpr: np.ndarray) -> np.ndarray:
    """Significance improvement ε_S/√ε_B; NaN where no background passes.

    Examples
    --------
    >>> sic_curve(np.array([0.5, 0.9]), np.array([0.01, 0.25])).tolist()
    [5.0, 1.8]
    """
    tpr, fpr = np.asarray(tpr, dtype=np.float64), np.asarray(fpr, dtype=np.float64)
    return np.divide(tpr, np.sqrt(fpr), out=np.full_like(tpr, np.nan), where=fpr > 0)


def max_sic(
    tpr: np.ndarray,
    fpr: np.ndarray,
    n_background: int,
    max_relative_error: float = MAX_RELATIVE_ERROR,
) -> MaxSIC:
    """The largest SIC where the relative statistical error of ε_B, 1/√(events that pass), is small enough.

    Parameters
    ----------
    tpr, fpr : arrays [k]
    n_background : int
        Number of background events behind `fpr`.
    max_relative_error : float
        0.2 asks for 25 background events that pass.

    Raises
    ------
    InputError
        If not even the whole background has that many events.
    """
    reliable = np.asarray(fpr) * n_background >= 1 / max_relative_error**2 - 1e-9
    if not reliable.any():
        raise InputError(f"{n_background} background events are too few for a relative error of {max_relative_error:g}")
    sic = sic_curve(tpr, fpr)
    best = int(np.argmax(np.where(reliable, sic, -np.inf)))
    return MaxSIC(float(sic[best]), float(tpr[best]), float(fpr[best]))


def tprs_fprs_sics(scores: np.ndarray, labels: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """ROC and SIC curves of every run, at every cut that changes them.

    Parameters
    ----------
    scores : array [n_runs, n]
        Higher is more signal-like.
    labels : array [n]
        1 signal, 0 background.

    Raises
    ------
    InputError
        If signal or background is absent, or a score is not finite.
    """
    labels = np.asarray(labels)
    scores = np.atleast_2d(scores)
    if labels.ndim != 1 or scores.ndim != 2 or scores.shape[1] != len(labels):
        raise InputError(
            f"scores of shape {scores.shape} do not fit to labels of shape {labels.shape}: expected [n_runs, n] and [n]"
        )
    if not (labels == 1).any() or not (labels == 0).any():
        raise InputError("ROC curves need signal and background events in the test set")
    if not np.isfinite(scores).all():
        raise InputError("some scores are not finite: leave those events out")
    curves = [roc_curve(labels == 1, run, drop_intermediate=False)[:2] for run in scores]
    fprs, tprs = [fpr for fpr, _ in curves], [tpr for _, tpr in curves]
    return tprs, fprs, [sic_curve(tpr, fpr) for tpr, fpr in zip(tprs, fprs, strict=True)]


def evaluate_scores(scores: np.ndarray, labels: np.ndarray) -> Evaluation:
    """Curves, areas and largest SIC of the scores [n_runs, n] of test events with labels [n]."""
    scores = np.atleast_2d(scores)
    tprs, fprs, _ = tprs_fprs_sics(scores, labels)
    n_signal, n_background = int((labels == 1).sum()), int((labels == 0).sum())
    on_grid = np.stack([np.interp(TPR_GRID, tpr, fpr) for tpr, fpr in zip(tprs, fprs, strict=True)])
    return Evaluation(
        tpr=TPR_GRID,
        fpr=on_grid,
        sic=np.stack([sic_curve(TPR_GRID, fpr) for fpr in on_grid]),
        auc=np.array([roc_auc_score(labels == 1, run) for run in scores]),
        run_max_sic=tuple(max_sic(tpr, fpr, n_background) for tpr, fpr in zip(tprs, fprs, strict=True)),
        n_signal=n_signal,
        n_background=n_background,
    )


def minimum_val_loss_model_evaluation(
    preds_dir: Path, n_ensemble_epochs: int = 10, predictions: str = "preds_matris"
) -> np.ndarray:
    """Scores of every run [n_runs, n_test]: the mean over its epochs of lowest validation loss.

    Where stage 4 kept the weights (`--save_model`) it has averaged already, and the scores are returned as they are.
    """
    preds = load_array(Path(preds_dir) / f"{predictions}.npy")
    if preds.ndim != 3:
        raise InputError(f"{Path(preds_dir) / predictions}.npy: shape {preds.shape}, expected [n_runs, n_kept, n_test]")
    if preds.shape[1] == 1:
        return preds[:, 0]
    val_losses = load_array(Path(preds_dir) / "val_loss_matris.npy")
    if val_losses.shape != preds.shape[:2]:
        raise InputError(
            f"{Path(preds_dir) / predictions}.npy: {preds.shape[:2]} runs and epochs, but val_loss_matris.npy has {val_losses.shape}"
        )
    best = [best_epochs(losses, n_ensemble_epochs) for losses in val_losses]
    return np.stack([run[epochs].mean(axis=0) for run, epochs in zip(preds, best, strict=True)])


def load_test_scores(
    data_dir: Path, preds_dir: Path, n_ensemble_epochs: int = 10, extra_signal: bool | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Scores [n_runs, n] and labels [n] of the test data, with the extra signal appended.

    Parameters
    ----------
    extra_signal : bool or None
        None uses the extra signal if it is there.
    """
    data_dir, preds_dir = Path(data_dir), Path(preds_dir)
    check_scored(data_dir, preds_dir, "X_test")
    X_test = drop_nan_rows(load_array(data_dir / "X_test.npy"), data_dir / "X_test.npy")
    labels = X_test[X_test[:, -2] == 1, -1]
    scores = minimum_val_loss_model_evaluation(preds_dir, n_ensemble_epochs)
    if scores.shape[1] != len(labels):
        raise InputError(
            f"{preds_dir}/preds_matris.npy: {scores.shape[1]} events, but {data_dir}/X_test.npy has {len(labels)} data"
        )
    there = (preds_dir / "preds_matris_extrasig.npy").is_file()
    if extra_signal or (extra_signal is None and there):
        extra = minimum_val_loss_model_evaluation(preds_dir, n_ensemble_epochs, "preds_matris_extrasig")
        scores = np.concatenate([scores, extra], axis=1)
        labels = np.concatenate([labels, np.ones(extra.shape[1])])
    return scores, labels


def full_single_evaluation(
    data_dir: Path,
    preds_dir: Path,
    n_ensemble_epochs: int = 10,
    extra_signal: bool | None = None,
    sic_range: tuple[float, float] = (0, 20),
    savefig: str | Path | None = None,
    suppress_show: bool = True,
    return_all: bool = False,
    label: str | None = None,
) -> Curves | Evaluation:
    """Draw ROC and SIC of all runs with their median.

    Parameters
    ----------
    data_dir : path
        Folder with X_test.npy (stage 3).
    preds_dir : path
        Folder with preds_matris.npy and val_loss_matris.npy (stage 4).
    n_ensemble_epochs : int
        Epochs whose scores are averaged in every run.
    extra_signal : bool or None
        Count the extra signal among the test events; None: if it is there.
    sic_range : (float, float)
        Range of the SIC axis.
    savefig : path, optional
        Where to write the figure; .png without an ending.
    suppress_show : bool
        Do not open a window.
    return_all : bool
        Return the curves of every run (an Evaluation) instead of the medians.
    label : str, optional
        Name of the curves in the legend, the mode for example.

    Returns
    -------
    Curves or Evaluation
    """
    import matplotlib.pyplot as plt

    from plots import figures

    evaluation = evaluate_scores(*load_test_scores(data_dir, preds_dir, n_ensemble_epochs, extra_signal))
    n_runs = len(evaluation.auc)
    name = f"{label or 'median'}, {n_runs} run{'s'[: n_runs != 1]}"
    figure = figures.roc_and_sic({name: evaluation}, sic_range, draw_runs=True)
    if not suppress_show:
        plt.show()
    if savefig is not None:
        figures.save(figure, Path(savefig))
    plt.close(figure)
    return evaluation if return_all else evaluation.median


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
    from plots import figures

    named = scores if isinstance(scores, Mapping) else {"scores": scores}
    evaluations = {name: evaluate_scores(values, labels) for name, values in named.items()}
    return figures.roc_and_sic(evaluations, sic_range), evaluations


def classic_ANODE_eval(
    preds_dir: Path,
    data_dir: Path | None = None,
    extra_signal: bool | None = None,
    sic_range: tuple[float, float] = (0, 20),
    savefig: str | Path | None = None,
    suppress_show: bool = True,
    return_all: bool = False,
) -> Curves | Evaluation:
    """`full_single_evaluation` of ANODE's likelihood ratios, which `run_ANODE_evaluation.py` writes into one folder."""
    return full_single_evaluation(
        preds_dir if data_dir is None else data_dir,
        preds_dir,
        extra_signal=extra_signal,
        sic_range=sic_range,
        savefig=savefig,
        suppress_show=suppress_show,
        return_all=return_all,
    )


def compare_on_various_runs(
    run_dirs: Sequence[Path],
    labels: Sequence[str],
    n_ensemble_epochs: int = 10,
    extra_signal: bool | None = None,
    sic_range: tuple[float, float] = (0, 20),
    savefig: str | Path | None = None,
    suppress_show: bool = True,
) -> dict[str, Evaluation]:
    """Several runs (of several modes, say) in one figure: median ROC and SIC with 68 % bands; labels must differ."""
    import matplotlib.pyplot as plt

    from plots import figures

    evaluations = {
        label: evaluate_scores(*load_test_scores(run_dir, run_dir, n_ensemble_epochs, extra_signal))
        for label, run_dir in zip(labels, run_dirs, strict=True)
    }
    figure = figures.roc_and_sic(evaluations, sic_range)
    if not suppress_show:
        plt.show()
    if savefig is not None:
        figures.save(figure, Path(savefig))
    plt.close(figure)
    return evaluations


def signal_to_background(run_dir: Path) -> float:
    """S/B among the SR data that a run was trained and validated on, from the true labels.

    Raises
    ------
    InputError
        If the run has no arrays of stage 3 (ANODE), or its "data" are no mixture of signal and background (supervised).
    """
    arrays = [load_array(Path(run_dir) / f"X_{name}.npy") for name in ("train", "validation")]
    labels = np.concatenate([array[array[:, -2] == 1, -1] for array in arrays])
    if not (labels == 0).any():
        raise InputError(f"{run_dir}: holds no background among its data, a supervised run has no S/B")
    return float((labels == 1).sum() / (labels == 0).sum())
