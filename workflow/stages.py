"""A stage of the pipeline: it works in a folder of its own, and what was there before is replaced only when all is done.

While it works, its files are in the hidden folder .unfinished_NAME below its output folder, together with the checkpoints from which an
interrupted training goes on. At the end they are moved to their places, and STAGE.json says what was read and written.
"""

from __future__ import annotations

import json
import logging
import secrets
import shlex
import shutil
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.files import InputError, MachineError, load_json, save_json
from models.training.checkpoints import CHECKPOINT
from workflow.records import (
    RECORD,
    Record,
    changed_output,
    check_record,
    fingerprints,
    locked,
    now,
    other_flag,
    other_input,
    read_records,
    surroundings,
)

logger = logging.getLogger(__name__)

UNFINISHED = ".unfinished_"
PLAN, FINISHED = ".plan.json", ".finished.json"  # in the folder of an unfinished stage
# Flags that do not change a result, or whose content counts as input or setting: folders, files, and how the program is run.
NOT_RECORDED = {
    "data_dir", "savedir", "outdir", "features_file", "extra_bkg_file", "external_samples", "ANODE_models", "config_file", "verbose",
    "device", "resume",
}  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """One step from files to files.

    Parameters
    ----------
    name : str
        Its key in STAGE.json.
    folder : Path
        Where its outputs go.
    flags : mapping
        Everything that decides the result beside the inputs, the seed among it.
    inputs : callable
        Names the files that are read; called when the stages before are done.
    replaces : tuple of str
        Patterns of the files, below `folder`, that are out of date once the stage is done.
    work : callable
        Does it: writes into the folder it is given and returns what STAGE.json is to say of the results.
    fits : tuple of str
        Flags in which a stage that is skipped must agree with the run that skips it.
    after : tuple of str
        Names of the stages whose outputs it reads.
    """

    name: str
    folder: Path
    flags: Mapping[str, Any]
    inputs: Callable[[], Sequence[Path]]
    replaces: tuple[str, ...]
    work: Callable[[Path], Mapping[str, Any]]
    fits: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    @property
    def unfinished(self) -> Path:
        """Folder in which it works."""
        return self.folder / f"{UNFINISHED}{self.name.replace(' ', '_')}"

    def read(self) -> dict[str, dict[str, Any]]:
        """Fingerprints of what it would read now."""
        return fingerprints(self.inputs(), self.folder)


