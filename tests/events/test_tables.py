"""Tables of every kind give the same columns, in chunks and in order; what is no table is one line."""

from __future__ import annotations

import gzip
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import uproot

from common.errors import InputError
from events import hdf5, tables
from events.tables import found_files, open_table

N = 250


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(tables, "CHUNK", 100)
    monkeypatch.setattr(hdf5, "CHUNK", 100)


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {"m": rng.uniform(2000, 9000, N), "x": rng.normal(size=N).astype(np.float32), "n": rng.integers(9, size=N)}
    )


def write_flat(path: Path, table: pd.DataFrame, group: str = "/") -> None:
    with h5py.File(path, "w") as file:
        for name in table:
            file[f"{group}/{name}"] = table[name].to_numpy()


def write_fields(path: Path, table: pd.DataFrame) -> None:
    with h5py.File(path, "w") as file:
        file["events"] = table.to_records(index=False)


def write_root(path: Path, table: pd.DataFrame, *names: str) -> None:
    with uproot.recreate(path) as file:
        for name in names or ("events",):
            file.mktree(name, {column: table[column].dtype for column in table})
            file[name].extend({column: table[column].to_numpy() for column in table})


WRITERS = {
    "a.root": write_root,
    "a.parquet": lambda path, table: table.to_parquet(path),
    "a.csv": lambda path, table: table.to_csv(path, index=False),
    "a.csv.gz": lambda path, table: path.write_bytes(gzip.compress(table.to_csv(index=False).encode())),
    "fixed.h5": lambda path, table: table.to_hdf(path, key="df"),
    "table.h5": lambda path, table: table.to_hdf(path, key="df", format="table", data_columns=True),
    "flat.h5": write_flat,
    "group.h5": lambda path, table: write_flat(path, table, "/some/where"),
    "fields.hdf5": write_fields,
    "a.npy": lambda path, table: np.save(path, table.to_numpy()),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_gives_the_same_numbers_in_chunks(name, tmp_path):
    table = frame()
    WRITERS[name](tmp_path / name, table)
    opened = open_table(tmp_path / name, columns=tuple(table) if name.endswith(".npy") else ())
    assert {"m", "x", "n"} <= set(opened.names)
    chunks = list(opened.chunks(["n", "m"]))
    assert len(chunks) == 3
    assert [list(chunk) for chunk in chunks] == [["n", "m"]] * 3
    for column in ("n", "m"):
        values = np.concatenate([chunk[column] for chunk in chunks])
        assert values.dtype == np.float64
        np.testing.assert_allclose(values, table[column], rtol=1e-12)
    with pytest.raises(InputError, match="has no column 'y'; its columns are"):
        next(opened.chunks(["m", "y"]))


def test_one_of_several_trees_must_be_named(tmp_path):
    write_root(tmp_path / "a.root", frame(), "first", "second")
    with pytest.raises(InputError, match=r"holds 2 tables \(first, second\): --tree must name one"):
        open_table(tmp_path / "a.root")
    with pytest.raises(InputError, match="has no table 'third'"):
        open_table(tmp_path / "a.root", "third")
    assert open_table(tmp_path / "a.root", "second").names == ["m", "x", "n"]
    for key in ("one", "two"):
        frame().to_hdf(tmp_path / "a.h5", key=key)
    assert open_table(tmp_path / "a.h5", "two").n_rows == N


@pytest.mark.parametrize("name", WRITERS)
def test_damaged_files_are_one_line(name, tmp_path):
    WRITERS[name](tmp_path / name, frame())
    content = (tmp_path / name).read_bytes()
    for damaged in (b"", b"no table at all\x00\xff", content[: len(content) // 2], content[:-7]):
        (tmp_path / name).write_bytes(damaged)
        fault = ""
        try:
            for _ in open_table(tmp_path / name, columns=("m", "x", "n")).chunks(["m"]):
                pass
        except InputError as error:
            fault = str(error)
        assert fault or name == "a.csv" or damaged == content[:-7], "what is left may be whole rows"
        assert not fault or (str(tmp_path / name) in fault and "\n" not in fault)


@pytest.mark.parametrize(
    ("column", "message"),
    [(["a"] * N, "holds text or several values"), ([None] * N, "text or several values"), ([[1, 2]] * N, "several values")],
)
def test_columns_that_are_no_numbers_are_refused(column, message, tmp_path):
    pd.DataFrame({"m": np.ones(N), "odd": column}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InputError, match=message):
        next(open_table(tmp_path / "a.parquet").chunks(["odd"]))


def test_lists_in_a_tree_are_refused(tmp_path):
    import awkward

    with uproot.recreate(tmp_path / "a.root") as file:
        file["events"] = {"jets": awkward.Array([[1.0, 2.0], [3.0]]), "m": np.array([1.0, 2.0])}
    assert next(open_table(tmp_path / "a.root").chunks(["m"]))["m"].tolist() == [1, 2]
    with pytest.raises(InputError, match="'jets' holds text or several values"):
        next(open_table(tmp_path / "a.root").chunks(["jets"]))


def test_unknown_endings_and_shapes_are_refused(tmp_path):
    (tmp_path / "a.xlsx").touch()
    with pytest.raises(InputError, match=r"known endings are root, parquet, h5"):
        open_table(tmp_path / "a.xlsx")
    np.save(tmp_path / "a.npy", np.ones((4, 3)))
    with pytest.raises(InputError, match="--columns must say"):
        open_table(tmp_path / "a.npy")
    with pytest.raises(InputError, match="--columns names 2 columns"):
        open_table(tmp_path / "a.npy", columns=("a", "b"))
    with pytest.raises(InputError, match="no such file"):
        open_table(tmp_path / "b.csv")
    with h5py.File(tmp_path / "uneven.h5", "w") as file:
        file["a"], file["b"] = np.ones(3), np.ones(4)
    with pytest.raises(InputError, match="differ in length"):
        open_table(tmp_path / "uneven.h5")


def test_patterns_name_files_once_and_in_order(tmp_path):
    for name in ("b.csv", "a.csv", "c.root", "odd[1].csv"):
        (tmp_path / name).touch()
    found = found_files(
        [str(tmp_path / "c.root"), str(tmp_path / "[ab].csv"), str(tmp_path / "a.csv"), str(tmp_path / "odd[1].csv")]
    )
    assert [path.name for path in found] == ["c.root", "a.csv", "b.csv", "odd[1].csv"]
    with pytest.raises(InputError, match="no such file"):
        found_files([str(tmp_path / "*.parquet")])
