"""The README's CATHODE command, stage by stage, for 10 %, 30 % and 100 % of the events: seconds and peak memory.

    python benchmarks/pipeline.py --features_file pythia_dijets.features.h5 --extra_bkg_file pythia_dijets_extra_inneronly.features.h5

Every stage is a process of its own. Prints a table and writes pipeline.json beside this script.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import common
import h5py
import numpy as np

FLAGS = ["--cf_separate_val_set", "--no_extra_signal", "--cf_realistic_conditional", "--cf_oversampling", "--cf_no_logit",
         "--cf_use_class_weights", "--cf_save_model"]  # fmt: skip
N_SAMPLES = 400_000


def cut(source: str, target: Path, share: float) -> None:
    """Copy a random share of the events of a file in pandas' fixed format."""
    with h5py.File(source) as old, h5py.File(target, "w") as new:
        n = len(old["df/axis1"])
        rows = np.sort(np.random.default_rng(0).permutation(n)[: round(share * n)])
        frame = new.create_group("df")
        frame.attrs["nblocks"] = old["df"].attrs["nblocks"]
        for name, dataset in old["df"].items():
            values = dataset[:]
            frame[name] = values[rows] if len(values) == n else values


def measure(command: list[str]) -> dict[str, float]:
    """Seconds and peak memory (MB) of one process."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], cwd=common.ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(command)} failed")
    return {"seconds": time.perf_counter() - start, "peak_MB": usage.ru_maxrss / 1e3}


def main() -> None:
    """Run the stages for every size."""
    parser = common.parser(__doc__)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.1, 0.3, 1.0], metavar="X", help="shares of the events")
    args = parser.parse_args()
    results, max_sic = {}, {}
    for share in args.shares:
        folder = (Path(args.work_dir) / f"share_{share:g}").resolve()
        folder.mkdir(parents=True, exist_ok=True)
        files = [str(Path(path).resolve()) for path in (args.features_file, args.extra_bkg_file)]
        if share < 1:
            for i, path in enumerate(files):
                files[i] = str(folder / f"events_{i}.h5")
                cut(path, Path(files[i]), share)
        base = ["run_all.py", "--data_dir", str(folder / "data"), "--save_dir", str(folder / "results"), "--seed", str(args.seed), *FLAGS,
                "--cf_n_samples", str(round(share * N_SAMPLES))]  # fmt: skip
        from evaluation_utils import full_single_evaluation

        results[share] = {
            "1: separate": measure(["run_data_preparation_LHCORD.py", "--features_file", files[0], "--extra_bkg_file", files[1],
                                    "--outdir", str(folder / "data")]),
            "2: density estimator": measure(["run_ANODE_training.py", "--data_dir", str(folder / "data"), "--savedir",
                                             str(folder / "results"), "--seed", str(args.seed)]),
            "3: samples and arrays": measure([*base, "--DE_skip", "--cf_epochs", "1", "--cf_n_runs", "1"]),
            "4: classifiers, evaluation": measure([*base, "--cf_skip_create"]),
        }  # fmt: skip
        best = full_single_evaluation(folder / "results", folder / "results", return_all=True).max_sic
        max_sic[share] = best.value
    stages = list(results[args.shares[0]])
    rows = [("stage", *(f"{100 * share:g} %: s" for share in args.shares), *(f"{100 * share:g} %: MB" for share in args.shares))]
    for stage in stages:
        cells = [[f"{results[share][stage][key]:.3g}" for share in args.shares] for key in ("seconds", "peak_MB")]
        rows.append((stage, *cells[0], *cells[1]))
    rows.append(("all", *(f"{sum(v['seconds'] for v in results[share].values()):.3g}" for share in args.shares),
                 *(f"{max(v['peak_MB'] for v in results[share].values()):.3g}" for share in args.shares)))  # fmt: skip
    rows.append(("max SIC", *(f"{max_sic[share]:.1f}" for share in args.shares), *("" for _ in args.shares)))
    common.write(
        "pipeline", {"stages": {str(k): v for k, v in results.items()}, "max_sic": {str(k): v for k, v in max_sic.items()}}, rows
    )


if __name__ == "__main__":
    main()
