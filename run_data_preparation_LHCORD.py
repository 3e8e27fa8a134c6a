"""Stage 1: LHC Olympics R&D features (.h5) -> separated sideband and signal-region events (.npy).

    python run_data_preparation_LHCORD.py                      # the official files in this folder, the paper's S/B
    python run_data_preparation_LHCORD.py --S_over_B 0.006 --seed 3 --outdir separated_data_seed3/
    python run_data_preparation_LHCORD.py --features_file sample_data/events.features.h5 --S_over_B 0.03 \\
        --extra_bkg_file sample_data/extra_inneronly.features.h5
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.options import StageOptions, not_negative, option
from common.script import run_script
from events.options import RegionOptions

if TYPE_CHECKING:
    from workflow.stage import Stage

logger = logging.getLogger(__name__)

FEATURES_FILE = Path("events_anomalydetection_v2.features.h5")
EXTRA_BKG_FILE = Path("events_anomalydetection_qcd_extra_inneronly_features.h5")


def check_s_over_b(value: float) -> str | None:
    """What is wrong with a signal-to-background ratio."""
    return None if value == -1 or 0 <= value < float("inf") else "must be 0 or above, or -1 for the paper's value"


def check_features(text: str) -> str | None:
    """What is wrong with a choice of features."""
    from events.features import chosen_features

    try:
        chosen_features(text)
    except ValueError as error:
        return str(error)
    return None


@dataclass(frozen=True, kw_only=True)
class Options(RegionOptions, StageOptions):
    """Options of stage 1."""

    features_file: Path = option(
        FEATURES_FILE,
        "background and signal events in the LHC Olympics layout (Zenodo record 4536377)",
        metavar="FILE",
        recorded=False,
    )
    extra_bkg_file: Path | None = option(
        None,
        "extra signal-region background of the same simulation (Zenodo record 5759087); with none, half of the SR background "
        "itself is set aside instead",
        metavar="FILE",
        default_text=f"{EXTRA_BKG_FILE}, if it is there, of the default features file; none of any other",
        recorded=False,
    )
    outdir: Path = option(Path("separated_data"), "folder for the separated .npy files", metavar="DIR", recorded=False)
    S_over_B: float = option(
        -1.0,
        "signal over background in the signal region; -1: 1000 signal events per million background events, as in the paper",
        check=check_s_over_b,
    )
    features: str = option(
        "baseline",
        "the features, sets (baseline, deltaR, tau32, kinematic) or names, with commas between them; docs/data.md has all of them",
        metavar="SET|NAME,...",
        check=check_features,
    )
    add_deltaR: bool = option(False, "add the feature deltaR_JJ, as --features deltaR does")
    noise_features: int = option(
        0, "append so many features that are random numbers, to see what uninformative features do", check=not_negative
    )

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Of those that are computed from the jets."""
        from events.features import chosen_features

        names = chosen_features(self.features)
        return (*names, "deltaR_JJ") if self.add_deltaR and "deltaR_JJ" not in names else names


def main(options: Options) -> None:
    """Read, separate, write."""
    from workflow.stage import run_stage, seeded

    run_stage(stage(seeded(options, options.outdir)), resume=False)


def stage(options: Options) -> Stage:
    """Stage 1 with these options."""
    from common.contract import patterns
    from events.features import columns_of
    from events.lhco import check_exists
    from events.separation import SEPARATED_FILES, separate_lhco
    from workflow.records import STAGE_1, check_own_folder
    from workflow.separation import write_separated
    from workflow.stage import Stage

    options = options.with_edges()
    features, columns = options.feature_names, columns_of(options.feature_names, options.noise_features, options.window.edges)
    extra_file = _extra_file(options)

    def inputs() -> list[Path]:
        check_own_folder(options.outdir, STAGE_1)
        files = [path for path in (options.features_file, extra_file) if path is not None]
        for path in files:
            check_exists(path)
        return files

    def work(folder: Path) -> dict[str, Any]:
        window = options.window
        separated = separate_lhco(
            options.features_file, extra_file, s_over_b=options.S_over_B, window=window, seed=options.seed, features=features,
            n_noise=options.noise_features,
        )  # fmt: skip
        return write_separated(separated, columns, window, folder, options.figures)

    return Stage("separation", options.outdir, options, inputs, patterns(SEPARATED_FILES), work)


def _extra_file(options: Options) -> Path | None:
    """The extra background that goes with the features file, if any."""
    if options.extra_bkg_file is not None:
        return None if options.extra_bkg_file == Path("none") else options.extra_bkg_file
    if not EXTRA_BKG_FILE.exists():
        return None
    if options.features_file == FEATURES_FILE:
        return EXTRA_BKG_FILE
    logger.warning(
        "%s is not used: it belongs to %s; name it with --extra_bkg_file if it is wanted", EXTRA_BKG_FILE, FEATURES_FILE
    )
    return None


if __name__ == "__main__":
    run_script(main, __doc__, Options)
