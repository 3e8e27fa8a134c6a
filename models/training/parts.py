"""A batch is computed in parts, which a second process may share: the parts, not the processes, decide the result to the last bit.

Weights, shuffled rows, gradients and losses lie in memory that both processes see; two semaphores say whose turn it is. Neither process
spins while it waits, so that a busy machine is not made busier.
"""

from __future__ import annotations

import itertools
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType

import numpy as np
import torch

from common.processes import died, end_with_parent, usable_cores
from common.signals import ENDING_SIGNALS
from models.arrays import shared_zeros

MemberLosses = Callable[..., torch.Tensor]  # batch tensors, each [n_members, batch, ...] -> mean losses [n_members] (nats)
STEPS_GATHERED = 32  # whose events are fetched together
EVENTS_VALIDATED = 4096  # members times events per chunk of validation: their activations stay in cache
SECONDS_BETWEEN_LOOKS = 2.0  # whether the other process is alive
BEGIN, STEP, SUM = range(3)  # orders


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


def part_of(number: int, n_parts: int, n: int) -> slice:
    """The events of one part out of n."""
    return slice(n * number // n_parts, n * (number + 1) // n_parts)


@torch.no_grad()
def summed_losses(member_losses: MemberLosses, data: MemberData, number: int = 0, n_parts: int = 1) -> torch.Tensor:
    """Losses of every member summed over a part of its rows [n_members], in chunks that stay in cache."""
    rows = data.rows[:, part_of(number, n_parts, data.rows.shape[1])]
    total = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    for chunk in rows.split(max(1, EVENTS_VALIDATED // len(rows)), dim=1):
        if chunk.shape[1]:
            total += member_losses(*(tensor[chunk] for tensor in data.tensors)).double() * chunk.shape[1]
    return total


def batches(
    data: Sequence[torch.Tensor],
    rows: torch.Tensor,
    batch_size: int,
    drop_last: bool,
    first: int = 0,
    number: int = 0,
    n_parts: int = 1,
) -> Iterator[tuple[torch.Tensor, ...]]:
    """The events of shuffled `rows` [n_members, n], batch by batch [n_members, batch_size, ...], from `first` on; or a part of each.

    They are fetched for many steps at once, the same steps whatever is first: where a batch lies in memory may decide its last bits.
    """
    n_full = rows.shape[1] // batch_size * batch_size
    steps = rows[:, :n_full].unflatten(1, (-1, batch_size)).transpose(0, 1)[:, :, part_of(number, n_parts, batch_size)]
    for start in range(first // STEPS_GATHERED * STEPS_GATHERED, len(steps), STEPS_GATHERED):
        some_steps = steps[start : start + STEPS_GATHERED].contiguous()
        fetched = zip(*(tensor[some_steps] for tensor in data), strict=True)
        yield from itertools.islice(fetched, max(0, first - start), None)
    if not drop_last and max(n_full, first * batch_size) < rows.shape[1]:
        last = rows[:, n_full:]
        yield tuple(tensor[last[:, part_of(number, n_parts, last.shape[1])]] for tensor in data)


@dataclass(frozen=True)
class Work:
    """How one part is computed, and where its gradient is.

    Attributes
    ----------
    losses_and_gradients : callable
        Mean losses of a batch [n_members]; writes the gradient of their sum into `gradient`.
    validated_losses : callable
        Mean losses of what is validated, without gradient.
    gradient : tensor [n_members, n_weights]
    """

    losses_and_gradients: MemberLosses
    validated_losses: MemberLosses
    gradient: torch.Tensor


class Parts:
    """The parts of every batch, computed here one after another, or side by side with a second process.

    Parameters
    ----------
    work : sequence of Work
        One for every part, two at most; the gradient of the first is that of the weights, in which the sum of all is left.
    train, val : MemberData
    batch_size, drop_last : int, bool
    n_processes : int
        With more than one, the second part is computed in a process of its own.
    """

    def __init__(
        self, work: Sequence[Work], train: MemberData, val: MemberData, batch_size: int, drop_last: bool, n_processes: int
    ) -> None:
        self._work, self._data, self._batch_size, self._drop_last = work, (train, val), batch_size, drop_last
        allocate = shared_zeros if len(work) > 1 else partial(torch.zeros, device=train.rows.device)
        self.rows = allocate(train.rows.shape, dtype=torch.int64)
        self._losses = allocate((len(work), len(train.rows)), dtype=torch.float64)
        self._batches: list[Iterator[tuple[torch.Tensor, ...]]] = []
        self._n_processes = min(len(work), usable_cores(n_processes))
        self._process: multiprocessing.process.BaseProcess | None = None

    def __enter__(self) -> Parts:
        """Start the second process, if there is to be one."""
        if self._n_processes > 1:
            context = multiprocessing.get_context("fork")
            self._order = shared_zeros((2,), dtype=torch.int64)
            self._go, self._done = context.Semaphore(0), context.Semaphore(0)
            self._process = context.Process(target=self._serve, daemon=True)
            self._process.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the second process, which has nothing that could be lost."""
        if self._process is not None:
            self._process.kill()
            self._process.join()

    def begin(self, first: int) -> None:
        """Be ready for batch number `first` of the shuffled `rows`."""
        self._all(BEGIN, first)

    def step(self, number: int) -> torch.Tensor:
        """Losses of batch `number` [n_members]; the gradient of their sum is in the first part's gradient."""
        self._all(STEP, number)
        n = min(self._batch_size, self.rows.shape[1] - number * self._batch_size)
        parts = [part_of(part, len(self._work), n) for part in range(len(self._work))]
        shares = [(part.stop - part.start) / n for part in parts]
        total = self._work[0].gradient
        if len(self._work) > 1:
            total.mul_(shares[0]).add_(self._work[1].gradient, alpha=shares[1])
        return sum(losses * share for losses, share in zip(self._losses, shares, strict=True)).to(total.dtype)

    def mean_losses(self, which: int) -> np.ndarray:
        """Mean losses [n_members] of what is validated over the training (0) or the validation events (1)."""
        self._all(SUM, which)
        return (self._losses.sum(dim=0) / self._data[which].rows.shape[1]).cpu().numpy()

    def _all(self, order: int, argument: int) -> None:
        """Have an order carried out for all parts."""
        mine = range(len(self._work)) if self._process is None else (0,)
        if self._process is not None:
            self._order[0], self._order[1] = order, argument
            self._go.release()
        for part in mine:
            self._do(part, order, argument)
        while self._process is not None and not self._done.acquire(timeout=SECONDS_BETWEEN_LOOKS):
            if not self._process.is_alive():
                raise died(self._process, "in a training")

    def _do(self, part: int, order: int, argument: int) -> None:
        work, n_parts = self._work[part], len(self._work)
        if order == BEGIN:
            chosen = batches(self._data[0].tensors, self.rows, self._batch_size, self._drop_last, argument, part, n_parts)
            self._batches[part:] = [chosen]
        elif order == STEP:
            batch = next(self._batches[part])
            if batch[0].shape[1]:
                self._losses[part] = work.losses_and_gradients(*batch)
            else:  # of a last batch of one event
                self._losses[part] = 0
                work.gradient.zero_()
        else:
            self._losses[part] = summed_losses(work.validated_losses, self._data[argument], part, n_parts)

    def _serve(self) -> None:
        """In the second process: carry out orders for the second part."""
        for number in ENDING_SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # the other process ends this one
        threading.Thread(target=end_with_parent, daemon=True).start()
        self._batches = [iter(())]
        while True:
            self._go.acquire()
            self._do(1, *self._order.tolist())
            self._done.release()
