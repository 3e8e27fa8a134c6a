"""The background fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import xlogy

from events.window import Window
from search.bins import MassBins
from search.fit import ORDERS, BackgroundFit, FitError, SpectrumFitter

BINS = MassBins.around(Window(3.3, 3.7), 2.8, 8.0, 13.0)
OUTSIDE = ~BINS.in_window


def spectrum(parameters: list[float], n: float) -> BackgroundFit:
    """A dijet function with so many events in all bins."""
    fit = BackgroundFit(BINS, np.array(parameters), np.eye(len(parameters)), 0.0, len(BINS))
    scale = np.log(n / fit.expected.sum())
    return BackgroundFit(BINS, np.array([parameters[0] + scale, *parameters[1:]]), fit.covariance, 0.0, len(BINS))


FALLING = spectrum([0.0, 12.5], 50_000)
CURVED = spectrum([0.0, 13.0, -11.0, -9.0, -2.7], 500_000)


def closed_form(parameters: np.ndarray) -> np.ndarray:
    """Integrals of p0 (1 - x)^p1 over the bins."""
    log_p0, p1 = parameters
    x = np.array(BINS.edges) / BINS.sqrt_s
    return -np.exp(log_p0) * BINS.sqrt_s * np.diff((1 - x) ** (p1 + 1)) / (p1 + 1)


def test_the_closed_form_case_agrees_with_scipys_minimiser():
    counts = np.random.default_rng(1).poisson(FALLING.expected)
    fit = SpectrumFitter(BINS).fit(counts, 2, np.random.default_rng(2))
    n = counts[OUTSIDE]

    def loss(parameters):
        mu = closed_form(parameters)[OUTSIDE]
        return mu.sum() - xlogy(n, mu).sum()

    found = minimize(loss, FALLING.parameters, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-10, "maxiter": 5000})
    np.testing.assert_allclose(fit.parameters, found.x, atol=3e-4)
    np.testing.assert_allclose(fit.expected, closed_form(found.x), rtol=1e-4)
    mu, steps = closed_form(found.x), np.diag([1e-4, 1e-4])
    slopes = np.array([(closed_form(found.x + step) - closed_form(found.x - step)) / 2e-4 for step in steps]).T
    covariance = np.linalg.inv((slopes[OUTSIDE] / mu[OUTSIDE, None]).T @ slopes[OUTSIDE])
    np.testing.assert_allclose(fit.covariance, covariance, rtol=1e-3)
    gradient = slopes[BINS.in_window].sum(axis=0)
    assert fit.prediction == pytest.approx((mu[BINS.in_window].sum(), np.sqrt(gradient @ covariance @ gradient)), rel=1e-3)


@pytest.mark.parametrize("order", ORDERS)
def test_the_first_start_finds_the_best_fit(order):
    """Of 40 spectra, also of few events, none needs a second start, and further ones improve nothing."""
    fitter = SpectrumFitter(BINS)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        counts = rng.poisson(CURVED.expected * 10 ** rng.uniform(-3, 0))
        first, best = fitter.fit(counts, order, None), fitter.fit(counts, order, rng)
        assert first.half_deviance == pytest.approx(best.half_deviance, abs=0.01)


def test_a_higher_order_never_fits_worse():
    counts = np.random.default_rng(3).poisson(CURVED.expected)
    deviances = [SpectrumFitter(BINS).fit(counts, order, np.random.default_rng(0)).half_deviance for order in ORDERS]
    assert (np.diff(deviances) < 1e-3).all()


def test_predictions_have_the_spread_that_they_state():
    fitter, rng, pulls = SpectrumFitter(BINS), np.random.default_rng(4), []
    truth = FALLING.expected[BINS.in_window].sum()
    for _ in range(300):
        expected, error = fitter.fit(rng.poisson(FALLING.expected), 3, None).prediction
        pulls.append((expected - truth) / error)
    assert abs(np.mean(pulls)) < 0.2
    assert 0.88 < np.std(pulls) < 1.12


def test_the_order_is_one_more_than_the_tests_ask_for():
    fitter, rng = SpectrumFitter(BINS), np.random.default_rng(5)
    orders = [fitter.choose(rng.poisson(FALLING.expected), None).order for _ in range(40)]
    assert min(orders) == 3, "one more than the two that are enough"
    assert np.mean(np.array(orders) == 3) > 0.4, "three tests at one standard deviation"
    assert fitter.choose(rng.poisson(CURVED.expected), rng).order == 6, "one more than the five that are needed"


def test_a_sixth_parameter_is_only_the_one_more(monkeypatch):
    fitter, counts = SpectrumFitter(BINS), np.random.default_rng(11).poisson(FALLING.expected)
    deviances = {2: 30.0, 3: 9.9, 4: 9.8, 5: 9.8, 6: 5.0}  # six improve upon three, five do not
    fits = {order: replace(fitter.fit(counts, order, None), half_deviance=value) for order, value in deviances.items()}
    monkeypatch.setattr(SpectrumFitter, "_fits", lambda self, counts, rng: fits)
    assert fitter.choose(counts, None).order == 4


def test_the_richest_fit_has_as_many_parameters_as_the_events_allow():
    fitter, rng = SpectrumFitter(BINS), np.random.default_rng(10)
    spectra = [rng.poisson(FALLING.expected) for _ in range(10)]
    assert {fitter.richest(counts).order for counts in spectra} == {6}
    assert min(fitter.choose(counts, None).order for counts in spectra) == 3
    few = rng.poisson(FALLING.expected * 100 / FALLING.expected[~BINS.in_window].sum())
    assert fitter.richest(few).order == 3


def test_what_is_in_the_window_changes_nothing():
    counts = np.random.default_rng(6).poisson(CURVED.expected)
    other = np.where(BINS.in_window, 10 * counts + 7, counts)
    fits = [SpectrumFitter(BINS).choose(each, np.random.default_rng(0)) for each in (counts, other)]
    assert fits[0].order == fits[1].order
    np.testing.assert_array_equal(fits[0].parameters, fits[1].parameters)
    assert fits[0].prediction == fits[1].prediction
    goodness = [SpectrumFitter(BINS).goodness(each, fits[0], 20, np.random.default_rng(0)) for each in (counts, other)]
    assert goodness[0] == goodness[1]


def test_goodness_tells_a_wrong_spectrum():
    fitter, rng = SpectrumFitter(BINS), np.random.default_rng(7)
    good = rng.poisson(FALLING.expected)
    bad = rng.poisson(FALLING.expected * np.where(np.arange(len(BINS)) % 2, 1.1, 0.9))
    assert fitter.goodness(good, fitter.fit(good, 3, rng), 50, rng) > 0.05
    assert fitter.goodness(bad, fitter.fit(bad, 3, rng), 50, rng) < 0.05


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        (np.zeros(len(BINS)), "no event below"),
        (np.where(BINS.in_window, 100, 0), "no event below"),
        (np.where(BINS.below_window, 100, 0), "no event above"),
        (np.where(np.arange(len(BINS)) == 0, 5, 0) + np.where(np.arange(len(BINS)) == len(BINS) - 1, 5, 0), "too few for 2 parameters"),
    ],
)  # fmt: skip
def test_a_spectrum_that_cannot_be_fitted_says_why(counts, reason):
    with pytest.raises(FitError, match=reason):
        SpectrumFitter(BINS).choose(counts, np.random.default_rng(0))


def test_a_fit_that_does_not_converge_gives_no_number(monkeypatch):
    monkeypatch.setattr("search.fit.MAX_CALLS", 1)
    with pytest.raises(FitError, match="no fit with 2 parameters converges"):
        SpectrumFitter(BINS).choose(np.random.default_rng(8).poisson(FALLING.expected), np.random.default_rng(0))


def test_a_fit_of_all_bins_sees_the_window():
    counts = np.random.default_rng(9).poisson(FALLING.expected)
    counts[BINS.in_window] *= 2
    fits = [SpectrumFitter(BINS, leave_out=leave_out).fit(counts, 5, None) for leave_out in (True, False)]
    assert fits[1].prediction[0] > 1.2 * fits[0].prediction[0]
