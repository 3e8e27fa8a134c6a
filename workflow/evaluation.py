"""The evaluation of a run: ROC, SIC = ε_S/√ε_B, their errors and figures, background sculpting; from the arrays of stages 3 and 4.

Every max SIC is taken where the relative statistical error of ε_B is at most 20 %, that is where at least 25 background events pass.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from background.arrays import OUTSIDE, fold_folders
from background.options import ModeOptions, PresetOptions
from background.registry import MODES
from common.contract import patterns
from common.errors import InputError
from common.files import load_array, save_json
from common.options import StageOptions
from evaluation import scores as stored
from evaluation.curves import Evaluation, evaluate_scores
from evaluation.errors import figures_of_merit
from evaluation.folds import EFFICIENCIES, FILE, ScoredRun
from evaluation.scores import EVALUATION_FILES, scored_rule
from evaluation.sculpting import Sculpting, sculpting_of_folders
from events.view import UNKNOWN
from models.training.epochs import EpochRule
from plots import sculpting as sculpting_figure
from plots.performance import roc_and_sic
from plots.spectra import selected_spectra
from plots.style import save, show_and_save
from workflow.records import check_scored, read_records
from workflow.stage import Stage

logger = logging.getLogger(__name__)

FIGURE, SCULPTING_FIGURE, SELECTED_FIGURE = "result_SIC.png", "sculpting.png", "selected.png"


def load_test_scores(
    data_dir: Path,
    preds_dir: Path,
    n_ensemble_epochs: int | None = None,
    extra_signal: bool | None = None,
    all_events: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores [n_runs, n] and labels [n] of the test data, with the extra signal appended.

    Of a run in folds they are those of the signal region's data, with 1 - background efficiency for a score: so folds compare.

    Test events that stage 3 has cut, as far as STAGE.json in `data_dir` counts them, come last with a score of -1: so efficiencies are
    those of all test events.

    Parameters
    ----------
    n_ensemble_epochs : int or None
        See `evaluate_run`.
    extra_signal : bool or None
        None uses the extra signal if it is there.
    all_events : bool
        False leaves out events that were cut: efficiencies as published.

    Raises
    ------
    InputError
        If files are absent, or STAGE.json says that these are scores of other events.
    """
    if (Path(preds_dir) / FILE).is_file():
        return _scored_run(data_dir, preds_dir).tested()
    check_scored(Path(data_dir), Path(preds_dir), "X_test")
    rule = _rule_of(preds_dir) if n_ensemble_epochs is None else EpochRule("lowest", n_ensemble_epochs)
    return stored.load_test_scores(data_dir, preds_dir, rule, extra_signal, _outside(data_dir) if all_events else {})


def evaluate_run(
    data_dir: Path,
    preds_dir: Path,
    n_ensemble_epochs: int | None = None,
    extra_signal: bool | None = None,
    sic_range: tuple[float, float] = (0, 20),
    savefig: str | Path | None = None,
    suppress_show: bool = True,
    label: str | None = None,
) -> Evaluation:
    """Draw ROC and SIC of all runs with their median, and of the score that is averaged over the runs.

    Parameters
    ----------
    data_dir : path
        Folder with X_test.npy (stage 3).
    preds_dir : path
        Folder with preds_matris.npy and val_loss_matris.npy (stage 4).
    n_ensemble_epochs : int or None
        The score of every run is the mean over so many epochs of lowest validation loss. None: over those that the run itself names in
        STAGE.json (of a folder without it, ten). Where stage 4 kept the weights, it has averaged already.
    extra_signal : bool or None
        Count the extra signal among the test events; None: if it is there.
    sic_range : (float, float)
        Range of the SIC axis.
    savefig : path, optional
        Where to write the figure; .png without an ending.
    suppress_show : bool
        Do not open a window.
    label : str, optional
        Name of the curves in the legend, the mode for example.
    """
    scores, labels = load_test_scores(data_dir, preds_dir, n_ensemble_epochs, extra_signal)
    evaluation, *_ = evaluations = _evaluations(scores, labels)
    show_and_save(roc_and_sic(_named(evaluations, label), sic_range, draw_runs=True), savefig, suppress_show)
    return evaluation


def compare_runs(
    run_dirs: Sequence[Path],
    labels: Sequence[str],
    n_ensemble_epochs: int | None = None,
    extra_signal: bool | None = None,
    sic_range: tuple[float, float] = (0, 20),
    savefig: str | Path | None = None,
    suppress_show: bool = True,
) -> dict[str, Evaluation]:
    """Several runs (of several modes, say) in one figure: median ROC and SIC with 68 % bands; labels must differ."""
    evaluations = {
        label: evaluate_scores(*load_test_scores(run_dir, run_dir, n_ensemble_epochs, extra_signal))
        for label, run_dir in zip(labels, run_dirs, strict=True)
    }
    show_and_save(roc_and_sic(evaluations, sic_range), savefig, suppress_show)
    return evaluations


