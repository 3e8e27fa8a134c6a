"""Feature sets, noise features, and features that know the mass."""

from __future__ import annotations

import json
from dataclasses import fields

import numpy as np
import pandas as pd
import pytest
from toys import ROOT, frame

from common.errors import InputError
from events.columns import Columns
from events.features import SETS, columns_of
from events.lhco import read_lhco_file
from events.quality import mass_knowledge, warn_of_known_mass
from events.regions import FeatureShift
from events.window import Window
from run_data_preparation_LHCORD import Options

SAMPLE = {
    "features_file": ROOT / "sample_data/events.features.h5",
    "extra_bkg_file": ROOT / "sample_data/extra_inneronly.features.h5",
}


def test_further_features_are_those_of_the_jets_by_mass():
    """τ32 and p_T, event by event."""
    table = pd.read_hdf(SAMPLE["features_file"], stop=300)
    names = ("tau32_J1", "tau32_J2", "pT_J1", "pT_J2")
    found = read_lhco_file(SAMPLE["features_file"], names)[:300, 1:-1]
    for values, row in zip(found, table.to_dict("records"), strict=True):
        light, heavy = sorted("12", key=lambda jet: row[f"mj{jet}"])
        tau32 = [row[f"tau3j{jet}"] / (1e-5 + row[f"tau2j{jet}"]) for jet in (light, heavy)]
        pt = [np.hypot(row[f"pxj{jet}"], row[f"pyj{jet}"]) / 1000 for jet in (light, heavy)]
        np.testing.assert_allclose(values, [*tau32, *pt], rtol=1e-5)


@pytest.mark.parametrize("name", SETS)
def test_every_set_begins_with_the_baseline_and_names_its_columns(name, tmp_path, run):
    run("run_data_preparation_LHCORD", **SAMPLE, S_over_B=0.02, features=name, outdir=tmp_path, seed=1)
    events, columns = np.load(tmp_path / "innerdata_train.npy"), json.loads((tmp_path / "columns.json").read_text())
    assert tuple(column["name"] for column in columns["features"]) == SETS[name]
    assert SETS[name][:4] == SETS["baseline"]
    assert events.shape[1] == 2 + len(SETS[name])
    assert name in next(f.metadata["help"] for f in fields(Options) if f.name == "features")


def test_features_are_in_the_order_that_is_typed(tmp_path, run):
    run(
        "run_data_preparation_LHCORD", "--add_deltaR", **SAMPLE, S_over_B=0.02, features="tau21_J2, m_J1", outdir=tmp_path, seed=1
    )
    assert Columns.read(tmp_path, 3).names == ["tau21_J2", "m_J1", "deltaR_JJ"]
    events = np.load(tmp_path / "innerdata_train.npy")
    assert 0.3 < np.median(events[:, 1]) < 1
    assert np.median(events[:, 2]) < 0.2


@pytest.mark.parametrize(
    ("features", "message"), [("m_J1,mass", "'mass' is neither"), ("m_J1,m_J1", "listed twice"), ("", "'' is neither")]
)
def test_unknown_features_are_refused(features, message, tmp_path, run, capsys):
    with pytest.raises(SystemExit) as ending:
        run("run_data_preparation_LHCORD", **SAMPLE, features=features, outdir=tmp_path / "out", seed=1)
    assert ending.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_only_columns_that_are_needed_must_be_there(tmp_path):
    table = frame(40, np.random.default_rng(0)).drop(columns=["tau3j1", "tau3j2"], errors="ignore")
    table.to_hdf(tmp_path / "events.h5", key="df")
    assert read_lhco_file(tmp_path / "events.h5").shape == (40, 6)
    with pytest.raises(InputError, match="no column 'tau3j1'"):
        read_lhco_file(tmp_path / "events.h5", SETS["tau32"])


def test_noise_is_appended_and_changes_nothing_else(tmp_path, run):
    for name, n in (("plain", 0), ("noisy", 2), ("again", 2)):
        run("run_data_preparation_LHCORD", **SAMPLE, S_over_B=0.02, noise_features=n, outdir=tmp_path / name, seed=1)
    for file in ("outerdata_train", "innerdata_train", "innerdata_test"):
        plain, noisy, again = (np.load(tmp_path / name / f"{file}.npy") for name in ("plain", "noisy", "again"))
        np.testing.assert_array_equal(plain, np.delete(noisy, [5, 6], axis=1))
        np.testing.assert_array_equal(noisy, again)
        noise, label = noisy[:, 5:7], noisy[:, -1]
        assert abs(noise.mean()) < 4 / np.sqrt(noise.size)
        assert noise.std() == pytest.approx(1, abs=0.05)
        assert abs(np.corrcoef(np.column_stack([noise, noisy[:, 0], label]).T)[0, 1:]).max() < 4 / np.sqrt(len(noise))
    assert Columns.read(tmp_path / "noisy", 6).names[-2:] == ["noise_1", "noise_2"]
    assert "noise 2" in columns_of(SETS["baseline"], 2).axes[-1]


