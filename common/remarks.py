"""Warnings that are not lost in the log: they are collected while something is done, so that it can say them again."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class _Collector(logging.Handler):
    def __init__(self, texts: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.texts = texts

    def emit(self, record: logging.LogRecord) -> None:
        self.keep(record.getMessage())

    def keep(self, text: str) -> None:
        if text not in self.texts:
            self.texts.append(text)


def add_warnings(texts: Sequence[str]) -> None:
    """Collect what another process has logged already."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Collector):
            for text in texts:
                handler.keep(text)


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """The different warnings that are logged within, by this process and those that work side by side for it, in their order."""
    texts: list[str] = []
    handler = _Collector(texts)
    logging.getLogger().addHandler(handler)
    try:
        yield texts
    finally:
        logging.getLogger().removeHandler(handler)
