"""Tables of any make, read in chunks of named columns: ROOT trees, parquet, HDF5, csv, .npy."""

from __future__ import annotations

import glob
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np

from common.errors import InputError
from common.files import array_shape, first_line, load_array
from common.registry import Registry

CHUNK = 2**16  # rows
MOST_NAMED = 50  # columns in a message
Chunk = dict[str, np.ndarray]


def found_files(patterns: Sequence[str]) -> list[Path]:
    """The files that names and patterns (*, ?, [...]) stand for, every one once, those of a pattern by their names.

    Raises
    ------
    InputError
        If a name or pattern fits no file.
    """
    files: dict[Path, Path] = {}
    for pattern in patterns:
        found = sorted(path for path in map(Path, glob.glob(str(pattern))) if path.is_file())
        if not found and Path(pattern).is_file():  # its name may look like a pattern
            found = [Path(pattern)]
        if not found:
            fault = "is a folder: name its files, in quotes if by a pattern" if Path(pattern).is_dir() else "no such file"
            raise InputError(f"{pattern}: {fault}")
        for path in found:
            files.setdefault(path.resolve(), path)  # two names of one file
    return list(files.values())


def open_table(path: Path, tree: str | None = None, columns: Sequence[str] = ()) -> Table:
    """The table in a file, whose kind the ending of its name tells.

    Parameters
    ----------
    tree : str, optional
        Which of several tables in a ROOT or HDF5 file.
    columns : sequence of str
        What the columns of a .npy file are.

    Raises
    ------
    InputError
        If the file cannot be read, or holds no table.
    """
    ending = Path(path).name.lower().removesuffix(".gz").rpartition(".")[2]
    if ending not in FORMATS.names:
        raise InputError(
            f"{path}: its name does not tell what kind of table it is; known endings are {', '.join(FORMATS.names)}, csv.gz"
        )
    return FORMATS.get(ending)(path, tree, columns)


