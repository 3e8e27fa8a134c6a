"""The report of a search for a bump: the global sentence, p-values, spectra with their fits, windows left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.durations import duration
from common.errors import InputError
from common.files import load_json
from plots import search as figures
from reports import words
from reports.folder import RunFolder
from reports.page import Fact, Link, Page, Picture, Section, Table
from reports.run import files, stages
from search.results import StoredSearch, StoredWindow, window_folder
from workflow.records import now

SEARCH, CURVE = "bump_hunt", "injection_curve"


def search_page(folder: Path) -> Page:
    """The report of a search, or of several with different amounts of injected signal.

    Raises
    ------
    InputError
        If the folder has no STAGE.json.
    """
    run = RunFolder.read(folder)
    found, broken = None, ""
    if SEARCH in run.records:
        try:
            found = StoredSearch.read(run.folder / "bump_hunt.json")
        except InputError as error:
            broken = f"They are missing: {error}."
    names = [path.parent.name for path in sorted(run.folder.glob("window_*/STAGE.json"))]
    if found is not None:  # folders of earlier scans may be there, too
        names = [name for name in names if name in {window_folder(each.window) for each in found.windows}]
    places = [RunFolder.read(run.folder / name) for name in names]
    warnings = list(dict.fromkeys(text for each in (run, *places) for text in each.warnings))
    sections = [stages(each) for each in (run, *places)]
    named = [Section(f"Stages of {each.folder.name}" if each is not run else "Stages", s.text, s.pictures, s.tables)
             for each, s in zip((run, *places), sections, strict=True)]  # fmt: skip
    modes = {each.mode.name for each in (run, *places) if each.mode is not None}
    title = f"Search for a bump, {' and '.join(sorted(modes)) or 'unknown mode'}: {run.folder.resolve().name}"
    seconds = Fact("Wall time", duration(sum(each.seconds for each in (run, *places))), "all stages of all windows")
    if SEARCH not in run.records:
        return Page(title, "Several searches, with different amounts of injected signal.", [seconds], run.command, warnings,
                    [_injected(run), *named, files(run)], words.time(now()))  # fmt: skip
    if found is None:
        missing = [Section("Results", missing=broken), *named, files(run)]
        return Page(title, "The results cannot be read.", [seconds], run.command, warnings, missing, words.time(now()))
    windows = [_window(each) for each in found.windows]
    own = [*filter(None, [_p_values(found)]), *windows, _left_out(run), *named, _runs(places), files(run)]
    said = found.said[-1] if found.said else "Nothing was searched."
    return Page(title, f"{said[0].upper()}{said[1:]}.", [*_facts(found), seconds], run.command, warnings, own, words.time(now()))


def _facts(found: StoredSearch) -> list[Fact]:
    """The headline."""
    searched = Fact("Windows", str(len(found.windows)), "searched")
    if found.overall is None:
        return [searched, Fact("Global p-value", "none", "blind, or no fit")]
    overall = found.overall
    window = overall["window"]
    where = f"in {window['low']:.4g} to {window['high']:.4g} {window['unit']}, at efficiency {overall['efficiency']:g}"
    local = Fact("Largest local significance", f"{overall['z']:.2f} σ", f"p0 = {overall['p0']:.2g} {where}")
    if overall["p"] is None:
        return [local, Fact("Global p-value", "none", "no toys were thrown"), searched]
    toys = f"as much in any of {overall['n_selections']} fits: {overall['n_above']} of {overall['n_toys']} background toys"
    bound = f"below {overall['p_limit_95']:.2g}" if overall["p_is_bound"] else f"{overall['p']:.2g}"
    return [local, Fact("Global p-value", bound, f"{'at 95 % CL: ' if overall['p_is_bound'] else ''}{toys}"), searched]


def _p_values(found: StoredSearch) -> Section | None:
    """All windows together; None where there is only one."""
    places = [(each.window, each.measured) for each in found.windows]
    if len(places) == 1:
        return None
    if not any(measured.p0 is not None for _, several in places for measured in several):
        return Section("Local p-values", missing="No window has a p-value: the search is blind, or has no fit.")
    alt = f"Local p-value against the center of the window, for {words.plural(len(places), 'window')}."
    text = "A signal in one window lies in the sidebands of its neighbours, whose expectations it may raise."
    return Section("Local p-values", [text], [Picture.of(figures.p0_against_center(places), alt)])


def _window(found: StoredWindow) -> Section:
    """The spectra of a window, and its numbers."""
    pictures, rows = [], []
    for measured, spectrum in zip(found.measured, found.spectra, strict=True):
        name = "all events" if measured.efficiency == 1 else f"efficiency {measured.efficiency:g}"
        if spectrum is not None:
            alt = f"Mass spectrum of {name} with the fit of the sideband and pulls."
            pictures.append(Picture.of(figures.spectrum_with_fit(spectrum, found.window, measured), alt, dense=True))
        rows.append((name, *_numbers(measured)))
    head = ("selection", "expected", "found", "local σ", "p0", "signal events (68 %)", "limit (95 % CL)", "goodness of fit")
    table = Table(f"Window {found.window}", head, rows)
    return Section(f"Window {found.window}", [], pictures, [table])


def _numbers(measured: Any) -> tuple[str, ...]:
    if measured.expected is None:
        return ("", "" if measured.observed is None else str(measured.observed), "", "", "", "", f"no fit: {measured.failure}")
    expected, goodness = f"{measured.expected:.1f} ± {measured.error:.1f}", f"{measured.goodness:.2f}"
    if measured.observed is None:
        return (expected, "hidden", "", "", "", "", goodness)
    low, high = measured.interval_68
    interval = f"{measured.yield_:.1f} ({low:.1f} to {high:.1f})"
    significance = f"{measured.z:+.2f}", f"{measured.p0:.2g}"
    return (expected, str(measured.observed), *significance, interval, f"{measured.limit:.1f}", goodness)


def _left_out(run: RunFolder) -> Section:
    """Windows that are not searched."""
    left_out = run.results(SEARCH).get("left_out", [])
    if not left_out:
        return Section("Windows left out", ["None."])
    rows = [(f"{each['low']:.4g} to {each['high']:.4g} {each['unit']}", str(each["reason"])) for each in left_out]
    return Section("Windows left out", tables=[Table("Windows that are not searched", ("window", "reason"), rows)])


def _runs(places: list[RunFolder]) -> Section:
    """Where the runs of the windows are."""
    rows = [(Link(each.folder.name, f"{each.folder.name}/"), duration(each.seconds)) for each in places]
    text = "python report.py FOLDER writes the report of a window's run: losses, data against background, scores."
    return Section("Runs of the windows", [text], tables=[Table("Folders", ("folder", "took"), rows)])


def _injected(run: RunFolder) -> Section:
    """Significance against injected signal."""
    alt = "Local significance of the window against the injected signal over background."
    try:
        points = load_json(run.folder / "injection.json")["points"]
        amounts = list(dict.fromkeys(float(point["injected_s_over_b"]) for point in points))
        z: dict[float, list[float | None]] = {}
        for point in points:
            z.setdefault(float(point["efficiency"]), []).append(point["z"])
        has_curve = any(value is not None for values in z.values() for value in values)
        pictures = [Picture.of(figures.significance_against_injected(amounts, z), alt)] if has_curve else []
    except (InputError, KeyError, TypeError, ValueError) as error:
        return Section("Injected signal", missing=f"There is no curve: {error}.")
    links = [(Link(f"injected_{x:g}", f"injected_{x:g}/report.html"), f"{100 * x:g} %") for x in amounts]
    text = [] if has_curve else ["There is no curve: no search has a significance, they are blind or have no fit."]
    return Section("Injected signal", text, pictures, [Table("Searches", ("report", "injected S/B"), links)])
