"""Density estimation: the baseline against the project, epoch by epoch in turn, one process each.

    python benchmarks/density.py --features_file pythia_dijets.features.h5 --extra_bkg_file pythia_dijets_extra_inneronly.features.h5

Prints a table, writes density.json and density.png (loss against wall time) beside this script. The two-sample AUC is that of boosted
trees telling 100 000 samples from true SR background, each half judged by trees trained on the other one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import measuring
import numpy as np
import torch

N_SAMPLES, N_TIMED = 100_000, 400_000


def events(folder: Path):
    """Training and validation features and masses in the flow's space, the true SR background, and the preprocessing."""
    from background.options import ArraysOptions
    from events.regions import EventSource
    from models.density import DensityPreprocessing

    source = EventSource(ArraysOptions(data_dir=folder, seed=1, extra_bkg=True))
    train, val = source.sideband()
    preprocessing = DensityPreprocessing.fit(train.x, use_logit=True, names=source.columns.names)
    sets = [part[preprocessing.inside(part.x, "events")] for part in (train, val)]
    truth = np.concatenate([part[part.label == 0].m_and_x for part in (source.extra_background(), source.test())])
    arrays = [(preprocessing.scaler.transform(part.x), part.m[:, None]) for part in sets]
    return *arrays, np.random.default_rng(0).permutation(truth), preprocessing.scaler


def judge(best: Sequence[int], load, sample, log_prob, X_val, m_val, truth, scaler) -> None:
    """Time log-prob and sampling, and test one epoch, and those that are mixed, against the truth."""
    from evaluation.closure import two_sample_auc

    load(int(best[0]))
    start = time.perf_counter()
    log_prob(X_val[:N_TIMED], m_val[:N_TIMED])
    log_prob_rate = min(N_TIMED, len(X_val)) / (time.perf_counter() - start)
    m = truth[np.arange(N_TIMED) % len(truth), :1]
    samples, elapsed = [], 0.0
    for i, epoch in enumerate(best):
        load(int(epoch))
        start = time.perf_counter()
        samples.append(scaler.inverse_transform(sample(m[i :: len(best)])))
        elapsed += time.perf_counter() - start
    mixture = np.column_stack([np.concatenate([m[i :: len(best)] for i in range(len(best))]), np.concatenate(samples)])
    load(int(best[0]))
    single = np.column_stack([m[:N_SAMPLES], scaler.inverse_transform(sample(m[:N_SAMPLES]))])
    mixture = np.random.default_rng(0).permutation(mixture)[:N_SAMPLES]
    auc = {
        name: [two_sample_auc(s[:, 1:], truth[:N_SAMPLES, 1:], np.random.default_rng(seed))[0] for seed in range(3)]
        for name, s in (("one", single), ("mixed", mixture))
    }
    measuring.report({"log_prob_per_s": log_prob_rate, "samples_per_s": N_TIMED / elapsed, "sampling_s": elapsed, "auc": auc,
                   "peak_MB": measuring.peak_memory()})  # fmt: skip


