"""The features: one table of what can be computed from the two leading jets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from events.columns import M_JJ, Column, Columns

JET_COLUMNS = ("px", "py", "pz", "m", "tau1", "tau2")  # that are always read
GEV_PER_TEV = 1000.0


class JetPair:
    """The two leading jets of every event.

    Parameters
    ----------
    values : array [n, 2 k]
        px, py, pz, m (GeV), and other columns of the first and then of the second jet.
    columns : sequence of str
        What the k columns are.
    """

    def __init__(self, values: np.ndarray, columns: Sequence[str] = JET_COLUMNS) -> None:
        self._values, self._columns = values.reshape(len(values), 2, len(columns)), list(columns)

    def _column(self, name: str) -> np.ndarray:
        """Of both jets, in the file's order [n, 2]."""
        return self._values[:, :, self._columns.index(name)]

    @property
    def momentum(self) -> np.ndarray:
        """px, py, pz of the jets in the file's order [n, 2, 3] (GeV)."""
        return self._values[:, :, :3]

    @cached_property
    def m_jj(self) -> np.ndarray:
        """Invariant mass of the pair [n] (TeV)."""
        energy = np.sqrt(np.sum(self.momentum**2, axis=2) + self._column("m") ** 2)
        squared = energy.sum(axis=1) ** 2 - np.sum(self.momentum.sum(axis=1) ** 2, axis=1)
        return np.sqrt(np.maximum(squared, 0)) / GEV_PER_TEV

    @cached_property
    def _by_mass(self) -> np.ndarray:
        return np.argsort(self._column("m"), axis=1, kind="stable")

    def _of_lighter_and_heavier(self, values: np.ndarray) -> np.ndarray:
        return np.take_along_axis(values, self._by_mass, axis=1)

    @cached_property
    def mass(self) -> np.ndarray:
        """Mass of the lighter and the heavier jet [n, 2] (GeV)."""
        return self._of_lighter_and_heavier(self._column("m"))

    @cached_property
    def pt(self) -> np.ndarray:
        """Transverse momentum of the lighter and the heavier jet [n, 2] (GeV)."""
        return self._of_lighter_and_heavier(np.hypot(self._column("px"), self._column("py")))

    @cached_property
    def tau21(self) -> np.ndarray:
        """τ2 / (1e-5 + τ1) of the lighter and the heavier jet [n, 2]."""
        return self._of_lighter_and_heavier(self._column("tau2") / (1e-5 + self._column("tau1")))

    @cached_property
    def tau32(self) -> np.ndarray:
        """τ3 / (1e-5 + τ2) of the lighter and the heavier jet [n, 2]."""
        return self._of_lighter_and_heavier(self._column("tau3") / (1e-5 + self._column("tau2")))

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
    """A column, how it is computed [n] from the jets, and which of their columns that needs beside `JET_COLUMNS`."""

    column: Column
    of: Callable[[JetPair], np.ndarray]
    needs: tuple[str, ...] = ()


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
        Column("tau32_J1", r"$\tau_{32}^{J1}$", "", "tau3 / (1e-5 + tau2) of the lighter jet"),
        lambda jets: jets.tau32[:, 0],
        needs=("tau3",),
    ),
    Feature(
        Column("tau32_J2", r"$\tau_{32}^{J2}$", "", "tau3 / (1e-5 + tau2) of the heavier jet"),
        lambda jets: jets.tau32[:, 1],
        needs=("tau3",),
    ),
    Feature(
        Column("pT_J1", r"$p_{T}^{J1}$", "TeV", "transverse momentum of the lighter jet"),
        lambda jets: jets.pt[:, 0] / GEV_PER_TEV,
    ),
    Feature(
        Column("pT_J2", r"$p_{T}^{J2}$", "TeV", "transverse momentum of the heavier jet"),
        lambda jets: jets.pt[:, 1] / GEV_PER_TEV,
    ),
    Feature(
        Column("deltaR_JJ", r"$\Delta R_{JJ}$", "", "distance of the two jets in pseudorapidity and azimuth"),
        lambda jets: jets.delta_r,
    ),
)
FEATURES = {feature.column.name: feature for feature in _ALL}
BASELINE = ("m_J1", "delta_m_J", "tau21_J1", "tau21_J2")
SETS = {
    "baseline": BASELINE,
    "deltaR": (*BASELINE, "deltaR_JJ"),
    "tau32": (*BASELINE, "tau32_J1", "tau32_J2"),
    "kinematic": (*BASELINE, "pT_J1", "pT_J2", "deltaR_JJ"),
}


def chosen_features(text: str) -> tuple[str, ...]:
    """The names of features, which are listed by name or by set, with commas between them.

    Raises
    ------
    ValueError
        If one is unknown, or listed twice.

    Examples
    --------
    >>> chosen_features("deltaR")
    ('m_J1', 'delta_m_J', 'tau21_J1', 'tau21_J2', 'deltaR_JJ')
    >>> chosen_features("baseline, tau32_J2")
    ('m_J1', 'delta_m_J', 'tau21_J1', 'tau21_J2', 'tau32_J2')
    """
    names = tuple(name for part in text.split(",") for name in SETS.get(part.strip(), (part.strip(),)))
    if unknown := [name for name in names if name not in FEATURES]:
        raise ValueError(
            f"{unknown[0]!r} is neither one of the sets {', '.join(SETS)} nor one of the features {', '.join(FEATURES)}"
        )
    if len(set(names)) < len(names):
        raise ValueError("a feature is listed twice")
    return names


def jet_columns(names: Sequence[str] = BASELINE) -> tuple[str, ...]:
    """The columns of either jet from which these features are computed."""
    return tuple(dict.fromkeys([*JET_COLUMNS, *(column for name in names for column in FEATURES[name].needs)]))


def columns_of(names: Sequence[str], n_noise: int = 0, signal_region: tuple[float, float] | None = None) -> Columns:
    """m_JJ, the features of these names, and so many columns of random numbers."""
    noise = (
        Column(f"noise_{i}", f"noise {i}", "", "random number of a standard normal distribution") for i in range(1, n_noise + 1)
    )
    return Columns(M_JJ, (*(FEATURES[name].column for name in names), *noise), signal_region=signal_region)


def features_from_jets(jets: np.ndarray, names: Sequence[str] = BASELINE) -> np.ndarray:
    """m_JJ (TeV) and features of the two leading jets [n, 1 + d].

    Parameters
    ----------
    jets : array [n, 2 k]
        The columns `jet_columns(names)` of the first and then of the second jet.

    Examples
    --------
    Two massless back-to-back jets of 1.5 TeV:

    >>> features_from_jets(np.array([[1500.0, 0, 0, 0, 0.2, 0.1, -1500.0, 0, 0, 0, 0.4, 0.1]])).round(3).tolist()
    [[3.0, 0.0, 0.0, 0.5, 0.25]]
    """
    pair = JetPair(jets, jet_columns(names))
    return np.column_stack([pair.m_jj, *(FEATURES[name].of(pair) for name in names)])
