"""The separation of events into sideband and signal region, training, validation and test: the paper's split (arXiv:2109.00546)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.contract import OutputFile, figure_file
from common.errors import InputError
from common.seeds import make_rng
from events.features import BASELINE
from events.lhco import read_lhco_file, read_lhco_rows
from events.regions import EXTRA_BACKGROUND, EXTRA_SIGNAL, SIDEBAND, TEST_FILES
from events.window import Window

logger = logging.getLogger(__name__)

# The split of the paper, in events of the full LHC Olympics files; smaller inputs are split in the same proportions.
PAPER_BACKGROUND = 1_000_000
PAPER_SIGNAL = 1000
PAPER_SIDEBAND, PAPER_SIDEBAND_TRAIN = 878_000, 500_000
PAPER_SIGNAL_REGION, PAPER_SIGNAL_REGION_TRAIN = 120_000, 60_000
PAPER_EXTRA_BACKGROUND = 612_858
PAPER_TEST_BACKGROUND = (40_000, 300_000)  # into innerdata_test and into innerdata_extrabkg_test
PAPER_EXTRA_SIGNAL, PAPER_TEST_SIGNAL = 70_000, 20_000
# Without a file of extra background the signal region's own is shared out: this part stays data, the rest becomes the extra background.
DATA_SHARE_WITHOUT_EXTRA = 0.5

SEPARATED_FILES = (
    OutputFile(
        "outerdata_train.npy, outerdata_test.npy",
        "SB data for training and validation: m_JJ (TeV), features, label (1 signal, 0 background, -1 unknown); so all ten files",
        "[n, 2 + d]",
        "outerdata_*.npy",
    ),
    OutputFile(
        "innerdata_train.npy, innerdata_val.npy", "SR data for training and validation", "[n, 2 + d]", "innerdata_[tv][ra]*.npy"
    ),
    OutputFile("innerdata_test.npy", "test events of the SR: extra background and extra signal", "[n, 2 + d]"),
    OutputFile("innerdata_extrabkg_test.npy", "more extra background for the test; may hold no event", "[n, 2 + d]"),
    OutputFile(
        "innerdata_extrasig_train.npy, innerdata_extrasig_val.npy", "extra SR signal", "[n, 2 + d]", "innerdata_extrasig*.npy"
    ),
    OutputFile(
        "innerdata_extrabkg_train.npy, innerdata_extrabkg_val.npy",
        "extra SR background",
        "[n, 2 + d]",
        "innerdata_extrabkg_[tv][ra]*.npy",
    ),
    OutputFile("data.npy", "all data, those included that the split has no use for, in the order of the input", "[n, 2 + d]"),
    OutputFile("data_row.npy", "the row of each in the input, counted from 0 (int64)", "[n]"),
    OutputFile("columns.json", "name, axis label, unit and formula of m_JJ and the features"),
    figure_file("mjj_spectrum", "m_JJ of the data, with SR and SB"),
)


@dataclass(frozen=True)
class Separation:
    """Row numbers of the events of every output file, and how they came about; `data` are those of all data, in their order.

    S/B is None where there are no labels.
    """

    main: dict[str, np.ndarray]
    extra: dict[str, np.ndarray]
    data: np.ndarray
    signal_to_background: float | None


def _scaled(size: int, available: int, full: int) -> int:
    """`size` where at least `full` events are available, else the same proportion of what there is."""
    return size if available >= full else round(size * available / full)


def _cut(rows: np.ndarray, *sizes: int) -> list[np.ndarray]:
    """Consecutive pieces of the given sizes, and what is left."""
    return np.split(rows, np.cumsum(sizes))


def _shuffled_rows(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Row numbers where `mask` holds, in random order; half the size of numpy's own."""
    rows = np.flatnonzero(mask).astype(np.int32)
    rng.shuffle(rows)
    return rows


