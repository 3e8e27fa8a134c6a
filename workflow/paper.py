"""The runs behind the figures of plotting_notebook.ipynb: a YAML file that lists their folders, and what the figures need of them.

    sample: Pythia dijets, 10⁶ events             # for the captions
    figures: figures/                             # where they are saved
    modes: [CATHODE_seed*_results/, ANODE_results/]    # a curve for each mode, which STAGE.json says
    s_over_b:                                     # or curves by name
      CATHODE: scan/CATHODE/S_over_B_*/
      CATHODE, trees: scan/trees/S_over_B_*/
    shifted: [shifted/*/]                         # --datashift
    n_samples: n_samples/*/                       # --cf_n_samples

Every key may be absent. Paths are relative to the file, and may hold the wildcards of a shell.
"""

from __future__ import annotations

import contextlib
import glob
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from background.arrays import ClassifierArrays, fold_folders
from background.mode import Mode
from background.registry import MODES
from common.errors import InputError
from common.hyperparameters import read_yaml
from common.progress import progress
from evaluation.curves import FIXED_FPR, Evaluation, evaluate_scores
from evaluation.folds import FILE
from evaluation.scores import load_classifier_losses
from models.density import load_density_losses
from workflow.evaluation import load_test_scores
from workflow.records import Record, read_records
from workflow.runs import ARRAYS, mode_of, signal_to_background
from workflow.stage import recorded_seed

LISTS = ("modes", "s_over_b", "shifted", "n_samples")
TEXTS = ("sample", "figures")
CUT = "0.01"  # share of the background that is kept where sculpting is stated

Curves = Mapping[str, Sequence["PaperRun"]]


@dataclass(frozen=True, eq=False)
class PaperRun:
    """A folder that run_all.py has filled.

    Attributes
    ----------
    folder : path
    records : dict
        Its STAGE.json; empty where there is none, which leaves some properties unknown.
    evaluation : Evaluation
        Of its test events.
    """

    folder: Path
    records: Mapping[str, Record]
    evaluation: Evaluation

    @classmethod
    def read(cls, folder: Path) -> PaperRun:
        """Read and evaluate what is in a folder."""
        return cls(folder, read_records(folder), evaluate_scores(*load_test_scores(folder, folder)))

    @property
    def mode(self) -> Mode | None:
        """The mode; None where STAGE.json does not say which."""
        return mode_of(self.records)

    @property
    def has_samples(self) -> bool:
        """Whether classifiers compare the data with what was drawn from a density; in folds there is no test set beside it to show."""
        compares = self.mode is not None and self.mode.has_classifier and bool(self.mode.densities)
        return compares and not fold_folders(self.folder)

    @property
    def seed(self) -> int | None:
        """Of the classifiers, or of ANODE's ratios."""
        return recorded_seed(self.folder, "classifiers", "likelihood_ratios")

    @cached_property
    def s_over_b(self) -> float:
        """S/B in the data of the signal region."""
        return signal_to_background(self.folder)

    @property
    def shift(self) -> float:
        """What `--datashift` was."""
        for record in self._of_arrays:
            return float(record["options"].get("datashift", 0))
        raise InputError(f"{self.folder}: without STAGE.json nobody knows its --datashift")

    @cached_property
    def n_samples(self) -> int:
        """Background events that the classifiers learned from and were validated on."""
        arrays = ClassifierArrays.read(self.folder, extra_signal=False)
        return int(sum((~events.is_data).sum() for events in (arrays.train, arrays.validation)))

    @property
    def sculpting(self) -> float | None:
        """χ²/ndf of the background's mass spectrum after keeping the most anomalous 1 %; None where that is not known."""
        return self.records.get("evaluation", {"results": {}})["results"].get("sculpting_chi2_per_ndf", {}).get(CUT)

    @property
    def _of_arrays(self) -> list[Record]:
        return [self.records[name] for name in ARRAYS if name in self.records]


