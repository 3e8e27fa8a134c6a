"""The notebook of the papers' figures, executed on small run folders; and the small runs that it makes where it is given none."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
import yaml
from nbclient import NotebookClient
from paper_runs import write_run
from toys import ROOT

import run_all
import run_data_preparation_LHCORD
from common.files import save_json
from common.options import make_options, parse
from demos.utils import small_runs
from evaluation_utils import evaluate_scores, load_test_scores
from workflow.records import fingerprint

NOTEBOOK = ROOT / "plotting_notebook.ipynb"
# Of every panel of every figure: its figure, row, column and the labels of its axes.
PANELS = """[[name, *(getattr(axes.get_subplotspec(), f"{part}span").start for part in ("row", "col")), axes.get_xlabel(),
 axes.get_ylabel()] for name, figure in shown.items() for axes in figure.axes if axes.get_visible()]"""
UNIT = re.compile(r"\(.*(TeV|nats|%|events|no unit|share of|σ).*\)|\\epsilon")
NO_UNIT = ("epoch", "probability density", "share of events", "ratio")


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Execute the notebook with a list of run folders; returns it, and the values of `expressions` evaluated at its end."""

    def run(content: dict, expressions: list[str] = ()):
        (tmp_path / "runs.yml").write_text(yaml.safe_dump(content), encoding="utf-8")
        monkeypatch.setenv("CATHODE_NOTEBOOK_RUNS", str(tmp_path / "runs.yml"))
        for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):  # neither the user's start-up files nor traces in the home folder
            monkeypatch.setenv(variable, str(tmp_path / variable))
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        probe = f"import json; print(json.dumps([{', '.join(expressions)}]))"
        notebook.cells.append(nbformat.v4.new_code_cell(probe, id="probe"))
        client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}})
        client.execute()
        return notebook, json.loads(printed(notebook)["probe"])

    return run


def printed(notebook) -> dict[str, str]:
    """What every cell printed, warnings included."""
    streams = {cell.id: [o.text for o in cell.get("outputs", ()) if o.output_type == "stream"] for cell in notebook.cells}
    return {cell: "".join(texts) for cell, texts in streams.items() if texts}


def n_figures(notebook) -> dict[str, int]:
    """How many figures every cell shows."""
    counts = {cell.id: sum("image/png" in o.get("data", ()) for o in cell.get("outputs", ())) for cell in notebook.cells}
    return {cell: count for cell, count in counts.items() if count}


def test_stored_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)


def test_all_figures(tmp_path, execute):
    separations = {"CATHODE": 2.0, "LaCATHODE": 1.9, "ANODE": 1.2, "CWoLa": 0.8, "idealized_AD": 2.2, "supervised": 2.5}
    for mode, separation in separations.items():
        write_run(tmp_path / "modes" / mode, mode, separation)
        write_run(tmp_path / "shifted" / mode, mode, separation / 2, shift=0.1)
    for s_over_b, seed in ((0.02, 2), (0.1, 3)):
        for mode in ("CATHODE", "ANODE", "CWoLa"):
            write_run(tmp_path / f"SB{s_over_b}" / mode, mode, 10 * s_over_b, s_over_b=s_over_b, seed=seed)
    write_run(tmp_path / "n_samples" / "fewer", "CATHODE", 1.0, n_samples=100)
    content = {
        "sample": "made-up scores",
        "figures": "pdf",
        "modes": ["modes/[!s]*/", "modes/supervised/", "missing*/"],
        "s_over_b": {mode: [f"modes/{mode}/", f"SB*/{mode}/"] for mode in ("CATHODE", "ANODE", "CWoLa")},
        "shifted": ["modes/[!s]*/", "shifted/[!s]*"],
        "n_samples": {"CATHODE, few": "n_samples/*r/", "CATHODE": ["modes/CATHODE"]},
    }
    notebook, (max_sic, panels) = execute(content, ["table['max SIC'].to_dict()", PANELS])

    shown = {"density": 3, "classifiers": 5, "samples": 2, "modes": 1, "s-over-b": 1, "shifted": 2, "n-samples": 1}
    assert n_figures(notebook) == shown
    figures = sorted(path.name for path in (tmp_path / "pdf").glob("*.pdf"))
    assert len(figures) == sum(shown.values())
    for name in figures:
        assert (tmp_path / "pdf" / name).read_bytes().startswith(b"%PDF")
        text = (tmp_path / "pdf" / name).with_suffix(".txt").read_text()
        assert "Made-up scores" in text
        assert re.search(r"seeds? \d", text)
        assert "tested on 300 signal and 4000 background events" in text
    assert "9 run folders; seeds 1, 2, 3; S/B = 2 to 10 %" in (tmp_path / "pdf" / "S_over_B.txt").read_text()
    check_labels(panels)

    folders = {mode: tmp_path / "modes" / mode for mode in separations}
    assert list(max_sic) == list(separations)
    assert max_sic == {mode: evaluate_scores(*load_test_scores(folder, folder)).max_sic.value for mode, folder in folders.items()}
    messages = printed(notebook)
    assert {cell for cell in messages if cell != "probe"} == {"runs"}, (
        "no cell prints or warns but the one that names absent folders"
    )
    assert "left out, no results: missing*/" in messages["runs"]


