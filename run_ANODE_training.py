"""Stage 2: sideband (or signal-region) events -> density estimator p(x|m).

    python run_ANODE_training.py --data_dir separated_data/ --savedir CATHODE_results/
    python run_ANODE_training.py --data_dir separated_data/ --savedir ANODE_results/ --inner_model     # ANODE's second flow

Writes NAME_epoch_E.par (weights), NAME_train_losses.npy, NAME_val_losses.npy (nats; index 0 is before training), NAME_preprocessing.json
and NAME_losses.png.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.script import (
    DATA_DIR,
    DATASHIFT,
    DEVICE,
    RANDOM_SHIFT,
    RESUME,
    SEED,
    SEPARATE_VAL_SET,
    SR_MAX,
    SR_MIN,
    VERBOSE,
    flag,
    positive_int,
    run_script,
    switch,
    whole_number,
)

if TYPE_CHECKING:
    from workflow.stages import Stage

MODEL_FILE_NAME = flag(
    "model_file_name", default="my_ANODE_model", metavar="NAME", help="beginning of the density estimator's file names"
)
FLAGS = [
    flag("epochs", type=positive_int, default=20, metavar="N", help="passes over the training events"),
    flag(
        "batch_size",
        type=positive_int,
        metavar="N",
        help="events per step (default: 1024, fewer where an epoch would have less than 40 steps)",
    ),
    flag(
        "patience",
        type=whole_number,
        default=10,
        metavar="N",
        help="stop after N epochs without a lower validation loss; 0: never",
    ),
    flag(
        "config_file", default="DE_MAF_model.yml", metavar="FILE", help="YAML file with the density estimator's hyperparameters"
    ),
    DATA_DIR,
    flag("savedir", default="CATHODE_results/", metavar="DIR", help="folder for the trained estimator"),
    MODEL_FILE_NAME,
    DATASHIFT,
    RANDOM_SHIFT,
    switch("inner_model", "train on the signal region instead of the sideband, as NAME_inner (for ANODE)"),
    switch("no_logit", "standardize the features without a logit transformation first"),
    SEPARATE_VAL_SET,
    SR_MIN,
    SR_MAX,
    SEED,
    RESUME,
    DEVICE,
    VERBOSE,
]


def main(args: Namespace) -> None:
    """Read the events and the configuration, then train."""
    from workflow.stages import choose_seed, run_stage

    args.seed = choose_seed(args.seed, Path(args.savedir))
    run_stage(stage(args), resume=args.resume)


def stage(args: Namespace) -> Stage:
    """Stage 2 with these arguments."""
    from background.densities import CONFIG_KEYS, outputs, train_density_estimator
    from common.files import InputError
    from data_handler import make_seed, read_config
    from events.regions import SIDEBAND, SIGNAL_REGION, EventSource, FeatureShift
    from models.flow import ConditionalNormalizingFlow
    from workflow.stages import Stage, recorded_flags

    if Path(args.model_file_name).name != args.model_file_name:
        raise InputError(f"--model_file_name {args.model_file_name}: a name, not a path; --savedir says which folder")
    config = read_config(Path(args.config_file), ConditionalNormalizingFlow, CONFIG_KEYS)
    shift = FeatureShift(args.datashift, args.random_shift)
    source = EventSource(Path(args.data_dir), shift, args.seed, (args.SR_min, args.SR_max), args.separate_val_set)
    name = estimator_name(args.model_file_name, args.inner_model)

    def work(folder: Path) -> dict[str, Any]:
        train, val = source.signal_region() if args.inner_model else source.sideband()
        return train_density_estimator(
            train,
            val,
            config,
            folder,
            name,
            use_logit=not args.no_logit,
            shift=shift,
            epochs=args.epochs,
            batch_size=args.batch_size,
            patience=args.patience,
            seed=make_seed(args.seed, f"density estimator {name}"),
            device=args.device,
        )

    return Stage(
        f"density_estimator {name}",
        Path(args.savedir),
        recorded_flags(args, config),
        lambda: source.files(SIGNAL_REGION if args.inner_model else SIDEBAND),
        outputs(name),
        work,
        fits=("datashift", "random_shift", "inner_model", "no_logit", "SR_min", "SR_max"),
    )


def estimator_name(model_file_name: str, inner: bool) -> str:
    """What the files of the sideband's and the signal region's estimator begin with."""
    return model_file_name + ("_inner" if inner else "")


if __name__ == "__main__":
    run_script(main, __doc__, FLAGS)
