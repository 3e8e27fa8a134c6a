"""The features: one table of what can be computed from the two leading jets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from events.columns import M_JJ, Column, Columns

JET_COLUMNS = ("px", "py", "pz", "m", "tau1", "tau2")
GEV_PER_TEV = 1000.0


class JetPair:
    """The two leading jets of every event.

    Parameters
    ----------
    columns : array [n, 12]
        px, py, pz, m (GeV), tau1, tau2 of the first and then of the second jet.
    """

    def __init__(self, columns: np.ndarray) -> None:
        self._columns = columns.reshape(len(columns), 2, len(JET_COLUMNS))

    @property
    def momentum(self) -> np.ndarray:
        """px, py, pz of the jets in the file's order [n, 2, 3] (GeV)."""
        return self._columns[:, :, :3]

    @cached_property
    def m_jj(self) -> np.ndarray:
        """Invariant mass of the pair [n] (TeV)."""
        energy = np.sqrt(np.sum(self.momentum**2, axis=2) + self._columns[:, :, 3] ** 2)
        squared = energy.sum(axis=1) ** 2 - np.sum(self.momentum.sum(axis=1) ** 2, axis=1)
        return np.sqrt(np.maximum(squared, 0)) / GEV_PER_TEV

    @cached_property
    def _by_mass(self) -> np.ndarray:
        return np.argsort(self._columns[:, :, 3], axis=1, kind="stable")

    @cached_property
    def mass(self) -> np.ndarray:
        """Mass of the lighter and the heavier jet [n, 2] (GeV)."""
        return np.take_along_axis(self._columns[:, :, 3], self._by_mass, axis=1)

    @cached_property
    def tau21(self) -> np.ndarray:
        """τ2 / (1e-5 + τ1) of the lighter and the heavier jet [n, 2]."""
        return np.take_along_axis(self._columns[:, :, 5] / (1e-5 + self._columns[:, :, 4]), self._by_mass, axis=1)

    @cached_property
    def delta_r(self) -> np.ndarray:
        """√(Δη² + Δφ²) of the jets, with pseudorapidity η and azimuth φ [n]; not finite along the beam."""
        p = self.momentum
        with np.errstate(divide="ignore", invalid="ignore"):
            eta = np.arcsinh(p[:, :, 2] / np.hypot(p[:, :, 0], p[:, :, 1]))
        delta_phi = np.arctan2(p[:, 0, 1], p[:, 0, 0]) - np.arctan2(p[:, 1, 1], p[:, 1, 0])
        delta_phi = (delta_phi + np.pi) % (2 * np.pi) - np.pi
        return np.hypot(eta[:, 0] - eta[:, 1], delta_phi)


@dataclass(frozen=True)
class Feature:
    """A column, and how it is computed [n] from the jets."""

    column: Column
    of: Callable[[JetPair], np.ndarray]


_ALL = (
    Feature(
        Column("m_J1", r"$m_{J1}$", "TeV", "mass of the lighter of the two leading jets"),
        lambda jets: jets.mass[:, 0] / GEV_PER_TEV,
    ),
    Feature(
        Column("delta_m_J", r"$\Delta m_J$", "TeV", "m_J2 - m_J1, the difference of the two jets' masses"),
        lambda jets: (jets.mass[:, 1] - jets.mass[:, 0]) / GEV_PER_TEV,
    ),
    Feature(
        Column("tau21_J1", r"$\tau_{21}^{J1}$", "", "tau2 / (1e-5 + tau1) of the lighter jet"),
        lambda jets: jets.tau21[:, 0],
    ),
    Feature(
        Column("tau21_J2", r"$\tau_{21}^{J2}$", "", "tau2 / (1e-5 + tau1) of the heavier jet"),
        lambda jets: jets.tau21[:, 1],
    ),
    Feature(
        Column("deltaR_JJ", r"$\Delta R_{JJ}$", "", "distance of the two jets in pseudorapidity and azimuth"),
        lambda jets: jets.delta_r,
    ),
)
FEATURES = {feature.column.name: feature for feature in _ALL}
BASELINE = ("m_J1", "delta_m_J", "tau21_J1", "tau21_J2")


def columns_of(names: Sequence[str]) -> Columns:
    """m_JJ and the features of these names."""
    return Columns(M_JJ, tuple(FEATURES[name].column for name in names))


def features_from_jets(jets: np.ndarray, names: Sequence[str] = BASELINE) -> np.ndarray:
    """m_JJ (TeV) and features of the two leading jets [n, 1 + d].

    Parameters
    ----------
    jets : array [n, 12]
        See `JetPair`.

    Examples
    --------
    Two massless back-to-back jets of 1.5 TeV:

    >>> features_from_jets(np.array([[1500.0, 0, 0, 0, 0.2, 0.1, -1500.0, 0, 0, 0, 0.4, 0.1]])).round(3).tolist()
    [[3.0, 0.0, 0.0, 0.5, 0.25]]
    """
    pair = JetPair(jets)
    return np.column_stack([pair.m_jj, *(FEATURES[name].of(pair) for name in names)])
