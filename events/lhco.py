"""LHC Olympics events: read the HDF5 files that pandas wrote, build the features, split into sideband and signal region."""

from __future__ import annotations

import logging
import pickletools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from tqdm import tqdm

from common.files import InputError
from data_handler import drop_nan_rows, make_rng, save_arrays, writable_folder
from plots import figures

logger = logging.getLogger(__name__)

CHUNK = 16384
JET_COLUMNS = ("px", "py", "pz", "m", "tau1", "tau2")
COLUMNS = tuple(f"{name}j{jet}" for jet in (1, 2) for name in JET_COLUMNS)
GEV_PER_TEV = 1000.0
MAX_COMPRESSION = 1000
SR_DATA = ("innerdata_train", "innerdata_val")
OUTPUTS = ("outerdata_*.npy", "innerdata_*.npy", "mjj_spectrum.png")

# The split of the paper (arXiv:2109.00546), in events of the full LHC Olympics files; smaller inputs are split in the same proportions.
PAPER_BACKGROUND = 1_000_000
PAPER_SIGNAL = 1000
PAPER_SIDEBAND, PAPER_SIDEBAND_TRAIN = 878_000, 500_000
PAPER_SIGNAL_REGION, PAPER_SIGNAL_REGION_TRAIN = 120_000, 60_000
PAPER_EXTRA_BACKGROUND = 612_858
PAPER_TEST_BACKGROUND = (40_000, 300_000)  # into innerdata_test and into innerdata_extrabkg_test
PAPER_EXTRA_SIGNAL, PAPER_TEST_SIGNAL = 70_000, 20_000
# Without a file of extra background the signal region's own is shared out: this part stays data, the rest plays the extra background.
DATA_SHARE_WITHOUT_EXTRA = 0.5


@dataclass(frozen=True)
class _Column:
    dataset: h5py.Dataset
    field: str | None
    index: int | None

    def read(self, rows: slice) -> np.ndarray:
        values = self.dataset[rows] if self.field is None else self.dataset.fields(self.field)[rows]
        return values if self.index is None else values[:, self.index]


def _decoded(names: np.ndarray) -> list[str]:
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _names_in_attribute(attribute: bytes | np.ndarray) -> list[str]:
    """Strings listed in an attribute that PyTables stored as a serialized list; the byte code is read, never run."""
    raw = attribute.tobytes() if isinstance(attribute, np.ndarray) else bytes(attribute)
    return [argument for opcode, argument, _ in pickletools.genops(raw) if "UNICODE" in opcode.name or "STRING" in opcode.name]


