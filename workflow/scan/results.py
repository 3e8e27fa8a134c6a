"""The table of a scan: settings, results from STAGE.json, seconds, host; scan.json and scan.csv, written whole as runs end."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from common.contract import OutputFile
from common.errors import InputError, MachineError
from common.files import load_json, save_csv, save_json
from workflow.records import STANDS_FOR, read_records
from workflow.scan.grid import Run
from workflow.scan.tasks import DONE, FAILED, NOT_DONE, UP_TO_DATE, Outcome

logger = logging.getLogger(__name__)

JSON, CSV, FIGURE = "scan.json", "scan.csv", "scan.png"
SCAN_FILES = (
    OutputFile(
        JSON, "every run and shared stage: settings, state, why it failed, results, and for every stage seconds, host, memory"
    ),
    OutputFile(CSV, "the same of the runs alone, a line for each"),
    OutputFile(
        FIGURE,
        "max SIC and SIC at fixed ε_B, or the significance of searches, against an axis: median and 68 % band over the seeds",
    ),
    OutputFile("FOLDER/scan.log", "what the stages in a folder said, on whatever host they ran"),
)
WAITING, UNFINISHED = "waiting", "unfinished"
COST = ("seconds", "peak_mib", "host")  # columns that say what a run cost; no part of the result
SHARE_OF_TIME = 0.05  # at most, for writing tables while runs go on


@dataclass
class Row:
    """A run, or a shared stage, and what came out.

    Attributes
    ----------
    is_machine : bool
        Whether it failed by a fault of a machine.
    results : dict
        Numbers of the last stage's record; names of nested ones are joined by dots.
    tasks : dict
        By stage: state, seconds (wall), host, peak_mib (MiB) of the last time that it was done. Nothing for a stage whose worker was
        lost before it could tell: tried again, the stage is up to date.
    """

    run: Run
    state: str = WAITING
    reason: str = ""
    is_machine: bool = False
    results: dict[str, Any] = field(default_factory=dict)
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def cost(self) -> dict[str, Any]:
        """Seconds of all stages together, the largest memory of one (MiB), and the hosts."""
        known = [task for task in self.tasks.values() if task["host"]]
        hosts = " ".join(dict.fromkeys(task["host"] for task in known))
        return {
            "seconds": round(sum(task["seconds"] for task in known), 2),
            "peak_mib": round(max((task["peak_mib"] for task in known), default=0.0)),
            "host": hosts,
        }

    def as_json(self) -> dict[str, Any]:
        """For scan.json."""
        run = self.run
        head = {
            "run": run.name,
            "command": run.command,
            "settings": dict(run.settings),
            "state": self.state,
            "reason": self.reason,
        }
        return head | {"results": self.results, **self.cost, "stages": self.tasks}


class Table:
    """The rows of a scan, on disk as they grow.

    Parameters
    ----------
    folder : path
        Where scan.json and scan.csv are written; what stages cost, when they were done in an earlier session, is taken from there.

    Raises
    ------
    InputError
        If the table there is that of other runs.
    """

    def __init__(self, folder: Path, runs: Sequence[Run]) -> None:
        self.folder = folder
        self.rows = {run.name: Row(run) for run in runs}
        self._written, self._pause = 0.0, 0.0
        earlier = earlier_costs(folder, [run.name for run in runs])
        for name, tasks in earlier.items():
            self.rows[name].tasks = tasks

    def task_ended(self, run: Run, outcome: Outcome) -> None:
        """Take in what a stage cost; the tables have it when they are next written."""
        row = self.rows[run.name]
        row.state = UNFINISHED if outcome.is_good else row.state
        if outcome.state != UP_TO_DATE:
            kept = {name: asdict(outcome)[name] for name in ("state", "seconds", "host", "peak_mib")}
            row.tasks[outcome.key.removeprefix(f"{run.name}: ")] = kept

    def ended(self, run: Run, outcomes: Sequence[Outcome]) -> None:
        """Take in what became of a run, and write the tables, unless that has been done just now."""
        row = self.rows[run.name]
        row.state, row.reason, row.is_machine = _overall(outcomes)
        row.results = results_of(run, outcomes[-1].key.removeprefix(f"{run.name}: ")) if outcomes[-1].is_good else {}
        if time.monotonic() - self._written > self._pause:
            begun = time.monotonic()
            try:
                self.write()
            except MachineError as error:  # the runs have disks of their own, perhaps; at the end it is said again
                logger.warning("%s", error)
            self._written = time.monotonic()
            self._pause = (self._written - begun) / SHARE_OF_TIME

    def write(self) -> None:
        """Write scan.json and scan.csv, each whole or not at all."""
        runs, shared = ([row for row in self.rows.values() if row.run.is_shared is kind] for kind in (False, True))
        save_json(self.folder / JSON, {"runs": [row.as_json() for row in runs], "shared": [row.as_json() for row in shared]})
        lines = [_line(row) for row in runs]
        names = [name for name in dict.fromkeys(name for line in lines for name in line) if name not in COST] + [*COST]
        save_csv(self.folder / CSV, names, ([line.get(name, "") for name in names] for line in lines))

    @property
    def of_runs(self) -> list[Row]:
        """Those of the runs, without shared stages."""
        return [row for row in self.rows.values() if not row.run.is_shared]

    def failed(self) -> list[Row]:
        """Runs and shared stages that failed, and runs that could not be done for that."""
        return [row for row in self.rows.values() if row.state in (FAILED, NOT_DONE)]


def results_of(run: Run, stage: str) -> dict[str, Any]:
    """The numbers in the record of a run's last stage."""
    try:
        record = read_records(run.folder).get(stage, {})
    except InputError as error:
        logger.warning("%s", error)
        return {}
    return flattened(record.get("results", {}))


