"""The results of a search as tables: for bump_hunt.json, bump_hunt.csv and the screen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from common.contract import OutputFile, figure_file
from common.errors import InputError
from common.files import load_json
from events.columns import Column
from events.window import Window
from search.hunt import FittedSpectrum, Measured, SearchedWindow

SEARCH_FILES = (
    OutputFile(
        "bump_hunt.json",
        "of every window and efficiency: observed, expected with errors, p0, z, yield, intervals, limit, order, goodness, parameters, "
        "the spectrum with its fit; windows left out, global p-value, how it was obtained; opened: digests of what was seen here",
    ),
    OutputFile("bump_hunt.csv", "the same numbers, one line for every window and efficiency"),
    figure_file("spectrum_CENTER_EFFICIENCY", "mass spectrum with fit, pulls and the count in the window", "spectrum_*"),
    figure_file("p0", "local p-values against the center of the window"),
    OutputFile("report.html", "everything on one page"),
)
CURVE_FILES = (
    OutputFile(
        "injection.json, injection.csv", "with several values of --inject: what was found of each", "", "injection.[jc]s*"
    ),
    figure_file("injection", "with several values of --inject: local significance against the injected S/B"),
)


def window_folder(window: Window) -> str:
    """Name of the folder for the mode's results of a window."""
    return f"window_{window.center:.4g}"


@dataclass(frozen=True)
class LeftOut:
    """A window that is not searched, and why."""

    window: Window
    reason: str


@dataclass(frozen=True)
class GlobalResult:
    """The largest local significance, and how often background alone has one as large anywhere.

    Attributes
    ----------
    window, efficiency
        Where it is.
    z, p0 : float
        Local significance and p-value.
    p : float or None
        Global p-value, the data counted as one of the toys; None without toys.
    n_toys, n_above : int
        Toys, and those of them with at least this significance.
    n_selections : int
        Fits that were looked at, in data and toys.
    without_part : tuple of str
        Selections with a fit in the data that were not looked at, with their significance and the reason.
    """

    window: Window
    efficiency: float
    z: float
    p0: float
    p: float | None
    n_toys: int
    n_above: int
    n_selections: int = 0
    without_part: tuple[str, ...] = ()

    @property
    def is_bound(self) -> bool:
        """Whether no toy has as much, so that the p-value is only bound from above."""
        return self.p is not None and self.n_above == 0

    @property
    def limit(self) -> float | None:
        """Upper limit at 95 % CL on a global p-value that is bound: none of so many toys has as much in 5 % of all cases."""
        return 1 - 0.05 ** (1 / self.n_toys) if self.is_bound else None

    @property
    def global_z(self) -> float | None:
        """The global p-value in standard deviations, None where it is only bound, or all toys have as much."""
        return None if self.p in (None, 1.0) or self.is_bound else float(norm.isf(self.p))

    def sentence(self) -> str:
        """What to say."""
        where = f"{self.window} at efficiency {self.efficiency:g}"
        largest = f"largest local significance {self.z:.2f} σ (p0 = {self.p0:.2g}) in {where}"
        of_toys = f"of {self.n_toys} background toys"
        others = f"; not looked at: {', '.join(self.without_part)}" if self.without_part else ""
        if self.p is None:
            return f"{largest}; no global p-value without toys{others}"
        if self.is_bound:
            bound = f"global p-value below {self.limit:.2g} at 95 % CL"
            return f"{largest}; {bound}: none {of_toys} has as much in any of {self.n_selections} fits{others}"
        among = f"{self.n_above} {of_toys} {'has' if self.n_above == 1 else 'have'} as much in one of {self.n_selections} fits"
        return (
            f"{largest}; global p-value {self.p:.2g} ({self.global_z or 0:.1f} σ): {among}, and the data count as another{others}"
        )


def as_json(searched: Sequence[SearchedWindow], left_out: Sequence[LeftOut], overall: GlobalResult | None) -> dict[str, Any]:
    """Everything, for bump_hunt.json."""
    windows = [
        {"window": _edges(each.bins.window), "fit_range": [each.bins.edges[0], each.bins.edges[-1]], "bins": len(each.bins)}
        | {"efficiencies": [_as_json(measured) | _spectrum(each.spectrum(measured.efficiency)) for measured in each.measured]}
        for each in searched
    ]
    found = None
    if overall is not None:
        found = asdict(overall) | {
            "window": _edges(overall.window),
            "global_z": overall.global_z,
            "p_is_bound": overall.is_bound,
            "p_limit_95": overall.limit,
        }
    resonant = asdict(searched[0].bins.window.resonant) if searched else None
    return {
        "resonant": resonant,
        "windows": windows,
        "left_out": [_edges(each.window) | {"reason": each.reason} for each in left_out],
        "global": found,
    }


