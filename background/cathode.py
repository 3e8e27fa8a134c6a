"""CATHODE: the sideband's density, interpolated into the signal region and sampled there (arXiv:2109.00546)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from background.arrays import Background
from background.densities import load_densities
from background.mode import PAPER, ClassifierMode
from background.options import ArraysOptions
from background.sampling import as_samples, load_external_samples, sample_finite, sample_masses, warn_of_extrapolation
from events.regions import EventSource
from events.view import Events
from models.arrays import no_gpu


class Cathode(ClassifierMode):
    """SR data against samples of the sideband's flow at SR masses, or against samples made elsewhere."""

    name = "CATHODE"
    background = "conditional flow p(x|m) trained on the sideband, sampled at SR masses"
    score = "classifier: SR data against samples"
    densities = ("sideband",)
    class_names = ("data", "samples")
    takes_samples = True
    uses = (
        "ANODE_models", "model_file_name", "DE_dir", "no_logit_trained", "n_samples", "realistic_conditional", "KDE_bandwidth",
        "external_samples", "oversampling", "no_logit",
    )  # fmt: skip
    presets = {
        "paper": PAPER
        | {
            "cf_n_samples": 400_000,
            "cf_realistic_conditional": True,
            "cf_oversampling": True,
            "cf_no_logit": True,
            "cf_use_class_weights": True,
        }
    }

    def densities_for(self, options: ArraysOptions) -> tuple[str, ...]:
        return () if options.external_samples else self.densities

    def check(self, source: EventSource, options: ArraysOptions) -> None:
        super().check(source, options)
        if options.external_samples:
            load_external_samples(options.external_samples, source.n_features, source.window)

    def backgrounds(
        self, source: EventSource, options: ArraysOptions, data: Sequence[Events], fold: int | None = None
    ) -> Iterator[Background]:
        yield Background(self.samples(source, options, data[0], fold))

    def folded_backgrounds(
        self, source: EventSource, options: ArraysOptions, data: Events, fold: np.ndarray
    ) -> Iterator[tuple[Background, np.ndarray]]:
        each = super().folded_backgrounds(source, options, data, fold)
        return itertools.repeat(next(each), options.k_folds) if options.external_samples else each

    def samples(self, source: EventSource, options: ArraysOptions, train: Events, fold: int | None = None) -> Events:
        """Background events of the signal region."""
        if options.external_samples:
            samples = load_external_samples(options.external_samples, source.n_features, source.window)
            reach = train.x.min(axis=0), train.x.max(axis=0)
            warn_of_extrapolation(samples.x, reach, source.columns.names, "the data's range (in another unit?)")
            return samples
        (density,) = load_densities(options, source, *self.densities, fold=fold, no_gpu=no_gpu(options.device))
        rng = source.rng("samples" if fold is None else f"samples for fold {fold}")
        bandwidth = options.KDE_bandwidth if options.realistic_conditional else None
        m = sample_masses(train.m, options.n_samples, source.window, bandwidth, rng)
        x = sample_finite(density, m, rng)
        warn_of_extrapolation(x, density.preprocessing.training_range, source.columns.names)
        return as_samples(m, x)


MODE = Cathode()
