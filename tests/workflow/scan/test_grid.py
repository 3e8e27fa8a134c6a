"""GRID.yml: what it expands to, how folders are named, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from common.errors import InputError
from workflow.scan.grid import expand, read_grid

FLAGS = {"run_all.py": "save_dir", "stage1.py": "outdir"}
GRID = {
    "stages": {
        "events": {"command": "stage1.py", "folder": "events/{S_over_B}", "flags": {"S_over_B": "{S_over_B}"}},
        "flow": {"command": "stage1.py", "folder": "flow/{S_over_B}", "flags": {"data_dir": "{events}"}},
    },
    "run": {
        "command": "run_all.py",
        "folder": "{method}/{S_over_B}_{seed}",
        "flags": {"data_dir": "{events}", "seed": "{seed}", "quiet": True, "loud": False, "none": None, "numbers": [1, "{seed}"]},
    },
    "axes": {
        "S_over_B": [0.001, "2e-3"],
        "seed": "1..3",
        "method": {"CATHODE": {"mode": "CATHODE", "DE_dir": "{flow}"}, "CWoLa": {"mode": "CWoLa", "quiet": False}},
    },
}


def read(tmp_path: Path, content: dict, *, small: bool = False):
    path = tmp_path / "grid.yml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return read_grid(path, small=small)


def expanded(tmp_path, content, **settings):
    return expand(read(tmp_path, content, **settings), Path("/out"), FLAGS)


def changed(**keys):
    return {**GRID, **keys}


def test_axes_are_multiplied_and_every_run_comes_after_the_shared_stages_that_it_needs(tmp_path):
    found = expanded(tmp_path, GRID)
    runs = [run for run in found if not run.is_shared]
    assert len(runs) == 2 * 3 * 2
    assert [run.name for run in found if run.is_shared] == ["events/0.001", "flow/0.001", "events/0.002", "flow/0.002"]
    for number, run in enumerate(found):
        assert set(run.needs) <= {before.name for before in found[:number]}
    first, second = runs[:2]
    assert first.settings == {"S_over_B": 0.001, "seed": 1, "method": "CATHODE"}
    assert first.needs == ("events/0.001", "flow/0.001")
    assert second.needs == ("events/0.001",), "only what its own flags name"
    assert first.folder == Path("/out/CATHODE/0.001_1")
    assert first.argv == ("--data_dir=/out/events/0.001", "--seed=1", "--quiet", "--loud=false", "--numbers", "1", "1",
                          "--mode=CATHODE", "--DE_dir=/out/flow/0.001", "--save_dir=/out/CATHODE/0.001_1")  # fmt: skip
    assert "--quiet=false" in second.argv, "a case goes before what all runs have"
    shared = next(run for run in found if run.name == "flow/0.002")
    assert shared.settings == {"S_over_B": 0.002}
    assert shared.needs == ("events/0.002",)


def test_an_axis_may_be_on_and_off(tmp_path):
    run = {"command": "run_all.py", "folder": "quiet_{quiet}", "flags": {"quiet": "{quiet}"}}
    on, off = expanded(tmp_path, {"run": run, "axes": {"quiet": [True, False]}})
    assert on.argv == ("--quiet=true", "--save_dir=/out/quiet_true")
    assert off.argv == ("--quiet=false", "--save_dir=/out/quiet_false")


def test_zipped_axes_go_together(tmp_path):
    axes = {"S_over_B": [0.1, 0.2, 0.3], "seed": "4..6", "method": ["a", "b"]}
    grid = read(tmp_path, changed(axes=axes, zip=[["S_over_B", "seed"]]))
    points = list(grid.points())
    assert len(points) == 6
    assert [(point["S_over_B"], point["seed"]) for point in points[::2]] == [(0.1, 4), (0.2, 5), (0.3, 6)]


def test_small_replaces_key_by_key_and_null_removes(tmp_path):
    small = {"axes": {"seed": [7], "method": {"CWoLa": None, "CATHODE": {"cf_n_runs": 1}}}, "run": {"flags": {"quiet": None}}}
    found = expanded(tmp_path, changed(small=small), small=True)
    runs = [run for run in found if not run.is_shared]
    assert [run.settings["seed"] for run in runs] == [7, 7]
    assert all(
        "--cf_n_runs=1" in run.argv and "--mode=CATHODE" in run.argv and not any("quiet" in text for text in run.argv)
        for run in runs
    )
    assert len([run for run in expanded(tmp_path, changed(small=small)) if not run.is_shared]) == 12


STAGE = GRID["stages"]["events"]
WRONG = {
    "unknown key 'stage'": changed(stage={}),
    "axes is 3": changed(axes=3),
    "axes: seed is '1.5..2'": changed(axes={**GRID["axes"], "seed": "1.5..2"}),
    "axes: seed has a value twice": changed(axes={**GRID["axes"], "seed": [1, 1]}),
    "axes: seed is []": changed(axes={**GRID["axes"], "seed": []}),
    "axes: 'a b' is no name": changed(axes={"a b": [1]}),
    "axes: state is a column": changed(axes={"state": [1]}),
    "the key axes is missing": {"run": GRID["run"]},
    "run: the key folder is missing": changed(run={"command": "run_all.py"}),
    "run: unknown key 'flag'": changed(run={**GRID["run"], "flag": {}}),
    "run: command rm: must be one of run_all.py": changed(run={**GRID["run"], "command": "rm"}),
    "run: folder: {noise} is none of S_over_B, seed": changed(run={**GRID["run"], "folder": "{noise}"}),
    "run: data_dir: {event} is none of": changed(run={**GRID["run"], "flags": {"data_dir": "{event}"}}),
    "run: folder ../0.001: must be a folder below": changed(run={**GRID["run"], "folder": "../{S_over_B}"}),
    "run: folder /0.001: must be a folder below": changed(run={**GRID["run"], "folder": "/{S_over_B}"}),
    "would write into one folder": changed(run={**GRID["run"], "folder": "{S_over_B}_{seed}"}),
    "would be written into the folder of": changed(run={**GRID["run"], "folder": "events/{S_over_B}/{method}_{seed}"}),
    "flags: save_dir is what folder says": changed(run={**GRID["run"], "flags": {"save_dir": "x"}}),
    "run: flags: epochs is {'a': 1}": changed(run={**GRID["run"], "flags": {"epochs": {"a": 1}}}),
    "stages: events: flags is [1]": changed(stages={"events": {**STAGE, "flags": [1]}}),
    "seed is both a stage and an axis": changed(stages={"seed": STAGE}),
    "zip has ['S_over_B', 'noise']": changed(zip=[["S_over_B", "noise"]]),
    "zip: S_over_B, seed have different numbers": changed(zip=[["S_over_B", "seed"]]),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_wrong_is_named_with_file_and_key(fault, tmp_path):
    with pytest.raises(InputError) as error:
        expanded(tmp_path, WRONG[fault])
    assert str(tmp_path / "grid.yml") in str(error.value)
    assert fault in str(error.value)


def test_two_stages_of_one_folder_must_be_the_same(tmp_path):
    stages = {"events": {**STAGE, "flags": {"seed": "{seed}"}}}
    run = {**GRID["run"], "flags": {"data_dir": "{events}"}}
    axes = {"S_over_B": [0.1], "seed": "1..2", "method": ["a"]}
    with pytest.raises(InputError, match=r"events/0\.1 \(S_over_B = 0\.1, seed = 1\) and .* into one folder"):
        expanded(tmp_path, {"stages": stages, "run": run, "axes": axes})


def test_small_needs_its_key(tmp_path):
    with pytest.raises(InputError, match="no key small"):
        read(tmp_path, GRID, small=True)
