"""ANODE's last stage: the SB flow and the SR flow -> likelihood ratios p_SR(x|m) / p_SB(x|m) of the test data (arXiv:2001.04990).

    python run_ANODE_training.py --savedir ANODE_results/
    python run_ANODE_training.py --savedir ANODE_results/ --inner_model
    python run_ANODE_evaluation.py --savedir ANODE_results/

Both are densities in the physical features, each the mean of its 10 epochs of lowest validation loss. Writes X_test.npy and
preds_matris.npy [1, 1, n_test], the ratios (and X_extrasig.npy, preds_matris_extrasig.npy).
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.script import (
    DATA_DIR,
    DATASHIFT,
    DEVICE,
    NO_EXTRA_SIGNAL,
    RANDOM_SHIFT,
    SEED,
    SR_MAX,
    SR_MIN,
    VERBOSE,
    flag,
    run_script,
)
from run_ANODE_training import FLAGS as DENSITY_FLAGS
from run_ANODE_training import MODEL_FILE_NAME

if TYPE_CHECKING:
    from workflow.stages import Stage

FLAGS = [
    DATA_DIR,
    flag("savedir", default="ANODE_results/", metavar="DIR", help="folder of both density estimators and for the ratios"),
    MODEL_FILE_NAME,
    *[f for f in DENSITY_FLAGS if f.name == "config_file"],
    SR_MIN,
    SR_MAX,
    DATASHIFT,
    RANDOM_SHIFT,
    NO_EXTRA_SIGNAL,
    SEED,
    DEVICE,
    VERBOSE,
]


def main(args: Namespace) -> None:
    """Load both flows and score the test data."""
    from workflow.stages import choose_seed, run_stage

    args.seed = choose_seed(args.seed, Path(args.savedir))
    run_stage(stage(args), resume=False)


def stage(args: Namespace) -> Stage:
    """ANODE's last stage with these arguments."""
    from background.classifiers import OUTPUTS as SCORES
    from background.densities import CONFIG_KEYS, files_of_best, write_likelihood_ratios
    from background.lacathode import OUTPUTS as ARRAYS
    from data_handler import read_config
    from events.regions import EXTRA_SIGNAL, EXTRA_SIGNAL_IN_ONE, TEST_FILES, EventSource, FeatureShift
    from models.flow import ConditionalNormalizingFlow
    from run_ANODE_training import estimator_name
    from workflow.stages import Stage, recorded_flags

    shift = FeatureShift(args.datashift, args.random_shift)
    source = EventSource(Path(args.data_dir), shift, args.seed, (args.SR_min, args.SR_max))
    config = read_config(Path(args.config_file), ConditionalNormalizingFlow, CONFIG_KEYS)
    savedir, names = Path(args.savedir), [estimator_name(args.model_file_name, inner) for inner in (False, True)]

    def inputs() -> list[Path]:
        extra = () if args.no_extra_signal else (EXTRA_SIGNAL, EXTRA_SIGNAL_IN_ONE)
        return [*source.files(TEST_FILES, *extra), *(path for name in names for path in files_of_best(savedir, name))]

    def work(folder: Path) -> dict[str, Any]:
        return write_likelihood_ratios(
            source, config, savedir, args.model_file_name, folder, not args.no_extra_signal, args.device
        )

    return Stage(
        "likelihood_ratios",
        savedir,
        recorded_flags(args, config),
        inputs,
        (*ARRAYS, *SCORES),
        work,
        fits=("SR_min", "SR_max", "datashift", "random_shift"),
        after=tuple(f"density_estimator {name}" for name in names),
    )


if __name__ == "__main__":
    run_script(main, __doc__, FLAGS)
