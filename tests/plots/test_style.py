"""Every figure: labels with units, one style that stays inside, formats that are the same every time."""

from __future__ import annotations

import importlib
import inspect
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from toys import ROOT

from evaluation.closure import Closure
from evaluation.curves import evaluate_scores
from evaluation.errors import figures_of_merit
from evaluation.sculpting import background_sculpting
from events.window import Window
from plots.scan import Band
from plots.style import COLOURS, STYLE, as_bytes, drawable, save
from search.hunt import FittedSpectrum, Measured

rng = np.random.default_rng(0)
X, labels, window = rng.normal(size=(400, 4)), ["$m_{J1}$ (TeV)", "$x$ (GeV)", r"$\tau_{21}$", "y (cm)"], Window(3.3, 3.7)
m, truth = rng.uniform(2.5, 5, 4000), np.repeat([1, 0], [300, 3000])
scores = np.stack([truth + rng.normal(size=3300) for _ in range(3)])
evaluations = {"a": evaluate_scores(scores, truth), "b": evaluate_scores(-scores, truth)}
measured = Measured(0.1, 12, 10.0, 1.0, 0.5, 0.3, 0.5, 2.0, (0.0, 4.0), (0.0, 6.0), 7.0, 3, [1.0], 0.5)
spectrum = FittedSpectrum(np.linspace(2, 5, 11), np.arange(11.0)[1:], np.arange(11.0)[1:] + 0.5, np.ones(10) / 2)
closure = Closure(window, 200, 0.51, 0.01, np.sort(rng.normal(size=(4, 21))), rng.normal(size=(4, 20)))
curve = (np.linspace(0.1, 1, 9), np.linspace(0.01, 1, 9))
EXAMPLES = {
    "closure.closure_pulls": ([closure, closure], labels),
    "losses.loss_curves": ({"training": rng.random((3, 5)), "validation": rng.random((3, 5))},),
    "pairs.hists_2d": (X, labels),
    "pairs.pulls_2d": (X, X[:200], labels),
    "pairs.preds_2d": (X, X[:, 0], labels),
    "performance.curves_of_runs": ([("a", [curve], (curve[0], 1 / curve[1], curve[0]))], (0, 20)),
    "performance.merits": ({"a": figures_of_merit(scores, truth, 3), "b": figures_of_merit(scores, truth, 3)},),
    "performance.roc_and_sic": (evaluations,),
    "performance.roc_curves": (evaluations,),
    "performance.sic_curves": (evaluations,),
    "scan.against_axis": ({"max SIC": {"a": Band.of({1.0: [3, 4], 2.0: [5, 6]})}}, "number of samples (events)"),
    "scan.max_sic_scan": ({"a": {0.01: [3, 4], 0.02: [5, 6]}}, "S/B in the signal region (%)"),
    "scores.efficiency_distribution": (rng.random(500),),
    "scores.score_distributions": ({"background": rng.random(90), "signal": rng.random(90)}, "score"),
    "sculpting.sculpting": (background_sculpting(m, rng.random(4000)), "CATHODE", window),
    "search.p0_against_center": ([(window, [measured]), (Window(4, 4.4), [measured])],),
    "search.significance_against_injected": ([0, 0.1], {0.1: [0.5, 3.0]}),
    "search.spectrum_with_fit": (spectrum, window, measured),
    "spectra.data_against_samples": (X, X[:200], labels),
    "spectra.mass_spectrum": (m, window),
    "spectra.selected_spectra": (m, rng.random(4000), window, [0.1]),
}
UNIT = re.compile(r"\((TeV|GeV|cm|nats|σ|%|events|1/TeV)\)$|^events / ")
WITHOUT_UNIT = (r"\tau", "epoch", r"\epsilon", "SIC", "share of events", "events per bin", "score", "p-value", "after / before",
                "ratio", "run", "trees", "significance", "events / expected")  # fmt: skip


def draw(name):
    module, function = name.split(".")
    further = {"along_a_scale": False, "name_runs": True} if function == "curves_of_runs" else {}
    return getattr(importlib.import_module(f"plots.{module}"), function)(*EXAMPLES[name], **further)


def test_no_figure_is_forgotten():
    found = set()
    for path in (ROOT / "plots").glob("*.py"):
        module = importlib.import_module(f"plots.{path.stem}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and inspect.signature(function).return_annotation == "Figure":
                found.add(f"{path.stem}.{name}")
    assert {name for name in found if name.split(".")[1][0] != "_"} == EXAMPLES.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_axis_says_what_it_is_and_its_unit(name):
    before = dict(plt.rcParams)
    figure = draw(name)
    assert dict(plt.rcParams) == before, "the style stays inside"
    axes = [each for each in figure.axes if each.get_visible()]
    assert axes
    for each in axes:
        for which, shared in (("x", each.get_shared_x_axes()), ("y", each.get_shared_y_axes())):
            texts = {getattr(other, f"get_{which}label")() for other in [each, *shared.get_siblings(each)]} - {""}
            if not texts and each.get_label() == "<colorbar>":
                continue
            if not texts and name == "spectra.data_against_samples":  # the first panel of a row speaks for it
                texts = {getattr(other, f"get_{which}label")() for other in axes} - {""}
            assert texts, f"{name}: {which} axis without a label"
            for text in texts:
                assert UNIT.search(text) or any(word in text for word in WITHOUT_UNIT), f"{name}: {text} has no unit"
    sizes = [text.get_fontsize() for each in axes for text in (each.xaxis.label, each.yaxis.label, *each.get_xticklabels())]
    widest = figure.get_size_inches()[0]
    assert min(sizes) * (3.4 if widest < 6 else 7) / min(widest, 10.4) >= 6, "readable in one column, or across two"
    plt.close(figure)


def test_text_that_is_no_mathematics_is_drawn_as_it_is():
    assert drawable(["$m_{JJ}$", "$broken{"]) == ["$m_{JJ}$", r"\$broken{"]


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_the_same_figure_is_the_same_file(kind, tmp_path):
    for number in range(2):
        save(draw("spectra.mass_spectrum"), tmp_path / f"{number}.{kind}")
    assert (tmp_path / f"0.{kind}").read_bytes() == (tmp_path / f"1.{kind}").read_bytes()
    assert len(as_bytes(draw("spectra.mass_spectrum"), kind)) > 2000


def test_colours_are_those_of_the_list():
    """Colours that the colour-blind tell apart come from one place; "tab:" and "C3" are others."""
    for path in (ROOT / "plots").glob("*.py"):
        assert not re.search(r"\"tab:|f\"C\{|\"C[0-9]\"", path.read_text()), path
    assert [entry["color"] for entry in STYLE["axes.prop_cycle"]] == list(COLOURS)
