"""Idealized anomaly detection: perfectly simulated background, the upper limit of CATHODE (arXiv:2109.00546)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from background.arrays import Background
from background.mode import PAPER, ClassifierMode
from background.options import ArraysOptions
from events.regions import EXTRA_BACKGROUND, EventSource
from events.view import Events

logger = logging.getLogger(__name__)


class IdealizedAD(ClassifierMode):
    """SR data against extra SR background; without such events half of the SR data gives its true background for it."""

    name = "idealized_AD"
    background = "extra, true SR background (an upper limit for CATHODE)"
    score = "classifier: SR data against that background"
    uses = ("extra_bkg", "oversampling", "no_logit")
    needs_labels = True
    presets = {
        "paper": PAPER | {"cf_extra_bkg": True, "cf_oversampling": True, "cf_no_logit": True, "cf_use_class_weights": True}
    }

    def files(self, options: ArraysOptions) -> list[Sequence[str]]:
        return [*super().files(options), *([EXTRA_BACKGROUND] if options.extra_bkg else [])]

    def check(self, source: EventSource, options: ArraysOptions) -> None:
        super().check(source, options)
        if options.extra_bkg:
            source.extra_background()

    def data(self, source: EventSource, options: ArraysOptions) -> tuple[Events, Events]:
        train, val = super().data(source, options)
        return (train, val) if options.extra_bkg else (train[::2], val[::2])

    def backgrounds(
        self, source: EventSource, options: ArraysOptions, data: Sequence[Events], fold: int | None = None
    ) -> Iterator[Background]:
        if options.extra_bkg:
            yield Background(source.extra_background())
        else:
            rest = Events.joined(*(part[1::2] for part in super().data(source, options)))
            logger.info("no %s: the background of half of the SR data stands for it", options.flag("extra_bkg"))
            yield Background(rest[rest.label == 0])


MODE = IdealizedAD()
