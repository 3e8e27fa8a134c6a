"""Bad input ends with exit code 2 and one line that names the file and the fault; nothing half-written is left behind."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from toys import ROOT


@pytest.fixture
def run_all(fails, toy_copy, small_configs, tmp_path) -> Callable[..., str]:
    """run_all on a folder of toy events that the test has damaged."""

    def run_failing(*argv: object, mode: str = "CATHODE") -> str:
        return fails("run_all", "--mode", mode, "--data_dir", toy_copy, "--save_dir", tmp_path / "out", *small_configs, *argv)

    return run_failing


def damage(path: Path, kind: str) -> str:
    """Damage an event file; returns what the message must say of it."""
    events = np.load(path)
    if kind == "missing":
        path.unlink()
        return "no such file"
    if kind == "folder in its place":
        path.unlink()
        path.mkdir()
        return f"{path}: "
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
        return "not a complete .npy file"
    if kind == "no array at all":
        path.write_bytes(b"not an array")
        return "not a complete .npy file"
    if kind == "objects":
        np.save(path, np.array([{"a": 1}], dtype=object))  # numpy pickles it; reading must refuse
        return "not a complete .npy file"
    if kind == "text":
        np.save(path, np.array([["a", "b", "c"]]))
        return "no plain array of numbers"
    if kind == "one column":
        np.save(path, events[:, 0])
        return "wrong number of columns"
    if kind == "labels":
        np.save(path, events[:, :-1])
        return "must be the label"
    if kind == "NaN":
        events[: len(events) // 20, 2] = np.nan
        np.save(path, events)
        return "NaN"
    raise ValueError(kind)


KINDS = ["missing", "truncated", "no array at all", "objects", "text", "one column", "labels", "NaN", "folder in its place"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["outerdata_train", "innerdata_train", "innerdata_test"])
def test_damaged_event_file(run_all, toy_copy, name, kind):
    fault = damage(toy_copy / f"{name}.npy", kind)
    line = run_all()
    assert f"{name}.npy" in line
    assert fault in line


def test_a_few_nan_rows_are_dropped_and_counted(run, toy_copy, small_configs, tmp_path, caplog):
    path = toy_copy / "outerdata_train.npy"
    events = np.load(path)
    events[7, 2] = np.nan
    np.save(path, events)
    run("run_all", "--data_dir", toy_copy, "--save_dir", tmp_path / "out", *small_configs, "--cf_save_model")
    assert "outerdata_train.npy: dropped 1 of 4000 rows" in caplog.text


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("outerdata_test", "CATHODE"),
        ("outerdata_*", "CATHODE"),
        ("outerdata_*", "CWoLa"),
        ("innerdata_val", "CWoLa"),
        ("innerdata_test", "CWoLa"),
        ("innerdata_extrabkg_val", "idealized_AD"),
        ("innerdata_extrasig_*", "CATHODE"),
        ("innerdata_extrasig_val", "ANODE"),
        ("innerdata_extrasig_*", "supervised"),
    ],
)
def test_different_number_of_features(run_all, toy_copy, name, mode):
    for path in toy_copy.glob(f"{name}.npy"):
        np.save(path, np.delete(np.load(path), 2, axis=1))
    line = run_all("--cf_extra_bkg", mode=mode)
    assert name.split("*")[0] in line
    assert "features, but" in line


@pytest.mark.parametrize(
    ("name", "what"), [("outerdata_train", "sideband is empty"), ("innerdata_train", "signal region is empty")]
)
def test_empty_region(run_all, toy_copy, name, what):
    path = toy_copy / f"{name}.npy"
    np.save(path, np.load(path)[:0])
    assert what in run_all("--cf_separate_val_set")


def test_signal_region_without_data(run_all):
    assert "holds no event in the signal region" in run_all("--cf_SR_min", 7, "--cf_SR_max", 8)


@pytest.mark.parametrize("edges", [(3.7, 3.3), (3.5, 3.5), ("nan", 3.7)])
@pytest.mark.parametrize("script", ["run_all", "run_data_preparation_LHCORD"])
def test_empty_mass_window(fails, run_all, tmp_path, script, edges):
    if script == "run_all":
        line = run_all("--cf_SR_min", edges[0], "--cf_SR_max", edges[1])
    else:
        sample = ROOT / "sample_data" / "events.features.h5"
        line = fails(script, "--features_file", sample, "--outdir", tmp_path / "out", "--SR_min", edges[0], "--SR_max", edges[1])
    assert "SR_min" in line


@pytest.mark.parametrize("argv", [["--mode", "magic"], ["--no_such_flag"], ["--DE_epochs", "0"], ["--cf_n_runs", "-3"],
                                  ["--cf_KDE_bandwidth", "0"], ["--seed", "-1"], ["--datashift", "nan"],
                                  ["--DE_epochs", "many"],
["--random_shift"]])  # fmt: skip
def test_flags_that_make_no_sense(fails, argv):
    assert argv[0] in fails("run_all", *argv)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("num_blocs: 3\n", "unknown key 'num_blocs'"),
        ("num_blocks: three\n", "num_blocks is 'three'"),
        ("num_blocks: -1\n", "num_blocks is -1"),
        ("num_hidden: 1000000000\n", "num_hidden is 1000000000"),
        ("lr: .nan\n", "lr is nan"),
        ("transform_type: [MAF]\n", "transform_type is ['MAF']"),
        ("- MAF\n", "not a YAML mapping"),
        ("num_blocks: [3\n", "not a YAML file"),
        ("!!python/object/apply:os.system ['true']\n", "not a YAML file"),
        ("", "not a YAML mapping"),
    ],
)
@pytest.mark.parametrize("flag", ["--DE_config_file", "--cf_config_file"])
def test_configuration(run_all, tmp_path, content, fault, flag):
    path = tmp_path / "bad.yml"
    path.write_text(content)
    line = run_all(flag, path)
    assert "bad.yml" in line
    known = flag == "--DE_config_file" or "not a" in fault or "lr" in fault
    assert (fault if known else "unknown key") in line


def test_unknown_transform(run_all, tmp_path):
    (tmp_path / "bad.yml").write_text("transform_type: NSF\n")
    assert "transform_type is 'NSF', expected one of MAF, RQS" in run_all("--DE_config_file", tmp_path / "bad.yml")


def test_missing_configuration(run_all, tmp_path):
    assert "none.yml: no such file" in run_all("--cf_config_file", tmp_path / "none.yml")


@pytest.mark.parametrize(
    ("mode", "removed", "flags", "how"),
    [
        ("supervised", "innerdata_extrasig_train", [], "absent"),
        ("supervised", "innerdata_extrasig_train", [], "empty"),
        ("supervised", "innerdata_extrabkg_train", ["--cf_extra_bkg"], "absent"),
        ("idealized_AD", "innerdata_extrabkg_val", ["--cf_extra_bkg"], "absent"),
        ("CWoLa", "outerdata_train", [], "absent"),
        ("CWoLa", "outerdata_train", [], "empty"),
        ("ANODE", "innerdata_train", [], "absent"),
        ("CATHODE", "innerdata_val", ["--cf_separate_val_set"], "absent"),
        ("CATHODE", "innerdata_val", ["--cf_separate_val_set"], "empty"),
    ],
)
def test_mode_without_its_inputs(run_all, toy_copy, mode, removed, flags, how):
    path = toy_copy / f"{removed}.npy"
    events = np.load(path)
    path.unlink()
    if how == "empty":
        np.save(path, events[:0])
        if removed == "outerdata_train":  # the strips may come from the other file alone
            np.save(toy_copy / "outerdata_test.npy", events[:0])
    line = run_all(*flags, mode=mode)
    assert str(toy_copy) in line


def test_test_events_without_signal(run_all, toy_copy):
    path = toy_copy / "innerdata_test.npy"
    events = np.load(path)
    np.save(path, events[events[:, -1] == 0])
    assert "0 signal" in run_all()


@pytest.mark.parametrize(
    ("name", "mode"), [("innerdata_extrabkg_val", "idealized_AD"), ("innerdata_extrasig_train", "supervised")]
)
def test_extra_events_with_the_wrong_label(run_all, toy_copy, name, mode):
    path = toy_copy / f"{name}.npy"
    events = np.load(path)
    events[3, -1] = 1 - events[3, -1]
    np.save(path, events)
    assert "another label" in run_all("--cf_extra_bkg", mode=mode)


def test_wider_signal_region_than_the_events_were_separated_with(run_all):
    assert "holds events of the signal region" in run_all("--cf_SR_min", 3.0)


def test_constant_feature(run_all, toy_copy):
    path = toy_copy / "outerdata_train.npy"
    events = np.load(path)
    events[:, 2] = 0.5
    np.save(path, events)
    assert "feature_2 is constant" in run_all()


@pytest.mark.parametrize("flag", ["--DE_skip", "--cf_skip_create", "--cf_skip_train"])
def test_nothing_there_to_skip_to(run_all, flag):
    assert "no such file" in run_all(flag)


def test_save_dir_that_cannot_be_written(fails, toy_copy, small_configs, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none")):
        line = fails("run_all", "--data_dir", toy_copy, "--save_dir", folder, *small_configs)
        assert f"{folder}: this folder cannot be made" in line


def test_results_in_the_folder_of_the_events(fails, toy_copy, small_configs):
    """Their columns.json would be replaced."""
    for script, flag in (
        ("run_all", "save_dir"),
        ("run_classifier_data_creation", "savedir"),
        ("run_ANODE_evaluation", "savedir"),
    ):
        line = fails(script, *(small_configs if script == "run_all" else ()), **{"data_dir": toy_copy, flag: toy_copy})
        assert "the results need a folder of their own" in line


def test_samples_made_elsewhere(run_all, tmp_path):
    path = tmp_path / "samples.npy"
    for array, fault in (
        (np.ones((10, 4)), "wrong number of columns"),
        (np.ones((10, 5)), "no sample in"),
        (np.full((10, 5), np.nan), "NaN"),
    ):
        np.save(path, array)
        line = run_all("--cf_external_samples", path)
        assert "samples.npy" in line
        assert fault in line
    assert "CATHODE mode, no other" in run_all("--cf_external_samples", path, mode="ANODE")


@pytest.mark.parametrize("kind", ["garbage", "truncated", "other architecture", "no state dict", "missing"])
def test_damaged_weights(fails, run, toy_copy, flow_config, tmp_path, kind):
    models = tmp_path / "models"
    run("run_ANODE_training", data_dir=toy_copy, savedir=models, config_file=flow_config, epochs=1)
    path = models / "my_ANODE_model_epoch_0.par"
    if kind == "garbage":
        path.write_bytes(b"garbage")
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:-500])
    elif kind == "other architecture":
        description = models / "my_ANODE_model_estimator.json"
        description.write_text(description.read_text().replace('"num_hidden": 16', '"num_hidden": 17'))
    elif kind == "no state dict":
        torch.save([1, 2, 3], path)
    else:
        path.unlink()
    line = fails("run_classifier_data_creation", data_dir=toy_copy, savedir=tmp_path / "out", ANODE_models=path)
    assert path.name in line


def test_preprocessing_of_another_training(fails, run, toy_copy, flow_config, tmp_path):
    models = tmp_path / "models"
    run("run_ANODE_training", data_dir=toy_copy, savedir=models, config_file=flow_config, epochs=1)
    stage_3 = ["run_classifier_data_creation", "--data_dir", toy_copy, "--savedir", tmp_path / "out",
               "--ANODE_models", models / "my_ANODE_model_epoch_0.par"]  # fmt: skip
    assert "trained with logit" in fails(*stage_3, "--no_logit_trained")
    assert "trained with shift {'strength': 0.0" in fails(*stage_3, "--datashift", "0.1")
    (models / "my_ANODE_model_preprocessing.json").write_text("{")
    assert "my_ANODE_model_preprocessing.json: not a JSON file" in fails(*stage_3)
    (models / "my_ANODE_model_preprocessing.json").write_text('{"scaler": {}}')
    assert "my_ANODE_model_preprocessing.json: not the preprocessing" in fails(*stage_3)


def test_epochs_of_different_trainings(fails, toy_copy, tmp_path):
    epochs = ["--ANODE_models", tmp_path / "a_epoch_0.par", tmp_path / "b_epoch_0.par"]
    assert "cannot be mixed" in fails("run_classifier_data_creation", *epochs, data_dir=toy_copy, savedir=tmp_path / "out")


def test_two_modes_at_once(fails, toy_copy, tmp_path):
    line = fails("run_classifier_data_creation", "--data_dir", toy_copy, "--savedir", tmp_path / "out", "--CWoLa", "--supervised")
    assert "--supervised: not allowed with argument --CWoLa" in line


def test_masses_in_gev_among_windows_in_tev_are_named(fails, toy_dir, tmp_path):
    shutil.copytree(toy_dir, tmp_path / "gev")
    for path in (tmp_path / "gev").glob("*.npy"):
        events = np.load(path)
        np.save(path, np.column_stack([1000 * events[:, 0], events[:, 1:]]))
    line = fails("run_all", mode="CWoLa", data_dir=tmp_path / "gev", save_dir=tmp_path / "out")
    assert "about a thousand times the window, 3.3 to 3.7 TeV: is one in another unit?" in line
    assert "m_JJ goes from 3" in line


@pytest.mark.parametrize("name", ["X_train", "X_validation", "X_test"])
@pytest.mark.parametrize("kind", ["missing", "truncated", "one column", "width"])
def test_damaged_classifier_arrays(fails, toy_dir, tmp_path, name, kind, run):
    arrays = tmp_path / "arrays"
    run("run_classifier_data_creation", "--data_dir", toy_dir, "--savedir", arrays, "--CWoLa")
    path = arrays / f"{name}.npy"
    if kind == "width":
        np.save(path, np.load(path)[:, 1:])
    else:
        damage(path, kind)
    line = fails("run_classifier_training", "--data_dir", arrays, "--savedir", tmp_path / "out", "--epochs", 1, "--n_runs", 1)
    assert f"{name}.npy" in line or (name == "X_train" and kind == "width")


def test_from_the_shell(tmp_path):
    """The same through a real process: exit code, one line after the log, no traceback."""
    pd.DataFrame({"a": [1.0]}).to_hdf(tmp_path / "bad.h5", key="df")
    command = [
        sys.executable,
        "run_data_preparation_LHCORD.py",
        "--features_file",
        str(tmp_path / "bad.h5"),
        "--outdir",
        str(tmp_path / "o"),
    ]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2
    errors = [line for line in result.stderr.splitlines() if " INFO " not in line]
    assert len(errors) == 1
    assert errors[0].startswith("run_data_preparation_LHCORD.py: error: ")
    assert "bad.h5" in errors[0]
    assert not (tmp_path / "o").exists()


def test_no_gpu_where_one_is_asked_for(run_all, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "no usable GPU" in run_all("--device", "cuda")
