"""What is drawn of a scan, and what a dry run estimates."""

from __future__ import annotations

import csv
import json
import platform
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scan_toys import toy_run, toy_units

from common.errors import InputError
from plots.scan import Band, against_axis
from workflow.scan.plan import Plan
from workflow.scan.results import Table, flattened
from workflow.scan.session import bands, draw, figure_axis, tasks_of_all
from workflow.scan.tasks import do_task


def grid(**axes):
    return SimpleNamespace(path="grid.yml", axes={name: tuple(values) for name, values in axes.items()})


AXES = {"seed": range(5), "S_over_B": [0.1, 0.2], "method": ["a", "b"]}


@pytest.fixture
def table(tmp_path):
    """Results 10 × S/B + seed, one more for b."""
    runs = [
        toy_run(tmp_path, f"{m}_{x}_{s}", S_over_B=x, seed=s, method=m) for x in AXES["S_over_B"] for s in range(5) for m in "ab"
    ]
    table = Table(tmp_path, runs)
    for row in table.of_runs:
        settings = row.run.settings
        row.results = {"max_sic": 10 * settings["S_over_B"] + settings["seed"] + (settings["method"] == "b")}
    return table


def test_bands_are_medians_and_68_percent_over_the_seeds(table):
    found = bands(table.of_runs, grid(**AXES), "S_over_B", "max_sic")
    assert list(found) == ["a", "b"]
    np.testing.assert_allclose(found["a"].x, [0.1, 0.2])
    np.testing.assert_allclose(found["a"].median, [3, 4])
    np.testing.assert_allclose(found["b"].median, [4, 5])
    np.testing.assert_allclose(found["a"].low, [1 + 0.64, 2 + 0.64])
    np.testing.assert_allclose(found["a"].high, [1 + 3.36, 2 + 3.36])
    assert list(bands(table.of_runs, grid(**AXES), "method", "max_sic")) == ["S_over_B = 0.1", "S_over_B = 0.2"]
    assert bands(table.of_runs, grid(**AXES), "S_over_B", "nothing") == {}


@pytest.mark.parametrize("axis", ["S_over_B", "method"])
def test_the_figure_is_drawn(axis, table):
    draw(table, grid(**AXES), axis)
    assert (table.folder / "scan.png").read_bytes().startswith(b"\x89PNG")


def test_searches_are_drawn_by_their_significance(table, caplog, monkeypatch):
    drawn = []
    monkeypatch.setattr("workflow.scan.session.against_axis", lambda found, *rest: drawn.append(found))
    monkeypatch.setattr("workflow.scan.session.save", lambda *given: None)
    caplog.set_level("INFO")
    for number, row in enumerate(table.of_runs):
        row.results = flattened({"global": {"z": 3.0, "global_z": number - 2.0}})
    draw(table, grid(**AXES), "S_over_B")
    assert list(drawn[0]) == ["largest local significance (σ)", "global significance (σ)"]
    assert list(drawn[0]["global significance (σ)"]) == ["a", "b"]
    for row in table.of_runs:
        row.results = {"windows": 6}
    draw(table, grid(**AXES), "S_over_B")
    assert len(drawn) == 1
    assert "no figure: no run has a result that is drawn (max_sic, " in caplog.text


def test_a_significance_below_zero_is_in_the_figure():
    band = Band.of({0.0: [-1.0, -0.5], 1.0: [2.0, 3.0]})
    figure = against_axis(
        {"global significance (σ)": {"a": band}, "max SIC": {"a": Band.of({0.0: [1.0], 1.0: [2.0]})}}, "S_over_B"
    )
    assert figure.axes[0].get_ylim()[0] < -1
    assert figure.axes[1].get_ylim()[0] == 0


def test_the_axis_of_the_figure():
    assert figure_axis(grid(**AXES), None) == "S_over_B"
    assert figure_axis(grid(seed=[1, 2], method=["a", "b"], noise=[1]), None) == "method"
    assert figure_axis(grid(seed=[1, 2]), None) is None
    assert figure_axis(grid(**AXES), "method") == "method"
    with pytest.raises(InputError, match="--against mass: must be an axis of"):
        figure_axis(grid(**AXES), "mass")