def check_labels(panels: list) -> None:
    """Every panel has a label and a unit on both axes, or shares that of a panel below it or to its left."""
    assert panels
    for name, row, column, xlabel, ylabel in panels:
        x = [xlabel] if xlabel else [each[3] for each in panels if each[0] == name and each[2] == column and each[1] > row]
        y = [ylabel] if ylabel else [each[4] for each in panels if each[0] == name and each[1] == row and each[2] < column]
        for labels in (x, y):
            label = next(filter(None, labels), "")
            assert UNIT.search(label) or label.startswith(NO_UNIT), (name, row, column, label)


@pytest.mark.parametrize("labels", [("", "epoch"), ("epoch", ""), ("mass", "epoch")])
def test_a_label_that_is_absent_or_without_unit_is_noticed(labels):
    check_labels([["figure", 0, 0, "mass (TeV)", "epoch"]])
    with pytest.raises(AssertionError, match="figure"):
        check_labels([["figure", 0, 0, *labels]])


def test_one_mode(tmp_path, execute):
    write_run(tmp_path / "CWoLa", "CWoLa", 1.0)
    notebook, (modes, folder) = execute({"modes": "CWoLa/"}, ["list(table.index)", "str(runs.figures)"])
    assert modes == ["CWoLa"]
    assert Path(folder) == tmp_path / "figures"
    assert n_figures(notebook) == {"classifiers": 1, "modes": 1}
    assert "no figures, no runs listed: s_over_b, shifted, n_samples" in printed(notebook)["runs"]


def test_the_small_runs_are_those_of_the_list(tmp_path):
    """Every command parses, every pattern finds a run, and every run is in a figure."""
    separated, saved = set(), []
    for script, *argv in small_runs.commands(tmp_path):
        if script == "run_data_preparation_LHCORD.py":
            separated.add(Path(parse("", run_data_preparation_LHCORD.Options, argv)["outdir"]))
            continue
        assert script == "run_all.py"
        options = make_options(run_all.Options, parse("", run_all.Options, argv))
        assert options.arrays.data_dir in separated
        assert options.arrays.DE_dir in (None, *saved)
        saved.append(options.save_dir)
    assert len(saved) == len(set(saved))
    lists = [value for key, value in small_runs.run_list().items() if key not in ("sample", "figures")]
    patterns = {str(tmp_path / pattern).rstrip("/") for each in lists for pattern in ([each] if isinstance(each, str) else each)}
    for pattern in patterns:
        assert any(fnmatch(str(folder), pattern) for folder in saved), pattern
    for folder in saved:
        assert any(fnmatch(str(folder), pattern) for pattern in patterns), folder


def test_small_runs_are_made_once_and_again_where_they_are_gone(tmp_path, monkeypatch):
    """Stages stand for themselves here by what they leave: a file, and a record with the command."""
    called = []

    def filled(command, **_):
        command = command[1:]
        folder = Path(next(value for flag, value in pairwise(command) if flag in ("--outdir", "--save_dir")))
        called.append(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "scores.npy").write_text("x")
        record = {part: {} for part in ("options", "hyperparameters", "inputs", "results")} | {"output_patterns": []}
        record |= {"outputs": {"scores.npy": fingerprint(folder / "scores.npy")}, "command": shlex.join(command)}
        stage = "evaluation" if command[0] == "run_all.py" else "separation"
        save_json(folder / "STAGE.json", {stage: record})
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(small_runs.subprocess, "run", filled)
    path = small_runs.small_runs(tmp_path)
    assert yaml.safe_load(path.read_text()) == small_runs.run_list()
    assert len(called) == len(set(called)) == len(list(small_runs.commands(tmp_path)))
    gone, damaged, *_ = called
    called.clear()
    assert small_runs.small_runs(tmp_path) == path
    assert not called
    shutil.rmtree(gone)
    (damaged / "scores.npy").unlink()
    small_runs.small_runs(tmp_path)
    assert called == [gone, damaged]
    called.clear()
    monkeypatch.setattr(small_runs, "N_SAMPLES", 30_000)
    small_runs.small_runs(tmp_path)
    assert called, "other settings"


def test_small_runs_that_fail_say_why(tmp_path, monkeypatch):
    command = ["run_all.py", "--no_such_flag", "--save_dir", str(tmp_path / "run")]
    monkeypatch.setattr(small_runs, "commands", lambda folder: [command])
    with pytest.raises(RuntimeError, match="unrecognized arguments"):
        small_runs.small_runs(tmp_path / "other")
    assert not (tmp_path / "other").exists()