class Table(ABC):
    """A table in a file.

    Parameters
    ----------
    path, tree, columns
        See `open_table`.

    Attributes
    ----------
    names : list of str
        Of its columns.

    Raises
    ------
    InputError
        If the file is absent or damaged, or holds no table, or several and none is named.
    """

    kind: ClassVar[str]
    names: list[str]

    def __init__(self, path: Path, tree: str | None = None, columns: Sequence[str] = ()) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"{path}: no such file")
        with self._reading():
            self._open(tree, columns)

    def chunks(self, wanted: Sequence[str]) -> Iterator[Chunk]:
        """Columns [n], float64, of some rows at a time, in the file's order.

        Raises
        ------
        InputError
            If a column is absent or does not hold one number per row, or the file is damaged.
        """
        self.check(wanted)
        with self._reading():
            for values in self._chunks(list(dict.fromkeys(wanted))):
                yield {name: self._numbers(name, column) for name, column in values.items()}

    def check(self, wanted: Sequence[str]) -> None:
        """Refuse a table that lacks a column.

        Raises
        ------
        InputError
        """
        if absent := [name for name in wanted if name not in self.names]:
            shown = ", ".join(self.names[:MOST_NAMED]) + (" ..." if len(self.names) > MOST_NAMED else "")
            raise InputError(f"{self.path}: has no column {absent[0]!r}; its columns are {shown}")

    @abstractmethod
    def _open(self, tree: str | None, columns: Sequence[str]) -> None:
        """Find `names`."""

    @abstractmethod
    def _chunks(self, wanted: list[str]) -> Iterator[Mapping[str, np.ndarray]]:
        """Columns of some rows at a time, of whatever type."""

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Turn whatever a library raises over a damaged file into one line."""
        try:
            yield
        except (InputError, MemoryError):
            raise
        except Exception as error:
            raise InputError(f"{self.path}: not a readable {self.kind} file ({first_line(error)})") from error

    def _numbers(self, name: str, values: np.ndarray) -> np.ndarray:
        values = np.asarray(values)
        if values.ndim != 1 or values.dtype.kind not in "fiub":
            what = "text or several values" if values.dtype.kind in "OSUT" else f"{values.dtype} of shape {values.shape}"
            raise InputError(f"{self.path}: the column {name!r} holds {what}, not one number per row")
        return values.astype(np.float64)


class RootTree(Table):
    """A TTree or RNTuple of a ROOT file."""

    kind = "ROOT"

    def _open(self, tree: str | None, columns: Sequence[str]) -> None:
        import uproot

        file = uproot.open(self.path)
        trees = [
            name for name, kind in file.classnames(recursive=True, cycle=False).items() if kind in ("TTree", "ROOT::RNTuple")
        ]
        self._tree = file[chosen_table(self.path, tree, trees)]
        self.names = self._tree.keys()

    def _chunks(self, wanted: list[str]) -> Iterator[Mapping[str, np.ndarray]]:
        yield from self._tree.iterate(wanted, step_size=CHUNK, library="np")


class Parquet(Table):
    """A parquet file."""

    kind = "parquet"

    def _open(self, tree: str | None, columns: Sequence[str]) -> None:
        import pyarrow.parquet

        self._file = pyarrow.parquet.ParquetFile(self.path)
        self.names = list(self._file.schema_arrow.names)

    def _chunks(self, wanted: list[str]) -> Iterator[Mapping[str, np.ndarray]]:
        for batch in self._file.iter_batches(CHUNK, columns=wanted):
            yield {
                name: column.to_numpy(zero_copy_only=False)
                for name, column in zip(batch.schema.names, batch.columns, strict=True)
            }


class Csv(Table):
    """Numbers with commas between them, and a first line that names the columns."""

    kind = "csv"

    def _open(self, tree: str | None, columns: Sequence[str]) -> None:
        import pandas as pd

        self.names = [str(name) for name in pd.read_csv(self.path, nrows=0, skipinitialspace=True).columns]

    def _chunks(self, wanted: list[str]) -> Iterator[Mapping[str, np.ndarray]]:
        import pandas as pd

        settings = {"skipinitialspace": True, "low_memory": False, "index_col": False}  # a comma at the end makes no index
        with pd.read_csv(self.path, usecols=wanted, chunksize=CHUNK, **settings) as parts:
            for part in parts:
                if len(part):
                    yield {name: part[name].to_numpy() for name in wanted}


class Numpy(Table):
    """A two-dimensional array; its columns are named from outside."""

    kind = ".npy"

    def _open(self, tree: str | None, columns: Sequence[str]) -> None:
        shape = array_shape(self.path)
        if not columns:
            raise InputError(f"{self.path}: --columns must say what its columns are")
        if len(set(columns)) < len(columns):
            raise InputError(f"{self.path}: --columns must give every column a name of its own")
        if len(shape) != 2 or shape[1] != len(columns):
            raise InputError(f"{self.path}: an array of shape {shape}, but --columns names {len(columns)} columns")
        self.names = list(columns)

    def _chunks(self, wanted: list[str]) -> Iterator[Mapping[str, np.ndarray]]:
        array = load_array(self.path, mapped=True)
        for start in range(0, len(array), CHUNK):
            rows = np.asarray(array[start : start + CHUNK])
            yield {name: rows[:, self.names.index(name)] for name in wanted}


def chosen_table(path: Path, wanted: str | None, found: list[str]) -> str:
    """Which of the tables in a file is meant.

    Raises
    ------
    InputError
        If it is not there, or if there are several and none is named.
    """
    if wanted is not None:
        if wanted not in found:
            raise InputError(f"{path}: has no table {wanted!r}; there are {', '.join(found) or 'none'}")
        return wanted
    if not found:
        raise InputError(f"{path}: holds no table")
    if len(found) > 1:
        raise InputError(f"{path}: holds {len(found)} tables ({', '.join(found)}): --tree must name one")
    return found[0]


FORMATS: Registry[type[Table]] = Registry(
    "table",
    {
        "root": "events.tables:RootTree",
        "parquet": "events.tables:Parquet",
        "h5": "events.hdf5:Hdf5",
        "hdf5": "events.hdf5:Hdf5",
        "csv": "events.tables:Csv",
        "npy": "events.tables:Numpy",
    },
)
