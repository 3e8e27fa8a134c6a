"""The README's CATHODE command in a wide and in a narrow mass window, for several S/B and seeds: how good, and how sure to be good.

    python benchmarks/windows.py --features_file pythia_dijets.features.h5 --extra_bkg_file pythia_dijets_extra_inneronly.features.h5 \\
        --seeds 11 12 13 14 15 --other ../commit_before/

`wide` is the paper's window with all of the sideband; `narrow` has only 3.1 < m_JJ < 3.9 TeV, a signal region from 3.4 to 3.6 TeV and at
most 100 000 sideband events to train on; `as_is` is the paper's window where there is no file of extra background. With --other, the same
separated events go through another checkout (same commands, one thread), whose results are compared seed by seed. Trainings run two at a
time, in one thread each: seconds are processor time. Prints a table, adds to windows.json beside this script; what is there is not done
again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import measuring
import numpy as np

WINDOWS = {"wide": (3.3, 3.7), "narrow": (3.4, 3.6), "as_is": (3.3, 3.7)}
MASSES, LARGEST = (3.1, 3.9), {"outerdata_train": 100_000, "outerdata_test": 50_000}  # of the narrow one
CATHODE = ["--cf_separate_val_set", "--no_extra_signal", "--cf_realistic_conditional", "--cf_oversampling", "--cf_no_logit",
           "--cf_use_class_weights", "--cf_save_model"]  # fmt: skip
FIGURES = {"auc": "{:.4f}", "median": "{:.1f}", "lowest": "{:.1f}", "highest": "{:.1f}", "averaged": "{:.1f}", "sic_3": "{:.1f}",
           "sic_2": "{:.2f}", "averaged_3": "{:.1f}", "averaged_2": "{:.2f}", "seconds": "{:.0f}"}  # fmt: skip


def separate(folder: Path, files: Sequence[str], window: str, s_over_b: float, seed: int) -> Path:
    """Stage 1, and for the narrow window a thinner sideband."""
    if not (folder / "done").exists():
        low, high = WINDOWS[window]
        command = ["--features_file", files[0], "--extra_bkg_file", files[1], "--outdir", folder, "--seed", seed, "--S_over_B", s_over_b,
                   "--SR_min", low, "--SR_max", high]  # fmt: skip
        subprocess.run([sys.executable, "run_data_preparation_LHCORD.py", *map(str, command)], cwd=measuring.ROOT, check=True,
                       capture_output=True)  # fmt: skip
        for name, n in LARGEST.items() if window == "narrow" else ():
            events = np.load(folder / f"{name}.npy")
            np.save(folder / f"{name}.npy", events[(events[:, 0] > MASSES[0]) & (events[:, 0] < MASSES[1])][:n])
        (folder / "done").touch()
    return folder


def run_cathode(checkout: Path, data: Path, folder: Path, window: str, seed: int, further: Sequence[str]) -> float:
    """The whole command; its processor time (s)."""
    low, high = WINDOWS[window]
    n_samples = 400_000 if window != "as_is" else 60_000
    return measuring.run_all(checkout, "--mode", "CATHODE", "--data_dir", data, "--save_dir", folder, "--seed", seed, "--cf_SR_min", low,
                             "--cf_SR_max", high, "--cf_n_samples", n_samples, *CATHODE, *further)  # fmt: skip


def sics(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float, float]:
    """Max SIC (20 % rule), SIC at ε_B = 1e-3 and 1e-2."""
    from evaluation.curves import exact_curves, max_sic

    (tpr,), (fpr,), _ = exact_curves(scores, labels)
    return max_sic(tpr, fpr, int((labels == 0).sum())).value, *(float(np.interp(e, fpr, tpr) / np.sqrt(e)) for e in (1e-3, 1e-2))


def judge(folder: Path) -> dict[str, float]:
    """What came out of a run: the two-sample AUC of samples against test background, and the SIC of ten runs and of their mean score."""
    from evaluation.closure import two_sample_auc

    train, validation, test = (np.load(folder / f"X_{name}.npy") for name in ("train", "validation", "test"))
    samples = np.concatenate([part[part[:, -2] == 0, 1:-2] for part in (train, validation)])
    rng, labels = np.random.default_rng(0), test[:, -1]
    truth = test[labels == 0, 1:-2]
    auc, error = two_sample_auc(rng.permutation(samples)[: len(truth)], rng.permutation(truth), rng)
    scores = np.load(folder / "preds_matris.npy")[:, 0]
    runs, averaged = np.array([sics(run, labels) for run in scores]), sics(scores.mean(axis=0), labels)
    best = runs[:, 0]
    figures = {"auc": auc, "auc_error": error, "median": np.median(best), "lowest": best.min(), "highest": best.max(),
               "averaged": averaged[0], "sic_3": np.median(runs[:, 1]), "sic_2": np.median(runs[:, 2]), "averaged_3": averaged[1],
               "averaged_2": averaged[2]}  # fmt: skip
    return {name: float(value) for name, value in figures.items()} | {"background": int((labels == 0).sum())}


def table(
    results: dict[str, dict[str, float]], names: Sequence[str], cases: Sequence[tuple[str, float]], seeds: Sequence[int]
) -> Iterator[tuple]:
    """Means over the seeds, and ratios of the medians, seed by seed."""
    yield "", "S/B", "code", *FIGURES, "ratio of medians", "lowest / median"
    for window, s_over_b in cases:
        rows = {name: [results[f"{name} {window} {s_over_b:g} {seed}"] for seed in seeds] for name in names}
        for name, row in rows.items():
            ratios = [a["median"] / b["median"] for a, b in zip(rows[names[0]], row, strict=True)]
            means = (form.format(np.mean([r[figure] for r in row])) for figure, form in FIGURES.items())
            lowest = min(r["lowest"] / r["median"] for r in row)
            ratio = "" if name == names[0] else f"{np.mean(ratios):.2f} ({', '.join(f'{r:.2f}' for r in ratios)})"
            yield window, f"{100 * s_over_b:g} %", name, *means, ratio, f"{lowest:.2f}"


def main() -> None:
    """Separate, train, judge, compare."""
    parser = measuring.parser(__doc__)
    parser.add_argument("--windows", nargs="+", choices=WINDOWS, default=["wide", "narrow"])
    parser.add_argument("--S_over_B", nargs="+", type=float, default=[0.006, 0.003], metavar="X")
    parser.add_argument("--seeds", nargs="+", type=int, default=[11, 12, 13, 14, 15], metavar="N")
    parser.add_argument("--other", type=Path, metavar="DIR", help="another checkout to compare with")
    parser.add_argument("--name", default="windows", help="of the JSON file")
    parser.add_argument("further", nargs="*", help="further flags of run_all.py, after --")
    args = parser.parse_args()
    work, target = Path(args.work_dir).resolve(), measuring.HERE / f"{args.name}.json"
    results = json.loads(target.read_text())["results"] if target.exists() else {}
    files = [str(Path(path).resolve()) if path != "none" else path for path in (args.features_file, args.extra_bkg_file)]
    codes = {"here": measuring.ROOT} | ({"other": args.other.resolve()} if args.other else {})
    cases = list(product(args.windows, args.S_over_B))

    def one(case: tuple[str, tuple[str, float], int]) -> None:
        name, (window, s_over_b), seed = case
        key = f"{name} {window} {s_over_b:g} {seed}"
        if key not in results:
            data = work / f"data_{window}_{s_over_b:g}_{seed}"
            folder = work / args.name / key.replace(" ", "_")
            further = ["--threads", "1", *args.further] if name == "here" else []
            seconds = run_cathode(codes[name], data, folder, window, seed, further)
            results[key] = judge(folder) | {"seconds": seconds}
            sys.stderr.write(f"{key}: {results[key]}\n")
            target.write_text(json.dumps({"results": results}, indent=1) + "\n")

    for (window, s_over_b), seed in product(cases, args.seeds):
        separate(work / f"data_{window}_{s_over_b:g}_{seed}", files, window, s_over_b, seed)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, [(name, case, seed) for case in cases for seed in args.seeds for name in codes]))
    measuring.write(args.name, {"results": results}, list(table(results, list(codes), cases, args.seeds)))


if __name__ == "__main__":
    main()
