"""Stage 1 refuses files and flags that make no sense, in one line that names the fault; nothing half-written is left behind."""

from __future__ import annotations

import numpy as np
import pytest
from paper_runs import write_run
from toys import ROOT, frame


@pytest.mark.parametrize("kind", ["missing", "truncated", "text", "no df", "column", "label", "NaN", "empty"])
@pytest.mark.filterwarnings("ignore::pandas.errors.PerformanceWarning")
def test_stage_1_features_file(fails, tmp_path, kind):
    path = tmp_path / "events.h5"
    table = frame(3000, np.random.default_rng(0))
    fault = {"missing": "Zenodo", "truncated": "not a readable HDF5 file", "text": "not a readable HDF5 file", "no df": "no table 'df'",
             "column": "no column 'tau1j1'", "label": "no column 'label'", "NaN": "NaN", "empty": "not a readable"}[kind]  # fmt: skip
    if kind == "text":
        path.write_text("not HDF5")
    elif kind != "missing":
        if kind == "column":
            table = table.drop(columns="tau1j1")
        elif kind == "label":
            table = table.drop(columns="label")
        elif kind == "NaN":
            table.loc[:100, "mj1"] = np.nan
        elif kind == "empty":
            table = table[:0]
        table.to_hdf(path, key="other" if kind == "no df" else "df")
        if kind == "truncated":
            path.write_bytes(path.read_bytes()[:-5000])
    line = fails("run_data_preparation_LHCORD", "--features_file", path, "--outdir", tmp_path / "out")
    assert "events.h5" in line
    assert fault in line


def test_stage_1_asks_for_too_much_signal(fails, tmp_path):
    sample = ROOT / "sample_data" / "events.features.h5"
    for s_over_b, fault in ((5, "signal events"), (-0.5, "S_over_B")):
        line = fails(
            "run_data_preparation_LHCORD", "--features_file", sample, "--S_over_B", s_over_b, "--outdir", tmp_path / "out"
        )
        assert fault in line


def test_stage_1_signal_region_without_events(fails, tmp_path):
    sample = ROOT / "sample_data" / "events.features.h5"
    line = fails(
        "run_data_preparation_LHCORD", "--features_file", sample, "--SR_min", 50, "--SR_max", 60, "--outdir", tmp_path / "out"
    )
    assert "no background event in the signal region" in line


@pytest.mark.parametrize("script", ["run_data_preparation_LHCORD", "run_data_preparation"])
def test_stage_1_among_results(fails, tmp_path, script):
    write_run(tmp_path / "results", "CWoLa", 1.0)
    own = ("--resonant", "m", "--features", "x", "--SR_min", 3, "--SR_max", 4, "--input")
    flags = own if script == "run_data_preparation" else ("--features_file",)
    line = fails(script, *flags, ROOT / "sample_data" / "events.features.h5", "--outdir", tmp_path / "results")
    assert "holds results (classifiers, classifier_arrays, evaluation); stage 1 needs a folder of its own" in line


def test_stage_1_extra_background_elsewhere(fails, tmp_path):
    sample = ROOT / "sample_data"
    line = fails("run_data_preparation_LHCORD", "--features_file", sample / "events.features.h5", "--extra_bkg_file",
                 sample / "extra_inneronly.features.h5", "--SR_min", 4, "--SR_max", 5, "--outdir", tmp_path / "out")  # fmt: skip
    assert "extra_inneronly.features.h5: holds no background event" in line
