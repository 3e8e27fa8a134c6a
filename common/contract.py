"""What a stage writes: names and contents of files, from which the stage's patterns and the table in docs/files.md come."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from common.options import FIGURE_FORMATS


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
    endings : tuple of str
        Of a figure: those that it may have, its pattern has none.
    """

    name: str
    content: str
    shape: str = ""
    pattern: str = ""
    endings: tuple[str, ...] = ()


def figure_file(name: str, content: str, pattern: str = "") -> OutputFile:
    """A figure; name and pattern have no ending, which is that of `--figures`."""
    return OutputFile(f"{name}.png", content, pattern=pattern or name, endings=FIGURE_FORMATS)


def patterns(files: Iterable[OutputFile]) -> tuple[str, ...]:
    """The patterns by which files are found.

    Examples
    --------
    >>> patterns([OutputFile("X_test.npy", "test events"), figure_file("losses", "loss curves")])
    ('X_test.npy', 'losses.png', 'losses.pdf', 'losses.svg')
    """
    stems = ((file.pattern or file.name, file.endings) for file in files)
    return tuple(pattern for stem, endings in stems for pattern in ([f"{stem}.{end}" for end in endings] or [stem]))
