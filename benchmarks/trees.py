"""Networks and boosted trees side by side: with noise features, with other feature sets, on the same events and the same samples.

    python benchmarks/trees.py --features_file pythia_dijets.features.h5 --extra_bkg_file pythia_dijets_extra_inneronly.features.h5 \\
        --seeds 11 12 13
    python benchmarks/trees.py ... --seeds 11 --S_over_B 0.003 --name trees_0.003
    python benchmarks/trees.py ... --seeds 11 --cases CATHODE:deltaR LaCATHODE:deltaR CATHODE:tau32 LaCATHODE:tau32 --name features

A case is MODE:FEATURES:NOISE, noise features being 0 where nothing is said. The trees score what the networks score: the second run takes
the density estimator of the first. Two runs at a time, in one thread each; the seconds are those of stage 4, scores included. Prints
means over the seeds, adds to trees.json beside this script; what is there is not done again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any

import measuring
import numpy as np

CASES = (
    "idealized_AD:baseline:0",
    "idealized_AD:baseline:10",
    "idealized_AD:baseline:50",
    "CATHODE:baseline:0",
    "CATHODE:baseline:10",
)
COMMON = ["--cf_separate_val_set", "--no_extra_signal", "--cf_save_model", "--cf_use_class_weights"]
MODES = {
    "CATHODE": ["--cf_no_logit", "--cf_oversampling", "--cf_realistic_conditional", "--cf_n_samples", "400000"],
    "LaCATHODE": [],
    "idealized_AD": ["--cf_no_logit", "--cf_oversampling", "--cf_extra_bkg"],
}
FIGURES = {"max_sic": "{:.1f}", "sic_at_0.01": "{:.2f}", "sic_at_0.001": "{:.1f}"}


def separate(work: Path, files: Sequence[str], case: str, s_over_b: float, seed: int) -> Path:
    """Stage 1."""
    _, features, noise = case.split(":")
    folder = work / f"data_{features}_{noise}_{s_over_b:g}_{seed}"
    if not (folder / "STAGE.json").exists():
        command = ["--features_file", files[0], "--extra_bkg_file", files[1], "--outdir", folder, "--seed", seed, "--S_over_B", s_over_b,
                   "--features", features, "--noise_features", noise]  # fmt: skip
        subprocess.run([sys.executable, "run_data_preparation_LHCORD.py", *map(str, command)], cwd=measuring.ROOT, check=True,
                       capture_output=True)  # fmt: skip
    return folder


def run(work: Path, data: Path, case: str, s_over_b: float, seed: int, model: str, first: Path | None) -> Path:
    """One run; with the density estimator of another one, if that is named."""
    mode, *_ = case.split(":")
    folder = work / f"{case.replace(':', '_')}_{s_over_b:g}_{seed}_{model}"
    borrowed = ["--DE_dir", first] if first is not None and mode != "idealized_AD" else []
    flags = ["--mode", mode, "--data_dir", data, "--save_dir", folder, "--seed", seed, "--threads", 1, "--cf_model", model]
    measuring.run_all(measuring.ROOT, *flags, *COMMON, *MODES[mode], *borrowed)
    return folder


def judge(folder: Path) -> dict[str, Any]:
    """Figures of merit with their errors, sculpting, the two-sample AUC where there are samples, seconds of stage 4."""
    from evaluation.closure import two_sample_auc
    from evaluation.errors import figures_of_merit
    from workflow.evaluation import load_test_scores

    scores, labels = load_test_scores(folder, folder)
    record = json.loads((folder / "STAGE.json").read_text())["classifiers"]
    begin, end = (datetime.fromisoformat(record[name]) for name in ("start", "end"))
    result = figures_of_merit(scores, labels).summary() | {"seconds": (end - begin).total_seconds()}
    result["averaged"] = figures_of_merit(scores.mean(axis=0), labels, n_bootstrap=2).max_sic.value
    result["lowest"] = min(figures_of_merit(run, labels, n_bootstrap=2).max_sic.value for run in scores)
    cuts = json.loads((folder / "sculpting.json").read_text())["cuts"]
    result["chi2"] = {f"{cut['share_kept']:g}": cut["chi2_per_ndf"] for cut in cuts}
    if "CATHODE" in folder.name:
        train, validation, test = (np.load(folder / f"X_{name}.npy") for name in ("train", "validation", "test"))
        samples, rng = np.concatenate([part[part[:, -2] == 0, 1:-2] for part in (train, validation)]), np.random.default_rng(0)
        truth = test[test[:, -1] == 0, 1:-2]
        result["auc"], result["auc_error"] = two_sample_auc(rng.permutation(samples)[: len(truth)], rng.permutation(truth), rng)
    return result


def table(
    results: dict[str, dict[str, Any]], cases: Sequence[str], s_over_b: float, seeds: Sequence[int]
) -> Iterator[tuple[str, ...]]:
    """Means over the seeds; the error is that of one test set, which all seeds share in part."""
    yield (
        "mode",
        "features",
        "noise",
        "classifier",
        "max SIC",
        "SIC at 1e-2",
        "SIC at 1e-3",
        "averaged",
        "lowest",
        "AUC",
        "χ²/ndf, 1 %",
        "s",
    )
    for case, model in product(cases, ("nn", "hgb")):
        rows = [results[f"{case} {s_over_b:g} {seed} {model}"] for seed in seeds]
        measured = [
            f"{form.format(np.mean([row[name]['value'] for row in rows]))} ± {np.mean([row[name]['error'] for row in rows]):.2f}"
            for name, form in FIGURES.items()
        ]
        further = [f"{np.mean([row[name] for row in rows]):.1f}" for name in ("averaged", "lowest")]
        auc = f"{np.mean([row['auc'] for row in rows]):.4f}" if "auc" in rows[0] else ""
        chi2, seconds = (
            np.mean([value(row) for row in rows]) for value in (lambda row: row["chi2"]["0.01"], lambda row: row["seconds"])
        )
        yield *case.split(":"), model, *measured, *further, auc, f"{chi2:.1f}", f"{seconds:.0f}"


def main() -> None:
    """Separate, train, judge, compare."""
    parser = measuring.parser(__doc__)
    parser.add_argument("--cases", nargs="+", default=CASES, metavar="CASE")
    parser.add_argument("--S_over_B", type=float, default=0.006, metavar="X")
    parser.add_argument("--seeds", nargs="+", type=int, default=[11, 12, 13], metavar="N")
    parser.add_argument("--name", default="trees", help="of the JSON file")
    args = parser.parse_args()
    work, target = Path(args.work_dir).resolve() / "trees", measuring.HERE / f"{args.name}.json"
    results = json.loads(target.read_text())["results"] if target.exists() else {}
    files = [str(Path(path).resolve()) for path in (args.features_file, args.extra_bkg_file)]
    cases = [":".join([*case.split(":"), "0"][:3]) for case in args.cases]

    def one(case_and_seed: tuple[str, int]) -> None:
        case, seed = case_and_seed
        data, first = work / "_".join(["data", *case.split(":")[1:], f"{args.S_over_B:g}", str(seed)]), None
        for model in ("nn", "hgb"):
            key = f"{case} {args.S_over_B:g} {seed} {model}"
            if key not in results:
                folder = run(work, data, case, args.S_over_B, seed, model, first)
                results[key] = judge(folder)
                sys.stderr.write(f"{key}: {results[key]}\n")
                target.write_text(json.dumps({"results": results}, indent=1) + "\n")
            first = work / f"{case.replace(':', '_')}_{args.S_over_B:g}_{seed}_nn"

    for case, seed in product(cases, args.seeds):
        separate(work, files, case, args.S_over_B, seed)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, product(cases, args.seeds)))
    measuring.write(args.name, {"results": results}, list(table(results, cases, args.S_over_B, args.seeds)))


if __name__ == "__main__":
    main()
