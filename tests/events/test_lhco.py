"""Stage 1: both formats of pandas, the features, the paper's split."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from toys import ROOT, frame

import run_data_preparation_LHCORD
from common.errors import InputError
from common.files import save_array
from common.seeds import make_rng
from events import hdf5
from events.features import BASELINE, features_from_jets, jet_columns
from events.lhco import read_lhco_file
from events.separation import Separation, separate, separate_lhco
from events.window import Window

SAMPLE = ROOT / "sample_data" / "events.features.h5"


def expected_features(table: pd.DataFrame) -> np.ndarray:
    """The features written out event by event, from four-vectors."""
    rows = []
    for row in table.to_dict("records"):
        jets = []
        for jet in "12":
            p = np.array([row[f"p{axis}j{jet}"] for axis in "xyz"])
            jets.append(
                (row[f"mj{jet}"], np.sqrt(p @ p + row[f"mj{jet}"] ** 2), p, row[f"tau2j{jet}"] / (1e-5 + row[f"tau1j{jet}"]))
            )
        m_jj = np.sqrt((jets[0][1] + jets[1][1]) ** 2 - np.sum((jets[0][2] + jets[1][2]) ** 2))
        light, heavy = sorted(jets, key=lambda jet: jet[0])
        rows.append([m_jj / 1000, light[0] / 1000, (heavy[0] - light[0]) / 1000, light[3], heavy[3]])
    return np.array(rows)


@pytest.mark.filterwarnings("ignore::pandas.errors.PerformanceWarning")
@pytest.mark.parametrize("options", [{}, {"format": "table"}, {"format": "table", "data_columns": True}, {"complevel": 9}])
def test_reads_what_pandas_writes(tmp_path, monkeypatch, options):
    monkeypatch.setattr(hdf5, "CHUNK", 7)
    table = frame(40, np.random.default_rng(0))
    table.to_hdf(tmp_path / "events.h5", key="df", **options)
    events = read_lhco_file(tmp_path / "events.h5")
    np.testing.assert_allclose(events[:, :-1], expected_features(table), rtol=1e-6)
    np.testing.assert_array_equal(events[:, -1], table["label"])


def test_a_file_without_labels_gets_the_default(tmp_path):
    frame(10, np.random.default_rng(0), label=False).to_hdf(tmp_path / "extra.h5", key="df")
    assert (read_lhco_file(tmp_path / "extra.h5", default_label=0)[:, -1] == 0).all()
    with pytest.raises(InputError, match="no column 'label'"):
        read_lhco_file(tmp_path / "extra.h5")


def test_sample_is_readable_by_pandas_and_agrees():
    table = pd.read_hdf(SAMPLE, stop=500)
    assert {f"{name}j{jet}" for name in jet_columns() for jet in (1, 2)} < set(table.columns)
    np.testing.assert_allclose(read_lhco_file(SAMPLE)[:500, :-1], expected_features(table), rtol=2e-6)


def test_memory_stays_below_twice_the_output(tmp_path, monkeypatch):
    """Read in chunks of 1024 events, the whole stage needs less than twice what it writes."""
    import tracemalloc

    monkeypatch.setattr(hdf5, "CHUNK", 1024)
    extra = SAMPLE.parent / "extra_inneronly.features.h5"
    tracemalloc.start()
    separated = separate_lhco(SAMPLE, extra, s_over_b=0.01, window=Window(3.3, 3.7), seed=1)
    for name, events in (*separated.files(), *separated.data().items()):
        save_array(tmp_path / f"{name}.npy", events)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * sum(path.stat().st_size for path in tmp_path.glob("*.npy"))


def paper_like(n_sb: int, n_sr: int, n_signal: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    m = np.concatenate([rng.uniform(2, 3.2, n_sb), rng.uniform(3.31, 3.69, n_sr), rng.uniform(3.31, 3.69, n_signal)])
    return m, np.arange(len(m)) >= n_sb + n_sr


def sizes(separation: Separation) -> dict[str, int]:
    names = separation.main.keys() | separation.extra.keys()
    return {name: sum(len(rows[name]) for rows in (separation.main, separation.extra) if name in rows) for name in names}


def test_the_full_file_is_split_as_in_the_paper():
    m, is_signal = paper_like(878_648, 121_352, 76_000, np.random.default_rng(0))
    n = sizes(separate(m, is_signal, 612_858, Window(3.3, 3.7), -1, make_rng(1, "test")))
    assert n["outerdata_train"] == 500_000
    assert n["outerdata_test"] == 378_648
    assert n["innerdata_train"] == n["innerdata_val"] == 60_000
    assert n["innerdata_test"] == 40_000 + 20_000
    assert n["innerdata_extrabkg_test"] == 300_000
    assert n["innerdata_extrabkg_train"] + n["innerdata_extrabkg_val"] == 272_858
    assert n["innerdata_extrasig_train"] == n["innerdata_extrasig_val"] == 27_500


@pytest.mark.parametrize("n_extra", [None, 5000])
@pytest.mark.parametrize("s_over_b", [0, 0.01, 0.03])
def test_no_event_is_used_twice_and_s_over_b_is_met(n_extra, s_over_b):
    m, is_signal = paper_like(20_000, 4_000, 2_000, np.random.default_rng(0))
    separation = separate(m, is_signal, n_extra, Window(3.3, 3.7), s_over_b, make_rng(1, "test"))
    all_rows = np.concatenate([*separation.main.values(), *(separation.extra.values() if n_extra is None else [])])
    assert len(np.unique(all_rows)) == len(all_rows)
    data = np.concatenate([separation.main["innerdata_train"], separation.main["innerdata_val"]])
    assert is_signal[data].sum() / (~is_signal[data]).sum() == pytest.approx(s_over_b, abs=1e-3)
    assert separation.signal_to_background == pytest.approx(s_over_b, abs=1e-3)
    assert not is_signal[separation.main["outerdata_train"]].any()  # all toy signal is in the SR
    assert ((m[data] > 3.3) & (m[data] < 3.7)).all()


@pytest.mark.parametrize("n_extra", [None, 5000])
def test_all_data_have_neither_a_hole_nor_an_order_of_chance(n_extra):
    """150 000 SR events, of which the split takes 120 000, or half as extra background: all are data."""
    m, is_signal = paper_like(900_000, 150_000, 2_000, np.random.default_rng(0))
    separation = separate(m, is_signal, n_extra, Window(3.3, 3.7), 0.001, make_rng(1, "test"))
    assert (np.diff(separation.data) > 0).all()
    assert (~is_signal[separation.data]).sum() == 1_050_000
    used = np.concatenate(
        [separation.main[name] for name in ("innerdata_train", "innerdata_val", "outerdata_train", "outerdata_test")]
    )
    assert np.isin(used, separation.data).all()
    assert is_signal[separation.data].sum() == is_signal[used].sum() + (
        0 if n_extra is None else _unused_signal(separation, is_signal)
    )


def _unused_signal(separation: Separation, is_signal: np.ndarray) -> int:
    """Signal events among the SR data that are too many for the split."""
    split = np.concatenate(list(separation.main.values()))
    return int(is_signal[np.setdiff1d(separation.data, split)].sum())


@pytest.mark.filterwarnings("ignore::pandas.errors.PerformanceWarning")
def test_rows_are_those_of_the_input_file(tmp_path, run):
    """Also behind rows with NaN, which are dropped."""
    table = pd.read_hdf(SAMPLE)
    table.loc[[5, 1000], "mj1"] = np.nan
    table.to_hdf(tmp_path / "events.h5", key="df")
    files = {"features_file": tmp_path / "events.h5", "extra_bkg_file": "none", "outdir": tmp_path / "out"}
    run("run_data_preparation_LHCORD", S_over_B=0.02, seed=1, **files)
    data, row = (np.load(tmp_path / f"out/{name}.npy") for name in ("data", "data_row"))
    assert row.dtype == np.int64
    assert not {5, 1000} & set(row)
    chosen = np.r_[0:200, len(row) - 200 : len(row)]
    np.testing.assert_allclose(data[chosen, :-1], expected_features(table.iloc[row[chosen]]), rtol=1e-5)
    np.testing.assert_array_equal(data[:, -1], table["label"].to_numpy()[row])


def test_the_seed_chooses_the_signal_events():
    m, is_signal = paper_like(2_000, 1_000, 500, np.random.default_rng(0))
    chosen = []
    for seed in (1, 1, 2):
        separation = separate(m, is_signal, 3000, Window(3.3, 3.7), 0.1, make_rng(seed, "test"))
        chosen.append({row for name in ("innerdata_train", "innerdata_val") for row in separation.main[name] if is_signal[row]})
    assert chosen[0] == chosen[1] != chosen[2]


def test_of_two_jets_of_equal_mass_the_harder_one_is_j1():
    """Decided by the order in the file, whose j1 has the larger p_T."""
    jets = np.array([[1300.0, 0, 0, 150, 1.0, 0.25, -1300.0, 0, 0, 150, 1.0, 0.75]])
    assert features_from_jets(jets)[0, 1:] == pytest.approx([0.15, 0, 0.25, 0.75], rel=1e-4)


def test_delta_r():
    """Back to back in azimuth at the same pseudorapidity: π; across the edge of the azimuth: the short way; in η: its difference."""
    angles = [((1.0, 0.0), (1.0, np.pi)), ((0.0, 3.0), (0.0, -3.0)), ((-1.0, 0.5), (1.5, 0.5))]
    jets = [[value for eta, phi in pair for value in (np.cos(phi), np.sin(phi), np.sinh(eta), 0.1, 1.0, 0.5)] for pair in angles]
    features = features_from_jets(1000 * np.array(jets), (*BASELINE, "deltaR_JJ"))
    np.testing.assert_allclose(features[:, -1], [np.pi, 2 * np.pi - 6, 2.5], atol=1e-12)
    np.testing.assert_array_equal(features[:, :-1], features_from_jets(1000 * np.array(jets)))


def test_the_default_extra_background_goes_with_the_default_file_only(tmp_path, run, monkeypatch, caplog):
    """A file of this name that happens to lie in the folder belongs to another simulation."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(SAMPLE.parent / "extra_inneronly.features.h5", run_data_preparation_LHCORD.EXTRA_BKG_FILE)
    run("run_data_preparation_LHCORD", "--features_file", SAMPLE, "--outdir", "without", "--S_over_B", "0.02")
    assert "it belongs to events_anomalydetection_v2.features.h5" in caplog.text
    run(
        "run_data_preparation_LHCORD",
        "--features_file",
        SAMPLE,
        "--extra_bkg_file",
        "none",
        "--outdir",
        "none",
        "--S_over_B",
        "0.02",
    )
    for path in Path("none").glob("*.npy"):
        assert path.read_bytes() == (Path("without") / path.name).read_bytes()
    shutil.copy(SAMPLE, run_data_preparation_LHCORD.FEATURES_FILE)
    run("run_data_preparation_LHCORD", "--outdir", "default", "--S_over_B", "0.02")
    assert len(np.load("default/innerdata_extrabkg_train.npy")) != len(np.load("none/innerdata_extrabkg_train.npy"))


