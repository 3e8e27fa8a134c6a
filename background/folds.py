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
from events.regions import EventSource
from events.view import DATA, SAMPLE, Events

logger = logging.getLogger(__name__)

RECORD = [("row", "<i8"), ("m", "<f4"), ("fold", "<i4")]
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
        If the folder does not have all data, or the mode several latent spaces.
    """

    def __init__(self, mode: ClassifierMode, source: EventSource, options: ArraysOptions) -> None:
        self.mode, self.source, self.options, self.n_folds = mode, source, options, options.k_folds
        self._data, row = source.all_data()
        fold = fold_numbers(len(row), self.n_folds, source.rng("folds"))
        self.record = np.empty(len(row), dtype=RECORD)
        self.record["row"], self.record["m"], self.record["fold"] = row, self._data.m, fold
        self._in_sr = source.window.contains(self._data.m)
        logger.info("%d events in %d folds, %d of them in the signal region", len(row), self.n_folds, self._in_sr.sum())

    def arrays(self) -> Iterator[ClassifierArrays]:
        """The arrays of one fold after the other, in physical units."""
        fold = self.record["fold"]
        background, fold_of_background = self.mode.folded_background(self.source, self.options, self._data, fold)
        events, columns = self._seen(background), background.columns or self.source.columns
        usable = self._in_sr & np.isfinite(events.x).all(axis=1)
        for scored in range(self.n_folds):
            validates = (scored + 1) % self.n_folds
            rng, parts = self.source.rng(f"mixing fold {scored}"), []
            for chosen, chosen_background in (
                ((of != scored) & (of != validates) for of in (fold, fold_of_background)),
                (of == validates for of in (fold, fold_of_background)),
            ):
                rows, others = np.flatnonzero(usable & chosen), rng.permutation(np.flatnonzero(chosen_background))
                others = others if self.mode.use_all(self.options) else others[: len(rows)]
                if min(len(rows), len(others)) < FEWEST_EVENTS:
                    raise InputError(
                        f"{len(rows)} data and {len(others)} background events are too few for one of {self.n_folds} folds"
                    )
                mixed = Events.joined(self._data_from(events[rows]), self._background_from(background.events[others]))
                parts.append(mixed[rng.permutation(len(mixed))])
            tested, held_out = events[fold == scored], background.events[fold_of_background == scored]
            yield ClassifierArrays(*parts, self._data_from(tested), None, None, columns, self._background_from(held_out))

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
