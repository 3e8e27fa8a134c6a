"""Searches on toys: the flags of a small one, and what it left."""

from __future__ import annotations

import json

SMALL = ("--cf_model", "hgb", "--cf_n_runs", 1, "--cf_n_ensemble", 2, "--cf_k_folds", 3, "--cf_oversampling", "--cf_no_logit",
         "--n_toys", 30, "--efficiencies", 0.1)  # fmt: skip
SCAN = ("--scan_min", 3500, "--scan_max", 4200, "--n_windows", 2)


def results(folder):
    return json.loads((folder / "bump_hunt.json").read_text())


def found(folder, efficiency):
    """What the first window has at an efficiency."""
    return next(each for each in results(folder)["windows"][0]["efficiencies"] if each["efficiency"] == efficiency)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.suffix in (".npy", ".csv")}
