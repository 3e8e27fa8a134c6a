"""Folds: every event of data.npy is scored by classifiers that have learned neither from it nor from any other event of its fold.

For the classifiers of fold F, fold F + 1 validates and the others train. Background is shared out to folds alike; that of fold F, which
its classifiers have not seen either, says which share of the background a cut on their scores selects.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np

from background.arrays import Background, ClassifierArrays, fold_numbers
from background.mode import ClassifierMode
from background.options import ArraysOptions
from common.errors import InputError
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
        fold = fold_numbers(len(row), self.n_folds, source.rng("folds"))
        self.record = np.empty(len(row), dtype=FOLDED)
        self.record["row"], self.record["m"], self.record["fold"] = row, self._data.m, fold
        self._in_sr = source.window.contains(self._data.m)
        logger.info("%d events in %d folds, %d of them in the signal region", len(row), self.n_folds, self._in_sr.sum())

    def arrays(self) -> Iterator[ClassifierArrays]:
        """The arrays of one fold after the other, in physical units."""
        fold = self.record["fold"]
        background, fold_of_background = self.mode.folded_background(self.source, self.options, self._data, fold)
        events, columns = self._seen(background), background.columns or self.source.columns
        usable = self._in_sr & np.isfinite(events.x).all(axis=1)

        def mixed(data_folds: set[int], rng: np.random.Generator) -> Events:
            """Data of the signal region and background of some folds."""
            chosen = [np.isin(of, list(data_folds)) for of in (fold, fold_of_background)]
            data_rows, background_rows = np.flatnonzero(usable & chosen[0]), rng.permutation(np.flatnonzero(chosen[1]))
            if not self.mode.use_all(self.options):
                background_rows = background_rows[: len(data_rows)]
            if min(len(data_rows), len(background_rows)) < FEWEST_EVENTS:
                counts = f"{len(data_rows)} data and {len(background_rows)} background events"
                raise InputError(f"{counts} are too few for one of {self.n_folds} folds")
            both = Events.joined(self._data_from(events[data_rows]), self._background_from(background.events[background_rows]))
            return both[rng.permutation(len(both))]

        for tested in range(self.n_folds):
            validates, rng = (tested + 1) % self.n_folds, self.source.rng(f"mixing fold {tested}")
            training = mixed(set(range(self.n_folds)) - {tested, validates}, rng)
            validation = mixed({validates}, rng)
            test, held_out = events[fold == tested], background.events[fold_of_background == tested]
            yield ClassifierArrays(
                training, validation, self._data_from(test), None, None, columns, self._background_from(held_out)
            )

    def _seen(self, background: Background) -> Events:
        """All data as they are compared with the background."""
        if background.transform is None:
            return self._data
        seen = background.transform(self._data)
        n_outside = int((~np.isfinite(seen.x).all(axis=1)).sum())
        logger.info("%d of %d events outside the density estimator's range are without a score", n_outside, len(seen))
        return seen

    def _data_from(self, events: Events) -> Events:
        return Events.mix(events.m, events.x, DATA, events.label)

    def _background_from(self, events: Events) -> Events:
        return Events.mix(events.m, events.x, SAMPLE, self.mode.background_label)
