"""A training in the middle of it: how it is planned, its weights as one tensor, and everything that changes from step to step.

While a stack learns, all its weights lie in one tensor [n_members, n_weights], so that optimizer, clipping and averaging are a few
operations on it, however many layers there are, and a checkpoint is a handful of tensors.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from common.errors import InputError

ALIGNMENT = 16  # floats; every weight begins on a cache line
MAX_ROLLBACKS = 5
WARM_UP = 0.2  # share of a one-cycle schedule in which the learning rate rises


@dataclass(frozen=True)
class TrainingPlan:
    """How a stack is trained.

    Parameters
    ----------
    epochs : int or None
        None trains until the patience of every member is used up.
    batch_size : int
    learning_rate, weight_decay : float
        Of Adam; with `one_cycle` the learning rate is the highest one.
    one_cycle : bool
        Raise the learning rate over the first fifth of the steps and let it fall to nothing (arXiv:1708.07120); else it is constant.
    gradient_clip : float
        Largest norm of a member's gradient; 0 does not clip.
    averaging : float
        Decay per step of the exponential average of the weights that is validated and kept; 0 keeps the weights themselves.
    patience : int
        A member whose validation loss has not become lower for so many epochs is done; 0 lets all train to the end.
    drop_last : bool
        Leave out what does not fill a batch: a smaller batch would weigh its events more, and every shuffle leaves out other events.
    """

    epochs: int | None
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.0
    one_cycle: bool = False
    gradient_clip: float = 0.0
    averaging: float = 0.0
    patience: int = 0
    drop_last: bool = True

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, (int, np.integer)) and value >= 1):
                raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
        if not 0 <= self.averaging < 1:
            raise ValueError(f"averaging must be at least 0 and below 1, not {self.averaging!r}")
        if self.epochs is None and (self.one_cycle or not self.patience):
            raise ValueError("epochs=None needs early stopping, and a schedule that is constant")


@torch.no_grad()
def flatten_parameters(module: torch.nn.Module) -> torch.nn.Parameter:
    """Move all weights of a stack into one tensor [n_members, n_weights], and their gradients into its gradient.

    The module's own parameters and their `.grad` become views of it.
    """
    parameters = list(module.parameters())
    n_members = len(parameters[0])
    sizes = [p[0].numel() for p in parameters]
    starts = np.cumsum([0, *(-(-size // ALIGNMENT) * ALIGNMENT for size in sizes)])
    flat = torch.nn.Parameter(parameters[0].new_zeros(n_members, int(starts[-1])))
    flat.grad = torch.zeros_like(flat)
    for parameter, start, size in zip(parameters, starts, sizes, strict=False):
        view, gradient = (t[:, start : start + size].view(parameter.shape) for t in (flat.data, flat.grad))
        parameter.data = view.copy_(parameter)
        parameter.grad = gradient
    return flat


@torch.no_grad()
def clip_members(gradient: torch.Tensor, largest: float) -> None:
    """Scale the gradient [n_members, n_weights] of every member, separately, to a norm of at most `largest`."""
    norm = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
    gradient.mul_((largest / (norm + 1e-12)).clamp_(max=1))


class WeightAverage:
    """Exponential average of a module's weights; young averages forget faster, so that the initial weights do not linger."""

    def __init__(self, module: torch.nn.Module, weights: torch.Tensor, decay: float) -> None:
        self.module, self.decay, self.n_updates = copy.deepcopy(module), decay, 0
        self._average, self._current = flatten_parameters(self.module), weights

    @torch.no_grad()
    def update(self) -> None:
        """Take in the current weights."""
        self.n_updates += 1
        decay = min(self.decay, self.n_updates / (self.n_updates + 9))
        self._average.lerp_(self._current, 1 - decay)

    def state(self) -> dict[str, Any]:
        """What changes, by reference."""
        return {"weights": self._average.data, "buffers": dict(self.module.named_buffers()), "n_updates": self.n_updates}

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        """Go back to what `state` returned."""
        _copy_tensors([self._average.data], [state["weights"]])
        _copy_named(dict(self.module.named_buffers()), state["buffers"])
        self.n_updates = state["n_updates"]


