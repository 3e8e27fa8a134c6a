"""The trained densities that a run uses: what they are called, where they are, and whether they describe its events."""

from __future__ import annotations

from background.options import ArraysOptions, DensityUseOptions
from common.errors import InputError
from events.regions import EventSource
from models.density import FeatureDensity, StoredDensity

SUFFIXES = {"sideband": "", "signal_region": "_inner"}


def density_name(model_file_name: str, region: str) -> str:
    """What the files of a region's density begin with."""
    return model_file_name + SUFFIXES[region]


def stored_density(options: DensityUseOptions, region: str = "sideband") -> StoredDensity:
    """Where the density of a region is."""
    if isinstance(options, ArraysOptions) and options.ANODE_models:
        return StoredDensity.of_epochs(options.ANODE_models)
    return StoredDensity(options.density_folder, density_name(options.model_file_name, region))


def checked_density(options: DensityUseOptions, source: EventSource, region: str = "sideband") -> StoredDensity:
    """The density of a region, which describes the features of these events.

    Raises
    ------
    InputError
        If it is absent, or was trained on other features, or on events that were shifted otherwise.
    """
    stored = stored_density(options, region)
    preprocessing = stored.check(source.n_features, source.describe())
    if isinstance(options, ArraysOptions) and options.no_logit_trained and preprocessing.uses_logit:
        raise InputError(f"{stored.preprocessing_file}: trained with logit, but {options.flag('no_logit_trained')} was given")
    return stored


def load_densities(
    options: DensityUseOptions, source: EventSource, *regions: str, no_gpu: bool = False
) -> tuple[FeatureDensity, ...]:
    """The densities of regions, each mixed of its best epochs."""
    return tuple(checked_density(options, source, region).load(no_gpu=no_gpu) for region in regions)