def test_foreign_files_in_the_folder_stay(tmp_path, run):
    """Stage 1 replaces its own outputs, and nothing whose name merely looks like them."""
    (tmp_path / "out").mkdir()
    for name in ("data_of_mine.npy", "database.npy"):
        np.save(tmp_path / "out" / name, np.ones(3))
    run(
        "run_data_preparation_LHCORD", features_file=SAMPLE, extra_bkg_file="none", outdir=tmp_path / "out", S_over_B=0.02, seed=1
    )
    assert {"data.npy", "data_row.npy", "data_of_mine.npy", "database.npy"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }


def test_script_writes_all_files_and_the_spectrum(tmp_path, run):
    run("run_data_preparation_LHCORD", "--features_file", SAMPLE, "--extra_bkg_file", SAMPLE.parent / "extra_inneronly.features.h5",
        "--outdir", tmp_path / "out", "--S_over_B", "0.02", drawn=True)  # fmt: skip
    written = {path.name for path in Path(tmp_path / "out").iterdir()}
    expected = {"outerdata_train", "outerdata_test", "innerdata_train", "innerdata_val", "innerdata_test", "innerdata_extrasig_train",
                "innerdata_extrasig_val", "innerdata_extrabkg_train", "innerdata_extrabkg_val", "innerdata_extrabkg_test", "data",
                "data_row"}  # fmt: skip
    assert written == {f"{name}.npy" for name in expected} | {"mjj_spectrum.png", "columns.json", "STAGE.json"}
    inner = np.load(tmp_path / "out" / "innerdata_train.npy")
    outer = np.load(tmp_path / "out" / "outerdata_train.npy")
    assert inner.shape[1] == outer.shape[1] == 6
    assert ((inner[:, 0] > 3.3) & (inner[:, 0] < 3.7)).all()
    assert ((outer[:, 0] <= 3.3) | (outer[:, 0] >= 3.7)).all()
