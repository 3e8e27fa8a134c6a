"""What a stage writes: names and contents of files, from which the stage's patterns and the table in docs/files.md come."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class OutputFile:
    """A file, or several of one kind.

    Attributes
    ----------
    name : str
        As the table has it: E stands for an epoch, R for a run, NAME for what the density estimator is called.
    content : str
    shape : str
        Of an array.
    pattern : str
        By which it is found (glob); the name where that says it.
    """

    name: str
    content: str
    shape: str = ""
    pattern: str = ""


def patterns(files: Iterable[OutputFile]) -> tuple[str, ...]:
    """The patterns by which files are found."""
    return tuple(file.pattern or file.name for file in files)
