"""Scans by the script: the grids of the papers, wrong flags, and one that is killed, out of disk space and repeated."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from processes import server, start
from toys import ROOT, write_toy

import run_all
import run_scan
import scan_commands
from common.options import parsed
from workflow.records import LOCK
from workflow.scan.grid import Run, read_grid
from workflow.scan.tasks import DONE, UP_TO_DATE, do_task, tasks_of

GRIDS = sorted(ROOT.glob("scans/*.yml"))
COST = ("seconds", "peak_mib", "host")


@pytest.mark.parametrize("small", [False, True], ids=["full", "small"])
@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_the_grids_of_the_papers_expand_to_runs_whose_flags_are_accepted(path, small, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    runs, units = run_scan.expanded(read_grid(path, small=small), tmp_path, 1)
    assert all(units[run.name] for run in runs)
    of_grid = [run for run in runs if not run.is_shared]
    assert (2 <= len(of_grid) <= 10) if small else (len(of_grid) >= 60)
    if small:
        files = [text.split("=")[1] for run in runs for text in run.argv if re.match("--(features|extra_bkg)_file=", text)]
        assert files
        assert all(Path(file).is_file() for file in files)


def test_there_are_grids():
    assert {path.stem for path in GRIDS} == {"s_over_b", "shifted_features", "n_samples", "modes", "noise_features", "mass_scan"}


def test_a_grid_may_switch_off_what_a_preset_switches_on(tmp_path):
    case = {"mode": "CATHODE", "preset": "paper"}
    cases = {"all": case, "fewer": {**case, "cf_oversampling": False, "cf_n_samples": 1000}}
    grid = {"run": {"command": "run_all.py", "folder": "{case}"}, "axes": {"case": cases}}
    path = tmp_path / "grid.yml"
    path.write_text(yaml.safe_dump(grid))
    runs, _ = run_scan.expanded(read_grid(path), tmp_path, 1)
    arrays = [parsed(run_all.Options, run.argv).arrays for run in runs]
    assert [(each.oversampling, each.n_samples) for each in arrays] == [(True, 400_000), (False, 1000)]
    assert all(each.realistic_conditional for each in arrays)


def write_grid(folder: Path, data: Path, flow_config: Path, classifier_config: Path, **cases: dict) -> Path:
    """Two runs that share a flow, and others."""
    usual = {"mode": "CATHODE", "DE_dir": "{flow}", "cf_oversampling": True}
    grid = {
        "stages": {"flow": {"command": "run_ANODE_training.py", "folder": "flow", "flags": {
            "data_dir": str(data), "config_file": str(flow_config), "epochs": 40, "patience": 0, "batch_size": 512, "seed": 1}}},
        "run": {"command": "run_all.py", "folder": "{case}", "flags": {
            "data_dir": str(data), "cf_config_file": str(classifier_config), "cf_epochs": 30, "cf_n_runs": 1, "cf_save_model": True,
            "no_extra_signal": True, "no_report": True}},
        "axes": {"case": {
            "small": {**usual, "cf_n_samples": 4000}, "large": {**usual, "cf_n_samples": 40_000}, **cases}},
    }  # fmt: skip
    path = folder / "grid.yml"
    path.write_text(yaml.safe_dump(grid))
    return path


@pytest.fixture(scope="module")
def context():
    with server() as running:
        yield running


def worker_in(folder: Path) -> int:
    """The process that holds the lock of a folder, once its training has written a checkpoint."""
    deadline, lock = time.monotonic() + 60, folder / LOCK
    while time.monotonic() < deadline:
        with suppress(OSError):
            locked_at, found = lock.stat().st_mtime_ns, re.match(r"process (\d+) on", lock.read_text())
            written = [path.stat().st_mtime_ns for path in folder.glob(".unfinished_*/**/.checkpoint")]
            if found and is_alive(int(found[1])) and max(written, default=0) > locked_at:
                return int(found[1])
        time.sleep(0.01)
    raise AssertionError(f"no training in {folder}")


def is_alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def wait_for_end_of(pid: int) -> None:
    deadline = time.monotonic() + 20
    while is_alive(pid):
        assert time.monotonic() < deadline, "a worker outlives its scheduler"
        time.sleep(0.02)


def table(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "scan.csv").open() as file:
        return {line["run"]: {name: value for name, value in line.items() if name not in COST} for line in csv.DictReader(file)}


def scores(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*"))
            if path.suffix in (".npy", ".par")}  # fmt: skip


def test_killed_and_out_of_disk_space_it_ends_where_an_undisturbed_scan_ends(tmp_path, context, flow_config, classifier_config):
    data = write_toy(tmp_path / "data")
    nowhere = {"impossible": {"mode": "CWoLa", "data_dir": str(tmp_path / "nowhere")}}
    grid = write_grid(tmp_path, data, flow_config, classifier_config, **nowhere)

    def begin(name: str, **settings):
        return start(context, "run_scan", grid, "--outdir", tmp_path / name, "--workers", 1, **settings)

    code, text = begin("whole").end()
    assert code == 2, text
    expected = table(tmp_path / "whole")
    assert {name: line["state"] for name, line in expected.items()} == {"small": "done", "large": "done", "impossible": "failed"}
    assert f"{tmp_path / 'nowhere'}" in expected["impossible"]["reason"]
    assert "1 of 4 runs and shared stages are not done" in text.splitlines()[-1]
    assert "Traceback" not in text

    full = {"largest_file": 500_000}  # the disk has no room for the arrays of one run
    scan, folder = begin("killed", **full), tmp_path / "killed"
    first = worker_in(folder / "flow")
    os.kill(first, signal.SIGKILL)
    wait_for_end_of(first)
    second = worker_in(folder / "flow")
    assert second != first
    os.kill(second, signal.SIGKILL)
    wait_for_end_of(second)
    third = worker_in(folder / "small")
    scan.process.kill()
    scan.end()
    wait_for_end_of(third)
    log = (folder / "flow" / "scan.log").read_text()
    assert log.count("goes on where it was interrupted") == 2

    code, text = begin("killed", **full).end()
    assert code == 2, text
    assert table(folder)["large"]["state"] == "failed"
    assert "cannot be written" in table(folder)["large"]["reason"]
    assert table(folder)["small"] == expected["small"]

    assert begin("killed").end()[0] == 2
    assert table(folder) == expected
    assert scores(folder) == scores(tmp_path / "whole")
    assert "density_estimator" not in (folder / "flow" / "scan.log").read_text().partition("lowest validation loss")[2]


def test_a_run_of_a_scan_leaves_what_its_command_leaves(tmp_path, run, toy_dir, classifier_config, undrawn):
    flags = {"data_dir": toy_dir, "mode": "idealized_AD", "preset": "paper", "figures": "pdf", "seed": 1, "cf_epochs": 2, "cf_n_runs": 1,
             "cf_config_file": classifier_config}  # fmt: skip
    argv = [*(f"--{name}={value}" for name, value in flags.items()), f"--save_dir={tmp_path / 'of_scan'}"]
    scanned = Run("of_scan", tmp_path / "of_scan", "run_all.py", tuple(argv), {})
    for task in tasks_of(scanned, scan_commands.units_of("run_all.py", argv), lambda name: []):
        assert do_task(scan_commands.units_of, task).state == DONE
    run("run_all", report=True, save_dir=tmp_path / "alone", **flags)
    names = [{path.name for path in (tmp_path / name).iterdir()} - {"scan.log", "run.log"} for name in ("of_scan", "alone")]
    assert names[0] == names[1] > {"report.html"}
    records = [json.loads((tmp_path / name / "STAGE.json").read_text())["evaluation"] for name in ("of_scan", "alone")]
    assert records[0]["options"] == records[1]["options"]
    assert records[0]["results"] == records[1]["results"]
    assert "preset_stands_for" in records[0]["results"]

    (scanned.folder / "report.html").unlink()
    assert do_task(scan_commands.units_of, task).state == UP_TO_DATE
    assert (scanned.folder / "report.html").is_file(), "its worker was lost before"
    (scanned.folder / "report.html").unlink()
    quiet = replace(task, argv=(*task.argv, "--no_report"))
    assert do_task(scan_commands.units_of, quiet).state == UP_TO_DATE
    assert not (scanned.folder / "report.html").exists()


def test_a_wrong_flag_of_one_run_is_refused_before_anything_runs(tmp_path, fails, toy_dir, flow_config, classifier_config):
    grid = write_grid(tmp_path, toy_dir, flow_config, classifier_config, wrong={"cf_n_rums": 3})
    line = fails("run_scan", grid, outdir=tmp_path / "out")
    assert f"{grid}: wrong (case = wrong): run_all.py: unrecognized arguments: --cf_n_rums=3" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--against", "noise"], "--against noise: must be an axis of"),
        (["--scheduler", "tcp://a:1", "--workers", "3"], "--scheduler has its own workers"),
        (["--cluster_config", "x.yml"], "--cluster_config needs --cluster"),
        (["--small"], "there is no key small"),
        (["--cluster", "slurm", "--cluster_config", "nowhere.yml"], "nowhere.yml: no such file"),
    ],
)
def test_what_makes_no_sense_is_refused(flags, message, tmp_path, fails, toy_dir, flow_config, classifier_config):
    grid = write_grid(tmp_path, toy_dir, flow_config, classifier_config)
    assert message in fails("run_scan", grid, *flags, outdir=tmp_path / "out")


def test_a_dry_run_tells_what_would_be_done(tmp_path, run, toy_dir, flow_config, classifier_config, capsys):
    grid = write_grid(tmp_path, toy_dir, flow_config, classifier_config)
    run("run_scan", grid, "--dry_run", outdir=tmp_path / "out")
    text = capsys.readouterr().out
    assert "run    small  3 to do: after flow" in text
    assert "no estimate of the time" in text
    assert not (tmp_path / "out").exists()
    run("run_ANODE_training", data_dir=toy_dir, savedir=tmp_path / "out" / "flow", config_file=flow_config, epochs=40, patience=0,
        batch_size=512)  # fmt: skip
    capsys.readouterr()
    run("run_scan", grid, "--dry_run", outdir=tmp_path / "out")
    text = capsys.readouterr().out
    assert "shared flow   up to date" in text
    assert "run    small  3 to do: not done yet" in text


def test_a_dry_run_names_a_file_that_is_not_there(tmp_path, run, capsys):
    flags = {"features_file": "nowhere.h5", "seed": "{seed}"}
    run_of = {"command": "run_data_preparation_LHCORD.py", "folder": "seed_{seed}", "flags": flags}
    (tmp_path / "grid.yml").write_text(yaml.safe_dump({"run": run_of, "axes": {"seed": [1, 2]}}))
    run("run_scan", tmp_path / "grid.yml", "--dry_run", outdir=tmp_path / "out")
    assert capsys.readouterr().out.count("will fail: nowhere.h5: no such file") == 2
