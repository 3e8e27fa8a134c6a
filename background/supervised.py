"""Supervised: true signal against true background, by label; the upper limit of everything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from background.arrays import ClassifierArrays, mix, share_out
from background.mode import ClassifierMode
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
    uses = ("extra_bkg", "oversampling", "no_logit")

    def files(self, options: ArraysOptions) -> list[Sequence[str]]:
        extra = [EXTRA_BACKGROUND] if options.extra_bkg else []
        return [*super().files(options), EXTRA_SIGNAL, EXTRA_SIGNAL_IN_ONE, *extra]

    def check(self, source: EventSource, options: ArraysOptions) -> None:
        self.check_options(options)
        self._signal(source)
        if options.extra_bkg:
            source.extra_background()
        else:
            source.signal_region(separate_val_set=options.separate_val_set)

    def build(self, source: EventSource, options: ArraysOptions) -> Iterator[ClassifierArrays]:
        signal = self._signal(source)
        if options.extra_bkg:
            background = source.extra_background()
        else:
            data = Events.joined(*source.signal_region(separate_val_set=options.separate_val_set))
            background = data[data.label == 0]
        shares = share_out(background, *map(len, signal), options.oversampling, source.rng("sharing out the background"))
        yield mix(signal, shares, source, replace(options, no_extra_signal=True), background_label=0)

    def scaled_by(self, events: Events) -> np.ndarray:
        return np.ones(len(events), dtype=bool)  # both classes are true

    def target(self, events: Events) -> np.ndarray:
        return events.label

    def _signal(self, source: EventSource) -> tuple[Events, Events]:
        signal = source.extra_signal()
        if signal is None:
            raise InputError(f"{source.data_dir}: no innerdata_extrasig*.npy with events, supervised training needs extra signal")
        return signal


MODE = Supervised()
