"""The epochs of a training: which of them are used, and where their weights are kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from common.errors import InputError
from common.files import copy_whole, load_array, load_json, save_array, save_json

if TYPE_CHECKING:
    import torch

EPOCH_NUMBER, LARGEST_LOSS = re.compile(r"[0-9]{1,6}"), 1e300
N_MIXED = 10  # epochs of a density that are mixed, at most
MIXED_WITHIN = 5e-5  # nats above the lowest validation loss that an epoch of a mixture may be
DIVERGED = 1.0  # nats above the loss before training that no training in order reaches

Losses = dict[int, float]  # validation loss (nats) after every usable epoch


def usable_epochs(val_losses: np.ndarray, ceiling: float = np.inf) -> Losses:
    """The epochs that may be used, with their validation losses, lowest first.

    Parameters
    ----------
    val_losses : array [n_epochs]
        Loss after every epoch (nats).
    ceiling : float
        Epochs that are not finite or above this loss have diverged and are never used; `DIVERGED` above the loss before training, for
        example.

    Raises
    ------
    ValueError
        If there is none.

    Examples
    --------
    >>> usable_epochs(np.array([5.25, np.nan, 5.125, 12.0]), ceiling=9.0)
    {2: 5.125, 0: 5.25}
    """
    val_losses = np.asarray(val_losses, dtype=np.float64)
    usable = np.flatnonzero(np.isfinite(val_losses) & ~(val_losses > ceiling))
    if len(usable) == 0:
        raise ValueError(f"none of the {len(val_losses)} epochs has a finite validation loss below {ceiling:g}")
    return {int(epoch): float(val_losses[epoch]) for epoch in usable[np.argsort(val_losses[usable], kind="stable")]}


@dataclass(frozen=True)
class EpochRule:
    """Which epochs of a training are used.

    Parameters
    ----------
    kind : {"lowest", "last"}
        Those of lowest validation loss, or the last ones. With 1 % of signal a validation loss hardly knows the signal: its minimum may
        come before a classifier has seen it. A schedule that ends with small steps has its best weights at its end.
    n : int
        So many, or all where there are fewer.
    within : float
        None whose validation loss is further above the lowest one (nats): early epochs that fill a short training's mixture spoil it.

    Examples
    --------
    >>> losses = {2: 5.1, 3: 5.2, 1: 5.3, 0: 6.0}
    >>> EpochRule("lowest", 2).choose(losses), EpochRule("last", 2).choose(losses), EpochRule("lowest", 9, within=0.25).choose(losses)
    ([2, 3], [3, 2], [2, 3, 1])
    """

    kind: Literal["lowest", "last"]
    n: int
    within: float = np.inf

    def choose(self, losses: Losses) -> list[int]:
        """The epochs, best first, of those that are usable."""
        limit = min(losses.values()) + self.within
        near = [epoch for epoch, loss in losses.items() if loss <= limit]
        return sorted(near, key=losses.get if self.kind == "lowest" else lambda epoch: -epoch)[: self.n]


PUBLISHED_RULE = EpochRule("lowest", 10)  # of classifiers (arXiv:2109.00546)


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

    The latter says what was trained, by name and parameters, and the usable epochs of every member of the stack with their validation
    losses.
    While a training lasts, the losses of all epochs are there as well.

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

    def keep(self, epoch: int, state: Mapping[str, torch.Tensor]) -> None:
        """Write the weights of an epoch."""
        from models.weights import save_weights

        save_weights(self.path(epoch), state)

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

    def describe(self, estimator: str, parameters: dict[str, Any], epochs: Sequence[Losses]) -> None:
        """Write what was trained, and the usable epochs of every member with their validation losses, lowest first."""
        save_json(self.description, {"estimator": estimator, "parameters": parameters, "epochs": list(epochs)})

    def read(self) -> tuple[str, dict[str, Any], list[Losses]]:
        """What `describe` wrote: the estimator's name, its parameters (of any type), and the usable epochs of every member.

        Raises
        ------
        InputError
            If the file is missing or damaged.
        """
        content = load_json(self.description)
        name, parameters, epochs = (content.get(key) for key in ("estimator", "parameters", "epochs"))
        if not isinstance(name, str) or not isinstance(parameters, dict) or not _are_epochs(epochs):
            raise InputError(f"{self.description}: not the description of a trained estimator")
        return name, parameters, [{int(epoch): float(loss) for epoch, loss in mine.items()} for mine in epochs]

    def usable(self) -> list[Losses]:
        """The usable epochs of every member."""
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


def _are_epochs(content: Any) -> bool:
    return (
        isinstance(content, list)
        and len(content) > 0
        and all(isinstance(mine, dict) and len(mine) > 0 for mine in content)
        and all(EPOCH_NUMBER.fullmatch(epoch) and _is_loss(loss) for mine in content for epoch, loss in mine.items())
    )


def _is_loss(content: Any) -> bool:
    return type(content) in (int, float) and -LARGEST_LOSS < content < LARGEST_LOSS
