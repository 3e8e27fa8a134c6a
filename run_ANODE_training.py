"""Stage 2: sideband (or signal-region) events -> density estimator p(x|m).

    python run_ANODE_training.py --data_dir separated_data/ --savedir CATHODE_results/
    python run_ANODE_training.py --data_dir separated_data/ --savedir CATHODE_results/ --closure 4     # and test it in the sideband
    python run_ANODE_training.py --data_dir separated_data/ --savedir ANODE_results/ --inner_model     # ANODE's second flow
    python run_ANODE_training.py --data_dir separated_data/ --savedir CATHODE_results/ --k_folds 5     # one for every fold of the data

Writes NAME_epoch_E.par (weights), NAME_estimator.json, NAME_train_losses.npy, NAME_val_losses.npy (nats; index 0 is before training),
NAME_preprocessing.json and NAME_losses.png, with folds into fold_0/, fold_1/ ...; with --closure also NAME_closure.json and
NAME_closure.png.
"""

from __future__ import annotations

import glob
import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from background.options import DensityOptions as Options
from common.script import run_script
from models.registry import DENSITIES

if TYPE_CHECKING:
    from evaluation.closure import Closure
    from events.view import Events
    from events.window import Window
    from models.density import FeatureDensity, TrainedDensity
    from workflow.stage import Stage

logger = logging.getLogger(__name__)


def main(options: Options) -> None:
    """Test the density estimator in the sideband if asked to, then train it."""
    from workflow.stage import run_stage, seeded

    options = seeded(options, options.savedir)
    for step in (*([closure_stage] if options.closure else []), stage):
        run_stage(step(options), resume=options.resume)


def stage(options: Options) -> Stage:
    """Stage 2 with these options."""
    from background.arrays import fold_folder
    from background.densities import density_name, train_density
    from common.files import writable_folder
    from common.processes import run_side_by_side
    from events.quality import warn_of_spikes
    from events.regions import ALL_DATA, SIDEBAND, SIGNAL_REGION, EventSource
    from models.training.checkpoints import CHECKPOINT, Checkpoint
    from plots import losses as figures
    from plots.style import save
    from workflow.stage import Stage

    options = options.with_edges().with_folds()
    n_folds = 0 if options.inner_model else options.k_folds
    name = density_name(options.model_file_name, "signal_region" if options.inner_model else "sideband")

    def work(folder: Path) -> dict[str, Any]:
        source = EventSource(options)  # read anew in every stage, so that the memory is free for the next one
        checkpoint = Checkpoint(folder / CHECKPOINT)

        def train(
            events: tuple[Events, Events], place: Path, title: str, checkpoint: Checkpoint, fold: int | None
        ) -> dict[str, Any]:
            trained = train_density(
                options, source, *events, options.window.center,
                purpose=f"density estimator {title}", checkpoint=checkpoint, fold=fold,
            )  # fmt: skip
            trained.save(place, name)
            curves = {"training": trained.train_losses, "validation": trained.val_losses}
            figure = figures.loss_curves(curves, r"$-\log p(x|m)$ per event (nats)", first_epoch=-1)
            save(figure, place / f"{name}_losses.{options.figures}")
            return _results(title, trained)

        def train_for(fold: int) -> dict[str, Any]:
            events, place = source.sideband_for_fold(fold, n_folds), writable_folder(fold_folder(folder, fold))
            return train(events, place, f"{name}, fold {fold}", checkpoint.below(f"fold_{fold}"), fold)

        if not n_folds:
            split = {"separate_val_set": options.separate_val_set}
            events = source.signal_region(**split) if options.inner_model else source.sideband()
            warn_of_spikes(events[0].x, source.columns.names, options.dequantize)
            return train(events, folder, name, checkpoint, None)
        warn_of_spikes(source.sideband_for_fold(0, n_folds)[0].x, source.columns.names, options.dequantize)
        found = run_side_by_side([partial(train_for, fold) for fold in range(n_folds)], _n_processes(options))
        return {f"fold {fold}": results for fold, results in enumerate(found)}

    return Stage(
        f"density_estimator {name}",
        options.savedir,
        options,
        lambda: EventSource(options).paths(SIGNAL_REGION if options.inner_model else ALL_DATA if n_folds else SIDEBAND),
        density_patterns(name),
        work,
        hyperparameters=DENSITIES.hyperparameters(options.model, options.config_file),
        unused=("closure", "k_folds") if options.inner_model else ("closure", "separate_val_set"),
        must_match=("model", "datashift", "random_shift", "inner_model", "no_logit", "SR_min", "SR_max", "k_folds"),
    )