class TrainingState:
    """Everything of a training that changes from step to step, and that a checkpoint therefore holds.

    Parameters
    ----------
    module : torch.nn.Module
        The stack that is trained.
    plan : TrainingPlan
    n_steps : int
        Per epoch.
    generators : sequence of torch.Generator
        One for every member's shuffles.
    """

    def __init__(self, module: torch.nn.Module, plan: TrainingPlan, n_steps: int, generators: Sequence[torch.Generator]) -> None:
        self.module, self.plan, self.n_steps, self.generators = module, plan, n_steps, generators
        self.weights = flatten_parameters(module)
        self.optimizer = torch.optim.Adam([self.weights], lr=plan.learning_rate, weight_decay=plan.weight_decay, fused=True)
        self.schedule = None
        if plan.one_cycle:
            self.schedule = torch.optim.lr_scheduler.OneCycleLR(
                self.optimizer, plan.learning_rate, total_steps=max(plan.epochs * n_steps + 1, 6), pct_start=WARM_UP
            )
        self.average = WeightAverage(module, self.weights, plan.averaging) if plan.averaging else None
        self.validated = module if self.average is None else self.average.module
        n_members = len(generators)
        self.epoch, self.step, self.n_rollbacks = 0, 0, 0
        self.summed = torch.zeros(n_members, device=self.weights.device)
        self.train_curve: list[np.ndarray] = []
        self.val_curve: list[np.ndarray] = []
        self.lowest, self.epochs_since = np.full(n_members, np.inf), np.zeros(n_members, dtype=int)
        self.best = {name: value.clone() for name, value in self.validated.state_dict().items()}
        self.shuffles = [generator.get_state() for generator in generators]

    @property
    def done(self) -> np.ndarray:
        """Which members have used up their patience [n_members]."""
        return self.epochs_since >= (self.plan.patience or np.inf)

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to train."""
        return self.epoch == self.plan.epochs or bool(self.done.all()) or self.n_rollbacks > MAX_ROLLBACKS

    def take_step(self, losses: torch.Tensor) -> None:
        """Go along the gradient that is in the weights' `.grad`; `losses` are those of the batch [n_members]."""
        self.summed += losses
        if self.done.any():  # they rest; what they would learn is not used, and might overflow
            self.weights.grad[torch.as_tensor(self.done)] = 0
        if self.plan.gradient_clip:
            clip_members(self.weights.grad, self.plan.gradient_clip)
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()
        if self.average is not None:
            self.average.update()
        self.step += 1

    def end_epoch(self, val_losses: np.ndarray) -> None:
        """Take note of the epoch's losses [n_members] and keep the weights of those members that have become better."""
        self.train_curve.append(np.where(np.isnan(val_losses), np.nan, (self.summed / self.n_steps).cpu().numpy()))
        self.val_curve.append(val_losses)
        better = val_losses < self.lowest
        for name, value in self.validated.state_dict().items():
            if value.shape[:1] == better.shape:  # else it is no member's own
                self.best[name][better] = value[better]
            else:
                self.best[name].copy_(value)
        self.lowest, self.epochs_since = np.where(better, val_losses, self.lowest), np.where(better, 0, self.epochs_since + 1)
        self.epoch, self.step = self.epoch + 1, 0
        self.summed.zero_()
        self.shuffles = [generator.get_state() for generator in self.generators]

    def is_finite(self, val_losses: np.ndarray | None = None) -> bool:
        """Whether losses and weights of the members that still learn are numbers."""
        learning = ~self.done
        finite = (torch.isfinite(self.summed) & torch.isfinite(self.weights).all(dim=1)).cpu().numpy()
        return bool(finite[learning].all() and (val_losses is None or np.isfinite(val_losses[learning]).all()))

    def roll_back(self, good: dict[str, Any]) -> None:
        """Return to the state `good`, with half its learning rate."""
        n_rollbacks = self.n_rollbacks + 1
        self.restore(good)
        self.n_rollbacks = n_rollbacks
        self.weights.grad.zero_()  # between the weights of the layers nothing overwrites it
        for group in self.optimizer.param_groups:
            for name in ("lr", "initial_lr", "max_lr", "min_lr"):
                if name in group:
                    group[name] *= 0.5

    def state(self) -> dict[str, Any]:
        """All of it, by reference."""
        return {
            "weights": self.weights.data,
            "buffers": dict(self.module.named_buffers()),
            "optimizer": self.optimizer.state_dict(),
            "schedule": {} if self.schedule is None else self.schedule.state_dict(),
            "average": None if self.average is None else self.average.state(),
            "progress": [self.epoch, self.step, self.n_rollbacks],
            "summed": self.summed,
            "curves": [torch.as_tensor(np.stack(curve)) for curve in (self.train_curve, self.val_curve)],
            "patience": [torch.as_tensor(self.lowest), torch.as_tensor(self.epochs_since)],
            "best": self.best,
            "shuffles": self.shuffles,
        }

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        """Go back to what `state` returned, here or in another process.

        Raises
        ------
        InputError
            If it is the state of another training.
        """
        state = copy.deepcopy(state)  # which the optimizer would otherwise go on to change
        try:
            _copy_tensors([self.weights.data, self.summed], [state["weights"], state["summed"]])
            _copy_named(dict(self.module.named_buffers()), state["buffers"])
            _copy_named(self.best, state["best"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.schedule is not None:
                self.schedule.load_state_dict(state["schedule"])
            if self.average is not None:
                self.average.restore(state["average"])
            self.epoch, self.step, self.n_rollbacks = (int(number) for number in state["progress"])
            self.train_curve, self.val_curve = (list(curve.numpy()) for curve in state["curves"])
            if not len(self.train_curve) == len(self.val_curve) == self.epoch + 1:
                raise ValueError(f"{len(self.val_curve)} losses after {self.epoch} epochs")
            self.lowest, self.epochs_since = (tensor.numpy() for tensor in state["patience"])
            self.shuffles = state["shuffles"]
            for generator, shuffle in zip(self.generators, self.shuffles, strict=True):
                generator.set_state(shuffle)
        except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"the checkpoint belongs to another training ({reason}); without --resume it begins anew") from error


def _copy_named(targets: dict[str, torch.Tensor], sources: dict[str, torch.Tensor]) -> None:
    if targets.keys() != sources.keys():
        raise ValueError(f"other tensors: {', '.join(sorted(targets.keys() ^ sources.keys()))}")
    _copy_tensors(list(targets.values()), [sources[name] for name in targets])


def _copy_tensors(targets: Sequence[torch.Tensor], sources: Sequence[torch.Tensor]) -> None:
    for target, source in zip(targets, sources, strict=True):
        if target.shape != source.shape:
            raise ValueError(f"shape {tuple(source.shape)} instead of {tuple(target.shape)}")
        target.copy_(source)
