"""Windows of a scan, and the bins in which the mass spectrum around a window is fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from common.errors import InputError
from events.columns import Column
from events.options import PAPER_REGION
from events.window import PREFIXES, Window

BINS_PER_WINDOW = 8
RELATIVE_WIDTH = 2 * (PAPER_REGION[1] - PAPER_REGION[0]) / (PAPER_REGION[1] + PAPER_REGION[0])  # of a window, in its center


def scan_windows(low: float, high: float, n: int, resonant: Column) -> list[Window]:
    """Windows with centers from `low` to `high` in a geometric sequence, each as wide in proportion as 3.3 to 3.7 TeV.

    Examples
    --------
    >>> from events.columns import M_JJ
    >>> [f"{window.low:.3f} {window.high:.3f}" for window in scan_windows(3.5, 4.0, 2, M_JJ)]
    ['3.300 3.700', '3.771 4.229']
    """
    half = RELATIVE_WIDTH / 2
    return [Window(float(c * (1 - half)), float(c * (1 + half)), resonant) for c in np.geomspace(low, high, n)]


def unit_in_tev(resonant: Column) -> float:
    """How many TeV the unit of the resonant variable is.

    Raises
    ------
    InputError
        If it is none of MeV, GeV, TeV.
    """
    if resonant.unit not in PREFIXES:
        raise InputError(
            f"{resonant.name} is in {resonant.unit or 'no unit'}: the dijet functions need {', '.join(PREFIXES)}; stage 1 is told "
            f"the unit by --unit {resonant.name}=GeV"
        )
    return 1000.0 ** (PREFIXES.index(resonant.unit) - PREFIXES.index("TeV"))


@dataclass(frozen=True)
class MassBins:
    """Bins of a mass spectrum, of equal width in ln m; the edges of the window are among theirs.

    Attributes
    ----------
    edges : tuple of float
        In the unit of the resonant variable, rising.
    window : Window
        The signal region, which the fit leaves out.
    sqrt_s : float
        Energy of the collisions, in the same unit.
    """

    edges: tuple[float, ...]
    window: Window
    sqrt_s: float

    @classmethod
    def around(cls, window: Window, low: float, high: float, sqrt_s: float) -> MassBins:
        """Those that lie between two masses, eight inside the window.

        Raises
        ------
        InputError
            If the window is not between them.
        """
        step = np.log(window.high / window.low) / BINS_PER_WINDOW
        first = int(np.ceil(np.log(low / window.low) / step - 1e-9))
        last = int(np.floor(np.log(min(high, sqrt_s) / window.low) / step + 1e-9))
        if first > 0 or last < BINS_PER_WINDOW:
            raise InputError(f"the window {window} is not inside the range of the fit, {low:.4g} to {high:.4g}")
        edges = window.low * np.exp(step * np.arange(first, last + 1))
        edges[-first], edges[-first + BINS_PER_WINDOW] = window.edges
        if edges[-1] >= sqrt_s:
            edges = edges[:-1]
        return cls(tuple(edges.tolist()), window, sqrt_s)

    def __len__(self) -> int:
        return len(self.edges) - 1

    @cached_property
    def in_window(self) -> np.ndarray:
        """Which bins [n] are in the signal region."""
        low = np.array(self.edges[:-1])
        return (low >= self.window.low) & (low < self.window.high)

    @cached_property
    def below_window(self) -> np.ndarray:
        """Which bins [n] are below the signal region."""
        return np.array(self.edges[1:]) <= self.window.low

    @property
    def has_room(self) -> bool:
        """Whether the range of the fit goes on for a width of the window on either side, but for one bin at most."""
        low, high = self.window.low - self.window.width, self.window.high + self.window.width
        return self.edges[1] / self.edges[0] * low >= self.edges[0] and self.edges[-1] * self.edges[1] / self.edges[0] >= high

    def counts(self, m: np.ndarray) -> np.ndarray:
        """Number of events of masses m [k] in every bin [n]; the window is open, an event on its edge is outside."""
        edges = np.array(self.edges, dtype=m.dtype)  # as `Window.contains` compares them
        first = int(np.flatnonzero(self.in_window)[0])
        edges[first] = np.nextafter(edges[first], edges[-1])
        return np.histogram(m, edges)[0]


def joined_edges(several: Sequence[MassBins]) -> np.ndarray:
    """All edges of several sets of bins, rising; edges closer than a millionth count once."""
    edges = np.unique(np.concatenate([bins.edges for bins in several]))
    return edges[np.append(True, np.diff(edges) > 1e-6 * edges[1:])]
