"""What a Dask worker is told: one task at a time, so many threads, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import time
from types import FrameType
from typing import Any

from distributed import Reschedule, WorkerPlugin, get_worker

from common.errors import Interrupted
from common.processes import THREAD_SETTINGS
from common.signals import ENDING_SIGNALS, pass_on
from workflow.scan.tasks import BEGUN, Outcome, Resolver, Task, do_task

logger = logging.getLogger(__name__)

SECONDS_TO_END = 25.0  # for a training to write its checkpoint when its worker closes


class Prepared(WorkerPlugin):
    """Makes a worker's process ready for stages, and lets a training write a checkpoint when the worker closes.

    Parameters
    ----------
    folder : str
        Where the scan was started, to which its paths are relative.
    threads : int
        That the libraries may use.
    """

    def __init__(self, folder: str, threads: int) -> None:
        self.folder, self.threads = folder, threads
        self.name = f"cathode-{secrets.token_hex(4)}"

    def setup(self, worker: Any) -> None:
        """Called by Dask in the worker's event loop."""
        os.chdir(self.folder)
        os.environ |= {"MPLBACKEND": "Agg"} | dict.fromkeys(THREAD_SETTINGS, str(self.threads))
        import torch
        from threadpoolctl import threadpool_limits

        torch.set_num_threads(self.threads)
        threadpool_limits(self.threads)
        if (
            worker.nanny is not None
        ):  # a process that Dask has started, which its nanny ends; what a terminal sends it, too, is passed on
            for number in ENDING_SIGNALS:
                signal.signal(number, _told_to_end)

    async def teardown(self, worker: Any) -> None:
        """Tell the training that is under way, and give it the time to write a checkpoint."""
        pass_on(signal.SIGTERM)
        end = time.monotonic() + SECONDS_TO_END
        while worker.state.executing and time.monotonic() < end:
            await asyncio.sleep(0.05)
            pass_on(signal.SIGTERM)


def _told_to_end(number: int, _: FrameType | None) -> None:
    pass_on(number)


def work(resolve: Resolver, task: Task, *earlier: Outcome) -> Outcome:
    """What Dask is given: `do_task`; if the worker is told to end meanwhile, another one takes the task."""
    get_worker().log_event(BEGUN, {"key": task.key})
    try:
        return do_task(resolve, task, *earlier)
    except Interrupted:
        raise Reschedule from None
