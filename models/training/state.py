"""A training in the middle of it: how it is planned, its weights as one tensor, and everything that changes from step to step.

While a stack learns, all its weights lie in one tensor [n_members, n_weights], so that optimizer, clipping and averaging are a few
operations on it, however many layers there are, and a checkpoint is a handful of tensors.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from common.errors import InputError
from models.arrays import shared_zeros

ALIGNMENT = 16  # floats; every weight begins on a cache line
MAX_ROLLBACKS = 5
MIN_STEPS_PER_EPOCH = 40
WARM_UP = 0.2  # share of a one-cycle schedule in which the learning rate rises
FIRST_RATE, LAST_RATE = 1 / 25, 1 / 25e4  # of a one-cycle schedule, in units of the highest
BETAS, EPSILON = (0.9, 0.999), 1e-8  # of Adam
BETA_RANGE = (0.85, 0.95)  # of Adam's first one in a one-cycle schedule: low where the learning rate is high


@dataclass(frozen=True)
class TrainingPlan:
    """How a stack is trained.

    Parameters
    ----------
    epochs : int or None
        None trains until the patience of every member is used up.
    batch_size : int
    learning_rate, weight_decay : float
        Of Adam (the decay is added to the gradient); with `one_cycle` the learning rate is the highest one.
    one_cycle : bool
        Raise the learning rate over the first fifth of the steps and let it fall to nothing, and Adam's momentum the other way round
        (arXiv:1708.07120); else both are constant.
    gradient_clip : float
        Largest norm of a member's gradient; 0 does not clip.
    averaging : float
        Decay per step of the exponential average of the weights that is validated and kept; 0 keeps the weights themselves.
    patience : int
        A member whose validation loss has not become lower for so many epochs is done; 0 lets all train to the end.
    keep_last : bool
        End with the weights of the last epoch instead of those of lowest validation loss.
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
    keep_last: bool = False
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

    def pace(self, step: int, n_steps: int) -> tuple[float, float]:
        """Learning rate and Adam's first beta of a step, out of so many."""
        if not self.one_cycle:
            return self.learning_rate, BETAS[0]
        top = max(WARM_UP * n_steps - 1, 1)
        if step <= top:
            rise, first = 0.5 - 0.5 * math.cos(math.pi * step / top), FIRST_RATE
        else:
            rise, first = 0.5 + 0.5 * math.cos(math.pi * min((step - top) / max(n_steps - 1 - top, 1), 1)), LAST_RATE
        return self.learning_rate * (first + (1 - first) * rise), BETA_RANGE[1] - (BETA_RANGE[1] - BETA_RANGE[0]) * rise


