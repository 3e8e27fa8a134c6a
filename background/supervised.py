"""Supervised: true signal against true background, by label; the upper limit of everything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from background.arrays import Background, ClassifierArrays
from background.mode import PAPER, ClassifierMode
from background.options import ArraysOptions
from common.errors import InputError
from events.regions import EXTRA_BACKGROUND, EXTRA_SIGNAL, EXTRA_SIGNAL_IN_ONE, EventSource
from events.view import Events


class Supervised(ClassifierMode):
    """Extra signal against true SR background; what it trains on cannot be tested, so the extra signal is not."""

    name = "supervised"
    background = "labels (an upper limit for everything)"
    score = "classifier: true signal against true background"
    class_names = ("signal", "background")
    needs_labels = True
    background_label = 0  # it is true background
    uses = ("extra_bkg", "oversampling", "no_logit")
    presets = {"paper": PAPER | {"cf_extra_bkg": True, "cf_oversampling": True, "cf_no_logit": True}}

    def files(self, options: ArraysOptions) -> list[Sequence[str]]:
        extra = [EXTRA_BACKGROUND] if options.extra_bkg else []
        return [*super().files(options), EXTRA_SIGNAL, EXTRA_SIGNAL_IN_ONE, *extra]

    def check(self, source: EventSource, options: ArraysOptions) -> None:
        self.check_options(options)
        self.data(source, options)
        if options.extra_bkg:
            source.extra_background()
        else:
            source.signal_region(separate_val_set=options.separate_val_set)

    def data(self, source: EventSource, options: ArraysOptions) -> tuple[Events, Events]:
        signal = source.extra_signal()
        if signal is None:
            raise InputError(f"{source.data_dir}: no innerdata_extrasig*.npy with events, supervised training needs extra signal")
        return signal

    def backgrounds(
        self, source: EventSource, options: ArraysOptions, data: Sequence[Events], fold: int | None = None
    ) -> Iterator[Background]:
        if options.extra_bkg:
            yield Background(source.extra_background())
        else:
            events = Events.joined(*super().data(source, options))
            yield Background(events[events.label == 0])

    def build(self, source: EventSource, options: ArraysOptions) -> Iterator[ClassifierArrays]:
        return super().build(source, replace(options, no_extra_signal=True))

    def scaled_by(self, events: Events) -> np.ndarray:
        return np.ones(len(events), dtype=bool)  # both classes are true

    def target(self, events: Events) -> np.ndarray:
        return events.label


MODE = Supervised()
