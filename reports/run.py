"""The report of a run: headline, training, background, scores, performance, sculpting, files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from background.arrays import fold_folders
from background.mode import Mode
from common.errors import InputError
from common.files import load_array, load_json
from common.options import FIGURE_FORMATS
from evaluation.closure import Closure
from evaluation.scores import LOSS_BEFORE_TRAINING, scored_rule
from evaluation.scores import RULE as EPOCH_RULE
from events.columns import Columns
from models.training.epochs import DIVERGED, MIXED_WITHIN, N_MIXED, EpochRule, EpochStore, usable_epochs
from plots import closure as closure_figures
from plots import losses as loss_figures
from plots import pairs, performance, sculpting, spectra
from plots import scores as score_figures
from reports import words
from reports.folder import CLOSURE_STAGE, Compared, RunFolder, seconds_of
from reports.page import Fact, Link, Page, Picture, Section, Table
from workflow.evaluation import is_labelled, load_test_scores, named_evaluations, run_sculpting
from workflow.records import now

logger = logging.getLogger(__name__)

LARGEST_PAIRS = 8  # features of which all pairs are drawn
NOT_DONE = "This stage has not been done in this folder, or its files are gone"


def run_page(folder: Path) -> Page:
    """The report of what is in a folder.

    Raises
    ------
    InputError
        If it has no STAGE.json.
    """
    run = RunFolder.read(folder)
    makers: list[tuple[str, Callable[[RunFolder], Section]]] = [
        ("Stages", stages), ("Training of the density", density_losses), ("Closure test", closure), ("Data and background", background),
        ("Pairs of features", feature_pairs), ("Training of the classifiers", classifier_losses), ("Scores", score_distribution),
        ("Performance", found_signal), ("Selected events", selection), ("Background sculpting", sculpted), ("Files", files),
    ]  # fmt: skip
    sections = [_made(title, make, run) for title, make in makers if _belongs(title, run)]
    name = run.mode.name if run.mode is not None else "unknown mode"
    return Page(f"{name}: {run.folder.resolve().name}", summary(run), facts(run), run.command, run.warnings, sections, now())


def _made(title: str, make: Callable[[RunFolder], Section], run: RunFolder) -> Section:
    """A section, or why it is not there."""
    try:
        return make(run)
    except InputError as error:
        return Section(title, missing=f"{NOT_DONE}: {error}.")


def _belongs(title: str, run: RunFolder) -> bool:
    """Whether a run of this mode has such a section, be it absent or not."""
    mode, has_density = run.mode, any(True for _ in run.densities())
    if title == "Closure test":
        return any(True for _ in run.densities(CLOSURE_STAGE))
    if title == "Training of the density":
        return has_density or (mode is not None and bool(mode.densities))
    if title in ("Data and background", "Pairs of features", "Training of the classifiers"):
        return mode is None or mode.has_classifier
    if title == "Selected events":
        return run.scored is not None
    if title in ("Performance", "Background sculpting"):
        labelled = run.scored is None or run.scored.labels is not None
        return labelled and (title == "Performance" or mode is None or mode.has_classifier)
    return True


def summary(run: RunFolder) -> str:
    """What was found, in a sentence or two."""
    results, mode = run.results("evaluation"), run.mode
    if not results:
        return "This run has not been evaluated: it has not come to its end, or its evaluation is gone."
    name = mode.name if mode is not None else "This run"
    if "merit" in results:
        merit = results["merit"]["max_sic"]
        where = f"at a signal efficiency of {results['tpr']:.2f} and a background efficiency of {results['fpr']:.2g}"
        if merit["value"] - merit["error"] <= 1:
            return f"{name} does not find the signal: no cut on the score improves the significance beyond its statistical error."
        return f"{name} improves the significance S/√B by a factor of {words.measured(merit)}, {where}."
    if not (cuts := results.get("selected")):
        return f"{name}: the events have no labels, and nothing could be selected."
    cut = cuts[-1]
    text = f"At a background efficiency of {cut['efficiency']:g}, {name} selects {words.plural(cut['found'], 'event')} of the signal region"
    text += f", where {cut['expected']:.1f} ± {cut['error']:.1f} (statistical) are expected if all are background."
    return f"{text} The events have no labels: an excess is an anomaly of the data or of the background model; a search fits the spectrum."


def facts(run: RunFolder) -> list[Fact]:
    """The headline."""
    results, found = run.results("evaluation"), []
    if mode := run.mode:
        found.append(Fact("Mode", mode.name, f"background: {mode.background}"))
    if "merit" in results:
        runs = len(results["auc"])
        found += _merit_facts(results, f"median of {words.plural(runs, 'run')}" if runs > 1 else "one run")
    for cut in results.get("selected", []):
        expected = f"{cut['expected']:.1f} ± {cut['error']:.1f} expected if all are background"
        found.append(Fact(f"Selected at ε_B = {cut['efficiency']:g}", str(cut["found"]), expected))
    found += _signal_facts(run, results)
    if "data_against_background" in results:
        test = results["data_against_background"]
        value = f"{test['two_sample_auc']:.4f} ± {test['two_sample_auc_error']:.4f}"
        found.append(Fact("Data against background", value, "two-sample AUC of boosted trees, known signal left out; 0.5: alike"))
    return [*found, Fact("Wall time", words.duration(run.seconds), "all stages of this folder")]


def _merit_facts(results: dict[str, Any], of_what: str) -> list[Fact]:
    merit, n = results["merit"], results["test_background"]
    where = (
        f"at ε_S = {results['tpr']:.3f}, ε_B = {results['fpr']:.2e}; {of_what}; {words.RULE}; the error is that of the test set"
    )
    found = [Fact("Max SIC", words.measured(merit["max_sic"]), where)]
    for fpr in ("0.01", "0.001"):
        name, passing = f"SIC at ε_B = {fpr}", round(float(fpr) * n)
        if f"sic_at_{fpr}" in merit:
            found.append(Fact(name, words.measured(merit[f"sic_at_{fpr}"]), f"{passing} background events pass"))
        else:
            found.append(Fact(name, "not stated", f"only {passing} of {n} test background events pass"))
    return [
        *found,
        Fact("AUC", f"{np.mean(results['auc']):.3f}", f"mean; {results['test_signal']} signal, {n} background test events"),
    ]


def _signal_facts(run: RunFolder, results: dict[str, Any]) -> list[Fact]:
    """S/B and S/√B in the signal region, before any cut and after the best one."""
    try:
        numbers = run.numbers()
    except InputError:
        return []
    if numbers is None:
        known = [
            records["separation"]["results"].get("signal_to_background")
            for records in run.read_from.values()
            if "separation" in records
        ]
        return [Fact("S/B", f"{100 * known[0]:.2f} %", "in the signal region, by true labels")] if known and known[0] else []
    signal, rest = numbers
    if rest == 0:
        return []
    before = signal / np.sqrt(rest)
    after = f"; times max SIC: {before * results['merit']['max_sic']['value']:.1f}" if "merit" in results else ""
    return [
        Fact(
            "S/B", f"{100 * signal / rest:.2f} %", f"{signal} signal, {rest} background events in the data of the signal region"
        ),
        Fact("S/√B", f"{before:.2f}", f"before any cut{after}"),
    ]


def stages(run: RunFolder) -> Section:
    """What was done when, and with which versions."""
    rows, versions = [], {}
    for name, record in run.records.items():
        seconds, options = seconds_of(record), record["options"]
        resumed = words.plural(len(record["resumed"]), "time") if record.get("resumed") else "no"
        took = "" if seconds is None else words.duration(seconds)
        seed = options.get("seed")
        rows.append(
            (name, str(record.get("start", "")), took, "" if seed is None else str(seed), str(record.get("threads", "")), resumed)
        )
        environment = ", ".join(f"{key} {value}" for key, value in record.get("environment", {}).items() if value is not None)
        versions.setdefault(environment, []).append(name)
    text = [f"With {each}." if len(versions) == 1 else f"{', '.join(names)} with {each}." for each, names in versions.items()]
    head = ("stage", "begun (UTC)", "took", "seed", "processes", "resumed")
    return Section("Stages", text, tables=[Table("Stages in the order of STAGE.json", head, rows)])


def density_losses(run: RunFolder) -> Section:
    """Loss curves of every density estimator, with the epochs that are mixed."""
    pictures, text = [], []
    for place, name, record in run.densities():
        curves = {
            kind: load_array(place / f"{name}_{short}_losses.npy")
            for kind, short in (("training", "train"), ("validation", "val"))
        }
        usable = EpochStore(place, f"{name}_").usable()[0] if (place / f"{name}_estimator.json").is_file() else {}
        chosen = EpochRule("lowest", N_MIXED, MIXED_WITHIN).choose(usable) if usable else []
        figure = loss_figures.loss_curves(curves, r"$-\log p(x|m)$ per event (nats)", first_epoch=-1, chosen=chosen)
        lowest = record["results"].get("lowest_validation_loss", float(np.nanmin(curves["validation"][1:])))
        region = "signal region" if record["options"].get("inner_model") else "sideband"
        alt = f"Training and validation loss of {name} against the epoch; the lowest validation loss is {lowest:.4f} nats."
        pictures.append(
            Picture.of(figure, alt, f"{name}, {region}. Lowest validation loss {lowest:.4f} nats; {len(chosen)} mixed.")
        )
    if not pictures:
        raise InputError("no record of a density estimator")
    text.append(
        "Losses are -log p of the logit-transformed, standardized features. The epochs that are marked are mixed into the density."
    )
    return Section("Training of the density", text, pictures)


def closure(run: RunFolder) -> Section:
    """Does the density describe windows of the sideband that it has not seen?"""
    pictures, rows = [], []
    for place, name, record in run.densities(CLOSURE_STAGE):
        content = load_json(place / f"{name}_closure.json")
        for region in content["regions"]:
            edges = next(iter(region.values()))
            chi2 = ", ".join(f"{feature} {value:.2f}" for feature, value in region["chi2_per_ndf"].items())
            area = f"{region['two_sample_auc']:.4f} ± {region['two_sample_auc_error']:.4f}"
            rows.append((f"{edges[0]:.3g} to {edges[1]:.3g}", str(region["events"]), area, chi2))
        if all("pulls" in region for region in content["regions"]):
            columns = _columns_of(run, place, len(content["regions"][0]["chi2_per_ndf"]))
            tests = [Closure.of(region, columns.resonant) for region in content["regions"]]
            alt = f"Pulls between data and samples of {name} in every feature of {words.plural(len(tests), 'pseudo signal region')}."
            figure = closure_figures.closure_pulls(tests, columns.axes[1:])
            pictures.append(
                Picture.of(figure, alt, "Pulls in bins of equal numbers of data; the band is one standard deviation.")
            )
        mean = f"{content['mean_two_sample_auc']:.4f} ± {content['mean_two_sample_auc_error']:.4f}"
        rows.append(("mean", "", mean, ""))
    text = "Further trainings leave a window out of the sideband; samples there are compared with the data. A two-sample AUC of 0.5 is perfect."
    head = ("window", "events", "two-sample AUC", "χ²/ndf of the features")
    return Section("Closure test", [text], pictures, [Table("Pseudo signal regions", head, rows)])


def _columns_of(run: RunFolder, place: Path, n_features: int) -> Columns:
    """The columns of the separated events that a density has learned from, wherever they are."""
    for folder in (*run.read_from, place, run.folder):
        try:
            if (columns := Columns.read(folder, n_features)).named:
                return columns
        except InputError:
            continue
    return Columns.positional(n_features)


def background(run: RunFolder) -> Section:
    """Data against what stands for the background, feature by feature."""
    compared, mode = run.compared(), run.mode
    names = _names(mode)
    pictures = []
    for number, (axis, column) in enumerate(
        zip(compared.axes, (compared.columns.resonant, *compared.columns.features), strict=True)
    ):
        one = slice(number, number + 1)
        figure = spectra.data_against_samples(compared.data[:, one], compared.background[:, one], [axis], names)
        pictures.append(
            Picture.of(figure, f"Distribution of {column.name}: {names[0]} and {names[1]}, their ratio and pulls.", dense=True)
        )
    text = [f"The training data ({len(compared.data)} events) and what stands for their background ({len(compared.background)} events)"
            f"{', of the first fold' if fold_folders(run.folder) else ''}. Signal among the data is part of the difference."]  # fmt: skip
    if not compared.in_units:
        text.append("Features are standardized: this folder was made by a version that did not keep how.")
    if test := run.results("evaluation").get("data_against_background"):
        value = f"{test['two_sample_auc']:.4f} ± {test['two_sample_auc_error']:.4f}"
        text.append(
            f"Boosted trees tell them apart with an AUC of {value} ({test['events']} events of each kind, known signal left out)."
        )
    return Section("Data and background", text, pictures)


def _names(mode: Mode | None) -> tuple[str, str]:
    return getattr(mode, "class_names", ("data", "samples"))


def feature_pairs(run: RunFolder) -> Section:
    """Pulls between data and background in all pairs of features."""
    compared: Compared = run.compared()
    d = min(compared.data.shape[1] - 1, LARGEST_PAIRS)
    if d < 2:
        raise InputError("there is only one feature")
    kinds = (compared.data, compared.background)
    figure = pairs.pulls_2d(*(kind[:, 1 : d + 1] for kind in kinds), compared.axes[1 : d + 1])
    text = "Differences that single features do not show. Where both kinds of events follow the same density, pulls scatter around 0 by 1."
    alt = f"Pulls between {' and '.join(_names(run.mode))} in bins of every pair of {d} features."
    return Section("Pairs of features", [text], [Picture.of(figure, alt, "Bins with few events are left out.", dense=True)])


def classifier_losses(run: RunFolder) -> Section:
    """Loss curves of the classifiers, with the epochs that are scored."""
    results, pictures = run.results("classifiers"), []
    trees = run.records.get("classifiers", {}).get("options", {}).get("model") == "hgb"
    for place in fold_folders(run.folder)[:1] or [run.folder]:
        curves = {
            kind: load_array(place / f"{file}.npy")
            for kind, file in (("training", "loss_matris"), ("validation", "val_loss_matris"))
        }
        of_place = next(iter(results.values())) if place != run.folder and results else results
        lowest = float(np.nanmin(curves["validation"], axis=1).mean())
        steps = "trees (mean over the members)" if trees else "epoch"
        chosen = [] if trees else _scored_epochs(curves["validation"], of_place)
        figure = loss_figures.loss_curves(curves, "cross-entropy per event (nats)", xlabel=steps, chosen=chosen)
        runs = words.plural(len(curves["validation"]), "run")
        alt = f"Training and validation loss of the classifiers against the {steps}, {runs}; lowest validation loss {lowest:.4f} nats."
        pictures.append(Picture.of(figure, alt, f"Lowest validation loss, mean of {runs}: {lowest:.4f} nats."))
    text = [
        "A classifier that knows nothing has a loss of ln 2 = 0.6931 nats where both classes weigh the same; little signal lowers it little."
    ]
    if place != run.folder:
        text.append("These are the classifiers of the first fold.")
    return Section("Training of the classifiers", text, pictures)


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


def score_distribution(run: RunFolder) -> Section:
    """How scores are distributed."""
    if run.scored is not None:
        efficiency = run.scored.efficiency[run.scored.in_signal_region]
        figure = score_figures.efficiency_distribution(efficiency[np.isfinite(efficiency)])
        text = "The background efficiency of an event is the share of held-out background that scores as high. That of background is uniform."
        alt = "Data of the signal region over expected background, against the background efficiency."
        return Section("Scores", [text], [Picture.of(figure, alt)])
    scores, labels = load_test_scores(run.folder, run.folder)
    mean, is_ratio = scores.mean(axis=0), run.mode is not None and not run.mode.has_classifier
    kept = mean >= 0
    kinds = {"test background": mean[kept & (labels == 0)], "test signal": mean[kept & (labels == 1)]}
    if not is_labelled(run.folder, None):
        kinds = {"test data": mean[kept]}
    xlabel = "likelihood ratio $p_{SR}/p_{SB}$" if is_ratio else "score, mean over the runs"
    figure = score_figures.score_distributions(
        {name: values for name, values in kinds.items() if len(values)}, xlabel, log=is_ratio
    )
    alt = f"Distribution of the score of {' and '.join(kinds)}."
    return Section("Scores", [], [Picture.of(figure, alt, "Events outside the feature range have no score.")])


def found_signal(run: RunFolder) -> Section:
    """ROC, SIC, and the numbers of every run."""
    scores, labels = load_test_scores(run.folder, run.folder)
    name = run.mode.name if run.mode is not None else None
    evaluations = named_evaluations(scores, labels, name)
    (_, result), *averaged = evaluations.items()
    shown = f"The bands hold 68 % of the {len(scores)} runs." if len(scores) > 1 else ""
    best = result.max_sic
    alts = ("ROC: background rejection against signal efficiency", "SIC: significance improvement against signal efficiency")
    pictures = [
        Picture.of(
            performance.roc_curves(evaluations, draw_runs=True), f"{alts[0]}; AUC {result.auc.mean():.3f}.", shown, dense=True
        ),
        Picture.of(
            performance.sic_curves(evaluations, draw_runs=True),
            f"{alts[1]}; its maximum is {best.value:.2f} at a signal efficiency of {best.tpr:.2f}.",
            shown,
            dense=True,
        ),
    ]
    rows = [
        (str(number), *_row(each), f"{auc:.3f}")
        for number, (each, auc) in enumerate(zip(result.run_max_sic, result.auc, strict=True))
    ]
    rows += [(label, *_row(each.max_sic), f"{each.auc[0]:.3f}") for label, each in averaged]
    if len(scores) > 1:
        rows.append(("median over the runs", *_row(best), f"{np.median(result.auc):.3f}"))
    text = f"SIC = ε_S/√ε_B. Every max SIC is {words.RULE}. The dashed line is that limit."
    return Section(
        "Performance", [text], pictures, [Table("Max SIC and AUC of every run", ("run", "max SIC", "ε_S", "ε_B", "AUC"), rows)]
    )


def _row(best: Any) -> tuple[str, str, str]:
    return f"{best.value:.2f}", f"{best.tpr:.3f}", f"{best.fpr:.2e}"


def selection(run: RunFolder) -> Section:
    """Mass spectra of all data, and of what cuts select."""
    scored = run.scored
    if scored is None:
        raise InputError("no scores.npy")
    cuts = scored.selected()
    figure = spectra.selected_spectra(scored.scores["m"], scored.efficiency, scored.window, [cut.efficiency for cut in cuts])
    rows = [(f"{cut.efficiency:g}", str(cut.found), f"{cut.expected:.1f} ± {cut.error:.1f}") for cut in cuts]
    text = f"Cuts on the background efficiency, in the signal region {scored.window}. What is expected holds if all data are background."
    table = Table("Events in the signal region", ("ε_B of the cut", "found", "expected (statistical error)"), rows)
    return Section(
        "Selected events", [text], [Picture.of(figure, "Mass spectrum of all data and of those that cuts select.")], [table]
    )


def sculpted(run: RunFolder) -> Section:
    """Whether cuts change the mass spectrum of the background."""
    found = run_sculpting(run.folder, run.folder)
    pictures = [
        Picture.of(
            sculpting.sculpting([cut], found.window),
            f"Mass spectrum of the background before and after keeping the most anomalous {100 * cut.share:g} %, and their ratio.",
        )
        for cut in found.cuts
    ]
    rows = [(f"{100 * cut.share:g} %", f"{cut.chi2_per_ndf:.2f}", str(cut.ndf), f"{np.median(cut.p_value):.2g}", f"{100 * cut.typical_change:.1f} %")
            for cut in found.cuts]  # fmt: skip
    verdict = found.verdict.sentence()
    rule = "A search for a bump takes the background after a cut to be as smooth as before. The spectrum counts as sculpted where the smallest "
    rule += "p-value of the cuts, times their number, is below 0.01; how much it changes is another question than how surely."
    head = ("kept", "χ²/ndf", "ndf", "p-value", "change (r.m.s. without statistics)")
    table = Table("Cuts on the score, medians over the runs", head, rows)
    return Section("Background sculpting", [f"{verdict[0].upper()}{verdict[1:]}.", rule], pictures, [table])


def files(run: RunFolder) -> Section:
    """What is in the folder."""
    rows: list[Sequence[str | Link]] = []
    for kind in run.files():
        name: str | Link = Link(kind.name, kind.name) if kind.n == 1 and (run.folder / kind.name).is_file() else kind.name
        rows.append((name, str(kind.n), words.size(kind.size), kind.stage, kind.content))
    endings = ", ".join(FIGURE_FORMATS)
    text = f"Numbers in names are N. Figures can be had in other formats ({endings}) by --figures. STAGE.json has size and SHA-256 of every file."
    return Section("Files", [text], tables=[Table("Files", ("file", "number", "size", "stage", "content"), rows)])
