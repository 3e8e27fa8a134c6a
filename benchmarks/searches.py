"""The search on events with and without signal: local significance by window and efficiency, global p-values; LaCATHODE's memory.

    python benchmarks/searches.py --features_file pythia_dijets.features.h5 --extra_bkg_file extra_inneronly.features.h5

Stage 1 injects signal at 3.5 TeV, run_bump_hunt.py scans six windows from 3.2 to 5.0 TeV, without labels. The density estimators are
trained once for every window and fold, in 10 epochs, and shared. If a flow of LaCATHODE remembers the events that it has learned from,
cuts select another share of them than of those of the fold that it is for (compared in bins of the mass).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import measuring
import numpy as np
from calibration import read

from background.arrays import SCALER_FILE, fold_folder
from background.densities import checked_density
from background.lacathode import to_latent
from background.options import ArraysOptions
from common.files import load_json
from events.folds import learned_from
from events.regions import EventSource
from models.registry import CLASSIFIERS
from models.scalers import scaler_from_dict
from search.fit import FitError, SpectrumFitter
from workflow.classifiers import NAME

SCAN = ("--scan_min", 3.2, "--scan_max", 5.0, "--n_windows", 6, "--n_toys", 300)
SAMPLES = ("--mode", "CATHODE", "--DE_epochs", 10, "--cf_n_samples", 200_000, "--cf_realistic_conditional", "--cf_oversampling",
           "--cf_no_logit")  # fmt: skip
TREES = ("--cf_model", "hgb", "--cf_n_runs", 1, "--cf_n_ensemble", 20)
NETWORKS = ("--cf_n_runs", 1, "--cf_n_ensemble", 2, "--cf_epochs", 15)
SYSTEMATIC = ("--systematic", 0, 0.02, 0.06, 0.25)
RUNS = {
    "CATHODE, trees": (*SAMPLES, *TREES),
    "CWoLa, trees": ("--mode", "CWoLa", "--cf_oversampling", "--cf_no_logit", *TREES),
    "LaCATHODE, trees": ("--mode", "LaCATHODE", "--cf_use_class_weights", "--cf_save_model", *TREES, *SYSTEMATIC),
    "CATHODE, networks": (*SAMPLES, *NETWORKS),
}
N_BINS = 20
KEPT = ("efficiency", "observed", "expected", "error", "fit_error", "p0", "z")


def prepare(options: Any, s_over_b: float) -> Path:
    """The folder of separated events."""
    from run_data_preparation_LHCORD import Options, stage
    from workflow.stage import run_stage

    folder = Path(options.work_dir) / f"separated_{s_over_b:g}_{options.seed}"
    if not (folder / "mjj_spectrum.png").exists():
        extra, features = Path(options.extra_bkg_file), Path(options.features_file)
        run_stage(
            stage(Options(features_file=features, extra_bkg_file=extra, outdir=folder, seed=options.seed, S_over_B=s_over_b)),
            resume=False,
        )
    return folder


def memory(window: Path, flows: Path) -> dict[str, Any]:
    """Whether what scores fold 0 selects the sideband events that its flow has learned from as often as those of fold 0.

    For every efficiency the two shares, and χ² of their difference in bins of the mass with its degrees of freedom.
    """
    options = ArraysOptions(data_dir=window / "separated_data", savedir=window, DE_dir=flows, mode="LaCATHODE").with_folds()
    source, place = EventSource(options), fold_folder(window, 0)
    flow = checked_density(options, source, fold=0).versions(1)[0]
    scaler, classifier = scaler_from_dict(load_json(place / SCALER_FILE)), CLASSIFIERS.load(place, NAME)
    data, fold = source.all_data()[0], np.load(window / "folds.npy")["fold"]
    outside, learned = ~source.window.contains(data.m), learned_from(0, options.k_folds)[0]

    def scored(folds: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Masses and scores of sideband events."""
        events = to_latent(flow, data[outside & np.isin(fold, folds)])
        events = events[np.isfinite(events.x).all(axis=1)]
        return events.m, classifier.predict_runs(scaler.transform(events.x)).mean(axis=0)

    both, held_out = (scored(learned), scored([0])), np.load(place / "preds_matris_held_out.npy").mean(axis=(0, 1))
    edges = np.quantile(both[0][0], np.linspace(0, 1, N_BINS + 1))
    all_of = np.array([np.histogram(m, edges)[0] for m, _ in both])
    found = {}
    for cut in (0.1, 0.01, 0.001):
        threshold = np.nanquantile(held_out, 1 - cut)
        of = np.array([np.histogram(m[score >= threshold], edges)[0] for m, score in both])
        share = of / np.maximum(all_of, 1)
        pooled = of.sum(axis=0) / np.maximum(all_of.sum(axis=0), 1)
        variance = pooled * (1 - pooled) * (1 / np.maximum(all_of, 1)).sum(axis=0)
        known = of.sum(axis=0) >= 10
        chi2 = float((np.diff(share, axis=0)[0, known] ** 2 / variance[known]).sum())
        found[f"{cut:g}"] = {"trained": float(of[0].sum() / all_of[0].sum()), "untrained": float(of[1].sum() / all_of[1].sum()),
                             "chi2": chi2, "ndf": int(known.sum())}  # fmt: skip
    return found


