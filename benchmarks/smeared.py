"""The whole search, trainings included, on background that certainly has no bump: masses smeared at random, features as they are.

    python benchmarks/smeared.py --features_file pythia_dijets.features.h5 --extra_bkg_file extra_inneronly.features.h5 --sets 5

Every event keeps its features and gets a mass m e^(0.15 g), g normal: the features still vary with the mass, but nothing narrower than
a window is left, and every set has fluctuations of its own. run_bump_hunt.py scans six windows of each set. If flow, classifiers and fit
are right, local significances have mean 0 and width 1. What the smearing takes away, a shape of the spectrum that the fit cannot follow,
is not tested. Sets that are in the folder already are taken as they are; from other seeds come other sets.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import measuring
import numpy as np
from scipy.stats import kstest
from searches import RUNS, SCAN, prepare

from common.files import load_json
from common.seeds import make_rng
from events.columns import Columns
from events.options import SIDEBAND_TRAIN
from events.separation import Fractions, SeparatedEvents, separate_table
from events.view import UNKNOWN
from events.window import Window
from workflow.separation import write_separated

SMEARING = 0.15  # of ln m; a window has a full width of 0.11
HIGHEST = 12.0  # TeV; the energy of the collisions is 13


def smeared(separated: Path, folder: Path, seed: int) -> Path:
    """A folder of events like the separated ones, with other masses."""
    if not folder.exists():
        partial = folder.with_name(f".{folder.name}")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        data, rows = np.load(separated / "data.npy"), np.load(separated / "data_row.npy")
        data[:, 0] *= np.exp(SMEARING * make_rng(seed, "smearing").normal(size=len(data)))
        data[:, -1] = UNKNOWN
        data, rows = (each[data[:, 0] < HIGHEST] for each in (data, rows))
        columns = Columns.read(separated, data.shape[1] - 2)
        window, rng = Window(*columns.signal_region, columns.resonant), make_rng(seed, "separation")
        separation = separate_table(data[:, 0], data[:, -1], window, Fractions(SIDEBAND_TRAIN, 0.5, 0.0), rng)
        write_separated(SeparatedEvents(data, data, rows, separation, seed), columns, window, partial, "png")
        partial.rename(folder)
    return folder


def searched(options: Any, separated: Path, name: str, seed: int) -> dict[str, list[float]]:
    """Efficiency -> local significances of the windows of one set."""
    work = Path(options.work_dir) / f"smeared_{seed}"
    data, out = smeared(separated, work / "data", seed), work / name.replace(", ", "_")
    flags = list(RUNS[name])
    if "CATHODE, trees" in options.runs and name not in ("CATHODE, trees", "CWoLa, trees"):
        flags += ["--DE_dir", work / "CATHODE_trees"]
    flags += ["--n_toys", 0, "--seed", seed, "--resume"]
    measuring.script("run_bump_hunt.py", "--data_dir", data, "--save_dir", out, *SCAN, *flags)
    found: dict[str, list[float]] = {}
    for window in load_json(out / "bump_hunt.json")["windows"]:
        for each in window["efficiencies"]:
            if each["z"] is not None:
                found.setdefault(f"{each['efficiency']:g}", []).append(each["z"])
    return found


def main() -> None:
    """Search, print and store what came out."""
    parser = measuring.parser(__doc__)
    parser.add_argument("--sets", type=int, default=5, help="of smeared masses; their seeds begin at --seed")
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=["CATHODE, trees"])
    options = parser.parse_args()
    separated = prepare(options, 0.0)
    results: dict[str, dict[str, list[list[float]]]] = {name: {} for name in options.runs}
    for seed in range(options.seed, options.seed + options.sets):
        for name in options.runs:
            found = searched(options, separated, name, seed)
            sys.stderr.write(f"{seed} {name}: {found}\n")
            for cut, z in found.items():
                results[name].setdefault(cut, []).append(z)
    rows: list[tuple[str, ...]] = [("search", "efficiency", "fits", "mean z", "width", "largest", "KS p")]
    for name, of_name in results.items():
        for cut, sets in of_name.items():
            z = np.concatenate(sets)
            spread = f"{z.mean():+.2f} ± {z.std(ddof=1) / np.sqrt(len(z)):.2f}", f"{z.std(ddof=1):.2f}"
            rows.append((name, cut, f"{len(z)}", *spread, f"{z.max():.1f}", f"{kstest(z, 'norm').pvalue:.2g}"))
    measuring.write("smeared" if options.seed == 1 else f"smeared_seed_{options.seed}", {"z": results}, rows)


if __name__ == "__main__":
    main()
