"""The one training loop: several independent members of one stacked module learn side by side from resident data.

A flow is a stack of one member, an ensemble of classifiers a stack of `n_runs`. Every member has its own rows to learn
from, its own shuffles and its own loss; the members share nothing but the clock.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LOGS = 30  # where no progress bar is seen, in a batch log
MemberLosses = Callable[..., torch.Tensor]
EpochCallback = Callable[[int, np.ndarray], None]


@dataclass(frozen=True)
class TrainingCurves:
    """Losses per event in nats, [n_epochs + 1, n_members]; index 0 is before training, index e + 1 is after epoch e."""

    train: np.ndarray
    val: np.ndarray


@torch.no_grad()
def mean_losses(member_losses: MemberLosses, data: Sequence[torch.Tensor], rows: torch.Tensor, chunk: int = 4096) -> torch.Tensor:
    """Mean loss of every member over its `rows` [n_members, n], in chunks that stay in cache."""
    total = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    for part in rows.split(chunk, dim=1):
        total += member_losses(*(tensor[part] for tensor in data)).double() * part.shape[1]
    return total / rows.shape[1]


def train_members(
    module: torch.nn.Module,
    member_losses: MemberLosses,
    data: Sequence[torch.Tensor],
    train_rows: torch.Tensor,
    val_data: Sequence[torch.Tensor],
    val_rows: torch.Tensor,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    generator: torch.Generator,
    calibrate: Callable[[], None] | None = None,
    on_epoch: EpochCallback | None = None,
    label: str = "training",
) -> TrainingCurves:
    """Train with Adam for a number of epochs.

    Parameters
    ----------
    module : torch.nn.Module
        What is trained, in place. Put into `eval` mode for validation and when done.
    member_losses : callable
        Takes the tensors of a batch, each [n_members, batch, ...], and returns the mean loss of every member [n_members] in nats.
    data, val_data : sequences of tensors [n, ...]
        Resident on the device; batches are drawn from them by index.
    train_rows, val_rows : integer tensors [n_members, n]
        The rows every member learns from and is validated on.
    calibrate : callable, optional
        Called before every validation, in training mode: estimates the statistics of normalisation layers.
    on_epoch : callable, optional
        Called after every epoch with its number and the validation losses [n_members].
    generator : torch.Generator
        Source of the shuffles (on the CPU).

    Returns
    -------
    TrainingCurves
        If every member becomes non-finite the training stops early and the remaining losses are NaN.
    """
    optimizer = torch.optim.Adam(module.parameters(), lr=learning_rate, weight_decay=weight_decay)
    n_members, n_train = train_rows.shape
    batch_size = min(batch_size, n_train)
    curves = TrainingCurves(*(np.full((epochs + 1, n_members), np.nan) for _ in range(2)))

    def validate(epoch: int) -> np.ndarray:
        if calibrate is not None:
            calibrate()
        module.eval()
        curves.val[epoch + 1] = mean_losses(member_losses, val_data, val_rows).cpu().numpy()
        return curves.val[epoch + 1]

    validate(-1)
    curves.train[0] = mean_losses(member_losses, data, train_rows).cpu().numpy()
    last_logged = time.monotonic()
    progress = tqdm(range(epochs), desc=label, unit="epoch", disable=None)
    for epoch in progress:
        module.train()
        shuffles = [torch.randperm(n_train, generator=generator) for _ in range(n_members)]
        rows = torch.gather(train_rows, 1, torch.stack(shuffles).to(train_rows.device))
        # A last partial batch would weigh its events more and mislead batch norm; every shuffle leaves out other events.
        batches = rows[:, : n_train // batch_size * batch_size].split(batch_size, dim=1)
        summed = torch.zeros(n_members, device=rows.device)
        for batch in batches:
            losses = member_losses(*(tensor[batch] for tensor in data))
            optimizer.zero_grad(set_to_none=True)
            losses.sum().backward()
            optimizer.step()
            summed += losses.detach()
        curves.train[epoch + 1] = (summed / len(batches)).cpu().numpy()
        val_losses = validate(epoch)
        means = curves.train[epoch + 1].mean(), val_losses.mean()
        level = logging.INFO if time.monotonic() - last_logged > SECONDS_BETWEEN_LOGS else logging.DEBUG
        last_logged = time.monotonic() if level == logging.INFO else last_logged
        logger.log(level, "%s: epoch %d of %d, training loss %.4f, validation loss %.4f nats", label, epoch, epochs, *means)
        progress.set_postfix(train=f"{means[0]:.4f}", val=f"{means[1]:.4f}")
        if on_epoch is not None:
            on_epoch(epoch, val_losses)
        if not np.isfinite(val_losses).any() and not np.isfinite(curves.train[epoch + 1]).any():
            logger.warning("%s: the losses are not finite after epoch %d; training stops here", label, epoch)
            break
    return curves
