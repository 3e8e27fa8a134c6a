"""CWoLa hunting: the sideband strips next to the signal region (arXiv:1805.02664, 1902.02634)."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence

import numpy as np

from background.arrays import Background
from background.mode import PAPER, ClassifierMode
from background.options import ArraysOptions, LearningOptions
from background.weights import balanced
from common.errors import InputError
from events.regions import SIDEBAND, EventSource
from events.view import Events
from events.window import Window

logger = logging.getLogger(__name__)

FEWEST_IN_STRIP = 10  # events of a fold, which say what a cut selects


class CWoLa(ClassifierMode):
    """SR data against the strips, each of which counts as half of the background."""

    name = "CWoLa"
    background = "the two SB strips next to the SR, each half as wide"
    score = "classifier: SR data against strips, strips weighted equally"
    class_names = ("data", "sideband strips")
    learns_from_strips = True
    presets = {"paper": PAPER | {"cf_oversampling": True, "cf_no_logit": True, "cf_use_class_weights": True}}

    def files(self, options: ArraysOptions) -> list[Sequence[str]]:
        return super().files(options) if options.k_folds else [*super().files(options), SIDEBAND]

    def check(self, source: EventSource, options: ArraysOptions) -> None:
        super().check(source, options)
        source.strips()

    def check_weights(self, options: LearningOptions, window: Window) -> None:
        if options.SR_center is not None and not window.low <= options.SR_center <= window.high:
            center = f"{options.flag('SR_center')} {options.SR_center:g}"
            raise InputError(f"{center} lies outside the signal region, it cannot tell the two strips apart")

    def backgrounds(
        self, source: EventSource, options: ArraysOptions, data: Sequence[Events], fold: int | None = None
    ) -> Iterator[Background]:
        strips = source.strips()
        (low, high), (outer_low, outer_high) = source.window.edges, source.outer_edges
        counts = (strips.m <= low).sum(), (strips.m >= high).sum()
        text = "CWoLa: %d events in the strip of %.4g to %.4g, %d in that of %s"
        upper = source.window.resonant.quantity(f"{high:.4g} to {outer_high:.4g}")
        logger.info(text, counts[0], outer_low, low, counts[1], upper)
        yield Background(strips)

    def folded_backgrounds(
        self, source: EventSource, options: ArraysOptions, data: Events, fold: np.ndarray
    ) -> Iterator[tuple[Background, np.ndarray]]:
        lower, upper = source.in_strips(data.m)
        counts = [np.bincount(fold[strip], minlength=options.k_folds).min() for strip in (lower, upper)]
        if min(counts) < FEWEST_IN_STRIP:
            raise InputError(f"a strip next to the signal region has only {min(counts)} events in one of {options.k_folds} folds")
        return itertools.repeat((Background(data[lower | upper]), fold[lower | upper]), options.k_folds)

    def weights(self, events: Events, target: np.ndarray, options: LearningOptions) -> np.ndarray:
        center = self._center(events.m[target == 1], options)
        group = np.where(target == 1, 1, np.where(events.m < center, 0, -1))
        return balanced(group, {1: 0.5, 0: 0.25, -1: 0.25})

    def held_out_weights(self, held_out: Events, data: Events, options: LearningOptions) -> np.ndarray:
        return balanced(held_out.m < self._center(data.m, options), {0: 0.5, 1: 0.5})

    def _center(self, masses: np.ndarray, options: LearningOptions) -> float:
        """A mass between the two strips, from those of the SR data [n]."""
        edges = float(masses.min()), float(masses.max())
        self.check_weights(options, Window(*edges))
        return sum(edges) / 2 if options.SR_center is None else options.SR_center


MODE = CWoLa()