@dataclass(frozen=True)
class PaperRuns:
    """All runs of a list.

    Attributes
    ----------
    sample : str
        What the events are.
    figures : path
        Folder for the figures.
    lists : dict
        By key of the file and name of the curve.
    absent : tuple of str
        What is listed, and has no results.
    """

    sample: str
    figures: Path
    lists: Mapping[str, Curves]
    absent: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> PaperRuns:
        """Read a list, and evaluate the runs in it.

        Raises
        ------
        InputError
            If the list or a run cannot be read, or if no run is there.
        """
        path, content = Path(path), read_yaml(path)
        if unknown := content.keys() - {*TEXTS, *LISTS}:
            raise InputError(f"{path}: unknown key {min(map(str, unknown))} (known: {', '.join((*TEXTS, *LISTS))})")
        for key in TEXTS:
            if not isinstance(content.get(key, ""), str):
                raise InputError(f"{path}: {key} must be text")
        wanted = [(key, *item) for key in LISTS for item in _patterns(content.get(key, {}), f"{path}: {key}")]
        folders = {pattern: [Path(found) for found in sorted(glob.glob(str(path.parent / pattern)))] for _, _, pattern in wanted}
        done = {folder for found in folders.values() for folder in found if _has_results(folder)}
        if not done:
            raise InputError(f"{path}: none of the folders that it names has results ({', '.join(folders) or 'it names none'})")
        bar = progress("runs", "run", len(done), iterable=sorted(done))
        runs = {folder: PaperRun.read(folder) for folder in bar}
        lists: dict[str, dict[str, list[PaperRun]]] = {key: {} for key in LISTS}
        for key, label, pattern in wanted:
            for run in (runs[folder] for folder in folders[pattern] if folder in done):
                if (name := label or (run.mode and run.mode.name)) is None:
                    raise InputError(f"{run.folder}: STAGE.json does not say which mode it is; give its curve a name in {path}")
                of_curve = lists[key].setdefault(name, [])
                if run not in of_curve:
                    of_curve.append(run)
        lists = {key: {name: curves[name] for name in _in_order(curves)} for key, curves in lists.items()}
        absent = [pattern for pattern, found in folders.items() if not done & set(found)]
        absent += [str(folder) for found in folders.values() for folder in found if folder.is_dir() and folder not in done]
        return cls(
            content.get("sample", "events of the runs"), path.parent / content.get("figures", "figures"), lists, tuple(absent)
        )


def _patterns(entry: Any, where: str) -> Iterator[tuple[str | None, str]]:
    """Name of the curve (None: the mode) and pattern of every entry: text, a list of texts, or these by name."""
    for label, given in entry.items() if isinstance(entry, dict) else [(None, entry)]:
        for pattern in given if isinstance(given, list) else [given]:
            if not isinstance(pattern, str) or not pattern or not isinstance(label, str | None):
                raise InputError(f"{where}: must be folders, a list of folders, or these by the name of their curve")
            yield label, pattern


def _in_order(labels: Collection[str]) -> list[str]:
    """Modes first, in the order of the registry, so that they have the same colours in all figures."""
    return [*(name for name in MODES.names if name in labels), *(label for label in labels if label not in MODES.names)]


def _has_results(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("preds_matris.npy", FILE))


def evaluations(curves: Curves) -> dict[str, Evaluation]:
    """The evaluation of all runs of every curve together."""
    return {label: Evaluation.pooled([run.evaluation for run in runs]) for label, runs in curves.items()}


def numbers(curves: Curves) -> dict[str, dict[str, Any]]:
    """What a table says of every curve: median over all classifiers, lowest and highest; folders and test events behind it."""
    table = {}
    for label, evaluation in evaluations(curves).items():
        single, sculpting = [best.value for best in evaluation.run_max_sic], [run.sculpting for run in curves[label]]
        known = [value for value in sculpting if value is not None]
        table[label] = {
            "max SIC": evaluation.max_sic.value,
            "lowest": min(single),
            "highest": max(single),
            **{f"SIC at ε_B = {fpr:g}": evaluation.sic_at.get(fpr) for fpr in FIXED_FPR},
            "AUC": float(np.median(evaluation.auc)),
            "sculpting, χ²/ndf at 1 %": float(np.median(known)) if known else None,
            "folders": len(curves[label]),
            "classifiers": len(single),
            "test signal": evaluation.n_signal,
            "test background": evaluation.n_background,
        }
    return table


