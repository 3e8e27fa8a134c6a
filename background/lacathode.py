"""LaCATHODE: data in the latent space of the sideband's flow against N(0, 1) (arXiv:2210.14924).

Every epoch of the flow is a latent space of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from background.arrays import Background
from background.densities import checked_density
from background.mode import PAPER, ClassifierMode
from background.options import ArraysOptions
from background.sampling import as_samples
from common.errors import InputError
from events.columns import Column
from events.regions import EventSource
from events.view import Events
from models.arrays import no_gpu
from models.density import FeatureDensity

logger = logging.getLogger(__name__)

LATENT_OVERSAMPLING = 4  # N(0, 1) events per data event, as published


class LaCathode(ClassifierMode):
    """Latent SR data against N(0, 1), four times as many."""

    name = "LaCATHODE"
    background = "N(0, 1), with the SR data moved to the latent space of the same flow"
    score = "classifier: latent SR data against N(0, 1)"
    densities = ("sideband",)
    class_names = ("data", "N(0, 1)")
    uses = ("ANODE_models", "model_file_name", "DE_dir", "no_logit_trained", "n_latent_epochs")
    presets = {"paper": PAPER | {"cf_use_class_weights": True}}
    needs_systematic = True  # the latent sideband is N(0, 1), as the flow was trained there
    cuts_range = False  # latent coordinates have no boundaries

    def use_logit(self, options: ArraysOptions) -> bool:
        return False

    def check_options(self, options: ArraysOptions) -> None:
        super().check_options(options)
        if options.fiducial_cut and options.n_latent_epochs > 1:
            flags = options.flag("fiducial_cut"), options.flag("n_latent_epochs")
            raise InputError(f"{flags[0]} keeps other events in every latent space: it needs {flags[1]} 1")
        if options.k_folds and options.n_latent_epochs > 1:
            flags = options.flag("k_folds"), options.flag("n_latent_epochs")
            raise InputError(
                f"{flags[0]}: N(0, 1) says what a cut selects in one latent space, not what one on the mean of several does: it needs "
                f"{flags[1]} 1"
            )

    def use_all(self, options: ArraysOptions) -> bool:
        return True

    def backgrounds(
        self, source: EventSource, options: ArraysOptions, data: Sequence[Events], fold: int | None = None
    ) -> Iterator[Background]:
        """One for every latent space; events outside the flow's training range have no coordinates there."""
        stored, d = checked_density(options, source, fold=fold), source.n_features
        names = [Column(f"z_{k}", f"latent $z_{{{k}}}$", "", "coordinate in the flow's latent space") for k in range(1, d + 1)]
        columns = source.columns.with_features(names)
        for flow in stored.versions(options.n_latent_epochs, no_gpu=no_gpu(options.device)):
            rng = source.rng("latent background" if fold is None else f"latent background for fold {fold}")
            n = LATENT_OVERSAMPLING * sum(map(len, data))
            masses = rng.choice(data[0].m, n)  # independent of the latent coordinates
            yield Background(as_samples(masses, rng.standard_normal((n, d))), partial(to_latent, flow), columns)


def to_latent(flow: FeatureDensity, events: Events) -> Events:
    """Events with coordinates in the latent space of a flow; NaN outside the range it was trained on."""
    return Events(np.column_stack([events.m, flow.transform(events.x, events.m[:, None]), events.label]))


MODE = LaCathode()
