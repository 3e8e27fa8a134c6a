"""The one training loop: several independent members of one stacked module learn side by side from resident data.

Flows and classifiers are stacks alike: every weight is [n_members, ...]. Every member has its own rows to learn from, its own shuffles
and its own loss; the members share nothing but the clock, and the learning rate.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from common.progress import progress
from models.arrays import one_thread
from models.training.checkpoints import Checkpoint
from models.training.parts import MemberData, MemberLosses, Parts, Work
from models.training.state import TrainingPlan, TrainingState, flatten_parameters

logger = logging.getLogger(__name__)

EpochCallback = Callable[[int, torch.nn.Module, np.ndarray], None]


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
    n_parts : int
        In so many parts (1 or 2) is every batch computed; a second process may share them.
    """

    name: str
    losses: Callable[[torch.nn.Module], MemberLosses]
    gradients: Callable[[torch.nn.Module], MemberLosses] | None = None
    calibrate: Callable[[torch.nn.Module], None] | None = None
    n_parts: int = 1

    def work(self, module: torch.nn.Module, gradient: torch.Tensor, validated: torch.nn.Module) -> Work:
        """How one part is computed; the module's parameters and gradients are views of flat tensors."""
        losses = self.losses(module)
        by_hand = by_autograd(losses, module) if self.gradients is None else self.gradients(module)
        return Work(by_hand, self.losses(validated), gradient)


@dataclass(frozen=True)
class TrainingCurves:
    """Losses per event in nats, [n_epochs + 1, n_members]; index 0 is before training, index e + 1 is after epoch e.

    NaN where a member was done already.
    """

    train: np.ndarray
    val: np.ndarray


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
    n_processes: int = 1,
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
    n_processes : int
        A second process computes the second part of every batch, if there is one; the result is the same.
    """
    n_train, name = train.rows.shape[1], objective.name
    batch_size = min(plan.batch_size, n_train)
    drop_last = plan.drop_last or n_train % batch_size == 1  # a single event has no variance, which batch normalization needs
    n_steps = n_train // batch_size if drop_last else -(-n_train // batch_size)
    run = TrainingState(module, plan, n_steps, generators)
    work = [objective.work(module, run.weights.grad, run.validated)]
    for _ in range(1, objective.n_parts):
        twin = copy.deepcopy(module)
        work.append(objective.work(twin, flatten_parameters(twin, run.weights).grad, run.validated))
    parts = Parts(work, train, val, batch_size, drop_last, n_processes)

    def validate() -> np.ndarray:
        if objective.calibrate is not None:
            objective.calibrate(run.validated)
        run.validated.eval()
        return np.where(run.done, np.nan, parts.mean_losses(1))

    def run_steps(epochs_start: dict[str, Any]) -> None:
        """The epoch's remaining steps."""
        module.train()
        for shuffled, mine, generator in zip(parts.rows, train.rows, generators, strict=True):
            torch.index_select(mine, 0, torch.randperm(n_train, generator=generator).to(mine.device), out=shuffled)
        parts.begin(run.step)
        while run.step < n_steps:
            run.take_step(parts.step(run.step))
            bar.update()
            if checkpoint is not None and checkpoint.is_due:
                if run.is_finite():
                    checkpoint.save(run.state() | {"epochs_start": epochs_start})
                checkpoint.raise_if_interrupted()

    kept = None if checkpoint is None else checkpoint.load()
    if kept is not None:
        run.restore(kept)
        good = kept.get("epochs_start")
        logger.info("%s: %s", name, "is trained already" if run.is_over else f"goes on in epoch {run.epoch}")
    n_planned = None if plan.epochs is None else plan.epochs * n_steps
    bar = progress(name, "step", n_planned, done=run.epoch * n_steps + run.step, shown=verbose)
    with one_thread(), parts, bar, nullcontext() if checkpoint is None else checkpoint.signals_deferred():
        if kept is None:
            run.val_curve.append(validate())
            run.train_curve.append(parts.mean_losses(0))
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
            best = float(np.nanmin(run.val_curve, axis=0).mean())
            bar.set_postfix(epoch=run.epoch, train=f"{means[0]:.4f}", val=f"{means[1]:.4f}", best=f"{best:.4f}", refresh=False)
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
