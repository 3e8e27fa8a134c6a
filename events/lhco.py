"""LHC Olympics events: the HDF5 files that pandas wrote, read in chunks into m_JJ, features, label."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.errors import InputError
from common.progress import progress
from events.features import BASELINE, features_from_jets, jet_columns
from events.hdf5 import Hdf5
from events.view import drop_nan_rows

logger = logging.getLogger(__name__)

KEY = "df"  # of the DataFrame in the file


def check_exists(path: Path) -> None:
    """Say where the LHC Olympics files are if this one is not there.

    Raises
    ------
    InputError
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; the LHC Olympics files are at Zenodo, records 4536377 and 5759087 (see README)")


def read_lhco_file(path: Path, features: Sequence[str] = BASELINE, default_label: float | None = None) -> np.ndarray:
    """The events [n, 2 + d] of an LHC Olympics file (m_JJ in TeV, features, label), float32; see `read_lhco_rows`."""
    return read_lhco_rows(path, features, default_label)[0]


def read_lhco_rows(
    path: Path, features: Sequence[str] = BASELINE, default_label: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Read one LHC Olympics file into events [n, 2 + d] (m_JJ in TeV, features, label), float32, and their rows [n] in the file.

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
    check_exists(path)
    table = Hdf5(path, KEY)
    wanted = [f"{name}j{jet}" for jet in (1, 2) for name in jet_columns(features)]
    if has_label := "label" in table.names:
        wanted.append("label")
    elif default_label is None:
        raise InputError(f"{path}: has no column 'label' (1 signal, 0 background)")
    events, start = np.empty((table.n_rows, 2 + len(features)), dtype=np.float32), 0
    for chunk in progress(Path(path).name, "chunk", iterable=table.chunks(wanted)):
        values = np.column_stack([chunk[name] for name in wanted])
        rows = events[start : start + len(values)]
        rows[:, :-1] = features_from_jets(values[:, :-1] if has_label else values, features)
        rows[:, -1] = values[:, -1] if has_label else default_label
        start += len(values)
    if start == 0:
        raise InputError(f"{path}: holds no events")
    rows = np.flatnonzero(np.isfinite(events).all(axis=1))
    events = drop_nan_rows(events, path)
    if not np.isin(events[:, -1], (0, 1)).all():
        raise InputError(f"{path}: the label must be 1 (signal) or 0 (background)")
    return events, rows