def of_background(separated: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """What is there by truth: by window and efficiency the local significance of the true background alone, without a systematic error,
    and the signal events that pass in the window.
    """
    label = np.load(separated / "data.npy", mmap_mode="r")[:, -1]
    found: dict[str, dict[str, Any]] = {}
    windows, results, m = read(folder)
    for scored, searched in zip(windows, results, strict=True):
        fitter, window = SpectrumFitter(scored.bins), scored.bins.window
        for cut in searched.fits:
            passing = scored.passing(cut)
            counts = scored.bins.counts(m[passing & (label == 0)])
            try:
                z = fitter.choose(counts, None).counted(counts, 0.0).z
            except FitError:
                z = None
            signal = int((passing & (label == 1) & window.contains(m)).sum())
            found.setdefault(f"{window.center:.4g}", {})[f"{cut:g}"] = {"z": z, "signal": signal}
    return found


def kept(found: dict[str, Any]) -> dict[str, Any]:
    """What of a search is stored here."""
    windows = [
        {
            "window": each["window"],
            "fit_range": each["fit_range"],
            "efficiencies": [{name: cut[name] for name in KEPT} for cut in each["efficiencies"]],
        }
        for each in found["windows"]
    ]
    return {"global": found["global"], "windows": windows}


def runs(options: Any, s_over_b: float) -> Iterator[tuple[str, float, dict[str, Any]]]:
    """Every search of these events: its name, how long it took, and what came out."""
    separated = prepare(options, s_over_b)
    work = Path(options.work_dir) / f"search_{s_over_b:g}_{options.seed}"
    flows = work / "CATHODE_trees"
    for name in options.runs:
        out, flags = work / name.replace(", ", "_"), list(RUNS[name])
        if out != flows and "CWoLa" not in name:
            flags += ["--DE_dir", flows]
        begin = time.monotonic()
        measuring.script(
            "run_bump_hunt.py", "--data_dir", separated, "--save_dir", out, "--seed", options.seed, "--resume", *SCAN, *flags
        )
        seconds = time.monotonic() - begin
        found = kept(load_json(out / "bump_hunt.json"))
        found["true_background"] = of_background(separated, out)
        if name.startswith("LaCATHODE"):
            found["memory"] = {each.name: memory(each, flows / each.name) for each in sorted(out.glob("window_*"))}
        yield name, seconds, found


def row(name: str, found: dict[str, Any], numbers: Sequence[int], further: Sequence[str]) -> tuple[str, ...]:
    """A line of the table: for every window the local significances at some of the efficiencies."""

    def shown(z: float | None) -> str:
        return "no fit" if z is None else f"{z:+.1f}".replace("-", "−")

    cells = [", ".join(shown(window["efficiencies"][number]["z"]) for number in numbers) for window in found["windows"]]
    return (name, *cells, *further)


def main() -> None:
    """Search, print and store what came out."""
    parser = measuring.parser(__doc__)
    parser.add_argument("--s_over_b", type=float, nargs="+", default=[0.006, 0.003, 0.0])
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS))
    options = parser.parse_args()
    results: dict[str, Any] = {}
    rows: list[tuple[str, ...]] = []
    for s_over_b in options.s_over_b:
        for name, seconds, found in runs(options, s_over_b):
            if not rows:
                rows.append(
                    ("S/B, search", *(f"{each['window']['center']:.2f} TeV" for each in found["windows"]), "global p", "s")
                )
            if name == options.runs[0]:
                rows.append(row(f"{100 * s_over_b:g} %, all events", found, [0], ["", ""]))
            best = found["global"]
            p = "none" if best is None else f"< {best['p_limit_95']:.2g}" if best["p_is_bound"] else f"{best['p']:.2g}"
            rows.append(row(name, found, range(1, len(found["windows"][0]["efficiencies"])), [p, f"{seconds:.0f}"]))
            results.setdefault(f"{s_over_b:g}", {})[name] = found
            sys.stderr.write(f"{rows[-1]}\n")
    measuring.write("searches" if options.seed == 1 else f"searches_seed_{options.seed}", {"runs": results}, rows)


if __name__ == "__main__":
    main()
