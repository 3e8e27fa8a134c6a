"""What a run has found, in a sentence and in numbers."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from common.durations import duration
from common.errors import InputError
from reports import words
from reports.folder import RunFolder
from reports.page import Fact
from workflow.runs import searched_events, signal_to_background


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
    events = words.plural(cut["found"], "event")
    text = f"At a background efficiency of {cut['efficiency']:g}, {name} selects {events} of the signal region. "
    text += f"If all are background, {words.expected(cut)}. Nobody knows the labels: "
    return f"{text}an excess may be signal, or a fault of the background; a search fits the spectrum."


def facts(run: RunFolder) -> list[Fact]:
    """The headline."""
    results, found = run.results("evaluation"), []
    if mode := run.mode:
        found.append(Fact("Mode", mode.name, f"background: {mode.background}"))
    if "merit" in results:
        runs = len(results["auc"])
        found += _merit_facts(results, f"median of {words.plural(runs, 'run')}" if runs > 1 else "one run")
    for cut in results.get("selected", []):
        found.append(
            Fact(f"Selected at ε_B = {cut['efficiency']:g}", str(cut["found"]), f"if all are background, {words.expected(cut)}")
        )
    found += _signal_facts(run, results)
    if "data_against_background" in results:
        test = results["data_against_background"]
        remark = "two-sample AUC of boosted trees, known signal left out; 0.5: alike"
        found.append(Fact("Data against background", words.area(test), remark))
    return [*found, Fact("Wall time", duration(run.seconds), "all stages of this folder")]


def _merit_facts(results: dict[str, Any], of_what: str) -> list[Fact]:
    merit, n = results["merit"], results["test_background"]
    where = f"ε_S = {results['tpr']:.3f}, ε_B = {results['fpr']:.2e}, whose statistical error is at most 20 %; {of_what}"
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
    found = []
    with contextlib.suppress(InputError):
        found.append(
            Fact("S/B", f"{100 * signal_to_background(run.folder):.2f} %", "in the data of the signal region, by true labels")
        )
    with contextlib.suppress(InputError):
        signal, rest = searched_events(run.folder)
        before = signal / np.sqrt(rest)
        after = f"; times max SIC: {before * results['merit']['max_sic']['value']:.1f}" if "merit" in results else ""
        found.append(
            Fact("S/√B", f"{before:.2f}", f"{signal} signal, {rest} background events are searched, before any cut{after}")
        )
    return found
