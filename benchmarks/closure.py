"""Does a closure test in the sideband rank density estimators as the truth does? Several settings of the flow, both two-sample AUCs.

    python benchmarks/closure.py --features_file pythia_dijets.features.h5 --extra_bkg_file pythia_dijets_extra_inneronly.features.h5

The label-free AUC is the weighted mean over four pseudo signal regions (`run_ANODE_training.py --closure 4`); the true one compares
samples at the masses of true (extra) SR background with this background. The narrow window of `windows.py`. Prints a table and the rank
correlation, writes closure.json and closure.png beside this script.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import measuring
import numpy as np
import yaml
from windows import WINDOWS, separate

SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "10 epochs": {"epochs": 10},
    "3 epochs": {"epochs": 3},
    "1 epoch": {"epochs": 1},
    "4 blocks": {"num_blocks": 4},
    "2 blocks": {"num_blocks": 2},
    "1 block": {"num_blocks": 1},
    "16 units": {"num_hidden": 16},
    "constant rate 1e-4, 10 epochs": {"epochs": 10, "schedule": "constant", "lr": 1e-4},
    "no average, constant rate 5e-3": {"schedule": "constant", "averaging": 0.0},
    "batch norm": {"normalization": "batch_norm"},
    "4 spline blocks": {"num_blocks": 4, "transform_type": "RQS"},
}
N_REGIONS = 4


def label_free(name: str, data: Path, folder: Path, seed: int) -> dict[str, Any]:
    """Train the flow with a setting, and test it in the sideband."""
    setting = dict(SETTINGS[name])
    epochs = setting.pop("epochs", None)
    configuration = folder / "flow.yml"
    default = yaml.safe_load((measuring.ROOT / "DE_MAF_model.yml").read_text())
    folder.mkdir(parents=True, exist_ok=True)
    configuration.write_text(yaml.safe_dump(default | setting))
    low, high = WINDOWS["narrow"]
    command = ["--data_dir", data, "--savedir", folder, "--seed", seed, "--closure", N_REGIONS, "--config_file", configuration,
               "--resume", "--SR_min", low, "--SR_max", high, *(["--epochs", epochs] if epochs else [])]  # fmt: skip
    subprocess.run(
        [sys.executable, "run_ANODE_training.py", *map(str, command)], cwd=measuring.ROOT, check=True, capture_output=True
    )
    return json.loads((folder / "my_ANODE_model_closure.json").read_text())


def true_auc(data: Path, folder: Path) -> tuple[float, float]:
    """Samples in the signal region against true background at the same masses."""
    from evaluation.closure import two_sample_auc
    from models.density import load_density

    names = ("innerdata_extrabkg_train", "innerdata_extrabkg_val", "innerdata_extrabkg_test")
    truth = np.concatenate([np.load(data / f"{name}.npy") for name in names]).astype(np.float64)
    rng = np.random.default_rng(0)
    truth = rng.permutation(truth)
    samples = load_density(folder).sample(truth[:, :1], rng)
    return two_sample_auc(samples, truth[:, 1:-1], rng)


def main() -> None:
    """All settings, one after another; their closure tests run side by side."""
    from scipy.stats import spearmanr

    args = measuring.parser(__doc__).parse_args()
    work = Path(args.work_dir).resolve()
    files = [str(Path(path).resolve()) for path in (args.features_file, args.extra_bkg_file)]
    data, results = separate(work / f"data_narrow_0.006_{args.seed}", files, "narrow", 0.006, args.seed), {}
    for name in SETTINGS:
        folder = work / "closure" / f"{name.replace(' ', '_')}_{args.seed}"
        closure = label_free(name, data, folder, args.seed)
        auc, error = closure["mean_two_sample_auc"], closure["mean_two_sample_auc_error"]
        truth, truth_error = true_auc(data, folder)
        results[name] = {
            "closure": auc,
            "closure_error": error,
            "regions": closure["regions"],
            "true": truth,
            "true_error": truth_error,
        }
        sys.stderr.write(f"{name}: closure {auc:.4f}, true {truth:.4f}\n")
    by_truth = sorted(results.items(), key=lambda item: item[1]["true"])
    best = by_truth[0][1]["true"]
    near = [result for _, result in by_truth if result["true"] < best + 0.01]
    correlations = {
        "all": spearmanr(*zip(*((r["closure"], r["true"]) for r in results.values()), strict=True)).statistic,
        "near the best": spearmanr(*zip(*((r["closure"], r["true"]) for r in near), strict=True)).statistic,
    }
    rows = [("setting of the flow", "AUC in the sideband", "true AUC in the SR")]
    rows += [(name, *(f"{r[key]:.4f} ± {r[f'{key}_error']:.4f}" for key in ("closure", "true"))) for name, r in by_truth]
    rows += [(f"rank correlation, {name}", f"{value:.2f}", "") for name, value in correlations.items()]
    draw(results)
    measuring.write("closure", {"settings": results, "rank_correlation": correlations, "within_0.01": len(near)}, rows)


def draw(results: dict[str, dict[str, Any]]) -> None:
    """True against label-free AUC."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4.8), layout="constrained")
    for number, (name, r) in enumerate(results.items()):
        error = {"xerr": r["closure_error"], "yerr": r["true_error"]}
        axes.errorbar(
            r["closure"] - 0.5, r["true"] - 0.5, **error, fmt="osD^v<>"[number % 7], color=f"C{number % 10}", label=name
        )
    ends = [1e-3, 2 * max(max(r["closure"], r["true"]) - 0.5 for r in results.values())]
    axes.plot(ends, ends, color="grey", ls=":", lw=1)
    axes.set(xlabel="two-sample AUC − 0.5 in the sideband, no labels", ylabel="true two-sample AUC − 0.5 in the signal region", xlim=ends,
             ylim=ends, xscale="log", yscale="log")  # fmt: skip
    axes.legend(fontsize="x-small", ncols=2)
    figure.savefig(measuring.HERE / "closure.png", dpi=120)


if __name__ == "__main__":
    main()
