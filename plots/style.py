"""The one style of all figures: fonts, ticks and colours; how figures are saved, and how axes are labelled."""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

import matplotlib.pyplot as plt
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.mathtext import MathTextParser

from common.files import writable_folder, write_whole
from common.options import FIGURE_FORMATS

P, Drawn = ParamSpec("P"), TypeVar("Drawn")

# Colours that the colour-blind tell apart, also in grey (M. A. Petroff, arXiv:2107.02270); what they stand for is the same everywhere.
COLOURS = ("#3f90da", "#bd1f01", "#ffa90e", "#832db6", "#717581", "#a96b59", "#e76300", "#b9ac70", "#94a4a2", "#92dadd")
DATA, BACKGROUND, SIGNAL = "black", COLOURS[0], COLOURS[1]
SIDEBAND, SIGNAL_REGION, LIMIT = COLOURS[0], COLOURS[1], COLOURS[4]
DIVERGING, SEQUENTIAL = "RdBu_r", "viridis"
MARKERS = "os^Dvp*"
BAND = {"alpha": 0.3, "lw": 0}
SHADE = {"alpha": 0.12, "lw": 0}

# Inches; shrunk into a journal's column (3.4), or across both (7), the smallest text is still as large as a footnote.
ONE, TALL, TWO = (5.2, 3.9), (5.2, 4.9), (10.4, 4.2)
STYLE = {
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "savefig.dpi": 160,
    "font.size": 12,
    "axes.labelsize": 13,
    "axes.titlesize": 11,
    "axes.linewidth": 0.9,
    "axes.facecolor": "white",
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.formatter.use_mathtext": True,
    "axes.formatter.limits": (-3, 4),
    "xaxis.labellocation": "right",
    "yaxis.labellocation": "top",
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.top": True,
    "ytick.right": True,
    "xtick.minor.visible": True,
    "ytick.minor.visible": True,
    "xtick.major.size": 5,
    "ytick.major.size": 5,
    "xtick.minor.size": 2.5,
    "ytick.minor.size": 2.5,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "legend.frameon": False,
    "legend.fontsize": 10.5,
    "legend.handlelength": 1.6,
    "svg.hashsalt": "cathode",  # the same figure is the same file
    "pdf.fonttype": 42,
}
MOST_INSIDE, LONG_LABEL = 4, 36  # entries of a legend inside axes; letters of one that needs a line of its own
PIXELS_PER_INCH = 144  # of figures in a page
NO_DATE = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}


def styled(draw: Callable[P, Drawn]) -> Callable[P, Drawn]:
    """Let a function draw in this style, and leave matplotlib's settings as they were."""

    @functools.wraps(draw)
    def draw_in_style(*args: P.args, **kwargs: P.kwargs) -> Drawn:
        with plt.rc_context(STYLE):
            return draw(*args, **kwargs)

    return draw_in_style


@styled
def save(figure: Figure, path: Path) -> None:
    """Write the figure, whole or not at all, and close it; the ending of `path` says the format, .png without one."""
    path = Path(path) if Path(path).suffix[1:] in FIGURE_FORMATS else Path(f"{path}.png")
    kind = path.suffix[1:]
    write_whole(path, lambda partial: figure.savefig(partial, format=kind, metadata=NO_DATE.get(kind)))
    plt.close(figure)


@styled
def as_bytes(figure: Figure, kind: str) -> bytes:
    """The figure in a format, for a page; it is closed."""
    file = io.BytesIO()
    figure.savefig(file, format=kind, dpi=PIXELS_PER_INCH, metadata=NO_DATE.get(kind))
    plt.close(figure)
    return file.getvalue()


def shade_signal_region(axes: Axes, low: float, high: float, *, named: bool = True) -> None:
    """Shade the signal region, whose edges are given."""
    axes.axvspan(low, high, color=SIGNAL_REGION, **SHADE, zorder=0, label="signal region (SR)" if named else None)


def move_long_legend(axes: Axes) -> None:
    """Put a legend of many entries below the axes of a figure that has no others, so that it hides no curve."""
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > MOST_INSIDE:
        axes.get_legend().remove()
        columns = 1 if max(map(len, labels)) > LONG_LABEL else 2
        axes.figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=10)
        axes.figure.set_figheight(axes.figure.get_figheight() + 0.22 * -(-len(labels) // columns))


def drawable(labels: Sequence[str]) -> list[str]:
    """Labels that matplotlib can draw: those whose mathematics it does not understand are written as plain text."""
    parser, checked = MathTextParser("path"), []
    for label in labels:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                parser.parse(label)
            checked.append(label)
        except ValueError:
            checked.append(label.replace("$", r"\$"))
    return checked


def save_with_caption(figure: Figure, path: Path, caption: str) -> None:
    """Write the figure, and its caption beside it as text; the folder is made if need be, the ending of `path` says the format."""
    writable_folder(path.parent)
    save(figure, path)
    write_whole(path.with_suffix(".txt"), lambda partial: partial.write_text(f"{caption}\n", encoding="utf-8"))


def show_and_save(figure: Figure, savefig: str | Path | None, suppress_show: bool) -> None:
    """Show a figure where there is a display, save it, and forget it."""
    if not suppress_show and plt.get_backend().lower() != "agg":
        plt.show()
    if savefig is not None:
        save(figure, Path(savefig))
    plt.close(figure)
