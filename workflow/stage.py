"""A stage of the pipeline: it works in a folder of its own, and what was there before is replaced only when all is done.

While it works, its files are in the hidden folder .unfinished_NAME below its output folder, together with the checkpoints from which an
interrupted training goes on. At the end they are moved to their places, and STAGE.json says what was read and written.
"""

from __future__ import annotations

import logging
import re
import secrets
import shlex
import shutil
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from common.environment import environment
from common.errors import InputError, MachineError
from common.files import load_json, save_json
from common.options import StageOptions
from common.processes import usable_cores
from common.remarks import collected_warnings
from models.training.checkpoints import CHECKPOINT
from workflow.records import (
    RECORD,
    Record,
    changed_output,
    check_own_folder,
    check_record,
    fingerprints,
    locked,
    now,
    other_input,
    other_value,
    read_records,
    whose_stage,
)

logger = logging.getLogger(__name__)

SomeStageOptions = TypeVar("SomeStageOptions", bound=StageOptions)
UNFINISHED = ".unfinished_"
OF_A_FOLD = re.compile(r"fold_[0-9]+")
PLAN, FINISHED = ".plan.json", ".finished.json"  # in the folder of an unfinished stage


@dataclass(frozen=True)
class Stage:
    """One step from files to files.

    Parameters
    ----------
    name : str
        Its key in STAGE.json.
    folder : Path
        Where its outputs go.
    options : StageOptions
        What decides the result beside the inputs is recorded, the seed among it.
    inputs : callable
        Names the files that are read; called when the stages before are done.
    output_patterns : tuple of str
        The files below `folder` that are out of date once the stage is done.
    work : callable
        Does it: writes into the folder it is given and returns what STAGE.json is to say of the results.
    hyperparameters : mapping
        Those of the YAML file, which decide the result, too.
    unused : collection of str
        Options that do not matter in this case.
    must_match : tuple of str
        Options in which a stage that is skipped must agree with the run that skips it.
    after : tuple of str
        Names of the stages whose outputs it reads.
    """

    name: str
    folder: Path
    options: StageOptions
    inputs: Callable[[], Sequence[Path]]
    output_patterns: tuple[str, ...]
    work: Callable[[Path], Mapping[str, Any]]
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    unused: Collection[str] = ()
    must_match: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    @property
    def unfinished(self) -> Path:
        """Folder in which it works."""
        return self.folder / f"{UNFINISHED}{self.name.replace(' ', '_')}"

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """Options and hyperparameters that decide the result, as STAGE.json has them."""
        return {"options": self.options.recorded(self.unused), "hyperparameters": dict(self.hyperparameters)}

    def read(self) -> dict[str, dict[str, Any]]:
        """Fingerprints of what it would read now."""
        return fingerprints(self.inputs(), self.folder)

    def other_settings(self, record: Record, names: Sequence[str] | None = None) -> str | None:
        """The first option (of `names`) or else hyperparameter that is not the one of a record, in words; None if there is none."""
        options = [record["options"], self.settings["options"]]
        if (
            names is not None
        ):  # what the record does not know, or is known only from the events that are gone, contradicts nothing
            names = [name for name in names if name in options[0] and options[1].get(name) is not None]
            return other_value(*({name: each.get(name) for name in names} for each in options), self.options.flag)
        spell = "the hyperparameter {}".format
        return other_value(*options, self.options.flag) or other_value(
            record["hyperparameters"], self.settings["hyperparameters"], spell
        )


def recorded_seed(folder: Path, *stages: str) -> int | None:
    """The seed with which results of stages, or of those whose names begin so, were begun in a folder, as far as they say."""
    wanted = tuple(stages) or ("",)
    unfinished = (path for path in sorted(Path(folder).glob(f"{UNFINISHED}*")))
    begun = (interrupted(path) for path in unfinished if path.name.removeprefix(UNFINISHED).startswith(wanted))
    done = (record for name, record in read_records(folder).items() if name.startswith(wanted))
    for record in (*filter(None, begun), *done):
        seed = record["options"].get("seed")
        if isinstance(seed, int) and seed >= 0:
            return seed
    return None


def choose_seed(given: int | None, folder: Path) -> int:
    """The seed that is given, else the one that the folder's results were begun with, else one that is drawn."""
    if given is None:
        given = recorded_seed(folder)
    return secrets.randbits(32) if given is None else given


def seeded(options: SomeStageOptions, folder: Path) -> SomeStageOptions:
    """The options with a seed, see `choose_seed`."""
    return replace(options, seed=choose_seed(options.seed, folder))


def run_stage(stage: Stage, *, resume: bool) -> None:
    """Lock the folder and do the stage, even one that is up to date, unless it is to be resumed: someone asked for it by name."""
    with locked(stage.folder):
        recover(stage.folder)
        if resume and out_of_date(stage) is None:
            logger.info("%s: up to date", stage.name)
            shutil.rmtree(stage.unfinished, ignore_errors=True)
        else:
            perform(stage, resume=resume)


