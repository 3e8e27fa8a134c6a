"""The one training loop: several independent members of one stacked module learn side by side from resident data.

Flows and classifiers are stacks alike: every weight is [n_members, ...]. Every member has its own rows to learn from, its own shuffles
and its own loss; the members share nothing but the clock, and the learning rate.
"""

from __future__ import annotations

import copy
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from common.progress import progress
from models.training.checkpoints import Checkpoint
from models.training.state import TrainingPlan, TrainingState

logger = logging.getLogger(__name__)

MemberLosses = Callable[..., torch.Tensor]  # batch tensors, each [n_members, batch, ...] -> mean losses [n_members] (nats)
EpochCallback = Callable[[int, torch.nn.Module, np.ndarray], None]
STEPS_GATHERED = 32  # whose events are fetched together
EVENTS_VALIDATED = 4096  # members times events per chunk of validation: their activations stay in cache


@dataclass(frozen=True)
class Objective:
    """What is to become small.

    Parameters
    ----------
    name : str
        What learns, for log and progress bar.
    losses : callable
        Makes of a module the function that takes the tensors of a batch, each [n_members, batch, ...], to the mean loss of every member
        [n_members] in nats.
    gradients : callable, optional
        Likewise, but the function also writes the gradient of the summed losses into every parameter's `.grad`, in place; autograd by
        default.
    calibrate : callable, optional
        Called before every validation with what is validated: estimates the statistics of normalisation layers.
    """

    name: str
    losses: Callable[[torch.nn.Module], MemberLosses]
    gradients: Callable[[torch.nn.Module], MemberLosses] | None = None
    calibrate: Callable[[torch.nn.Module], None] | None = None


@dataclass(frozen=True)
class MemberData:
    """Events resident on the device, tensors [n, ...], and the rows of them [n_members, k] that every member is given."""

    tensors: Sequence[torch.Tensor]
    rows: torch.Tensor

    @classmethod
    def all_for_all(cls, tensors: Sequence[torch.Tensor], n_members: int) -> MemberData:
        """Every member is given all events."""
        n = len(tensors[0])
        return cls(tensors, torch.arange(n, device=tensors[0].device).expand(n_members, n))


@dataclass(frozen=True)
class TrainingCurves:
    """Losses per event in nats, [n_epochs + 1, n_members]; index 0 is before training, index e + 1 is after epoch e.

    NaN where a member was done already.
    """

    train: np.ndarray
    val: np.ndarray