def sculpting_of_run(data_dir: Path, preds_dir: Path, savefig: Path | None = None, label: str = "") -> list[Sculpting]:
    """How cuts on the score change the mass spectrum of a run's test background, signal region and sideband together.

    Parameters
    ----------
    data_dir, preds_dir : path
        Folders with X_test.npy and X_sideband.npy (stage 3), and with preds_matris.npy and preds_matris_sideband.npy (stage 4).
    savefig : path, optional
        Where to write the figure; the numbers go beside it as JSON.

    Raises
    ------
    InputError
        If files are absent or do not fit together, or if there is too little background.
    """
    if (Path(preds_dir) / FILE).is_file():
        sculpting = _scored_run(data_dir, preds_dir).sculpting()
    else:
        for events in ("X_test", "X_sideband"):
            check_scored(Path(data_dir), Path(preds_dir), events)
        sculpting = sculpting_of_folders(data_dir, preds_dir, _rule_of(preds_dir))
    if savefig is not None:
        save(sculpting_figure.sculpting(sculpting.cuts, label, sculpting.resonant), Path(savefig))
        save_json(Path(savefig).with_suffix(".json"), sculpting.summary())
    return sculpting.cuts


def summarise_run(run_dir: Path, figures_dir: Path, label: str) -> dict[str, Any]:
    """Draw a run's ROC, SIC and background sculpting, say in the log how well the signal was found, and return these numbers."""
    run = _scored_run(run_dir, run_dir) if (run_dir / FILE).is_file() else None
    results = {} if run is None else _summarise_selection(run, run_dir, figures_dir, label)
    if not _is_labelled(run_dir, run):
        logger.info("%s: the events have no labels, so that there is no ROC, no SIC, and no test of background sculpting", label)
        return results
    results |= _summarise_sculpting(run_dir, figures_dir, label)
    scores, labels = load_test_scores(run_dir, run_dir) if run is None else run.tested()
    result, *averaged = evaluations = _evaluations(scores, labels)
    show_and_save(roc_and_sic(_named(evaluations, label), draw_runs=True), figures_dir / FIGURE, suppress_show=True)
    merit, best = figures_of_merit(scores, labels), result.max_sic
    results |= {"max_sic": best.value, "tpr": best.tpr, "fpr": best.fpr, "auc": result.auc.tolist()}
    results |= {"merit": merit.summary(), "test_signal": result.n_signal, "test_background": result.n_background}
    logger.info(
        "%s: AUC %.3f, tested on %d signal and %d background events",
        label,
        result.auc.mean(),
        result.n_signal,
        result.n_background,
    )
    for fpr, sic in merit.sic_at.items():
        logger.info("%s: SIC %s at ε_B = %g (%d background events pass)", label, sic, fpr, round(fpr * result.n_background))
    outside = _outside(run_dir)
    if n_cut := sum(sum(counts.values()) for counts in outside.values()):
        results["outside_the_range"] = outside
        logger.info("%s: %d test events outside the feature range count as not selected", label, n_cut)
        with contextlib.suppress(InputError):  # too few are left
            inside = evaluate_scores(*load_test_scores(run_dir, run_dir, all_events=False)).max_sic
            results["max_sic_of_events_inside"] = inside.value
            logger.info("%s: max SIC %.2f without them", label, inside.value)
    for evaluation in averaged:
        text = "%s: max SIC %.2f at ε_S = %.3f, ε_B = %.2e of the score averaged over the runs"
        logger.info(text, label, *evaluation.max_sic)
        results["max_sic_of_averaged_score"] = evaluation.max_sic.value
    runs = (
        f"median over {len(result.auc)} runs" if len(result.auc) > 1 else "one run" if run is None else "runs averaged, all folds"
    )
    text = "%s: max SIC %s at ε_S = %.3f, ε_B = %.2e (%s; statistical error of ε_B at most 20 %%, %d test background events)"
    logger.info(text, label, merit.max_sic, best.tpr, best.fpr, runs, result.n_background)
    logger.info("figure: %s", run_dir / FIGURE)
    return results


def _summarise_sculpting(run_dir: Path, figures_dir: Path, label: str) -> dict[str, Any]:
    """Draw background sculpting where the sideband was scored, and return its numbers."""
    if not any((run_dir / name).is_file() for name in ("preds_matris_sideband.npy", FILE)):
        return {}
    try:
        cuts = sculpting_of_run(run_dir, run_dir, figures_dir / SCULPTING_FIGURE, label)
    except InputError as error:
        logger.warning("no figure of background sculpting: %s", error)
        return {}
    text = "%s: sculpting by the most anomalous %g %% of the background: χ²/ndf %.2f with %d bins (median over runs)"
    for cut in cuts:
        logger.info(text, label, 100 * cut.share, cut.chi2_per_ndf, len(cut.before))
    logger.info("figure: %s", run_dir / SCULPTING_FIGURE)
    return {"sculpting_chi2_per_ndf": {f"{cut.share:g}": cut.chi2_per_ndf for cut in cuts}}


