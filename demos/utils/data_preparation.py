"""The events of the demo notebooks: sideband and signal region, each for training, validation and test.

    python demos/utils/data_preparation.py --outdir demos/data/
    python demos/utils/data_preparation.py --outdir demos/data_deltaR/ --add_deltaR

Writes outerdata_{train,val,test}.npy and innerdata_{train,val,test}.npy: m_JJ (TeV), features, label (1 signal, 0 background), in the
shares half, quarter, quarter.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from common.options import StageOptions, option  # noqa: E402
from common.script import run_script  # noqa: E402
from events.options import RegionOptions  # noqa: E402

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options(RegionOptions, StageOptions):
    """Options of the demos' events."""

    outdir: Path = option(MISSING, "folder for the .npy files", metavar="DIR", recorded=False)
    features_file: Path = option(
        ROOT / "sample_data" / "events.features.h5", "events in the LHC Olympics layout", metavar="FILE", recorded=False
    )
    S_over_B: float = option(0.03, "signal over background in the signal region")
    add_deltaR: bool = option(False, "add ΔR_JJ, the distance of the two jets in pseudorapidity and azimuth, as a fifth feature")


def main(options: Options) -> None:
    """Read, separate, write."""
    import numpy as np

    from common.files import save_array
    from common.seeds import make_rng
    from events.features import BASELINE, columns_of
    from events.lhco import read_lhco_file
    from events.regions import SIDEBAND, SIGNAL_REGION
    from events.separation import separate
    from workflow.stage import Stage, run_stage, seeded

    options = seeded(options, options.outdir)
    features = (*BASELINE, "deltaR_JJ") if options.add_deltaR else BASELINE

    def work(folder: Path) -> dict[str, Any]:
        events, rng = read_lhco_file(options.features_file, features), make_rng(options.seed, "separation")
        rows = separate(events[:, 0], events[:, -1] == 1, 0, options.window, options.S_over_B, rng).main
        for region, parts in (("outerdata", SIDEBAND), ("innerdata", SIGNAL_REGION)):
            data = events[rng.permutation(np.concatenate([rows[part] for part in parts]))]
            half, quarter = len(data) // 2, len(data) // 4
            for name, part in zip(("train", "val", "test"), np.split(data, [half, half + quarter]), strict=True):
                save_array(folder / f"{region}_{name}.npy", part)
                logger.info("%s_%s.npy: %d events, %d of them signal", region, name, len(part), part[:, -1].sum())
        columns_of(features).save(folder)
        return {}

    outputs = ("outerdata_*.npy", "innerdata_*.npy", "columns.json")
    stage = Stage("demo_events", options.outdir, options, lambda: [options.features_file], outputs, work)
    run_stage(stage, resume=False)


if __name__ == "__main__":
    run_script(main, __doc__, Options)
