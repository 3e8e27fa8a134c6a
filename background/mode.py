"""What a mode is: what stands for the background, what that needs, how it is built, and what the classifier learns."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from background.arrays import Background, ClassifierArrays, mix
from background.options import NOT_FOR_ALL, ArraysOptions, LearningOptions, ModeOptions
from background.registry import MODES
from background.weights import balanced
from common.errors import InputError
from events.folds import fold_numbers, learned_from
from events.regions import ALL_DATA, EXTRA_SIGNAL, EXTRA_SIGNAL_IN_ONE, SIDEBAND, SIGNAL_REGION, TEST_FILES, EventSource
from events.view import SAMPLE_LABEL, Events
from events.window import Window

logger = logging.getLogger(__name__)

PAPER = {"cf_separate_val_set": True, "no_extra_signal": True, "cf_save_model": True}  # of every mode with a classifier
LARGEST_IMBALANCE = 0.05  # of a class's weight from one half, beyond which class weights are advised


class Mode(ABC):
    """One way to find anomalies.

    Attributes
    ----------
    name : str
        As `--mode` has it.
    background, score : str
        What stands for the background and how events are scored, for README's table.
    densities : tuple of str
        The regions ("sideband", "signal_region") whose density has to be trained.
    has_classifier : bool
        Whether classifiers score the events.
    needs_labels : bool
        Whether it takes true labels for more than its evaluation.
    takes_samples : bool
        Whether samples made elsewhere can stand for the background.
    presets : mapping
        By the names in `PRESETS`: the values of flags of run_all.py that `--preset NAME` stands for.
    """

    name: ClassVar[str]
    background: ClassVar[str]
    score: ClassVar[str]
    densities: ClassVar[tuple[str, ...]] = ()
    has_classifier: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = False
    takes_samples: ClassVar[bool] = False
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {"no_extra_signal": True}}

    def densities_for(self, options: ArraysOptions) -> tuple[str, ...]:
        """The regions whose density is needed with these options."""
        return self.densities

    def check(self, source: EventSource, options: ArraysOptions) -> None:
        """Refuse a folder without the events that it needs.

        Raises
        ------
        InputError
        """
        source.signal_region(separate_val_set=options.separate_val_set)
        self.check_options(options)

    def check_options(self, options: ArraysOptions) -> None:
        """Refuse options that make no sense in this mode.

        Raises
        ------
        InputError
        """
        if options.external_samples and not self.takes_samples:
            raise InputError(f"{options.flag('external_samples')} replaces the density estimator of the CATHODE mode, no other")


class ClassifierMode(Mode):
    """A mode whose classifier learns to tell data from something that stands for the background.

    Attributes
    ----------
    class_names : (str, str)
        What the two classes are called in figures.
    uses : tuple of str
        Those of the options in `NOT_FOR_ALL` that it has a use for.
    cuts_range : bool
        Whether events outside the range of the training data are cut.
    background_label : int
        Of what stands for the background, in the classifier's arrays.
    learns_from_strips : bool
        Whether sideband events are among those that it learns from.
    needs_systematic : bool
        Whether a search needs a systematic error, because what a flow gets wrong is in the signal region alone.
    """

    class_names: ClassVar[tuple[str, str]] = ("data", "background")
    uses: ClassVar[tuple[str, ...]] = ("oversampling", "no_logit")
    cuts_range: ClassVar[bool] = True
    background_label: ClassVar[int] = SAMPLE_LABEL
    presets = {"paper": PAPER}
    learns_from_strips: ClassVar[bool] = False
    needs_systematic: ClassVar[bool] = False
    has_classifier = True

    @abstractmethod
    def backgrounds(
        self, source: EventSource, options: ArraysOptions, data: Sequence[Events], fold: int | None = None
    ) -> Iterator[Background]:
        """What stands for the background of the SR data; several where the events are seen in several latent spaces.

        With folds it has not been learned from the one that is scored.
        """

    def data(self, source: EventSource, options: ArraysOptions) -> tuple[Events, Events]:
        """Training and validation events that are compared with the background."""
        return source.signal_region(separate_val_set=options.separate_val_set)

    def use_all(self, options: ArraysOptions) -> bool:
        """Whether all background is used, instead of as much as there are data."""
        return options.oversampling

    def build(self, source: EventSource, options: ArraysOptions) -> Iterator[ClassifierArrays]:
        """The classifier's arrays in physical units; several where the events are seen in several latent spaces."""
        data = self.data(source, options)

        def mixed(background: Background) -> ClassifierArrays:
            return mix(data, background, source, options, use_all=self.use_all(options), background_label=self.background_label,
                       without_strips=self.learns_from_strips)  # fmt: skip

        return map(mixed, self.backgrounds(source, options, data))  # no loop, whose variable would keep the background in memory

    def folded_backgrounds(
        self, source: EventSource, options: ArraysOptions, data: Events, fold: np.ndarray
    ) -> Iterator[tuple[Background, np.ndarray]]:
        """For every fold that is scored: what stands for the background of all data, whose folds are given [n], and its own folds."""
        in_sr = source.window.contains(data.m)

        def for_fold(scored: int) -> tuple[Background, np.ndarray]:
            trains = np.isin(fold, learned_from(scored, options.k_folds)[0])  # whose masses the background may have
            background = next(self.backgrounds(source, options, (data[in_sr & trains], data[in_sr & ~trains]), scored))
            rng = source.rng(f"background for fold {scored}")
            return background, fold_numbers(len(background.events), options.k_folds, rng)

        return map(for_fold, range(options.k_folds))

    def held_out_weights(self, held_out: Events, data: Events, options: LearningOptions) -> np.ndarray:
        """How much every event [n] of held-out background counts where it says what a cut selects, given the data of the same folds."""
        return np.ones(len(held_out))

    def check_options(self, options: ArraysOptions) -> None:
        super().check_options(options)
        if options.k_folds and self.needs_labels:
            raise InputError(f"{options.flag('k_folds')}: the {self.name} mode has no folds: it is an upper limit, not a search")
        if options.k_folds and options.ANODE_models:
            flags = options.flag("k_folds"), options.flag("ANODE_models")
            raise InputError(f"{flags[0]}: every fold has a density estimator of its own, {flags[1]} names the weights of one")

    def files(self, options: ArraysOptions) -> list[Sequence[str]]:
        """Groups of files of separated events that it reads."""
        if options.k_folds:
            return [ALL_DATA]
        extra = [] if options.no_extra_signal else [EXTRA_SIGNAL, EXTRA_SIGNAL_IN_ONE]
        return [SIGNAL_REGION, TEST_FILES, SIDEBAND[1:], *extra]

    def use_logit(self, options: ArraysOptions) -> bool:
        """Whether the classifier's inputs are transformed by a logit."""
        return not options.no_logit

    def scaled_by(self, events: Events) -> np.ndarray:
        """Which training events [n] the range and the standardization of the inputs are learned from."""
        return events.is_data

    def target(self, events: Events) -> np.ndarray:
        """What the classifier learns [n]: 1 or 0."""
        return events.is_data.astype(np.float32)

    def weights(self, events: Events, target: np.ndarray, options: LearningOptions) -> np.ndarray:
        """Weight of every event in the loss [n], of mean 1."""
        return balanced(target, {1: 0.5, 0: 0.5}) if options.use_class_weights else np.ones(len(events))

    def check_weights(self, options: LearningOptions, window: Window) -> None:
        """Refuse options with which events cannot be weighted.

        Raises
        ------
        InputError
        """

    def training_sets(
        self, arrays: ClassifierArrays, options: LearningOptions
    ) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Inputs [n, d], target [n] and weight [n] of the training and the validation events, or of both in one.

        Raises
        ------
        InputError
            If a class is absent.
        """
        parts = [arrays.train, arrays.validation]
        learned = []
        for events in parts if options.separate_val_set else [Events.joined(*parts)]:
            target = self.target(events)
            if set(np.unique(target)) != {0.0, 1.0}:
                raise InputError(
                    f"the {self.name} mode needs the labels 1 and 0 in the last column of X_train.npy and X_validation.npy"
                )
            inputs = arrays.inputs(events, use_mjj=options.use_mjj)
            learned.append((inputs, target, self.weights(events, target, options)))
        _, target, weight = learned[0]
        share = weight[target == 1].sum() / weight.sum()
        if abs(share - 0.5) > LARGEST_IMBALANCE:
            text = "%s make up %.0f %% of what the classifier learns from: %s is advisable"
            logger.warning(text, self.class_names[0], 100 * share, options.flag("use_class_weights"))
        return learned

    def unused(self, options: ArraysOptions) -> list[str]:
        """Options that do not matter in this mode; the log says so of those that were set."""
        unused = [name for name in NOT_FOR_ALL if name not in self.uses]
        for name in unused:
            if getattr(options, name) != options.default(name):
                logger.warning("%s does not matter: the %s mode has no use for it", options.flag(name), self.name)
        return [*unused, *(("separate_val_set", "no_extra_signal") if options.k_folds else ())]


def classifier_mode(options: ModeOptions) -> ClassifierMode:
    """The mode that was chosen.

    Raises
    ------
    InputError
        If it has no classifier.
    """
    mode = MODES.get(options.mode)
    if not isinstance(mode, ClassifierMode):
        raise InputError(f"{options.flag('mode')} {mode.name}: this mode has no classifier, run_ANODE_evaluation.py scores")
    return mode
