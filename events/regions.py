"""The regions and the extra samples of a folder of separated events: sideband, signal region, test, extra signal, strips."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from common.files import InputError
from data_handler import load_events, make_rng, missing_files

logger = logging.getLogger(__name__)

STRIP_WIDTH = 0.2  # TeV, of the two sideband strips of CWoLa (arXiv:1902.02634)
SIDEBAND = ("outerdata_train", "outerdata_test")
SIGNAL_REGION = ("innerdata_train", "innerdata_val")
EXTRA_SIGNAL = ("innerdata_extrasig_train", "innerdata_extrasig_val")
EXTRA_SIGNAL_IN_ONE = ("innerdata_extrasig",)
EXTRA_BACKGROUND = ("innerdata_extrabkg_train", "innerdata_extrabkg_val")
TEST_FILES = ("innerdata_test", "innerdata_extrabkg_test")
SHIFTED_COLUMNS = (1, 2)  # m_J1 and Delta m_J


@dataclass(frozen=True)
class FeatureShift:
    """The correlation test of arXiv:2109.00546: `strength` × m_JJ is added to m_J1 and Δm_J.

    With `random` the masses added are drawn at random from all data, sideband and signal region alike: the same smearing without
    the correlation. (A permutation within each region would leave the region's own masses in it, the very correlation to be removed.)
    """

    strength: float = 0.0
    random: bool = False

    def __post_init__(self) -> None:
        if self.random and self.strength == 0:
            raise InputError("--random_shift needs a --datashift to randomise")

    def apply(self, events: np.ndarray, all_masses: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The shifted events; the array itself where the strength is 0. `all_masses` (TeV) are those of all data."""
        if self.strength == 0:
            return events
        if events.shape[1] < 4:
            raise InputError(f"a shift needs the two features m_J1 and Delta m_J, the events have {events.shape[1] - 2}")
        mass = rng.choice(all_masses, len(events)) if self.random else events[:, 0]
        shifted = events.copy()
        shifted[:, SHIFTED_COLUMNS] += self.strength * mass[:, None]
        return shifted


@dataclass(frozen=True)
class EventSource:
    """A folder of separated events, and what is done to them upon reading.

    Parameters
    ----------
    data_dir : Path
        Folder with the .npy files of stage 1.
    shift : FeatureShift
        Applied to every event that is read.
    seed : int
        Of the random shift and the random halves.
    sr_range : (float, float)
        Edges of the signal region (TeV); events of the inner files outside of it are left out.
    separate_val_set : bool
        Keep innerdata_val.npy for validation. Otherwise innerdata_train and (if there) innerdata_val are pooled and halved at random.
    """

    data_dir: Path
    shift: FeatureShift
    seed: int
    sr_range: tuple[float, float]
    separate_val_set: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.sr_range[0] < self.sr_range[1] < np.inf:
            raise InputError(f"SR_min = {self.sr_range[0]:g} must be below SR_max = {self.sr_range[1]:g} (TeV)")

    def files(self, *groups: Sequence[str]) -> list[Path]:
        """Those files of the folder that belong to the groups; with a random shift also all data, whose masses it adds."""
        shifted = (SIDEBAND, SIGNAL_REGION) if self.shift.random and self.shift.strength else ()
        names = dict.fromkeys(name for group in (*groups, *shifted) for name in group)
        return [self.data_dir / f"{name}.npy" for name in names if not self._missing([name])]

    def sideband(self) -> tuple[np.ndarray, np.ndarray]:
        """Training and validation events of the sideband [n, 2 + d]."""
        return self._pair(SIDEBAND, "sideband")

    def signal_region(self) -> tuple[np.ndarray, np.ndarray]:
        """Training and validation data of the signal region [n, 2 + d]."""
        if self.separate_val_set:
            if self._missing(SIGNAL_REGION[1:]):
                raise InputError(f"{self.data_dir / SIGNAL_REGION[1]}.npy: no such file; do without --separate_val_set")
            sets = self._pair(SIGNAL_REGION, "signal region")
        else:
            pooled = self._load(SIGNAL_REGION[:1] if self._missing(SIGNAL_REGION[1:]) else SIGNAL_REGION)
            sets = np.array_split(pooled[make_rng(self.seed, "halving the signal region").permutation(len(pooled))], 2)
        train, val = (self._in_signal_region(events) for events in sets)
        if len(train) == 0 or len(val) == 0:
            raise InputError(
                f"{self.data_dir}: the signal region of {self.sr_range[0]:g} < m_JJ < {self.sr_range[1]:g} TeV is empty"
            )
        return train, val

    def extra_background(self) -> np.ndarray:
        """Extra background of the signal region, for training and validation together."""
        events = self._required(EXTRA_BACKGROUND, "the extra background (--extra_bkg) is asked for")
        if (events[:, -1] != 0).any():
            raise InputError(f"{self.data_dir / EXTRA_BACKGROUND[0]}.npy or its partner: holds events with another label than 0")
        return events

    def test(self) -> np.ndarray:
        """Test events of the signal region; the extra test background joins them where it exists."""
        names = TEST_FILES[:1] if self._missing(TEST_FILES[1:]) else TEST_FILES
        return self._required(names, "every mode is tested on it")

    def test_sideband(self, *, without_strips: bool = False) -> np.ndarray | None:
        """Sideband events that no classifier is trained on, to see whether it sculpts; None where there are none.

        `without_strips` leaves out the strips next to the signal region, for CWoLa, which does train on them.
        """
        if self._missing(SIDEBAND[1:]):
            return None
        events = self._load(SIDEBAND[1:])
        if without_strips:
            low, high = self.sr_range
            events = events[(events[:, 0] <= low - STRIP_WIDTH) | (events[:, 0] >= high + STRIP_WIDTH)]
        return events if len(events) else None

    def extra_signal(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The extra signal events in two halves; None where there are none."""
        if not self._missing(EXTRA_SIGNAL):
            halves = [self._load([name]) for name in EXTRA_SIGNAL]
        elif not self._missing(EXTRA_SIGNAL_IN_ONE):
            halves = np.array_split(self._load(EXTRA_SIGNAL_IN_ONE), 2)
        else:
            return None
        first, second = (self._in_signal_region(half) for half in halves)
        if (first[:, -1] != 1).any() or (second[:, -1] != 1).any():
            raise InputError(f"{self.data_dir}/innerdata_extrasig*.npy: holds events with another label than 1")
        return (first, second) if len(first) and len(second) else None

    def strips(self) -> np.ndarray:
        """Sideband events of the two strips next to the signal region."""
        low, high = self.sr_range
        events = self._load(SIDEBAND)
        lower = events[(events[:, 0] > low - STRIP_WIDTH) & (events[:, 0] <= low)]
        upper = events[(events[:, 0] >= high) & (events[:, 0] < high + STRIP_WIDTH)]
        if len(lower) == 0 or len(upper) == 0:
            raise InputError(
                f"{self.data_dir}: no sideband event within {STRIP_WIDTH} TeV of the signal region, CWoLa needs both sides"
            )
        logger.info("CWoLa: %d events in the lower strip, %d in the upper", len(lower), len(upper))
        return np.concatenate([lower, upper])

    @cached_property
    def _reference(self) -> tuple[str, int]:
        """A file that is there, and its number of columns, which all others must have."""
        names = [name for name in (*TEST_FILES, *SIGNAL_REGION, *SIDEBAND) if not self._missing([name])]
        return (names[0], load_events(self.data_dir / f"{names[0]}.npy").shape[1]) if names else ("", 0)

    @cached_property
    def _all_masses(self) -> np.ndarray:
        """m_JJ (TeV) of all data, for the random shift."""
        names = [name for name in (*SIDEBAND, *SIGNAL_REGION) if not self._missing([name])]
        return np.concatenate([load_events(self.data_dir / f"{name}.npy")[:, 0] for name in names])

    def _load(self, names: Sequence[str]) -> np.ndarray:
        """Read and join files, shifted."""
        parts = []
        for name in names:
            events = load_events(self.data_dir / f"{name}.npy")
            reference, n_columns = self._reference
            if events.shape[1] != n_columns:
                raise InputError(
                    f"{self.data_dir / name}.npy: {events.shape[1] - 2} features, but {reference}.npy has {n_columns - 2}"
                )
            if name in SIDEBAND and self._inside(events).any():
                raise InputError(
                    f"{self.data_dir / name}.npy: holds events of the signal region {self.sr_range[0]:g} < m_JJ < "
                    f"{self.sr_range[1]:g} TeV: separate the events with the same edges"
                )
            masses = self._all_masses if self.shift.random and self.shift.strength else events[:, 0]
            parts.append(self.shift.apply(events, masses, make_rng(self.seed, f"shift {name}")))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _missing(self, names: Sequence[str]) -> list[str]:
        return missing_files(self.data_dir, names)

    def _required(self, names: Sequence[str], why: str) -> np.ndarray:
        if absent := self._missing(names):
            raise InputError(f"{self.data_dir / absent[0]}.npy: no such file, but {why}")
        events = self._in_signal_region(self._load(names))
        if len(events) == 0:
            raise InputError(f"{self.data_dir / names[0]}.npy: holds no event in the signal region, but {why}")
        return events

    def _pair(self, names: Sequence[str], region: str) -> tuple[np.ndarray, np.ndarray]:
        pair = [self._load([name]) for name in names]
        for name, events in zip(names, pair, strict=True):
            if len(events) == 0:
                raise InputError(f"{self.data_dir / name}.npy: the {region} is empty")
        return pair[0], pair[1]

    def _inside(self, events: np.ndarray) -> np.ndarray:
        return (events[:, 0] > self.sr_range[0]) & (events[:, 0] < self.sr_range[1])

    def _in_signal_region(self, events: np.ndarray) -> np.ndarray:
        inside = self._inside(events)
        if not inside.all():
            logger.info("%d of %d events lie outside the signal region and are left out", len(inside) - inside.sum(), len(inside))
        return events[inside]
