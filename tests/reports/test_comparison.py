"""compare_runs.py: pooled runs, the same test events, paired errors, and what is said where test events differ."""

from __future__ import annotations

import csv
import json
import shutil

import html5lib
import numpy as np
import pytest

from evaluation.errors import Measured, Merit, figures_of_merit, paired_differences
from evaluation.event_sets import EventSet, event_ids
from reports import comparison
from reports.compared import find_test_sets, named_folders, read_compared
from reports.comparison import Comparison, comparison_page, write_comparison
from workflow.evaluation import load_test_scores
from workflow.scan.grid import Run
from workflow.scan.results import Table
from workflow.scan.tasks import DONE, FAILED, Outcome


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def others(reported, tmp_path):
    """Two runs on the same events, one of them in another order, and one on other events."""
    rng, folders = np.random.default_rng(0), {}
    for name in ("same", "shuffled", "different"):
        folder = folders[name] = tmp_path / name
        folder.mkdir()
        for file in (
            "X_train.npy",
            "X_validation.npy",
            "X_test.npy",
            "preds_matris.npy",
            "val_loss_matris.npy",
            "STAGE.json",
            "columns.json",
        ):
            shutil.copy(reported / file, folder)
        records = json.loads((folder / "STAGE.json").read_text())
        records["classifiers"]["inputs"] = {}
        (folder / "STAGE.json").write_text(json.dumps(records))
    X, scores = np.load(reported / "X_test.npy"), np.load(reported / "preds_matris.npy")
    order = rng.permutation(len(X))
    np.save(folders["shuffled"] / "X_test.npy", X[order])
    np.save(folders["shuffled"] / "preds_matris.npy", scores[..., order])
    X[:, 0] += 0.001
    np.save(folders["different"] / "X_test.npy", X)
    return folders


def test_the_same_events_are_recognised_in_any_order(reported, others, tmp_path):
    folders = [reported, others["same"], others["shuffled"]]
    write_comparison(folders, ["a", "b", "c"], tmp_path / "out", "svg")
    rows, differences = rows_of(tmp_path / "out" / "runs.csv"), rows_of(tmp_path / "out" / "differences.csv")
    assert [row["test_set"] for row in rows] == ["1", "1", "1"]
    merit = figures_of_merit(*load_test_scores(reported, reported))
    assert float(rows[0]["max_sic"]) == merit.max_sic.value
    assert float(rows[0]["max_sic_error"]) == merit.max_sic.error
    assert {(row["first"], row["second"]) for row in differences} == {("a", "b"), ("a", "c"), ("b", "c")}
    assert all(abs(float(row["difference"])) < 1e-9 and float(row["error"]) < 1e-9 for row in differences)
    html5lib.HTMLParser(strict=True).parse((tmp_path / "out" / "comparison.html").read_text())
    assert {path.name for path in (tmp_path / "out").glob("*.svg")} == {"roc.svg", "sic.svg", "merits.svg"}


def test_other_events_are_never_overlaid_silently(reported, others, tmp_path, caplog, undrawn):
    compared, left_out = read_compared(named_folders([reported, others["different"], tmp_path / "nowhere"], ["a", "b", "gone"]))
    found = Comparison.of(compared, left_out)
    assert list(found.evaluations()) == ["a [test set 1]", "b [test set 2]"]
    assert found.sets == ["1", "2"]
    assert not found.differences
    write_comparison([reported, others["different"]], [], tmp_path / "out", "png")
    assert "tested on different events" in caplog.text
    assert "tested on different events" in (tmp_path / "out" / "comparison.html").read_text()
    assert left_out == [f"gone is left out: {tmp_path / 'nowhere'}: no such folder"]


def test_runs_of_one_name_are_pooled(reported, others, tmp_path):
    names = ["seeds", "seeds", "seeds"]
    compared, _ = read_compared(named_folders([reported, others["same"], others["shuffled"]], names))
    assert len(compared) == 1
    assert len(compared[0].evaluation.auc) == 6
    mixed, _ = read_compared(named_folders([reported, others["different"]], ["x", "x"]))
    assert find_test_sets(mixed)[1] == [None]
    assert Comparison.of(mixed, []).rows()[0]["max_sic_error"] is None