def separate(
    m_jj: np.ndarray,
    is_signal: np.ndarray,
    n_extra_background: int | None,
    window: Window,
    s_over_b: float,
    rng: np.random.Generator,
) -> Separation:
    """Decide which event goes into which file (section 3 of arXiv:2109.00546).

    Parameters
    ----------
    m_jj : array [n]
        Dijet masses of the main file (TeV).
    is_signal : array [n] of bool
    n_extra_background : int or None
        Number of extra SR background events in the second file; None shares out the main file's own SR background.
    window : Window
        The signal region.
    s_over_b : float
        Signal over background among the data in the SR; -1 injects the paper's 1000 signal events per million background events.

    Raises
    ------
    InputError
        If SR or SB is empty, or the file has less signal than is asked for.
    """
    in_sr = window.contains(m_jj)
    signal_in, signal_out = (_shuffled_rows(is_signal & region, rng) for region in (in_sr, ~in_sr))
    background_in, background_out = (_shuffled_rows(~is_signal & region, rng) for region in (in_sr, ~in_sr))
    n_background_in, n_background = len(background_in), len(background_in) + len(background_out)
    extra_background = _shuffled_rows(np.ones(n_extra_background or 0, dtype=bool), rng)
    background = np.concatenate([background_in, background_out])
    if n_extra_background is None:
        background_in, extra_background = _cut(background_in, round(DATA_SHARE_WITHOUT_EXTRA * len(background_in)))
    for region, rows in (("signal region", background_in), ("sideband", background_out)):
        if len(rows) == 0:
            raise InputError(f"no background event in the {region} of {window}; {window.where_masses_are(m_jj)}")

    if s_over_b < 0:
        n_injected = round(PAPER_SIGNAL * n_background / PAPER_BACKGROUND)
        if n_injected > len(signal_in) + len(signal_out):
            raise InputError(f"the paper's share are {n_injected} signal events, the file has {len(signal_in) + len(signal_out)}")
        n_in = int(rng.hypergeometric(len(signal_in), len(signal_out), n_injected)) if n_injected else 0
        n_out = n_injected - n_in
        n_in = round(n_in * len(background_in) / n_background_in)
    else:
        n_in = round(s_over_b * len(background_in))
        if n_in > len(signal_in):
            raise InputError(f"S/B = {s_over_b:g} needs {n_in} signal events in the SR, the file has {len(signal_in)}")
        n_out = round(n_in * len(signal_out) / len(signal_in)) if n_in else 0
    signal_data, extra_signal = _cut(signal_in, n_in)

    sideband, signal_region = np.concatenate([background_out, signal_out[:n_out]]), np.concatenate([background_in, signal_data])
    rng.shuffle(sideband)
    rng.shuffle(signal_region)

    n_train = _scaled(PAPER_SIDEBAND_TRAIN, len(sideband), PAPER_SIDEBAND)
    outer_train, outer_test = _cut(sideband, n_train)
    n_train = _scaled(PAPER_SIGNAL_REGION_TRAIN, len(signal_region), PAPER_SIGNAL_REGION)
    inner_train, inner_val, unused = _cut(signal_region, n_train, n_train)
    if len(unused) > 1:
        logger.info(
            "%d of %d events in the signal region are not used: the paper's size is 120 000", len(unused), len(signal_region)
        )
    test_signal, rest = _cut(extra_signal, _scaled(PAPER_TEST_SIGNAL, len(extra_signal), PAPER_EXTRA_SIGNAL))
    extrasig_train, extrasig_val = np.array_split(rest, 2)
    sizes = (_scaled(size, len(extra_background), PAPER_EXTRA_BACKGROUND) for size in PAPER_TEST_BACKGROUND)
    test_background, test_rest, rest = _cut(extra_background, *sizes)
    extrabkg_train, extrabkg_val = np.array_split(rest, 2)

    main = {
        "outerdata_train": outer_train,
        "outerdata_test": outer_test,
        "innerdata_train": inner_train,
        "innerdata_val": inner_val,
        "innerdata_test": test_signal,
        "innerdata_extrasig_train": extrasig_train,
        "innerdata_extrasig_val": extrasig_val,
    }
    extra = {
        "innerdata_test": test_background,
        "innerdata_extrabkg_train": extrabkg_train,
        "innerdata_extrabkg_val": extrabkg_val,
        "innerdata_extrabkg_test": test_rest,
    }
    data = np.sort(np.concatenate([background, signal_data, signal_out[:n_out]]))
    return Separation(main, extra, data, n_in / len(background_in))


@dataclass(frozen=True)
class Fractions:
    """How the events of a table are shared out; what is neither trained on nor tested validates.

    Attributes
    ----------
    sideband_train : float
        Share of the sideband.
    signal_region_test, signal_region_train : float
        Share of the signal region, and of what is left of it then.
    """

    sideband_train: float
    signal_region_train: float
    signal_region_test: float


def separate_table(
    m: np.ndarray, label: np.ndarray, window: Window, fractions: Fractions, rng: np.random.Generator
) -> Separation:
    """Decide which event of a table goes into which file; all of them are data, and there is no extra signal or background.

    Parameters
    ----------
    m : array [n]
        The resonant variable.
    label : array [n]
        1 signal, 0 background, or -1 throughout.

    Raises
    ------
    InputError
        If signal region or sideband are too few events to be shared out.
    """
    in_sr = window.contains(m)
    signal_region, sideband = (_shuffled_rows(region, rng) for region in (in_sr, ~in_sr))
    outer_train, outer_test = _cut(sideband, round(fractions.sideband_train * len(sideband)))
    inner_test, rest = _cut(signal_region, round(fractions.signal_region_test * len(signal_region)))
    inner_train, inner_val = _cut(rest, round(fractions.signal_region_train * len(rest)))
    for region, train, val in (("signal region", inner_train, inner_val), ("sideband", outer_train, outer_test)):
        if min(len(train), len(val)) == 0:
            found = f"{len(train) + len(val)} events are too few to train and validate on in the {region} of {window}"
            raise InputError(f"{found}; {window.where_masses_are(m)}")
    none = np.zeros(0, dtype=np.int32)
    files = dict.fromkeys((*EXTRA_SIGNAL, *EXTRA_BACKGROUND, TEST_FILES[1]), none)
    files |= {"outerdata_train": outer_train, "outerdata_test": outer_test, "innerdata_train": inner_train}
    files |= {"innerdata_val": inner_val, "innerdata_test": inner_test}
    n_signal, n_background = ((label[in_sr] == value).sum() for value in (1, 0))
    return Separation(files, {}, np.arange(len(m)), float(n_signal / n_background) if n_background else None)