def _summarise_selection(run: ScoredRun, run_dir: Path, figures_dir: Path, label: str) -> dict[str, Any]:
    """Say what cuts on the background efficiency select, draw the spectra, and return these numbers."""
    n, n_outside = len(run.scores), int((run.in_signal_region & np.isnan(run.efficiency)).sum())
    cuts, n_inside = run.selected(), int(run.in_signal_region.sum())
    text = "%s: %d events, %d of them in the signal region of %s, where %d are outside the feature range and never selected"
    logger.info(text, label, n, n_inside, run.window, n_outside)
    for cut in cuts:
        text = "%s: background efficiency %g: %.*f ± %.*f (statistical) events expected if all are background, %d found"
        digits = 0 if cut.expected >= 10 else 1
        logger.info(text, label, cut.efficiency, digits, cut.expected, digits, cut.error, cut.found)
    if len(cuts) < len(EFFICIENCIES):
        text = "%s: smaller efficiencies cannot be stated, with %d held-out background events in a fold"
        logger.info(text, label, min(run.n_held_out))
    outside, results = ~run.in_signal_region, [cut.summary() for cut in cuts]
    if np.isfinite(run.efficiency[outside]).any():  # ANODE scores no sideband
        shares = {f"{cut.efficiency:g}": float(np.mean(run.efficiency[outside] <= cut.efficiency)) for cut in cuts}
        text = ", ".join(f"{100 * share:.3g} % at {name}" for name, share in shares.items())
        logger.info("%s: in the sideband, where features may be others, the same cuts keep %s", label, text)
        results = [result | {"sideband_share": share} for result, share in zip(results, shares.values(), strict=True)]
    save(
        selected_spectra(run.scores["m"], run.efficiency, run.window, [cut.efficiency for cut in cuts]),
        figures_dir / SELECTED_FIGURE,
    )
    logger.info("figure: %s", run_dir / SELECTED_FIGURE)
    return {"selected": results, "signal_region_events": n_inside, "outside_in_signal_region": n_outside}


def _scored_run(data_dir: Path, preds_dir: Path) -> ScoredRun:
    names = [place.name for place in fold_folders(Path(data_dir))]
    for name in names:
        check_scored(Path(data_dir), Path(preds_dir), f"{name}/X_test")
    return ScoredRun.read(data_dir, preds_dir, names)


def _is_labelled(run_dir: Path, run: ScoredRun | None) -> bool:
    """Whether anybody knows what the tested events are."""
    if run is not None:
        return run.labels is not None
    return not bool((load_array(run_dir / "X_test.npy", mapped=True)[:, -1] == UNKNOWN).all())


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(ModeOptions, PresetOptions, StageOptions):
    """What STAGE.json says of an evaluation."""


def evaluation_stage(run_dir: Path, mode: str, preset: str | None = None) -> Stage:
    """The evaluation of a run as a stage that writes into its folder; it takes seconds, and its figures are what the user came for."""

    def inputs() -> list[Path]:
        names = (
            "X_test",
            "X_sideband",
            "preds_matris*",
            "val_loss_matris",
            "scores",
            "fold_*/X_test",
            "fold_*/preds_matris_held_out",
        )
        return [path for name in names for path in sorted(run_dir.glob(f"{name}.npy"))]

    def work(folder: Path) -> dict[str, Any]:
        stands_for = {} if preset is None else {"preset_stands_for": dict(MODES.get(mode).presets[preset])}
        return stands_for | summarise_run(run_dir, folder, mode)

    return Stage("evaluation", run_dir, EvaluationOptions(mode=mode, preset=preset), inputs, patterns(EVALUATION_FILES), work)


def _evaluations(scores: np.ndarray, labels: np.ndarray) -> list[Evaluation]:
    """That of all runs, and where there are several that of the score averaged over them."""
    return [evaluate_scores(scores, labels), *([evaluate_scores(scores.mean(axis=0), labels)] if len(scores) > 1 else [])]


def _named(evaluations: Sequence[Evaluation], label: str | None) -> dict[str, Evaluation]:
    """These, by what the legend calls them."""
    n_runs = len(evaluations[0].auc)
    return dict(
        zip((f"{label or 'median'}, {n_runs} run{'s'[: n_runs != 1]}", "score averaged over the runs"), evaluations, strict=False)
    )


def _outside(data_dir: Path) -> dict[str, dict[str, int]]:
    """How many test events stage 3 has cut, by array and label, as far as STAGE.json says."""
    results = read_records(data_dir).get("classifier_arrays", {"results": {}})["results"]
    results = results.get("latent space 0", results)
    return {name: counts[OUTSIDE] for name, counts in results.items() if isinstance(counts, dict) and OUTSIDE in counts}


def _rule_of(preds_dir: Path) -> EpochRule:
    """Which epochs stage 4 says are scored."""
    return scored_rule(read_records(preds_dir).get("classifiers", {"results": {}})["results"])