def test_a_dry_run_estimates_from_what_was_done_here(tmp_path):
    runs = [toy_run(tmp_path, name) for name in "abc"]
    units = {run.name: toy_units(run.command, run.argv) for run in runs}
    assert "no estimate of the time" in Plan.of(runs, units).describe(2)
    for task in tasks_of_all(runs, units)["a"]:
        do_task(toy_units, task)
    record = tmp_path / "a" / "STAGE.json"
    content = json.loads(record.read_text())
    for stage, seconds in (("first", 100), ("evaluation", 20)):
        content[stage] |= {
            "start": "2026-01-01T00:00:00+00:00",
            "end": f"2026-01-01T00:{seconds // 60:02}:{seconds % 60:02}+00:00",
        }
    record.write_text(json.dumps(content))
    text = Plan.of(runs, units).describe(2)
    assert "run    a  up to date" in text
    assert "run    b  2 to do: not done yet" in text
    assert "3 runs, 0 shared stages; 1 runs up to date, 4 stages to do" in text
    assert "about 4 min 0 s of one worker, 2 min 0 s of 2, from the stages done here" in text


def test_what_changed_is_to_do_again(tmp_path):
    run = toy_run(tmp_path, "a")
    for task in tasks_of_all([run], {"a": toy_units(run.command, run.argv)})["a"]:
        do_task(toy_units, task)
    changed = toy_run(tmp_path, "a", "seed=2")
    (found,) = Plan.of([changed], {"a": toy_units(changed.command, changed.argv)}).planned
    assert found.to_do == ["first", "evaluation"]
    assert "seed was 1, is now 2" in found.why


def test_results_are_numbers_of_one_line():
    assert flattened({"a": {"b": 1, "c": {"d": 2.5}}, "e": [1, 2], "f": None, "g": "x"}) == {"a.b": 1, "a.c.d": 2.5, "g": "x"}
    assert flattened({"preset_stands_for": {"cf_n_samples": 400_000}}) == {}, "a flag may say otherwise"


def test_the_cost_of_an_earlier_session_is_kept(tmp_path):
    run = toy_run(tmp_path, "a")
    units = {"a": toy_units(run.command, run.argv)}
    tasks = tasks_of_all([run], units)["a"]
    first = Table(tmp_path, [run])
    outcomes = [replace(do_task(toy_units, task), seconds=2.5) for task in tasks]
    first.task_ended(run, outcomes[0])
    first.write()
    assert [row["state"] for row in json.loads((tmp_path / "scan.json").read_text())["runs"]] == ["unfinished"]
    assert first.rows["a"].cost["seconds"] == 2.5, "it was interrupted here"
    first.task_ended(run, outcomes[1])
    first.ended(run, outcomes)
    cost = first.rows["a"].cost
    with (tmp_path / "scan.csv").open() as file:
        [line] = csv.DictReader(file)
    assert (float(line["seconds"]), line["host"]) == (cost["seconds"], cost["host"]) == (5.0, platform.node())
    assert float(line["peak_mib"]) == cost["peak_mib"] > 10
    second = Table(tmp_path, [run])
    second.task_ended(run, do_task(toy_units, tasks[0]))
    assert (second.rows["a"].state, second.rows["a"].cost) == ("unfinished", cost)
    second.ended(run, [do_task(toy_units, task) for task in tasks])
    assert second.rows["a"].cost == cost
    assert json.loads((tmp_path / "scan.json").read_text())["runs"][0]["state"] == "done"
    with pytest.raises(InputError, match="holds the scan of another grid, with the run a; another --outdir"):
        Table(tmp_path, [toy_run(tmp_path, "b")])
    assert Table(tmp_path, [run, toy_run(tmp_path, "b")]).rows["a"].cost == cost, "a grid may grow"
    (tmp_path / "scan.json").write_text('{"runs": [{"run": "a", "stages": {"first": 3}}]}')
    with pytest.raises(InputError, match="not the table of a scan"):
        Table(tmp_path, [run])
