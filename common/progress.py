"""Progress of long work: a bar where someone watches; where not, a line in the log twice a minute."""

from __future__ import annotations

import io
import logging
import sys
from typing import Any

from tqdm import tqdm

from common.processes import place_among_workers

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 30.0


class _LogLines(io.StringIO):
    """A stream whose lines go to the log."""

    def write(self, text: str) -> int:
        if line := text.strip("\r\n "):
            logger.info("%s", line)
        return len(text)


class Progress(tqdm):
    """tqdm's bar, without the thread that it starts to watch over itself."""

    monitor_interval = 0


class LogAboveBars(logging.StreamHandler):
    """Log lines on the screen, above the bars that are there."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        with tqdm.external_write_mode(file=self.stream):
            super().emit(record)


def progress(name: str, unit: str, total: int | None = None, *, done: int = 0, shown: bool = True, **settings: Any) -> Progress:
    """A bar of so much work, some of which may be done already; `update(n)` moves it on.

    Parameters
    ----------
    settings
        As tqdm has them: an `iterable`, for example.
    """
    watched = sys.stderr is not None and sys.stderr.isatty()
    if not watched:
        settings |= {"file": _LogLines(), "mininterval": SECONDS_BETWEEN_LINES, "delay": SECONDS_BETWEEN_LINES, "ncols": 100}
        settings |= {"ascii": True, "miniters": 1}
    return Progress(
        desc=name, unit=unit, total=total, initial=done, position=place_among_workers(), disable=not shown, **settings
    )
