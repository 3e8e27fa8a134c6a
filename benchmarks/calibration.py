"""Is the fit stage of a search calibrated? Background toys of a finished search through fits, choice of order and significance.

    python benchmarks/calibration.py --search_dir benchmark_run/search_0_1/CATHODE_trees

For the first window alone, and for the whole scan: are the uncapped, randomised local p-values evenly distributed (Kolmogorov and
Smirnov), and do as many lie below 0.01 as should? For the global p-value each toy is taken for data: it is fitted, has toys of its own
made from its own fits and patterns, and a global p-value from these. Ranks are randomised, so few toys of its own do no harm.
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

import measuring
import numpy as np
from joblib import Parallel, delayed
from scipy.stats import binomtest, kstest, norm
from tqdm import tqdm

from common.files import load_json
from common.seeds import make_rng
from evaluation.folds import ScoredRun
from search.bins import MassBins, unit_in_tev
from search.fit import FitError, SpectrumFitter
from search.hunt import FitSettings, SearchedWindow, search_window
from search.selection import ScoredWindow
from search.toys import PatternToys, Selections, analyse
from workflow.search import background_toys


def read(folder: Path) -> tuple[list[ScoredWindow], list[SearchedWindow], np.ndarray]:
    """The windows of a finished search, and the masses."""
    windows, searched = [], []
    content, options = load_json(folder / "bump_hunt.json"), load_json(folder / "STAGE.json")["bump_hunt"]["options"]
    cuts = [each["efficiency"] for each in content["windows"][0]["efficiencies"]]
    for number, each in enumerate(content["windows"]):
        place = folder / f"window_{each['window']['center']:.4g}"
        run = ScoredRun.read(place, place, sorted((fold.name for fold in place.glob("fold_*")), key=lambda name: int(name[5:])))
        settings = FitSettings(options["sqrt_s"] / unit_in_tev(run.window.resonant))
        bins = MassBins.around(run.window, *each["fit_range"], settings.sqrt_s)
        windows.append(ScoredWindow(bins, run.efficiency, run.n_held_out))
        searched.append(search_window(windows[-1], run.scores["m"], cuts, settings, make_rng(number, "search"), blind=False))
    return windows, searched, run.scores["m"]


def uniform(p: np.ndarray) -> dict[str, Any]:
    """Whether p-values [n] are evenly distributed; NaN where a fit failed."""
    known = p[np.isfinite(p)]
    tail = int((known < 0.01).sum())
    z = norm.isf(np.clip(known, 1e-9, 1 - 1e-9))
    return {
        "toys": len(p), "failed": len(p) - len(known), "ks": float(kstest(known, "uniform").pvalue), "below_0.01": tail / len(known),
        "tail_p": float(binomtest(tail, len(known), 0.01).pvalue), "mean_z": float(z.mean()), "std_z": float(z.std()),
    }  # fmt: skip


def of_its_own(toys: PatternToys, n_toys: int, rng: np.random.Generator) -> float:
    """The global p-value of a toy that is taken for data; NaN without one, where a search would have none either."""
    events = rng.poisson(toys.rates)
    bins, fits, z, n_passed = [], [], [], []
    middle = (toys.edges[1:] + toys.edges[:-1]) / 2
    rows = np.repeat(np.arange(len(events)), events)
    for window, spectra in enumerate(toys.counted(events)):
        known, found, significances = toys.selections.fits[window], {}, []
        fitter = SpectrumFitter(toys.selections.bins[window])
        for cut, counts in zip(known, spectra, strict=True):
            try:
                z_of_cut = fitter.choose(counts, None).counted(counts, 0.0).z
                found[cut] = fitter.richest(counts)
                significances.append(z_of_cut)
            except FitError:
                continue
        if 1.0 not in found:  # as in a search, the window has no part then
            continue
        kept = np.cumsum([0, *(cut in found for cut in known)])  # a selection without a fit is none
        n_passed.append(kept[toys.kind[rows, window]])
        bins.append(toys.selections.bins[window])
        fits.append(found)
        z.append(significances)
    try:
        own = PatternToys(Selections(tuple(bins), tuple(fits)), middle[toys.cell[rows]], n_passed) if fits else None
    except FitError:
        own = None
    if own is None:
        return np.nan
    outcome = analyse(own, n_toys, {}, rng)
    looked_at = [each for window, of in enumerate(z) for cut, each in enumerate(of) if outcome.reliable[window, cut]]
    return outcome.global_p(max(looked_at))[0] if looked_at else np.nan


def main() -> None:
    """Draw, fit, test, print and store."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument(
        "--search_dir", type=Path, required=True, metavar="DIR", help="a finished search, best one without signal"
    )
    parser.add_argument("--toys", type=int, nargs=2, default=[1000, 300], help="for one window, and for all")
    parser.add_argument(
        "--global_toys", type=int, nargs=3, default=[1000, 300, 49], help="for one window, for all, and of each of these"
    )
    parser.add_argument("--processes", type=int, default=-1, metavar="N", help="for the global p-values; -1 is one per core")
    parser.add_argument(
        "--nature", choices=("chosen", "richest"), default="chosen", help="fits that the background follows: the chosen ones, or those "
        "with the most parameters, from which a search draws its toys",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    windows, searched, m = read(options.search_dir)
    rows: list[tuple[str, ...]] = [("windows", "p-value", "toys", "failed", "KS p", "below 0.01 (p)", "mean and width of z", "s")]
    results: dict[str, Any] = {}
    for number, (name, some) in enumerate({"one": slice(1), "all": slice(None)}.items()):
        fits = [each.fits if options.nature == "chosen" else each.richest_fits() for each in searched[some]]
        toys = background_toys(windows[some], fits, m)
        begin, rng = time.monotonic(), np.random.default_rng([options.seed, number])
        found = analyse(toys, options.toys[number], {}, rng)
        seconds = time.monotonic() - begin
        tests = {f"{each.bins.window.center:.4g}, {cut:g}": uniform(found.p[:, w, e])
                 for w, each in enumerate(searched[some]) for e, cut in enumerate(each.fits)}  # fmt: skip
        begin, one = time.monotonic(), delayed(of_its_own)
        spawned = tqdm(rng.spawn(options.global_toys[number]), desc=f"global p, {name}", unit="toy")
        p = np.array(Parallel(n_jobs=options.processes)(one(toys, options.global_toys[2], each) for each in spawned))
        tests["global"] = uniform(p - rng.uniform(size=len(p)) / (options.global_toys[2] + 1))
        tests["global"] |= {
            "above_all": int((p * (options.global_toys[2] + 1) < 1.5).sum()),
            "toys_of_its_own": options.global_toys[2],
        }
        results[name] = {"tests": tests, "seconds": seconds, "seconds_global": time.monotonic() - begin}
        for what, test in tests.items():
            took = results[name]["seconds_global"] if what == "global" else seconds
            tail, z = f"{test['below_0.01']:.4f} ({test['tail_p']:.2f})", f"{test['mean_z']:+.3f}, {test['std_z']:.3f}"
            if "above_all" in test:
                z += f"; {test['above_all']} above all {test['toys_of_its_own']} of their own"
            rows.append((name, what, f"{test['toys']}", f"{test['failed']}", f"{test['ks']:.3f}", tail, z, f"{took:.0f}"))
            sys.stderr.write(f"{rows[-1]}\n")
    measuring.write("calibration", {"runs": results}, rows)


if __name__ == "__main__":
    main()
