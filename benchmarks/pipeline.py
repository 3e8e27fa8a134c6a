"""The README's CATHODE command, stage by stage, for 10 %, 30 % and 100 % of the events: seconds, peak memory, inputs.

    python benchmarks/pipeline.py --features_file pythia_dijets.features.h5 --extra_bkg_file pythia_dijets_extra_inneronly.features.h5

Every stage is a process of its own; its memory is the peak above that of a process that only imports what the stage imports, its input
the arrays it reads, as they are on disk. The last row is a million events scored by ten classifiers. Prints a table, writes pipeline.json
beside this script.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import h5py
import measuring
import numpy as np

SPLIT = ["--separate_val_set", "--no_extra_signal"]
CREATION = [*SPLIT, "--realistic_conditional", "--oversampling", "--no_logit"]
TRAINING = [*SPLIT, "--use_class_weights", "--save_model"]
IMPORTS = "import torch, models.flow, models.classifier, background.lacathode, evaluation_utils, workflow.plan"
SCORING = """
import sys, time, numpy as np
from models.classifier import NeuralNetworkClassifier
classifier = NeuralNetworkClassifier.load_from(sys.argv[1], "my_classifier").set_params(n_scored_epochs=1)
X = np.random.default_rng(0).normal(size=(1_000_000, 4)).astype(np.float32)
start = time.perf_counter()
classifier.predict(X)
print(time.perf_counter() - start)
"""
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


def measure(command: list[str], inputs: Sequence[Path] = ()) -> dict[str, float]:
    """Seconds, peak memory and size of the inputs (MB) of one process."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], cwd=measuring.ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(command)} failed")
    size = sum(path.stat().st_size for path in inputs) / 1e6
    return {"seconds": time.perf_counter() - start, "peak_MB": usage.ru_maxrss / 1e3, "input_MB": size}


def run_stages(files: list[str], folder: Path, share: float, seed: int) -> dict[str, dict[str, float]]:
    """The four stages and the evaluation, one process each."""
    data, results = folder / "data", folder / "results"
    where = ["--data_dir", str(data), "--savedir", str(results), "--seed", str(seed)]
    stages = {
        "1: separate": measure(["run_data_preparation_LHCORD.py", "--features_file", files[0], "--extra_bkg_file", files[1], "--outdir",
                                str(data), "--seed", "1"], [Path(path) for path in files]),
        "2: density estimator": measure(["run_ANODE_training.py", *where, *SPLIT[:1]], sorted(data.glob("outerdata_*.npy"))),
        "3: samples and arrays": measure(["run_classifier_data_creation.py", *where, *CREATION, "--n_samples",
                                          str(round(share * N_SAMPLES))], sorted(data.glob("inner*.npy"))),
    }  # fmt: skip
    arrays = sorted(results.glob("X_*.npy"))
    where[1] = str(results)
    stages["4: classifiers"] = measure(["run_classifier_training.py", *where, *TRAINING], arrays)
    evaluation = ["run_all.py", "--data_dir", str(data), "--save_dir", str(results), "--cf_skip_train"]
    stages["evaluation"] = measure(evaluation, [results / "preds_matris.npy", results / "X_test.npy"])
    return stages


def main() -> None:
    """Run the stages for every size."""
    parser = measuring.parser(__doc__)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.1, 0.3, 1.0], metavar="X", help="shares of the events")
    args = parser.parse_args()
    from evaluation_utils import evaluate_run

    floor = measure(["-c", IMPORTS])["peak_MB"]
    results, max_sic = {}, {}
    for share in args.shares:
        folder = (Path(args.work_dir) / f"share_{share:g}_seed_{args.seed}").resolve()
        folder.mkdir(parents=True, exist_ok=True)
        files = [str(Path(path).resolve()) for path in (args.features_file, args.extra_bkg_file)]
        if share < 1:
            for i, path in enumerate(files):
                files[i] = str(folder / f"events_{i}.h5")
                cut(path, Path(files[i]), share)
        results[share] = run_stages(files, folder, share, args.seed)
        max_sic[share] = evaluate_run(folder / "results", folder / "results").max_sic.value
    scoring = float(subprocess.check_output([sys.executable, "-c", SCORING, str(folder / "results")], cwd=measuring.ROOT))
    rows = [("stage", *(f"{100 * share:g} %: s" for share in args.shares),
             *(f"{100 * share:g} %: MB above imports" for share in args.shares), "input at the last share: MB")]  # fmt: skip
    for stage, last in results[args.shares[-1]].items():
        seconds = [f"{results[share][stage]['seconds']:.3g}" for share in args.shares]
        memory = [f"{max(0.0, results[share][stage]['peak_MB'] - floor):.0f}" for share in args.shares]
        rows.append((stage, *seconds, *memory, f"{last['input_MB']:.0f}"))
    rows.append(("all", *(f"{sum(v['seconds'] for v in results[share].values()):.3g}" for share in args.shares),
                 *(f"{max(v['peak_MB'] for v in results[share].values()) - floor:.0f}" for share in args.shares), ""))  # fmt: skip
    empty = [""] * (len(args.shares) + 1)
    rows.append(("max SIC", *(f"{max_sic[share]:.1f}" for share in args.shares), *empty))
    rows.append(("scoring 10^6 events", *[""] * (len(args.shares) - 1), f"{scoring:.2g}", *empty))
    rows.append(("imports alone", *[""] * len(args.shares), *[f"{floor:.0f}"] * len(args.shares), ""))
    content = {"stages": {str(k): v for k, v in results.items()}, "max_sic": {str(k): v for k, v in max_sic.items()},
               "imports_MB": floor, "scoring_s": scoring, "seed": args.seed}  # fmt: skip
    measuring.write("pipeline" if args.seed == 1 else f"pipeline_seed_{args.seed}", content, rows)


if __name__ == "__main__":
    main()
