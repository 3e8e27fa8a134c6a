"""The regions and the extra samples of a folder of separated events: sideband, signal region, test, extra signal, strips."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_handler import FeatureShift, load_event_files, make_rng, missing_files
from models.persistence import InputError

logger = logging.getLogger(__name__)

STRIP_WIDTH = 0.2  # TeV, of the two sideband strips of CWoLa (arXiv:1902.02634)
SIDEBAND = ("outerdata_train", "outerdata_test")
SIGNAL_REGION = ("innerdata_train", "innerdata_val")
EXTRA_SIGNAL = ("innerdata_extrasig_train", "innerdata_extrasig_val")
EXTRA_BACKGROUND = ("innerdata_extrabkg_train", "innerdata_extrabkg_val")
TEST_FILES = ("innerdata_test", "innerdata_extrabkg_test")


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
        if not 0 <= self.sr_range[0] < self.sr_range[1]:
            raise InputError(f"SR_min = {self.sr_range[0]:g} must be below SR_max = {self.sr_range[1]:g} (TeV)")

    def sideband(self) -> tuple[np.ndarray, np.ndarray]:
        """Training and validation events of the sideband [n, 2 + d]."""
        train, val = (events[~self._inside(events)] for events in self._pair(SIDEBAND, "sideband"))
        if len(train) == 0 or len(val) == 0:
            raise InputError(f"{self.data_dir}: the sideband of {self.sr_range[0]:g} < m_JJ < {self.sr_range[1]:g} TeV is empty")
        return train, val

    def signal_region(self) -> tuple[np.ndarray, np.ndarray]:
        """Training and validation data of the signal region [n, 2 + d]."""
        if self.separate_val_set:
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
        return self._required(EXTRA_BACKGROUND, "the extra background is asked for")

    def test(self) -> np.ndarray:
        """Test events of the signal region; the extra test background joins them where it exists."""
        names = TEST_FILES[:1] if self._missing(TEST_FILES[1:]) else TEST_FILES
        return self._required(names, "every mode is tested on it")

    def extra_signal(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The extra signal events in two halves; None where there are none."""
        if not self._missing(EXTRA_SIGNAL):
            halves = [self._load([name]) for name in EXTRA_SIGNAL]
        elif not self._missing(["innerdata_extrasig"]):
            halves = np.array_split(self._load(["innerdata_extrasig"]), 2)
        else:
            return None
        first, second = (self._in_signal_region(half) for half in halves)
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

    def _load(self, names: Sequence[str]) -> np.ndarray:
        return load_event_files(self.data_dir, names, self.shift, self.seed)

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
            if events.shape[1] != pair[0].shape[1]:
                raise InputError(
                    f"{self.data_dir / name}.npy: {events.shape[1] - 2} features, but {names[0]}.npy has {pair[0].shape[1] - 2}"
                )
        return pair[0], pair[1]

    def _inside(self, events: np.ndarray) -> np.ndarray:
        return (events[:, 0] > self.sr_range[0]) & (events[:, 0] < self.sr_range[1])

    def _in_signal_region(self, events: np.ndarray) -> np.ndarray:
        inside = self._inside(events)
        if not inside.all():
            logger.info("%d of %d events lie outside the signal region and are left out", len(inside) - inside.sum(), len(inside))
        return events[inside]
