"""Pages of HTML that need nothing but themselves: text, tables and embedded figures, put into page.html."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from common.files import write_whole
from plots.style import Figure, as_bytes

PIXELS = 76  # of a screen, for an inch of a figure: its text is then as large as that of the page


@dataclass(frozen=True)
class Picture:
    """A figure in a page.

    Attributes
    ----------
    source : str
        The picture itself as a data URI.
    alt : str
        What it shows, for those who do not see it.
    caption : str
    width, height : int
        On a screen that is wide enough, in pixels.
    """

    source: str = field(repr=False)
    alt: str
    caption: str
    width: int
    height: int

    @classmethod
    def of(cls, figure: Figure, alt: str, caption: str = "", *, dense: bool = False) -> Picture:
        """A figure, which is closed: as a drawing, or as pixels where there are so many points that these take less room."""
        width, height = (round(PIXELS * inches) for inches in figure.get_size_inches())
        content = as_bytes(figure, "png" if dense else "svg")
        source = f"data:image/{'png' if dense else 'svg+xml'};base64,{base64.b64encode(content).decode()}"
        return cls(source, alt, caption, width, height)


@dataclass(frozen=True)
class Link:
    """A cell of a table that leads somewhere, relative to the page."""

    text: str
    target: str


@dataclass(frozen=True)
class Table:
    """Rows of text below a head; the first cell of a row names it."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str | Link]]


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes
    ----------
    text : sequence of str
        Paragraphs.
    missing : str
        What is not there, and why.
    """

    title: str
    text: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    missing: str = ""

    @property
    def anchor(self) -> str:
        """By which it is linked to."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.title.lower())


@dataclass(frozen=True)
class Fact:
    """A number of the headline, and what it is taken from."""

    name: str
    value: str
    remark: str = ""


@dataclass(frozen=True)
class Page:
    """A whole page.

    Attributes
    ----------
    title, summary : str
        What it is about, and what was found, in a sentence.
    facts : sequence of Fact
    command : str
        To be typed to get all this again; empty where it is not known.
    warnings : sequence of str
    sections : sequence of Section
    written : str
        When.
    """

    title: str
    summary: str
    facts: Sequence[Fact]
    command: str
    warnings: Sequence[str]
    sections: Sequence[Section]
    written: str

    def html(self) -> str:
        """The page; whatever is not markup in page.html is escaped."""
        loader = FileSystemLoader(Path(__file__).parent)
        environment = Environment(autoescape=True, loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        environment.tests["link"] = lambda cell: isinstance(cell, Link)
        return environment.get_template("page.html").render(page=self)

    def write(self, path: Path) -> None:
        """Write it, whole or not at all."""
        text = self.html()
        write_whole(path, lambda partial: partial.write_text(text, encoding="utf-8"))
