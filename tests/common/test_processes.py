"""Independent work side by side: results in order, one exception for all, nothing outlives its parent."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import joblib
import pytest
from toys import ROOT

from common.errors import InputError, Interrupted, MachineError
from common.processes import (
    THREAD_SETTINGS,
    compute_in_one_thread,
    place_among_workers,
    processes_of,
    run_side_by_side,
    usable_cores,
)
from common.remarks import collected_warnings
from common.signals import signals_interrupt

needs_two = pytest.mark.usefixtures("two_cores")


@pytest.fixture
def two_cores(monkeypatch):
    """On a machine with one core, too."""
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)


def squared(number: int) -> tuple[int, int, int]:
    time.sleep(0.05 * (3 - number))
    return number**2, os.getpid(), place_among_workers()


@needs_two
def test_results_are_in_order_from_as_many_processes_as_there_are_tasks():
    results = run_side_by_side([partial(squared, i) for i in range(4)], 2)
    assert [value for value, _, _ in results] == [0, 1, 4, 9]
    assert len({process for _, process, _ in results} | {os.getpid()}) == 5
    assert {place for _, _, place in results} == {0, 1}
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(("n_tasks", "n_processes"), [(1, 2), (3, 1)])
def test_one_task_or_one_process_is_done_here(n_tasks, n_processes):
    results = run_side_by_side([partial(squared, i) for i in range(n_tasks)], n_processes)
    assert {process for _, process, _ in results} == {os.getpid()}


def grandchildren() -> list[int]:
    return [process for _, process, _ in run_side_by_side([partial(squared, i) for i in range(2)], 2)]


@needs_two
def test_a_process_that_works_for_another_starts_none():
    for process, other in run_side_by_side([grandchildren, grandchildren], 2):
        assert process == other != os.getpid()


def fail(error: BaseException) -> None:
    raise error


def sleep() -> None:
    time.sleep(60)


@needs_two
@pytest.mark.parametrize(
    ("task", "kind", "message"),
    [
        (partial(fail, InputError("x.npy: not good")), InputError, r"^x\.npy: not good$"),
        (partial(fail, KeyError("x")), RuntimeError, "KeyError: 'x'"),
        (partial(os.kill, 0, 0), None, None),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), MachineError, "killed by signal 9 in its work"),
        (lambda: lambda: None, RuntimeError, "cannot be sent"),
    ],
    ids=["input", "bug", "nothing wrong", "killed", "no result"],
)
def test_a_task_that_fails_ends_all(task, kind, message):
    if kind is None:
        assert run_side_by_side([task, task], 2) == [None, None]
        return
    start = time.monotonic()
    with pytest.raises(kind, match=message):
        run_side_by_side([sleep, task], 2)
    assert time.monotonic() - start < 30
    assert multiprocessing.active_children() == []


def until_told() -> None:
    try:
        time.sleep(60)
    except Interrupted as ending:
        raise Interrupted(ending.signal_number, "; a checkpoint was written") from None


@needs_two
def test_a_signal_ends_all_and_says_what_was_kept():
    with signals_interrupt():
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
        with pytest.raises(Interrupted) as ending:
            run_side_by_side([until_told] * 3, 2)
    assert str(ending.value) == "SIGTERM; a checkpoint was written"
    assert multiprocessing.active_children() == []


def slow_to_end() -> None:
    try:
        time.sleep(60)
    except Interrupted as ending:
        time.sleep(1.5)
        raise Interrupted(ending.signal_number, "; a checkpoint was written") from None


@needs_two
def test_a_second_signal_does_not_end_the_wait_for_checkpoints():
    """As Ctrl-C reaches the parent twice, or a batch system and a parent process both send one."""
    start = time.monotonic()
    with signals_interrupt():
        for delay in (0.3, 0.6):
            threading.Timer(delay, os.kill, (os.getpid(), signal.SIGTERM)).start()
        with pytest.raises(Interrupted) as ending:
            run_side_by_side([slow_to_end] * 2, 2)
    assert str(ending.value) == "SIGTERM; a checkpoint was written"
    assert time.monotonic() - start > 1.5
    assert multiprocessing.active_children() == []


def warn(number: int) -> None:
    logging.getLogger("somewhere").warning("task %d is in trouble", number)


@needs_two
@pytest.mark.parametrize("n_processes", [1, 2])
def test_warnings_of_processes_are_collected_here(n_processes):
    with collected_warnings() as warnings:
        run_side_by_side([partial(warn, 1), partial(warn, 2)], n_processes)
    assert sorted(warnings) == ["task 1 is in trouble", "task 2 is in trouble"]


def test_n_jobs_means_what_it_means_in_scikit_learn(monkeypatch):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 3)
    assert [processes_of(n_jobs) for n_jobs in (None, 1, 2, 64, -1, -2)] == [1, 1, 2, 3, 3, 2]
    with pytest.raises(ValueError, match="n_jobs = 0"):
        processes_of(0)


ORPHANS = """
import os, sys, time, joblib
joblib.cpu_count = lambda: 2
from common.processes import run_side_by_side
def work():
    sys.stdout.write(f"{os.getpid()}\\n"); sys.stdout.flush(); time.sleep(60)
run_side_by_side([work, work], 2)
"""


def test_processes_do_not_outlive_their_parent():
    with subprocess.Popen([sys.executable, "-c", ORPHANS], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        children = [int(parent.stdout.readline()) for _ in range(2)]
        parent.kill()
    end = time.monotonic() + 20
    while any(os.path.exists(f"/proc/{child}") for child in children):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_cores_are_those_of_affinity_and_quota(monkeypatch):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 3)
    assert [usable_cores(wanted) for wanted in (None, 2, 64)] == [3, 2, 3]
    monkeypatch.undo()
    one = {next(iter(os.sched_getaffinity(0)))}
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, one)
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_libraries_are_told_to_start_no_threads(monkeypatch):
    for name in THREAD_SETTINGS:
        monkeypatch.setenv(name, "7")
    compute_in_one_thread()
    assert {os.environ[name] for name in THREAD_SETTINGS} == {"1"}
