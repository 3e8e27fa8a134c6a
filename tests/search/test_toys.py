"""Toys of the fit stage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest

from events.columns import M_JJ
from events.window import Window
from search.bins import MassBins, scan_windows
from search.fit import SpectrumFitter
from search.hunt import FitSettings, search_window
from search.selection import ScoredWindow
from search.toys import PatternToys, Selections, ToyResults, analyse

CUTS = (1.0, 0.1, 0.02)
N = 40_000
SETTINGS = FitSettings(13.0)


def masses(n: int, rng: np.random.Generator) -> np.ndarray:
    """A falling spectrum (TeV)."""
    return 2.7 + rng.exponential(0.7, n)


def scored(window: Window, efficiency: np.ndarray) -> ScoredWindow:
    return ScoredWindow(MassBins.around(window, 2.75, 8.0, 13.0), efficiency, (100_000,) * 5)


def toys_of(windows: list[ScoredWindow], m: np.ndarray) -> PatternToys:
    """Toys of what these windows' selections leave."""
    fits = []
    for each in windows:
        fitter = SpectrumFitter(each.bins)
        fits.append({cut: fitter.choose(each.bins.counts(m[each.passing(cut)]), None) for cut in CUTS})
    selections = Selections(tuple(each.bins for each in windows), tuple(fits))
    return PatternToys(selections, m, [each.n_passed(CUTS) for each in windows])


def means(toys: PatternToys) -> list[list[np.ndarray]]:
    """What toys have on average."""
    return toys.counted(toys.rates)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return masses(N, rng), rng.uniform(size=N)


def test_toys_have_on_average_what_the_fits_say(data):
    m, efficiency = data
    toys = toys_of([scored(Window(3.3, 3.7), efficiency), scored(Window(3.8, 4.26), efficiency[::-1])], m)
    for fits, spectra in zip(toys.selections.fits, means(toys), strict=True):
        for cut, spectrum in zip(CUTS, spectra, strict=True):
            expected = fits[cut].expected
            many = expected > 1
            error = 2e-3 * expected + (np.sqrt(expected) if cut == 1 else 0)  # that of all events is fitted in the window, too
            assert (np.abs(spectrum - expected) < error)[many].all()


def test_drawn_counts_are_poisson_and_selections_nested(data):
    m, efficiency = data
    toys, rng = toys_of([scored(Window(3.3, 3.7), efficiency)], m), np.random.default_rng(1)
    drawn = np.array([[spectrum.sum() for spectrum in toys.draw(rng)[0]] for _ in range(300)])
    expected = np.array([spectrum.sum() for spectrum in means(toys)[0]])
    assert (np.abs(drawn.mean(axis=0) - expected) < 4 * np.sqrt(expected / 300)).all()
    assert drawn.var(axis=0) / expected == pytest.approx([1, 1, 1], abs=0.3)
    assert (np.diff(drawn, axis=1) <= 0).all()


def test_events_that_two_windows_select_alike_stay_common(data):
    """The same selection in two overlapping windows has the same events there; independent ones have not."""
    m, efficiency = data
    first, second = Window(3.3, 3.7), Window(3.301, 3.701)
    for other, expected in ((efficiency, 1.0), (np.random.default_rng(2).uniform(size=N), 0.02)):
        toys, rng = toys_of([scored(first, efficiency), scored(second, other)], m), np.random.default_rng(3)
        drawn = np.array([[spectra[2].sum() for spectra in toys.draw(rng)] for _ in range(400)])
        assert np.corrcoef(drawn.T)[0, 1] == pytest.approx(expected, abs=0.15)


def test_a_signal_in_the_data_is_not_in_the_toys(data):
    m, efficiency = data
    rng = np.random.default_rng(4)
    with_signal = np.concatenate([m, rng.uniform(3.4, 3.6, 300)])
    selected = np.concatenate([efficiency, np.full(300, 1e-3)])
    [[_, _, clean]] = means(toys_of([scored(Window(3.3, 3.7), efficiency)], m))
    window = scored(Window(3.3, 3.7), selected)
    [[_, _, toy]] = means(toys_of([window], with_signal))
    inside = window.bins.in_window
    assert window.bins.counts(with_signal[window.passing(0.02)])[inside].sum() > 1.8 * clean[inside].sum()
    assert toy[inside].sum() == pytest.approx(clean[inside].sum(), rel=0.02)


def test_local_p_values_of_toys_are_uniform(data):
    m, efficiency = data
    toys = toys_of([scored(Window(3.3, 3.7), efficiency)], m)
    found = analyse(toys, 400, {}, np.random.default_rng(5))
    assert np.isfinite(found.p).all()
    for number in range(len(CUTS)):
        assert kstest(found.p[:, 0, number], "uniform").pvalue > 0.01


@pytest.mark.parametrize("systematic", [0.0, 0.1])
def test_global_p_of_a_single_fit_is_its_local_p(data, systematic):
    m, efficiency = data
    window = scored(Window(3.3, 3.7), efficiency)
    fits = {1.0: SpectrumFitter(window.bins).choose(window.bins.counts(m), None)}
    toys = PatternToys(Selections((window.bins,), (fits,)), m, [window.n_passed((1.0,))])
    found = analyse(toys, 800, {1.0: systematic}, np.random.default_rng(8))
    for z, p in ((1.0, 0.159), (2.0, 0.023)):
        assert found.global_p(z)[0] == pytest.approx(p, abs=4 * np.sqrt(p / 800))


def test_a_selection_that_often_fails_in_toys_has_no_part_in_the_global_p():
    z = np.random.default_rng(9).normal(size=(500, 1, 2))
    z[:40, 0, 1] = np.nan
    found = ToyResults(z, z)
    assert found.reliable.tolist() == [[True, False]]
    assert found.global_p(1.0) == ToyResults(z[:, :, :1], z[:, :, :1]).global_p(1.0)


def test_global_p_counts_the_trials():
    rng = np.random.default_rng(6)
    z = rng.normal(size=(2000, 5, 4))
    p, n_above = ToyResults(z, z).global_p(3.0)
    assert p == (1 + n_above) / 2001
    assert p == pytest.approx(1 - (1 - 0.00135) ** 20, abs=0.008)
    assert ToyResults(np.full((9, 1, 1), np.nan), z).global_p(0.0) == (0.1, 0)


def test_a_scan_finds_its_signal_and_nothing_else(data):
    m, efficiency = data
    rng = np.random.default_rng(7)
    windows = scan_windows(3.5, 4.4, 3, M_JJ)
    with_signal = np.concatenate([m, rng.normal(windows[1].center, 0.05, 100)])
    searched, all_scored = [], []
    for window in windows:
        own = window is windows[1]
        selected = np.concatenate([rng.permutation(efficiency), np.full(100, 0.01) if own else rng.uniform(size=100)])
        all_scored.append(scored(window, selected))
        searched.append(search_window(all_scored[-1], with_signal, CUTS, SETTINGS, rng, blind=False))
    best = [max(each.z for each in window.measured) for window in searched]
    assert best[1] > 5
    assert max(best[0], best[2]) < 3
    toys = PatternToys(
        Selections(tuple(each.bins for each in searched), tuple(each.fits for each in searched)),
        with_signal,
        [each.n_passed(CUTS) for each in all_scored],
    )
    found = analyse(toys, 60, {}, rng)
    assert found.global_p(best[1])[1] == 0
    assert found.global_p(1.0)[1] > 20, "nine fits have often a standard deviation"
