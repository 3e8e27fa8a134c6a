"""One event file: an array [n, 2 + d] of m_JJ, features and label, as stage 1 writes it or as it was published."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from common.errors import InputError
from common.files import array_shape, load_array

logger = logging.getLogger(__name__)

MAX_NAN_SHARE = 0.01


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
        If the file cannot be read, is not a table of at least three columns, has labels other than 0 and 1, or more than 1 % NaN rows.
    """
    n_features_in(path)
    events = drop_nan_rows(load_array(path), path)
    if not np.isin(events[:, -1], (0, 1)).all():
        raise InputError(f"{path}: the last column must be the label (1 signal, 0 background)")
    return events
