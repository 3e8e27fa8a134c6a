"""The densities of a run: how they are trained, what they are called, where they are, and whether they describe its events."""

from __future__ import annotations

from background.options import ArraysOptions, DensityOptions, DensityUseOptions
from common.errors import InputError
from common.processes import usable_cores
from common.seeds import make_seed
from events.regions import EventSource
from events.view import Events
from models.arrays import no_gpu
from models.density import FeatureDensity, StoredDensity, TrainedDensity
from models.registry import DENSITIES
from models.training.checkpoints import Checkpoint

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


def train_density(
    options: DensityOptions,
    source: EventSource,
    train: Events,
    val: Events,
    center: float,
    *,
    purpose: str,
    checkpoint: Checkpoint,
) -> TrainedDensity:
    """Train the density estimator that the options name.

    The flow sees m as the relative distance (m - center) / center from the middle of the region in which it will be sampled (TeV): how
    fast p(x|m) may change with m then depends neither on the unit nor on how wide the sideband is.

    Parameters
    ----------
    purpose : str
        From it and the seed comes the estimator's own seed.
    """
    estimator = DENSITIES.create(
        options.model,
        DENSITIES.hyperparameters(options.model, options.config_file),
        options,
        ("epochs", "batch_size", "patience"),
        num_inputs=train.n_features,
        condition_center=float(center),
        condition_scale=float(center),
        n_jobs=usable_cores(options.threads),
        no_gpu=no_gpu(options.device),
        verbose=True,
        random_state=make_seed(source.seed, purpose),
    )
    return TrainedDensity.fit(
        estimator,
        *((events.x, events.m[:, None]) for events in (train, val)),
        use_logit=not options.no_logit,
        names=source.columns.names,
        trained_on=source.describe(),
        discrete=options.dequantize,
        checkpoint=checkpoint,
    )


def load_densities(
    options: DensityUseOptions, source: EventSource, *regions: str, no_gpu: bool = False
) -> tuple[FeatureDensity, ...]:
    """The densities of regions, each mixed of its best epochs."""
    return tuple(checked_density(options, source, region).load(no_gpu=no_gpu) for region in regions)
