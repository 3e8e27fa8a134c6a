"""The sections of a report about what was trained: losses, epochs that are used, the closure test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from background.arrays import fold_folder, fold_folders
from background.options import TREES
from common.errors import InputError
from common.files import load_json
from evaluation.closure import Closure
from evaluation.scores import LOSS_BEFORE_TRAINING, load_classifier_losses, scored_rule
from evaluation.scores import RULE as EPOCH_RULE
from events.columns import Columns
from models.density import load_density_losses
from models.training.epochs import DIVERGED, MIXED_WITHIN, N_MIXED, EpochRule, EpochStore, usable_epochs
from plots.closure import closure_pulls
from plots.losses import loss_curves
from reports import words
from reports.folder import CLOSURE_STAGE, RunFolder
from reports.page import Picture, Section, Table
from workflow.records import Record


def density_losses(run: RunFolder) -> Section | None:
    """Loss curves of every density estimator, with the epochs that are mixed."""
    pictures = [_density(place, name, record) for place, name, record in run.densities()]
    tables = [table for _, name, record in run.densities() if (table := _density_in_folds(name, record))]
    if not pictures and (run.mode is None or not run.mode.densities):
        return None
    if not pictures:
        raise InputError("no record of a density estimator")
    text = "Losses are -log p of the logit-transformed, standardized features. The epochs that are marked are mixed into the density."
    return Section("Training of the density", [text], pictures, tables)


def _density(place: Path, name: str, record: Record) -> Picture:
    """The losses of one density estimator, with folds of the first one."""
    in_folds, results = bool(record["options"].get("k_folds")), record["results"]
    place, results = (fold_folder(place, 0), results.get("fold 0", {})) if in_folds else (place, results)
    curves = load_density_losses(place, name)
    usable = EpochStore(place, f"{name}_").usable()[0] if (place / f"{name}_estimator.json").is_file() else {}
    chosen = EpochRule("lowest", N_MIXED, MIXED_WITHIN).choose(usable) if usable else []
    figure = loss_curves(curves, r"$-\log p(x|m)$ per event (nats)", first_epoch=-1, chosen=chosen)
    lowest = results.get("lowest_validation_loss", float(np.nanmin(curves["validation"][1:])))
    region = "signal region" if record["options"].get("inner_model") else "sideband"
    alt = f"Training and validation loss of {name} against the epoch; the lowest validation loss is {lowest:.4f} nats."
    of_which = f"{name}, {region}{', the first fold' if in_folds else ''}"
    return Picture.of(figure, alt, f"{of_which}. Lowest validation loss {lowest:.4f} nats; {len(chosen)} mixed.")


def _density_in_folds(name: str, record: Record) -> Table | None:
    """The lowest validation loss of every fold's density estimator; None where there are no folds."""
    folds = {key: found for key, found in record["results"].items() if key.startswith("fold ")}
    rows = [
        (key, f"{found['lowest_validation_loss']:.4f}", str(found["in_epoch"]), str(found["mixed_versions"]))
        for key, found in folds.items()
    ]
    head = ("for", "lowest validation loss (nats)", "in epoch", "epochs that are mixed")
    return Table(f"{name} of every fold", head, rows) if rows else None


def closure(run: RunFolder) -> Section | None:
    """Does the density describe windows of the sideband that it has not seen?"""
    pictures, rows = [], []
    for place, name, _ in run.densities(CLOSURE_STAGE):
        content = load_json(place / f"{name}_closure.json")
        rows += [_closure_row(region) for region in content["regions"]]
        rows.append(("mean", "", words.area(content, "mean_"), ""))
        if all("pulls" in region for region in content["regions"]):  # not in folders of earlier versions
            columns = _columns_of(run, place, len(content["regions"][0]["chi2_per_ndf"]))
            tests = [Closure.of(region, columns.resonant) for region in content["regions"]]
            alt = "Pulls between data and samples of {} in every feature of the pseudo signal region {}."
            pictures += [Picture.of(closure_pulls([test], columns.axes[1:]), alt.format(name, test.window)) for test in tests]
    if not rows:
        return None
    text = "Further trainings leave a window out of the sideband; samples there are compared with the data. "
    text += "A two-sample AUC of 0.5 is perfect. "
    text += "Pulls are in bins of equal numbers of data; the bands are one standard deviation."
    head = ("window", "events", "two-sample AUC", "χ²/ndf of the features")
    return Section("Closure test", [text], pictures, [Table("Pseudo signal regions", head, rows)])


def _closure_row(region: dict[str, Any]) -> tuple[str, ...]:
    low, high = next(iter(region.values()))
    chi2 = ", ".join(f"{feature} {value:.2f}" for feature, value in region["chi2_per_ndf"].items())
    return f"{low:.3g} to {high:.3g}", str(region["events"]), words.area(region), chi2


def _columns_of(run: RunFolder, place: Path, n_features: int) -> Columns:
    """The columns of the separated events that a density has learned from, wherever they are."""
    for folder in (*run.read_from, place, run.folder):
        try:
            if (columns := Columns.read(folder, n_features)).named:
                return columns
        except InputError:
            continue
    return Columns.positional(n_features)


def classifier_losses(run: RunFolder) -> Section | None:
    """Loss curves of the classifiers, with the epochs that are scored."""
    if not run.has_classifier:
        return None
    folds, results = fold_folders(run.folder), run.results("classifiers")
    place, trees = (folds or [run.folder])[0], run.records.get("classifiers", {}).get("options", {}).get("model") == TREES
    curves = load_classifier_losses(place)
    chosen = [] if trees else _scored_epochs(curves["validation"], results.get("fold 0", results))
    lowest, runs = float(np.nanmin(curves["validation"], axis=1).mean()), words.plural(len(curves["validation"]), "run")
    steps = "trees (mean over the members)" if trees else "epoch"
    figure = loss_curves(curves, "cross-entropy per event (nats)", xlabel=steps, chosen=chosen)
    alt = (
        f"Training and validation loss of the classifiers against the {steps}, {runs}; lowest validation loss {lowest:.4f} nats."
    )
    caption = f"Lowest validation loss, mean of {runs}: {lowest:.4f} nats{'; the first fold' if folds else ''}."
    text = "A classifier that knows nothing has a loss of ln 2 = 0.6931 nats, where both classes weigh the same. "
    text += "A little signal lowers it a little."
    return Section("Training of the classifiers", [text], [Picture.of(figure, alt, caption)])


def _scored_epochs(val_losses: np.ndarray, results: dict[str, Any]) -> list[int]:
    """The epochs that are scored in any run, if the run says by which rule."""
    if not all(name in results for name in EPOCH_RULE):
        return []
    rule = scored_rule(results)
    try:
        chosen = [rule.choose(usable_epochs(losses, LOSS_BEFORE_TRAINING + DIVERGED)) for losses in val_losses]
    except ValueError:
        return []
    return sorted({epoch for mine in chosen for epoch in mine})
