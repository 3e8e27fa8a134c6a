"""The sections of a report about scores: their distribution, ROC and SIC, what is selected, background sculpting."""

from __future__ import annotations

from typing import Any

import numpy as np

from evaluation.sculpting import Sculpting
from plots import scores as score_figures
from plots.performance import roc_curves, sic_curves
from plots.sculpting import sculpting
from plots.spectra import selected_spectra
from reports import words
from reports.folder import RunFolder
from reports.page import Picture, Section, Table
from workflow.evaluation import load_test_scores, named_evaluations, run_sculpting


def score_distribution(run: RunFolder) -> Section:
    """How scores are distributed."""
    if run.scored is not None:
        efficiency = run.scored.efficiency[run.scored.in_signal_region]
        figure = score_figures.efficiency_distribution(efficiency[np.isfinite(efficiency)])
        text = "The background efficiency of an event is the share of held-out background that scores as high: uniform for background."
        alt = "Data of the signal region over expected background, against the background efficiency."
        return Section("Scores", [text], [Picture.of(figure, alt)])
    scores, labels = load_test_scores(run.folder, run.folder)
    mean, is_ratio = scores.mean(axis=0), run.mode is not None and not run.mode.has_classifier
    kept = mean >= 0
    kinds = {"test background": mean[kept & (labels == 0)], "test signal": mean[kept & (labels == 1)]}
    if not run.is_labelled:
        kinds = {"test data": mean[kept]}
    xlabel = "likelihood ratio $p_{SR}/p_{SB}$" if is_ratio else "score, mean over the runs"
    figure = score_figures.score_distributions(
        {name: values for name, values in kinds.items() if len(values)}, xlabel, log=is_ratio
    )
    alt = f"Distribution of the score of {' and '.join(kinds)}."
    return Section("Scores", [], [Picture.of(figure, alt, "Events outside the feature range have no score.")])


def found_signal(run: RunFolder) -> Section | None:
    """ROC, SIC, and the numbers of every run."""
    if not run.is_labelled:
        return None
    scores, labels = load_test_scores(run.folder, run.folder)
    name = run.mode.name if run.mode is not None else None
    evaluations = named_evaluations(scores, labels, name)
    (_, result), *averaged = evaluations.items()
    shown = f"The bands hold 68 % of the {len(scores)} runs." if len(scores) > 1 else ""
    best = result.max_sic
    alts = ("ROC: background rejection against signal efficiency", "SIC: significance improvement against signal efficiency")
    pictures = [
        Picture.of(roc_curves(evaluations, draw_runs=True), f"{alts[0]}; AUC {result.auc.mean():.3f}.", shown, dense=True),
        Picture.of(
            sic_curves(evaluations, draw_runs=True),
            f"{alts[1]}; its maximum is {best.value:.2f} at a signal efficiency of {best.tpr:.2f}.",
            shown,
            dense=True,
        ),
    ]
    rows = [
        (str(number), *_row(each), f"{auc:.3f}")
        for number, (each, auc) in enumerate(zip(result.run_max_sic, result.auc, strict=True))
    ]
    rows += [(label, *_row(each.max_sic), f"{each.auc[0]:.3f}") for label, each in averaged]
    if len(scores) > 1:
        rows.append(("median over the runs", *_row(best), f"{np.median(result.auc):.3f}"))
    text = f"SIC = ε_S/√ε_B. Every max SIC is {words.RULE}. The dashed line is that limit."
    return Section(
        "Performance", [text], pictures, [Table("Max SIC and AUC of every run", ("run", "max SIC", "ε_S", "ε_B", "AUC"), rows)]
    )


def _row(best: Any) -> tuple[str, str, str]:
    return f"{best.value:.2f}", f"{best.tpr:.3f}", f"{best.fpr:.2e}"


def selection(run: RunFolder) -> Section | None:
    """Mass spectra of all data, and of what cuts select."""
    scored = run.scored
    if scored is None:
        return None
    cuts = scored.selected()
    figure = selected_spectra(scored.scores["m"], scored.efficiency, scored.window, [cut.efficiency for cut in cuts])
    rows = [(f"{cut.efficiency:g}", str(cut.found), f"{cut.expected:.1f} ± {cut.error:.1f}", cut.by, f"{cut.held_out:.1f}")
            for cut in cuts]  # fmt: skip
    text = f"Cuts on the background efficiency, in the signal region {scored.window}. What is expected holds if all data are background."
    head = ("ε_B of the cut", "found", "expected (statistical error)", "from", "expected by held-out background")
    table = Table("Events in the signal region", head, rows)
    return Section(
        "Selected events", [text], [Picture.of(figure, "Mass spectrum of all data and of those that cuts select.")], [table]
    )


def sculpted(run: RunFolder) -> Section | None:
    """Whether cuts change the mass spectrum of the background."""
    if not (run.has_classifier and run.is_labelled):
        return None
    found = run_sculpting(run.folder, run.folder)
    pictures = [
        Picture.of(
            sculpting([cut], window=found.window),
            f"Mass spectrum of the background before and after keeping the most anomalous {100 * cut.share:g} %, and their ratio.",
        )
        for cut in found.cuts
    ]
    rows = [_cut(cut) for cut in found.cuts]
    verdict = found.verdict.sentence()
    rule = "A search for a bump takes the background after a cut to be as smooth as before. The spectrum counts as sculpted where the "
    rule += "smallest p-value of the cuts, times their number, is below 0.01. How much it changes is another question than how surely."
    head = ("kept", "χ²/ndf", "ndf", "p-value", "change (r.m.s. without statistics)")
    table = Table("Cuts on the score, medians over the runs", head, rows)
    return Section("Background sculpting", [f"{verdict[0].upper()}{verdict[1:]}.", rule], pictures, [table])


def _cut(cut: Sculpting) -> tuple[str, ...]:
    p_value, change = f"{np.median(cut.p_value):.2g}", f"{100 * cut.typical_change:.1f} %"
    return f"{100 * cut.share:g} %", f"{cut.chi2_per_ndf:.2f}", str(cut.ndf), p_value, change
