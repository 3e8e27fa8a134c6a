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


_OF_THREADS: dict[int, Callable[[int, FrameType | None], None]] = {}  # handlers of threads, which the system sends no signals


@contextmanager
def handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Set the handler of the ending signals for a while; in a thread other than the main one, of those that are passed on to it."""
    if threading.current_thread() is not threading.main_thread():
        thread = threading.get_ident()
        outer = _OF_THREADS.get(thread)
        _OF_THREADS[thread] = handler
        try:
            yield
        finally:
            if outer is None:
                del _OF_THREADS[thread]
            else:
                _OF_THREADS[thread] = outer
        return
    before = {number: signal.signal(number, handler) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def pass_on(number: int) -> None:
    """Let threads handle a signal that the process was sent, or would be sent."""
    for handler in list(_OF_THREADS.values()):
        handler(number, None)
