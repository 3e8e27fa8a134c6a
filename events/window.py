"""Windows in the resonant variable: the signal region, and others like it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.files import load_json
from events.columns import FILE, M_JJ, Column, resonant_and_edges

PREFIXES = ("MeV", "GeV", "TeV")  # each a thousand times the one before


@dataclass(frozen=True)
class Window:
    """An open interval of the resonant variable; events on its edges lie outside.

    Attributes
    ----------
    low, high : float
        Its edges, in the unit of the resonant variable.
    resonant : Column
        What the variable is called, and its unit.

    Examples
    --------
    >>> window = Window(3.3, 3.7)
    >>> str(window), window.contains(np.array([3.3, 3.5])).tolist()
    ('3.3 < m_JJ < 3.7 TeV', [False, True])
    """

    low: float
    high: float
    resonant: Column = M_JJ

    def __str__(self) -> str:
        return self.resonant.quantity(f"{self.low:.4g} < {self.resonant.name} < {self.high:.4g}")

    @property
    def edges(self) -> tuple[float, float]:
        """The lower and the upper one."""
        return self.low, self.high

    @property
    def width(self) -> float:
        """From edge to edge."""
        return self.high - self.low

    @property
    def center(self) -> float:
        """Midway between the edges."""
        return (self.low + self.high) / 2

    def contains(self, m: np.ndarray) -> np.ndarray:
        """Which values [n] are inside."""
        return (m > self.low) & (m < self.high)

    def where_masses_are(self, m: np.ndarray) -> str:
        """In words: the range of values m [n], and whether they seem to be in another unit than this window, which holds none of them.

        Examples
        --------
        >>> Window(3.3, 3.7).where_masses_are(np.array([2100.0, 8900.0]))
        'm_JJ goes from 2100 to 8900, about a thousand times the window, 3.3 to 3.7 TeV: is one in another unit?'
        """
        if len(m) == 0:
            return "there are no events at all"
        text, ratio = f"{self.resonant.name} goes from {m.min():.4g} to {m.max():.4g}", float(np.median(m)) / self.center
        for power, words in ((1, "about a thousand times"), (-1, "about a thousandth of")):
            if self.resonant.unit in PREFIXES and 0.1 < ratio / 1000.0**power < 10:
                return f"{text}, {words} the window, {self.resonant.quantity(f'{self.low:g} to {self.high:g}')}: is one in another unit?"
        return text


def stored_window(folder: Path) -> Window | None:
    """The signal region at which the events in a folder were separated, if columns.json is there and says so.

    Raises
    ------
    InputError
        If columns.json is damaged.
    """
    path = Path(folder) / FILE
    if not path.exists():
        return None
    resonant, edges = resonant_and_edges(load_json(path), path)
    return None if edges is None else Window(*edges, resonant)
