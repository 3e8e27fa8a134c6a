"""The counting experiment: against pyhf, against toys, and against what is known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pyhf
import pytest
from scipy.stats import norm, poisson

from search.counting import ONE_SIGMA, TWO_SIGMA, Count, profiled

PER_MU = 10.0


def pyhf_model(count: Count) -> tuple[pyhf.Model, list[float], list[tuple[float, float]]]:
    """The same model, its data, and bounds of its parameters."""
    normalization = {"name": "b", "type": "normsys", "data": {"hi": math.exp(count.delta), "lo": math.exp(-count.delta)}}
    samples = [
        {"name": "signal", "data": [PER_MU], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
        {"name": "background", "data": [count.background], "modifiers": [normalization]},
    ]
    spec = {"channels": [{"name": "SR", "samples": samples}]}
    model = pyhf.Model(spec, poi_name="mu", modifier_settings={"normsys": {"interpcode": "code1"}})
    bounds = model.config.suggested_bounds()
    bounds[model.config.poi_index] = (0, 100)
    return model, [count.n, *model.config.auxdata], bounds


@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")  # pyhf's
@pytest.mark.parametrize(
    "count", [Count(130, 100.0, 5.0), Count(1050, 1000.0, 30.0), Count(300, 200.0, 40.0), Count(90, 100.0, 8.0)]
)
def test_q0_p0_and_cls_are_those_of_pyhf(count):
    model, data, bounds = pyhf_model(count)
    config = model.config
    q0 = pyhf.infer.test_statistics.q0(0.0, data, model, config.suggested_init(), bounds, config.suggested_fixed())
    assert count.q0 == pytest.approx(float(q0), rel=1e-3, abs=1e-4)
    assert count.p0 == pytest.approx(float(pyhf.infer.hypotest(0.0, data, model, par_bounds=bounds, test_stat="q0")), rel=1e-3)
    for s in (0.5 * count.limit, count.limit):
        cls = float(pyhf.infer.hypotest(s / PER_MU, data, model, par_bounds=bounds, test_stat="qtilde"))
        assert count.cls(s) == pytest.approx(cls, rel=1e-3)
    assert count.cls(count.limit) == pytest.approx(0.05, rel=1e-3)


@pytest.mark.parametrize(("n", "b"), [(8, 3.0), (0, 3.0), (5, 5.0), (1, 0.1)])
def test_with_a_known_background_p_is_that_of_a_poisson_distribution(n, b):
    count = Count(n, b, 0.0)
    assert not count.is_asymptotic
    assert count.p_of_background == pytest.approx(poisson.sf(n - 1, b))
    assert count.p0 == pytest.approx(min(poisson.sf(n - 1, b), 0.5))
    assert count.randomised_p(1.0) == pytest.approx(poisson.sf(n - 1, b))
    assert count.randomised_p(0.0) == pytest.approx(poisson.sf(n, b))


def test_the_limit_of_no_event_is_three():
    """CLs of a count of 0 is e^-s, whatever the background."""
    for b in (0.5, 3.0, 10.0):
        assert Count(0, b, 0.0).limit == pytest.approx(-math.log(0.05), rel=1e-3)


@pytest.mark.parametrize("count", [Count(8, 3.0, 1.0), Count(16, 10.0, 3.0)])
def test_sums_over_counts_are_what_toys_give(count):
    rng, n_toys = np.random.default_rng(0), 20_000
    alpha = float(profiled(np.float64(count.n), np.float64(0), count.background, count.delta, np.float64(0))[1])
    n = rng.poisson(count.background * math.exp(count.delta * alpha), n_toys)
    measured = rng.normal(alpha, 1, n_toys)
    q = -2 * profiled(n, 0.0, count.background, count.delta, measured)[0]
    signed = np.sign(n - count.background * np.exp(count.delta * measured)) * q
    p = np.mean(signed >= count.signed_q0 - 1e-9)
    assert count.p_of_background == pytest.approx(p, abs=4 * math.sqrt(p / n_toys))


def test_the_formulas_and_the_sums_agree_where_there_are_many_events(monkeypatch):
    asymptotic = Count(150, 100.0, 10.0)
    p0, limit = asymptotic.p0, asymptotic.limit
    monkeypatch.setattr("search.counting.ASYMPTOTIC_FROM", 1e9)
    summed = Count(150, 100.0, 10.0)
    assert norm.isf(summed.p0) == pytest.approx(norm.isf(p0), rel=0.03)
    assert summed.limit == pytest.approx(limit, rel=0.03)


@pytest.mark.parametrize("count", [Count(181, 19.4, 4.6), Count(223, 19.7, 4.4), Count(60, 10.0, 0.5), Count(120, 24.9, 5.0)])
def test_a_large_excess_is_as_significant_as_its_likelihood_ratio(count):
    """Far out in the tail of the constraint, too, which alone explains the count at ln(n / b) / δ standard deviations."""
    assert count.z == pytest.approx(math.sqrt(count.q0), rel=0.03)
    assert count.z < math.log(count.n / count.background) / count.delta


@pytest.mark.parametrize(("n", "error"), [(20_000, 5.0), (100_000, 5.0), (100_000, 1.0)])
def test_the_strongest_signal_still_finds_the_largest_likelihood(n, error):
    """The constraint is pulled by a hundred of its standard deviations."""
    count = Count(n, 100.0, error)
    alpha = np.linspace(0, np.log(n / 100) / count.delta, 2_000_001)
    rate = 100 * np.exp(count.delta * alpha)
    largest = (n * np.log(rate) - rate - alpha**2 / 2).max() - (n * np.log(n) - n)
    assert count.z == pytest.approx(np.sqrt(-2 * largest), rel=1e-6)


def test_a_deficit_has_a_capped_p_and_a_negative_significance():
    count = Count(80, 100.0, 5.0)
    assert (count.p0, count.q0) == (0.5, 0.0)
    assert count.z < -1
    assert count.yield_ == -20


def test_no_event_is_as_insignificant_as_it_is_likely():
    assert Count(0, 0.5, 0.0).z == 0, "it is what is expected most often"
    assert Count(0, 5.0, 0.0).z == pytest.approx(norm.ppf(poisson.pmf(0, 5.0)))


def test_more_events_are_more_significant():
    for b, error in ((3.0, 1.0), (1000.0, 50.0)):
        z = [Count(n, b, error).z for n in range(0, int(4 * b), max(int(b / 3), 1))]
        assert (np.diff(z) >= 0).all()


def test_a_systematic_error_costs_significance():
    assert Count(150, 100.0, 20.0).z < 0.6 * Count(150, 100.0, 0.0).z


@pytest.mark.parametrize("level", [ONE_SIGMA, TWO_SIGMA])
def test_intervals_end_where_the_likelihood_has_fallen(level):
    for count in (Count(130, 100.0, 5.0), Count(4, 3.0, 0.5), Count(3, 10.0, 4.0), Count(900, 1000.0, 1.0)):
        low, high = count.interval(level)
        assert low <= count.yield_ <= high
        for s in (low, high):
            fallen = -2 * float(profiled(np.float64(count.n), np.float64(s), count.background, count.delta, np.float64(0))[0])
            assert fallen == pytest.approx(level, abs=1e-3) or s == -count.background


@pytest.mark.parametrize("signal", [0.0, 15.0, 60.0])
def test_intervals_cover_and_limits_exclude_as_often_as_they_say(signal):
    """500 toys of signal on 100 ± 8 events, the background's true value drawn about what its measurement says."""
    rng, covered, below, n_toys = np.random.default_rng(int(signal)), np.zeros(2), 0, 500
    for _ in range(n_toys):
        measured = 100 * math.exp(0.08 * rng.normal())
        count = Count(int(rng.poisson(signal + 100)), measured, 0.08 * measured)
        covered += [low <= signal <= high for low, high in map(count.interval, (ONE_SIGMA, TWO_SIGMA))]
        below += signal <= count.limit
    for found, level in zip(covered / n_toys, (0.683, 0.95), strict=True):
        assert abs(found - level) < 3 * math.sqrt(level * (1 - level) / n_toys)
    assert below / n_toys > 0.95 - 3 * math.sqrt(0.05 * 0.95 / n_toys), "CLs covers at least"
