"""The signals with which batch systems and users end a run, SIGTERM and SIGINT, as exceptions."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from common.errors import Interrupted

ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Let SIGTERM and SIGINT raise `Interrupted`, so that temporary files are removed on the way out."""

    def interrupt(number: int, _: FrameType | None) -> None:
        raise Interrupted(number)

    with handled_by(interrupt):
        yield


@contextmanager
def handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Set the handler of the ending signals for a while; only the main thread may."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
