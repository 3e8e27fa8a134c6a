"""Seconds per epoch of ten classifiers: one after another as in the baseline, and as in the project, in turn.

    python benchmarks/classifier.py --features_file pythia_dijets.features.h5 --extra_bkg_file pythia_dijets_extra_inneronly.features.h5

SR data against extra SR background, so that no density estimator is needed. The baseline's epochs are those of one classifier; its time
for ten is ten times that. The project trains ten for two epochs at a time, on all cores, with the baseline's batches of 128 and with its
own. How well they find the signal is for `windows.py` to say. Prints a table and writes classifier.json beside this script.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import measuring
import numpy as np
import torch

N_RUNS, N_EPOCHS = 10, 2
KINDS = ("baseline", "project, batches of 128", "project, batches of 512")


def work(kind: str, folder: Path, turns: int, seed: int) -> None:
    """One side of the comparison, in a process of its own."""
    from background.idealized import MODE

    _, (train, val) = measuring.classifier_arrays(folder, 1, MODE, extra_bkg=True)
    torch.manual_seed(seed)
    if kind == "baseline":
        import baseline

        epochs = baseline.train_classifier(*train, *val, epochs=turns)
        measuring.wait_for_turn()
        for seconds, _, _ in epochs:
            measuring.report({"seconds": seconds * N_RUNS})
            measuring.wait_for_turn()
        return
    from common.processes import usable_cores
    from models.classifier import NeuralNetworkClassifier

    settings = {"n_inputs": 4, "n_runs": N_RUNS, "use_class_weights": False, "no_gpu": True, "n_jobs": usable_cores()}
    for _ in range(turns):
        measuring.wait_for_turn()
        start = time.perf_counter()
        classifier = NeuralNetworkClassifier(**settings, batch_size=int(kind.split()[-1]), epochs=N_EPOCHS, random_state=seed)
        classifier.fit(train[0], train[1], val[0], val[1], train[2], val[2])
        measuring.report({"seconds": (time.perf_counter() - start) / N_EPOCHS})


def main() -> None:
    """Let them take turns, then compare."""
    parser = measuring.parser(__doc__)
    parser.add_argument("--turns", type=int, default=5, metavar="N", help="measurements of each (default 5)")
    args = parser.parse_args()
    folder = Path(args.work_dir) / "separated_data"
    measuring.separate(args.features_file, args.extra_bkg_file, folder, args.seed)
    answers = measuring.alternate([[str(Path(__file__)), kind, str(folder), str(args.turns), str(args.seed)] for kind in KINDS])
    seconds = [float(np.median([step["seconds"] for step in side])) for side in answers]
    rows = [("ten classifiers", "seconds per epoch (median)", "ratio")]
    rows += [(kind, f"{value:.3g}", f"{seconds[0] / value:.3g}") for kind, value in zip(KINDS, seconds, strict=True)]
    measuring.write("classifier", dict(zip(KINDS, answers, strict=True)), rows)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in KINDS:
        work(sys.argv[1], Path(sys.argv[2]), *(int(argument) for argument in sys.argv[3:]))
    else:
        main()
