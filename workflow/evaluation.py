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
from evaluation.closure import FEWEST_EVENTS, two_sample_auc
from evaluation.curves import Evaluation, evaluate_scores
from evaluation.errors import Merit, figures_of_merit
from evaluation.folds import EFFICIENCIES, FILE, ScoredRun
from evaluation.scores import EVALUATION_FILES, scored_rule
from evaluation.sculpting import RunSculpting, Sculpting, sculpting_of_folders
from events.view import UNKNOWN, Events
from models.training.epochs import EpochRule
from plots import sculpting as sculpting_figure
from plots.performance import roc_and_sic
from plots.spectra import selected_spectra
from plots.style import save, show_and_save
from workflow.records import STANDS_FOR, check_scored, read_records
from workflow.stage import Stage

logger = logging.getLogger(__name__)

NOTED_DIFFERENCE = 0.1  # of held-out background from what the sideband says
LARGEST_SAMPLE = 20_000  # events of each kind that are compared


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
        return scored_run(data_dir, preds_dir).tested()
    check_scored(Path(data_dir), Path(preds_dir), "X_test")
    rule = _rule_of(preds_dir) if n_ensemble_epochs is None else EpochRule("lowest", n_ensemble_epochs)
    return stored.load_test_scores(data_dir, preds_dir, rule, extra_signal, _outside(data_dir) if all_events else {})


