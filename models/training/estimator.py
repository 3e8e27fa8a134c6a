"""What the two networks have in common: their weights, epoch by epoch, in memory and under `save_path`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from common.files import InputError, load_array, load_weights, save_array, save_weights
from models.arrays import member_generators, pick_device
from models.training.epochs import DIVERGED, best_epochs


class TrainedEpochs(BaseEstimator, ABC):
    """A stack of networks whose epochs can be kept in a folder and read back.

    Subclasses name the folder below `save_path` and build the untrained module.
    """

    _folder_name: str
    _n_members = 1

    @abstractmethod
    def _build(self, generators: list[torch.Generator]) -> torch.nn.Module:
        """The untrained module of this configuration, a stack of as many members as there are generators."""

    @property
    def _device(self) -> torch.device:
        return pick_device("cpu" if self.no_gpu else "auto")

    @property
    def _folder(self) -> Path:
        if self.save_path is None:
            raise ValueError(f"this {type(self).__name__} has no save_path to read epochs from")
        return Path(self.save_path) / self._folder_name

    def _epoch_file(self, epoch: int) -> Path:
        return self._folder / f"epoch_{epoch}.par"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "module_") or bool(self.load)

    def _ready(self) -> torch.nn.Module:
        """The module in `eval` mode; with `load=True` read from `save_path` at the first call."""
        if not hasattr(self, "module_"):
            if not self.load:
                raise NotFittedError(f"this {type(self).__name__} is not fitted yet: call fit, or use load=True with a save_path")
            self.load_best_model()
        return self.module_

    def load_weights(self, path: Path) -> Any:
        """Read the weights of one epoch into this configuration.

        Raises
        ------
        InputError
            If the file is damaged or belongs to another configuration.
        """
        module = self._build(member_generators(0, self._n_members))
        load_weights(Path(path), module)
        self.module_ = module.to(self._device).eval()
        return self

    def load_epoch_model(self, epoch: int) -> Any:
        """Read the weights after epoch `epoch` (0 is the first) from `save_path`."""
        return self.load_weights(self._epoch_file(epoch))

    def load_best_model(self) -> Any:
        """Read from `save_path` the epoch of lowest validation loss; of several runs, every one's own."""
        best = [int(best_epochs(losses[1:], 1, ceiling=losses[0] + DIVERGED)[0]) for losses in self._losses("val").T]
        states = {epoch: self.load_epoch_model(epoch).module_.state_dict() for epoch in set(best)}
        state = self.module_.state_dict()
        for member, epoch in enumerate(best):
            for name, value in state.items():
                if value.shape[:1] == (len(best),):
                    value[member] = states[epoch][name][member]
        self.module_.load_state_dict(state)
        return self

    def load_train_loss(self) -> np.ndarray:
        """Training losses (nats), [n_epochs + 1] or, of several runs, [n_epochs + 1, n_runs]; index 0 is before training."""
        return self._squeezed(self._losses("train"))

    def load_val_loss(self) -> np.ndarray:
        """Validation losses (nats), shaped as those of `load_train_loss`."""
        return self._squeezed(self._losses("val"))

    def _squeezed(self, losses: np.ndarray) -> np.ndarray:
        return losses[:, 0] if self._n_members == 1 else losses

    def _losses(self, kind: str) -> np.ndarray:
        if hasattr(self, f"{kind}_losses_"):
            return getattr(self, f"{kind}_losses_").reshape(-1, self._n_members)
        losses = load_array(self._folder / f"{kind}_losses.npy")
        if losses.ndim != 2 or losses.shape[1] != self._n_members or len(losses) < 2:
            raise InputError(f"{self._folder / kind}_losses.npy: shape {losses.shape}, expected [epochs + 1, {self._n_members}]")
        return losses

    def _start_keeping(self, goes_on: bool) -> None:
        """Forget what an earlier training left, in memory and, unless it is one that goes on, on disk."""
        for name in ("module_", "train_losses_", "val_losses_"):
            self.__dict__.pop(name, None)
        if self.save_path is not None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"{self._folder}: this folder cannot be made ({error.strerror})") from error
            for path in () if goes_on else (*self._folder.glob("epoch_*.par"), *self._folder.glob("*_losses.npy")):
                path.unlink()

    def _keep_epoch(self, epoch: int, module: torch.nn.Module) -> None:
        if self.save_path is not None:
            save_weights(self._epoch_file(epoch), module.state_dict())

    def _keep_losses(self, train: np.ndarray, val: np.ndarray) -> None:
        if self.save_path is not None:
            save_array(self._folder / "train_losses.npy", train)
            save_array(self._folder / "val_losses.npy", val)
