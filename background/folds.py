"""Folds: every event of data.npy is scored by what has learned neither from it nor from any other event of its fold.

For density estimator and classifiers of fold F, fold F + 1 validates and the others train. Their background is shared out to folds alike;
that of fold F, which its classifiers have not seen either, says which share of the background a cut on their scores selects.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np

from background.arrays import Background, ClassifierArrays
from background.mode import ClassifierMode
from background.options import ArraysOptions
from common.errors import InputError
from events.folds import folds_of_data, learned_from
from events.records import FOLDED
from events.regions import EventSource
from events.view import DATA, SAMPLE, Events

logger = logging.getLogger(__name__)

FEWEST_EVENTS = 10  # of data and of background, to train and to validate on


class FoldedEvents:
    """All data of a folder in folds, with the background of a mode.

    Parameters
    ----------
    mode, source, options
        `options.k_folds` says how many there are.

    Attributes
    ----------
    record : array [n]
        Row in the input, resonant variable and fold of every event of data.npy, in its order.

    Raises
    ------
    InputError
        If the folder does not have all data.
    """

    def __init__(self, mode: ClassifierMode, source: EventSource, options: ArraysOptions) -> None:
        self.mode, self.source, self.options, self.n_folds = mode, source, options, options.k_folds
        self._data, row = source.all_data()
        self.record = np.empty(len(row), dtype=FOLDED)
        self.record["row"], self.record["m"], self.record["fold"] = row, self._data.m, folds_of_data(len(row), self.n_folds)
        self._in_sr = source.window.contains(self._data.m)
        logger.info("%d events in %d folds, %d of them in the signal region", len(row), self.n_folds, self._in_sr.sum())

    def arrays(self) -> Iterator[ClassifierArrays]:
        """The arrays of one fold after the other, in physical units."""
        backgrounds = self.mode.folded_backgrounds(self.source, self.options, self._data, self.record["fold"])
        for scored, (background, fold_of_background) in enumerate(backgrounds):
            yield self._arrays_of(scored, background, fold_of_background)

    def _arrays_of(self, scored: int, background: Background, fold_of_background: np.ndarray) -> ClassifierArrays:
        """Those of one fold."""
        of_use = self._in_sr | (self.record["fold"] == scored)
        events, fold, in_sr = self._data[of_use], self.record["fold"][of_use], self._in_sr[of_use]
        if background.transform is not None:
            events = background.transform(events)
        has_place, is_scored = np.isfinite(events.x).all(axis=1), fold == scored
        if n_outside := int((is_scored & ~has_place).sum()):
            text = "fold %d: %d of %d events outside the density estimator's range are without a score"
            logger.info(text, scored, n_outside, is_scored.sum())
        rng = self.source.rng(f"mixing fold {scored}")

        def mixed(folds: list[int]) -> Events:
            """Data of the signal region and background of some folds."""
            data_rows = np.flatnonzero(in_sr & has_place & np.isin(fold, folds))
            background_rows = rng.permutation(np.flatnonzero(np.isin(fold_of_background, folds)))
            if not self.mode.use_all(self.options):
                background_rows = background_rows[: len(data_rows)]
            if min(len(data_rows), len(background_rows)) < FEWEST_EVENTS:
                counts = f"{len(data_rows)} data and {len(background_rows)} background events"
                raise InputError(f"{counts} are too few for one of {self.n_folds} folds")
            both = Events.joined(self._data_from(events[data_rows]), self._background_from(background.events[background_rows]))
            return both[rng.permutation(len(both))]

        training, validation = map(mixed, learned_from(scored, self.n_folds))
        test, held_out = (
            self._data_from(events[is_scored]),
            self._background_from(background.events[fold_of_background == scored]),
        )
        return ClassifierArrays(training, validation, test, None, None, background.columns or self.source.columns, held_out)

    def _data_from(self, events: Events) -> Events:
        return Events.mix(events.m, events.x, DATA, events.label)

    def _background_from(self, events: Events) -> Events:
        return Events.mix(events.m, events.x, SAMPLE, self.mode.background_label)
