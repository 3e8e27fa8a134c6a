"""Small run folders in the form that the stages write, with scores that are made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.files import save_array, save_json
from events.view import DATA, SAMPLE, SAMPLE_LABEL, Events

N_RUNS, EPOCHS, N_FEATURES = 3, 4, 4
N_TEST_SIGNAL, N_TEST_BACKGROUND = 300, 4000


def write_run(
    folder: Path, mode: str, separation: float, *, s_over_b: float = 0.06, n_samples: int = 500, shift: float = 0.0, seed: int = 1
) -> Path:
    """A run folder of `mode` whose scores tell signal from background by `separation` standard deviations."""
    rng = np.random.default_rng(seed)
    n_background, folder = 500, Path(folder)
    folder.mkdir(parents=True)

    def events(n: int, kind: int, labels: np.ndarray | int) -> np.ndarray:
        return Events.mix(rng.uniform(3.3, 3.7, n), rng.normal(size=(n, N_FEATURES)), kind, labels).array

    def save(**arrays: np.ndarray) -> None:
        for name, array in arrays.items():
            save_array(folder / f"{name}.npy", array)

    labels = np.repeat([1, 0], (N_TEST_SIGNAL, N_TEST_BACKGROUND))
    # CWoLa stands for runs without --save_model, which keep the scores of every epoch.
    n_runs, n_kept = (1, 1) if mode == "ANODE" else (N_RUNS, EPOCHS if mode == "CWoLa" else 1)
    scores = rng.normal(size=(n_runs, n_kept, len(labels))) + separation * labels
    save(X_test=events(len(labels), DATA, labels), preds_matris=scores.astype(np.float32))
    flows = {"CATHODE": ["my_ANODE_model"], "ANODE": ["my_ANODE_model", "my_ANODE_model_inner"]}.get(mode, [])
    for flow in flows:
        save(**{f"{flow}_{name}_losses": 5 + rng.exponential(size=EPOCHS + seed) for name in ("train", "val")})
    if mode != "ANODE":
        n_signal = round(s_over_b * n_background)
        for name in ("train", "validation"):
            data = events(n_signal + n_background, DATA, np.repeat([1, 0], (n_signal, n_background)))
            save(**{f"X_{name}": np.concatenate([data, events(n_samples // 2, SAMPLE, SAMPLE_LABEL)])})
        save(**{name: rng.uniform(0.68, 0.7, (N_RUNS, EPOCHS)) for name in ("loss_matris", "val_loss_matris")})
    arrays, scored = ("likelihood_ratios",) * 2 if mode == "ANODE" else ("classifier_arrays", "classifiers")
    separated = folder.parent / f"separated_{folder.name}"
    separated.mkdir()
    save_json(separated / "STAGE.json", {"separation": _record({}, {"signal_to_background": s_over_b})})
    records = {scored: _record({"seed": seed}, {})} | {arrays: _record({"datashift": shift, "seed": seed}, {}, separated)}
    records["evaluation"] = _record({"mode": mode}, {"sculpting_chi2_per_ndf": {"0.01": 1.0 + seed}})
    save_json(folder / "STAGE.json", records)
    return folder


def _record(options: dict, results: dict, *read_from: Path) -> dict:
    """A record of a stage that says no more than is asked for here."""
    return {"options": options, "results": results, "read_from": list(map(str, read_from)), "hyperparameters": {}, "inputs": {},
            "outputs": {}, "output_patterns": []}  # fmt: skip
