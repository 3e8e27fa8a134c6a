"""Events as arrays [n, 2 + d] of m_JJ, features and label: a view whose columns have names instead of numbers, and how a file is read."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import InputError
from common.files import array_shape, load_array

logger = logging.getLogger(__name__)

MAX_NAN_SHARE = 0.01

DATA, SAMPLE = 1, 0  # the column is_data
SAMPLE_LABEL = 5  # label of what is neither signal nor background for certain
UNKNOWN = -1  # label of data where nobody knows


class Events:
    """A view of an array [n, 2 + d]: m_JJ, d features, label; or [n, 3 + d], with data (1) or sample (0) before the label.

    Parameters
    ----------
    array : array [n, 2 + d] or [n, 3 + d]
    mixed : bool
        Whether it has the column data or sample, as the classifier's arrays have.

    Examples
    --------
    >>> events = Events(np.array([[3.5, 0.1, 0.2, 1.0], [2.9, 0.3, 0.4, 0.0]]))
    >>> events.m.tolist(), events.x.shape, events[events.label == 1].m.tolist()
    ([3.5, 2.9], (2, 2), [3.5])
    """

    __slots__ = ("array", "mixed")

    def __init__(self, array: np.ndarray, *, mixed: bool = False) -> None:
        self.array, self.mixed = array, mixed

    @classmethod
    def mix(cls, m: np.ndarray, x: np.ndarray, kind: int, label: np.ndarray | int) -> Events:
        """Data or samples, float32, from masses [n], features [n, d] and labels."""
        n = len(m)
        columns = [m, x, np.full(n, kind, dtype=np.float32), np.broadcast_to(label, n)]
        return cls(np.column_stack(columns).astype(np.float32), mixed=True)

    @classmethod
    def joined(cls, *parts: Events) -> Events:
        """Several in one."""
        return parts[0] if len(parts) == 1 else cls(np.concatenate([part.array for part in parts]), mixed=parts[0].mixed)

    @property
    def m(self) -> np.ndarray:
        """The resonant variable [n] (m_JJ in TeV)."""
        return self.array[:, 0]

    @property
    def x(self) -> np.ndarray:
        """Features [n, d]."""
        return self.array[:, 1 : -2 if self.mixed else -1]

    @property
    def m_and_x(self) -> np.ndarray:
        """The resonant variable and the features [n, 1 + d]."""
        return self.array[:, : -2 if self.mixed else -1]

    @property
    def is_data(self) -> np.ndarray:
        """Which events [n] are data, not samples."""
        return self.array[:, -2] == DATA if self.mixed else np.ones(len(self), dtype=bool)

    @property
    def label(self) -> np.ndarray:
        """1 signal, 0 background, -1 unknown, 5 sample [n]."""
        return self.array[:, -1]

    @property
    def n_features(self) -> int:
        """d."""
        return self.x.shape[1]

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: Any) -> Events:
        return Events(self.array[rows], mixed=self.mixed)


def drop_nan_rows(array: np.ndarray, source: Path | str) -> np.ndarray:
    """Rows without NaN or infinity; up to 1 % may be dropped, and are counted in the log.

    Raises
    ------
    InputError
        If more than 1 % of the rows are not finite.
    """
    finite = np.isfinite(array).all(axis=1)
    n_bad = len(array) - int(finite.sum())
    if n_bad == 0:
        return array
    if n_bad > MAX_NAN_SHARE * len(array):
        raise InputError(f"{source}: {n_bad} of {len(array)} rows are NaN or infinite, more than 1 %")
    logger.warning("%s: dropped %d of %d rows with NaN or infinity", source, n_bad, len(array))
    return array[finite]


def n_features_in(path: Path) -> int:
    """Number of features in an event file, from its header alone.

    Raises
    ------
    InputError
        If the file cannot be read or is not a table of at least three columns.
    """
    shape = array_shape(path)
    if len(shape) != 2 or shape[1] < 3:
        raise InputError(f"{path}: wrong number of columns: shape {shape}, expected [n, 2 + d] (m_JJ, features, label)")
    return shape[1] - 2


def load_events(path: Path) -> np.ndarray:
    """Read one event file [n, 2 + d].

    Raises
    ------
    InputError
        If the file cannot be read, is not a table of at least three columns, has labels that are none, or more than 1 % NaN rows.
    """
    n_features_in(path)
    events = drop_nan_rows(load_array(path, mapped=True), path)
    if not are_labels(events[:, -1]):
        raise InputError(f"{path}: the last column must be the label (1 signal, 0 background, or {UNKNOWN} throughout: unknown)")
    return events


def are_labels(values: np.ndarray) -> bool:
    """Whether values [n] are labels: 1 and 0, or -1 throughout."""
    return bool(np.isin(values, (0, 1)).all() or (values == UNKNOWN).all())
