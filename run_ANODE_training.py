"""Stage 2: sideband (or signal-region) events -> density estimator p(x|m).

    python run_ANODE_training.py --data_dir separated_data/ --savedir CATHODE_results/
    python run_ANODE_training.py --data_dir separated_data/ --savedir ANODE_results/ --inner_model     # ANODE's second flow

Writes NAME_epoch_E.par (weights), NAME_estimator.json, NAME_train_losses.npy, NAME_val_losses.npy (nats; index 0 is before training),
NAME_preprocessing.json and NAME_losses.png.
"""

from __future__ import annotations

import glob
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from background.options import SAVEDIR, DensityNameOptions
from common.options import ResumableOptions, not_negative, option, positive
from common.script import run_script
from events.options import EventOptions, SplitOptions
from models.registry import DENSITIES

if TYPE_CHECKING:
    from workflow.stage import Stage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options(DensityNameOptions, SplitOptions, EventOptions, ResumableOptions):
    """Options of stage 2."""

    model: str = option("flow", "density estimator, see docs/estimators.md", choices=DENSITIES.names)
    epochs: int = option(20, "passes over the training events", unit="epochs", check=positive)
    batch_size: int | None = option(
        None,
        "events per step",
        unit="events",
        check=positive,
        default_text="1024, fewer where an epoch would have less than 40 steps",
    )
    patience: int = option(
        10, "stop after so many epochs without a lower validation loss; 0: never", unit="epochs", check=not_negative
    )
    config_file: Path | None = option(
        None,
        "YAML file with the density estimator's hyperparameters",
        metavar="FILE",
        default_text="the estimator's own, DE_MAF_model.yml for flow",
        recorded=False,
    )
    no_logit: bool = option(False, "standardize the features without a logit transformation first")
    inner_model: bool = option(
        False, "train on the signal region instead of the sideband, as NAME_inner (for ANODE)", chained_as=None
    )
    savedir: Path = option(SAVEDIR, "folder for the trained estimator", metavar="DIR", chained_as=None, recorded=False)


def main(options: Options) -> None:
    """Read the events and the hyperparameters, then train."""
    from workflow.stage import run_stage, seeded

    run_stage(stage(seeded(options, options.savedir)), resume=options.resume)


def stage(options: Options) -> Stage:
    """Stage 2 with these options."""
    from background.densities import density_name
    from common.contract import patterns
    from common.seeds import make_seed
    from events.regions import SIDEBAND, SIGNAL_REGION, EventSource
    from models.arrays import no_gpu
    from models.density import DENSITY_FILES, DensityPreprocessing, save_density, train_density
    from models.training.checkpoints import CHECKPOINT, Checkpoint
    from plots import losses as figures
    from plots.style import save
    from workflow.stage import Stage

    name = density_name(options.model_file_name, "signal_region" if options.inner_model else "sideband")
    hyperparameters = DENSITIES.hyperparameters(options.model, options.config_file)

    def work(folder: Path) -> dict[str, Any]:
        source = EventSource(options)  # read anew in every stage, so that the memory is free for the next one
        split = {"separate_val_set": options.separate_val_set}
        train, val = source.signal_region(**split) if options.inner_model else source.sideband()
        preprocessing = DensityPreprocessing.fit(
            train.x, use_logit=not options.no_logit, names=source.columns.names, trained_on=source.describe()
        )
        train, val = (events[preprocessing.inside(events.x, what)] for events, what in ((train, "training"), (val, "validation")))
        estimator = DENSITIES.create(
            options.model, hyperparameters, options, ("epochs", "batch_size", "patience"), num_inputs=train.n_features,
            condition_scale=options.sr_center, no_gpu=no_gpu(options.device), verbose=True,
            random_state=make_seed(options.seed, f"density estimator {name}"),
        )  # fmt: skip
        arrays = ((events.x, events.m[:, None]) for events in (train, val))
        losses = train_density(estimator, preprocessing, *arrays, checkpoint=Checkpoint(folder / CHECKPOINT))
        save_density(estimator, preprocessing, losses, folder, name)
        curves = dict(zip(("training", "validation"), losses, strict=True))
        figure = figures.loss_curves(curves, r"$-\log p(x|m)$ per event (nats)", first_epoch=-1)
        save(figure, folder / f"{name}_losses.png")
        return _results(name, losses[1])

    return Stage(
        f"density_estimator {name}",
        options.savedir,
        options,
        lambda: EventSource(options).paths(SIGNAL_REGION if options.inner_model else SIDEBAND),
        tuple(pattern.replace("NAME", glob.escape(name)) for pattern in patterns(DENSITY_FILES)),
        work,
        hyperparameters=hyperparameters,
        must_match=("model", "datashift", "random_shift", "inner_model", "no_logit", "SR_min", "SR_max"),
    )


def _results(name: str, val_losses: Any) -> dict[str, Any]:
    """What STAGE.json says of the validation losses, -log p per event in nats for logit-transformed, standardized features."""
    import numpy as np

    best = int(np.nanargmin(val_losses[1:]))
    lowest, n_epochs = float(val_losses[best + 1]), int(np.isfinite(val_losses[1:]).sum())
    logger.info("%s: lowest validation loss %.4f nats in epoch %d", name, lowest, best)
    return {"lowest_validation_loss": lowest, "in_epoch": best, "epochs": n_epochs}


if __name__ == "__main__":
    run_script(main, __doc__, Options)
