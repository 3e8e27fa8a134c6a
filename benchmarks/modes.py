"""All modes, with the commands of `run_all.py --help`, beside another checkout: max SIC and SIC at fixed ε_B, with errors.

    python benchmarks/modes.py --features_file pythia_dijets.features.h5 --extra_bkg_file pythia_dijets_extra_inneronly.features.h5 \\
        --other ../commit_before/

Both checkouts get the same separated events. Trainings run two at a time, in one thread each: seconds are processor time. Prints means
over the seeds, adds to modes.json beside this script (`--name` for another file); what is there is not done again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import measuring
import numpy as np

COMMON = ["--cf_separate_val_set", "--no_extra_signal", "--cf_save_model", "--cf_no_logit"]
BALANCED = ["--cf_oversampling", "--cf_use_class_weights"]
MODES = {
    "CATHODE": [*COMMON, *BALANCED, "--cf_realistic_conditional"],
    "LaCATHODE": ["--cf_separate_val_set", "--no_extra_signal", "--cf_save_model", "--cf_use_class_weights"],
    "ANODE": ["--no_extra_signal"],
    "CWoLa": [*COMMON, *BALANCED],
    "idealized_AD": [*COMMON, *BALANCED],
    "supervised": [*COMMON, "--cf_oversampling"],
}
SCORES = """
import sys
import numpy as np
from evaluation_utils import load_test_scores
scores, labels = load_test_scores(sys.argv[1], sys.argv[1])
np.savez(sys.argv[2], scores=scores, labels=labels)
"""  # by the checkout that made them


def judge(checkout: Path, folder: Path) -> dict[str, Any]:
    """The figures of merit of a finished run, all by the code of this checkout."""
    from evaluation.errors import figures_of_merit

    path = folder / "scores.npz"
    subprocess.run([sys.executable, "-c", SCORES, folder, path], cwd=checkout, check=True, capture_output=True)
    with np.load(path) as content:
        scores, labels = content["scores"], content["labels"]
    return figures_of_merit(scores, labels).summary() | {"background": int((labels == 0).sum())}


def _mean(measured: list[dict[str, float]]) -> str:
    """Mean over the seeds, and the mean statistical error of one of them."""
    return f"{np.mean([one['value'] for one in measured]):.2f} ± {np.mean([one['error'] for one in measured]):.2f}"


def main() -> None:
    """Run, judge, compare."""
    parser = measuring.parser(__doc__)
    parser.add_argument("--other", type=Path, metavar="DIR", help="another checkout to compare with")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], metavar="N")
    parser.add_argument("--S_over_B", type=float, default=0.006, metavar="X")
    parser.add_argument("--n_samples", type=int, default=400_000, metavar="N", help="background samples of CATHODE")
    parser.add_argument("--name", default="modes", help="of the JSON file")
    args = parser.parse_args()
    work, target = Path(args.work_dir).resolve() / args.name, measuring.HERE / f"{args.name}.json"
    results = json.loads(target.read_text())["results"] if target.exists() else {}
    codes = {"here": measuring.ROOT} | ({"other": args.other.resolve()} if args.other else {})
    files = [Path(file).resolve() if file != "none" else file for file in (args.features_file, args.extra_bkg_file)]
    for seed in args.seeds:
        if not (work / f"data_{seed}/STAGE.json").exists():
            command = ["--features_file", files[0], "--extra_bkg_file", files[1], "--outdir", work / f"data_{seed}"]
            command += ["--S_over_B", args.S_over_B, "--seed", seed]
            command = [sys.executable, "run_data_preparation_LHCORD.py", *map(str, command)]
            subprocess.run(command, cwd=measuring.ROOT, check=True, capture_output=True)
    extra = ["--cf_extra_bkg"] if args.extra_bkg_file != "none" else []

    def all_modes(name: str) -> None:
        for seed, (mode, flags) in product(args.seeds, MODES.items()):
            if (key := f"{name} {mode} {seed}") in results:
                continue
            folder = work / key.replace(" ", "_")
            flags = [*flags, *(extra if mode in ("idealized_AD", "supervised") else [])]
            flags += ["--cf_n_samples", args.n_samples] if mode == "CATHODE" else []
            if mode == "LaCATHODE":
                flags += ["--DE_dir", work / f"{name}_CATHODE_{seed}", "--DE_skip"]
            flags += ["--threads", 1] if name == "here" else []
            flags += ["--mode", mode, "--data_dir", work / f"data_{seed}", "--save_dir", folder, "--seed", seed]
            seconds = measuring.run_all(codes[name], *flags)
            results[key] = judge(codes[name], folder) | {"seconds": seconds}
            sys.stderr.write(f"{key}: {results[key]}\n")
            target.write_text(json.dumps({"results": results}, indent=1) + "\n")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(all_modes, codes))
    figures = ("max_sic", "sic_at_0.01", "sic_at_0.001")
    rows: list[tuple[str, ...]] = [("mode", "code", "max SIC", "SIC at 1e-2", "SIC at 1e-3", "test background", "CPU s")]
    for mode in MODES:
        for name in codes:
            found = [results[f"{name} {mode} {seed}"] for seed in args.seeds]
            measured = (_mean([one[f] for one in found]) if f in found[0] else "" for f in figures)
            rows.append((mode, name, *measured, str(found[0]["background"]), f"{np.mean([one['seconds'] for one in found]):.0f}"))
    measuring.write(args.name, {"results": results}, rows)


if __name__ == "__main__":
    main()