def test_many_runs_are_told_apart_and_not_said_to_have_other_events(reported, others, monkeypatch, undrawn):
    monkeypatch.setattr(comparison, "MOST_PAIRED", 2)
    monkeypatch.setattr(comparison, "figures_of_merit", lambda *_: Merit(Measured(1.0, 0.1), {}))
    folders = [reported, others["same"], others["shuffled"]]
    one_set = Comparison.of(*read_compared(named_folders(folders, ["a", "b", "c"])))
    [section] = [each for each in comparison_page(one_set, "x").sections if each.title == "Paired differences"]
    assert section.missing.startswith("3 runs have test set 1. Pairs are compared only of up to 2")
    compared, _ = read_compared(named_folders([reported] * 30, list(map(str, range(30)))))
    known = [each.tests[0].events for each in compared]
    monkeypatch.setattr(comparison, "find_test_sets", lambda _: (known, list(range(30))))
    assert len(set(Comparison.of(compared, []).sets)) == 30


def test_a_scan_is_compared_by_its_axes(others, tmp_path, run, undrawn):
    """The tables are those that run_scan.py writes; axes name the runs, seeds are pooled, results are no axes."""
    shutil.copytree(others["same"], tmp_path / "third")
    settings = {"same": (0.01, 1), "shuffled": (0.01, 2), "third": (0.02, 1), "failed": (0.02, 2)}
    runs = [
        Run(name, tmp_path / name, "run_all.py", (), {"S_over_B": s_over_b, "seed": seed, "mode": "CATHODE"})
        for name, (s_over_b, seed) in settings.items()
    ]
    table = Table(tmp_path, runs)
    for each in runs:
        good = each.name != "failed"
        table.ended(each, [Outcome(f"{each.name}: evaluation", *((DONE,) if good else (FAILED, "the disk was full")))])
    table.write()
    assert {"state", "max_sic", "host"} <= rows_of(tmp_path / "scan.csv")[0].keys()
    run("compare_runs", tmp_path / "scan.csv", out=tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "runs.csv")
    assert [(row["name"], row["folders"]) for row in rows] == [("S_over_B 0.01", "2"), ("S_over_B 0.02", "1")]
    assert [each.series for each in named_folders([tmp_path / "scan.csv"], [])] == ["all runs"] * 4
    text = (tmp_path / "out" / "comparison.html").read_text()
    assert "S_over_B 0.02 is left out: failed is failed, the disk was full" in text


def test_what_cannot_be_compared_is_refused(reported, tmp_path, fails):
    out = ["--out", tmp_path / "out"]
    assert "2 --labels for 1 runs" in fails("compare_runs", reported, *out, "--labels", "a", "b")
    (tmp_path / "scan.csv").write_text("a,b\n1,2\n")
    assert "scan.json: no such file" in fails("compare_runs", tmp_path / "scan.csv", *out)
    (tmp_path / "scan.json").write_text('{"runs": [{"run": "a"}]}')
    assert "scan.json: not the table of a scan" in fails("compare_runs", tmp_path / "scan.csv", *out)
    assert "no STAGE.json" in fails("compare_runs", tmp_path, *out)
    assert not (tmp_path / "out").exists()


def test_paired_errors_are_smaller_where_methods_agree():
    """Of two scores that nearly agree the difference is known better than either; of independent ones it is not."""
    rng = np.random.default_rng(1)
    labels = np.repeat([1, 0], [2000, 20_000])
    score = labels * 2 + rng.normal(size=len(labels))
    near, far = score + 0.05 * rng.normal(size=len(labels)), labels * 2 + rng.normal(size=len(labels))
    alone = figures_of_merit(score, labels).max_sic.error
    errors = {d.second: d.value.error for d in paired_differences({"a": score, "near": near, "far": far}, labels)
              if d.first == "a" and d.quantity == "max SIC"}  # fmt: skip
    assert errors["near"] < 0.7 * alone < errors["far"]


def test_equal_masses_are_told_apart():
    m, labels = np.array([3.5, 3.5, 3.4, 3.5]), np.array([0, 1, 0, 0])
    assert len(set(event_ids(m, labels))) == 4
    events = EventSet.of(m, labels)
    scores = np.array([[0.1, 0.9, 0.3, 0.2]])
    assert sorted(events.spread(event_ids(m, labels), scores)[0]) == [0.1, 0.2, 0.3, 0.9]
    assert events.spread(event_ids(m, labels), scores)[0][events.labels == 1] == [0.9]
