"""What is left of an interrupted training, and how signals end one early."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from common.errors import InputError, Interrupted
from common.signals import handled_by
from models.training.epochs import EpochStore
from models.weights import load_tensors, save_tensors

CHECKPOINT, EPOCHS = ".checkpoint", ".epochs"  # names of the file and of the folder of epochs beside it, both hidden
SECONDS_BETWEEN_CHECKPOINTS = 30.0


class Checkpoint:
    """The file from which an interrupted training goes on, written at every epoch's end and twice a minute.

    Parameters
    ----------
    path : path
        The epochs that the training has finished are kept beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._saved_at = time.monotonic()
        self._received: int | None = None

    @property
    def epochs(self) -> EpochStore:
        """Where the finished epochs are, unless the estimator has a place of its own for them."""
        return EpochStore(self.path.with_name(EPOCHS))

    def below(self, name: str) -> Checkpoint:
        """A place for a part of the training."""
        folder = self.path.parent / f".{name}"
        folder.mkdir(parents=True, exist_ok=True)
        return Checkpoint(folder / self.path.name)

    def exists(self) -> bool:
        """Whether there is a training to go on with."""
        return self.path.is_file()

    def load(self) -> dict[str, Any] | None:
        """What was saved last; None where nothing was.

        Raises
        ------
        InputError
            If the file is damaged.
        """
        try:
            return load_tensors(self.path) if self.exists() else None
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
        """Remember SIGTERM and SIGINT until `raise_if_interrupted`; the batch system and a parent process may both send one."""

        def remember(number: int, _: FrameType | None) -> None:
            self._received = number

        self._received = None
        with handled_by(remember):
            yield

    def raise_if_interrupted(self) -> None:
        """End here if a signal was remembered."""
        if self._received is not None:
            raise Interrupted(self._received, "; a checkpoint was written, --resume goes on from it")