def default_batch_size(n_train: int, largest: int) -> int:
    """Events per step: large batches are fast, but a small sample needs its steps more than full batches.

    Examples
    --------
    >>> [default_batch_size(n, 1024) for n in (1_500, 20_000, 480_000)]
    [64, 500, 1024]
    """
    return min(max(n_train // MIN_STEPS_PER_EPOCH, 64), largest)


@torch.no_grad()
def flatten_parameters(module: torch.nn.Module, flat: torch.nn.Parameter | None = None) -> torch.nn.Parameter:
    """Move all weights of a stack into one tensor [n_members, n_weights], and their gradients into its gradient.

    The module's own parameters and their `.grad` become views of it. On the CPU, forked processes share this memory.

    Parameters
    ----------
    flat : torch.nn.Parameter, optional
        Use these weights (of another module of the same kind) instead of the module's own; the gradient is a new one in any case.
    """
    parameters = list(module.parameters())
    n_members = len(parameters[0])
    sizes = [p[0].numel() for p in parameters]
    starts = np.cumsum([0, *(-(-size // ALIGNMENT) * ALIGNMENT for size in sizes)])
    is_own, shape, kind = flat is None, (n_members, int(starts[-1])), {"dtype": parameters[0].dtype}
    allocate = shared_zeros if parameters[0].device.type == "cpu" else partial(torch.zeros, device=parameters[0].device)
    flat = torch.nn.Parameter(allocate(shape, **kind) if is_own else flat.data)
    flat.grad = allocate(shape, **kind)
    for parameter, start, size in zip(parameters, starts, sizes, strict=False):
        view, gradient = (t[:, start : start + size].view(parameter.shape) for t in (flat.data, flat.grad))
        parameter.data = view.copy_(parameter) if is_own else view
        parameter.grad = gradient
    return flat


@torch.no_grad()
def clip_members(gradient: torch.Tensor, largest: float) -> None:
    """Scale the gradient [n_members, n_weights] of every member, separately, to a norm of at most `largest`."""
    norm = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
    gradient.mul_((largest / (norm + 1e-12)).clamp_(max=1))


class Adam:
    """Adam (arXiv:1412.6980) for one tensor of weights; torch's own would import its compiler, 100 MB and a second and a half."""

    def __init__(self, weights: torch.nn.Parameter, weight_decay: float) -> None:
        self.weights, self.weight_decay, self.n_steps = weights, weight_decay, 0
        self.mean, self.square, self._scale = (torch.zeros_like(weights.data) for _ in range(3))

    @torch.no_grad()
    def step(self, learning_rate: float, beta: float) -> None:
        """Move the weights along their gradient."""
        self.n_steps += 1
        gradient = self.weights.grad
        if self.weight_decay:
            gradient = gradient.add(self.weights, alpha=self.weight_decay)
        self.mean.lerp_(gradient, 1 - beta)
        self.square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        torch.sqrt(self.square, out=self._scale).div_(math.sqrt(1 - BETAS[1] ** self.n_steps)).add_(EPSILON)
        self.weights.addcdiv_(self.mean, self._scale, value=-learning_rate / (1 - beta**self.n_steps))

    def state(self) -> dict[str, Any]:
        """What changes, by reference."""
        return {"mean": self.mean, "square": self.square, "n_steps": self.n_steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to what `state` returned."""
        _copy_tensors([self.mean, self.square], [state["mean"], state["square"]])
        self.n_steps = int(state["n_steps"])


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
        self.optimizer = Adam(self.weights, plan.weight_decay)
        self.n_planned = n_steps * (plan.epochs or 1)
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
    def pace(self) -> tuple[float, float]:
        """Learning rate and Adam's first beta of the next step; the rate is halved by every return to an epoch's beginning."""
        rate, beta = self.plan.pace(self.epoch * self.n_steps + self.step, self.n_planned)
        return rate * 0.5**self.n_rollbacks, beta

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
        self.optimizer.step(*self.pace)
        if self.average is not None:
            self.average.update()
        self.step += 1

    def end_epoch(self, val_losses: np.ndarray) -> None:
        """Take note of the epoch's losses [n_members], and keep the weights of members that have become better (or of all that learn)."""
        self.train_curve.append(np.where(np.isnan(val_losses), np.nan, (self.summed / self.n_steps).cpu().numpy()))
        self.val_curve.append(val_losses)
        better = val_losses < self.lowest
        kept = np.isfinite(val_losses) if self.plan.keep_last else better
        for name, value in self.validated.state_dict().items():
            if value.shape[:1] == kept.shape:  # else it is no member's own
                self.best[name][kept] = value[kept]
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

    def state(self) -> dict[str, Any]:
        """All of it, by reference."""
        return {
            "weights": self.weights.data,
            "buffers": dict(self.module.named_buffers()),
            "optimizer": self.optimizer.state(),
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
        try:
            _copy_tensors([self.weights.data, self.summed], [state["weights"], state["summed"]])
            _copy_named(dict(self.module.named_buffers()), state["buffers"])
            _copy_named(self.best, state["best"])
            self.optimizer.restore(state["optimizer"])
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
