"""Commands for scans that take no time, or go wrong as they are told: workers find them by this module's name."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from common.errors import InputError, Interrupted, MachineError
from common.files import save_json
from common.options import StageOptions
from workflow.plan import Step
from workflow.scan.grid import Run
from workflow.scan.tasks import Unit
from workflow.stage import Stage

UNITS = ("first", "evaluation")


def toy_run(folder: Path, name: str, *flags: str, needs: tuple[str, ...] = (), **settings: Any) -> Run:
    """A run of a toy command; flags: fail=HOW, interrupt=N (times), kill=N (times, those included), x=RESULT."""
    argv = (f"--folder={folder / name}", *(f"--{flag}" for flag in flags))
    return Run(name, folder / name, "toy", argv, settings, needs)


def toy_units(command: str, argv: Sequence[str]) -> list[Unit]:
    """The two stages of a toy command."""
    settings = dict(text.removeprefix("--").split("=", 1) for text in argv)
    folder = Path(settings["folder"])

    def work(name: str, place: Path) -> dict[str, Any]:
        count(folder.parent / f"{folder.name}_{name}.begun")
        if name == UNITS[0]:
            misbehave(settings, folder)
        save_json(place / f"{name}.json", {"x": settings.get("x", "1")})
        return {"max_sic": float(settings.get("x", "1"))}

    def step(name: str) -> Step:
        options = StageOptions(seed=int(settings.get("seed", "1")))
        return Step(Stage(name, folder, options, list, (f"{name}.json",), partial(work, name)))

    first, last = UNITS
    return [Unit(first, partial(step, first)), Unit(last, partial(step, last), after=(first,))]


def misbehave(settings: dict[str, str], folder: Path) -> None:
    """Go wrong as the flags say."""
    match settings.get("fail"):
        case "input":
            raise InputError("these events cannot be used")
        case "machine":
            raise MachineError("the disk is full")
        case "bug":
            raise ZeroDivisionError("nobody thought of this")
        case "slow":
            time.sleep(5)
    times = counted(folder.parent / f"{folder.name}_{UNITS[0]}.begun")
    if times <= int(settings.get("interrupt", "0")):
        raise Interrupted(signal.SIGTERM)
    if times <= int(settings.get("kill", "0")):
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGKILL)


def count(path: Path) -> None:
    """Note that something was begun once more."""
    with path.open("a") as file:
        file.write("x")


def counted(path: Path) -> int:
    """How often it was begun."""
    return path.stat().st_size if path.exists() else 0