def _own(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
    """A member of a group, unless it is a link to another place or file."""
    if name in group and not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is a link")
    return group[name]


def _dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    """A dataset whose values are in this very file, and are about as many as it promises."""
    dataset = _own(group, name)
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
        raise ValueError(f"{name} has its values in another file")
    if dataset.nbytes > MAX_COMPRESSION * dataset.id.get_storage_size() + CHUNK:
        raise ValueError(f"{name} promises {dataset.nbytes} bytes, the file holds {dataset.id.get_storage_size()}")
    return dataset


def _columns(group: h5py.Group) -> dict[str, _Column]:
    """Where every column of a pandas DataFrame is stored, for the "fixed" and the "table" format."""
    found: dict[str, _Column] = {}
    if "table" in group:
        table = _dataset(group, "table")
        for field in table.dtype.names:
            if table.dtype[field].shape:
                names = _names_in_attribute(table.attrs[f"{field}_kind"])
                found.update({name: _Column(table, field, i) for i, name in enumerate(names)})
            else:
                found[field] = _Column(table, field, None)
    else:
        for block in range(int(group.attrs["nblocks"])):
            values = _dataset(group, f"block{block}_values")
            names = _decoded(_dataset(group, f"block{block}_items")[:])
            found.update({name: _Column(values, None, i) for i, name in enumerate(names)})
    return found


def check_exists(path: Path) -> None:
    """Say where the LHC Olympics files are if this one is not there.

    Raises
    ------
    InputError
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; the LHC Olympics files are at Zenodo, records 4536377 and 5759087 (see README)")


def _chunks(path: Path, wanted: tuple[str, ...]) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield (number of events in the file, first row, values [n, len(wanted)] float64); `label` may be absent: NaN."""
    check_exists(path)
    try:
        with h5py.File(path, "r") as file:
            if "df" not in file:
                raise InputError(f"{path}: has no key 'df', expected the LHC Olympics layout written by pandas")
            columns = _columns(_own(file, "df"))
            absent = [name for name in wanted if name not in columns and name != "label"]
            if absent:
                raise InputError(f"{path}: wrong number of columns: {', '.join(absent)} not found")
            n_events = columns[wanted[0]].dataset.shape[0]
            for start in range(0, n_events, CHUNK):
                rows = slice(start, min(start + CHUNK, n_events))
                block: dict[tuple[str, str | None], np.ndarray] = {}
                values = np.full((rows.stop - rows.start, len(wanted)), np.nan)
                for i, name in enumerate(wanted):
                    if name not in columns:
                        continue
                    column = columns[name]
                    key = (column.dataset.name, column.field)
                    if key not in block:
                        block[key] = _Column(column.dataset, column.field, None).read(rows)
                    values[:, i] = block[key] if column.index is None else block[key][:, column.index]
                yield n_events, start, values
    except (InputError, MemoryError):
        raise
    except Exception as error:  # h5py raises whatever HDF5's library meets in a damaged file
        raise InputError(f"{path}: not a readable HDF5 file of pandas ({' '.join(str(error).split())})") from error


def features_from_jets(jets: np.ndarray, add_delta_r: bool = False) -> np.ndarray:
    """m_JJ and the baseline features of the two leading jets.

    Parameters
    ----------
    jets : array [n, 12]
        px, py, pz, m (GeV), tau1, tau2 of the first and then of the second jet.
    add_delta_r : bool
        Add ΔR_JJ = √(Δη² + Δφ²) of the two jets, with pseudorapidity η and azimuth φ.

    Returns
    -------
    array [n, 5] or [n, 6]
        m_JJ, m_J1, Δm_J = m_J2 - m_J1 (TeV), τ21_J1, τ21_J2, where J1 is the lighter jet and τ21 = τ2 / (1e-5 + τ1).

    Examples
    --------
    Two massless back-to-back jets of 1.5 TeV:

    >>> features_from_jets(np.array([[1500.0, 0, 0, 0, 0.2, 0.1, -1500.0, 0, 0, 0, 0.4, 0.1]])).round(3).tolist()
    [[3.0, 0.0, 0.0, 0.5, 0.25]]
    """
    jet = jets.reshape(len(jets), 2, 6)
    momentum, mass = jet[:, :, :3], jet[:, :, 3]
    energy = np.sqrt(np.sum(momentum**2, axis=2) + mass**2)
    m_jj = np.sqrt(np.maximum(energy.sum(axis=1) ** 2 - np.sum(momentum.sum(axis=1) ** 2, axis=1), 0))
    tau21 = jet[:, :, 5] / (1e-5 + jet[:, :, 4])
    by_mass = np.argsort(mass, axis=1, kind="stable")
    mass, tau21 = np.take_along_axis(mass, by_mass, axis=1), np.take_along_axis(tau21, by_mass, axis=1)
    features = [m_jj / GEV_PER_TEV, mass[:, 0] / GEV_PER_TEV, (mass[:, 1] - mass[:, 0]) / GEV_PER_TEV, tau21]
    if add_delta_r:
        transverse = np.hypot(momentum[:, :, 0], momentum[:, :, 1])
        with np.errstate(divide="ignore", invalid="ignore"):  # along the beam: not finite, dropped with the NaN rows
            eta = np.arcsinh(momentum[:, :, 2] / transverse)
        delta_phi = np.arctan2(momentum[:, 0, 1], momentum[:, 0, 0]) - np.arctan2(momentum[:, 1, 1], momentum[:, 1, 0])
        delta_phi = (delta_phi + np.pi) % (2 * np.pi) - np.pi
        features.append(np.hypot(eta[:, 0] - eta[:, 1], delta_phi))
    return np.column_stack(features)


def read_lhco_file(path: Path, default_label: float | None = None, add_delta_r: bool = False) -> np.ndarray:
    """Read one LHC Olympics file into events [n, 2 + d] (m_JJ in TeV, features, label), float32.

    The file is read in chunks, so that memory holds the result and one chunk.

    Parameters
    ----------
    default_label : float, optional
        Label of all events where the file has no label column.
    add_delta_r : bool
        See `features_from_jets`.

    Raises
    ------
    InputError
        If the file is absent, damaged, lacks columns, or has more than 1 % NaN rows.
    """
    events: np.ndarray | None = None
    for n_events, start, values in tqdm(_chunks(path, (*COLUMNS, "label")), desc=Path(path).name, unit="chunk", disable=None):
        features = features_from_jets(values[:, :-1], add_delta_r)
        if events is None:
            events = np.empty((n_events, features.shape[1] + 1), dtype=np.float32)
        rows = events[start : start + len(values)]
        rows[:, :-1], rows[:, -1] = features, values[:, -1]
    if events is None:
        raise InputError(f"{path}: holds no events")
    if default_label is not None and np.isnan(events[:, -1]).all():
        events[:, -1] = default_label
    if np.isnan(events[:, -1]).all():
        raise InputError(f"{path}: has no column 'label' (1 signal, 0 background)")
    events = drop_nan_rows(events, path)
    if not np.isin(events[:, -1], (0, 1)).all():
        raise InputError(f"{path}: the label must be 1 (signal) or 0 (background)")
    return events


@dataclass(frozen=True)
class Separation:
    """Row numbers of the events of every output file, and how they came about."""

    main: dict[str, np.ndarray]
    extra: dict[str, np.ndarray]
    signal_to_background: float


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
    sr_range: tuple[float, float],
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
    sr_range : (float, float)
        Edges of the signal region (TeV).
    s_over_b : float
        Signal over background among the data in the SR; -1 injects the paper's 1000 signal events per million background events.

    Raises
    ------
    InputError
        If SR or SB is empty, or the file has less signal than is asked for.
    """
    in_sr = (m_jj > sr_range[0]) & (m_jj < sr_range[1])
    signal_in, signal_out = (_shuffled_rows(is_signal & region, rng) for region in (in_sr, ~in_sr))
    background_in, background_out = (_shuffled_rows(~is_signal & region, rng) for region in (in_sr, ~in_sr))
    n_background_in, n_background = len(background_in), len(background_in) + len(background_out)
    extra_background = _shuffled_rows(np.ones(n_extra_background or 0, dtype=bool), rng)
    if n_extra_background is None:
        background_in, extra_background = _cut(background_in, round(DATA_SHARE_WITHOUT_EXTRA * len(background_in)))
    for region, rows in (("signal region", background_in), ("sideband", background_out)):
        if len(rows) == 0:
            raise InputError(f"no background event in the {region} of {sr_range[0]} < m_JJ < {sr_range[1]} TeV")

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
    return Separation(main, extra, n_in / len(background_in))


def prepare_lhco(
    features_file: Path,
    extra_bkg_file: Path | None,
    outdir: Path,
    *,
    s_over_b: float,
    sr_range: tuple[float, float],
    seed: int,
    add_delta_r: bool = False,
) -> Separation:
    """Read the LHC Olympics files, separate them, and write the ten event files and a figure of the mass spectrum into `outdir`.

    Raises
    ------
    InputError
        For unusable files or an impossible choice of S/B or signal region; nothing is written then.
    """
    if not 0 <= sr_range[0] < sr_range[1]:
        raise InputError(f"SR_min = {sr_range[0]:g} must be below SR_max = {sr_range[1]:g} (TeV)")
    if not (s_over_b == -1 or 0 <= s_over_b < np.inf):
        raise InputError(f"S_over_B = {s_over_b:g} must be 0 or above, or -1 for the paper's value")
    events = read_lhco_file(features_file, add_delta_r=add_delta_r)
    extra = None
    if extra_bkg_file is not None:
        extra = read_lhco_file(extra_bkg_file, default_label=0, add_delta_r=add_delta_r)
        usable = (extra[:, 0] > sr_range[0]) & (extra[:, 0] < sr_range[1]) & (extra[:, -1] == 0)
        logger.info("%s: %d of %d events are SR background", extra_bkg_file, usable.sum(), len(extra))
        extra = extra[usable]
        if len(extra) == 0:
            raise InputError(f"{extra_bkg_file}: holds no background event in {sr_range[0]:g} < m_JJ < {sr_range[1]:g} TeV")
        if extra[:, 0].max() - extra[:, 0].min() < 0.95 * (sr_range[1] - sr_range[0]):
            logger.warning(
                "%s: covers only %.2f to %.2f TeV of the signal region", extra_bkg_file, extra[:, 0].min(), extra[:, 0].max()
            )
    separation = separate(
        events[:, 0], events[:, -1] == 1, None if extra is None else len(extra), sr_range, s_over_b, make_rng(seed, "separation")
    )
    if extra is None:
        logger.info(
            "no file of extra background: %.0f %% of the SR background is set aside to play it",
            100 * (1 - DATA_SHARE_WITHOUT_EXTRA),
        )
        extra = events
    writable_folder(outdir)
    rng = make_rng(seed, "order of the test set")
    for name in {**separation.main, **separation.extra}:
        parts = [source[rows[name]] for source, rows in ((events, separation.main), (extra, separation.extra)) if name in rows]
        joined = parts[0] if len(parts) == 1 else rng.permutation(np.concatenate(parts))
        save_arrays(outdir, {name: joined})
        logger.info("%s.npy: %d events, %d of them signal", name, len(joined), joined[:, -1].sum())
    logger.info("S/B in the signal region: %.3f %%", 100 * separation.signal_to_background)
    data_rows = np.concatenate([separation.main[name] for name in ("outerdata_train", "outerdata_test", *SR_DATA)])
    if extra is events:  # what was set aside belongs to the spectrum, too
        data_rows = np.concatenate([data_rows, *separation.extra.values()])
    figures.save(figures.mass_spectrum(events[:, 0][data_rows], sr_range), outdir / "mjj_spectrum.png")
    _log_impossible_modes(separation)
    return separation


def prepare_demo(
    features_file: Path, outdir: Path, *, s_over_b: float, sr_range: tuple[float, float], seed: int, add_delta_r: bool = False
) -> None:
    """Write the sideband's and the signal region's data in halves and quarters, for the notebooks in demos/."""
    events = read_lhco_file(features_file, add_delta_r=add_delta_r)
    rng = make_rng(seed, "separation")
    rows = separate(events[:, 0], events[:, -1] == 1, 0, sr_range, s_over_b, rng).main
    writable_folder(outdir)
    for region, parts in (("outerdata", ("outerdata_train", "outerdata_test")), ("innerdata", SR_DATA)):
        data = events[rng.permutation(np.concatenate([rows[part] for part in parts]))]
        half, quarter = len(data) // 2, len(data) // 4
        for name, part in zip(("train", "val", "test"), np.split(data, [half, half + quarter]), strict=True):
            save_arrays(outdir, {f"{region}_{name}": part})
            logger.info("%s_%s.npy: %d events, %d of them signal", region, name, len(part), part[:, -1].sum())


def _log_impossible_modes(separation: Separation) -> None:
    sizes = {name: len(rows) for rows in (separation.extra, separation.main) for name, rows in rows.items()}
    for mode, needed in (
        ("supervised", "innerdata_extrasig_train"),
        ("idealized_AD with --cf_extra_bkg", "innerdata_extrabkg_train"),
    ):
        if sizes[needed] == 0:
            logger.warning("%s cannot run: %s is empty", mode, needed)