def closure_stage(options: Options) -> Stage:
    """The closure test of stage 2: further trainings, each without a pseudo signal region, and how well they describe it."""

    options = options.with_edges()
    import numpy as np

    from background.densities import train_density
    from common.contract import patterns
    from common.files import save_json
    from common.processes import run_side_by_side
    from evaluation.closure import CLOSURE_FILES, closure_test, mean_auc, pseudo_signal_regions
    from events.regions import SIDEBAND, EventSource
    from models.training.checkpoints import CHECKPOINT, Checkpoint
    from plots.closure import closure_pulls
    from plots.style import save
    from workflow.stage import Stage

    name = options.model_file_name

    def work(folder: Path) -> dict[str, Any]:
        source = EventSource(options)
        sideband, columns, checkpoint = source.sideband(), source.columns, Checkpoint(folder / CHECKPOINT)
        regions = pseudo_signal_regions(np.concatenate([events.m for events in sideband]), options.window, options.closure)

        def test(number: int) -> Closure:
            purpose = f"closure test {number} of {name}"

            def learn(train: Events, val: Events, left_out: Window) -> FeatureDensity:
                place = checkpoint.below(f"region_{number}")
                return train_density(options, source, train, val, left_out.center, purpose=purpose, checkpoint=place).density()

            return closure_test(learn, sideband, regions[number], source.rng(purpose))

        tests = run_side_by_side([partial(test, number) for number in range(len(regions))], _n_processes(options))
        for found in tests:
            text = "%s: closure in %s: two-sample AUC %.4f ± %.4f (%d events)"
            logger.info(text, name, found.window, found.auc, found.auc_error, found.n_events)
        auc, error = mean_auc(tests)
        logger.info("%s: closure, mean two-sample AUC %.4f ± %.4f (%d regions)", name, auc, error, len(tests))
        results: dict[str, Any] = {"mean_two_sample_auc": auc, "mean_two_sample_auc_error": error}
        results["regions"] = [found.summary(columns.names) for found in tests]
        save_json(folder / f"{name}_closure.json", results | {"regions": [found.content(columns.names) for found in tests]})
        save(closure_pulls(tests, columns.axes[1:]), folder / f"{name}_closure.{options.figures}")
        return results

    return Stage(
        f"closure_test {name}",
        options.savedir,
        options,
        lambda: EventSource(options).paths(SIDEBAND),
        tuple(pattern.replace("NAME", glob.escape(name)) for pattern in patterns(CLOSURE_FILES)),
        work,
        hyperparameters=DENSITIES.hyperparameters(options.model, options.config_file),
        unused=("inner_model", "separate_val_set", "k_folds"),
    )


def density_patterns(name: str) -> tuple[str, ...]:
    """What stage 2 writes: in the folder itself, or in those of folds."""
    from common.contract import patterns
    from models.density import DENSITY_FILES

    own = [pattern.replace("NAME", glob.escape(name)) for pattern in patterns(DENSITY_FILES)]
    return tuple(f"{folder}{pattern}" for folder in ("", "fold_[0-9]*/") for pattern in own)


def _n_processes(options: Options) -> int:
    """How many trainings go on at a time."""
    from common.processes import usable_cores
    from models.arrays import pick_device

    return 1 if pick_device(options.device).type != "cpu" else usable_cores(options.threads)  # a forked process cannot use a GPU


def _results(name: str, trained: TrainedDensity) -> dict[str, Any]:
    """What STAGE.json says of the validation losses, -log p per event in nats for logit-transformed, standardized features."""
    import numpy as np

    val_losses = trained.val_losses
    best = int(np.nanargmin(val_losses[1:]))
    lowest, n_epochs = float(val_losses[best + 1]), int(np.isfinite(val_losses[1:]).sum())
    logger.info("%s: lowest validation loss %.4f nats in epoch %d", name, lowest, best)
    return {"lowest_validation_loss": lowest, "in_epoch": best, "epochs": n_epochs, "mixed_versions": trained.n_mixed}


if __name__ == "__main__":
    run_script(main, __doc__, Options)
