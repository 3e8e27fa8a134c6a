"""A search from separated events to its results: windows separated anew, the mode's stages in each, fits, significance, figures."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from background.arrays import fold_folders
from common.contract import patterns
from common.errors import InputError
from common.files import load_array, load_json, save_csv, save_json
from common.options import StageOptions, option
from common.seeds import make_rng
from evaluation.folds import ScoredRun
from events.columns import Columns
from events.injection import Injection, known_signal
from events.options import SIDEBAND_TRAIN, RegionOptions
from events.regions import ALL_DATA
from events.separation import SEPARATED_FILES, Fractions, SeparatedEvents, separate_table
from events.view import UNKNOWN, load_events
from events.window import Window
from plots import search as figures
from plots.style import save
from search.bins import scan_windows, unit_in_tev
from search.fit import BackgroundFit, FitError
from search.hunt import FitSettings, LeftOutError, SearchedWindow, fit_bins, search_window
from search.options import SearchOptions
from search.results import COLUMNS, CURVE_FILES, SEARCH_FILES, GlobalResult, LeftOut, as_json, line, rows, window_folder
from search.selection import ScoredWindow
from search.toys import PatternToys, Selections, ToyResults, analyse
from workflow.checks import check_results_are_of
from workflow.plan import Step, describe, do_steps
from workflow.records import locked, read_records, warnings_of
from workflow.separation import write_separated
from workflow.stage import Stage, out_of_date, recover

logger = logging.getLogger(__name__)

SIGNAL_REGION_TRAIN = 0.5  # with folds it decides nothing
# Loggers that say how many events the window has, or how many of all events it does not have.
COUNTING = ("workflow.separation", "workflow.classifiers", "background", "events", "models.density")


@contextlib.contextmanager
def quiet(names: Sequence[str]) -> Iterator[None]:
    """Let some loggers say nothing but warnings."""
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@dataclass(frozen=True, kw_only=True)
class WindowOptions(RegionOptions, StageOptions):
    """How the events of a window are separated."""

    inject: float = option(0.0, "signal that is added, over the data in the signal region of stage 1")


@dataclass(frozen=True)
class Hunt:
    """A search of some data, with some injected signal.

    Parameters
    ----------
    options : SearchOptions
        With a seed.
    data_dir : Path
        Separated events, of which all data are taken.
    folder : Path
        For everything that is written.
    window : Window
        The signal region, of which signal is injected; the window of the search, unless there is a scan.
    s_over_b : float
        Signal that is injected, over the data in the signal region.
    steps_of : callable
        The mode's stages for events in a folder, with results in another; these must be there.
    """

    options: SearchOptions
    data_dir: Path
    folder: Path
    window: Window
    s_over_b: float
    steps_of: Callable[[Path, Path], list[Step]]

    @property
    def injection(self) -> Injection:
        """What is injected."""
        files = self.options.inject_from or (known_signal(self.data_dir) if self.s_over_b else ())
        return Injection(self.s_over_b, tuple(files))

    @cached_property
    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """All data [n, 2 + d] with what is injected, without labels, and their rows [n]."""
        events, row = load_events(self.data_dir / f"{ALL_DATA[0]}.npy"), load_array(self.data_dir / f"{ALL_DATA[1]}.npy")
        with quiet(COUNTING if self.options.blind else ()):
            events, row = self.injection.into(events, row, self.window, make_rng(self.options.seed or 0, "injection"))
        events = events.copy()
        events[:, -1] = UNKNOWN
        return events, row

    @property
    def settings(self) -> FitSettings:
        """How spectra are fitted."""
        options = self.options
        return FitSettings(
            options.sqrt_s / unit_in_tev(self.window.resonant), options.fit_min, options.fit_max, options.systematic_at
        )

    @cached_property
    def windows(self) -> tuple[list[Window], list[LeftOut]]:
        """Those that are searched, and those that cannot be."""
        windows, options, kept, left_out = [self.window], self.options, [], []
        if (highest := float(self.data[0][:, 0].max(initial=0))) >= self.settings.sqrt_s:
            energy = f"{options.flag('sqrt_s')} {options.sqrt_s:g} (TeV)"
            raise InputError(
                f"{energy}: {self.window.resonant.name} goes up to {self.window.resonant.quantity(f'{highest:.4g}')}"
            )
        if options.scan_min is not None and options.scan_max is not None:
            windows = scan_windows(options.scan_min, options.scan_max, options.n_windows, self.window.resonant)
        for window in windows:
            try:
                fit_bins(self.data[0][:, 0], window, self.settings)
                kept.append(window)
            except LeftOutError as error:
                left_out.append(LeftOut(window, str(error)))
        if len({self.folder_of(window) for window in kept}) < len(kept):
            raise InputError(f"{options.flag('n_windows')} {options.n_windows}: centers do not differ in four digits")
        if not kept:
            reasons = "; ".join(f"{each.window}: {each.reason}" for each in left_out)
            raise InputError(f"{self.data_dir}: no window can be searched: {reasons}")
        return kept, left_out

    def folder_of(self, window: Window) -> Path:
        """Where the mode's results of a window are."""
        return self.folder / window_folder(window)

    def separation(self, window: Window) -> Stage:
        """The stage that separates all data at the window, as stage 1 does with a table."""
        options = WindowOptions(SR_min=window.low, SR_max=window.high, seed=self.options.seed, inject=self.s_over_b)

        def inputs() -> list[Path]:
            own = [self.data_dir / f"{name}.npy" for name in ALL_DATA] + [self.data_dir / "columns.json"]
            return [*own, *self.injection.files]

        def work(folder: Path) -> dict[str, Any]:
            events, row = self.data
            columns = Columns.read(self.data_dir, events.shape[1] - 2)
            columns = Columns(columns.resonant, columns.features, signal_region=window.edges)
            fractions, rng = Fractions(SIDEBAND_TRAIN, SIGNAL_REGION_TRAIN, 0.0), make_rng(options.seed or 0, "separation")
            separation = separate_table(events[:, 0], events[:, -1], window, fractions, rng)
            separated = SeparatedEvents(events, events, row, separation, options.seed or 0)
            return write_separated(separated, columns, window, folder, self.options.figures)

        return Stage("separation", self.folder_of(window) / "separated_data", options, inputs, patterns(SEPARATED_FILES), work)

    def do(self, *, force: bool) -> None:
        """Do what is not up to date, window by window, then fit. The folder must be locked."""
        windows, left_out = self.windows
        for each in left_out:
            logger.warning("%s is left out: %s", each.window, each.reason)
        for window in windows:
            bins = fit_bins(self.data[0][:, 0], window, self.settings)
            logger.info("window %s; its fit goes from %.4g to %.4g", window, bins.edges[0], bins.edges[-1])
            folder, separation = self.folder_of(window), self.separation(window)
            with ExitStack() as locks:
                for place in (folder, separation.folder):
                    locks.enter_context(locked(place))
                    recover(place)
                if not force:
                    check_results_are_of(self.data_dir, [separation])
                with quiet(COUNTING if self.options.blind else ()):
                    do_steps([Step(separation)], force=force, resume=self.options.resume)
                    do_steps(self.steps_of(separation.folder, folder), force=force, resume=self.options.resume)
        for window in windows:
            for text in warnings_of(self.folder_of(window), "classifiers"):
                logger.warning("once more, from %s: %s", self.folder_of(window).name, text)
        recover(self.folder)
        do_steps([Step(self.stage())], force=force, resume=False)
        for text in load_json(self.folder / "bump_hunt.json")["said"]:
            logger.info("%s", text)
        logger.info("numbers: %s, figures beside it", self.folder / "bump_hunt.csv")

    def describe(self, *, force: bool) -> str:
        """What `do` would do, a few lines for every stage."""
        windows, left_out = self.windows
        resume = self.options.resume
        lines = [f"{each.window} is left out: {each.reason}\n" for each in left_out]
        for window in windows:
            separation = self.separation(window)
            lines.append(f"window {window}\n" + describe([Step(separation)], force=force, resume=resume))
            if (separation.folder / "columns.json").is_file() and out_of_date(separation) is None:
                lines.append(describe(self.steps_of(separation.folder, self.folder_of(window)), force=force, resume=resume))
            else:
                lines.append(f"to do: the stages of the mode, in {self.folder_of(window)}/\n")
        if any("to do" in text for text in lines):
            lines.append(f"to do: fits, significance and figures, in {self.folder}/\n")
        else:
            lines.append(describe([Step(self.stage())], force=force, resume=False))
        return "".join(lines)

    def stage(self) -> Stage:
        """Fits, significance, figures, tables."""
        windows, left_out = self.windows
        places = [self.folder_of(window) for window in windows]

        def inputs() -> list[Path]:
            names = ("scores.npy", "columns.json", "fold_*/X_test.npy", "fold_*/preds_matris_held_out.npy")
            return [path for place in places for name in names for path in sorted(place.glob(name))]

        def work(folder: Path) -> dict[str, Any]:
            opened = self._opened()
            runs = [ScoredRun.read(place, place, [fold.name for fold in fold_folders(place)]) for place in places]
            return self._search(runs, left_out, opened, folder)

        return Stage("bump_hunt", self.folder, self.options, inputs, patterns(SEARCH_FILES), work, after=("classifiers",))

    def _opened(self) -> list[str]:
        """Of what this folder has shown results: digests of settings and scores, each once, in their order; warns of other ones first.

        Blind searches and repetitions in between change nothing: nobody forgets what was seen.
        """
        try:
            content = load_json(self.folder / "bump_hunt.json")
            opened = list(map(str, content.get("opened", [] if content["blind"] else ["by an earlier version"])))
        except (InputError, KeyError, TypeError, AttributeError):
            opened = []
        if self.options.blind:
            return opened
        stage, before = self.stage(), read_records(self.folder).get("bump_hunt")
        settings = {"options": stage.settings["options"], "inputs": stage.read()}
        mine = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        if opened and opened[0] != mine:
            reason = None if before is None or before["options"]["blind"] else out_of_date(stage)
            text = "the box was open before, and now %s. Of several results, the first one counts"
            logger.warning(text, reason or "the settings or the scores are not those of the first time")
        return opened if mine in opened else [*opened, mine]

    def _search(
        self, runs: Sequence[ScoredRun], left_out: Sequence[LeftOut], opened: Sequence[str], folder: Path
    ) -> dict[str, Any]:
        """Search scored events, and write what is found."""
        options, seed = self.options, self.options.seed or 0
        m = runs[0].scores["m"]
        if any(not np.array_equal(run.scores[name], runs[0].scores[name]) for run in runs for name in ("m", "row", "fold")):
            raise InputError(f"{self.folder}: the windows have scores of different events")
        scored = [ScoredWindow(fit_bins(m, run.window, self.settings), run.efficiency, run.n_held_out) for run in runs]
        searched = [
            search_window(each, m, options.cuts, self.settings, make_rng(seed, f"search {each.bins.window}"), blind=options.blind)
            for each in scored
        ]
        overall = None if options.blind else self._overall(scored, searched, m)
        for window in searched:
            for measured in window.measured:
                if (spectrum := window.spectrum(measured.efficiency)) is not None:
                    name = f"spectrum_{window.bins.window.center:.4g}_{measured.efficiency:g}.{options.figures}"
                    save(figures.spectrum_with_fit(spectrum, window.bins.window, measured), folder / name)
        if any(each.p0 is not None for window in searched for each in window.measured):
            places = [(window.bins.window, window.measured) for window in searched]
            save(figures.p0_against_center(places), folder / f"p0.{options.figures}")
        said = [line(each.bins.window, measured) for each in searched for measured in each.measured]
        if len(searched) > 1:
            said.append("a signal in one window lies in the sidebands of its neighbours, whose expectations it may raise")
        if overall is not None:
            said.append(overall.sentence())
        elif options.blind:
            said.append("blind: what a window has is hidden in its own results; it is part of the sidebands of its neighbours")
        results = as_json(searched, left_out, overall) | {
            "blind": options.blind,
            "opened": list(opened),
            "injected_s_over_b": self.s_over_b,
            "said": said,
        }
        save_json(folder / "bump_hunt.json", results)
        save_csv(folder / "bump_hunt.csv", COLUMNS, rows(searched))
        return {"global": results["global"], "windows": len(searched), "left_out": results["left_out"]}

    def _overall(self, scored: Sequence[ScoredWindow], searched: Sequence[SearchedWindow], m: np.ndarray) -> GlobalResult | None:
        """The global p-value of the largest significance; None where no fit is."""
        found = {
            (number, each.efficiency): each
            for number, window in enumerate(searched)
            for each in window.measured
            if each.efficiency in window.fits
        }
        outcome, without_part = self._toys(scored, searched, m)
        named = [
            f"{searched[number].bins.window} at efficiency {cut:g} ({found[number, cut].z:+.1f} σ; {reason})"
            for (number, cut), reason in without_part.items()
        ]
        for name in named:
            logger.warning("has no part in the global p-value: %s", name)
        looked_at = [key for key in found if key not in without_part]
        if not looked_at:
            return None
        number, cut = max(looked_at, key=lambda key: found[key].z)
        measured, window = found[number, cut], searched[number].bins.window
        if outcome is None:
            return GlobalResult(window, cut, measured.z, measured.p0, None, 0, 0)
        p, n_above = outcome.global_p(measured.z)
        n_toys = self.options.n_toys
        return GlobalResult(window, cut, measured.z, measured.p0, p, n_toys, n_above, len(looked_at), tuple(named))

    def _toys(
        self, scored: Sequence[ScoredWindow], searched: Sequence[SearchedWindow], m: np.ndarray
    ) -> tuple[ToyResults | None, dict[tuple[int, float], str]]:
        """What background toys give, None without any; and which fits (window's number, efficiency) have no part in that, and why."""
        usable = [number for number, window in enumerate(searched) if 1.0 in window.fits]
        if not self.options.n_toys or not usable:
            return None, {}
        without_part = {
            (number, cut): "there is no fit of all events"
            for number, window in enumerate(searched)
            for cut in window.fits
            if number not in usable
        }
        try:
            fits = [searched[number].richest_fits() for number in usable]
            toys = background_toys([scored[number] for number in usable], fits, m)
            outcome = analyse(toys, self.options.n_toys, self.options.systematic_at, make_rng(self.options.seed or 0, "toys"))
        except FitError as error:
            logger.warning("no global p-value, no toys can be drawn: %s", error)
            return None, {}
        failing = np.isnan(outcome.z).mean(axis=0)
        for place, number in enumerate(usable):
            for each, cut in enumerate(searched[number].fits):
                if not outcome.reliable[place, each]:
                    without_part[number, cut] = f"its fit fails in {100 * failing[place, each]:.0f} % of the toys"
        return outcome, without_part