def _as_json(measured: Measured) -> dict[str, Any]:
    values = asdict(measured)
    return {name.rstrip("_"): value for name, value in values.items()}


def _spectrum(spectrum: FittedSpectrum | None) -> dict[str, Any]:
    return {"spectrum": None if spectrum is None else {name: values.tolist() for name, values in vars(spectrum).items()}}


def _edges(window: Window) -> dict[str, Any]:
    return {"low": window.low, "high": window.high, "center": window.center, "unit": window.resonant.unit}


COLUMNS = ("low", "high", "center", "efficiency", "observed", "expected", "error", "fit_error", "p0", "z", "yield", "low_68", "high_68",
           "low_95", "high_95", "limit", "order", "goodness", "method", "failure")  # fmt: skip


def rows(searched: Sequence[SearchedWindow]) -> Iterator[tuple[Any, ...]]:
    """Lines for bump_hunt.csv, with the columns of `COLUMNS`; empty where there is no number."""
    for each in searched:
        for measured in each.measured:
            values = _edges(each.bins.window) | _as_json(measured)
            for level in ("68", "95"):
                interval = values[f"interval_{level}"] or (None, None)
                values |= {f"low_{level}": interval[0], f"high_{level}": interval[1]}
            yield tuple("" if values[name] is None else values[name] for name in COLUMNS)


def line(window: Window, measured: Measured) -> str:
    """What to say of a window at an efficiency."""
    start = f"{window} at efficiency {measured.efficiency:g}"
    if measured.expected is None or measured.error is None:
        return f"{start}: no fit: {measured.failure}" if measured.failure else start
    digits = 0 if measured.expected >= 100 else 1
    text = f"{start}: {measured.expected:.{digits}f} ± {measured.error:.{digits}f} events expected ({measured.order} parameters, "
    text += f"goodness {measured.goodness:.2f})"
    if measured.observed is None or measured.z is None:
        return text
    low, high = measured.interval_68 or (math.nan, math.nan)
    return (
        f"{text}, {measured.observed} found: {measured.z:+.2f} σ, p0 = {measured.p0:.2g}, yield {measured.yield_:.{digits}f} "
        f"({low:.{digits}f} to {high:.{digits}f}), below {measured.limit:.{digits}f} at 95 % CL"
    )


@dataclass(frozen=True)
class StoredWindow:
    """What bump_hunt.json has of a window: for every efficiency what was measured, and the spectrum where there is a fit."""

    window: Window
    measured: tuple[Measured, ...]
    spectra: tuple[FittedSpectrum | None, ...]


@dataclass(frozen=True)
class StoredSearch:
    """What bump_hunt.json has.

    Attributes
    ----------
    windows : tuple of StoredWindow
    said : tuple of str
        The results in sentences, the global one last.
    overall : mapping or None
        The fields of `GlobalResult`.
    """

    windows: tuple[StoredWindow, ...]
    said: tuple[str, ...]
    overall: Mapping[str, Any] | None

    @classmethod
    def read(cls, path: Path) -> StoredSearch:
        """That in a file.

        Raises
        ------
        InputError
            If it is absent, damaged, or of another version.
        """
        content = load_json(path)
        try:
            resonant = Column(**content["resonant"])
            windows = tuple(_stored_window(each, resonant) for each in content["windows"])
            return cls(windows, tuple(map(str, content["said"])), content["global"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: not the results of a search, or those of another version ({error!r})") from error


def _stored_window(content: Mapping[str, Any], resonant: Column) -> StoredWindow:
    names, measured, spectra = {f.name for f in fields(Measured)}, [], []
    for each in content["efficiencies"]:
        values = {f"{name}_" if f"{name}_" in names else name: value for name, value in each.items() if name != "spectrum"}
        measured.append(Measured(**values))
        spectrum = each["spectrum"]
        spectra.append(spectrum and FittedSpectrum(**{name: np.array(values, float) for name, values in spectrum.items()}))
    low, high = (float(content["window"][edge]) for edge in ("low", "high"))
    return StoredWindow(Window(low, high, resonant), tuple(measured), tuple(spectra))
