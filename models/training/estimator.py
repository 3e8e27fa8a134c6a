"""What estimators that learn epoch by epoch have in common: training, the epochs they keep, files."""

from __future__ import annotations

import copy
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, get_type_hints

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from common.errors import InputError
from common.hyperparameters import checked
from common.processes import processes_of
from models.arrays import member_generators, pick_device
from models.training.checkpoints import Checkpoint
from models.training.epochs import DIVERGED, EpochRule, EpochStore, Losses, usable_epochs
from models.training.loop import MemberData, Objective, train_members
from models.training.state import TrainingPlan
from models.weights import load_weights

logger = logging.getLogger(__name__)


class EpochEstimator(BaseEstimator, ABC):
    """A stack of networks whose epochs can be kept in a folder and read back.

    Subclasses say where below `save_path` their epochs are, which parameters a file of hyperparameters may set, and which more are
    needed to build the module.

    Attributes
    ----------
    module_ : torch.nn.Module
        After `fit`: every member in the epoch that stands for its training, that of lowest validation loss or the last one.
    train_losses_, val_losses_ : arrays [n_epochs + 1, n_members]
        Loss per event in nats; index 0 is before training. One-dimensional for a density.
    store_ : EpochStore
        The epochs, if they were kept.
    """

    hyperparameters: ClassVar[tuple[str, ...]]
    _sizes: ClassVar[tuple[str, ...]]
    _folder_name: ClassVar[str]
    _n_members = 1
    n_jobs: int | None

    @abstractmethod
    def _build(self, generators: list[torch.Generator]) -> torch.nn.Module:
        """The untrained module of this configuration, a stack of as many members as there are generators."""

    @classmethod
    def parameter_types(cls, names: Sequence[str]) -> dict[str, Any]:
        """The types of parameters, as `__init__` has them."""
        hints = get_type_hints(cls.__init__)
        return {name: hints[name] for name in names}

    @classmethod
    def load_from(cls, folder: Path, name: str) -> Any:
        """The estimator that `save` wrote; weights are read at its first use.

        Raises
        ------
        InputError
            If the description is missing or damaged.
        """
        store = EpochStore(folder, f"{name}_")
        parameters = checked(store.read()[1], cls.parameter_types([*cls.hyperparameters, *cls._sizes]), store.description)
        estimator = cls(**parameters)
        if len(store.usable()) != estimator._n_members:
            raise InputError(f"{store.description}: epochs of {len(store.usable())} runs, expected {estimator._n_members}")
        estimator.store_ = store
        return estimator

    def save(self, folder: Path, name: str) -> None:
        """Write what predictions need: NAME_epoch_E.par of every epoch in use, and NAME_estimator.json."""
        store = EpochStore(folder, f"{name}_")
        if hasattr(self, "store_"):
            usable = self._in_use(self.store_.usable())
            self.store_.copy_to(store, sorted({epoch for mine in usable for epoch in mine}))
        else:  # only the best is in memory
            usable = [{0: 0.0}] * self._n_members
            store.keep(0, self._ready().state_dict())
        store.describe(type(self).__name__, self._parameters(), usable)

    def versions(self, n_best: int = 1, within: float = np.inf) -> list[Any]:
        """The epochs of lowest validation loss, best first, each as an estimator of its own; this one alone if no epochs were kept.

        Parameters
        ----------
        within : float
            None that is further above the lowest one (nats).

        Raises
        ------
        ValueError
            If this is a stack of several runs.
        """
        if self._n_members != 1:
            raise ValueError("an ensemble of epochs needs a model of one run")
        if not hasattr(self, "store_") and not self.load:
            self._ready()
            return [self]
        (usable,) = self._store.usable()
        epochs = EpochRule("lowest", n_best, within).choose(usable)
        return [copy.copy(self).load_epoch_model(epoch) for epoch in epochs]

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
        """Read the weights after epoch `epoch` (0 is the first) from where they were kept."""
        return self.load_weights(self._store.path(epoch))

    def load_best_model(self) -> Any:
        """Read the best epoch from where it was kept, that of lowest validation loss in general; of several runs, every one's own."""
        best = [self._best(mine) for mine in self._store.usable()]
        states = {epoch: self.load_epoch_model(epoch).module_.state_dict() for epoch in sorted(set(best))}
        state = self.module_.state_dict()
        for member, epoch in enumerate(best):
            for name, value in state.items():
                if value.shape[:1] == (len(best),):
                    value[member] = states[epoch][name][member]
        self.module_.load_state_dict(state)
        return self

    def load_train_loss(self) -> np.ndarray:
        """Training losses (nats), [n_epochs + 1] or, of several runs, [n_epochs + 1, n_runs]; index 0 is before training."""
        return self._losses("train")

    def load_val_loss(self) -> np.ndarray:
        """Validation losses (nats), shaped as those of `load_train_loss`."""
        return self._losses("val")

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "module_") or hasattr(self, "store_") or bool(self.load)

    def _train(
        self,
        module: torch.nn.Module,
        objective: Objective,
        train: MemberData,
        val: MemberData,
        plan: TrainingPlan,
        generators: list[torch.Generator],
        on_epoch: Callable[[int, Any, np.ndarray], None] | None,
        checkpoint: Checkpoint | None,
    ) -> None:
        """Train the module, keeping every epoch where there is a place for it."""
        store = self._start_keeping(checkpoint)

        def keep(epoch: int, validated: torch.nn.Module, val_losses: np.ndarray) -> None:
            self.module_ = validated
            if store is not None:
                store.keep(epoch, validated.state_dict())
            if on_epoch is not None:
                on_epoch(epoch, self, val_losses)

        curves = train_members(
            module, objective, train, val, plan, generators, on_epoch=keep, checkpoint=checkpoint,
            n_processes=processes_of(self.n_jobs), verbose=self.verbose,
        )  # fmt: skip
        self.__dict__.pop("module_", None)
        usable = [usable_epochs(losses[1:], losses[0] + DIVERGED) for losses in curves.val.T]
        if n_diverged := int(np.isfinite(curves.val[1:]).sum()) - sum(map(len, usable)):
            logger.warning("%s: %d epochs have diverged and are not used", objective.name, n_diverged)
        self.train_losses_, self.val_losses_ = curves.train, curves.val
        if store is not None:
            store.keep_losses(train=curves.train, val=curves.val)
            store.describe(type(self).__name__, self._parameters(), usable)
        self.module_ = module.eval()

    def _join(self, parts: Sequence[Any], checkpoint: Checkpoint | None) -> Any:
        """Become the stack whose members were trained in parts."""
        module = self._build(member_generators(0, self._n_members))
        module.load_state_dict(_joined([part.module_.state_dict() for part in parts]))
        lengths = [len(part.val_losses_) for part in parts]
        padded = [np.full((max(lengths) - length, part._n_members), np.nan) for part, length in zip(parts, lengths, strict=True)]
        losses = {
            kind: np.hstack(
                [np.vstack([getattr(part, f"{kind}_losses_"), rest]) for part, rest in zip(parts, padded, strict=True)]
            )
            for kind in ("train", "val")
        }
        store = self._start_keeping(checkpoint)
        if store is not None:
            usable = [mine for part in parts for mine in part.store_.usable()]
            for epoch in sorted({epoch for mine in usable for epoch in mine}):
                store.keep(epoch, _joined([part.state_after(epoch) for part in parts]))
            store.keep_losses(**losses)
            store.describe(type(self).__name__, self._parameters(), usable)
        self.train_losses_, self.val_losses_ = losses["train"], losses["val"]
        self.module_ = module.to(self._device).eval()
        return self

    def state_after(self, epoch: int) -> dict[str, torch.Tensor]:
        """Weights after an epoch; where it was not kept, because all members were done or it diverged, those of the best."""
        kept = self._store.path(epoch).is_file()
        return (copy.copy(self).load_epoch_model(epoch) if kept else self).module_.state_dict()

    def _learned(self) -> dict[str, Any]:
        """Weights and losses as plain arrays."""
        state = {name: value.cpu().numpy() for name, value in self.module_.state_dict().items()}
        return {"state": state, "train_losses_": self.train_losses_, "val_losses_": self.val_losses_}

    def _take_over(self, learned: dict[str, Any], checkpoint: Checkpoint | None) -> None:
        """Know what an estimator like this one has learned in another process."""
        module = self._build(member_generators(0, self._n_members))
        module.load_state_dict({name: torch.as_tensor(value) for name, value in learned["state"].items()})
        self.module_, self.train_losses_, self.val_losses_ = module.eval(), learned["train_losses_"], learned["val_losses_"]
        if (store := self._place_for_epochs(checkpoint)) is not None:
            self.store_ = store

    def _place_for_epochs(self, checkpoint: Checkpoint | None) -> EpochStore | None:
        """Where epochs are kept, if anywhere."""
        if self.save_path is not None:
            return EpochStore(Path(self.save_path) / self._folder_name)
        return None if checkpoint is None else checkpoint.epochs

    def _start_keeping(self, checkpoint: Checkpoint | None) -> EpochStore | None:
        """Where epochs are kept, if anywhere; forget what an earlier training left, in memory and, unless it goes on, on disk."""
        for name in ("module_", "train_losses_", "val_losses_", "store_"):
            self.__dict__.pop(name, None)
        if (store := self._place_for_epochs(checkpoint)) is None:
            return None
        if checkpoint is not None and checkpoint.exists():
            store.make_folder()
        else:
            store.clear()
        self.store_ = store
        return store

    @property
    def _store(self) -> EpochStore:
        if hasattr(self, "store_"):
            return self.store_
        if self.save_path is None:
            raise ValueError(f"this {type(self).__name__} has no save_path to read epochs from")
        return EpochStore(Path(self.save_path) / self._folder_name)

    @property
    def _device(self) -> torch.device:
        return pick_device("cpu" if self.no_gpu else "auto")

    def _parameters(self) -> dict[str, Any]:
        """What `load_from` needs to build the same module again."""
        parameters = {name: getattr(self, name) for name in (*self.hyperparameters, *self._sizes)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in parameters.items()}

    def _in_use(self, usable: list[Losses]) -> list[Losses]:
        """Those epochs of every member that predictions may need."""
        return usable

    def _best(self, usable: Losses) -> int:
        """The epoch that stands for a training."""
        return next(iter(EpochRule("lowest", 1).choose(usable)))

    def _ready(self) -> torch.nn.Module:
        """The module in `eval` mode; read from where it was kept at the first call."""
        if not hasattr(self, "module_"):
            if not hasattr(self, "store_") and not self.load:
                raise NotFittedError(f"this {type(self).__name__} is not fitted yet: call fit, or use load=True with a save_path")
            self.load_best_model()
        return self.module_

    def _losses(self, kind: str) -> np.ndarray:
        if hasattr(self, f"{kind}_losses_"):
            losses = getattr(self, f"{kind}_losses_").reshape(-1, self._n_members)
        else:
            losses = self._store.losses(kind, self._n_members)
        return losses[:, 0] if self._n_members == 1 else losses


def _joined(states: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """One state of stacks [n_members, ...] that lie behind one another."""
    return {name: torch.cat([state[name] for state in states]) for name in states[0]}