@dataclass(frozen=True)
class SeparatedEvents:
    """All events [n, 2 + d] of the main and the extra file, and which of them go where; without an extra file both are the same.

    `row` [n] says which row of the input an event of the main file was.
    """

    main: np.ndarray
    extra: np.ndarray
    row: np.ndarray
    separation: Separation
    seed: int

    def files(self) -> Iterator[tuple[str, np.ndarray]]:
        """Name and events of every file of the split, one at a time."""
        rng, parts = make_rng(self.seed, "order of the test set"), self.separation
        for name in {**parts.main, **parts.extra}:
            found = [source[rows[name]] for source, rows in ((self.main, parts.main), (self.extra, parts.extra)) if name in rows]
            yield name, found[0] if len(found) == 1 else rng.permutation(np.concatenate(found))

    def some_of_the_sideband(self, n: int) -> np.ndarray:
        """So many training events [n, 2 + d] of the sideband, which are in random order; fewer where there are fewer."""
        return self.main[self.separation.main[SIDEBAND[0]][:n]]

    def data(self) -> dict[str, np.ndarray]:
        """All data [n, 2 + d] in the file's order, and their rows [n] there.

        Those are included that became the extra background, or are too many for the paper's split.
        """
        data = self.separation.data
        whole = len(data) == len(self.main)
        return {"data": self.main if whole else self.main[data], "data_row": self.row[data].astype(np.int64)}


def separate_lhco(
    features_file: Path,
    extra_bkg_file: Path | None,
    *,
    s_over_b: float,
    window: Window,
    seed: int,
    features: Sequence[str] = BASELINE,
    n_noise: int = 0,
) -> SeparatedEvents:
    """Read the LHC Olympics files and decide which event goes into which file.

    Parameters
    ----------
    extra_bkg_file : Path or None
        Extra background of the signal region; None sets aside half of the main file's.
    s_over_b, window
        See `separate`.
    features : sequence of str
        Names of features, see `events.features`.
    n_noise : int
        So many columns of standard-normal random numbers follow the features.

    Raises
    ------
    InputError
        For unusable files or an impossible choice of S/B or signal region.
    """
    noise = make_rng(seed, "noise features")
    events, row = read_lhco_rows(features_file, features)
    events = _with_noise(events, n_noise, noise)
    extra = None
    if extra_bkg_file is not None:
        extra = _with_noise(_signal_region_background(extra_bkg_file, features, window), n_noise, noise)
    n_extra = None if extra is None else len(extra)
    separation = separate(events[:, 0], events[:, -1] == 1, n_extra, window, s_over_b, make_rng(seed, "separation"))
    if extra is None:
        share = 100 * (1 - DATA_SHARE_WITHOUT_EXTRA)
        logger.info("no file of extra background: %.0f %% of the SR background is set aside instead", share)
    return SeparatedEvents(events, events if extra is None else extra, row, separation, seed)


def _with_noise(events: np.ndarray, n_noise: int, rng: np.random.Generator) -> np.ndarray:
    """The events with so many random numbers before the label."""
    if n_noise == 0:
        return events
    wider = np.empty((len(events), events.shape[1] + n_noise), dtype=events.dtype)
    wider[:, : events.shape[1] - 1], wider[:, -1] = events[:, :-1], events[:, -1]
    for column in range(events.shape[1] - 1, wider.shape[1] - 1):
        wider[:, column] = rng.standard_normal(len(events), dtype=np.float32)
    return wider


def _signal_region_background(path: Path, features: Sequence[str], window: Window) -> np.ndarray:
    """The background events [n, 2 + d] inside the signal region of a file."""
    extra = read_lhco_file(path, features, default_label=0)
    usable = window.contains(extra[:, 0]) & (extra[:, -1] == 0)
    logger.info("%s: %d of %d events are SR background", path, usable.sum(), len(extra))
    extra = extra[usable]
    if len(extra) == 0:
        raise InputError(f"{path}: holds no background event in {window}")
    m = extra[:, 0]
    if m.max() - m.min() < 0.95 * window.width:
        logger.warning("%s: covers only %.2f to %.2f TeV of the signal region", path, m.min(), m.max())
    return extra
