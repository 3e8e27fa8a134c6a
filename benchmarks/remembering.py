"""A density estimator that remembers: one for all folds against one for every fold, where the truth is known.

    python benchmarks/remembering.py

Features are cells of equal probability, there is no signal, and the mass does not matter. The density estimator's share of a cell is its
true one, drawn by `--memory` towards that of the sideband events it has learned from. Cells with the largest ratio of signal-region data
to samples of it are selected, a tenth of the samples; the sideband says how many events are expected. Significances should have mean 0.
"""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter

import measuring
import numpy as np

from common.seeds import make_rng
from events.folds import learned_from

N_CELLS, N_FOLDS = 2000, 5
SIDEBAND, SIGNAL_REGION, SAMPLES = 850_000, 110_000, 120_000  # events, as in the searches
EFFICIENCY = 0.1
PRIOR = 5.0  # events, that a ratio of few is not believed


def significances(rng: np.random.Generator, memory: float, n_samples: int) -> tuple[float, float]:
    """Those of one toy: with one density estimator for all folds, and with one for every fold."""
    sideband, data = (rng.poisson(n / N_FOLDS / N_CELLS, (N_FOLDS, N_CELLS)) for n in (SIDEBAND, SIGNAL_REGION))
    found = []
    for in_folds in (False, True):
        passed = np.zeros(2)
        for scored in range(N_FOLDS):
            trains = learned_from(scored, N_FOLDS)[0]
            seen = (sideband[trains] if in_folds else sideband).sum(axis=0)
            share = (1 - memory) / N_CELLS + memory * seen / seen.sum()
            samples, n = rng.poisson(n_samples * share), data[trains].sum(axis=0)
            ratio = (n + PRIOR) / (samples * n.sum() / samples.sum() + PRIOR)
            order = np.lexsort((rng.random(N_CELLS), -ratio))
            selected = order[np.cumsum(share[order]) <= EFFICIENCY]
            passed += data[scored, selected].sum(), sideband[scored, selected].sum()
        observed, expected = passed[0], passed[1] * SIGNAL_REGION / SIDEBAND
        found.append((observed - expected) / np.sqrt(observed + expected * SIGNAL_REGION / SIDEBAND))
    return found[0], found[1]


def main() -> None:
    """Simulate, print and store what came out."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--toys", type=int, default=1500)
    parser.add_argument("--samples", type=int, default=SAMPLES, help="of the density estimator, for one fold")
    parser.add_argument("--memory", type=float, nargs="+", default=[0.0, 0.1, 0.3])
    options = parser.parse_args()
    rows: list[tuple[str, ...]] = [("memory", "density estimators", "mean z", "width")]
    results = {}
    for memory in options.memory:
        rng = make_rng(options.seed, f"memory {memory:g}")
        z = np.array([significances(rng, memory, options.samples) for _ in range(options.toys)])
        for name, of in zip(("one", "one for every fold"), z.T, strict=True):
            rows.append(
                (f"{memory:g}", name, f"{of.mean():+.3f} ± {of.std(ddof=1) / len(of) ** 0.5:.3f}", f"{of.std(ddof=1):.2f}")
            )
        results[f"{memory:g}"] = {"mean": z.mean(axis=0).tolist(), "width": z.std(axis=0, ddof=1).tolist()}
    name = "remembering" if options.samples == SAMPLES else f"remembering_{options.samples}_samples"
    measuring.write(name, {"toys": options.toys, "samples": options.samples, "z": results}, rows)


if __name__ == "__main__":
    main()