def evaluate_run(
    data_dir: Path,
    preds_dir: Path,
    n_ensemble_epochs: int | None = None,
    extra_signal: bool | None = None,
    sic_range: tuple[float, float] | None = None,
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
    sic_range : (float, float), optional
        Range of the SIC axis.
    savefig : path, optional
        Where to write the figure; .png without an ending.
    suppress_show : bool
        Do not open a window.
    label : str, optional
        Name of the curves in the legend, the mode for example.
    """
    scores, labels = load_test_scores(data_dir, preds_dir, n_ensemble_epochs, extra_signal)
    evaluations = named_evaluations(scores, labels, label)
    show_and_save(roc_and_sic(evaluations, sic_range, draw_runs=True), savefig, suppress_show)
    return next(iter(evaluations.values()))


def compare_runs(
    run_dirs: Sequence[Path],
    labels: Sequence[str],
    n_ensemble_epochs: int | None = None,
    extra_signal: bool | None = None,
    sic_range: tuple[float, float] | None = None,
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


def run_sculpting(data_dir: Path, preds_dir: Path) -> RunSculpting:
    """How cuts on the score change the mass spectrum of a run's test background, signal region and sideband together.

    Parameters
    ----------
    data_dir, preds_dir : path
        Folders with X_test.npy and X_sideband.npy (stage 3), and with preds_matris.npy and preds_matris_sideband.npy (stage 4).

    Raises
    ------
    InputError
        If files are absent or do not fit together, or if there is too little background.
    """
    if (Path(preds_dir) / FILE).is_file():
        return scored_run(data_dir, preds_dir).sculpting()
    for events in ("X_test", "X_sideband"):
        check_scored(Path(data_dir), Path(preds_dir), events)
    return sculpting_of_folders(data_dir, preds_dir, _rule_of(preds_dir))


def sculpting_of_run(data_dir: Path, preds_dir: Path, savefig: Path | None = None, label: str = "") -> list[Sculpting]:
    """`run_sculpting`, cut by cut, drawn into `savefig` if there is one; the numbers go beside it as JSON."""
    found = run_sculpting(data_dir, preds_dir)
    if savefig is not None:
        _draw_sculpting(found, Path(savefig), label)
    return found.cuts


def _draw_sculpting(found: RunSculpting, path: Path, label: str) -> None:
    save(sculpting_figure.sculpting(found.cuts, label, found.window), path)
    save_json(path.with_suffix(".json"), found.summary())


def summarise_run(run_dir: Path, figures_dir: Path, label: str, figures: str = "png") -> dict[str, Any]:
    """Draw a run's ROC, SIC and background sculpting, say in the log how well the signal was found, and return these numbers.

    `figures` is their format.
    """
    results = _compare_with_background(run_dir, label)
    run = scored_run(run_dir, run_dir) if (run_dir / FILE).is_file() else None
    if run is not None:
        results |= _summarise_selection(run, label)
        cuts = [cut.efficiency for cut in run.selected()]
        save(selected_spectra(run.scores["m"], run.efficiency, run.window, cuts), figures_dir / f"selected.{figures}")
    if not is_labelled(run_dir, run):
        logger.info("%s: the events have no labels, so that there is no ROC, no SIC, and no test of background sculpting", label)
        return results
    results |= _summarise_sculpting(run_dir, figures_dir / f"sculpting.{figures}", label)
    scores, labels = load_test_scores(run_dir, run_dir) if run is None else run.tested()
    evaluations = named_evaluations(scores, labels, label)
    show_and_save(roc_and_sic(evaluations, draw_runs=True), figures_dir / f"result_SIC.{figures}", suppress_show=True)
    result, *averaged = evaluations.values()
    merit, best = figures_of_merit(scores, labels), result.max_sic
    results |= {"max_sic": best.value, "tpr": best.tpr, "fpr": best.fpr, "auc": result.auc.tolist()}
    results |= {"merit": merit.summary(), "test_signal": result.n_signal, "test_background": result.n_background}
    results |= {"max_sic_of_runs": [each._asdict() for each in result.run_max_sic]}
    for evaluation in averaged:
        results["max_sic_of_averaged_score"] = evaluation.max_sic.value
    results |= _summarise_events_outside(run_dir, label)
    of_what = "one run" if run is None else "runs averaged, all folds"
    _log_results(label, result, averaged, merit, f"median over {len(result.auc)} runs" if averaged else of_what)
    return results


def _log_results(label: str, result: Evaluation, averaged: Sequence[Evaluation], merit: Merit, of_what: str) -> None:
    """The result of every run as a table, and that of all."""
    text = "%s: tested on %d signal and %d background events"
    logger.info(text, label, result.n_signal, result.n_background)
    row = "%s: %-16s %8s %8s %10s %7s"
    logger.info(row, label, "run", "max SIC", "ε_S", "ε_B", "AUC")
    rows = list(zip(map(str, range(len(result.auc))), result.run_max_sic, result.auc, strict=True)) if averaged else []
    rows += [("averaged score", each.max_sic, each.auc[0]) for each in averaged]
    rows += [("median" if averaged else of_what[:16], result.max_sic, float(np.median(result.auc)))]
    for name, best, auc in rows:
        logger.info(row, label, name, f"{best.value:.2f}", f"{best.tpr:.3f}", f"{best.fpr:.2e}", f"{auc:.3f}")
    for fpr, sic in merit.sic_at.items():
        logger.info("%s: SIC %s at ε_B = %g (%d background events pass)", label, sic, fpr, round(fpr * result.n_background))
    text = "%s: max SIC %s at ε_S = %.3f, ε_B = %.2e (%s; statistical error of ε_B at most 20 %%, %d test background events)"
    logger.info(text, label, merit.max_sic, result.max_sic.tpr, result.max_sic.fpr, of_what, result.n_background)


def _compare_with_background(run_dir: Path, label: str) -> dict[str, Any]:
    """The two-sample AUC of the training data and what stands for their background, where stage 3 made some; true signal is left out."""
    places = fold_folders(run_dir) or [run_dir]
    if not (places[0] / "X_train.npy").is_file():
        return {}
    events = Events(load_array(places[0] / "X_train.npy"), mixed=True)
    rng = np.random.default_rng(0)
    sets = [events.x[events.is_data & (events.label != 1)], events.x[~events.is_data]]
    n = min(LARGEST_SAMPLE, *map(len, sets))
    if n < FEWEST_EVENTS:
        return {}
    data, background = (x[rng.permutation(len(x))[:n]].astype(np.float64) for x in sets)
    auc, error = two_sample_auc(background, data, rng)
    without = "" if (events.label[events.is_data] == UNKNOWN).any() else ", true signal left out"
    text = "%s: two-sample AUC %.4f ± %.4f between data and background (%d events of each%s); 0.5 is perfect"
    logger.info(text, label, auc, error, n, without)
    return {"data_against_background": {"two_sample_auc": auc, "two_sample_auc_error": error, "events": n}}


def _summarise_events_outside(run_dir: Path, label: str) -> dict[str, Any]:
    """How many test events were cut, and the max SIC without them, as published."""
    outside = _outside(run_dir)
    n_cut = sum(sum(counts.values()) for counts in outside.values())
    if not n_cut:
        return {}
    logger.info("%s: %d test events outside the feature range count as not selected", label, n_cut)
    results: dict[str, Any] = {"outside_the_range": outside}
    with contextlib.suppress(InputError):  # too few are left
        inside = evaluate_scores(*load_test_scores(run_dir, run_dir, all_events=False)).max_sic
        results["max_sic_of_events_inside"] = inside.value
        logger.info("%s: max SIC %.2f without them", label, inside.value)
    return results


def _summarise_sculpting(run_dir: Path, figure: Path, label: str) -> dict[str, Any]:
    """Draw background sculpting where the sideband was scored, and return its numbers."""
    if not any((run_dir / name).is_file() for name in ("preds_matris_sideband.npy", FILE)):
        return {}
    try:
        found = run_sculpting(run_dir, run_dir)
    except InputError as error:
        logger.warning("no figure of background sculpting: %s", error)
        return {}
    _draw_sculpting(found, figure, label)
    logger.info("%s: %s", label, found.verdict.sentence())
    return {"sculpting": found.verdict.sentence(), "sculpting_chi2_per_ndf": {f"{c.share:g}": c.chi2_per_ndf for c in found.cuts}}


def _summarise_selection(run: ScoredRun, label: str) -> dict[str, Any]:
    """Say what cuts on the background efficiency select, and return these numbers."""
    n, n_outside = len(run.scores), int((run.in_signal_region & np.isnan(run.efficiency)).sum())
    cuts, n_inside = run.selected(), int(run.in_signal_region.sum())
    text = "%s: %d events, %d of them in the signal region of %s, where %d are outside the feature range and never selected"
    logger.info(text, label, n, n_inside, run.window, n_outside)
    for cut in cuts:
        text = (
            "%s: background efficiency %g: %.*f ± %.*f (statistical) events expected from the %s if all are background, %d found"
        )
        digits = 0 if cut.expected >= 10 else 1
        logger.info(text, label, cut.efficiency, digits, cut.expected, digits, cut.error, cut.by, cut.found)
        if abs(cut.held_out - cut.expected) > NOTED_DIFFERENCE * cut.expected:
            text = "%s: held-out background would say %.*f: it is not quite like the background there"
            logger.info(text, label, digits, cut.held_out)
    if label in MODES.names and getattr(MODES.get(label), "needs_systematic", False):
        logger.info(
            "%s: what its flow gets wrong in the signal region alone is in none of these errors, see docs/own_data.md", label
        )
    if len(cuts) < len(EFFICIENCIES):
        text = "%s: smaller efficiencies cannot be stated, with %d held-out background events in a fold and %d events of the sideband"
        logger.info(text, label, min(run.n_held_out), n - n_inside)
    outside, results = ~run.in_signal_region, [cut.summary() for cut in cuts]
    if np.isfinite(run.efficiency[outside]).any():  # ANODE scores no sideband
        shares = {f"{cut.efficiency:g}": float(np.mean(run.efficiency[outside] <= cut.efficiency)) for cut in cuts}
        text = ", ".join(f"{100 * share:.3g} % at {name}" for name, share in shares.items())
        logger.info("%s: in the sideband, where features may be others, the same cuts keep %s", label, text)
        results = [result | {"sideband_share": share} for result, share in zip(results, shares.values(), strict=True)]
    return {"selected": results, "signal_region_events": n_inside, "outside_in_signal_region": n_outside}


def scored_run(data_dir: Path, preds_dir: Path) -> ScoredRun:
    """The run in folds, or without labels, whose scores.npy is in `preds_dir`.

    Raises
    ------
    InputError
        If files are absent or do not belong together.
    """
    names = [place.name for place in fold_folders(Path(data_dir))]
    for name in names:
        check_scored(Path(data_dir), Path(preds_dir), f"{name}/X_test")
    return ScoredRun.read(data_dir, preds_dir, names)


def is_labelled(run_dir: Path, run: ScoredRun | None) -> bool:
    """Whether anybody knows what the tested events are."""
    if run is not None:
        return run.labels is not None
    return not bool((load_array(run_dir / "X_test.npy", mapped=True)[:, -1] == UNKNOWN).all())


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(ModeOptions, PresetOptions, StageOptions):
    """What STAGE.json says of an evaluation."""


def evaluation_stage(run_dir: Path, mode: str, figures: str = "png", preset: str | None = None) -> Stage:
    """The evaluation of a run as a stage that writes into its folder; it takes seconds, and its figures are what the user came for."""

    def inputs() -> list[Path]:
        names = (
            "X_train",
            "X_test",
            "X_sideband",
            "preds_matris*",
            "val_loss_matris",
            "scores",
            "fold_0/X_train",
            "fold_*/X_test",
            "fold_*/preds_matris_held_out",
        )
        return [path for name in names for path in sorted(run_dir.glob(f"{name}.npy"))]

    def work(folder: Path) -> dict[str, Any]:
        stands_for = {} if preset is None else {STANDS_FOR: dict(MODES.get(mode).presets[preset])}
        return stands_for | summarise_run(run_dir, folder, mode, figures)

    options = EvaluationOptions(mode=mode, figures=figures, preset=preset)
    return Stage("evaluation", run_dir, options, inputs, patterns(EVALUATION_FILES), work)


def named_evaluations(scores: np.ndarray, labels: np.ndarray, label: str | None = None) -> dict[str, Evaluation]:
    """That of all runs, and where there are several that of the score averaged over them, by what a legend calls them."""
    n_runs = len(np.atleast_2d(scores))
    found = {f"{label or 'median'}, {n_runs} run{'s'[: n_runs != 1]}": evaluate_scores(scores, labels)}
    return found | ({"score averaged over the runs": evaluate_scores(scores.mean(axis=0), labels)} if n_runs > 1 else {})


def _outside(data_dir: Path) -> dict[str, dict[str, int]]:
    """How many test events stage 3 has cut, by array and label, as far as STAGE.json says."""
    results = read_records(data_dir).get("classifier_arrays", {"results": {}})["results"]
    results = results.get("latent space 0", results)
    return {name: counts[OUTSIDE] for name, counts in results.items() if isinstance(counts, dict) and OUTSIDE in counts}


def _rule_of(preds_dir: Path) -> EpochRule:
    """Which epochs stage 4 says are scored."""
    return scored_rule(read_records(preds_dir).get("classifiers", {"results": {}})["results"])