def work(kind: str, folder: Path, epochs: int, seed: int) -> None:
    """One side of the comparison, in a process of its own."""
    (X, m), (X_val, m_val), truth, scaler = events(folder)
    losses, states = [], []
    torch.manual_seed(seed)
    if kind == "baseline":
        import baseline

        seconds_spent = 0.0
        measuring.wait_for_turn()
        for seconds, val_loss, state in baseline.train_flow(X, m, X_val, m_val, epochs):
            measuring.report({"seconds": seconds, "val_loss": val_loss})
            losses.append(val_loss)
            states.append(state)
            seconds_spent += seconds
            measuring.wait_for_turn()
        torch.save({"losses": losses, "states": states, "seconds": seconds_spent}, folder.parent / baseline.kept_name(seed))
        flow = baseline.build_flow(X.shape[1])
        judge(np.argsort(losses)[:10], lambda e: flow.load_state_dict(states[e]), lambda m: baseline.sample(flow, m),
              lambda x, m: baseline.log_prob(flow, x, m), X_val, m_val, truth, scaler)  # fmt: skip
        return

    from models.registry import DENSITIES
    from models.training.epochs import MIXED_WITHIN, N_MIXED, EpochRule, usable_epochs
    from run_ANODE_training import Options

    options = Options()
    flow = DENSITIES.create(
        options.model, DENSITIES.hyperparameters(options.model), options, ("epochs", "batch_size", "patience"), num_inputs=X.shape[1],
        condition_center=options.window.center, condition_scale=options.window.center, random_state=seed, no_gpu=True,
    )  # fmt: skip
    start = time.perf_counter()

    def on_epoch(epoch: int, flow: Any, val_losses: np.ndarray) -> None:
        nonlocal start
        measuring.report({"seconds": time.perf_counter() - start, "val_loss": float(val_losses[0])})
        losses.append(float(val_losses[0]))
        states.append({name: value.clone() for name, value in flow.module_.state_dict().items()})
        measuring.wait_for_turn()
        start = time.perf_counter()

    measuring.wait_for_turn()
    start = time.perf_counter()
    flow.fit(X, m, X_val, m_val, on_epoch=on_epoch)
    rng = np.random.default_rng(seed)
    mixed = EpochRule("lowest", N_MIXED, MIXED_WITHIN).choose(usable_epochs(np.array(losses)))
    judge(mixed, lambda e: flow.module_.load_state_dict(states[e]), lambda m: flow.sample(m=m, random_state=rng), flow.predict_log_proba,
          X_val, m_val, truth, scaler)  # fmt: skip


def main() -> None:
    """Alternate the two workers, then compare."""
    parser = measuring.parser(__doc__)
    parser.add_argument("--epochs", type=int, default=30, metavar="N", help="epochs of the baseline (default 30)")
    args = parser.parse_args()
    folder = Path(args.work_dir) / "separated_data"
    measuring.separate(args.features_file, args.extra_bkg_file, folder, args.seed)
    script = str(Path(__file__))
    answers = measuring.alternate(
        [[script, kind, str(folder), str(args.epochs), str(args.seed)] for kind in ("baseline", "project")]
    )
    curves = [list(measuring.steps_of(side)) for side in answers]
    finals = [side[-1] for side in answers]
    target = min(step["val_loss"] for step in curves[0])
    needed = [measuring.seconds_to_reach(target, side) for side in curves]
    rows = [("", "baseline", "project", "ratio")]

    def row(name: str, values: list[float], form: str = "{:.3g}", ratio: bool = True) -> None:
        rows.append((name, *(form.format(v) for v in values), f"{values[0] / values[1]:.3g}" if ratio else ""))

    row("seconds per epoch (median)", [float(np.median([s["seconds"] for s in side])) for side in curves])
    row(f"seconds to the baseline's lowest validation loss, {target:.4f}", needed)
    row("seconds of the whole training", [sum(s["seconds"] for s in side) for side in curves])
    row("lowest validation loss (nats)", [min(s["val_loss"] for s in side) for side in curves], "{:.4f}", False)
    for name in ("one", "mixed"):
        row(
            f"two-sample AUC, {name} epoch(s), mean of 3 tests", [float(np.mean(f["auc"][name])) for f in finals], "{:.4f}", False
        )
    row("log-prob, events per second", [f["log_prob_per_s"] for f in finals])
    row("sampling, events per second", [f["samples_per_s"] for f in finals])
    row("seconds for 400 000 samples from the mixed epochs", [f["sampling_s"] for f in finals])
    row("peak memory (MB)", [f["peak_MB"] for f in finals])
    measuring.write(
        "density", {"baseline": answers[0], "project": answers[1], "target": target, "seconds_to_target": needed}, rows
    )
    draw(curves)


def draw(curves) -> None:
    """Validation loss against wall time."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    for name, side in zip(("baseline", "project"), curves, strict=True):
        axes.plot(np.cumsum([s["seconds"] for s in side]), [s["val_loss"] for s in side], marker=".", label=name)
    lowest = min(s["val_loss"] for side in curves for s in side)
    axes.set(
        xlabel="wall time (s)",
        ylabel=r"validation loss, $-\log p(x|m)$ (nats)",
        xscale="log",
        ylim=(lowest - 0.005, lowest + 0.1),
    )
    axes.legend()
    figure.savefig(measuring.HERE / "density.png", dpi=120)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in ("baseline", "project"):
        work(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
