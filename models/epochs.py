"""Which epochs of a training to use."""

from __future__ import annotations

import logging

import numpy as np

logger = logging.getLogger(__name__)


def best_epochs(val_losses: np.ndarray, n_best: int = 10) -> np.ndarray:
    """Epoch numbers of the lowest validation losses, best first.

    Epochs that are not finite, or that are worse than no training at all, are never selected; where fewer than `n_best`
    remain, all of them are used and the log says so.

    Parameters
    ----------
    val_losses : array [n_epochs + 1]
        Index 0 is the loss before training, index e + 1 that after epoch e.

    Raises
    ------
    ValueError
        If no epoch can be selected.

    Examples
    --------
    >>> best_epochs(np.array([9.0, 5.2, np.nan, 5.1, 12.0]), n_best=2)
    array([2, 0])
    """
    before, after = val_losses[0], np.asarray(val_losses[1:], dtype=np.float64)
    worse = np.zeros(len(after), dtype=bool) if not np.isfinite(before) else after > before
    usable = np.flatnonzero(np.isfinite(after) & ~worse)
    if len(usable) == 0:
        raise ValueError(f"none of the {len(after)} epochs has a finite validation loss below the one before training")
    if len(usable) < n_best:
        logger.info(
            "only %d usable epochs of %d exist: all of them are used where %d were asked for",
            len(usable),
            len(after),
            n_best,
        )
    return usable[np.argsort(after[usable], kind="stable")][:n_best]
