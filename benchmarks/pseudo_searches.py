"""Is the whole chain calibrated? Searches of pseudo-data that follow a smooth density, each with flows and classifiers of its own.

    python benchmarks/pseudo_searches.py --search_dir benchmark_run/search_0_11/CATHODE_trees --seeds 1 2 3

Masses follow a fit of all data of a finished search without signal, and below the range of the fit these data; features follow the
flow of its first window. Every seed is a data set as large as the data, through the same scan as in searches.py. Local significances of
all windows and data sets together should have mean 0 and width 1.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

import measuring
import numpy as np
from searches import RUNS, SCAN

from common.files import load_json
from evaluation.folds import ScoredRun
from models.density import load_density
from search.bins import MassBins, unit_in_tev
from search.fit import SpectrumFitter

CELLS = 2000  # in which masses are drawn evenly


class SmoothEvents:
    """Events like those of a finished search, of a smooth density.

    Parameters
    ----------
    folder : path
        The search.
    """

    def __init__(self, folder: Path) -> None:
        found = load_json(folder / "bump_hunt.json")["windows"][0]
        place = folder / f"window_{found['window']['center']:.4g}"
        run = ScoredRun.read(place, place, sorted(fold.name for fold in place.glob("fold_*")))
        self.columns, self.density, m = load_json(place / "columns.json"), load_density(place), run.scores["m"]
        bins = MassBins.around(run.window, *found["fit_range"], 13.0 / unit_in_tev(run.window.resonant))
        fit = SpectrumFitter(bins, leave_out=False).richest(bins.counts(m))
        self.below = m[m < bins.edges[0]]
        self.edges = np.geomspace(bins.edges[0], m.max(), CELLS + 1)
        self.expected = fit.between(self.edges)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Events [n, 1 + d]: mass and features."""
        low = rng.choice(self.below, rng.poisson(len(self.below)))
        n = rng.poisson(self.expected)
        high = rng.uniform(np.repeat(self.edges[:-1], n), np.repeat(self.edges[1:], n))
        m = rng.permutation(np.concatenate([low, high]))
        return np.column_stack([m, self.density.sample(m[:, None], rng)])


def search(events: SmoothEvents, work: Path, seed: int, names: list[str]) -> dict[str, Any]:
    """Every search of one data set."""
    folder, resonant = work / f"pseudo_{seed}", events.columns["resonant"]["name"]
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "separated" / "mjj_spectrum.png").exists():
        np.save(folder / "events.npy", events.draw(np.random.default_rng(seed)))
        features = ",".join(each["name"] for each in events.columns["features"])
        measuring.script(
            "run_data_preparation.py", "--input", folder / "events.npy", "--columns", f"{resonant},{features}",
            "--resonant", resonant, "--features", features, "--unit", f"{resonant}={events.columns['resonant']['unit']}",
            "--SR_min", 3.3, "--SR_max", 3.7, "--outdir", folder / "separated", "--seed", seed,
        )  # fmt: skip
    found, flows = {}, None
    for name in names:
        out, flags = folder / name.replace(", ", "_"), list(RUNS[name])
        if "CWoLa" not in name:
            flags += ["--DE_dir", flows] if flows else []
            flows = flows or out
        measuring.script(
            "run_bump_hunt.py", "--data_dir", folder / "separated", "--save_dir", out, "--seed", seed, "--resume", *SCAN, *flags,
            "--n_toys", 0, "--no_report",
        )  # fmt: skip
        found[name] = [[each["z"] for each in window["efficiencies"]] for window in load_json(out / "bump_hunt.json")["windows"]]
    return found


def main() -> None:
    """Draw, search, print and store."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument(
        "--search_dir", type=Path, required=True, metavar="DIR", help="a finished search with flows, without signal"
    )
    parser.add_argument(
        "--work_dir", type=Path, default=Path("benchmark_run"), metavar="DIR", help="folder for intermediate files"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="one data set each")
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=["CATHODE, trees", "CATHODE, networks"])
    options = parser.parse_args()
    events = SmoothEvents(options.search_dir)
    found = {seed: search(events, options.work_dir, seed, options.runs) for seed in options.seeds}
    rows: list[tuple[str, ...]] = [("search", "efficiency", "selections", "mean z", "width", "largest")]
    results: dict[str, Any] = {}
    for name in options.runs:
        z = np.array([found[seed][name] for seed in options.seeds], dtype=float)  # [data set, window, efficiency]
        results[name] = z.tolist()
        for cut, some in zip((1, 0.1, 0.01, 0.001), np.moveaxis(z, 2, 0), strict=True):
            n = int(np.isfinite(some).sum())
            mean, width = np.nanmean(some), np.nanstd(some)
            rows.append(
                (name, f"{cut:g}", f"{n}", f"{mean:+.2f} ± {width / n**0.5:.2f}", f"{width:.2f}", f"{np.nanmax(some):+.1f}")
            )
    measuring.write("pseudo_searches", {"seeds": options.seeds, "z": results}, rows)
    sys.stderr.write(f"{len(options.seeds)} data sets\n")


if __name__ == "__main__":
    main()
