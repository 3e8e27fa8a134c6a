"""The README's CATHODE command with the baseline's flow and classifiers in the place of the project's: its seconds and its max SIC.

    python benchmarks/quality.py --features_file pythia_dijets.features.h5 --extra_bkg_file pythia_dijets_extra_inneronly.features.h5

All that is not the plain implementation (reading, preprocessing, masses, mixing, evaluation) is the project's own code, so that only flow
and classifiers differ from what `pipeline.py` measures. The baseline trains its classifiers one after another: its time for ten is that
of `--n_runs`, scaled. Prints a table and writes quality_seed_N.json beside this script.
"""

from __future__ import annotations

import time
from pathlib import Path

import baseline
import measuring
import numpy as np
import torch

from background.cathode import Cathode
from background.options import ArraysOptions
from background.sampling import as_samples, sample_masses
from events.regions import EventSource
from events.view import Events

N_RUNS = 10


class BaselineCathode(Cathode):
    """CATHODE with background from the ten best epochs of a baseline flow, one call of its `sample` each."""

    def __init__(self, epochs: int, kept: Path) -> None:
        self.epochs, self.kept = epochs, kept
        self.seconds: dict[str, float] = {}
        self.val_losses: list[float] = []

    def samples(self, source: EventSource, options: ArraysOptions, train: Events) -> Events:
        """Train on the sideband, or take the epochs that `density.py` left; sample at masses drawn as in the project."""
        from density import events

        from models.training.epochs import PUBLISHED_RULE, usable_epochs

        (X, m), (X_val, m_val), _, scaler = events(source.data_dir)
        if self.kept.exists():
            content = torch.load(self.kept, weights_only=True)
            self.val_losses, states, self.seconds["density estimator"] = content["losses"], content["states"], content["seconds"]
        else:
            trained = list(baseline.train_flow(X, m, X_val, m_val, self.epochs))
            self.val_losses, states = ([epoch[i] for epoch in trained] for i in (1, 2))
            self.seconds["density estimator"] = sum(epoch[0] for epoch in trained)
        start = time.perf_counter()
        masses = sample_masses(train.m, 400_000, source.window, 0.01, source.rng("samples"))
        flow, samples = baseline.build_flow(source.n_features), []
        best = PUBLISHED_RULE.choose(usable_epochs(np.array(self.val_losses)))
        for i, epoch in enumerate(best):
            flow.load_state_dict(states[epoch])
            mine = masses[i :: len(best), None]
            samples.append(np.column_stack([mine, scaler.inverse_transform(baseline.sample(flow, mine))]))
        joined = np.concatenate(samples)
        self.seconds["samples"] = time.perf_counter() - start
        joined = joined[np.isfinite(joined).all(axis=1)]
        return as_samples(joined[:, 0], joined[:, 1:])


def main() -> None:
    """Train, sample, classify, evaluate."""
    parser = measuring.parser(__doc__)
    parser.add_argument("--epochs", type=int, default=30, metavar="N", help="epochs of the flow (default 30)")
    parser.add_argument("--cf_epochs", type=int, default=100, metavar="N", help="epochs of every classifier (default 100)")
    parser.add_argument("--n_runs", type=int, default=3, metavar="N", help="classifiers (default 3)")
    args = parser.parse_args()
    from evaluation_utils import evaluate_scores
    from models.training.epochs import PUBLISHED_RULE, usable_epochs

    folder = Path(args.work_dir) / "separated_data"
    measuring.separate(args.features_file, args.extra_bkg_file, folder, 1)
    torch.manual_seed(args.seed)
    samples = BaselineCathode(args.epochs, folder.parent / baseline.kept_name(args.seed))
    arrays, (train, val) = measuring.classifier_arrays(folder, args.seed, samples)
    scores, elapsed = [], 0.0
    for _ in range(args.n_runs):
        run_scores, losses = [], []
        for seconds, val_loss, network in baseline.train_classifier(*train, *val, epochs=args.cf_epochs):
            elapsed += seconds
            losses.append(val_loss)
            with torch.no_grad():
                run_scores.append(torch.sigmoid(network(baseline.tensors(arrays.test.x)[0])).squeeze(1).numpy())
        scores.append(np.stack(run_scores)[PUBLISHED_RULE.choose(usable_epochs(np.array(losses)))].mean(axis=0))
    evaluation = evaluate_scores(np.stack(scores), arrays.test.label)
    seconds = samples.seconds | {"ten classifiers": elapsed * N_RUNS / args.n_runs}
    rows = [("baseline", f"seed {args.seed}"), *((f"{name} (s)", f"{value:.0f}") for name, value in seconds.items()),
            ("lowest validation loss (nats)", f"{min(samples.val_losses):.4f}"),
            (f"max SIC, median of {args.n_runs} runs", f"{evaluation.max_sic.value:.1f}"),
            ("AUC, mean", f"{evaluation.auc.mean():.3f}")]  # fmt: skip
    measuring.write(
        f"quality_seed_{args.seed}",
        {"seconds": seconds, "val_losses": samples.val_losses, "threads": torch.get_num_threads(), "epochs": args.epochs,
         "cf_epochs": args.cf_epochs, "max_sic": evaluation.max_sic.value, "auc": evaluation.auc.tolist(),
         "run_max_sic": [best.value for best in evaluation.run_max_sic]},
        rows,
    )  # fmt: skip


if __name__ == "__main__":
    main()
