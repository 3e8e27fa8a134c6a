"""LHC Olympics events: the HDF5 files that pandas wrote, read in chunks into m_JJ, features, label."""

from __future__ import annotations

import logging
import pickletools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from common.errors import InputError
from common.progress import progress
from events.features import BASELINE, features_from_jets, jet_columns
from events.view import drop_nan_rows

logger = logging.getLogger(__name__)

CHUNK = 16384
MAX_COMPRESSION = 1000


@dataclass(frozen=True)
class _Column:
    dataset: h5py.Dataset
    field: str | None
    index: int | None

    def read(self, rows: slice) -> np.ndarray:
        values = self.dataset[rows] if self.field is None else self.dataset.fields(self.field)[rows]
        return values if self.index is None else values[:, self.index]


def _decoded(names: np.ndarray) -> list[str]:
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _names_in_attribute(attribute: bytes | np.ndarray) -> list[str]:
    """Strings listed in an attribute that PyTables stored as a serialized list; the byte code is read, never run."""
    raw = attribute.tobytes() if isinstance(attribute, np.ndarray) else bytes(attribute)
    return [argument for opcode, argument, _ in pickletools.genops(raw) if "UNICODE" in opcode.name or "STRING" in opcode.name]


def _own(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
    """A member of a group, unless it is a link to another place or file."""
    if name in group and not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is a link")
    return group[name]


def _dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    """A dataset whose values are in this very file, and are about as many as it promises."""
    dataset = _own(group, name)
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
        raise ValueError(f"{name} has its values in another file")
    if dataset.nbytes > MAX_COMPRESSION * dataset.id.get_storage_size() + CHUNK:
        raise ValueError(f"{name} promises {dataset.nbytes} bytes, the file holds {dataset.id.get_storage_size()}")
    return dataset


def _columns(group: h5py.Group) -> dict[str, _Column]:
    """Where every column of a pandas DataFrame is stored, for the "fixed" and the "table" format."""
    found: dict[str, _Column] = {}
    if "table" in group:
        table = _dataset(group, "table")
        for field in table.dtype.names:
            if table.dtype[field].shape:
                names = _names_in_attribute(table.attrs[f"{field}_kind"])
                found.update({name: _Column(table, field, i) for i, name in enumerate(names)})
            else:
                found[field] = _Column(table, field, None)
    else:
        for block in range(int(group.attrs["nblocks"])):
            values = _dataset(group, f"block{block}_values")
            names = _decoded(_dataset(group, f"block{block}_items")[:])
            found.update({name: _Column(values, None, i) for i, name in enumerate(names)})
    return found


def check_exists(path: Path) -> None:
    """Say where the LHC Olympics files are if this one is not there.

    Raises
    ------
    InputError
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; the LHC Olympics files are at Zenodo, records 4536377 and 5759087 (see README)")


def _chunks(path: Path, wanted: tuple[str, ...]) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield (number of events in the file, first row, values [n, len(wanted)] float64); `label` may be absent: NaN."""
    check_exists(path)
    try:
        with h5py.File(path, "r") as file:
            if "df" not in file:
                raise InputError(f"{path}: has no key 'df', expected the LHC Olympics layout written by pandas")
            columns = _columns(_own(file, "df"))
            absent = [name for name in wanted if name not in columns and name != "label"]
            if absent:
                raise InputError(f"{path}: wrong number of columns: {', '.join(absent)} not found")
            n_events = columns[wanted[0]].dataset.shape[0]
            for start in range(0, n_events, CHUNK):
                rows = slice(start, min(start + CHUNK, n_events))
                block: dict[tuple[str, str | None], np.ndarray] = {}
                values = np.full((rows.stop - rows.start, len(wanted)), np.nan)
                for i, name in enumerate(wanted):
                    if name not in columns:
                        continue
                    column = columns[name]
                    key = (column.dataset.name, column.field)
                    if key not in block:
                        block[key] = _Column(column.dataset, column.field, None).read(rows)
                    values[:, i] = block[key] if column.index is None else block[key][:, column.index]
                yield n_events, start, values
    except (InputError, MemoryError):
        raise
    except Exception as error:  # h5py raises whatever HDF5's library meets in a damaged file
        raise InputError(f"{path}: not a readable HDF5 file of pandas ({' '.join(str(error).split())})") from error


def read_lhco_file(path: Path, features: Sequence[str] = BASELINE, default_label: float | None = None) -> np.ndarray:
    """Read one LHC Olympics file into events [n, 2 + d] (m_JJ in TeV, features, label), float32.

    The file is read in chunks, so that memory holds the result and one chunk.

    Parameters
    ----------
    features : sequence of str
        Names of features, see `events.features`.
    default_label : float, optional
        Label of all events where the file has no label column.

    Raises
    ------
    InputError
        If the file is absent, damaged, lacks columns, or has more than 1 % NaN rows.
    """
    events: np.ndarray | None = None
    wanted = (*(f"{name}j{jet}" for jet in (1, 2) for name in jet_columns(features)), "label")
    for n_events, start, values in progress(Path(path).name, "chunk", iterable=_chunks(path, wanted)):
        if events is None:
            events = np.empty((n_events, 2 + len(features)), dtype=np.float32)
        rows = events[start : start + len(values)]
        rows[:, :-1], rows[:, -1] = features_from_jets(values[:, :-1], features), values[:, -1]
    if events is None:
        raise InputError(f"{path}: holds no events")
    if default_label is not None and np.isnan(events[:, -1]).all():
        events[:, -1] = default_label
    if np.isnan(events[:, -1]).all():
        raise InputError(f"{path}: has no column 'label' (1 signal, 0 background)")
    events = drop_nan_rows(events, path)
    if not np.isin(events[:, -1], (0, 1)).all():
        raise InputError(f"{path}: the label must be 1 (signal) or 0 (background)")
    return events
