"""The report of a run: its sections in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from common.durations import duration
from common.errors import InputError
from reports import words
from reports.background import background, feature_pairs
from reports.folder import RunFolder, seconds_of
from reports.headline import facts, summary
from reports.page import Link, Page, Section, Table
from reports.performance import found_signal, score_distribution, sculpted, selection
from reports.training import classifier_losses, closure, density_losses
from workflow.records import now

NOT_DONE = "This stage has not been done in this folder, or its files are gone"


def run_page(folder: Path) -> Page:
    """The report of what is in a folder.

    Raises
    ------
    InputError
        If it has no STAGE.json.
    """
    run = RunFolder.read(folder)
    sections = [section for title, make in SECTIONS.items() if (section := _made(title, make, run)) is not None]
    name = run.mode.name if run.mode is not None else "unknown mode"
    return Page(
        f"{name}: {run.folder.resolve().name}", summary(run), facts(run), run.command, run.warnings, sections, words.time(now())
    )


def _made(title: str, make: Callable[[RunFolder], Section | None], run: RunFolder) -> Section | None:
    """A section, or why it is not there; None where such a run has none."""
    try:
        return make(run)
    except InputError as error:
        return Section(title, missing=f"{NOT_DONE}: {error}.")


def stages(run: RunFolder) -> Section:
    """What was done when, and with which versions."""
    rows, versions = [], {}
    for name, record in run.records.items():
        seconds, options = seconds_of(record), record["options"]
        resumed = words.plural(len(record["resumed"]), "time") if record.get("resumed") else "no"
        took = "" if seconds is None else duration(seconds)
        seed = options.get("seed")
        begun, seed = words.time(str(record.get("start", ""))), "" if seed is None else str(seed)
        rows.append((name, begun, took, seed, str(record.get("threads", "")), resumed))
        environment = ", ".join(f"{key} {value}" for key, value in record.get("environment", {}).items() if value is not None)
        versions.setdefault(environment, []).append(name)
    text = [f"With {each}." if len(versions) == 1 else f"{', '.join(names)} with {each}." for each, names in versions.items()]
    head = ("stage", "begun (UTC)", "took", "seed", "processes", "resumed")
    return Section("Stages", text, tables=[Table("Stages in the order of STAGE.json", head, rows)])


def files(run: RunFolder) -> Section:
    """What is in the folder."""
    rows: list[Sequence[str | Link]] = []
    for kind in run.files():
        name: str | Link = Link(kind.name, kind.name) if kind.n == 1 and (run.folder / kind.name).is_file() else kind.name
        rows.append((name, str(kind.n), words.size(kind.size), kind.stage, kind.content))
    text = "Numbers in names are N. STAGE.json has size and SHA-256 of every file; --figures chooses the format of figures."
    return Section("Files", [text], tables=[Table("Files", ("file", "number", "size", "stage", "content"), rows)])


SECTIONS: dict[str, Callable[[RunFolder], Section | None]] = {
    "Stages": stages,
    "Training of the density": density_losses,
    "Closure test": closure,
    "Data and background": background,
    "Pairs of features": feature_pairs,
    "Training of the classifiers": classifier_losses,
    "Scores": score_distribution,
    "Performance": found_signal,
    "Selected events": selection,
    "Background sculpting": sculpted,
    "Files": files,
}
