"""A folder of results as a report sees it: what STAGE.json says of it, and the arrays beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from background.arrays import ARRAY_FILES
from background.mode import Mode
from common.contract import patterns
from common.errors import InputError
from evaluation.closure import CLOSURE_FILES
from evaluation.folds import FILE, SCORES_FILE, ScoredRun
from evaluation.scores import ANODE_FILES, EVALUATION_FILES, SCORE_FILES
from events.separation import SEPARATED_FILES
from models.density import DENSITY_FILES
from search.results import CURVE_FILES, SEARCH_FILES
from workflow.evaluation import is_labelled, scored_run
from workflow.records import RECORD, Record, read_records
from workflow.runs import mode_of

FILES_OF = {  # by the first word of a stage's name: what it may write
    "separation": SEPARATED_FILES,
    "density_estimator": DENSITY_FILES,
    "closure_test": CLOSURE_FILES,
    "classifier_arrays": ARRAY_FILES,
    "classifiers": (*SCORE_FILES, SCORES_FILE),
    "likelihood_ratios": (*ANODE_FILES, *ARRAY_FILES, *SCORE_FILES, SCORES_FILE),
    "evaluation": EVALUATION_FILES,
    "bump_hunt": SEARCH_FILES,
    "injection_curve": CURVE_FILES,
}
NUMBER = re.compile(r"(?<=_)[0-9]+(\.[0-9]+)?(?=[_./])")  # in names of files that are many of one kind
DENSITY_STAGE, CLOSURE_STAGE = "density_estimator ", "closure_test "


@dataclass(frozen=True)
class Kind:
    """Files of one kind: how they are called, how many, their bytes, the stage that wrote them, and what is in them."""

    name: str
    n: int
    size: int
    stage: str
    content: str


@dataclass(frozen=True)
class RunFolder:
    """A folder with STAGE.json.

    Attributes
    ----------
    folder : Path
    records : dict
        By stage.
    """

    folder: Path
    records: dict[str, Record]

    @classmethod
    def read(cls, folder: Path) -> RunFolder:
        """That in a folder.

        Raises
        ------
        InputError
            If there is no such folder, or no STAGE.json, or a damaged one.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder")
        if not (folder / RECORD).is_file():
            raise InputError(f"{folder}: no {RECORD}, so that nobody knows what these results are")
        return cls(folder, read_records(folder))

    def results(self, stage: str) -> dict[str, Any]:
        """What a stage has said of its results; nothing where it has not been done."""
        return self.records.get(stage, {}).get("results", {})

    def option(self, name: str) -> Any:
        """The value that any stage was given; None where none was."""
        return next((record["options"][name] for record in self.records.values() if name in record["options"]), None)

    @property
    def mode(self) -> Mode | None:
        """The mode; None where nothing says which."""
        return mode_of(self.records)

    @property
    def has_classifier(self) -> bool:
        """Whether classifiers belong to such a run, be they trained or not."""
        return self.mode is None or self.mode.has_classifier

    @property
    def command(self) -> str:
        """The command of the stage that ended last."""
        ended = sorted((record.get("end", ""), record.get("command", "")) for record in self.records.values())
        command = ended[-1][1] if ended else ""
        return f"python {command}" if command.split(" ")[0].endswith(".py") else command

    @property
    def warnings(self) -> list[str]:
        """Of all stages, each once."""
        return list(dict.fromkeys(str(text) for record in self.records.values() for text in record.get("warnings", [])))

    @property
    def seconds(self) -> float:
        """How long all stages took together."""
        return sum(seconds_of(record) or 0.0 for record in self.records.values())

    @cached_property
    def read_from(self) -> dict[Path, dict[str, Record]]:
        """Other folders that were read from and are still there, with their records."""
        named = dict.fromkeys(Path(place) for record in self.records.values() for place in record.get("read_from", []))
        return {place: read_records(place) for place in named if place.is_dir()}

    def densities(self, prefix: str = DENSITY_STAGE) -> Iterator[tuple[Path, str, Record]]:
        """Folder, name and record of the density estimators that the run has trained or used, or of their closure tests."""
        name, seen = self.option("model_file_name"), set()
        known = (None, name, f"{name}_inner") if name else (None,)
        for place, records in {self.folder: self.records, **self.read_from}.items():
            for stage, record in records.items():
                mine = stage.removeprefix(prefix)
                if stage.startswith(prefix) and mine not in seen and (mine in known or place == self.folder):
                    seen.add(mine)
                    yield place, mine, record

    @cached_property
    def scored(self) -> ScoredRun | None:
        """The scores of a run in folds, or without labels."""
        return scored_run(self.folder, self.folder) if (self.folder / FILE).is_file() else None

    @property
    def is_labelled(self) -> bool:
        """Whether anybody knows what the tested events are."""
        return is_labelled(self.folder, self.scored)

    def files(self) -> list[Kind]:
        """What the stages have written, files that differ by a number in one line."""
        kinds: dict[tuple[str, str], list[int]] = {}
        contents: dict[tuple[str, str], str] = {}
        for stage, record in self.records.items():
            for name, kept in record["outputs"].items():
                kind = stage, NUMBER.sub("N", name)
                kinds.setdefault(kind, []).append(int(kept["size"]))
                contents.setdefault(kind, _content(stage, name))
        return [Kind(name, len(sizes), sum(sizes), stage, contents[stage, name]) for (stage, name), sizes in kinds.items()]


def _content(stage: str, name: str) -> str:
    """What the table of files says of a file that a stage wrote: by its very name, else by a pattern."""
    last, files = Path(name).name, FILES_OF.get(stage.split(" ")[0], ())
    exact = (file for file in files if last in file.name.split(", "))
    alike = (file for file in files if any(fnmatchcase(last, each.replace("NAME", "*")) for each in patterns([file])))
    return next((file.content for file in (*exact, *alike)), "")


def seconds_of(record: Record) -> float | None:
    """How long a stage took; None where its record does not say."""
    try:
        return (datetime.fromisoformat(record["end"]) - datetime.fromisoformat(record["start"])).total_seconds()
    except (KeyError, TypeError, ValueError):
        return None
