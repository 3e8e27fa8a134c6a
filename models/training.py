"""The one training loop: several independent members of one stacked module learn side by side from resident data.

Flows and classifiers are stacks alike: every weight is [n_members, ...]. Every member has its own rows to learn from, its own shuffles
and its own loss; the members share nothing but the clock. While they learn, all weights lie in one tensor [n_members, n_weights], so that
optimizer, clipping and averaging are a few operations on it, however many layers there are.
"""

from __future__ import annotations

import copy
import itertools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

logger = logging.getLogger(__name__)

MemberLosses = Callable[..., torch.Tensor]
EpochCallback = Callable[[int, torch.nn.Module, np.ndarray], None]
SECONDS_BETWEEN_LOGS = 30  # where no progress bar is seen, in a batch log
STEPS_GATHERED = 32  # whose events are fetched together
EVENTS_VALIDATED = 4096  # members times events per chunk of validation: their activations stay in cache
ALIGNMENT = 16  # floats; every weight begins on a cache line
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


@dataclass(frozen=True)
class TrainingCurves:
    """Losses per event in nats, [n_epochs + 1, n_members]; index 0 is before training, index e + 1 is after epoch e.

    NaN where a member was done already.
    """

    train: np.ndarray
    val: np.ndarray


@torch.no_grad()
def mean_losses(member_losses: MemberLosses, data: Sequence[torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
    """Mean loss of every member over its `rows` [n_members, n], in chunks that stay in cache."""
    total = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    for part in rows.split(max(1, EVENTS_VALIDATED // len(rows)), dim=1):
        total += member_losses(*(tensor[part] for tensor in data)).double() * part.shape[1]
    return total / rows.shape[1]


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


def by_autograd(losses: MemberLosses, module: torch.nn.Module) -> MemberLosses:
    """The same losses of `module`, also writing the gradient of their sum into every parameter's `.grad`, in place."""
    parameters = list(module.parameters())
    gradients = [parameter.grad for parameter in parameters]

    def losses_and_gradients(*batch: torch.Tensor) -> torch.Tensor:
        result = losses(*batch)
        torch._foreach_copy_(gradients, torch.autograd.grad(result.sum(), parameters))
        return result.detach()

    return losses_and_gradients


def compiler_works() -> bool:
    """Whether `torch.compile` finds what it needs here; tried on a small function."""
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.zeros(8))
    except Exception:  # whatever a missing or broken tool chain raises
        return False
    return True


def train_members(
    module: torch.nn.Module,
    member_losses: Callable[[torch.nn.Module], MemberLosses],
    data: Sequence[torch.Tensor],
    train_rows: torch.Tensor,
    val_data: Sequence[torch.Tensor],
    val_rows: torch.Tensor,
    plan: TrainingPlan,
    generators: Sequence[torch.Generator],
    *,
    gradients: Callable[[torch.nn.Module], MemberLosses] | None = None,
    calibrate: Callable[[torch.nn.Module], None] | None = None,
    on_epoch: EpochCallback | None = None,
    label: str = "training",
    verbose: bool = True,
) -> TrainingCurves:
    """Train with Adam as planned.

    Parameters
    ----------
    module : torch.nn.Module
        What is trained, in place.
    member_losses : callable
        Makes of a module the function that takes the tensors of a batch, each [n_members, batch, ...], to the mean loss of every member
        [n_members] in nats.
    data, val_data : sequences of tensors [n, ...]
        Resident on the device; batches are drawn from them by index.
    train_rows, val_rows : integer tensors [n_members, n]
        The rows every member learns from and is validated on.
    generators : sequence of torch.Generator
        Source of every member's shuffles (on the CPU).
    gradients : callable, optional
        Like `member_losses`, but what it makes also writes the gradient of the summed losses into every parameter's `.grad`, in place;
        autograd by default.
    calibrate : callable, optional
        Called before every validation with what is validated: estimates the statistics of normalisation layers.
    on_epoch : callable, optional
        Called after every epoch with its number, the module that was validated (in `eval` mode) and the validation losses [n_members].

    Returns
    -------
    TrainingCurves
    """
    weights = flatten_parameters(module)
    optimizer = torch.optim.Adam([weights], lr=plan.learning_rate, weight_decay=plan.weight_decay, fused=True)
    n_members, n_train = train_rows.shape
    batch_size = min(plan.batch_size, n_train)
    n_steps = n_train // batch_size if plan.drop_last else -(-n_train // batch_size)
    schedule = None
    if plan.one_cycle:
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, plan.learning_rate, total_steps=max(plan.epochs * n_steps + 1, 6), pct_start=WARM_UP
        )
    average = WeightAverage(module, weights, plan.averaging) if plan.averaging else None
    validated = module if average is None else average.module
    train_curve, val_curve = [], []
    losses_of_validated = member_losses(validated)
    losses_and_gradients = by_autograd(member_losses(module), module) if gradients is None else gradients(module)
    rows = torch.empty_like(train_rows, memory_format=torch.contiguous_format)
    lowest, epochs_since = np.full(n_members, np.inf), np.zeros(n_members, dtype=int)

    def validate() -> np.ndarray:
        if calibrate is not None:
            calibrate(validated)
        validated.eval()
        done = epochs_since >= plan.patience if plan.patience else np.zeros(n_members, dtype=bool)
        val_curve.append(np.where(done, np.nan, mean_losses(losses_of_validated, val_data, val_rows).cpu().numpy()))
        return val_curve[-1]

    validate()
    train_curve.append(mean_losses(losses_of_validated, data, train_rows).cpu().numpy())
    last_logged = time.monotonic()
    numbers = itertools.count() if plan.epochs is None else range(plan.epochs)
    progress = tqdm(numbers, desc=label, unit="epoch", disable=None if verbose else True)
    for epoch in progress:
        module.train()
        for shuffled, mine, generator in zip(rows, train_rows, generators, strict=True):
            torch.index_select(mine, 0, torch.randperm(n_train, generator=generator).to(mine.device), out=shuffled)
        summed = torch.zeros(n_members, device=rows.device)
        for batch in batches(data, rows, batch_size, plan.drop_last):
            summed += losses_and_gradients(*batch)
            if plan.gradient_clip:
                clip_members(weights.grad, plan.gradient_clip)
            optimizer.step()
            if schedule is not None:
                schedule.step()
            if average is not None:
                average.update()
        val_losses = validate()
        train_curve.append(np.where(np.isnan(val_losses), np.nan, (summed / n_steps).cpu().numpy()))
        mean = [float(np.nanmean(values)) if np.isfinite(values).any() else np.nan for values in (train_curve[-1], val_losses)]
        level = logging.INFO if verbose and time.monotonic() - last_logged > SECONDS_BETWEEN_LOGS else logging.DEBUG
        last_logged = time.monotonic() if level == logging.INFO else last_logged
        logger.log(level, "%s: epoch %d, training loss %.4f, validation loss %.4f nats", label, epoch, *mean)
        progress.set_postfix(train=f"{mean[0]:.4f}", val=f"{mean[1]:.4f}")
        if on_epoch is not None:
            on_epoch(epoch, validated, val_losses)
        better = val_losses < lowest
        lowest, epochs_since = np.where(better, val_losses, lowest), np.where(better, 0, epochs_since + 1)
        if not np.isfinite(val_losses).any() and not torch.isfinite(summed).any():
            logger.warning("%s: the losses are not finite after epoch %d; training stops here", label, epoch)
            break
        if plan.patience and (epochs_since >= plan.patience).all():
            logger.info("%s: no lower validation loss for %d epochs; training stops after epoch %d", label, plan.patience, epoch)
            break
    rest = [np.full(n_members, np.nan)] * (0 if plan.epochs is None else plan.epochs + 1 - len(val_curve))
    return TrainingCurves(np.stack(train_curve + rest), np.stack(val_curve + rest))


def batches(
    data: Sequence[torch.Tensor], rows: torch.Tensor, batch_size: int, drop_last: bool
) -> Iterator[tuple[torch.Tensor, ...]]:
    """The events of shuffled `rows` [n_members, n], batch by batch [n_members, batch_size, ...], fetched for many steps at once."""
    n_full = rows.shape[1] // batch_size * batch_size
    steps = rows[:, :n_full].unflatten(1, (-1, batch_size)).transpose(0, 1)
    for some_steps in steps.split(STEPS_GATHERED):
        some_steps = some_steps.contiguous()
        yield from zip(*(tensor[some_steps] for tensor in data), strict=True)
    if not drop_last and n_full < rows.shape[1]:
        yield tuple(tensor[rows[:, n_full:]] for tensor in data)
