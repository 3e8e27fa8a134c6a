"""Runs that are to be compared: which folders, what they are called, and on which events they were tested."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from common.errors import InputError
from common.files import load_array
from evaluation.curves import Evaluation, evaluate_scores
from evaluation.event_sets import EventSet, event_ids
from reports.folder import RunFolder
from workflow.evaluation import load_test_scores

FOLDER, SEED, SIGNAL = "folder", "seed", "S_over_B"  # columns of scan.csv


@dataclass(frozen=True)
class Tested:
    """A run with its test: scores [n_runs, n] and labels [n], and which events these are."""

    run: RunFolder
    scores: np.ndarray
    labels: np.ndarray
    m: np.ndarray

    @classmethod
    def read(cls, folder: Path) -> Tested:
        """That in a folder.

        Raises
        ------
        InputError
            If it has no STAGE.json, or no scores of labelled events.
        """
        run = RunFolder.read(folder)
        scores, labels = load_test_scores(folder, folder)
        if run.scored is not None:
            return cls(run, scores, labels, run.scored.scores["m"][run.scored.in_signal_region])
        names = ["X_test", *(["X_extrasig"] if (folder / "preds_matris_extrasig.npy").is_file() else [])]
        return cls(run, scores, labels, np.concatenate([load_array(folder / f"{name}.npy", mapped=True)[:, 0] for name in names]))

    @property
    def events(self) -> EventSet:
        """The test events."""
        return EventSet.of(self.m, self.labels)

    def on(self, events: EventSet) -> np.ndarray:
        """The scores of all events of a test set."""
        return events.spread(event_ids(self.m, self.labels[: len(self.m)]), self.scores)


@dataclass(frozen=True)
class Compared:
    """The runs of one name.

    Attributes
    ----------
    name : str
    series : str
        What it is but for its S/B: runs of one series are joined by a line.
    tests : tuple of Tested
        One for every folder.
    """

    name: str
    series: str
    tests: tuple[Tested, ...]

    @cached_property
    def evaluation(self) -> Evaluation:
        """That of all runs in all folders."""
        return Evaluation.pooled([evaluate_scores(each.scores, each.labels) for each in self.tests])

    @cached_property
    def band(self) -> tuple[float, float]:
        """Between which 68 % of the runs' max SICs lie."""
        low, high = np.quantile([best.value for best in self.evaluation.run_max_sic], (0.16, 0.84))
        return float(low), float(high)

    @cached_property
    def s_over_b(self) -> float | None:
        """In the data of the signal region, mean over the folders; None where nobody knows."""
        known = [numbers[0] / numbers[1] for each in self.tests if (numbers := _numbers(each.run)) is not None and numbers[1]]
        return float(np.mean(known)) if known else None


def _numbers(run: RunFolder) -> tuple[int, int] | None:
    try:
        return run.numbers()
    except InputError:  # the arrays of stage 3 are gone
        return None


def named_folders(runs: Sequence[Path], labels: Sequence[str]) -> Iterator[tuple[str, str, Path]]:
    """Name, series and folder of the runs to be compared.

    Parameters
    ----------
    runs : sequence of Path
        Folders, or one scan.csv: a row for every run, with its folder (relative to the file) and one column for every axis of the scan.
    labels : sequence of str
        Names of folders; their own names where there are none. Folders of the same name are pooled.

    Raises
    ------
    InputError
        If there are not as many labels as folders, or scan.csv has no folders.
    """
    if len(runs) == 1 and runs[0].suffix == ".csv":
        if labels:
            raise InputError(f"{runs[0]}: its axes are the labels, --labels is for folders")
        yield from _rows_of_scan(runs[0])
        return
    if labels and len(labels) != len(runs):
        raise InputError(f"{len(labels)} --labels for {len(runs)} runs")
    for name, folder in zip(labels or [folder.resolve().name for folder in runs], runs, strict=True):
        yield name, "", folder


def _rows_of_scan(path: Path) -> Iterator[tuple[str, str, Path]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    if not rows or FOLDER not in rows[0]:
        raise InputError(f"{path}: no scan, which has a column {FOLDER}")
    axes = [
        name for name in rows[0] if name and name != FOLDER and SEED not in name.lower() and len({row[name] for row in rows}) > 1
    ]
    for row in rows:
        others = [name for name in axes if SIGNAL not in name]
        name, series = (", ".join(f"{axis} {row[axis]}" for axis in some) for some in (axes, others))
        yield name or "all runs", series or "all runs", path.parent / str(row[FOLDER])


def read_compared(named: Iterator[tuple[str, str, Path]]) -> tuple[list[Compared], list[str]]:
    """The runs by their names, and what had to be left out and why.

    Raises
    ------
    InputError
        If nothing is left.
    """
    groups: dict[str, list[tuple[str, Tested]]] = {}
    left_out = []
    for name, series, folder in named:
        try:
            tested = Tested.read(folder)
        except InputError as error:
            left_out.append(f"{name} is left out: {error}")
            continue
        mode = tested.run.mode.name if tested.run.mode is not None else "unknown mode"
        groups.setdefault(name, []).append((series or mode, tested))
    if not groups:
        raise InputError("; ".join(left_out) or "there are no runs to compare")
    return [Compared(name, members[0][0], tuple(tested for _, tested in members)) for name, members in groups.items()], left_out


def find_test_sets(compared: Sequence[Compared]) -> tuple[list[EventSet], list[int | None]]:
    """The different test sets, and which one each has; None where folders of one name have several."""
    known: list[EventSet] = []
    found: list[int | None] = []
    for each in compared:
        mine = set()
        for events in (tested.events for tested in each.tests):
            same = next(((i, both) for i, other in enumerate(known) if (both := other.joined(events)) is not None), None)
            number, all_events = same or (len(known), events)
            known[number : number + 1] = [all_events]
            mine.add(number)
        found.append(mine.pop() if len(mine) == 1 else None)
    return known, found
