"""The densities of a run: how they are trained, what they are called, where they are, and whether they describe its events."""

from __future__ import annotations

from background.arrays import fold_folder
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


def stored_density(options: DensityUseOptions, region: str = "sideband", fold: int | None = None) -> StoredDensity:
    """Where the density of a region is, the one for a fold where there are folds."""
    if isinstance(options, ArraysOptions) and options.ANODE_models:
        return StoredDensity.of_epochs(options.ANODE_models)
    folder = options.density_folder if fold is None else fold_folder(options.density_folder, fold)
    return StoredDensity(folder, density_name(options.model_file_name, region))


def _n_folds(options: DensityUseOptions) -> int:
    """How many folds there are; 0 for ANODE, whose scores need none."""
    return (options.k_folds or 0) if isinstance(options, ArraysOptions) else 0


def stored_densities(options: DensityUseOptions, *regions: str) -> list[StoredDensity]:
    """All densities of these regions that a run uses: one of each, or one for every fold."""
    folds = range(_n_folds(options)) or (None,)
    return [stored_density(options, region, fold) for region in regions for fold in folds]


def trained_on(source: EventSource, fold: int | None = None, n_folds: int | None = None) -> dict[str, object]:
    """What must be the same of all events that a density is to describe, as plain JSON; with folds, also which one it is for."""
    if fold is None:
        return source.describe()
    own = {"fold": f"{fold} of {n_folds}", "data": source.all_data_digest, "signal region": list(source.window.edges)}
    return source.describe() | own


def checked_density(
    options: DensityUseOptions, source: EventSource, region: str = "sideband", fold: int | None = None
) -> StoredDensity:
    """The density of a region (and for a fold), which describes the features of these events.

    Raises
    ------
    InputError
        If it is absent, or was trained on other features, on events that were shifted otherwise, or in other folds or data.
    """
    stored = stored_density(options, region, fold)
    preprocessing = stored.check(source.n_features, trained_on(source, fold, _n_folds(options)))
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
    fold: int | None = None,
) -> TrainedDensity:
    """Train the density estimator that the options name.

    The flow sees m as the relative distance (m - center) / center from the middle of the region in which it will be sampled (TeV): how
    fast p(x|m) may change with m then depends neither on the unit nor on how wide the sideband is.

    Parameters
    ----------
    purpose : str
        From it and the seed comes the estimator's own seed.
    fold : int, optional
        The one that is not among the events, and for which the density is.
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
        trained_on=trained_on(source, fold, options.k_folds),
        discrete=options.dequantize,
        checkpoint=checkpoint,
    )


def load_densities(
    options: DensityUseOptions, source: EventSource, *regions: str, fold: int | None = None, no_gpu: bool = False
) -> tuple[FeatureDensity, ...]:
    """The densities of regions, each mixed of its best epochs."""
    return tuple(checked_density(options, source, region, fold).load(no_gpu=no_gpu) for region in regions)
