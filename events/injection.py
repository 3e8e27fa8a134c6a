"""Known signal events, added to the data before everything else, to see whether a search would find them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import InputError
from common.files import missing_files
from events.regions import EXTRA_SIGNAL, EXTRA_SIGNAL_IN_ONE, TEST_FILES
from events.view import load_events
from events.window import Window

logger = logging.getLogger(__name__)

INJECTED_ROW = -1  # in data_row.npy: not from the input


@dataclass(frozen=True)
class Injection:
    """So much signal.

    Attributes
    ----------
    s_over_b : float
        Signal events in the window, over the data there.
    files : tuple of path
        Arrays [n, 2 + d] of events; those of label 1 are the signal.
    """

    s_over_b: float
    files: tuple[Path, ...]

    def into(self, data: np.ndarray, row: np.ndarray, window: Window, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The data [n, 2 + d] and their rows [n] with the signal behind them; more signal holds what less signal does.

        Raises
        ------
        InputError
            If there is not so much signal.
        """
        if self.s_over_b == 0:
            return data, row
        signal = np.concatenate([_signal_in(path, data.shape[1]) for path in self.files])
        signal = rng.permutation(signal)
        inside = window.contains(signal[:, 0])
        wanted = round(self.s_over_b * int(window.contains(data[:, 0]).sum()))
        if wanted > inside.sum():
            known = f"the {inside.sum()} that are known in {window}; of the signal, {window.where_masses_are(signal[:, 0])}"
            raise InputError(f"S/B = {self.s_over_b:g} is more signal than {known}")
        if inside.all():
            logger.warning("no known signal lies outside %s: without its tails, a little more is found than would be", window)
        n = int(np.searchsorted(np.cumsum(inside), wanted)) + 1 if wanted else 0
        logger.info("%d signal events are injected, %d of them in %s", n, wanted, window)
        return np.concatenate([data, signal[:n]]), np.concatenate([row, np.full(n, INJECTED_ROW, dtype=row.dtype)])


def known_signal(folder: Path) -> tuple[Path, ...]:
    """The files of a folder of separated events that hold signal which is not among its data.

    Raises
    ------
    InputError
        If there is none.
    """
    names = [name for name in (*EXTRA_SIGNAL, *EXTRA_SIGNAL_IN_ONE, TEST_FILES[0]) if not missing_files(folder, [name])]
    found = tuple(path for path in (Path(folder) / f"{name}.npy" for name in names) if (load_events(path)[:, -1] == 1).any())
    if not found:
        raise InputError(f"{folder}: no signal events that are not among its data: --inject_from names files of some")
    return found


def _signal_in(path: Path, n_columns: int) -> np.ndarray:
    events = load_events(path)
    if events.shape[1] != n_columns:
        raise InputError(f"{path}: {events.shape[1] - 2} features, but the data have {n_columns - 2}")
    signal = events[events[:, -1] == 1]
    if len(signal) == 0:
        raise InputError(f"{path}: holds no event of label 1, which is the signal's")
    return signal
