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
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from background.options import DensityOptions as Options
from common.contract import OutputFile, patterns
from common.script import run_script
from models.registry import DENSITIES

if TYPE_CHECKING:
    from workflow.stage import Stage


def main(options: Options) -> None:
    """Test the density estimator in the sideband if asked to, then train it."""
    from workflow.stage import run_stage, seeded

    options = seeded(options, options.savedir)
    for step in (*([closure_stage] if options.closure else []), stage):
        run_stage(step(options), resume=options.resume)


def stage(options: Options) -> Stage:
    """Stage 2 with these options."""
    from background.densities import density_name
    from events.regions import ALL_DATA, SIDEBAND, SIGNAL_REGION, EventSource
    from models.density import DENSITY_FILES
    from workflow.densities import train, train_in_folds
    from workflow.stage import Stage

    options = options.with_edges().with_folds()
    name = density_name(options.model_file_name, "signal_region" if options.inner_model else "sideband")
    events = SIGNAL_REGION if options.inner_model else ALL_DATA if options.k_folds else SIDEBAND
    written = _patterns(DENSITY_FILES, name)
    return Stage(
        f"density_estimator {name}",
        options.savedir,
        options,
        lambda: EventSource(options).paths(events),
        (*written, *(f"fold_[0-9]*/{pattern}" for pattern in written)),
        partial(train_in_folds if options.k_folds else train, options, name),
        hyperparameters=DENSITIES.hyperparameters(options.model, options.config_file),
        unused=("closure",) if options.inner_model else ("closure", "separate_val_set"),
        must_match=("model", "datashift", "random_shift", "inner_model", "no_logit", "SR_min", "SR_max", "k_folds"),
    )


def closure_stage(options: Options) -> Stage:
    """The closure test of stage 2: further trainings, each without a pseudo signal region, and how well they describe it."""
    from evaluation.closure import CLOSURE_FILES
    from events.regions import SIDEBAND, EventSource
    from workflow.densities import examine_closure
    from workflow.stage import Stage

    options, name = options.with_edges(), options.model_file_name
    return Stage(
        f"closure_test {name}",
        options.savedir,
        options,
        lambda: EventSource(options).paths(SIDEBAND),
        _patterns(CLOSURE_FILES, name),
        partial(examine_closure, options, name),
        hyperparameters=DENSITIES.hyperparameters(options.model, options.config_file),
        unused=("inner_model", "separate_val_set", "k_folds"),
    )


def _patterns(files: Sequence[OutputFile], name: str) -> tuple[str, ...]:
    """Those of files whose names begin with a density estimator's."""
    return tuple(pattern.replace("NAME", glob.escape(name)) for pattern in patterns(files))


if __name__ == "__main__":
    run_script(main, __doc__, Options)
