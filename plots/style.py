"""What all figures have in common: how they are saved, and how axes are labelled."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.mathtext import MathTextParser

from common.files import write_whole


def save(figure: Figure, path: Path) -> None:
    """Write the figure, whole or not at all, and close it; the ending of `path` says the format, .png without one."""
    path = Path(path) if Path(path).suffix in (".png", ".pdf", ".svg") else Path(f"{path}.png")
    write_whole(path, lambda partial: figure.savefig(partial, format=path.suffix[1:], dpi=150))
    plt.close(figure)


def drawable(labels: Sequence[str]) -> list[str]:
    """Labels that matplotlib can draw: those whose mathematics it does not understand are written as plain text."""
    parser, checked = MathTextParser("path"), []
    for label in labels:
        try:
            with warnings.catch_warnings(action="ignore"):
                parser.parse(label)
            checked.append(label)
        except ValueError:
            checked.append(label.replace("$", r"\$"))
    return checked


def show_and_save(figure: Figure, savefig: str | Path | None, suppress_show: bool) -> None:
    """Show a figure where there is a display, save it, and forget it."""
    if not suppress_show and plt.get_backend().lower() != "agg":
        plt.show()
    if savefig is not None:
        save(figure, Path(savefig))
    plt.close(figure)
