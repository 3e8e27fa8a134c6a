"""An analysis' own tables -> events: columns are chosen, rows selected, weighted events thinned to unweighted ones."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.errors import InputError
from common.progress import progress
from common.seeds import make_seed
from events.selection import Selection
from events.tables import Chunk, Table
from events.view import MAX_NAN_SHARE, UNKNOWN, are_labels
from events.window import Window
from models.dequantizer import Dequantizer

logger = logging.getLogger(__name__)

SMALLEST_ACCEPTANCE = 0.1  # of weighted events, below which a few of them have far larger weights than all others


@dataclass(frozen=True)
class Wanted:
    """Which columns of a table are read, and which of its rows.

    Parameters
    ----------
    resonant : str
    features : tuple of str
    label : str, optional
        1 signal, 0 background, or -1 throughout; -1 (unknown) without it.
    weight : str, optional
        An event is kept with the probability weight / largest weight of all.
    selection : Selection, optional

    Raises
    ------
    InputError
        If a column has two parts to play.
    """

    resonant: str
    features: tuple[str, ...]
    label: str | None = None
    weight: str | None = None
    selection: Selection | None = None

    def __post_init__(self) -> None:
        named = [self.resonant, *self.features, *filter(None, (self.label, self.weight))]
        if twice := [name for number, name in enumerate(named) if name in named[:number]]:
            raise InputError(
                f"the column {twice[0]!r} can be only one of resonant variable, feature, label and weight, and only once"
            )

    @property
    def columns(self) -> list[str]:
        """All that are read."""
        selected_by = () if self.selection is None else self.selection.columns
        named = (self.resonant, *self.features, self.label, self.weight, *selected_by)
        return list(dict.fromkeys(name for name in named if name is not None))

    def selected(self, chunk: Chunk) -> np.ndarray:
        """Which rows [n] pass the selection."""
        if self.selection is None:
            return np.ones(len(chunk[self.resonant]), dtype=bool)
        return self.selection(chunk)

    def events(self, chunk: Chunk, rows: np.ndarray) -> np.ndarray:
        """Some rows as events [n, 2 + d], float32; what is too large for that becomes infinite."""
        events = np.empty((len(rows), 2 + len(self.features)), dtype=np.float32)
        with np.errstate(over="ignore"):
            for column, name in enumerate((self.resonant, *self.features)):
                events[:, column] = chunk[name][rows]
            events[:, -1] = UNKNOWN if self.label is None else chunk[self.label][rows]
        return events


@dataclass(frozen=True)
class TableEvents:
    """Events [n, 2 + d] (resonant variable, features, label) of some tables, and where they come from.

    Attributes
    ----------
    row : array [n]
        Counted from 0 through all tables, one after the other, rows that were not selected included.
    rows_of_tables : tuple of int
        How many rows each table has.
    n_selected : int
        Rows that passed the selection.
    """

    array: np.ndarray
    row: np.ndarray
    rows_of_tables: tuple[int, ...]
    n_selected: int

    def finite(self, names: Sequence[str]) -> TableEvents:
        """Without rows that hold NaN or infinity; up to 1 % of them may be dropped, and are counted in the log.

        Raises
        ------
        InputError
            If there are more, or if a label is none.
        """
        is_finite = np.isfinite(self.array)
        keep, n = is_finite.all(axis=1), len(self.array)
        for name, n_bad in zip(names, (~is_finite).sum(axis=0), strict=False):
            if n_bad == n:
                raise InputError(f"the column {name!r} holds no number at all, only NaN or infinity")
            if n_bad > MAX_NAN_SHARE * n:
                text = f"{n_bad} of {n} values of the column {name!r} are NaN or infinite, more than {100 * MAX_NAN_SHARE:g} %"
                others = f', or select the others with --selection "abs({name}) < 1e38"' if name.isidentifier() else ""
                raise InputError(f"{text}: leave it out{others}")
        if not are_labels(self.array[keep, -1]):
            raise InputError(f"the label must be 1 (signal) or 0 (background), or {UNKNOWN} (unknown) throughout")
        if keep.all():
            return self
        n_bad = n - int(keep.sum())
        if n_bad > MAX_NAN_SHARE * n:
            raise InputError(f"{n_bad} of {n} rows hold NaN or infinity in some column, more than {100 * MAX_NAN_SHARE:g} %")
        logger.warning("dropped %d of %d rows with NaN or infinity: they are not in data.npy", n_bad, n)
        return TableEvents(self.array[keep], self.row[keep], self.rows_of_tables, self.n_selected)

    def smear(self, names: Sequence[str], discrete: Sequence[str], window: Window, seed: int) -> None:
        """Smear the discrete ones among the features of these names, in place, by the spacing of their values in the sideband.

        Raises
        ------
        InputError
            If one is constant.
        """
        for column in dict.fromkeys(names.index(name) for name in discrete):
            values = self.array[:, [1 + column]]
            learned = values[~window.contains(self.array[:, 0])]
            if len(learned) == 0 or (learned == learned[0]).all():
                raise InputError(f"the feature {names[column]!r} is constant in the sideband, it has no spacing to be smeared by")
            dequantizer = Dequantizer(columns=[0], random_state=make_seed(seed, f"dequantizing column {column}"))
            self.array[:, 1 + column] = dequantizer.fit(learned).transform(values)[:, 0]


def read_tables(tables: Sequence[Table], wanted: Wanted, rng: np.random.Generator) -> TableEvents:
    """Read tables in chunks, so that memory holds the events that are kept and one chunk.

    Raises
    ------
    InputError
        If a table is damaged or lacks a column, a weight is negative, or no event is left.
    """
    for table in tables:
        table.check(wanted.columns)
    highest = None if wanted.weight is None else _highest_weight(tables, wanted)
    parts, rows, rows_of_tables, n_selected = [], [], [], 0
    for table in tables:
        n_before, start = sum(rows_of_tables), 0
        for chunk in progress(table.path.name, "chunk", iterable=table.chunks(wanted.columns)):
            keep = wanted.selected(chunk)
            n_selected += int(keep.sum())
            if highest is not None:
                keep &= rng.random(len(keep)) * highest < chunk[wanted.weight]
            chosen = np.flatnonzero(keep)
            parts.append(wanted.events(chunk, chosen))
            rows.append(n_before + start + chosen)
            start += len(keep)
        rows_of_tables.append(start)
    n_rows, n = sum(rows_of_tables), sum(map(len, parts))
    if n_rows == 0:
        raise InputError(f"{', '.join(str(table.path) for table in tables)}: no event in it")
    if wanted.selection is not None:
        logger.info("%d of %d events pass the selection %r", n_selected, n_rows, wanted.selection.text)
    if highest is not None and n_selected:
        acceptance = n / n_selected
        logger.info("%d of %d weighted events are kept as events without weight", n, n_selected)
        if acceptance < SMALLEST_ACCEPTANCE:
            text = "only %.2g %% of the weighted events are kept: a few weights are far larger, up to %g: leave those rows out"
            logger.warning(text, 100 * acceptance, highest)
    if n == 0:
        raise InputError(f"none of the {n_rows} events is left after selection and weights")
    return TableEvents(np.concatenate(parts), np.concatenate(rows), tuple(rows_of_tables), n_selected)


def _highest_weight(tables: Sequence[Table], wanted: Wanted) -> float:
    """The largest weight of all selected events, from a first pass through the tables."""
    highest, selected_by = 0.0, () if wanted.selection is None else wanted.selection.columns
    for table in tables:
        for chunk in table.chunks([wanted.resonant, wanted.weight, *selected_by]):
            weights = chunk[wanted.weight][wanted.selected(chunk)]
            if not np.isfinite(weights).all():
                raise InputError(f"{table.path}: some weights in the column {wanted.weight!r} are NaN or infinite")
            if (weights < 0).any():
                raise InputError(
                    f"{table.path}: some weights in the column {wanted.weight!r} are negative; an event is kept with a probability in "
                    "proportion to its weight, which cannot be negative"
                )
            highest = max(highest, float(weights.max(initial=0.0)))
    if highest == 0:
        raise InputError(f"all weights in the column {wanted.weight!r} are 0, or no event is selected")
    return highest
