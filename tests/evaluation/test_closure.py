"""The closure test: where pseudo signal regions lie, and that it tells right samples from wrong ones without any label."""

from __future__ import annotations

import numpy as np
import pytest

from common.errors import InputError
from evaluation.closure import closure_test, feature_pulls, pseudo_signal_regions, two_sample_auc
from events.view import Events
from events.window import Window

SR = (3.3, 3.7)


def masses(low: float, high: float, n: int = 20_000) -> np.ndarray:
    m = np.random.default_rng(0).uniform(low, high, n)
    return m[(m < SR[0]) | (m > SR[1])]


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_regions_are_as_wide_as_the_signal_region_and_away_from_it(n):
    regions = pseudo_signal_regions(masses(1.5, 6), Window(*SR), n)
    assert len(regions) == n
    assert len(set(regions)) == n
    for low, high in (region.edges for region in regions):
        assert high - low == pytest.approx(0.4)
        assert high <= SR[0] - 0.2 + 1e-9 or low >= SR[1] + 0.2 - 1e-9
        assert low > 1.5 + 0.2
        assert high < 6 - 0.2
    assert regions[0].high == pytest.approx(SR[0] - 0.2), "the first is the nearest, below"


def test_where_they_do_not_fit_they_are_narrower_and_the_log_says_so(caplog):
    regions = pseudo_signal_regions(masses(2.9, 4.1), Window(*SR), 2)
    assert len(set(pseudo_signal_regions(masses(2.9, 4.1), Window(*SR), 6))) == 6, "each is another one"
    caplog.clear()
    pseudo_signal_regions(masses(2.9, 4.1), Window(*SR), 2)
    assert caplog.text.count("only 0.19") == 2
    for low, high in (region.edges for region in regions):
        assert high - low == pytest.approx(0.197, abs=0.003)
        assert min(abs(SR[0] - high), abs(low - SR[1])) == pytest.approx((high - low) / 2)
    with pytest.raises(InputError, match="on either side"):
        pseudo_signal_regions(masses(3.4, 5), Window(*SR), 1)


def sideband(n: int = 12_000) -> tuple[Events, Events]:
    """One feature that moves with m, one that does not."""
    rng = np.random.default_rng(1)
    m = rng.uniform(2, 5, n)
    x = np.column_stack([m + rng.normal(size=n), rng.normal(size=n)])
    events = Events(np.column_stack([m, x, np.zeros(n)]))
    events = events[(events.m < SR[0]) | (events.m > SR[1])]
    return events[: len(events) // 2], events[len(events) // 2 :]


class Law:
    """Samples of the true law, or of one that is wrong in one feature."""

    def __init__(self, offset: float = 0.0) -> None:
        self.offset = offset

    def sample(self, m: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.column_stack([m[:, 0] + rng.normal(size=len(m)), self.offset + rng.normal(size=len(m))])


def test_right_samples_pass_and_wrong_ones_do_not():
    seen = []

    def learn(train: Events, val: Events, window: Window) -> Law:
        seen.append((train, val, window))
        return Law()

    right = closure_test(learn, sideband(), Window(2.6, 3.0), np.random.default_rng(2))
    wrong = closure_test(lambda *_: Law(0.5), sideband(), Window(2.6, 3.0), np.random.default_rng(2))
    ((train, val, window),) = seen
    assert window == Window(2.6, 3.0)
    for events in (train, val):
        assert not ((events.m > 2.6) & (events.m < 3.0)).any(), "what is tested must not be learned"
    assert right.n_events == wrong.n_events > 1000
    assert abs(right.auc - 0.5) < 3 * right.auc_error
    assert wrong.auc > 0.5 + 7 * wrong.auc_error
    assert right.chi2_per_ndf.max() < 2.5
    assert wrong.chi2_per_ndf[0] < 2.5 < 10 < wrong.chi2_per_ndf[1]
    assert wrong.summary(["a", "b"])["chi2_per_ndf"]["b"] == wrong.chi2_per_ndf[1]
    with pytest.raises(InputError, match="too few"):
        closure_test(learn, sideband(600), Window(4.98, 5.0), np.random.default_rng(2))
    with pytest.raises(InputError, match="no sideband is left"):
        closure_test(learn, sideband(), Window(0, 9), np.random.default_rng(2))


def test_the_error_of_the_auc_is_its_scatter():
    rng = np.random.default_rng(0)
    pairs = [two_sample_auc(rng.normal(size=(400, 2)), rng.normal(size=(400, 2)), rng) for _ in range(40)]
    areas, errors = np.array(pairs).T
    assert abs(areas.mean() - 0.5) < 4 * errors[0] / np.sqrt(len(areas))
    assert errors[0] == pytest.approx(areas.std(), rel=0.35)


def test_pulls_of_equal_laws_are_standard_normal():
    rng = np.random.default_rng(0)
    edges, pulls = feature_pulls(rng.normal(size=20_000), rng.normal(size=20_000))
    assert len(edges) == 21
    assert len(pulls) == 20
    assert 0.4 < np.mean(pulls**2) < 1.8
    assert feature_pulls(np.zeros(100), np.zeros(100))[1].tolist() == [0.0] * 20
