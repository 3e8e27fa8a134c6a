"""Unlabelled data in folds: how well the signal is found, and whether the background efficiencies are right.

    python benchmarks/folds.py --features_file pythia_dijets.features.h5 --extra_bkg_file extra_inneronly.features.h5 --seeds 11 12 13
    python benchmarks/folds.py --features_file pythia_dijets.features.h5 --extra_bkg_file extra_inneronly.features.h5 --seeds 11 12 \\
        --s_over_b 0

The events of stage 1 become a table without labels (parquet, GeV), which goes through run_data_preparation.py and run_all.py with five
folds. Labels are joined by row afterwards: the SIC, and in every fold the true background of the signal region that is selected at
background efficiencies of 0.1, 0.01 and 0.001. "true samples" is CATHODE with true extra background in the place of its samples, which
shows what the folds themselves do.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import measuring
import numpy as np
from own_tables import FLAGS, IN_GEV, write_table

from common.files import array_shape
from evaluation.errors import figures_of_merit
from evaluation.folds import EFFICIENCIES, selected_by_cuts, selected_in_window
from events.records import load_scores
from events.window import Window

SR = (3300.0, 3700.0)
SIZE = ("--cf_n_samples", 400_000, "--cf_realistic_conditional", "--cf_oversampling", "--cf_no_logit", "--cf_save_model")
TREES, NETWORKS = ("--cf_model", "hgb", "--cf_n_runs", 1), ("--cf_n_runs", 5)
RUNS = {
    "CATHODE, networks": ("--mode", "CATHODE", *SIZE, *NETWORKS),
    "CATHODE, trees": ("--mode", "CATHODE", *SIZE, *TREES),
    "LaCATHODE, networks": ("--mode", "LaCATHODE", "--cf_use_class_weights", "--cf_save_model", *NETWORKS),
    "LaCATHODE, trees": ("--mode", "LaCATHODE", "--cf_use_class_weights", "--cf_save_model", *TREES),
    "CWoLa, trees": ("--mode", "CWoLa", "--cf_oversampling", "--cf_no_logit", "--cf_save_model", *TREES),
    "true samples, trees": ("--mode", "CATHODE", *SIZE, *TREES),
}


def prepare(options: Any, seed: int, work: Path) -> tuple[np.ndarray, Path]:
    """Labels by row, and the folder of separated events without labels."""
    from run_data_preparation_LHCORD import Options, stage
    from workflow.stage import run_stage

    lhco, table, own = work / "lhco", work / "events.parquet", work / "own"
    if not (lhco / "mjj_spectrum.png").exists():
        extra, features = Path(options.extra_bkg_file), Path(options.features_file)
        run_stage(
            stage(Options(features_file=features, extra_bkg_file=extra, outdir=lhco, seed=seed, S_over_B=options.s_over_b)),
            resume=False,
        )
    data = np.load(lhco / "data.npy")
    if not table.exists():
        write_table(table, data, len(data))
    if not (own / "mjj_spectrum.png").exists():
        measuring.script("run_data_preparation.py", "--input", table, *FLAGS, "--seed", seed, "--outdir", own)
    return data[:, -1], own


def true_samples(work: Path) -> Path:
    """The extra background of the signal region as samples, in the table's units."""
    path = work / "true_samples.npy"
    names = ("innerdata_extrabkg_train", "innerdata_extrabkg_val", "innerdata_extrabkg_test", "innerdata_test")
    events = np.concatenate([np.load(work / "lhco" / f"{name}.npy") for name in names])
    samples = events[events[:, -1] == 0, :-1]
    samples[:, : len(IN_GEV)] *= 1000
    np.save(path, samples)
    return path


