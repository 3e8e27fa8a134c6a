"""run_data_preparation.py: tables of any make become the files of stage 1; what cannot be used is one line and leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import uproot
from processes import contents
from toys import ROOT

from common.errors import InputError
from events import hdf5, tables
from events.columns import Column
from events.options import EventOptions
from events.separation import SEPARATED_FILES
from events.window import Window, stored_window
from workflow.records import fingerprint

SCRIPT = "run_data_preparation"
FLAGS = {"resonant": "m", "features": "x,k", "SR_min": 3300, "SR_max": 3700}
ARRAYS = {"outerdata_train", "outerdata_test", "innerdata_train", "innerdata_val", "innerdata_test", "innerdata_extrabkg_test",
          "innerdata_extrasig_train", "innerdata_extrasig_val", "innerdata_extrabkg_train", "innerdata_extrabkg_val"}  # fmt: skip


def frame(n: int = 600, seed: int = 0) -> pd.DataFrame:
    """Masses in GeV, a third of them in the signal region, two features, of which one is discrete, weights and labels."""
    rng = np.random.default_rng(seed)
    columns = {"m": rng.uniform(2900, 4100, n), "x": rng.normal(size=n), "k": rng.integers(5, size=n), "w": rng.random(n)}
    return pd.DataFrame({name: values.astype(np.float32) for name, values in columns.items()}).assign(
        truth=rng.integers(2, size=n)
    )


def write_root(path: Path, table: pd.DataFrame, *trees: str) -> None:
    with uproot.recreate(path) as file:
        for tree in trees or ("events",):
            file.mktree(tree, {name: table[name].dtype for name in table})
            file[tree].extend({name: table[name].to_numpy() for name in table})


def write_h5(path: Path, table: pd.DataFrame) -> None:
    with h5py.File(path, "w") as file:
        for name in table:
            file[name] = table[name].to_numpy()


WRITERS = {
    "a.csv": lambda path, table: table.to_csv(path, index=False),
    "a.parquet": lambda path, table: table.to_parquet(path),
    "a.root": write_root,
    "a.h5": write_h5,
    "a.npy": lambda path, table: np.save(path, table.to_numpy(dtype=np.float32)),
}


def written(path: Path, table: pd.DataFrame) -> Path:
    """The table as a file, whose kind is that of its ending."""
    WRITERS[f"a{path.suffix}"](path, table)
    return path


def arrays(folder: Path) -> dict[str, bytes | dict]:
    """Every file of a folder with its bytes, but for the record, which also says what was read."""
    return {name: content for name, content in contents(folder).items() if name != "STAGE.json"}


def record(folder: Path) -> dict:
    return json.loads((folder / "STAGE.json").read_text())["separation"]


@pytest.fixture
def prepare(run, tmp_path) -> Callable[..., Path]:
    """Run the script on files with the usual flags; returns the folder it wrote into."""

    def prepare_one(*argv: object, folder: str = "out", **flags: object) -> Path:
        run(SCRIPT, "--input", *argv, **FLAGS | flags, outdir=tmp_path / folder)
        return tmp_path / folder

    return prepare_one


@pytest.fixture
def refuses(fails, tmp_path) -> Callable[..., str]:
    """Run the script, which must fail; returns its one line. There must be no output."""

    def refuse(*argv: object, **flags: object) -> str:
        line, out = fails(SCRIPT, "--input", *argv, **FLAGS | flags, outdir=tmp_path / "out"), tmp_path / "out"
        assert not out.exists() or not list(out.iterdir())
        assert len(line) < 1000
        return line

    return refuse


@pytest.fixture
def table(tmp_path) -> Path:
    return written(tmp_path / "a.csv", frame())


def test_the_same_events_of_every_kind_give_the_same_bytes(prepare, tmp_path, monkeypatch):
    """Also in other chunks, and with all that is random: which weighted events are kept, what is smeared, the split."""
    flags = {"selection": "x > -1.5 and m < 4000", "unweight": "w", "label": "truth", "dequantize": "k"}
    found = {}
    for name, writer in WRITERS.items():
        monkeypatch.setattr(tables, "CHUNK", 2**16 if name == "a.csv" else 100)
        monkeypatch.setattr(hdf5, "CHUNK", 70)
        writer(tmp_path / name, frame())
        columns = {"columns": "m,x,k,w,truth"} if name == "a.npy" else {}
        found[name] = arrays(prepare(tmp_path / name, folder=f"of_{name}", **flags, **columns))
    first = found.pop("a.csv")
    assert {"data.npy", "data_row.npy", "columns.json", "outerdata_train.npy"} <= first.keys()
    for other in found.values():
        assert other == first


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(prepare, table):
    flags = {"unweight": "w", "dequantize": "k"}
    first, again = (contents(prepare(table, folder=name, **flags)) for name in "ab")
    assert again == first
    other = arrays(prepare(table, folder="c", **flags, seed=2))
    for name in ("data.npy", "data_row.npy", "outerdata_train.npy", "innerdata_train.npy"):
        assert other[name] != first[name]


def test_the_files_are_those_of_stage_1(prepare, table):
    out = prepare(table)
    names = {path.name for path in out.iterdir()}
    assert names == {f"{name}.npy" for name in ARRAYS} | {
        "data.npy",
        "data_row.npy",
        "columns.json",
        "mjj_spectrum.png",
        "STAGE.json",
    }
    for file in SEPARATED_FILES:
        assert set(file.name.split(", ")) <= names
    for name in {*ARRAYS, "data"}:
        events = np.load(out / f"{name}.npy")
        assert events.dtype == np.float32
        assert events.shape[1] == 4
        assert (events[:, -1] == -1).all()
    assert np.load(out / "data_row.npy").dtype == np.int64


def test_columns_have_the_names_and_units_of_the_flags(prepare, table):
    out = prepare(table, "--unit", "m=GeV", "x=GeV/c", dequantize="k")
    columns = json.loads((out / "columns.json").read_text())
    assert columns["signal_region"] == [3300, 3700]
    (m, *features), names = (columns["resonant"], *columns["features"]), ("m", "x", "k")
    assert tuple(column["name"] for column in (m, *features)) == names
    assert [column["unit"] for column in (m, *features)] == ["GeV", "GeV/c", ""]
    assert "smeared" in features[1]["formula"]
    assert "smeared" not in features[0]["formula"]


def test_the_record_says_what_was_read_and_what_the_columns_are_like(prepare, tmp_path):
    files = [written(tmp_path / "a.csv", frame(400)), written(tmp_path / "b.parquet", frame(200, seed=1))]
    found = record(out := prepare(*files, "--unit", "m=GeV", selection="x > 0"))
    every = pd.concat([frame(400), frame(200, seed=1)])
    assert found["inputs"] == {path.name: fingerprint(path) for path in files}
    assert found["options"]["selection"] == "x > 0"
    assert found["options"]["seed"] == 1
    assert found["outputs"] == {path.name: fingerprint(path) for path in sorted(out.iterdir()) if path.name != "STAGE.json"}
    results = found["results"]
    assert results["rows_of_files"] == [{"file": files[0].name, "rows": 400}, {"file": files[1].name, "rows": 200}]
    assert results["rows_selected"] == (every.x > 0).sum() == len(np.load(out / "data.npy"))
    assert results["signal_to_background"] is None
    assert [(column["name"], column["unit"]) for column in results["columns"]] == [("m", "GeV"), ("x", ""), ("k", "")]
    k = every.k[every.x > 0]
    assert results["columns"][2]["commonest_share"] == pytest.approx(k.value_counts().max() / len(k))
    assert "only 5 different values" in results["columns"][2]["remark"]


def test_every_event_is_in_data_and_in_one_file_and_knows_its_row(prepare, tmp_path):
    """Two files of a pattern, a selection, a label; the rows are those of both files one after the other."""
    for number in (1, 2):
        written(tmp_path / f"run{number}.root", frame(300, seed=number))
    out = prepare(tmp_path / "run*.root", selection="x > -1", label="truth", SR_test_fraction=0.3)
    every = pd.concat([frame(300, seed=1), frame(300, seed=2)], ignore_index=True)
    expected = every[every.x > -1]
    data, row = np.load(out / "data.npy"), np.load(out / "data_row.npy")
    np.testing.assert_array_equal(row, expected.index)
    np.testing.assert_array_equal(data, expected[["m", "x", "k", "truth"]].to_numpy(dtype=np.float32))
    parts = {name: np.load(out / f"{name}.npy") for name in ARRAYS}
    together = np.concatenate(list(parts.values()))
    np.testing.assert_array_equal(together[np.lexsort(together.T)], data[np.lexsort(data.T)])
    inside = (expected.m > 3300) & (expected.m < 3700)
    assert len(parts["innerdata_test"]) == round(0.3 * inside.sum())
    assert len(parts["outerdata_train"]) == round(0.8 * (~inside).sum())
    n_signal, n_background = (np.sum(inside & (expected.truth == value)) for value in (1, 0))
    assert record(out)["results"]["signal_to_background"] == n_signal / n_background


@pytest.mark.parametrize(("flags", "share"), [({}, 0), ({"label": "truth"}, 0.2), ({"label": "truth", "SR_test_fraction": 0}, 0)])
def test_a_test_set_is_set_aside_where_labels_are_known(flags, share, prepare, table):
    out, m = prepare(table, **flags), frame().m
    assert len(np.load(out / "innerdata_test.npy")) == round(share * ((m > 3300) & (m < 3700)).sum())


def test_dropped_rows_are_not_in_data_and_are_counted_in_the_record(prepare, tmp_path):
    events = frame()
    events.loc[[3, 77], ["x", "k"]] = np.nan
    out = prepare(written(tmp_path / "a.parquet", events))
    row = np.load(out / "data_row.npy")
    assert row.tolist() == [i for i in range(600) if i not in (3, 77)]
    np.testing.assert_array_equal(np.load(out / "data.npy")[:, 0], events.m[row])
    assert any("dropped 2 of 600 rows" in text for text in record(out)["warnings"])
    assert record(out)["results"]["columns"][1]["nan_share"] == pytest.approx(2 / 600)


def test_later_stages_take_the_edges_and_refuse_others(prepare, table, fails, run, tmp_path):
    out = prepare(table, "--unit", "m=GeV", label="truth")
    window = EventOptions(data_dir=out).window
    assert window == Window(3300, 3700, Column("m", "m", "GeV", "column m of the input"))
    assert EventOptions(data_dir=out, SR_min=3300.0, SR_max=3700.0).window == window
    for edge in ({"SR_min": 3200.0}, {"SR_max": 3.7}):
        with pytest.raises(InputError, match="were separated at 3"):
            _ = EventOptions(data_dir=out, **edge).window
    line = fails("run_classifier_data_creation", "--CWoLa", data_dir=out, savedir=tmp_path / "arrays", SR_min=3310)
    assert f"--SR_min 3310: the events in {out} were separated at 3300" in line
    run("run_classifier_data_creation", "--CWoLa", data_dir=out, savedir=tmp_path / "arrays")
    assert stored_window(tmp_path / "arrays") == window


def test_one_of_several_trees_is_read_if_it_is_named(prepare, refuses, tmp_path):
    path = tmp_path / "two.root"
    write_root(path, frame(), "nominal", "shifted")
    assert "holds 2 tables (nominal, shifted): --tree must name one" in refuses(path)
    assert "has no table 'none'; there are nominal, shifted" in refuses(path, tree="none")
    assert len(np.load(prepare(path, tree="shifted") / "data.npy")) == 600


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        ({"features": "x,nope"}, "a.csv: has no column 'nope'; its columns are m, x, k"),
        ({"resonant": "nope"}, "has no column 'nope'"),
        ({"label": "nope"}, "has no column 'nope'"),
        ({"unweight": "nope"}, "has no column 'nope'"),
        ({"selection": "nope > 1"}, "has no column 'nope'"),
        ({"selection": "m > 1e6"}, "none of the 600 events is left"),
        ({"selection": "m > 1e6", "unweight": "w"}, "or no event is selected"),
        ({"features": "x,nothing"}, "the column 'nothing' holds no number at all"),
        ({"resonant": "nothing"}, "the column 'nothing' holds no number at all"),
        ({"label": "nothing"}, "'nothing'"),
        ({"label": "k"}, "'k' can be only one of"),
        ({"label": "w"}, "the label must be 1 (signal) or 0 (background)"),
        ({"unweight": "x", "features": "k"}, "some weights in the column 'x' are negative"),
        ({"features": "x,text"}, "a.csv: the column 'text' holds text"),
        ({"selection": "text > 1"}, "a.csv: the column 'text' holds text"),
        ({"features": "x,m"}, "the column 'm' can be only one of"),
        ({"features": "x,x"}, "the column 'x' can be only one of"),
        ({"features": " , "}, "--features: names no column"),
        ({"features": "x" * 300}, "must be short text of one line"),
        ({"unit": "nope=GeV"}, "--unit nope: is none of m, x, k"),
        ({"unit": "m"}, "must be COLUMN=UNIT"),
        ({"dequantize": "m"}, "--dequantize m: is none of x, k"),
        ({"dequantize": "same", "features": "x,same"}, "same"),
        (
            {"SR_min": 3.3e6, "SR_max": 3.7e6, "unit": "m=MeV"},
            "about a thousandth of the window, 3.3e+06 to 3.7e+06 MeV: is one in another unit?",
        ),
        ({"SR_min": 3700, "SR_max": 3300}, "--SR_min 3700 must be below --SR_max 3300"),
        ({"SR_min": "nan"}, "--SR_min nan: must be a finite number"),
        ({"SB_train_fraction": 1}, "--SB_train_fraction 1.0: must lie between 0 and 1"),
        ({"SR_test_fraction": 1}, "--SR_test_fraction 1.0: must be 0 or above, and below 1"),
    ],
    ids=lambda value: (
        " ".join(f"{name} {text:.20}" for name, text in value.items() if isinstance(text, str)) if isinstance(value, dict) else ""
    ),
)
def test_flags_that_do_not_fit_the_table(flags, fault, refuses, tmp_path):
    events = frame().assign(nothing=np.nan, text="a", same=1.0)
    assert fault in refuses(written(tmp_path / "a.csv", events), **flags)


@pytest.mark.parametrize(
    "text",
    ["m.__class__ > 1", "open('x') > m", "__import__('os').system('true') > m", "@x > 1", "m > 1" + " and m > 1" * 100,
     "m" * 5000 + " > 1", "-" * 60 + "m > 1", "(" * 900 + "m" + ")" * 900 + " > 1", "m > 1\nimport os", "m", ""],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_hostile_selections_are_refused_before_anything_is_read(text, refuses, tmp_path):
    """There is no such file, and it is not missed."""
    line = refuses(tmp_path / "none.csv", f"--selection={text}")
    assert "error: selection " in line
    assert "it may hold comparisons" in line


def test_a_condition_on_numbers_alone_is_no_crash(refuses, table):
    assert "selection" in refuses(table, selection="m > 1 / 0")


@pytest.mark.parametrize(
    ("content", "fault"),
    [(b"", "not a readable csv file"), (b"m,x,k\n", "no event in it"), (b"m;x;k\n1;2;3\n", "has no column 'm'"),
     (b"\x93NUMPY\x01\x00\xff", "not a readable csv file")],
)  # fmt: skip
def test_files_that_hold_no_table(content, fault, refuses, tmp_path):
    (tmp_path / "bad.csv").write_bytes(content)
    line = refuses(tmp_path / "bad.csv")
    assert "bad.csv: " in line
    assert fault in line


@pytest.mark.parametrize("name", ["a.root", "a.parquet", "a.h5", "a.npy"])
def test_files_of_0_bytes(name, refuses, tmp_path):
    (tmp_path / name).touch()
    assert f"{name}: not a " in refuses(tmp_path / name, columns="m,x,k")


def test_a_file_that_is_not_there_or_of_no_known_kind(refuses, tmp_path):
    assert "none.csv: no such file" in refuses(tmp_path / "none.csv")
    assert "*.parquet: no such file" in refuses(tmp_path / "*.parquet")
    (tmp_path / "a.xlsx").touch()
    assert "known endings are root, parquet" in refuses(tmp_path / "a.xlsx")


def test_every_file_must_have_all_columns_which_is_known_before_any_is_read(refuses, tmp_path):
    """The fault of the first file would only be found by reading it."""
    first = written(tmp_path / "a.csv", frame().assign(k="text"))
    second = written(tmp_path / "b.parquet", frame().drop(columns="k"))
    assert "b.parquet: has no column 'k'; its columns are m, x, w, truth" in refuses(first, second)


def test_columns_of_an_array_must_be_named_once(refuses, tmp_path):
    path = written(tmp_path / "a.npy", frame()[["m", "x", "k"]])
    assert "--columns must say what its columns are" in refuses(path)
    assert "--columns names 2 columns" in refuses(path, columns="m,x")
    assert "--columns" in refuses(path, columns="m,x,x", features="x")


def test_a_file_that_is_named_in_two_ways_is_read_once(prepare, table):
    """Its events would be in training and in test, otherwise."""
    (table.parent / "below").mkdir()
    out = prepare(table, table.parent / "below" / ".." / table.name)
    assert len(np.load(out / "data.npy")) == 600


def test_the_input_is_never_replaced_by_the_output(fails, tmp_path):
    """Both may be called data.npy."""
    path = written(tmp_path / "data.npy", frame()[["m", "x", "k"]])
    before = path.read_bytes()
    try:
        line = fails(SCRIPT, input=path, columns="m,x,k", outdir=tmp_path, **FLAGS)
    finally:
        assert path.read_bytes() == before
    assert "data.npy" in line


def test_what_was_there_before_stays_where_the_script_fails(prepare, fails, table):
    out = prepare(table)
    before = contents(out)
    fails(SCRIPT, input=table, **FLAGS | {"features": "x,nope"}, outdir=out)
    fails(SCRIPT, input=table, **FLAGS | {"selection": "m > 1e6"}, outdir=out)
    assert contents(out) == before


def test_from_the_shell(table, tmp_path):
    """In a process of its own: exit code, one line after the log, no traceback, and nothing of the selection is run."""
    code = f"__import__('pathlib').Path({str(tmp_path / 'touched')!r}).touch() or m > 1"
    flags = [str(text) for name, value in FLAGS.items() for text in (f"--{name}", value)]
    command = [
        sys.executable,
        f"{SCRIPT}.py",
        "--input",
        str(table),
        *flags,
        "--selection",
        code,
        "--outdir",
        str(tmp_path / "out"),
    ]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2
    errors = [line for line in result.stderr.splitlines() if " INFO " not in line]
    assert len(errors) == 1
    assert errors[0].startswith(f"{SCRIPT}.py: error: selection ")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "touched").exists()