def recorded_flags(args: Namespace, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The flags of a script that decide its result, and the content of its YAML file."""
    flags = {name: value for name, value in vars(args).items() if name not in NOT_RECORDED}
    flags |= {f"config_file {name}": value for name, value in (config or {}).items()}
    return json.loads(json.dumps(flags))  # as they will come back from STAGE.json


def recorded_seed(folder: Path) -> int | None:
    """The seed with which the folder's results were begun, as far as they say."""
    plans = (_begun(path) for path in sorted(Path(folder).glob(f"{UNFINISHED}*")))
    for record in (*filter(None, plans), *read_records(folder).values()):
        seed = record["flags"].get("seed")
        if isinstance(seed, int) and seed >= 0:
            return seed
    return None


def choose_seed(given: int | None, folder: Path) -> int:
    """The seed that is given, else the one that the folder's results were begun with, else one that is drawn."""
    if given is None:
        given = recorded_seed(folder)
    return secrets.randbits(32) if given is None else given


def run_stage(stage: Stage, *, resume: bool) -> None:
    """Lock the folder and do the stage, even one that is up to date, unless it is to be resumed: someone asked for it by name."""
    with locked(stage.folder):
        recover(stage.folder)
        if resume and out_of_date(stage) is None:
            logger.info("%s: up to date", stage.name)
            shutil.rmtree(stage.unfinished, ignore_errors=True)
        else:
            perform(stage, resume=resume)


def perform(stage: Stage, *, resume: bool) -> None:
    """Do the stage in its own folder, then put the files where they belong. The output folder must be locked.

    Raises
    ------
    InputError
        If a checkpoint is there that belongs to other flags or inputs, or an input changed meanwhile.
    """
    states = {path: _state(path) for path in stage.inputs()}
    folder, inputs = stage.unfinished, stage.read()
    begun = _begun(folder)
    if resume and begun is not None:
        if reason := other_flag(begun["flags"], stage.flags) or other_input(begun["inputs"], inputs):
            raise InputError(
                f"{stage.folder}: --resume cannot go on with {stage.name}, {reason}; without --resume it begins anew"
            )
        if begun["surroundings"] != surroundings():
            logger.warning(
                "%s was begun with %s, now %s: the last bits may differ", stage.name, begun["surroundings"], surroundings()
            )
        logger.info("%s goes on where it was interrupted", stage.name)
        begun["resumed"] = [*begun.get("resumed", []), {"at": now(), **surroundings()}]
        save_json(folder / PLAN, begun)
    elif begun is not None:
        logger.warning("%s: what was left of an interrupted run is discarded, --resume would have gone on with it", stage.name)
        begun = None
    seed = stage.flags.get("seed")
    if seed is not None:
        logger.info("%s: seed %d; --seed %d repeats it", stage.name, seed, seed)
    try:
        if begun is None:
            begun = {
                "command": shlex.join(sys.argv),
                "flags": dict(stage.flags),
                "inputs": inputs,
                "surroundings": surroundings(),
                "start": now(),
            }
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            save_json(folder / PLAN, begun)
        results = dict(stage.work(folder))
        for path, state in states.items():
            if _state(path) != state:
                raise InputError(f"{path}: was changed while {stage.name} ran")
        written = [path for path in sorted(folder.rglob("*")) if path.is_file() and not _is_hidden(path.relative_to(folder))]
        record = begun | {"name": stage.name, "outputs": fingerprints(written, folder), "replaces": list(stage.replaces)}
        record |= {"results": results, "surroundings": surroundings(), "end": now()}
    except BaseException:
        if not any(folder.rglob(CHECKPOINT)):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    save_json(folder / FINISHED, record)
    _put_in_place(folder)


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
        elif _begun(unfinished) is None:
            shutil.rmtree(unfinished, ignore_errors=True)


def _begun(folder: Path) -> Record | None:
    """What an unfinished stage had set out to do; None where there is none, or no checkpoint to go on from."""
    if not any(folder.rglob(CHECKPOINT)):
        return None
    try:
        begun = load_json(folder / PLAN)
    except InputError:
        return None
    parts = {"flags": dict, "inputs": dict, "surroundings": dict, "start": str}
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
        stale = {path.relative_to(folder).as_posix(): path for pattern in record["replaces"] for path in folder.glob(pattern)}
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
        return "it has not been done"
    reason = other_flag(record["flags"], stage.flags) or changed_output(stage.folder, record)
    return reason or (other_input(record["inputs"], stage.read()) if inputs_are_known else None)


def check_skipped(stage: Stage) -> None:
    """Whether what is in the folder, and is to be used instead of doing the stage, fits to this run.

    Raises
    ------
    InputError
        If it was made with other flags that matter or from other files, or if outputs of different runs were mixed.
    """
    records = read_records(stage.folder)
    record = records.get(stage.name)
    if record is None:
        files = {path.relative_to(stage.folder).as_posix() for pattern in stage.replaces for path in stage.folder.glob(pattern)}
        owners = [name for name, other in records.items() if files & other["outputs"].keys()]
        if owners and files <= {output for name in owners for output in records[name]["outputs"]}:
            raise InputError(f"{stage.folder}: {stage.name} cannot be skipped, the files there are those of {', '.join(owners)}")
        logger.warning("%s: no record of %s, whether it fits cannot be checked", stage.folder, stage.name)
        return
    inputs = fingerprints([path for path in stage.inputs() if path.is_file()], stage.folder)
    in_both = inputs.keys() & record["inputs"].keys()
    reason = (
        other_flag(record["flags"], stage.flags, stage.fits)
        or other_input(*({name: files[name] for name in in_both} for files in (record["inputs"], inputs)))
        or changed_output(stage.folder, record, may_be_absent=True)
    )
    if reason:
        raise InputError(f"{stage.folder}: {stage.name} cannot be skipped, it does not fit: {reason}")
    others = [text for name in sorted(stage.flags) if (text := other_flag(record["flags"], stage.flags, [name]))]
    if others:
        logger.warning("%s is used as it is, though %s", stage.name, "; ".join(others))


def _remains(stage: Stage, resume: bool) -> str:
    """What will become of an interrupted training, in words to append; empty where there is none."""
    begun = _begun(stage.unfinished)
    if begun is None:
        return ""
    if not resume:
        return "; an interrupted training will be discarded, --resume would go on with it"
    reason = other_flag(begun["flags"], stage.flags)
    return (
        f"; will be refused, an interrupted training cannot go on: {reason}"
        if reason
        else "; goes on with an interrupted training"
    )


def describe(stages: Sequence[tuple[Stage, bool]], *, force: bool, resume: bool) -> str:
    """The plan of a run, a few lines for every stage: what it reads and writes, and whether it will be done; True means skipped.

    Raises
    ------
    InputError
        If what is skipped does not fit.
    """
    lines, waits_for = [], set()
    for stage, skipped in stages:
        earlier = [name for name in stage.after if name in waits_for]
        if skipped:
            check_skipped(stage)
            state = "skipped, as asked for"
        elif force:
            state = "to do: --force"
        else:
            reason = out_of_date(stage, inputs_are_known=not earlier)
            if earlier and reason is None:
                state = f"to do, if its inputs become others: {', '.join(earlier)} will be done"
            else:
                state = "up to date" if reason is None else f"to do: {reason}"
        if not skipped and state != "up to date":
            waits_for.add(stage.name)
            state += _remains(stage, resume)
        inputs = [str(path) for path in stage.inputs() if path.is_file()] + [f"what {name} writes" for name in earlier]
        lines += [
            f"{stage.name}: {state}",
            f"  reads  {', '.join(inputs)}",
            f"  writes {stage.folder}/: {', '.join(stage.replaces)}",
        ]
    return "\n".join(lines) + "\n"
