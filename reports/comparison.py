"""Several runs side by side: a page, figures and CSV files. Runs of one name are pooled; different test sets are never mixed silently."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.contract import OutputFile, figure_file
from common.files import save_csv, writable_folder
from common.progress import progress
from evaluation.curves import FIXED_FPR, Evaluation
from evaluation.errors import Difference, Measured, Merit, figures_of_merit, paired_differences
from plots import performance as figures
from plots.scan import max_sic_scan
from plots.style import Figure, save
from reports import words
from reports.compared import Compared, find_test_sets, named_folders, read_compared
from reports.page import Page, Picture, Section, Table
from workflow.records import now

logger = logging.getLogger(__name__)

PAGE, RUNS_CSV, DIFFERENCES_CSV = "comparison.html", "runs.csv", "differences.csv"
SIC_AT = {f"sic_at_{fpr:g}": f"SIC at ε_B = {fpr:g}" for fpr in FIXED_FPR}  # columns of runs.csv, and what the page calls them
MOST_PAIRED = 8  # methods of which all pairs are compared
MIXED = "mixed"  # in place of a test set, where folders of one name have several
COMPARISON_FILES = (
    OutputFile(PAGE, "everything on one page"),
    OutputFile(RUNS_CSV, "a line for every name: test set, runs, S/B, max SIC with error and 68 % band, SIC at fixed ε_B, AUC"),
    OutputFile(DIFFERENCES_CSV, "differences between runs with the same test events, with paired errors"),
    figure_file("roc", "ROC: medians and 68 % bands over the runs"),
    figure_file("sic", "SIC, likewise"),
    figure_file("merits", "max SIC, and SIC at fixed ε_B, with errors"),
    figure_file("max_sic_against_s_over_b", "max SIC against S/B, where there are several S/B"),
)


@dataclass(frozen=True)
class Comparison:
    """All that is said of runs side by side.

    Attributes
    ----------
    compared : sequence of Compared
    sets : sequence of str
        The test set of each.
    merits : dict
        By name; errors are known where all folders of a name have the same test events.
    differences : list of Difference
        Between runs with the same test set, where these are not more than `MOST_PAIRED`.
    left_out : sequence of str
    """

    compared: Sequence[Compared]
    sets: Sequence[str]
    merits: Mapping[str, Merit]
    differences: Sequence[Difference]
    left_out: Sequence[str]

    @classmethod
    def of(cls, compared: Sequence[Compared], left_out: Sequence[str]) -> Comparison:
        """Measure everything."""
        known, numbers = find_test_sets(compared)
        sets, merits, differences = [MIXED if k is None else str(k + 1) for k in numbers], {}, []
        scores = {each.name: np.concatenate([tested.on(known[k]) for tested in each.tests])
                  for each, k in zip(compared, numbers, strict=True) if k is not None}  # fmt: skip
        for each, k in progress("comparing", "run", iterable=list(zip(compared, numbers, strict=True))):
            first = each.tests[0]
            if len(each.tests) == 1:
                merits[each.name] = figures_of_merit(first.scores, first.labels)
            elif k is not None:
                merits[each.name] = figures_of_merit(scores[each.name], known[k].labels)
            else:
                merits[each.name] = Merit(Measured(each.evaluation.max_sic.value, float(np.diff(each.band)[0]) / 2), {})
        for k, events in enumerate(known):
            mine = {each.name: scores[each.name] for each, own in zip(compared, numbers, strict=True) if own == k}
            if 1 < len(mine) <= MOST_PAIRED:
                differences += paired_differences(mine, events.labels)
        return cls(compared, sets, merits, differences, left_out)

    @property
    def differ(self) -> bool:
        """Whether there are several test sets."""
        return len(set(self.sets)) > 1 or MIXED in self.sets

    @property
    def unpaired(self) -> dict[str, int]:
        """Test sets that more runs have than are compared in pairs, and how many."""
        return {name: n for name, n in Counter(self.sets).items() if n > MOST_PAIRED and name != MIXED}

    def evaluations(self) -> dict[str, Evaluation]:
        """By what legends call them: where test sets differ, they say which one it is."""
        return {
            f"{each.name} [test set {test_set}]" if self.differ else each.name: each.evaluation
            for each, test_set in zip(self.compared, self.sets, strict=True)
        }

    def figures(self) -> Iterator[tuple[str, Figure, str]]:
        """Name, figure and what it shows."""
        evaluations = self.evaluations()
        yield "roc", figures.roc_curves(evaluations), "ROC of all runs: background rejection against signal efficiency."
        yield "sic", figures.sic_curves(evaluations), "SIC of all runs: significance improvement against signal efficiency."
        yield "merits", figures.merits(self.merits), "Max SIC and SIC at fixed background efficiency of all runs, with errors."
        scans: dict[str, dict[float, list[float]]] = {}
        for each in self.compared:
            if each.s_over_b is not None:
                runs = scans.setdefault(each.series, {}).setdefault(each.s_over_b, [])
                runs += [best.value for best in each.evaluation.run_max_sic]
        if len({f"{value:.2g}" for points in scans.values() for value in points}) > 1:
            figure = max_sic_scan(scans, "S/B in the signal region (%)", factor=100)
            yield "max_sic_against_s_over_b", figure, "Max SIC against S/B in the signal region."

    def rows(self) -> list[dict[str, Any]]:
        """A row for every name, for runs.csv."""
        return [self._row(each, test_set) for each, test_set in zip(self.compared, self.sets, strict=True)]

    def _row(self, each: Compared, test_set: str) -> dict[str, Any]:
        evaluation, merit, is_known = each.evaluation, self.merits[each.name], test_set != MIXED
        best, (low, high) = evaluation.max_sic, each.band
        row = {"name": each.name, "test_set": test_set, "folders": len(each.tests), "runs": len(evaluation.auc)}
        row |= {"s_over_b": each.s_over_b, "max_sic": best.value, "max_sic_error": merit.max_sic.error if is_known else None}
        row |= {"max_sic_low_68": low, "max_sic_high_68": high, "tpr": best.tpr, "fpr": best.fpr}
        for fpr, name in zip(FIXED_FPR, SIC_AT, strict=True):
            value = merit.sic_at.get(fpr)
            row |= {name: value and value.value, f"{name}_error": value and value.error}
        row |= {"auc": float(np.mean(evaluation.auc))}
        return row | {"test_signal": evaluation.n_signal, "test_background": evaluation.n_background}


def write_comparison(runs: Sequence[Path], labels: Sequence[str], folder: Path, kind: str) -> Path:
    """Compare runs: comparison.html, runs.csv, differences.csv and figures of a kind ("png", "pdf", "svg") in a folder."""
    comparison = Comparison.of(*read_compared(named_folders(runs, labels)))
    folder, rows = writable_folder(folder), comparison.rows()
    save_csv(folder / RUNS_CSV, list(rows[0]), [["" if value is None else value for value in row.values()] for row in rows])
    names = ("first", "second", "quantity", "difference", "error")
    lines = [(d.first, d.second, d.quantity, d.value.value, d.value.error) for d in comparison.differences]
    save_csv(folder / DIFFERENCES_CSV, names, lines)
    for name, figure, _ in comparison.figures():
        save(figure, folder / f"{name}.{kind}")
    path = folder / PAGE
    comparison_page(comparison, folder.resolve().name).write(path)
    for text in _warnings(comparison):
        logger.warning("%s", text)
    for row in rows:
        logger.info(
            "%s: max SIC of the median curve %.2f (single runs, 68 %%: %.2f to %.2f)",
            *(row[name] for name in ("name", "max_sic", "max_sic_low_68", "max_sic_high_68")),
        )
    logger.info("comparison: %s", path)
    return path


def _warnings(comparison: Comparison) -> list[str]:
    """What a reader must know first."""
    text = "The runs were tested on different events (see the column test set): their max SICs, and errors, do not compare one by one."
    return [*([text] if comparison.differ else []), *comparison.left_out]


def comparison_page(comparison: Comparison, name: str) -> Page:
    """The page."""
    pictures = [Picture.of(figure, text, dense=True) for _, figure, text in comparison.figures()]
    best = max(comparison.rows(), key=lambda row: row["max_sic"])
    summary = f"The largest max SIC is that of {best['name']}: {best['max_sic']:.2f}."
    text = f"Medians over runs and seeds, with bands that hold 68 % of them. Every max SIC is {words.RULE}. "
    text += "That of a name is the maximum of its median curve, mostly below those of its single runs, each at a cut of its own."
    sections = [
        Section("Curves", [text], pictures),
        Section("Numbers", tables=[_numbers(comparison)]),
        _differences(comparison),
        Section("Folders", tables=[_folders(comparison)]),
    ]
    return Page(f"Comparison: {name}", summary, [], "", _warnings(comparison), sections, words.time(now()))


def _numbers(comparison: Comparison) -> Table:
    head = ("name", "test set", "runs", "S/B", "max SIC", "single runs, 68 %", "ε_S", "ε_B", *SIC_AT.values(), "AUC")
    return Table("Medians over the runs; errors are those of the test set", head, [_row(row) for row in comparison.rows()])


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    """A line of the table."""

    def measured(name: str) -> str:
        value, error = row[name], row[f"{name}_error"]
        return "" if value is None else f"{value:.2f}" if error is None else f"{value:.2f} ± {error:.2f}"

    band = f"{row['max_sic_low_68']:.2f} to {row['max_sic_high_68']:.2f}"
    signal = "" if row["s_over_b"] is None else f"{100 * row['s_over_b']:.2f} %"
    first = str(row["name"]), str(row["test_set"]), str(row["runs"]), signal, measured("max_sic"), band
    return (*first, f"{row['tpr']:.3f}", f"{row['fpr']:.2e}", *map(measured, SIC_AT), f"{row['auc']:.3f}")


def _differences(comparison: Comparison) -> Section:
    title = "Paired differences"
    many = [
        f"{n} runs have test set {name}. Pairs are compared only of up to {MOST_PAIRED}: to have them, compare fewer runs at a time."
        for name, n in comparison.unpaired.items()
    ]
    if not comparison.differences:
        none = "No two of these have the same test events: differences have no paired errors."
        return Section(title, missing=" ".join(many) or none)
    rows = [_difference(each) for each in comparison.differences]
    text = "Between runs with the same test events. Errors come from a joint bootstrap of these events, so that what both owe to them "
    text += "cancels; that another training gives other scores is not in them."
    return Section(title, [text, *many], tables=[Table("Differences", ("of", "quantity", "difference", "in errors"), rows)])


def _difference(found: Difference) -> tuple[str, ...]:
    significance = f"{found.value.value / found.value.error:+.1f}" if found.value.error else ""
    return f"{found.first} less {found.second}", found.quantity, str(found.value), significance


def _folders(comparison: Comparison) -> Table:
    every = [(each.name, tested.run) for each in comparison.compared for tested in each.tests]
    rows = [(name, str(run.folder), run.mode.name if run.mode is not None else "", run.command) for name, run in every]
    return Table("Where the numbers come from", ("name", "folder", "mode", "command"), rows)
