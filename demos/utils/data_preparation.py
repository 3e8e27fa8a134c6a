"""The events of the demo notebooks: sideband and signal region, each for training, validation and test.

    python demos/utils/data_preparation.py --outdir demos/data/
    python demos/utils/data_preparation.py --outdir demos/data_deltaR/ --add_deltaR

Writes outerdata_{train,val,test}.npy and innerdata_{train,val,test}.npy: m_JJ (TeV), features, label (1 signal, 0 background), in the
shares half, quarter, quarter.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from common.script import SEED, VERBOSE, finite_float, flag, run_script  # noqa: E402
from run_data_preparation_LHCORD import FLAGS as STAGE_FLAGS  # noqa: E402

FLAGS = [
    flag("outdir", required=True, metavar="DIR", help="folder for the .npy files"),
    flag(
        "features_file",
        default=str(ROOT / "sample_data" / "events.features.h5"),
        metavar="FILE",
        help="events in the LHC Olympics layout (default: the bundled sample)",
    ),
    flag("S_over_B", type=finite_float, default=0.03, metavar="X", help="signal over background in the signal region"),
    *[f for f in STAGE_FLAGS if f.name in ("add_deltaR", "SR_min", "SR_max")],
    SEED,
    VERBOSE,
]


def main(args: Namespace) -> None:
    """Read, separate, write."""
    from events.lhco import OUTPUTS, prepare_demo
    from workflow.stages import Stage, choose_seed, recorded_flags, run_stage

    args.seed = choose_seed(args.seed, Path(args.outdir))
    features = Path(args.features_file)

    def work(folder: Path) -> dict[str, Any]:
        region = (args.SR_min, args.SR_max)
        prepare_demo(features, folder, s_over_b=args.S_over_B, sr_range=region, seed=args.seed, add_delta_r=args.add_deltaR)
        return {}

    run_stage(Stage("demo_events", Path(args.outdir), recorded_flags(args), lambda: [features], OUTPUTS, work), resume=False)


if __name__ == "__main__":
    run_script(main, __doc__, FLAGS)
