"""One task of a scan: one stage in one folder, done in a worker's process; what it answers is a few hundred bytes.

The files are the state: a task that is asked for twice, on whatever host, finds the record of the first time and does nothing.
"""

from __future__ import annotations

import contextlib
import logging
import platform
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError, Interrupted, MachineError
from common.files import first_line
from common.logfile import FORMAT, NOISY, QuietFile
from workflow.plan import Step, check_skipped
from workflow.records import locked, other_input
from workflow.scan.grid import Run
from workflow.stage import Stage, interrupted, out_of_date, perform, recover

logger = logging.getLogger(__name__)

LOG = "scan.log"
BEGUN = "cathode-task-begun"  # topic of Dask's events, from which the scan knows what is at work
SECONDS_FOR_THE_LOCK = 120.0  # a worker that has lost its scheduler ends within this time
DONE, UP_TO_DATE, FAILED, NOT_DONE = "done", "up to date", "failed", "not done"


@dataclass(frozen=True)
class Unit:
    """A stage of a command, which is made when its turn comes: it may depend on files that are not there before.

    Attributes
    ----------
    name : str
        Different from those of the command's other units.
    step : callable
        The stage; None if there turns out to be nothing to do.
    after : tuple of str
        Units of the same command that must be done before.
    check : callable
        Refuses what the command would refuse before it begins; called before `step`.
    finish : callable
        What the command does after the stage, beside it; told whether the stage was done or is up to date. Its folder is locked.
    """

    name: str
    step: Callable[[], Step | None]
    after: tuple[str, ...] = ()
    check: Callable[[], object] = lambda: None
    finish: Callable[[bool], object] = lambda is_new: None


Resolver = Callable[[str, Sequence[str]], Sequence[Unit]]  # from a command and its flags to its units


@dataclass(frozen=True)
class Task:
    """A unit of a run, as text: this is what goes to a worker."""

    run: str
    folder: str
    command: str
    argv: tuple[str, ...]
    unit: str
    needs: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Its name in the scan."""
        return f"{self.run}: {self.unit}"


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes
    ----------
    is_machine : bool
        Whether it failed by a fault of the machine, so that another attempt may succeed.
    seconds : float
        Wall time.
    peak_mib : float
        Largest memory of the worker's process meanwhile (MiB).
    """

    key: str
    state: str
    reason: str = ""
    is_machine: bool = False
    seconds: float = 0.0
    host: str = ""
    peak_mib: float = 0.0

    @property
    def is_good(self) -> bool:
        """Whether what depends on it can be done."""
        return self.state in (DONE, UP_TO_DATE)


def tasks_of(run: Run, units: Sequence[Unit], last_of: Callable[[str], Sequence[str]]) -> list[Task]:
    """The tasks of a run, in order; `last_of` says with which tasks a shared stage ends."""
    shared = tuple(key for name in run.needs for key in last_of(name))

    def task(unit: Unit) -> Task:
        needs = tuple(f"{run.name}: {name}" for name in unit.after) or shared
        return Task(run.name, str(run.folder), run.command, run.argv, unit.name, needs)

    return [task(unit) for unit in units]


def do_task(resolve: Resolver, task: Task, *earlier: Outcome) -> Outcome:
    """Do a task, unless what it needs has failed or it is up to date; everything that goes wrong is an answer.

    Raises
    ------
    Interrupted
        If the worker is told to end.
    """
    for before in earlier:
        if not before.is_good:
            reason = before.reason if before.state == NOT_DONE else f"{before.key} failed: {before.reason}"
            return Outcome(task.key, NOT_DONE, reason, before.is_machine)
    begun, host = time.monotonic(), platform.node()
    reset_peak()
    state, reason, is_machine = FAILED, "", False
    with logged_to(Path(task.folder) / LOG):
        try:
            state = DONE if _do(resolve, task) else UP_TO_DATE
        except InputError as error:
            reason = str(error)
        except (MachineError, MemoryError, OSError) as error:
            reason, is_machine = first_line(error), True
        except Interrupted:
            logger.warning("%s: the worker ends; another one goes on", task.unit)
            raise
        except Exception as error:
            logger.exception("%s", task.unit)
            is_machine = "memory" in str(error)  # torch has no better name for it
            reason = f"{type(error).__name__}: {first_line(error)} (a fault of the program: {LOG} has more)"
        if reason:
            logger.error("%s: %s", task.unit, reason)
    return Outcome(task.key, state, reason, is_machine, time.monotonic() - begun, host, peak())


def _do(resolve: Resolver, task: Task) -> bool:
    """Do the stage if it is not up to date; whether it was done."""
    unit = next(unit for unit in resolve(task.command, task.argv) if unit.name == task.unit)
    unit.check()
    step = unit.step()
    if step is None:
        return False
    if step.is_skipped:
        check_skipped(step.stage)
        return False
    with locked_in_turn(step.stage.folder):
        recover(step.stage.folder)
        reason = out_of_date(step.stage)
        if reason is not None:
            logger.info("%s on %s: %s", task.unit, platform.node(), reason)
            perform(step.stage, resume=can_go_on(step.stage), command=(task.command, *task.argv))
        unit.finish(reason is not None)
        return reason is not None


def can_go_on(stage: Stage) -> bool:
    """Whether an interrupted training is there that has the same settings and inputs."""
    begun = interrupted(stage.unfinished)
    return begun is not None and (stage.other_settings(begun) or other_input(begun["inputs"], stage.read())) is None


@contextlib.contextmanager
def locked_in_turn(folder: Path, seconds: float = SECONDS_FOR_THE_LOCK) -> Iterator[None]:
    """Lock a folder; wait for a worker that was given up while it still ends."""
    end = time.monotonic() + seconds
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(folder))
                break
            except MachineError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)
        yield


@contextlib.contextmanager
def logged_to(path: Path) -> Iterator[None]:
    """Append what is logged to a file, where that is possible."""
    root, level = logging.getLogger(), logging.getLogger().level
    handler: logging.Handler = logging.NullHandler()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = QuietFile(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter(FORMAT))
    handler.addFilter(lambda record: not record.name.startswith(("distributed", *NOISY)))
    root.addHandler(handler)
    root.setLevel(min(level, logging.INFO) or logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        with contextlib.suppress(OSError):
            handler.close()


def reset_peak() -> None:
    """Let the kernel count this process's largest memory anew, where it can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """The largest memory of this process (MiB) since `reset_peak`; since its start where there is no /proc."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