def judged(scores: np.ndarray, label_of_row: np.ndarray, n_held_out: list[int]) -> dict[str, Any]:
    """SIC of the data in the signal region, and the true background selected in every fold beside what the fold expects."""
    label, m = label_of_row[scores["row"]], scores["m"]
    inside = Window(*SR).contains(m)
    efficiency, background = scores["background_efficiency"], inside & (label == 0)
    result: dict[str, Any] = {"signal_events": int((inside & (label == 1)).sum()), "background_events": int(background.sum())}
    folds = {}
    for cut in EFFICIENCIES:
        rows = []
        for fold, n in enumerate(n_held_out):
            mine = (scores["fold"] == fold) & (label == 0)
            [found] = selected_in_window(m[mine], efficiency[mine], np.zeros(mine.sum()), Window(*SR), [n], [cut])
            [by_held_out] = selected_by_cuts(efficiency[mine & inside], np.zeros((mine & inside).sum()), [n], [cut])
            rows.append([found.found, found.expected, found.error, by_held_out.expected, by_held_out.error])
        found, expected, error, held_out, its_error = np.array(rows).T
        folds[f"{cut:g}"] = {"found_expected_error_held_out_its_error": rows,
                             "chi2": float(np.sum(((found - expected) / error) ** 2)), "ratio": found.sum() / expected.sum(),
                             "chi2_held_out": float(np.sum(((found - held_out) / its_error) ** 2)),
                             "ratio_held_out": found.sum() / held_out.sum()}  # fmt: skip
    result["background_selected"] = folds
    if result["signal_events"]:
        score = np.where(np.isfinite(efficiency), 1 - efficiency, -1)[inside]
        result |= figures_of_merit(score[None], label[inside]).summary()
    return result


def runs(options: Any, seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every run of a seed: its name and what came out."""
    work = Path(options.work_dir) / f"folds_{options.s_over_b:g}_{seed}"
    work.mkdir(parents=True, exist_ok=True)
    labels, own = prepare(options, seed, work)
    measuring.script("run_ANODE_training.py", "--data_dir", own, "--savedir", work / "flow", "--seed", seed, "--resume")
    for name in options.runs:
        out, flags = work / name.replace(", ", "_").replace(" ", "_"), [*RUNS[name], "--DE_dir", work / "flow"]
        if name.startswith("true samples"):
            flags = [*RUNS[name], "--cf_external_samples", true_samples(work)]
        begin = time.monotonic()
        measuring.script("run_all.py", "--data_dir", own, "--save_dir", out, "--seed", seed, "--resume", *flags)
        scores = load_scores(out / "scores.npy")
        n_held_out = [array_shape(out / f"fold_{fold}" / "X_held_out.npy")[0] for fold in range(scores["fold"].max() + 1)]
        yield name, {"seconds": time.monotonic() - begin} | judged(scores, labels, n_held_out)


def main() -> None:
    """Do all runs, print and store what came out."""
    parser = measuring.parser(__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument("--s_over_b", type=float, default=0.006)
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS)[:2])
    options = parser.parse_args()
    results: dict[str, Any] = {}
    head = (
        "run",
        "seed",
        "max SIC",
        "SIC at 1e-2",
        "SIC at 1e-3",
        *(f"background at {cut:g} (χ², 5 folds); by held-out" for cut in EFFICIENCIES),
        "s",
    )
    rows: list[tuple[str, ...]] = [head]
    for seed in options.seeds:
        for name, found in runs(options, seed):
            results.setdefault(name, {})[str(seed)] = found
            sics = [found.get(key) for key in ("max_sic", "sic_at_0.01", "sic_at_0.001")]
            shown = ["" if sic is None else f"{sic['value']:.1f} ± {sic['error']:.1f}" for sic in sics]
            share = [f"{each['ratio']:.3f} ({each['chi2']:.1f}); {each['ratio_held_out']:.3f} ({each['chi2_held_out']:.1f})"
                     for each in found["background_selected"].values()]  # fmt: skip
            rows.append((name, f"{seed}", *shown, *share, f"{found['seconds']:.0f}"))
            sys.stderr.write(f"{rows[-1]}\n")
    measuring.write(f"folds_{options.s_over_b:g}", {"runs": results}, rows)


if __name__ == "__main__":
    main()
