"""What is read in the folder of a run: S/B by one definition, events in their own units."""

from __future__ import annotations

import json

import numpy as np
import pytest
from paper_runs import write_run

from background.arrays import SCALER_FILE
from common.errors import InputError
from common.files import load_array, save_json
from models.scalers import fit_scaler, scaler_to_dict
from workflow.runs import mode_of, samples_and_truth, searched_events, signal_to_background, training_events


def window(folder, low, high):
    columns = [{"name": f"x{i}", "label": f"$x_{i}$", "unit": "GeV", "formula": ""} for i in range(4)]
    resonant = {"name": "m", "label": "$m$", "unit": "TeV", "formula": ""}
    save_json(folder / "columns.json", {"resonant": resonant, "features": columns, "signal_region": [low, high]})


def test_s_over_b_is_that_of_stage_1_in_the_same_region_else_that_of_the_labels(tmp_path):
    folder = write_run(tmp_path / "run", "CATHODE", 1.5)
    separated = tmp_path / "separated_run"
    save_json(separated / "STAGE.json", json.loads((separated / "STAGE.json").read_text().replace("0.06", "0.061")))
    assert searched_events(folder) == (60, 1000)
    assert signal_to_background(folder) == 0.061
    for place in (folder, separated):
        window(place, 3.3, 3.7)
    assert signal_to_background(folder) == 0.061
    window(separated, 3.1, 3.9)
    assert signal_to_background(folder) == 0.06, "of another signal region"


def test_s_over_b_that_nobody_knows(tmp_path):
    folder = write_run(tmp_path / "run", "CATHODE", 1.5)
    (folder / "STAGE.json").unlink()
    for name in ("train", "validation"):
        X = load_array(folder / f"X_{name}.npy")
        X[X[:, -2] == 1, -1] = -1
        np.save(folder / f"X_{name}.npy", X)
    with pytest.raises(InputError, match="nobody knows the labels"):
        signal_to_background(folder)


def test_the_mode_is_that_of_the_record(tmp_path):
    modes = [
        mode_of(json.loads((write_run(tmp_path / mode, mode, 1.0) / "STAGE.json").read_text())) for mode in ("CWoLa", "ANODE")
    ]
    assert [mode.name for mode in modes] == ["CWoLa", "ANODE"]
    assert mode_of({}) is None


def test_samples_and_the_truth_have_their_units_where_these_are_known(tmp_path):
    folder = write_run(tmp_path / "a", "CATHODE", 1.5, n_samples=200)
    train, test = load_array(folder / "X_train.npy"), load_array(folder / "X_test.npy")
    found = samples_and_truth(folder)
    np.testing.assert_array_equal(found.background, train[train[:, -2] == 0][:, :-2])
    np.testing.assert_array_equal(found.data, test[test[:, -1] == 0][:, :-2])
    assert found.axes[0] == "$m_{JJ}$ (TeV)"
    assert all(axis.endswith("(no unit)") for axis in found.axes[1:])
    X = np.random.default_rng(0).normal(50, 7, (1000, 4))
    save_json(folder / SCALER_FILE, scaler_to_dict(fit_scaler(X, X, use_logit=False)))
    window(folder, 3.3, 3.7)
    for restored, raw in ((samples_and_truth(folder).data, found.data), (training_events(folder).background, found.background)):
        np.testing.assert_array_equal(restored[:, 0], raw[:, 0])
        np.testing.assert_allclose(restored[:, 1:], 50 + 7 * raw[:, 1:], atol=2)
    assert samples_and_truth(folder).axes[1:] == [f"$x_{i}$ (GeV)" for i in range(4)]
