"""HDF5 files: what pandas writes, and plain datasets of equal length that lie side by side."""

from __future__ import annotations

import pickletools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import h5py
import numpy as np

from common.errors import InputError
from events.tables import Table, chosen_table

CHUNK = 16384  # rows
MAX_COMPRESSION = 1000


class Hdf5(Table):
    """A DataFrame of pandas (format "fixed" or "table"), or datasets [n] and datasets of named fields in one group."""

    kind = "HDF5"

    def _open(self, tree: str | None, columns: Sequence[str]) -> None:
        file = h5py.File(self.path, "r")
        groups: dict[str, h5py.Group] = {"/": file}
        file.visititems(lambda name, thing: groups.update({name: thing}) if isinstance(thing, h5py.Group) else None)
        frames = [name for name, group in groups.items() if _is_frame(group)]
        tables = frames or [name for name, group in groups.items() if _columns(group)]
        self._columns = _columns(groups[chosen_table(self.path, tree, tables)])
        lengths = {column.dataset.shape[0] for column in self._columns.values()}
        if len(lengths) != 1:
            raise InputError(f"{self.path}: its datasets differ in length: {', '.join(map(str, sorted(lengths)))}")
        (self.n_rows,), self.names = lengths, list(self._columns)

    def _chunks(self, wanted: list[str]) -> Iterator[Mapping[str, np.ndarray]]:
        columns = {name: self._columns[name] for name in wanted}
        for start in range(0, self.n_rows, CHUNK):
            rows, read = slice(start, min(start + CHUNK, self.n_rows)), {}
            for column in columns.values():
                if column.source not in read:
                    read[column.source] = column.read(rows)
            yield {name: column.of(read[column.source]) for name, column in columns.items()}


def _is_frame(group: h5py.Group) -> bool:
    return "table" in group or "nblocks" in group.attrs


@dataclass(frozen=True)
class _Column:
    dataset: h5py.Dataset
    field: str | None
    index: int | None

    @property
    def source(self) -> tuple[str, str | None]:
        """What has to be read for it."""
        return self.dataset.name, self.field

    def read(self, rows: slice) -> np.ndarray:
        """All that is stored together with it."""
        return self.dataset[rows] if self.field is None else self.dataset.fields(self.field)[rows]

    def of(self, values: np.ndarray) -> np.ndarray:
        """Its own part of that."""
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
    """Where every column in a group is stored: in pandas' "fixed" or "table" format, or in datasets [n] that lie side by side."""
    found: dict[str, _Column] = {}
    if "table" in group:
        table = _dataset(group, "table")
        for field in table.dtype.names:
            if table.dtype[field].shape:
                names = _names_in_attribute(table.attrs[f"{field}_kind"])
                found.update({name: _Column(table, field, i) for i, name in enumerate(names)})
            else:
                found[field] = _Column(table, field, None)
    elif "nblocks" in group.attrs:
        for block in range(int(group.attrs["nblocks"])):
            values = _dataset(group, f"block{block}_values")
            names = _decoded(_dataset(group, f"block{block}_items")[:])
            found.update({name: _Column(values, None, i) for i, name in enumerate(names)})
    else:
        for name in group:
            if isinstance(group.get(name, getlink=True), h5py.HardLink) and isinstance(group[name], h5py.Dataset):
                dataset = _dataset(group, name)
                fields = dataset.dtype.names or ()
                found |= {field: _Column(dataset, field, None) for field in fields} or {name: _Column(dataset, None, None)}
    return found
