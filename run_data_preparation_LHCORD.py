"""Stage 1: LHC Olympics R&D features (.h5) -> separated sideband and signal-region events (.npy).

    python run_data_preparation_LHCORD.py                      # the official files in this folder, the paper's S/B
    python run_data_preparation_LHCORD.py --S_over_B 0.006 --seed 3 --outdir separated_data_seed3/
    python run_data_preparation_LHCORD.py --features_file sample_data/events.features.h5 --S_over_B 0.03 \\
        --extra_bkg_file sample_data/extra_inneronly.features.h5
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.script import DEVICE, SEED, SR_MAX, SR_MIN, VERBOSE, finite_float, flag, run_script, switch

if TYPE_CHECKING:
    from workflow.stages import Stage

FLAGS = [
    flag(
        "features_file",
        default="events_anomalydetection_v2.features.h5",
        metavar="FILE",
        help="background and signal events in the LHC Olympics layout (Zenodo record 4536377)",
    ),
    flag(
        "extra_bkg_file",
        default="events_anomalydetection_qcd_extra_inneronly_features.h5",
        metavar="FILE",
        help="extra signal-region background (Zenodo record 5759087); with none, or where the default is absent, "
        "half of the SR background itself is set aside instead",
    ),
    flag("outdir", default="separated_data/", metavar="DIR", help="folder for the separated .npy files"),
    flag(
        "S_over_B",
        type=finite_float,
        default=-1.0,
        metavar="X",
        help="signal over background in the signal region; -1: 1000 signal events per million background events, as in the paper",
    ),
    switch("add_deltaR", "add ΔR_JJ, the distance of the two jets in pseudorapidity and azimuth, as a fifth feature"),
    SEED,
    SR_MIN,
    SR_MAX,
    DEVICE,
    VERBOSE,
]


def main(args: Namespace) -> None:
    """Read, separate, write."""
    from workflow.stages import choose_seed, run_stage

    args.seed = choose_seed(args.seed, Path(args.outdir))
    run_stage(stage(args), resume=False)


def stage(args: Namespace) -> Stage:
    """Stage 1 with these arguments."""
    from events.lhco import OUTPUTS, check_exists, prepare_lhco
    from workflow.stages import Stage, recorded_flags

    default_extra = next(f.default for f in FLAGS if f.name == "extra_bkg_file")
    features, extra = Path(args.features_file), Path(args.extra_bkg_file)
    if args.extra_bkg_file == "none" or (args.extra_bkg_file == default_extra and not extra.exists()):
        extra = None

    def work(folder: Path) -> dict[str, Any]:
        separation = prepare_lhco(
            features,
            extra,
            folder,
            s_over_b=args.S_over_B,
            sr_range=(args.SR_min, args.SR_max),
            seed=args.seed,
            add_delta_r=args.add_deltaR,
        )
        return {"signal_to_background": separation.signal_to_background}

    def inputs() -> list[Path]:
        files = [features] if extra is None else [features, extra]
        for path in files:
            check_exists(path)
        return files

    return Stage("separation", Path(args.outdir), recorded_flags(args), inputs, OUTPUTS, work)


if __name__ == "__main__":
    run_script(main, __doc__, FLAGS)
