"""A training's checkpoint on disk, and the signals that end a training early."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from common.files import InputError, load_tensors, save_tensors

CHECKPOINT = ".checkpoint"  # name of the file, hidden in the folder of the training
SECONDS_BETWEEN_CHECKPOINTS = 30.0
ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(BaseException):
    """SIGTERM or SIGINT arrived. Like KeyboardInterrupt it is no Exception, so that nothing takes it for a fault and goes on."""

    def __init__(self, signal_number: int, remark: str = "") -> None:
        super().__init__(signal.Signals(signal_number).name + remark)
        self.signal_number = signal_number


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Let SIGTERM and SIGINT raise `Interrupted`, so that temporary files are removed on the way out."""

    def interrupt(number: int, _: FrameType | None) -> None:
        raise Interrupted(number)

    with _handled_by(interrupt):
        yield


class Checkpoint:
    """The file from which an interrupted training goes on, written at every epoch's end and twice a minute.

    Parameters
    ----------
    path : path
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._saved_at = time.monotonic()
        self._received: int | None = None

    def load(self) -> dict[str, Any] | None:
        """What was saved last; None where nothing was.

        Raises
        ------
        InputError
            If the file is damaged.
        """
        try:
            return load_tensors(self.path) if self.path.is_file() else None
        except InputError as error:
            raise InputError(f"{error}; without --resume the training begins anew") from error

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the file."""
        save_tensors(self.path, state)
        self._saved_at = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether a signal waits for an answer, or the last save is long ago."""
        return self._received is not None or time.monotonic() - self._saved_at > SECONDS_BETWEEN_CHECKPOINTS

    @contextmanager
    def signals_deferred(self) -> Iterator[None]:
        """Remember SIGTERM and SIGINT until `raise_if_interrupted`; a second one does not wait."""

        def remember(number: int, _: FrameType | None) -> None:
            if self._received is not None:
                raise Interrupted(number)
            self._received = number

        self._received = None
        with _handled_by(remember):
            yield

    def raise_if_interrupted(self) -> None:
        """End here if a signal was remembered."""
        if self._received is not None:
            raise Interrupted(self._received, "; a checkpoint was written, --resume goes on from it")


@contextmanager
def _handled_by(handler: Any) -> Iterator[None]:
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