@torch.no_grad()
def mean_losses(member_losses: MemberLosses, data: MemberData) -> np.ndarray:
    """Mean loss of every member over its rows [n_members], in chunks that stay in cache."""
    rows = data.rows
    total = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    for part in rows.split(max(1, EVENTS_VALIDATED // len(rows)), dim=1):
        total += member_losses(*(tensor[part] for tensor in data.tensors)).double() * part.shape[1]
    return (total / rows.shape[1]).cpu().numpy()


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
    objective: Objective,
    train: MemberData,
    val: MemberData,
    plan: TrainingPlan,
    generators: Sequence[torch.Generator],
    *,
    on_epoch: EpochCallback | None = None,
    checkpoint: Checkpoint | None = None,
    verbose: bool = True,
) -> TrainingCurves:
    """Train the module in place, with Adam as planned; it ends with every member's weights of lowest validation loss, or the last ones.

    Where losses become NaN or infinite, all members go back to the beginning of the epoch and on with half the learning rate, at most
    five times; then the training ends with the epochs it has.

    Parameters
    ----------
    generators : sequence of torch.Generator
        Source of every member's shuffles (on the CPU).
    on_epoch : callable, optional
        Called after every epoch with its number, the module that was validated (in `eval` mode) and the validation losses [n_members].
    checkpoint : Checkpoint, optional
        Where the training is kept while it runs, and from where it goes on if it was interrupted: it then ends bit for bit where it
        would have ended.
    """
    n_train, name = train.rows.shape[1], objective.name
    batch_size = min(plan.batch_size, n_train)
    n_steps = n_train // batch_size if plan.drop_last else -(-n_train // batch_size)
    run = TrainingState(module, plan, n_steps, generators)
    losses_of_validated = objective.losses(run.validated)
    by_hand = objective.gradients
    losses_and_gradients = by_autograd(objective.losses(module), module) if by_hand is None else by_hand(module)
    rows = torch.empty_like(train.rows, memory_format=torch.contiguous_format)

    def validate() -> np.ndarray:
        if objective.calibrate is not None:
            objective.calibrate(run.validated)
        run.validated.eval()
        return np.where(run.done, np.nan, mean_losses(losses_of_validated, val))

    def run_steps(epochs_start: dict[str, Any]) -> None:
        """The epoch's remaining steps."""
        module.train()
        for shuffled, mine, generator in zip(rows, train.rows, generators, strict=True):
            torch.index_select(mine, 0, torch.randperm(n_train, generator=generator).to(mine.device), out=shuffled)
        for batch in batches(train.tensors, rows, batch_size, plan.drop_last, run.step):
            run.take_step(losses_and_gradients(*batch))
            bar.update()
            if checkpoint is not None and checkpoint.is_due:
                if run.is_finite():
                    checkpoint.save(run.state() | {"epochs_start": epochs_start})
                checkpoint.raise_if_interrupted()

    kept = None if checkpoint is None else checkpoint.load()
    if kept is None:
        run.val_curve.append(validate())
        run.train_curve.append(mean_losses(losses_of_validated, train))
    else:
        run.restore(kept)
        good = kept.get("epochs_start")
        logger.info("%s: %s", name, "is trained already" if run.is_over else f"goes on in epoch {run.epoch}")
    n_planned = None if plan.epochs is None else plan.epochs * n_steps
    bar = progress(name, "step", n_planned, done=run.epoch * n_steps + run.step, shown=verbose)
    with bar, nullcontext() if checkpoint is None else checkpoint.signals_deferred():
        while not run.is_over:
            if run.step == 0:
                good = copy.deepcopy(run.state())
            run_steps(good)
            val_losses = validate()
            if not run.is_finite(val_losses):
                run.roll_back(good)
                bar.n = run.epoch * n_steps
                outcome = "the training ends here" if run.is_over else "once more from its beginning with half the learning rate"
                logger.warning("%s: the losses are not finite in epoch %d; %s", name, run.epoch, outcome)
                continue
            run.end_epoch(val_losses)
            means = [float(np.nanmean(values)) for values in (run.train_curve[-1], val_losses)]
            logger.debug("%s: epoch %d, training loss %.4f, validation loss %.4f nats", name, run.epoch - 1, *means)
            bar.set_postfix(epoch=run.epoch, train=f"{means[0]:.4f}", val=f"{means[1]:.4f}", refresh=False)
            if on_epoch is not None:
                on_epoch(run.epoch - 1, run.validated, val_losses)
            if checkpoint is not None:
                checkpoint.save(run.state())
                checkpoint.raise_if_interrupted()
    if checkpoint is not None:
        checkpoint.raise_if_interrupted()
    if plan.patience and run.done.all():
        logger.info("%s: no lower validation loss for %d epochs; %d epochs were trained", name, plan.patience, run.epoch)
    module.load_state_dict(run.best)
    rest = [np.full(len(generators), np.nan)] * (0 if plan.epochs is None else plan.epochs + 1 - len(run.val_curve))
    return TrainingCurves(np.stack(run.train_curve + rest), np.stack(run.val_curve + rest))


def batches(
    data: Sequence[torch.Tensor], rows: torch.Tensor, batch_size: int, drop_last: bool, first: int = 0
) -> Iterator[tuple[torch.Tensor, ...]]:
    """The events of shuffled `rows` [n_members, n], batch by batch [n_members, batch_size, ...], from number `first` on.

    They are fetched for many steps at once, the same steps whatever is first: where a batch lies in memory may decide its last bits.
    """
    n_full = rows.shape[1] // batch_size * batch_size
    steps = rows[:, :n_full].unflatten(1, (-1, batch_size)).transpose(0, 1)
    for start in range(first // STEPS_GATHERED * STEPS_GATHERED, len(steps), STEPS_GATHERED):
        some_steps = steps[start : start + STEPS_GATHERED].contiguous()
        fetched = zip(*(tensor[some_steps] for tensor in data), strict=True)
        yield from itertools.islice(fetched, max(0, first - start), None)
    if not drop_last and max(n_full, first * batch_size) < rows.shape[1]:
        yield tuple(tensor[rows[:, n_full:]] for tensor in data)
