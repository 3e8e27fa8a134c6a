"""The demo notebooks are executed on the bundled sample; they say in their figures and numbers that the methods work."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
DEMOS = ROOT / "demos"
NOTEBOOKS = sorted(path.stem for path in DEMOS.glob("*.ipynb"))
LIMIT = 180  # seconds for one notebook


def test_there_are_four():
    assert NOTEBOOKS == ["anode_walkthrough", "cathode_walkthrough", "lacathode_walkthrough", "weak_supervision"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_runs_from_start_to_end(name, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as in conftest: threads of several processes only wait for each other
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    notebook = nbformat.read(DEMOS / f"{name}.ipynb", as_version=4)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells), "stored without outputs"
    probe = "print('SIC', *(max(e.max_sic.value for e in [evaluation]) for evaluation in evaluations.values()))"
    if name == "lacathode_walkthrough":
        probe += "\nassert sculpting['LaCATHODE'][0].chi2_per_ndf < 0.5 * sculpting['CATHODE'][0].chi2_per_ndf"
    notebook.cells.append(nbformat.v4.new_code_cell(probe, id="probe"))
    start = time.monotonic()
    NotebookClient(notebook, timeout=LIMIT, kernel_name="python3", resources={"metadata": {"path": str(DEMOS)}}).execute()
    assert time.monotonic() - start < LIMIT
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", ()) for output in outputs) >= 2
    text = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "Warning" not in text
    assert min(float(value) for value in text.split("SIC ")[-1].split()) > 2, "every method finds the signal"


def test_data_preparation(tmp_path):
    """Six files, halves and quarters, five features with ΔR; everything as in stage 1."""
    command = [sys.executable, str(DEMOS / "utils" / "data_preparation.py"), "--outdir", str(tmp_path), "--add_deltaR"]
    subprocess.run(command, check=True, capture_output=True)
    for region in ("outerdata", "innerdata"):
        half, *quarters = (np.load(tmp_path / f"{region}_{name}.npy") for name in ("train", "val", "test"))
        assert half.shape[1] == 7
        assert all(abs(len(half) - 2 * len(quarter)) <= 3 for quarter in quarters)
        outside = (half[:, 0] <= 3.3) | (half[:, 0] >= 3.7)
        assert outside.mean() == (region == "outerdata")
    assert half[:, -1].sum() / (half[:, -1] == 0).sum() == pytest.approx(0.03, abs=0.006)
