"""Cores, and independent work side by side: one thread in each of several processes.

Small networks gain nothing from a second thread in their matrix products, and threads that wait for each other ruin a machine on which
something else runs as well. A further core is therefore given a training of its own, or half of every batch (models/training/parts.py).
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any, TypeVar

from common.errors import InputError, Interrupted, MachineError
from common.remarks import add_warnings, collected_warnings
from common.signals import handled_by

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
Task = Callable[[], Result]
THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
WORKER = "worker "  # what the names of processes that work side by side begin with


def compute_in_one_thread() -> None:
    """Tell the libraries that are yet to be imported to start no threads."""
    os.environ.update(dict.fromkeys(THREAD_SETTINGS, "1"))


def usable_cores(wanted: int | None = None) -> int:
    """As many cores as are wanted, or all, but never more than this process may use.

    It may use those of its affinity, as far as the quota of its control group goes, and one where it works for another process.
    """
    import joblib

    if multiprocessing.current_process().daemon:
        return 1
    usable = joblib.cpu_count()
    return usable if wanted is None else min(wanted, usable)


def processes_of(n_jobs: int | None) -> int:
    """What scikit-learn's `n_jobs` means: 1 for None, and -1 for all cores; never more than `usable_cores`."""
    if n_jobs == 0:
        raise ValueError("n_jobs = 0 has no meaning")
    wanted = 1 if n_jobs is None else n_jobs
    return usable_cores(wanted) if wanted > 0 else max(1, usable_cores() + 1 + wanted)


def place_among_workers() -> int:
    """The number of this process among those that work side by side; 0 for any other."""
    name = multiprocessing.current_process().name
    return int(name.removeprefix(WORKER)) if name.startswith(WORKER) else 0


def run_side_by_side(
    tasks: Sequence[Task[Result]], n_processes: int, done: Callable[[Result], object] = lambda _: None
) -> list[Result]:
    """The results of independent tasks, in their order; at most so many at a time, each in a process of its own.

    The processes are forked: what a task refers to is shared, not copied, and only its result is sent back. With one process, with one
    task, or where this process must not start others, the tasks are done here, one after another.

    Parameters
    ----------
    done : callable
        Called here after every task, with its result.

    Raises
    ------
    MachineError
        If a process was killed.
    Exception
        What a task raises, or `Interrupted`; the other tasks are then told to end (SIGTERM), and waited for.
    """
    n_processes = min(len(tasks), usable_cores(n_processes))
    if n_processes <= 1:
        here = []
        for task in tasks:
            here.append(task())
            done(here[-1])
        return here
    results: dict[int, Result] = {}
    running: dict[Connection, tuple[int, BaseProcess]] = {}
    waiting, places = list(enumerate(tasks))[::-1], set(range(n_processes))
    try:
        while waiting or running:
            while waiting and len(running) < n_processes:
                number, task = waiting.pop()
                answer, process = _start(task, places.pop())
                running[answer] = number, process
            for answer in wait(list(running)):
                number, process = running.pop(answer)
                places.add(int(process.name.removeprefix(WORKER)))
                results[number] = _received(answer, process)
                done(results[number])
    except BaseException as error:
        with handled_by(_ignore):  # a second signal must not end the wait for processes that are writing their checkpoints
            for _, process in running.values():
                process.terminate()
            remarks = [_last_words(answer, process) for answer, (_, process) in running.items()]
        if isinstance(error, Interrupted) and any(remarks):
            raise Interrupted(error.signal_number, max(remarks)) from None
        raise
    return [results[number] for number in range(len(tasks))]


def _ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing about a signal."""


def died(process: BaseProcess, doing: str) -> MachineError:
    """What is said of a process that ended without an answer."""
    process.join()
    if (status := process.exitcode or 0) < 0:
        return MachineError(f"a process was killed by signal {-status} {doing}: did the memory run out?")
    return MachineError(f"a process ended with status {status} {doing}: what is above this line says why")


def _start(task: Task[Any], place: int) -> tuple[Connection, BaseProcess]:
    """A process that does the task, and where its answer comes."""
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(task, theirs), name=f"{WORKER}{place}", daemon=True)
    process.start()
    theirs.close()
    return mine, process


def _received(answer: Connection, process: BaseProcess) -> Any:
    """The result of a task, or its exception raised here."""
    try:
        result, error, warnings = answer.recv()
    except EOFError:
        raise died(process, "in its work") from None
    process.join()
    add_warnings(warnings)
    if error is not None:
        raise error
    return result


def _last_words(answer: Connection, process: BaseProcess) -> str:
    """Wait for a process that was told to end, and what it remarks on that."""
    try:
        _received(answer, process)
    except Interrupted as ending:
        return ending.remark
    except Exception:  # the one that ends them all is reported
        return ""
    return ""


def end_with_parent() -> None:
    """Wait until the process that started this one is no more, then end at once; for a thread."""
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _work(task: Task[Any], answer: Connection) -> None:
    """In the new process: do the task, and do not outlive the parent."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    with collected_warnings() as warnings:
        try:
            outcome = task(), None
        except (InputError, MachineError, Interrupted, ValueError, MemoryError) as error:
            outcome = None, error
        except BaseException as error:
            logger.exception("in a process of its own")
            outcome = None, RuntimeError(f"{type(error).__name__}: {error}")
    try:
        answer.send((*outcome, warnings))
    except (ValueError, TypeError, AttributeError) as error:  # what cannot be sent
        answer.send((None, RuntimeError(f"the result of a process cannot be sent: {error}"), warnings))
