"""The options of a search that are its own: windows, selections, fit, significance, injected signal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError
from common.options import ResumableOptions, not_negative, option, positive

EFFICIENCIES = (1.0, 0.1, 0.01, 0.001)
LARGEST_ENERGY = 1000.0  # TeV


def check_energy(value: float) -> str | None:
    """What is wrong with an energy of collisions."""
    return None if 0 < value < LARGEST_ENERGY else f"must be above 0, and below {LARGEST_ENERGY:g} (TeV)"


def check_shares(values: tuple[float, ...]) -> str | None:
    """What is wrong with relative errors."""
    return None if all(0 <= value < 1 for value in values) else "must be 0 or above, and below 1"


def check_efficiencies(values: tuple[float, ...]) -> str | None:
    """What is wrong with background efficiencies."""
    wrong = any(not 0 < value <= 1 for value in values) or len(set(values)) < len(values)
    return "must be different numbers, above 0 and at most 1" if wrong else None


def check_injected(values: tuple[float, ...]) -> str | None:
    """What is wrong with several S/B."""
    wrong = any(not 0 <= value < 1 for value in values) or len(set(values)) < len(values)
    return "must be different numbers, 0 or above and below 1" if wrong else None


@dataclass(frozen=True, kw_only=True)
class SearchOptions(ResumableOptions):
    """What is searched, and how."""

    scan_min: float | None = option(
        None,
        "center of the first window, in the unit of the resonant variable",
        check=positive,
        default_text="no scan, one window",
    )
    scan_max: float | None = option(
        None, "center of the last window, in the unit of the resonant variable", check=positive, default_text="no scan"
    )
    n_windows: int = option(
        6,
        "windows of a scan; centers are a geometric sequence, widths in proportion to them as 3.3 to 3.7 is to 3.5",
        check=positive,
    )
    efficiencies: tuple[float, ...] = option(
        (),
        "background efficiencies of the selections; all events (1) are always among them",
        check=check_efficiencies,
        default_text="1 0.1 0.01 0.001",
    )
    sqrt_s: float = option(
        13.0, "energy of the collisions, of which the dijet functions take the mass as a share", unit="TeV", check=check_energy
    )
    fit_min: float | None = option(
        None,
        "where the fit begins, in the unit of the resonant variable",
        check=positive,
        default_text="5 % above the peak of the spectrum, or higher, where the fit describes the sideband",
    )
    fit_max: float | None = option(
        None,
        "where the fit ends, in the unit of the resonant variable",
        check=positive,
        default_text="where bins of the sideband have less than 10 events",
    )
    systematic: tuple[float, ...] = option(
        (),
        "relative error of the background in the window, beside that of the fit: one number for all selections and all "
        "events, or one for each of --efficiencies (all events then have none, unless 1 is among these)",
        check=check_shares,
        metavar="X",
        default_text="0; LaCATHODE needs it, see docs/search.md",
    )
    n_toys: int = option(1000, "background toys for the global p-value; 0: none", check=not_negative)
    blind: bool = option(False, "do not look into the windows: expectations only, no significance")
    inject: tuple[float, ...] = option(
        (),
        "add known signal, as a share (below 1) of the number of data events in the signal region; of several values each is a search "
        "of its own",
        check=check_injected,
        default_text="nothing",
        recorded=False,
    )
    inject_from: tuple[Path, ...] = option(
        (),
        "arrays of events (.npy; columns of data.npy) whose events of label 1 are the signal",
        metavar="FILE",
        default_text="signal in --data_dir that is not among its data",
        recorded=False,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.scan_min is None) != (self.scan_max is None):
            raise InputError(f"{self.flag('scan_min')} and {self.flag('scan_max')} belong together")
        if self.scan_min is not None and self.scan_max is not None and self.n_windows > 1 and self.scan_min >= self.scan_max:
            raise InputError(f"{self.flag('scan_min')} {self.scan_min:g} must be below {self.flag('scan_max')} {self.scan_max:g}")
        if self.fit_min is not None and self.fit_max is not None and self.fit_min >= self.fit_max:
            raise InputError(f"{self.flag('fit_min')} {self.fit_min:g} must be below {self.flag('fit_max')} {self.fit_max:g}")
        if self.inject_from and not self.inject:
            raise InputError(f"{self.flag('inject_from')} needs {self.flag('inject')}, which says how much")
        if len(self.systematic) not in (0, 1, len(self.efficiencies or EFFICIENCIES)):
            given = " ".join(f"{value:g}" for value in self.efficiencies or EFFICIENCIES)
            raise InputError(f"{self.flag('systematic')}: {len(self.systematic)} numbers, but the efficiencies are {given}")

    @property
    def cuts(self) -> tuple[float, ...]:
        """The efficiencies, each once, falling."""
        return tuple(sorted({*(self.efficiencies or EFFICIENCIES), 1.0}, reverse=True))

    @property
    def systematic_at(self) -> dict[float, float]:
        """The relative systematic error at every efficiency."""
        if len(self.systematic) == 1:
            return dict.fromkeys(self.cuts, self.systematic[0])
        given = self.efficiencies or EFFICIENCIES
        return dict.fromkeys(self.cuts, 0.0) | dict(zip(given, self.systematic or (0.0,) * len(given), strict=True))

    @property
    def is_scan(self) -> bool:
        """Whether there are several windows."""
        return self.scan_min is not None
