"""Scans on Dask's own cluster of this machine: lost workers, failures, what is shared, and the table of it all."""

from __future__ import annotations

import csv
import json
import signal
import threading
import time
from dataclasses import replace

import pytest
from distributed import LocalCluster
from scan_toys import UNITS, counted, toy_run, toy_units

from common.errors import InputError, MachineError
from workflow.scan.clusters import Place
from workflow.scan.driver import Scan, check_workers
from workflow.scan.results import Table
from workflow.scan.session import do_scan, end, tasks_of_all
from workflow.scan.tasks import DONE, FAILED, NOT_DONE

RETRIES = 1


def units(runs):
    return {run.name: toy_units(run.command, run.argv) for run in runs}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A scan with everything that can happen to a task; not to be changed."""
    folder = tmp_path_factory.mktemp("scan")
    shared = [toy_run(folder, "shared"), toy_run(folder, "lost", "kill=99"), toy_run(folder, "refused", "fail=input")]
    runs = [
        *(toy_run(folder, f"run{x}", f"x={x}", needs=("shared",), x=x) for x in range(3)),
        toy_run(folder, "killed", "kill=1", x=4),
        toy_run(folder, "interrupted", "interrupt=3", f"kill={3 + RETRIES}", x=9),
        toy_run(folder, "impossible", "fail=input", x=5),
        toy_run(folder, "full", "fail=machine", x=6),
        toy_run(folder, "of_refused", needs=("refused",), x=7),
        toy_run(folder, "of_lost", needs=("lost",), x=8),
    ]
    runs = [*(replace(run, is_shared=True) for run in shared), *runs]
    table = do_scan(folder, runs, units(runs), Place(workers=2, retries=RETRIES), toy_units)
    return folder, table


def test_every_run_ends_as_it_must(finished):
    _, table = finished
    states = {name: row.state for name, row in table.rows.items()}
    good = ("shared", "run0", "run1", "run2", "killed", "interrupted")
    assert states == dict.fromkeys(good, DONE) | {
        "lost": FAILED, "refused": FAILED, "impossible": FAILED, "full": FAILED, "of_refused": NOT_DONE, "of_lost": NOT_DONE,
    }  # fmt: skip


def test_what_is_shared_is_done_once(finished):
    folder, _ = finished
    assert [counted(folder / f"shared_{unit}.begun") for unit in UNITS] == [1, 1]


def test_a_lost_worker_s_task_is_tried_again_so_often_and_no_more(finished):
    folder, table = finished
    assert counted(folder / "killed_first.begun") == 2
    assert counted(folder / "lost_first.begun") == 1 + RETRIES
    assert table.rows["lost"].reason == f"its worker was lost {1 + RETRIES} times: did the memory run out?"
    assert "lost: first" in table.rows["of_lost"].reason


def test_a_worker_that_ends_properly_is_no_loss(finished):
    folder, table = finished
    assert counted(folder / "interrupted_first.begun") == 3 + RETRIES + 1
    assert table.rows["interrupted"].state == DONE


def test_the_tables_say_what_came_out_and_why_not(finished):
    folder, table = finished
    with (folder / "scan.csv").open() as file:
        lines = {line["run"]: line for line in csv.DictReader(file)}
    assert "shared" not in lines
    assert [float(lines[f"run{x}"]["max_sic"]) for x in range(3)] == [0, 1, 2]
    assert lines["run2"]["x"] == "2"
    assert lines["impossible"]["reason"] == "these events cannot be used"
    assert lines["of_refused"]["reason"] == "refused: first failed: these events cannot be used"
    assert lines["impossible"]["max_sic"] == ""
    content = json.loads((folder / "scan.json").read_text())
    assert [row["run"] for row in content["shared"]] == ["shared", "lost", "refused"]
    with pytest.raises(InputError, match="6 of 12 runs and shared stages are not done"):
        end(table)


def test_a_scan_whose_runs_the_machine_failed_says_so(tmp_path):
    table = Table(tmp_path, [toy_run(tmp_path, "a")])
    row = table.rows["a"]
    row.state, row.reason, row.is_machine = FAILED, "the disk is full", True
    with pytest.raises(MachineError, match="the same command tries them again"):
        end(table)


def test_an_interrupted_scan_has_its_table_on_disk(tmp_path):
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let what is in the background ignore it
    runs = [toy_run(tmp_path, "quick", x=1), toy_run(tmp_path, "slow", "fail=slow", needs=("quick",), x=2)]
    table = Table(tmp_path, runs)
    scan = Scan(runs, tasks_of_all(runs, units(runs)), 0, table)
    place = Place(workers=1)

    def interrupt_when_slow():
        while counted(tmp_path / "slow_first.begun") == 0:
            time.sleep(0.05)
        time.sleep(0.5)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=interrupt_when_slow, daemon=True).start()
    with place.client() as client, pytest.raises(KeyboardInterrupt):
        scan.do(client, toy_units)
    signal.signal(signal.SIGINT, usual)
    assert table.rows["quick"].state == DONE
    assert json.loads((tmp_path / "scan.json").read_text())["runs"][0]["results"] == {"max_sic": 1.0}


def test_no_scheduler_is_one_line(monkeypatch):
    monkeypatch.setattr("workflow.scan.clusters.SECONDS_TO_FIND_A_SCHEDULER", 1)
    with (
        pytest.raises(MachineError, match="no Dask scheduler answers at tcp://127"),
        Place(scheduler="tcp://127.0.0.1:1").client(),
    ):
        pass


def test_one_scan_at_a_time_uses_a_scheduler():
    with LocalCluster(n_workers=0, dashboard_address=":0", processes=False) as cluster:
        place = Place(scheduler=cluster.scheduler_address)
        with place.client() as first:
            with pytest.raises(InputError, match="another scan uses this scheduler"), place.client():
                pass
            assert first.scheduler_info()["workers"] == {}, "the first one is still connected"
        with place.client() as third:
            assert third.status == "running"


def test_the_number_of_tasks_at_a_time(monkeypatch):
    monkeypatch.setattr("workflow.scan.clusters.usable_cores", lambda: 7)
    places = Place(), Place(workers=3), Place(batch_system="slurm"), Place(scheduler="tcp://a:1")
    assert [place.n_workers for place in places] == [7, 3, 1, None]


def test_workers_with_several_threads_are_refused():
    class Client:
        def scheduler_info(self, n_workers):
            return {"workers": {"tcp://a:1": {"nthreads": 4}}}

    with pytest.raises(InputError, match="tcp://a:1 has 4 threads: start workers with --nthreads 1"):
        check_workers(Client())
