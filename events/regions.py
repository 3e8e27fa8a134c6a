"""The regions and the extra samples of a folder of separated events: sideband, signal region, test, extra signal, strips."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from common.errors import InputError
from common.files import array_shape, load_array, missing_files
from common.seeds import make_rng
from events.columns import FILE as COLUMNS_FILE
from events.columns import Columns
from events.folds import folds_of_data, learned_from
from events.options import EventOptions
from events.view import UNKNOWN, Events, load_events, n_features_in
from events.window import stored_window

logger = logging.getLogger(__name__)

STRIP_WIDTH = 0.5  # of CWoLa's strips, in widths of the SR: 0.2 TeV for the paper's (arXiv:1902.02634)
SIDEBAND = ("outerdata_train", "outerdata_test")
SIGNAL_REGION = ("innerdata_train", "innerdata_val")
EXTRA_SIGNAL = ("innerdata_extrasig_train", "innerdata_extrasig_val")
EXTRA_SIGNAL_IN_ONE = ("innerdata_extrasig",)
EXTRA_BACKGROUND = ("innerdata_extrabkg_train", "innerdata_extrabkg_val")
TEST_FILES = ("innerdata_test", "innerdata_extrabkg_test")
ALL_DATA = ("data", "data_row")
SHIFTED = ("m_J1", "delta_m_J")  # the first two features of a folder that does not name them


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
            raise InputError("a random shift needs a strength other than 0")

    def apply(self, events: np.ndarray, all_masses: np.ndarray, rng: np.random.Generator, columns: Columns) -> np.ndarray:
        """The shifted events; the array itself where the strength is 0. `all_masses` (TeV) are those of all data.

        Raises
        ------
        InputError
            If the features to be shifted are not there.
        """
        if self.strength == 0:
            return events
        names = columns.names if columns.named else [*SHIFTED, *columns.names][: len(columns.names)]
        if absent := [name for name in SHIFTED if name not in names]:
            raise InputError(f"a shift needs the features {' and '.join(SHIFTED)}; these events have no {absent[0]}")
        mass = rng.choice(all_masses, len(events)) if self.random else events[:, 0]
        shifted = events.copy()
        shifted[:, [1 + names.index(name) for name in SHIFTED]] += self.strength * mass[:, None]
        return shifted


def has_labels(folder: Path) -> bool:
    """Whether anybody knows which data of the signal region are signal; where there are none, it is not denied.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    path = Path(folder) / f"{SIGNAL_REGION[0]}.npy"
    if not path.is_file() or array_shape(path)[0] == 0:
        return True
    n_features_in(path)
    return not bool((load_array(path, mapped=True)[:, -1] == UNKNOWN).all())


