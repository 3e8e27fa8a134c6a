"""Which epochs of a training to use."""

from __future__ import annotations

import logging

import numpy as np

logger = logging.getLogger(__name__)

DIVERGED = 1.0  # nats above the loss before training that no density estimator in order reaches


def best_epochs(val_losses: np.ndarray, n_best: int = 10, ceiling: float = np.inf) -> np.ndarray:
    """Numbers of the epochs of lowest validation loss, best first.

    Where fewer than `n_best` are usable, all of them are used and the log says so.

    Parameters
    ----------
    val_losses : array [n_epochs]
        Loss after every epoch (nats).
    ceiling : float
        Epochs that are not finite or above this loss have diverged and are never selected; for a density, `DIVERGED` above the loss
        before training.

    Raises
    ------
    ValueError
        If no epoch can be selected.

    Examples
    --------
    >>> best_epochs(np.array([5.2, np.nan, 5.1, 12.0]), n_best=2, ceiling=9.0)
    array([2, 0])
    """
    val_losses = np.asarray(val_losses, dtype=np.float64)
    usable = np.flatnonzero(np.isfinite(val_losses) & ~(val_losses > ceiling))
    if len(usable) == 0:
        raise ValueError(f"none of the {len(val_losses)} epochs has a finite validation loss below {ceiling:g}")
    if len(usable) < n_best:
        logger.info(
            "only %d usable epochs of %d: all of them are used where %d were asked for", len(usable), len(val_losses), n_best
        )
    return usable[np.argsort(val_losses[usable], kind="stable")][:n_best]
