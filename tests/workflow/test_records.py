"""STAGE.json as a file that is not trusted, and the lock of a folder."""

from __future__ import annotations

import json
import os

import pytest

from workflow.records import locked


def test_a_lock_is_released_and_leaves_nothing(tmp_path):
    with locked(tmp_path / "new") as folder:
        assert (folder / ".lock").read_text().startswith(f"process {os.getpid()} on ")
    assert not folder.exists()
    (tmp_path / ".lock").write_text("process 1 on elsewhere")  # of a process that is dead: nobody holds it
    with locked(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


WHOLE = {"options": {}, "hyperparameters": {}, "inputs": {}, "outputs": {}, "results": {}, "output_patterns": []}


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{",
        '{"a": 1}',
        json.dumps({"a": WHOLE | {"outputs": {"../../x": {"size": 1, "sha256": ""}}}}),
        json.dumps({"a": WHOLE | {"outputs": {"x": 3}}}),
        json.dumps({"a": WHOLE | {"output_patterns": ["/etc/*"]}}),
        json.dumps({"a": WHOLE | {"options": []}}),
        json.dumps({"a": {"flags": {}, "inputs": {}, "outputs": {}, "results": {}, "replaces": []}}),  # of an older version
        "[" * 100_000,
        '{"a": NaN}',
    ],
)
def test_a_damaged_or_hostile_record_is_refused(content, tmp_path, run, capsys, toy_dir, small_configs):
    (tmp_path / "STAGE.json").write_text(content)
    with pytest.raises(SystemExit) as ending:
        run("run_all", "--data_dir", toy_dir, "--save_dir", tmp_path, *small_configs)
    assert ending.value.code == 2
    line = capsys.readouterr().err
    assert "STAGE.json: " in line
    assert line.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["STAGE.json"]
