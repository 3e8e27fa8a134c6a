"""A search in one window, from scored events."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest

from events.window import Window
from search.bins import MassBins
from search.hunt import FitSettings, LeftOutError, fit_bins, search_window
from search.selection import ScoredWindow

WINDOW, SETTINGS, CUTS = Window(3.3, 3.7), FitSettings(13.0), (1.0, 0.1, 0.01)


def spectrum(n: int = 60_000, turn_on: float = 2.65, seed: int = 0) -> np.ndarray:
    """Masses (TeV) that rise to a turn-on and fall from there."""
    rng = np.random.default_rng(seed)
    return turn_on + np.where(rng.uniform(size=n) < 0.15, -rng.exponential(0.15, n), rng.exponential(0.6, n))


def bins_of(m: np.ndarray, window: Window = WINDOW, settings: FitSettings = SETTINGS):
    return fit_bins(m, window, settings)


def searched(m: np.ndarray, efficiency: np.ndarray, *, blind: bool = False, cuts=CUTS, n_held_out=(10_000,) * 5):
    scored = ScoredWindow(bins_of(m), efficiency, n_held_out)
    return search_window(scored, m, cuts, SETTINGS, np.random.default_rng(1), blind=blind)


def test_the_fit_begins_above_the_turn_on_and_ends_where_events_are_few():
    m = spectrum()
    bins = bins_of(m)
    assert 1.05 * 2.65 - 0.1 < bins.edges[0] < 2.95
    counts = bins.counts(m)
    assert counts.min() >= 10
    width = bins.edges[-1] / bins.edges[-2]
    assert ((m > bins.edges[-1]) & (m < bins.edges[-1] * width)).sum() < 10


def test_a_given_range_is_taken():
    bins = bins_of(spectrum(), settings=FitSettings(13.0, 2.85, 6.0))
    assert bins.edges[0] == pytest.approx(2.85, abs=0.09)
    assert 2.85 <= bins.edges[0] < bins.edges[-1] <= 6.0


def test_the_range_does_not_depend_on_the_window_s_own_events():
    m = spectrum()
    other = np.concatenate([m[~WINDOW.contains(m)], np.random.default_rng(3).uniform(3.31, 3.69, 30_000)])
    assert bins_of(m).edges == bins_of(other).edges


@pytest.mark.parametrize(
    ("window", "settings", "reason"),
    [
        (Window(2.9, 3.2), SETTINGS, "where the fit may begin"),
        (Window(7.0, 8.0), SETTINGS, "where bins have fewer than 10 events"),
        (WINDOW, FitSettings(13.0, 3.1), "where the fit may begin"),
        (WINDOW, FitSettings(13.0, 0.003), "begin at 0.003, below all data"),
        (WINDOW, FitSettings(13.0, None, 3.8), "where the fit is to end"),
        (WINDOW, FitSettings(3.6), "above the energy of the collisions"),
        (Window(1.0, 20.0), FitSettings(100.0), "no sideband"),
    ],
)  # fmt: skip
def test_windows_without_room_are_left_out(window, settings, reason):
    with pytest.raises(LeftOutError, match=reason):
        bins_of(spectrum(), window, settings)


def test_a_spectrum_that_no_fit_describes_leaves_the_window_out():
    m = spectrum()
    comb = np.concatenate([m, np.repeat(np.arange(2.85, 6, 0.31), 400)])
    with pytest.raises(LeftOutError, match="describes the sideband"):
        bins_of(comb)


@pytest.mark.parametrize("peaks", [False, True])
def test_a_spectrum_that_does_not_fall_is_warned_of(peaks, caplog):
    m = np.random.default_rng(4).normal(3.4, 0.5, 40_000) if peaks else spectrum()
    m = m[m > 2.6]
    scored = ScoredWindow(MassBins.around(WINDOW, 2.8, 5.0, 13.0), np.zeros(len(m)), (1000,))
    search_window(scored, m, (1.0,), SETTINGS, np.random.default_rng(5), blind=False)
    assert ("the fit peaks at 3." in caplog.text) == peaks


def test_an_excess_is_measured():
    m, rng = spectrum(), np.random.default_rng(2)
    m = np.concatenate([m, rng.normal(3.5, 0.04, 150)])
    efficiency = np.concatenate([rng.uniform(size=60_000), np.full(150, 0.005)])
    found = {each.efficiency: each for each in searched(m, efficiency).measured}
    tight = found[0.01]
    assert found[1.0].z < 3 < 5 < tight.z
    assert tight.p0 < 1e-6
    assert tight.interval_68[0] < 150 < tight.interval_95[1]
    assert tight.interval_95[0] < tight.interval_68[0] < tight.yield_ < tight.interval_68[1] < tight.interval_95[1] < 250
    assert tight.observed == (WINDOW.contains(m) & (efficiency <= 0.01)).sum()
    assert tight.goodness > 0.01
    assert found[1.0].observed == WINDOW.contains(m).sum(), "1 is no selection"


def test_what_is_never_selected_counts_only_without_selection():
    m, rng = spectrum(), np.random.default_rng(3)
    efficiency = np.where(rng.uniform(size=len(m)) < 0.5, np.nan, rng.uniform(size=len(m)))
    inclusive, loose, _ = searched(m, efficiency).measured
    assert inclusive.observed == WINDOW.contains(m).sum()
    assert loose.observed == (WINDOW.contains(m) & (efficiency <= 0.1)).sum()


def test_with_scores_fixed_counts_in_the_window_leave_orders_and_predictions_unchanged():
    m, rng = spectrum(), np.random.default_rng(4)
    efficiency, kept = rng.uniform(size=len(m)), ~WINDOW.contains(m) | (rng.uniform(size=len(m)) < 0.3)
    first, second = searched(m, efficiency), searched(m[kept], efficiency[kept])
    for one, other in zip(first.measured, second.measured, strict=True):
        for name in ("order", "expected", "error", "parameters", "goodness"):
            assert getattr(one, name) == getattr(other, name), name
        assert one.observed > 2 * other.observed


def test_blind_says_what_is_expected_and_nothing_of_what_is_there():
    m, rng = spectrum(), np.random.default_rng(5)
    efficiency = rng.uniform(size=len(m))
    hidden, seen = searched(m, efficiency, blind=True), searched(m, efficiency)
    for one, other in zip(hidden.measured, seen.measured, strict=True):
        assert one.expected == other.expected
        assert [getattr(one, name) for name in ("observed", "p0", "z", "yield_", "limit", "interval_68")] == [None] * 6
        of_window = hidden.spectra[one.efficiency][hidden.bins.in_window]
        assert of_window.sum() == 0


def test_what_cannot_be_fitted_has_a_reason_and_no_number():
    m, rng = spectrum(), np.random.default_rng(6)
    never, none_above = np.full(len(m), np.nan), np.where(m < 3.7, rng.uniform(size=len(m)), 1.0)
    for efficiency, reason in ((never, "no event below"), (none_above, "no event above")):
        _, result, _ = searched(m, efficiency).measured
        assert reason in result.failure
        numbers = asdict(replace(result, failure="", observed=None))
        assert all(value in (None, "", [], 0.1) for value in numbers.values())


def test_an_empty_window_has_a_p_value_and_a_limit():
    m = spectrum()
    efficiency = np.where(WINDOW.contains(m), 1.0, np.random.default_rng(7).uniform(size=len(m)))
    *_, result = searched(m, efficiency).measured
    assert (result.observed, result.p0, result.yield_) == (0, 0.5, -result.expected)
    assert 0 < result.limit < 20


def test_efficiencies_that_held_out_background_cannot_give_are_not_searched():
    m = spectrum()
    inclusive, loose, tight = searched(m, np.random.default_rng(8).uniform(size=len(m)), n_held_out=(300, 60, 300)).measured
    assert not inclusive.failure
    assert not loose.failure
    assert "60 held-out background events in a fold are too few" in tight.failure
    assert tight.expected is None
