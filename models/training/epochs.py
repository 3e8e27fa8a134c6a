"""The epochs of a training: which of them are used, and where their weights are kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.errors import InputError
from common.files import copy_whole, load_array, load_json, save_array, save_json

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

N_BEST_EPOCHS = 10  # of a density, that are mixed; of a classifier, whose scores are averaged
DIVERGED = 1.0  # nats above the loss before training that no training in order reaches


def best_epochs(val_losses: np.ndarray, n_best: int | None = N_BEST_EPOCHS, ceiling: float = np.inf) -> np.ndarray:
    """Numbers of the epochs of lowest validation loss, best first.

    Where fewer than `n_best` are usable, all of them are used and the log says so.

    Parameters
    ----------
    val_losses : array [n_epochs]
        Loss after every epoch (nats).
    n_best : int or None
        None for all that are usable.
    ceiling : float
        Epochs that are not finite or above this loss have diverged and are never selected; `DIVERGED` above the loss before training,
        for example.

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
    if n_best is not None and len(usable) < n_best:
        logger.info("only %d of %d epochs are usable: all of them are used, instead of %d", len(usable), len(val_losses), n_best)
    return usable[np.argsort(val_losses[usable], kind="stable")][:n_best]


def mean_over_epochs(scores_of: Callable[[int], np.ndarray], epochs: Sequence[Sequence[int]]) -> np.ndarray:
    """Mean score [n_runs, n] over every run's own epochs.

    Parameters
    ----------
    scores_of : callable
        The scores [n_runs, n] of all runs in one epoch.
    epochs : sequence of sequences of int
        The epochs of every run.
    """
    total: np.ndarray | None = None
    for epoch in sorted({int(epoch) for mine in epochs for epoch in mine}):
        scores = scores_of(epoch)
        total = np.zeros(scores.shape) if total is None else total
        for run, mine in enumerate(epochs):
            if epoch in mine:
                total[run] += scores[run] / len(mine)
    if total is None:
        raise ValueError("no run has an epoch")
    return total


class EpochStore:
    """The epochs of one training in a folder: PREFIXepoch_E.par (weights) and PREFIXestimator.json.

    The latter says what was trained, by name and parameters, and ranks the epochs of every member of the stack by validation loss.
    While a training lasts, the losses are there as well.

    Parameters
    ----------
    folder : path
    prefix : str
        What all file names begin with.
    """

    def __init__(self, folder: Path, prefix: str = "") -> None:
        self.folder, self.prefix = Path(folder), prefix

    def path(self, epoch: int) -> Path:
        """Where the weights of an epoch are."""
        return self.folder / f"{self.prefix}epoch_{epoch}.par"

    @property
    def description(self) -> Path:
        """Where it is said what was trained."""
        return self.folder / f"{self.prefix}estimator.json"

    def clear(self) -> None:
        """Make the folder if needed, and forget an earlier training.

        Raises
        ------
        InputError
            If the folder cannot be made.
        """
        self.make_folder()
        for pattern in ("epoch_*.par", "*_losses.npy", "estimator.json"):
            for path in self.folder.glob(f"{self.prefix}{pattern}"):
                path.unlink()

    def make_folder(self) -> None:
        """Make the folder if needed."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.folder}: this folder cannot be made ({error.strerror})") from error

    def keep(self, epoch: int, module: torch.nn.Module) -> None:
        """Write the weights of an epoch."""
        from models.weights import save_weights

        save_weights(self.path(epoch), module.state_dict())

    def keep_losses(self, **losses: np.ndarray) -> None:
        """Write losses [n_epochs + 1, n_members] by their name."""
        for name, values in losses.items():
            save_array(self.folder / f"{self.prefix}{name}_losses.npy", values)

    def losses(self, name: str, n_members: int) -> np.ndarray:
        """Losses [n_epochs + 1, n_members] as they were written.

        Raises
        ------
        InputError
            If they are absent, or those of another number of members.
        """
        path = self.folder / f"{self.prefix}{name}_losses.npy"
        losses = load_array(path)
        if losses.ndim != 2 or losses.shape[1] != n_members or len(losses) < 2:
            raise InputError(f"{path}: shape {losses.shape}, expected [epochs + 1, {n_members}]")
        return losses

    def describe(self, estimator: str, parameters: dict[str, Any], ranking: Sequence[Sequence[int]]) -> None:
        """Write what was trained, and the epochs of every member, best first."""
        epochs = [[int(epoch) for epoch in mine] for mine in ranking]
        save_json(self.description, {"estimator": estimator, "parameters": parameters, "epochs": epochs})

    def read(self) -> tuple[str, dict[str, Any], list[list[int]]]:
        """What `describe` wrote: the estimator's name, its parameters (of any type), and the epochs of every member, best first.

        Raises
        ------
        InputError
            If the file is missing or damaged.
        """
        content = load_json(self.description)
        name, parameters, ranking = (content.get(key) for key in ("estimator", "parameters", "epochs"))
        if not isinstance(name, str) or not isinstance(parameters, dict) or not _is_ranking(ranking):
            raise InputError(f"{self.description}: not the description of a trained estimator")
        return name, parameters, ranking

    def ranking(self) -> list[list[int]]:
        """The epochs of every member, best first."""
        return self.read()[2]

    def copy_to(self, other: EpochStore, epochs: Sequence[int]) -> None:
        """Copy weights into another store.

        Raises
        ------
        InputError
            If some are not there.
        """
        for epoch in epochs:
            if not self.path(epoch).is_file():
                raise InputError(f"{self.path(epoch)}: has vanished during the training; without --resume it begins anew")
            copy_whole(self.path(epoch), other.path(epoch))


def _is_ranking(content: Any) -> bool:
    return (
        isinstance(content, list)
        and len(content) > 0
        and all(isinstance(mine, list) and len(mine) > 0 for mine in content)
        and all(type(epoch) is int and epoch >= 0 for mine in content for epoch in mine)
    )
