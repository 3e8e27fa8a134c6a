"""Runs that are to be compared: which folders, what they are called, and on which events they were tested."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import InputError
from common.files import load_array, load_json
from evaluation.curves import Evaluation, evaluate_scores
from evaluation.event_sets import EventSet, event_ids
from reports.folder import RunFolder
from workflow.evaluation import load_test_scores
from workflow.runs import signal_to_background
from workflow.scan.grid import is_seed
from workflow.scan.results import JSON as SCAN
from workflow.scan.tasks import DONE

SIGNAL = "S_over_B"  # the axis of a scan along which runs are joined by a line


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
        known = []
        for each in self.tests:
            with contextlib.suppress(InputError):
                known.append(signal_to_background(each.run.folder))
        return float(np.mean(known)) if known else None


@dataclass(frozen=True)
class Named:
    """A folder that is to be compared.

    Attributes
    ----------
    name : str
        Folders of the same name are pooled.
    series : str
        The name without its S/B; empty where nobody has said what that is.
    fault : str
        Why it cannot be compared.
    """

    name: str
    series: str
    folder: Path
    fault: str = ""


def named_folders(runs: Sequence[Path], labels: Sequence[str]) -> list[Named]:
    """What the runs to be compared are called, and where they are.

    Parameters
    ----------
    runs : sequence of Path
        Folders, or the scan.csv of one scan, beside which is scan.json.
    labels : sequence of str
        Names of folders; their own names where there are none.

    Raises
    ------
    InputError
        If there are not as many labels as folders, or scan.json is not that of a scan.
    """
    if len(runs) == 1 and runs[0].suffix in (".csv", ".json"):
        if labels:
            raise InputError(f"{runs[0]}: its axes are the labels, --labels is for folders")
        return list(_runs_of_scan(runs[0].with_name(SCAN)))
    if labels and len(labels) != len(runs):
        raise InputError(f"{len(labels)} --labels for {len(runs)} runs")
    names = labels or [run.resolve().name for run in runs]
    return [Named(name, "", folder) for name, folder in zip(names, runs, strict=True)]


def _runs_of_scan(path: Path) -> Iterator[Named]:
    """The runs in a scan.json, named by those axes in which they differ."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; only the table of a scan can stand for its runs")
    content = load_json(path)
    try:
        rows = [(str(row["run"]), dict(row["settings"]), row["state"], row["reason"]) for row in content["runs"]]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not the table of a scan ({error!r})") from error
    settings = [row[1] for row in rows]
    names = dict.fromkeys(name for each in settings for name in each)
    axes = [name for name in names if not is_seed(name) and len({str(each.get(name)) for each in settings}) > 1]
    others = [name for name in axes if SIGNAL not in name]
    for run, values, state, reason in rows:
        name, series = (_name(values, some) for some in (axes, others))
        fault = "" if state == DONE else f"{run} is {state}{f', {reason}' if reason else ''}"
        yield Named(name, series, path.parent / run, fault)


def _name(values: Mapping[str, Any], axes: Sequence[str]) -> str:
    return ", ".join(f"{axis} {values[axis]}" for axis in axes if axis in values) or "all runs"


def read_compared(named: Sequence[Named]) -> tuple[list[Compared], list[str]]:
    """The runs by their names, and what had to be left out and why.

    Raises
    ------
    InputError
        If nothing is left.
    """
    groups: dict[str, list[tuple[str, Tested]]] = {}
    left_out = []
    for each in named:
        try:
            if each.fault:
                raise InputError(each.fault)
            tested = Tested.read(each.folder)
        except InputError as error:
            left_out.append(f"{each.name} is left out: {error}")
            continue
        mode = tested.run.mode.name if tested.run.mode is not None else "unknown mode"
        groups.setdefault(each.name, []).append((each.series or mode, tested))
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
