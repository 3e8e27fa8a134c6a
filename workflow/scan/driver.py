"""A scan from start to end: tasks go to Dask as one graph, outcomes come back, lost workers' tasks are tried again, the table grows."""

from __future__ import annotations

import logging
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from common.errors import InputError
from common.files import first_line
from common.progress import Progress, progress
from workflow.scan.clusters import WITHOUT_CODE
from workflow.scan.grid import Run
from workflow.scan.results import Table
from workflow.scan.tasks import BEGUN, FAILED, NOT_DONE, Outcome, Resolver, Task

if TYPE_CHECKING:
    from distributed import Client, Future

logger = logging.getLogger(__name__)

SECONDS_FOR_NEWS = 0.3  # within which Dask tells that a task failed, and then all that needed it
MOST_WAITED = 20  # so often a task may be at a worker that is lost before it has told that it begins


@dataclass
class Scan:
    """The tasks of a scan, and what became of them.

    Attributes
    ----------
    tasks : dict
        Those of every run and shared stage, by its name, in order.
    retries : int
        How often a task is tried again whose worker was lost. A worker that ends properly, at the time limit of its job, is no loss.
    table : Table
        Told of every task, and of every run or shared stage, that has ended.
    """

    runs: Sequence[Run]
    tasks: dict[str, list[Task]]
    retries: int
    table: Table
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    at_work: set[str] = field(default_factory=set)
    losses: Counter[str] = field(default_factory=Counter)
    waited: Counter[str] = field(default_factory=Counter)

    def do(self, client: Client, resolve: Resolver) -> None:
        """Submit everything, and wait for it."""
        client.subscribe_topic(BEGUN, self._begun)
        futures = self._submit(client, resolve)
        waiting = {run.name: len(self.tasks[run.name]) for run in self.runs}
        runs = {run.name: run for run in self.runs}
        bar = progress("scan", "task", len(futures))
        try:
            with bar:
                for task, outcome in self._outcomes(client, futures):
                    self.outcomes[task.key] = outcome
                    self.table.task_ended(runs[task.run], outcome)
                    waiting[task.run] -= 1
                    if outcome.state == FAILED:
                        logger.error("%s: %s", task.key, outcome.reason)
                    if waiting[task.run] == 0:
                        self.table.ended(runs[task.run], [self.outcomes[each.key] for each in self.tasks[task.run]])
                    bar.update()
                    self._show(bar, waiting, len(client.scheduler_info(n_workers=-1)["workers"]))
        except BaseException:
            client.cancel(list(futures))
            raise
        finally:
            client.unsubscribe_topic(BEGUN)

    def _submit(self, client: Client, resolve: Resolver) -> dict[Future, Task]:
        """The graph: shared stages once, the stages of a run one after another; what was submitted first comes first."""
        from workflow.scan.worker import work

        session, by_key, found = secrets.token_hex(4), {}, {}
        for number, run in enumerate(self.runs):
            for task in self.tasks[run.name]:
                group = f"{'later' if task.needs else 'first'}-{session}"  # Dask lets the many that need nothing wait at the scheduler
                named = {"key": (group, task.key), "priority": -number, "pure": False}
                future = client.submit(work, resolve, task, *(by_key[key] for key in task.needs), **named)
                by_key[task.key] = future
                found[future] = task
        return found

    def _outcomes(self, client: Client, futures: dict[Future, Task]) -> Iterator[tuple[Task, Outcome]]:
        """Every task with its outcome, as they end; `do` notes the outcome before the next one is asked for."""
        from distributed import as_completed

        completed = as_completed(futures, loop=client.loop)
        waiting: dict[str, list[Future]] = {}  # what failed for another task's lost worker, until that task has its outcome
        for future in completed:
            task = futures[future]
            if future.status in ("pending", "lost"):  # it is tried again, or its answer was lost together with a worker
                completed.add(future)
            elif future.status == "finished":
                yield task, future.result()
            elif (lost := self._lost(future)) is None:
                reason = first_line(future.exception()) if future.status == "error" else f"Dask says: {future.status}"
                yield task, Outcome(task.key, FAILED, WITHOUT_CODE if "deserialization" in reason else reason, is_machine=True)
            elif lost != task.key:
                waiting.setdefault(lost, []).append(future)
            elif self._may_try_again(lost):
                time.sleep(SECONDS_FOR_NEWS)
                client.retry([each for each in futures if each.status == "error" and self._lost(each) == lost])
                completed.add(future)
            else:
                n = (self.losses[lost] or self.waited[lost]) + future.exception().allowed_failures
                yield task, Outcome(task.key, FAILED, f"its worker was lost {n} times: did the memory run out?", is_machine=True)
            for key in [key for key in waiting if key in self.outcomes]:
                for each in waiting.pop(key):
                    if each.status == "error" and not self.outcomes[key].is_good:
                        reason = f"{key} failed: its workers were lost"
                        yield futures[each], Outcome(futures[each].key, NOT_DONE, reason, is_machine=True)
                    else:
                        completed.add(each)

    @staticmethod
    def _lost(future: Future) -> str | None:
        """The task whose worker was lost, for which this one failed; None if it failed for another reason."""
        from distributed import KilledWorker

        error = future.exception() if future.status == "error" else None
        return str(error.task[1]) if isinstance(error, KilledWorker) else None

    def _may_try_again(self, lost: str) -> bool:
        """Note that a task has lost its worker; whether it is tried again.

        A worker that is lost while the task only waits there is no loss of this task, unless that happens again and again.
        """
        (self.losses if lost in self.at_work else self.waited)[lost] += 1
        self.at_work.discard(lost)
        return self.losses[lost] <= self.retries and self.waited[lost] <= MOST_WAITED

    def _begun(self, event: tuple[Any, dict[str, Any]]) -> None:
        """Dask tells that a task is at work."""
        self.at_work.add(event[1]["key"])

    def _show(self, bar: Progress, waiting: dict[str, int], n_workers: int) -> None:
        """The numbers in the live line."""
        failed = sum(outcome.state == FAILED for outcome in self.outcomes.values())
        running = sum(1 for key in self.at_work if key not in self.outcomes)
        done = sum(number == 0 for number in waiting.values())
        bar.set_postfix(runs=f"{done}/{len(waiting)}", running=running, failed=failed, workers=n_workers, refresh=False)


def check_workers(client: Client) -> None:
    """Refuse workers that would do several tasks in one process: their logs, warnings and figures would mix.

    Raises
    ------
    InputError
    """
    for address, worker in client.scheduler_info(n_workers=-1)["workers"].items():
        if worker["nthreads"] != 1:
            raise InputError(f"the worker {address} has {worker['nthreads']} threads: start workers with --nthreads 1")