def scan(curves: Curves, quantity: Callable[[PaperRun], float]) -> dict[str, dict[float, list[float]]]:
    """Max SIC of all classifiers of every curve, by a quantity of their runs, rounded to two significant digits: so seeds join."""
    points: dict[str, dict[float, list[float]]] = {}
    for label, runs in curves.items():
        for run in runs:
            values = points.setdefault(label, {}).setdefault(float(f"{quantity(run):.1e}"), [])
            values.extend(best.value for best in run.evaluation.run_max_sic)
    return {label: dict(sorted(of_label.items())) for label, of_label in points.items()}


def most_shifted(curves: Curves) -> dict[str, list[PaperRun]]:
    """Of every curve the runs with the largest shift of all."""
    largest = max((run.shift for runs in curves.values() for run in runs), key=abs, default=0.0)
    chosen = {label: [run for run in runs if run.shift == largest] for label, runs in curves.items()}
    return {label: runs for label, runs in chosen.items() if runs}


def losses(runs: Sequence[PaperRun]) -> dict[str, dict[str, np.ndarray]]:
    """Training and validation losses [n_runs, epochs + 1] of every density estimator by its name, index 0 before training."""
    found: dict[str, dict[str, list[np.ndarray]]] = {}
    places = [place for run in runs for place in (run.folder, *fold_folders(run.folder))]
    for path in (path for place in places for path in sorted(place.glob("*_val_losses.npy"))):
        name = path.name.removesuffix("_val_losses.npy")
        both = found.setdefault(name, {"training": [], "validation": []})
        for part, curve in load_density_losses(path.parent, name).items():
            both[part].append(curve)
    return {name: {part: _stacked(arrays) for part, arrays in both.items()} for name, both in found.items()}


def classifier_losses(runs: Sequence[PaperRun]) -> dict[str, np.ndarray]:
    """Training and validation losses [n_runs, epochs] of the classifiers; none of ANODE."""
    trained = [load_classifier_losses(run.folder) for run in runs if (run.folder / "val_loss_matris.npy").is_file()]
    return {part: _stacked([row for each in trained for row in each[part]]) for part in (trained[0] if trained else ())}


def _stacked(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays [k] as rows; NaN where one is shorter than others."""
    stacked = np.full((len(arrays), max(map(len, arrays))), np.nan)
    for row, values in zip(stacked, arrays, strict=True):
        row[: len(values)] = values
    return stacked


def caption(text: str, sample: str, runs: Sequence[PaperRun]) -> str:
    """A figure's caption: what it shows, and which sample, seeds and numbers of events are behind it."""
    seeds = sorted({run.seed for run in runs if run.seed is not None})
    parts = [f"{sample[:1].upper()}{sample[1:]}", f"{len(runs)} run folder{'s'[: len(runs) != 1]}"]
    if seeds:
        parts.append(f"seed{'s'[: len(seeds) != 1]} {', '.join(map(str, seeds))}")
    if s_over_b := _known(runs, "s_over_b"):
        parts.append(f"S/B = {_span([float(f'{100 * value:.2g}') for value in s_over_b])} %")
    parts.append(f"{_span([len(run.evaluation.auc) for run in runs])} classifiers or likelihood ratios in each")
    counts = [_span([getattr(run.evaluation, name) for run in runs]) for name in ("n_signal", "n_background")]
    parts.append("tested on {} signal and {} background events".format(*counts))
    return f"{text} {'; '.join(parts)}."


def _known(runs: Sequence[PaperRun], name: str) -> list[float]:
    """A property, in order, of those runs whose folders say it."""
    values = []
    for run in runs:
        with contextlib.suppress(InputError):
            values.append(getattr(run, name))
    return sorted(values)


def _span(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.9g}" if low == high else f"{low:.9g} to {high:.9g}"
