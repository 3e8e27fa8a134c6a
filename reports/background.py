"""The sections of a report about what stands for the background: it and the data, in single features and in pairs."""

from __future__ import annotations

from background.arrays import fold_folders
from background.mode import Mode
from common.errors import InputError
from plots.pairs import pulls_2d
from plots.spectra import data_against_samples
from reports import words
from reports.folder import RunFolder
from reports.page import Picture, Section
from workflow.runs import training_events

LARGEST_PAIRS = 8  # features of which all pairs are drawn


def background(run: RunFolder) -> Section | None:
    """Data against what stands for the background, feature by feature."""
    if not run.has_classifier:
        return None
    compared, mode = training_events(run.folder), run.mode
    names = _names(mode)
    pictures = []
    for number, (axis, column) in enumerate(
        zip(compared.axes, (compared.columns.resonant, *compared.columns.features), strict=True)
    ):
        one = slice(number, number + 1)
        figure = data_against_samples(compared.data[:, one], compared.background[:, one], [axis], names)
        pictures.append(
            Picture.of(figure, f"Distribution of {column.name}: {names[0]} and {names[1]}, their ratio and pulls.", dense=True)
        )
    text = [f"The training data ({len(compared.data)} events) and what stands for their background ({len(compared.background)} events)"
            f"{', of the first fold' if fold_folders(run.folder) else ''}. Signal among the data is part of the difference."]  # fmt: skip
    if not compared.is_known:
        text.append("Features are standardized: this folder was made by a version that did not keep how.")
    if test := run.results("evaluation").get("data_against_background"):
        kinds = f"{test['events']} events of each kind, known signal left out"
        text.append(f"Boosted trees tell them apart with an AUC of {words.area(test)} ({kinds}).")
    return Section("Data and background", text, pictures)


def _names(mode: Mode | None) -> tuple[str, str]:
    return getattr(mode, "class_names", ("data", "samples"))


def feature_pairs(run: RunFolder) -> Section | None:
    """Pulls between data and background in all pairs of features."""
    if not run.has_classifier:
        return None
    compared = training_events(run.folder)
    d = min(compared.data.shape[1] - 1, LARGEST_PAIRS)
    if d < 2:
        raise InputError("there is only one feature")
    kinds = (compared.data, compared.background)
    figure = pulls_2d(*(kind[:, 1 : d + 1] for kind in kinds), compared.axes[1 : d + 1])
    text = "What single features do not show. Where both kinds of events follow the same density, pulls scatter around 0 by 1."
    alt = f"Pulls between {' and '.join(_names(run.mode))} in bins of every pair of {d} features."
    return Section("Pairs of features", [text], [Picture.of(figure, alt, "Bins with few events are left out.", dense=True)])