class EventSource:
    """A folder of separated events; each file is read once.

    Parameters
    ----------
    options : EventOptions
        Which folder, which signal region (events of the inner files outside of it are left out), which shift, and the seed of
        everything random (None counts as 0).
    """

    def __init__(self, options: EventOptions) -> None:
        self.options, self.data_dir, self.window = options, Path(options.data_dir), options.window
        self.seed = options.seed or 0
        self.shift = FeatureShift(options.datashift, options.random_shift)
        self._files: dict[str, np.ndarray] = {}

    def rng(self, purpose: str) -> np.random.Generator:
        """The run's random generator for one purpose."""
        return make_rng(self.seed, purpose)

    def paths(self, *groups: Sequence[str]) -> list[Path]:
        """The files of the groups that are there, and columns.json; with a random shift also all data, whose masses it adds."""
        shifted = (SIDEBAND, SIGNAL_REGION) if self.shift.random else ()
        names = dict.fromkeys(name for group in (*groups, *shifted) for name in group)
        paths = [self._path(name) for name in names] + [self.data_dir / COLUMNS_FILE]
        return [path for path in paths if path.is_file()]

    @property
    def n_features(self) -> int:
        """d, which is the same in all files."""
        return n_features_in(self._path(self._reference))

    @property
    def columns(self) -> Columns:
        """What the columns are."""
        return Columns.read(self.data_dir, self.n_features)

    def describe(self) -> dict[str, object]:
        """What must be the same of all events that a density is to describe, as plain JSON."""
        shift, columns = {"strength": self.shift.strength, "random": self.shift.random}, self.columns
        return {"shift": shift} | ({"features": columns.names} if columns.named else {})

    def sideband(self) -> tuple[Events, Events]:
        """Training and validation events of the sideband."""
        return self._pair(SIDEBAND, "sideband")

    def signal_region(self, *, separate_val_set: bool = False) -> tuple[Events, Events]:
        """Training and validation data of the signal region.

        Parameters
        ----------
        separate_val_set : bool
            Keep innerdata_val.npy for validation. Otherwise innerdata_train and (if there) innerdata_val are pooled and halved at random.
        """
        if separate_val_set:
            if self._missing(SIGNAL_REGION[1:]):
                raise InputError(
                    f"{self._path(SIGNAL_REGION[1])}: no such file; do without {self.options.flag('separate_val_set')}"
                )
            train, val = (self._in_signal_region(events) for events in self._pair(SIGNAL_REGION, "signal region"))
        else:
            pooled = self._load(SIGNAL_REGION[:1] if self._missing(SIGNAL_REGION[1:]) else SIGNAL_REGION)
            halves = np.array_split(self.rng("halving the signal region").permutation(len(pooled)), 2)
            train, val = (self._in_signal_region(pooled[rows]) for rows in halves)
        if len(train) == 0 or len(val) == 0:
            where = self.window.where_masses_are(self._load(SIGNAL_REGION[:1]).m)
            raise InputError(f"{self.data_dir}: the signal region of {self.window} is empty; {where}")
        return train, val

    def extra_background(self) -> Events:
        """Extra background of the signal region, for training and validation together."""
        events = self._required(EXTRA_BACKGROUND, f"{self.options.flag('extra_bkg')} asks for it")
        if (events.label != 0).any():
            raise InputError(f"{self._path(EXTRA_BACKGROUND[0])} or its partner: holds events with another label than 0")
        return events

    def all_data(self) -> tuple[Events, np.ndarray]:
        """All data events, of signal region and sideband, and the row [n] of each in the input.

        Raises
        ------
        InputError
            If the folder has only the split, whose signal region may be thinned, or if both are not of the same events.
        """
        if absent := self._missing(ALL_DATA):
            raise InputError(
                f"{self._path(absent[0])}: no such file, but all data are asked for; the signal region of innerdata_*.npy may be "
                "thinned: separate the events again with stage 1, which writes data.npy and data_row.npy"
            )
        if stored_window(self.data_dir) is None:
            raise InputError(f"{self.data_dir / COLUMNS_FILE}: does not say where the signal region is; stage 1 writes that, too")
        row = load_array(self._path(ALL_DATA[1]))
        n, of_split = len(self._read(ALL_DATA[0])), sum(array_shape(self._path(name))[0] for name in SIDEBAND)
        n_outside = n - int(self.window.contains(self._read(ALL_DATA[0])[:, 0]).sum())
        of_region = sum(array_shape(self._path(name))[0] for name in SIGNAL_REGION if not self._missing([name]))
        if row.shape != (n,) or row.dtype.kind != "i" or n_outside != of_split or n - n_outside < of_region:
            raise InputError(
                f"{self._path(ALL_DATA[0])}: {n} events, {n_outside} of them outside the signal region, but data_row.npy has {len(row)} "
                f"and outerdata_*.npy {of_split}: they are of different separations"
            )
        return self._load(ALL_DATA[:1]), row

    @cached_property
    def all_data_digest(self) -> str:
        """By which all data, and their order, are told from others."""
        data, row = self._read(ALL_DATA[0]), load_array(self._path(ALL_DATA[1]))
        digest = hashlib.sha256(row.tobytes() + np.ascontiguousarray(data[:, 0]).tobytes())
        return f"{len(data)} events, {digest.hexdigest()[:16]}"

    def sideband_for_fold(self, scored: int, n_folds: int) -> tuple[Events, Events]:
        """Training and validation events of the sideband for what will score a fold: all data of some of the other folds."""
        data, row = self.all_data()
        fold = folds_of_data(len(row), n_folds)
        outside = ~self.window.contains(data.m)
        train, val = (data[outside & np.isin(fold, folds)] for folds in learned_from(scored, n_folds))
        if len(train) == 0 or len(val) == 0:
            raise InputError(f"{self.data_dir}: the sideband is empty in some of {n_folds} folds")
        return train, val

    def test(self) -> Events:
        """Test events of the signal region; the extra test background joins them where it exists."""
        names = TEST_FILES[:1] if self._missing(TEST_FILES[1:]) else TEST_FILES
        return self._required(names, "every mode without folds is tested on it")

    def test_sideband(self, *, without_strips: bool = False) -> Events | None:
        """Sideband events that no classifier is trained on, to see whether it sculpts; None where there are none.

        `without_strips` leaves out the strips next to the signal region, for a classifier that is trained on them.
        """
        if self._missing(SIDEBAND[1:]):
            return None
        events = self._load(SIDEBAND[1:])
        if without_strips:
            low, high = self.outer_edges
            events = events[(events.m <= low) | (events.m >= high)]
        return events if len(events) else None

    def extra_signal(self) -> tuple[Events, Events] | None:
        """The extra signal events in two halves; None where there are none."""
        if not self._missing(EXTRA_SIGNAL):
            halves = [self._load([name]) for name in EXTRA_SIGNAL]
        elif not self._missing(EXTRA_SIGNAL_IN_ONE):
            whole = self._load(EXTRA_SIGNAL_IN_ONE)
            halves = [whole[rows] for rows in np.array_split(np.arange(len(whole)), 2)]
        else:
            return None
        first, second = (self._in_signal_region(half) for half in halves)
        if (first.label != 1).any() or (second.label != 1).any():
            raise InputError(f"{self.data_dir}/innerdata_extrasig*.npy: holds events with another label than 1")
        return (first, second) if len(first) and len(second) else None

    def strips(self) -> Events:
        """Sideband events of the two strips next to the signal region, each half as wide as it is."""
        (low, high), (outer_low, outer_high) = self.window.edges, self.outer_edges
        events = self._load(SIDEBAND)
        lower, upper = (events[strip] for strip in self.in_strips(events.m))
        if len(lower) == 0 or len(upper) == 0:
            empty = f"{outer_low:g} to {low:g}" if len(lower) == 0 else f"{high:g} to {outer_high:g}"
            empty = self.window.resonant.quantity(empty)
            raise InputError(
                f"{self.data_dir}: no sideband event from {empty}, CWoLa needs both strips next to the signal region"
            )
        return Events.joined(lower, upper)

    def in_strips(self, m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which masses [n] are in the lower, and which in the upper strip."""
        outer_low, outer_high = self.outer_edges
        return (m > outer_low) & (m <= self.window.low), (m >= self.window.high) & (m < outer_high)

    @property
    def outer_edges(self) -> tuple[float, float]:
        """Where CWoLa's strips end."""
        reach = STRIP_WIDTH * self.window.width
        return self.window.low - reach, self.window.high + reach

    @property
    def _reference(self) -> str:
        """A file that is there, and whose number of columns all others must have."""
        names = (*TEST_FILES, *SIGNAL_REGION, *SIDEBAND)
        return next((name for name in names if not self._missing([name])), TEST_FILES[0])

    def _path(self, name: str) -> Path:
        return self.data_dir / f"{name}.npy"

    def _missing(self, names: Sequence[str]) -> list[str]:
        return missing_files(self.data_dir, names)

    def _read(self, name: str) -> np.ndarray:
        if name not in self._files:
            self._files[name] = load_events(self._path(name))
        return self._files[name]

    def _load(self, names: Sequence[str]) -> Events:
        """Read and join files, shifted."""
        parts = []
        for name in names:
            events = self._read(name)
            if events.shape[1] - 2 != self.n_features:
                reference = self._path(self._reference).name
                raise InputError(f"{self._path(name)}: {events.shape[1] - 2} features, but {reference} has {self.n_features}")
            if name in SIDEBAND and self.window.contains(events[:, 0]).any():
                raise InputError(
                    f"{self._path(name)}: holds events of the signal region {self.window}: "
                    f"separate the events with the same edges, or give those they have to {self.options.flag('SR_min')} and "
                    f"{self.options.flag('SR_max')}"
                )
            masses = self._masses_of_all_data() if self.shift.random else events[:, 0]
            parts.append(Events(self.shift.apply(events, masses, self.rng(f"shift {name}"), self.columns)))
        return Events.joined(*parts)

    def _masses_of_all_data(self) -> np.ndarray:
        """m_JJ (TeV) of all data, for the random shift."""
        return np.concatenate([self._read(name)[:, 0] for name in (*SIDEBAND, *SIGNAL_REGION) if not self._missing([name])])

    def _required(self, names: Sequence[str], why: str) -> Events:
        if absent := self._missing(names):
            raise InputError(f"{self._path(absent[0])}: no such file, but {why}")
        events = self._in_signal_region(self._load(names))
        if len(events) == 0:
            where = self.window.where_masses_are(self._load(names).m)
            raise InputError(f"{self._path(names[0])}: holds no event in the signal region of {self.window}, but {why}; {where}")
        return events

    def _pair(self, names: Sequence[str], region: str) -> tuple[Events, Events]:
        pair = [self._load([name]) for name in names]
        for name, events in zip(names, pair, strict=True):
            if len(events) == 0:
                raise InputError(f"{self._path(name)}: the {region} is empty")
        return pair[0], pair[1]

    def _in_signal_region(self, events: Events) -> Events:
        inside = self.window.contains(events.m)
        if not inside.all():
            logger.info("%d of %d events lie outside the signal region and are left out", len(inside) - inside.sum(), len(inside))
        return events if inside.all() else events[inside]
