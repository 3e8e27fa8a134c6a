"""Records of events on disk: which row of the input each one is, its fold, and later its score."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.errors import InputError
from common.files import load_array

FOLDED = [("row", "<i8"), ("m", "<f4"), ("fold", "<i4")]
SCORED = [*FOLDED, ("score", "<f4"), ("background_efficiency", "<f8")]


def scored(n_runs: int) -> np.dtype:
    """Of scores.npy."""
    return np.dtype([*SCORED, ("score_of_runs", "<f4", (n_runs,))])


def load_folds(path: Path) -> np.ndarray:
    """Read folds.npy: row in the input, resonant variable and fold of every event.

    Raises
    ------
    InputError
        If the file is absent or damaged, or holds something else.
    """
    record = load_array(path, records=True)
    if record.ndim != 1 or record.dtype != np.dtype(FOLDED):
        raise InputError(f"{path}: no records of {', '.join(name for name, _ in FOLDED)}")
    return record


def load_scores(path: Path) -> np.ndarray:
    """Read scores.npy.

    Raises
    ------
    InputError
        If the file is absent or damaged, or holds something else.
    """
    scores = load_array(path, records=True)
    runs = scores.dtype["score_of_runs"].shape if "score_of_runs" in (scores.dtype.names or ()) else ()
    if scores.ndim != 1 or len(runs) != 1 or scores.dtype != scored(*runs):
        raise InputError(f"{path}: no records of {', '.join(scored(1).names)}")
    efficiency = scores["background_efficiency"]
    if not np.isfinite(scores["m"]).all() or not (np.isnan(efficiency) | ((efficiency > 0) & (efficiency <= 1))).all():
        raise InputError(f"{path}: holds masses that are not finite, or efficiencies outside (0, 1]")
    return scores
