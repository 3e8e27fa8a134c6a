"""One task: what it answers when all goes well, when it is up to date, and when it goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from scan_toys import UNITS, counted, toy_run, toy_units
from toys import ROOT

from common.errors import Interrupted, MachineError
from common.options import StageOptions
from common.signals import pass_on
from models.flow import ConditionalNormalizingFlow
from models.training.checkpoints import CHECKPOINT, Checkpoint
from workflow.records import locked
from workflow.scan.tasks import DONE, FAILED, LOG, NOT_DONE, UP_TO_DATE, Outcome, can_go_on, do_task, locked_in_turn, tasks_of
from workflow.stage import Stage, perform


def tasks(run):
    return tasks_of(run, toy_units(run.command, run.argv), lambda name: [f"{name}: {UNITS[-1]}"])


def test_a_task_is_done_once(tmp_path):
    run = toy_run(tmp_path, "run", "x=3")
    first, second = tasks(run)
    assert second.needs == (first.key,) == ("run: first",)
    outcome = do_task(toy_units, first)
    assert (outcome.state, outcome.reason) == (DONE, "")
    assert outcome.seconds > 0
    assert outcome.peak_mib > 10
    assert outcome.host
    assert do_task(toy_units, first).state == UP_TO_DATE
    assert counted(tmp_path / "run_first.begun") == 1
    assert "first on" in (run.folder / LOG).read_text()
    changed = toy_run(tmp_path, "run", "x=3", "seed=2")
    assert do_task(toy_units, tasks(changed)[0]).state == DONE, "other settings"


def test_the_record_has_the_command_of_the_task_not_that_of_the_worker(tmp_path):
    run = toy_run(tmp_path, "run", "x=3")
    do_task(toy_units, tasks(run)[0])
    assert json.loads((run.folder / "STAGE.json").read_text())["first"]["command"] == f"toy --folder={run.folder} --x=3"


def test_what_follows_a_stage_is_told_whether_it_was_done(tmp_path):
    run, told = toy_run(tmp_path, "run"), []

    def units(command, argv):
        return [replace(unit, finish=told.append) for unit in toy_units(command, argv)]

    for _ in range(2):
        do_task(units, tasks(run)[0])
    assert told == [True, False]


def test_a_run_needs_the_last_stage_of_what_it_shares(tmp_path):
    first, second = tasks(toy_run(tmp_path, "run", needs=("flow",)))
    assert first.needs == ("flow: evaluation",)
    assert second.needs == ("run: first",)


@pytest.mark.parametrize(
    ("how", "reason", "is_machine"),
    [
        ("input", "these events cannot be used", False),
        ("machine", "the disk is full", True),
        ("bug", "ZeroDivisionError: nobody", False),
    ],
)
def test_what_goes_wrong_is_an_answer(how, reason, is_machine, tmp_path):
    run = toy_run(tmp_path, "run", f"fail={how}")
    first, second = tasks(run)
    outcome = do_task(toy_units, first)
    assert (outcome.state, outcome.is_machine) == (FAILED, is_machine)
    assert outcome.reason.startswith(reason)
    log = (run.folder / LOG).read_text()
    assert reason in log
    assert ("Traceback" in log) is (how == "bug")
    after = do_task(toy_units, second, outcome)
    assert (after.state, after.is_machine) == (NOT_DONE, is_machine)
    assert after.reason == f"run: first failed: {outcome.reason}"
    assert do_task(toy_units, second, after).reason == after.reason
    assert counted(tmp_path / "run_evaluation.begun") == 0


def test_a_folder_is_waited_for_and_not_for_ever(tmp_path):
    holder = (
        "import sys, time; from workflow.records import locked\nwith locked(sys.argv[1]): print(1, flush=True); time.sleep(1)"
    )
    with subprocess.Popen([sys.executable, "-c", holder, str(tmp_path / "f")], cwd=ROOT, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with pytest.raises(MachineError, match="is at work here"), locked_in_turn(tmp_path / "f", seconds=0):
            pass
        with locked_in_turn(tmp_path / "f", seconds=20):
            process.wait(5)


def test_an_interrupted_training_of_other_settings_begins_anew(tmp_path):
    def work(folder):
        Checkpoint(folder / CHECKPOINT).save({"step": 1})
        raise Interrupted(signal.SIGTERM)

    stage = Stage("training", tmp_path, StageOptions(seed=1), list, ("*.npy",), work)
    assert not can_go_on(stage)
    with locked(tmp_path), pytest.raises(Interrupted):
        perform(stage, resume=False)
    assert can_go_on(stage)
    assert not can_go_on(replace(stage, options=StageOptions(seed=2)))


def test_a_training_in_a_thread_writes_a_checkpoint_when_it_is_told_to_end(tmp_path):
    """Python gives signals to the main thread alone; workers train in another one."""
    settings = {"num_inputs": 2, "num_blocks": 2, "num_hidden": 8, "epochs": 10_000, "patience": 0, "random_state": 0}
    flow = ConditionalNormalizingFlow(**settings, verbose=False)
    place, rng, ended = Checkpoint(tmp_path / "checkpoint"), np.random.default_rng(0), []

    def train():
        try:
            flow.fit(rng.normal(size=(2000, 2)), rng.normal(size=(2000, 1)), checkpoint=place)
        except Interrupted as error:
            ended.append(error)

    thread = threading.Thread(target=train, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.05)
        pass_on(signal.SIGTERM)
    assert not thread.is_alive()
    assert ended[0].signal_number == signal.SIGTERM
    assert place.exists()
    pass_on(signal.SIGTERM)  # nobody is left who could be disturbed


def test_a_log_on_a_full_disk_disturbs_nobody(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    run = toy_run(tmp_path, "run")
    run.folder.mkdir()
    (run.folder / LOG).symlink_to("/dev/full")
    assert do_task(toy_units, tasks(run)[0]).state == DONE


def test_outcomes_are_small():
    import cloudpickle

    assert len(cloudpickle.dumps(Outcome("a/very/long/name: classifiers", FAILED, "x" * 200, host="node" * 10))) < 1000