def background_toys(scored: Sequence[ScoredWindow], fits: Sequence[Mapping[float, BackgroundFit]], m: np.ndarray) -> PatternToys:
    """Toys of the background of scored windows, which follow a fit of every selection; all windows have an inclusive one."""
    selections = Selections(tuple(each.bins for each in scored), tuple(fits))
    return PatternToys(selections, m, [each.n_passed(tuple(found)) for each, found in zip(scored, fits, strict=True)])


def curve_stage(options: SearchOptions, save_dir: Path, folders: Mapping[float, Path], window: Window) -> Stage:
    """Significance against injected signal, in the window that is searched, or that of a scan next to where the signal is counted."""

    names = ("injected_s_over_b", "center", "efficiency", "observed", "expected", "z", "p0")

    def inputs() -> list[Path]:
        return [folder / "bump_hunt.json" for folder in folders.values()]

    def work(folder: Path) -> dict[str, Any]:
        searched = {
            x: {each["window"]["center"]: each["efficiencies"] for each in load_json(place / "bump_hunt.json")["windows"]}
            for x, place in folders.items()
        }
        center = min({center for each in searched.values() for center in each}, key=lambda each: abs(each - window.center))
        found: dict[float, list[float | None]] = {cut: [] for cut in options.cuts}
        lines = []
        for x, windows in searched.items():
            if center not in windows:
                logger.warning("with S/B = %g injected the window at %.4g is left out: the curve has no point there", x, center)
            measured = {each["efficiency"]: each for each in windows.get(center, [])}
            for cut, z in found.items():
                values = measured.get(cut, {})
                z.append(values.get("z"))
                lines.append((x, center, cut, *(values.get(name) for name in names[3:])))
        save_json(folder / "injection.json", {"points": [dict(zip(names, values, strict=True)) for values in lines]})
        save_csv(folder / "injection.csv", names, lines)
        if any(z is not None for values in found.values() for z in values):
            save(figures.significance_against_injected(list(folders), found), folder / f"injection.{options.figures}")
        return {"points": len(lines)}

    return Stage("injection_curve", save_dir, options, inputs, patterns(CURVE_FILES), work, after=("bump_hunt",))