def flattened(results: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """The numbers and texts of nested results, without lists, and without what a preset stands for where flags say otherwise."""
    found: dict[str, Any] = {}
    for name, value in results.items():
        if name == STANDS_FOR:
            continue
        if isinstance(value, Mapping):
            found |= flattened(value, f"{before}{name}.")
        elif isinstance(value, (int, float, str)):
            found[f"{before}{name}"] = value
    return found


def _overall(outcomes: Iterable[Outcome]) -> tuple[str, str, bool]:
    """State of a run, the reason, and whether that is a fault of a machine."""
    outcomes = list(outcomes)
    for state in (FAILED, NOT_DONE):
        for outcome in outcomes:
            if outcome.state == state:
                return state, outcome.reason, outcome.is_machine
    return DONE, "", False


def _line(row: Row) -> dict[str, Any]:
    head = {"run": row.run.name, **row.run.settings, "state": row.state, "reason": row.reason}
    return head | {name: value for name, value in row.results.items() if name not in head} | row.cost


def earlier_costs(folder: Path, names: Collection[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """What stages cost in an earlier session, by run, of the runs of these names.

    Raises
    ------
    InputError
        If there is a table of other runs only, or none that can be read.
    """
    path = folder / JSON
    if not path.is_file():
        return {}
    content = load_json(path)
    kinds = {"state": str, "seconds": (int, float), "host": str, "peak_mib": (int, float)}
    found = {}
    for row in [*_list(content.get("runs")), *_list(content.get("shared"))]:
        tasks = row.get("stages") if isinstance(row, dict) else None
        if not isinstance(tasks, dict) or not isinstance(row.get("run"), str):
            raise InputError(f"{path}: not the table of a scan; without this file, it is made anew")
        for task in tasks.values():
            if not isinstance(task, dict) or any(not isinstance(task.get(name), kind) for name, kind in kinds.items()):
                raise InputError(f"{path}: not the table of a scan; without this file, it is made anew")
        found[row["run"]] = tasks
    gone = [name for name in found if name not in names]
    if gone and len(gone) == len(found):
        raise InputError(f"{folder}: holds the scan of another grid, with the run {gone[0]}; another --outdir keeps both")
    if gone:
        logger.warning(
            "%s: %d runs in its table are not in the grid any more, %s for one: they leave it", folder, len(gone), gone[0]
        )
    return {name: tasks for name, tasks in found.items() if name in names}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
