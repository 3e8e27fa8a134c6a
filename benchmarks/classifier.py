"""Ten classifiers: one after another as in the baseline, and all together as in the project, epoch by epoch in turn.

    python benchmarks/classifier.py --features_file pythia_dijets.features.h5 --extra_bkg_file pythia_dijets_extra_inneronly.features.h5

SR data against extra SR background, so that no density estimator is needed. The baseline's epochs are those of one classifier; its time
for ten is ten times that. Prints a table and writes classifier.json beside this script.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import measuring
import numpy as np
import torch

N_RUNS = 10


def arrays(folder: Path):
    """Inputs, target and balanced weights of training and validation in the idealized mode, and the test events."""
    from background.idealized import MODE

    mixed, sets = measuring.classifier_arrays(folder, 1, MODE, extra_bkg=True)
    return *sets, mixed.test.x, mixed.test.label


def work(kind: str, folder: Path, epochs: int, n_baseline: int, seed: int) -> None:
    """One side of the comparison, in a process of its own."""
    from evaluation_utils import evaluate_scores
    from models.training.epochs import best_epochs

    train, val, X_test, labels = arrays(folder)
    torch.manual_seed(seed)
    scores, losses = [], []
    if kind == "baseline":
        import baseline

        measuring.wait_for_turn()
        for run in range(n_baseline):
            run_scores, run_losses = [], []
            for seconds, val_loss, network in baseline.train_classifier(*train, *val, epochs=epochs):
                with torch.no_grad():
                    run_scores.append(torch.sigmoid(network(baseline.tensors(X_test)[0])).squeeze(1).numpy())
                run_losses.append(val_loss)
                measuring.report({"seconds": seconds, "val_loss": val_loss, "run": run})
                measuring.wait_for_turn()
            scores.append(np.stack(run_scores))
            losses.append(run_losses)
        scores, losses = np.stack(scores), np.array(losses)
    else:
        from models.classifier import NeuralNetworkClassifier

        start = time.perf_counter()

        def on_epoch(epoch: int, classifier: NeuralNetworkClassifier, val_losses: np.ndarray) -> None:
            nonlocal start
            seconds = time.perf_counter() - start
            scores.append(classifier.predict_runs(X_test))
            measuring.report({"seconds": seconds, "val_loss": float(val_losses.mean())})
            measuring.wait_for_turn()
            start = time.perf_counter()

        measuring.wait_for_turn()
        start = time.perf_counter()
        classifier = NeuralNetworkClassifier(
            n_inputs=4, n_runs=N_RUNS, epochs=epochs, use_class_weights=False, no_gpu=True, random_state=seed
        )
        classifier.fit(train[0], train[1], val[0], val[1], train[2], val[2], on_epoch=on_epoch)
        scores, losses = np.stack(scores, axis=1), classifier.val_losses_[1:].T
    kept = np.stack([run[best_epochs(loss, 10)].mean(axis=0) for run, loss in zip(scores, losses, strict=True)])
    evaluation = evaluate_scores(kept, labels)
    measuring.report({"max_sic": [best.value for best in evaluation.run_max_sic], "lowest": losses.min(axis=1).tolist(),
                   "curves": losses.tolist(), "peak_MB": measuring.peak_memory()})  # fmt: skip


def main() -> None:
    """Alternate the two workers, then compare."""
    parser = measuring.parser(__doc__)
    parser.add_argument("--epochs", type=int, default=100, metavar="N", help="epochs of every classifier (default 100)")
    parser.add_argument(
        "--baseline_runs", type=int, default=1, metavar="N", help="classifiers that the baseline trains (default 1)"
    )
    args = parser.parse_args()
    folder = Path(args.work_dir) / "separated_data"
    measuring.separate(args.features_file, args.extra_bkg_file, folder, args.seed)
    numbers = [str(args.epochs), str(args.baseline_runs), str(args.seed)]
    answers = measuring.alternate([[str(Path(__file__)), kind, str(folder), *numbers] for kind in ("baseline", "project")])
    seconds = [float(np.median([s["seconds"] for s in measuring.steps_of(side)])) for side in answers]
    finals = [side[-1] for side in answers]
    ten = [seconds[0] * N_RUNS, seconds[1]]

    def spread(values: list[float]) -> str:
        return f"{np.mean(values):.4g} ± {np.std(values):.2g}"

    rows = [
        ("", "baseline", "project", "ratio"),
        ("seconds per epoch of ten classifiers (median)", *(f"{v:.3g}" for v in ten), f"{ten[0] / ten[1]:.3g}"),
        (
            f"seconds for ten classifiers, {args.epochs} epochs",
            *(f"{v * args.epochs:.4g}" for v in ten),
            f"{ten[0] / ten[1]:.3g}",
        ),
        ("lowest validation loss (nats), mean ± std over runs", *(spread(f["lowest"]) for f in finals), ""),
        ("max SIC, mean ± std over runs", *(spread(f["max_sic"]) for f in finals), ""),
        ("peak memory (MB)", *(f"{f['peak_MB']:.4g}" for f in finals), ""),
    ]
    measuring.write("classifier", {"baseline": answers[0], "project": answers[1]}, rows)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in ("baseline", "project"):
        work(sys.argv[1], Path(sys.argv[2]), *(int(argument) for argument in sys.argv[3:]))
    else:
        main()
