"""Features that a density estimator cannot describe are named, with the share; others are not."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from events.quality import spike, warn_of_spikes


def test_continuous_features_are_not_named(caplog):
    rng = np.random.default_rng(0)
    warn_of_spikes(np.column_stack([rng.normal(size=5000), rng.uniform(size=5000), rng.exponential(size=5000)]), ["a", "b", "c"])
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("values", "text"),
    [(lambda rng: rng.integers(3, size=2000), "only 3 different values"), (lambda rng: rng.integers(60, size=2000), "only 60 different"),
     (lambda rng: np.where(rng.random(2000) < 0.02, 0, rng.random(2000)), "have the value 0, which is the lowest"),
     (lambda rng: np.where(rng.random(2000) < 0.02, 1, rng.random(2000)), "have the value 1, which is the highest"),
     (lambda rng: np.where(rng.random(2000) < 0.02, 0.5, rng.random(2000)), "have the value 0.5")],
)  # fmt: skip
def test_spikes_boundaries_and_few_values_are(values, text):
    assert text in spike(values(np.random.default_rng(0)))


def test_events_that_are_tested_and_learned_from_are_counted(toy_dir, tmp_path, run, caplog):
    """The same rows in two files of a folder: no fault that stops a run, but its efficiencies are too good."""
    data = tmp_path / "data"
    shutil.copytree(toy_dir, data)
    learned, tested = (np.load(data / f"{name}.npy") for name in ("innerdata_train", "innerdata_test"))
    np.save(data / "innerdata_test.npy", np.concatenate([tested, learned[:17]]))
    run("run_classifier_data_creation", mode="CWoLa", data_dir=data, savedir=tmp_path / "out")
    assert "17 of the test events are among those to be learned from" in caplog.text
    caplog.clear()
    run("run_classifier_data_creation", mode="CWoLa", data_dir=toy_dir, savedir=tmp_path / "other")
    assert "among those to be learned from" not in caplog.text


def test_the_warning_is_in_stage_json_and_comes_again_at_the_end(toy_dir, small_configs, tmp_path, run, caplog):
    """A feature of three values, whose samples any classifier tells from the data: a warning, not just a poor SIC."""
    data = tmp_path / "data"
    shutil.copytree(toy_dir, data)
    for path in data.glob("*.npy"):
        events = np.load(path)
        events[:, 4] = np.digitize(events[:, 4], [0.4, 0.7])
        np.save(path, events)
    flags = {"cf_SR_min": 3.3, "data_dir": data, "save_dir": tmp_path / "out"}
    run("run_all", *small_configs, "--cf_no_logit", "--DE_no_logit", "--cf_epochs", 8, mode="CATHODE", **flags)
    record = json.loads((tmp_path / "out" / "STAGE.json").read_text())["density_estimator my_ANODE_model"]
    (warning,) = [text for text in record["warnings"] if "cannot be described" in text]
    assert "only 3 different values" in warning
    assert caplog.text.count(warning) == 2
    assert [text.startswith("once more") for text in caplog.messages if warning in text] == [False, True]


def test_a_discrete_feature_that_is_smeared_is_described(toy_dir, small_configs, tmp_path, run, caplog):
    """Three values, of which the signal has mostly one: with --DE_dequantize the samples have them, too, and no event is cut for them."""
    data = tmp_path / "data"
    shutil.copytree(toy_dir, data)
    for path in data.glob("*.npy"):
        events = np.load(path)
        events[:, 4] = np.digitize(events[:, 4], [0.4, 0.7])
        np.save(path, events)
    flags = {"cf_SR_min": 3.3, "data_dir": data, "save_dir": tmp_path / "out"}
    common = [*small_configs, "--cf_no_logit", "--cf_oversampling", "--DE_epochs", 12, "--cf_epochs", 8]
    run("run_all", *common, "--DE_dequantize", "feature_4", mode="CATHODE", **flags)
    assert "cannot be described" not in caplog.text
    assert "is far below" not in caplog.text
    train = np.load(tmp_path / "out" / "X_train.npy")
    values = np.unique(train[:, 4])
    assert len(values) == 3, "data and samples have the three values, and the lowest and highest are not on the boundary"
    shares = [np.mean(train[train[:, -2] == kind, 4] == values[1]) for kind in (0, 1)]
    assert shares[0] == pytest.approx(shares[1], abs=0.15)
