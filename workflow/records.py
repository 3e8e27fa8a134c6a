"""What a folder of results says of itself: STAGE.json with a record of every stage, fingerprints of files, and the lock."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any

from common.errors import InputError, MachineError
from common.files import load_json, writable_folder

logger = logging.getLogger(__name__)

RECORD = "STAGE.json"
LOCK = ".lock"
STANDS_FOR = "preset_stands_for"  # among a run's results: the flags of its preset, which others may have overruled
READ_AT_ONCE = 2**20  # bytes

Record = dict[str, Any]
_PARTS = {"options": dict, "hyperparameters": dict, "inputs": dict, "outputs": dict, "results": dict, "output_patterns": list}
REDONE = "without this file, everything is done again"
A_RUN, A_SEARCH, STAGE_1 = "a run", "a search", "stage 1"
_WHOSE = {"separation": STAGE_1, "bump_hunt": A_SEARCH, "injection_curve": A_SEARCH}  # all other stages are those of a run


def fingerprint(path: Path) -> dict[str, Any]:
    """Size in bytes and SHA-256 of a file.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while block := file.read(READ_AT_ONCE):
                digest.update(block)
            return {"size": file.tell(), "sha256": digest.hexdigest()}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def fingerprints(paths: Iterable[Path], folder: Path) -> dict[str, dict[str, Any]]:
    """Those of many files, under names that survive moving everything elsewhere: relative to `folder`, or the file's own."""
    found: dict[str, dict[str, Any]] = {}
    for path in paths:
        inside = Path(path).resolve().is_relative_to(Path(folder).resolve())
        name = Path(path).resolve().relative_to(Path(folder).resolve()).as_posix() if inside else Path(path).name
        while name in found:
            name = f"also {name}"
        found[name] = fingerprint(path)
    return found


def read_records(folder: Path) -> dict[str, Record]:
    """The record of every stage that wrote into the folder; none where there is no STAGE.json.

    Raises
    ------
    InputError
        If the file is damaged, or names files outside its folder.
    """
    path = Path(folder) / RECORD
    if not path.exists():
        return {}
    try:
        records = load_json(path)
    except InputError as error:
        raise InputError(f"{error}; {REDONE}") from error
    for name, record in records.items():
        check_record(record, path, name)
    return records


def check_record(record: Any, path: Path, name: str) -> None:
    """Refuse what `perform` would not write, or what does not stay inside its folder.

    Raises
    ------
    InputError
    """
    if not isinstance(record, dict) or any(not isinstance(record.get(part), kind) for part, kind in _PARTS.items()):
        raise InputError(f"{path}: not the record of a stage, or that of another version ({name}); {REDONE}")
    for kept in (*record["inputs"].values(), *record["outputs"].values()):
        if not isinstance(kept, dict) or kept.keys() != {"size", "sha256"}:
            raise InputError(f"{path}: not the fingerprints of files ({name})")
    for output in (*record["outputs"], *record["output_patterns"]):
        if not isinstance(output, str) or PurePosixPath(output).is_absolute() or ".." in PurePosixPath(output).parts:
            raise InputError(f"{path}: {output!r} lies outside the folder ({name})")


def check_own_folder(folder: Path, whose: str) -> None:
    """Refuse to put results among those of others, which they would replace or mix with: stage 1, a run, a search.

    Raises
    ------
    InputError
    """
    if others := [name for name in read_records(folder) if whose_stage(name) != whose]:
        raise InputError(f"{folder}: holds results ({', '.join(others)}); {whose} needs a folder of its own")


def whose_stage(name: str) -> str:
    """Whether a stage is stage 1, or one of a run or of a search."""
    return _WHOSE.get(name, A_RUN)


def warnings_of(folder: Path, name: str) -> list[str]:
    """What a stage had to warn of, if its record is in the folder."""
    return list(read_records(folder).get(name, {}).get("warnings", []))


def other_value(kept: Mapping[str, Any], wanted: Mapping[str, Any], spell: Callable[[str], str] = str) -> str | None:
    """The first setting with which a stage was done and would not be done now, in words; None if there is none.

    `spell` says how the user knows it.
    """
    for name in sorted(kept.keys() | wanted.keys()):
        if kept.get(name) != wanted.get(name):
            return f"{spell(name)} was {kept.get(name)}, is now {wanted.get(name)}"
    return None


def other_input(kept: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """The first input that a stage has read and would not find the same now, or the reverse, in words; None if there is none."""
    for name in sorted(kept.keys() | wanted.keys()):
        if name not in wanted:
            return f"{name} is no longer read"
        if name not in kept:
            return f"{name} was not read then"
        if kept[name] != wanted[name]:
            return f"{name} is not the file it was"
    return None


def changed_output(folder: Path, record: Record, *, may_be_absent: bool = False) -> str | None:
    """The first output of a record that is not as it was written, in words; None if there is none."""
    for name, kept in record["outputs"].items():
        path = Path(folder) / name
        if not path.is_file():
            if may_be_absent:
                continue
            return f"{name} is absent"
        if path.stat().st_size != kept["size"] or fingerprint(path) != kept:
            return f"{name} is not the file that was written"
    return None


def check_scored(data_dir: Path, preds_dir: Path, events: str) -> None:
    """Refuse scores of other events than those in EVENTS.npy, as far as STAGE.json says.

    Raises
    ------
    InputError
    """
    scored = read_records(preds_dir).get("classifiers", {"inputs": {}})["inputs"].get(f"{events}.npy")
    if scored is not None and fingerprint(Path(data_dir) / f"{events}.npy") != scored:
        raise InputError(f"{preds_dir}: these are scores of another {events}.npy than the one in {data_dir}")


def now() -> str:
    """The time in UTC, as text."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[Path]:
    """Make the folder if needed and keep other runs out of it; the lock of a dead process does not hold.

    Raises
    ------
    InputError
        If the folder cannot be made.
    MachineError
        If another run holds it.
    """
    folder = Path(folder)
    is_new = not folder.exists()
    path = writable_folder(folder) / LOCK
    try:
        while True:
            file = path.open("a+", encoding="utf-8")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read(200).strip() or "another run"
                file.close()
                raise MachineError(f"{folder}: {holder} is at work here; wait for it, or choose another folder") from None
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                break
            file.close()  # removed by its holder while it was opened here
        with contextlib.suppress(OSError):  # a full disk: the lock holds without a name
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}\n")
            file.flush()
    except OSError as error:
        raise MachineError(f"{path}: cannot be locked ({error.strerror or error})") from error
    try:
        yield folder
    finally:
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            file.close()
        if is_new:
            with contextlib.suppress(OSError):  # not empty: there are results
                folder.rmdir()