def perform(stage: Stage, *, resume: bool, command: Sequence[str] | None = None) -> None:
    """Do the stage in its own folder, then put the files where they belong. The output folder must be locked.

    Parameters
    ----------
    command : sequence of str, optional
        What is recorded as the command; by default that of this process.

    Raises
    ------
    InputError
        If the folder holds results of others, a checkpoint is there that belongs to other flags or inputs, or an input changed
        meanwhile.
    """
    check_own_folder(stage.folder, whose_stage(stage.name))
    states = {path: _state(path) for path in stage.inputs()}
    folder, inputs, threads = stage.unfinished, stage.read(), usable_cores(stage.options.threads)
    begun = interrupted(folder)
    if resume and begun is not None:
        if reason := stage.other_settings(begun) or other_input(begun["inputs"], inputs):
            raise InputError(
                f"{stage.folder}: --resume cannot go on with {stage.name}, {reason}; without --resume it begins anew"
            )
        if begun["environment"] != environment():
            logger.warning(
                "%s was begun with %s, now %s: the last bits may differ", stage.name, begun["environment"], environment()
            )
        logger.info("%s goes on where it was interrupted", stage.name)
        begun["resumed"] = [*begun.get("resumed", []), {"at": now(), **environment(), "threads": threads}]
        save_json(folder / PLAN, begun)
    elif begun is not None:
        logger.warning("%s: what was left of an interrupted run is discarded, --resume would have gone on with it", stage.name)
        begun = None
    if (seed := stage.options.seed) is not None:
        logger.info("%s: seed %d; --seed %d repeats it", stage.name, seed, seed)
    try:
        if begun is None:
            begun = {
                "command": shlex.join(sys.argv if command is None else command),
                **stage.settings,
                "inputs": inputs,
                "read_from": sorted({str(_results_folder(path)) for path in stage.inputs()} - {str(stage.folder.resolve())}),
                "environment": environment(),
                "threads": threads,
                "start": now(),
            }
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            save_json(folder / PLAN, begun)
        with collected_warnings() as warnings:
            results = dict(stage.work(folder))
        for path, state in states.items():
            if _state(path) != state:
                raise InputError(f"{path}: was changed while {stage.name} ran")
        written = [path for path in sorted(folder.rglob("*")) if path.is_file() and not _is_hidden(path.relative_to(folder))]
        record = begun | {
            "name": stage.name,
            "outputs": fingerprints(written, folder),
            "output_patterns": list(stage.output_patterns),
        }
        record |= {"results": results, "warnings": warnings, "environment": environment(), "end": now()}
    except BaseException:
        if not any(folder.rglob(CHECKPOINT)):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    save_json(folder / FINISHED, record)
    _put_in_place(folder)


def _results_folder(path: Path) -> Path:
    """The folder of results that a file belongs to: the one above that of a fold."""
    folder = path.parent.resolve()
    return folder.parent if OF_A_FOLD.fullmatch(folder.name) else folder


def _state(path: Path) -> tuple[int, int] | None:
    """Size and time of a file, by which a change is noticed."""
    try:
        return path.stat().st_size, path.stat().st_mtime_ns
    except OSError:
        return None


def recover(folder: Path) -> None:
    """Finish what a run that died had finished but for moving its files, and remove what it left. The folder must be locked."""
    for path in Path(folder).glob(".*.[0-9]*.tmp"):
        path.unlink(missing_ok=True)
    for unfinished in sorted(Path(folder).glob(f"{UNFINISHED}*")):
        if (unfinished / FINISHED).is_file():
            logger.info("%s: its files are moved to their places", unfinished.name.removeprefix(UNFINISHED))
            _put_in_place(unfinished)
        elif interrupted(unfinished) is None:
            shutil.rmtree(unfinished, ignore_errors=True)


def interrupted(folder: Path) -> Record | None:
    """What an unfinished stage had set out to do; None where there is none, or no checkpoint to go on from."""
    if not any(folder.rglob(CHECKPOINT)):
        return None
    try:
        begun = load_json(folder / PLAN)
    except InputError:
        return None
    parts = {"options": dict, "hyperparameters": dict, "inputs": dict, "environment": dict, "start": str}
    return begun if all(isinstance(begun.get(part), kind) for part, kind in parts.items()) else None


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _put_in_place(unfinished: Path) -> None:
    """Move the files of a finished stage to their places; if that is interrupted, it can be repeated."""
    folder, record = unfinished.parent, load_json(unfinished / FINISHED)
    check_record(record, unfinished / FINISHED, str(record.get("name")))
    name = record.pop("name")
    (unfinished / PLAN).unlink(missing_ok=True)
    try:
        stale = {
            path.relative_to(folder).as_posix(): path for pattern in record["output_patterns"] for path in folder.glob(pattern)
        }
        replaced = stale.keys() | record["outputs"].keys()
        others = {
            key: other for key, other in read_records(folder).items() if key != name and not other["outputs"].keys() & replaced
        }
        save_json(folder / RECORD, others)
        for output in stale.keys() - record["outputs"].keys():
            stale[output].unlink(missing_ok=True)
        for output in record["outputs"]:
            if (unfinished / output).is_file():
                (folder / output).parent.mkdir(exist_ok=True)
                (unfinished / output).replace(folder / output)
        for below in {path.parent for path in stale.values()} - {folder}:
            if not any(below.iterdir()):
                below.rmdir()
    except OSError as error:
        raise MachineError(f"{error.filename}: the outputs cannot be moved to their places ({error.strerror})") from error
    save_json(folder / RECORD, others | {name: record})
    shutil.rmtree(unfinished)


def out_of_date(stage: Stage, *, inputs_are_known: bool = True) -> str | None:
    """Why the stage has to be done, in words; None if its record and files are what it would make.

    Parameters
    ----------
    inputs_are_known : bool
        False while the stages before have to be done: only what is certain already is compared.

    Raises
    ------
    InputError
        If an input is missing.
    """
    record = read_records(stage.folder).get(stage.name)
    if record is None:
        return "not done yet"
    reason = stage.other_settings(record) or changed_output(stage.folder, record)
    return reason or (other_input(record["inputs"], stage.read()) if inputs_are_known else None)
