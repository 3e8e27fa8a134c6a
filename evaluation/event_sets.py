"""Which runs were tested on the same events: events are recognised by mass and label, in any order, also where some were cut."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from evaluation.scores import BELOW_ALL

MOST_ALIKE = 16  # events of one mass and label that are told apart


@dataclass(frozen=True)
class EventSet:
    """The test events of a run, of which those that were cut are only counted.

    Attributes
    ----------
    ids : array [n]
        Of the events that were not cut, rising: mass, label, and a number where several have both in common.
    n_signal, n_background : int
        All events.
    """

    ids: np.ndarray = field(repr=False)
    n_signal: int
    n_background: int

    @classmethod
    def of(cls, m: np.ndarray, labels: np.ndarray) -> EventSet:
        """Those of masses m [n] and labels [k]; the last k - n were cut, and nobody knows their masses."""
        return cls(np.sort(event_ids(m, labels[: len(m)])), int((labels == 1).sum()), int((labels == 0).sum()))

    def joined(self, other: EventSet) -> EventSet | None:
        """All events of two runs that were tested on the same; None if they were not: then there would be more than either had.

        Examples
        --------
        One event was cut in the first run, another in the second one:

        >>> first = EventSet.of(np.array([3.4, 3.5]), np.array([1, 0, 0]))
        >>> second = EventSet.of(np.array([3.6, 3.4]), np.array([0, 1, 0]))
        >>> len(first.joined(second).ids), first.joined(EventSet.of(np.array([3.6, 3.7]), np.array([0, 1, 0])))
        (3, None)
        """
        ids, numbers = np.union1d(self.ids, other.ids), (self.n_signal, self.n_background)
        signal = int((ids >= FIRST_SIGNAL).sum())
        if numbers != (other.n_signal, other.n_background) or signal > self.n_signal or len(ids) - signal > self.n_background:
            return None
        return EventSet(ids, *numbers)

    @property
    def labels(self) -> np.ndarray:
        """Labels [n_signal + n_background] in the order of the ids, those that were cut in every run at the end."""
        known = (self.ids >= FIRST_SIGNAL).astype(np.int64)
        n_signal = self.n_signal - int(known.sum())
        return np.concatenate([known, np.ones(n_signal, int), np.zeros(self.n_background - int((known == 0).sum()), int)])

    def spread(self, ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Scores [n_runs, n] of events with these ids [n], in the order of `labels`; what was cut is below all."""
        found = np.full((len(scores), self.n_signal + self.n_background), BELOW_ALL, dtype=scores.dtype)
        found[:, np.searchsorted(self.ids, ids)] = scores[:, : len(ids)]
        return found


FIRST_SIGNAL = (1 << 32) * MOST_ALIKE


def event_ids(m: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """A number [n] for every event: the bits of its mass, its label, and how many of the same were before it."""
    keys = np.asarray(m, dtype=np.float32).view(np.int32).astype(np.int64) + ((np.asarray(labels) == 1).astype(np.int64) << 32)
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    ids = np.empty_like(keys)
    ids[order] = ordered * MOST_ALIKE + np.minimum(np.arange(len(keys)) - np.searchsorted(ordered, ordered), MOST_ALIKE - 1)
    return ids