def test_features_that_know_the_mass_are_named(tmp_path, run, caplog):
    run("run_data_preparation_LHCORD", **SAMPLE, S_over_B=0.02, features="kinematic", outdir=tmp_path / "kinematic", seed=1)
    (warning,) = (r.getMessage() for r in caplog.records if r.levelname == "WARNING" and "predict m_JJ" in r.getMessage())
    assert all(name in warning for name in ("deltaR_JJ", "pT_J1", "pT_J2"))
    assert "tau21" not in warning
    known = json.loads((tmp_path / "kinematic/STAGE.json").read_text())["separation"]["results"][
        "resonant_variable_from_features"
    ]
    assert known["r2"] > 0.9
    assert known["residual"] < 0.1
    assert known["residual_without"]["deltaR_JJ"] > 0.3
    assert "without deltaR_JJ ±0.3" in warning
    caplog.clear()
    with caplog.at_level("INFO"):
        run("run_data_preparation_LHCORD", **SAMPLE, S_over_B=0.02, features="deltaR", outdir=tmp_path / "deltaR", seed=1)
    assert not [r for r in caplog.records if r.levelname == "WARNING" and "predict m_JJ" in r.getMessage()]
    assert "mostly from deltaR_JJ" in caplog.text
    assert "LaCATHODE keeps the mass spectrum smoother" in caplog.text


def test_what_stage_1_warned_of_is_said_once_more_at_the_end_of_a_run(small_configs, tmp_path, run, caplog):
    run("run_data_preparation_LHCORD", **SAMPLE, S_over_B=0.02, features="kinematic", outdir=tmp_path / "data", seed=1)
    caplog.clear()
    run("run_all", *small_configs, data_dir=tmp_path / "data", save_dir=tmp_path / "out", mode="CWoLa", seed=1)
    assert "once more, from separation: the features predict m_JJ" in caplog.text


def test_a_narrow_sideband_is_not_taken_for_knowledge(caplog):
    """Masses that hardly vary are not known by features that say nothing about them."""
    rng = np.random.default_rng(0)
    X, m = rng.normal(size=(4000, 2)), rng.uniform(3.4, 3.6, 4000)
    known = warn_of_known_mass(X, m, ["a", "b"], Window(3.3, 3.7), rng)
    assert known.r2 < 0.1
    assert known.from_features == ()
    assert "WARNING" not in caplog.text


def test_knowledge_is_measured_with_events_that_were_not_learned_from():
    """Trees that remember their events would explain noise."""
    rng = np.random.default_rng(0)
    assert mass_knowledge(rng.normal(size=(300, 20)), rng.normal(size=300), [f"x{i}" for i in range(20)], rng).r2 < 0


def test_the_shift_goes_by_name():
    rng = np.random.default_rng(0)
    events = rng.uniform(1, 2, (50, 5))
    columns = columns_of(("tau21_J1", "delta_m_J", "m_J1"))
    shifted = FeatureShift(0.1).apply(events, events[:, 0], rng, columns)
    np.testing.assert_array_equal(shifted[:, [0, 1, 4]], events[:, [0, 1, 4]])
    np.testing.assert_allclose((shifted - events)[:, [2, 3]], 0.1 * events[:, [0, 0]])
    with pytest.raises(InputError, match="no delta_m_J"):
        FeatureShift(0.1).apply(events[:, :4], events[:, 0], rng, columns_of(("m_J1", "tau21_J1")))


def test_features_that_say_the_same_are_named(caplog):
    """Any one of them can be spared, so that none is important by itself."""
    rng = np.random.default_rng(0)
    m = rng.uniform(3, 4, 4000)
    X = np.column_stack([m[:, None] + 0.03 * rng.normal(size=(4000, 8)), rng.normal(size=4000)])
    known = warn_of_known_mass(X, m, [*(f"copy_{i}" for i in range(8)), "noise"], Window(3.3, 3.7), rng)
    assert known.is_within(0.4)
    assert known.from_features
    assert "noise" not in known.from_features
    assert f"Leave out some of {known.from_features[0]}" in caplog.text


@pytest.mark.parametrize("n", [1, 3, 50])
def test_a_handful_of_events_says_nothing(n, caplog):
    rng = np.random.default_rng(0)
    with caplog.at_level("INFO"):
        assert warn_of_known_mass(rng.normal(size=(n, 2)), rng.uniform(3, 4, n), ["a", "b"], Window(3.3, 3.7), rng) is None
    assert "too few" in caplog.text
