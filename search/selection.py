"""What cuts on the background efficiency leave of the spectrum, and which cuts every event passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.folds import FEWEST_PASSING
from search.bins import MassBins

ALL = 1.0  # the efficiency of no selection at all: events outside the feature range are in, too


@dataclass(frozen=True)
class ScoredWindow:
    """A window and the background efficiencies that all data have there.

    Attributes
    ----------
    bins : MassBins
    efficiency : array [n]
        Of every event, in the order of data.npy; NaN where it is never selected.
    n_held_out : tuple of int
        Held-out background events of every fold.
    """

    bins: MassBins
    efficiency: np.ndarray
    n_held_out: tuple[int, ...]

    def allows(self, cut: float) -> bool:
        """Whether every fold has held-out background enough for a threshold."""
        return cut == ALL or min(cut * (n + 1) for n in self.n_held_out) >= FEWEST_PASSING - 1e-9

    def passing(self, cut: float) -> np.ndarray:
        """Which events [n] are selected: one threshold in every fold, for signal region and sideband alike."""
        return np.ones(len(self.efficiency), dtype=bool) if cut == ALL else self.efficiency <= cut

    def n_passed(self, cuts: Sequence[float]) -> np.ndarray:
        """How many of the cuts every event [n] passes; they fall, and whoever passes one passes those before it."""
        return np.sum([self.passing(cut) for cut in cuts], axis=0).astype(np.int8)
