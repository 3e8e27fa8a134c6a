"""Stage 3: what plays the background, in which numbers, at which masses, and what the arrays look like."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from conftest import SR, toy_background, toy_signal
from scipy.stats import ks_2samp

from background import arrays as mixing
from background.arrays import ClassifierArrays, preprocess, sample_finite, sample_masses, share_out, warn_of_extrapolation
from common.files import InputError
from events.regions import EventSource, FeatureShift


@pytest.fixture
def source(toy_dir) -> EventSource:
    return EventSource(toy_dir, FeatureShift(), 1, SR, separate_val_set=True)


def data_and_background(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return array[array[:, -2] == 1], array[array[:, -2] == 0]


def test_kde_masses_follow_the_data_and_stay_in_the_signal_region():
    rng = np.random.default_rng(0)
    data = SR[0] + 0.4 * rng.beta(1, 3, 20000)
    sampled = sample_masses(data, 20000, SR, 0.01, rng)
    assert SR[0] < sampled.min() < sampled.max() < SR[1]
    assert ks_2samp(data, sampled).pvalue > 0.01
    assert len(np.unique(sampled)) == 20000  # smoothed, not resampled
    uniform = sample_masses(data, 20000, SR, None, rng)
    assert uniform.mean() == pytest.approx(3.5, abs=0.005)


@pytest.mark.parametrize(
    ("n", "oversampling", "expected"), [(1000, True, (750, 250)), (1000, False, (300, 100)), (200, False, (150, 50))]
)
def test_background_is_shared_out_in_the_datas_proportion(n, oversampling, expected):
    background = np.arange(n)[:, None]
    train, val = share_out(background, 300, 100, oversampling, np.random.default_rng(0))
    assert (len(train), len(val)) == expected
    assert len(np.unique(np.concatenate([train, val]))) == sum(expected)


def test_cwola_takes_the_two_strips_next_to_the_signal_region(source):
    arrays = mixing.mix_cwola(source, oversampling=True, extra_signal=True)
    data, strips = data_and_background(arrays.train)
    assert ((data[:, 0] > 3.3) & (data[:, 0] < 3.7)).all()
    below, above = (strips[:, 0] > 3.1) & (strips[:, 0] <= 3.3), (strips[:, 0] >= 3.7) & (strips[:, 0] < 3.9)
    assert (below | above).all()
    assert below.any()
    assert above.any()
    assert (strips[:, -1] == 5).all()
    assert (arrays.extrasig[:, -2:] == 1).all()


def test_idealized_background_is_true_background_and_disjoint_from_the_data(source, toy_dir):
    for extra in (True, False):
        arrays = mixing.mix_idealized(source, extra, oversampling=False, extra_signal=False)
        data, background = (
            np.concatenate(parts) for parts in zip(*map(data_and_background, (arrays.train, arrays.validation)), strict=True)
        )
        events = {tuple(row[:-2]) for row in background}
        assert not events & {tuple(row[:-2]) for row in data}
        truth = np.concatenate([np.load(path) for path in toy_dir.glob("innerdata_*.npy")])
        label = {tuple(row[:-1]): row[-1] for row in truth}
        assert all(label[event] == 0 for event in events)
        assert (data[:, -1] == 1).any()
        assert arrays.extrasig is None


@pytest.mark.parametrize("extra", [True, False])
def test_supervised_learns_true_labels_and_is_not_tested_on_its_training_signal(source, extra):
    arrays = mixing.mix_supervised(source, extra, oversampling=True)
    for array in (arrays.train, arrays.validation):
        np.testing.assert_array_equal(array[:, -2], array[:, -1])
        assert set(array[:, -1]) == {0, 1}
    assert arrays.extrasig is None
    trained = {float(m) for m in arrays.train[:, 1]}
    tested = {float(m) for m in arrays.test[arrays.test[:, -1] == 1, 1]}
    assert not trained & tested


def test_test_events_include_the_extra_test_background(source):
    arrays = mixing.mix_cwola(source, oversampling=True, extra_signal=False)
    assert len(arrays.test) == 1300 + 200
    assert (arrays.test[:, -2] == 1).all()


def test_two_way_split_is_read(toy_copy):
    (toy_copy / "innerdata_val.npy").unlink()
    for half in ("train", "val"):
        (toy_copy / f"innerdata_extrasig_{half}.npy").rename(toy_copy / "innerdata_extrasig.npy")
    source = EventSource(toy_copy, FeatureShift(), 1, SR)
    train, val = source.signal_region()
    assert len(train) + len(val) == 260
    assert abs(len(train) - len(val)) <= 1
    assert sum(map(len, source.extra_signal())) == 300


def test_narrower_signal_region_leaves_events_out(toy_dir):
    source = EventSource(toy_dir, FeatureShift(), 1, (3.45, 3.55), separate_val_set=True)
    train, _ = source.signal_region()
    assert 0 < len(train) < 1560
    assert ((train[:, 0] > 3.45) & (train[:, 0] < 3.55)).all()


@pytest.mark.parametrize("random", [False, True])
def test_shift_adds_the_mass_to_the_two_masses_only(random):
    rng = np.random.default_rng(0)
    events = toy_background(5000, rng)
    pool = 2.5 + rng.exponential(0.8, 20000)
    shifted = FeatureShift(0.1, random).apply(events, pool, rng)
    np.testing.assert_array_equal(shifted[:, [0, 3, 4, 5]], events[:, [0, 3, 4, 5]])
    added = (shifted - events)[:, 1:3] / 0.1
    np.testing.assert_allclose(added[:, 0], added[:, 1], atol=1e-5)
    if not random:
        np.testing.assert_allclose(added[:, 0], events[:, 0], atol=1e-5)
    correlation = np.corrcoef(added[:, 0], events[:, 0])[0, 1]
    assert abs(correlation) < 0.05 if random else correlation > 0.999


def test_a_random_shift_is_the_same_in_both_regions(toy_dir):
    """Masses of all data smear signal region and sideband alike; a permutation within a region would tell the regions apart."""
    plain, shifted = (EventSource(toy_dir, shift, 1, SR) for shift in (FeatureShift(), FeatureShift(0.1, random=True)))
    added = [[a[:, 1] - b[:, 1] for a, b in zip(getattr(shifted, region)(), getattr(plain, region)(), strict=True)]
             for region in ("sideband", "signal_region")]  # fmt: skip
    sideband, signal_region = (np.concatenate(parts) for parts in added)
    assert ks_2samp(sideband, signal_region).pvalue > 0.01
    assert sideband.std() > 0.03


def some_arrays(d: int = 4) -> ClassifierArrays:
    rng = np.random.default_rng(1)

    def one(n: int) -> np.ndarray:
        events = np.concatenate([toy_background(n, rng), toy_signal(n // 10, rng)])
        x = np.concatenate([events[:, 1:-1]] * 2, axis=1)[:, :d]
        return mixing.tag(np.column_stack([events[:, 0], x]), 1, events[:, -1])

    return ClassifierArrays(one(2000), one(1000), one(1000))


@pytest.mark.parametrize("d", [1, 4, 5])
@pytest.mark.parametrize("use_logit", [True, False])
def test_preprocessing_standardizes_and_drops_only_the_boundary(use_logit, d):
    arrays = preprocess(some_arrays(d), use_logit, fiducial_cut=False)
    np.testing.assert_allclose(arrays.train[:, 1:-2].mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(arrays.train[:, 1:-2].std(axis=0), 1, atol=1e-3)
    assert arrays.train.shape[1] == d + 3
    assert arrays.train.dtype == np.float32
    dropped = 2200 - len(arrays.train)
    assert 1 <= dropped <= 2 * d if use_logit else dropped == 0
    assert np.isfinite(arrays.test).all()


def test_preprocessing_looks_at_training_events_only():
    arrays = some_arrays()
    reference = preprocess(arrays, False, False).train
    arrays.test[:, 1:-2] *= 100
    arrays.validation[:, 1:-2] += 3
    np.testing.assert_array_equal(preprocess(arrays, False, False).train, reference)


def test_fiducial_cut_keeps_the_middle():
    arrays = some_arrays()
    low, high = arrays.train[:, 1:-2].min(axis=0), arrays.train[:, 1:-2].max(axis=0)
    scaled = (arrays.test[:, 1:-2] - low) / (high - low)
    expected = ((scaled > 0.05) & (scaled < 0.95)).all(axis=1).sum()
    assert 0 < expected < len(arrays.test)
    assert len(preprocess(arrays, True, True).test) == expected
    assert len(preprocess(arrays, False, True).test) == expected


class BadSampler:
    """A density whose first samples are not all finite."""

    def __init__(self, n_bad: list[int]) -> None:
        self.n_bad, self.n_drawn = n_bad, []

    def sample(self, n: int, m: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        assert m.shape == (n, 1)
        self.n_drawn.append(n)
        features = np.column_stack([m, rng.normal(size=(n, 1))])
        features[: self.n_bad[len(self.n_drawn) - 1], 1] = np.nan
        return features


def test_samples_that_are_not_finite_are_drawn_again(caplog):
    caplog.set_level(logging.INFO)
    m = np.linspace(3.3, 3.7, 100)
    density = BadSampler([7, 2, 0])
    features = sample_finite(density, m, np.random.default_rng(0))
    np.testing.assert_array_equal(features[:, 0], m)
    assert np.isfinite(features).all()
    assert density.n_drawn == [100, 7, 2]
    assert "100 background events sampled, 9 not finite and drawn again" in caplog.text
    with pytest.raises(InputError, match="are not finite, after 10 further draws"):
        sample_finite(BadSampler([1] * 20), m, np.random.default_rng(0))


def test_samples_outside_the_training_range_are_reported(caplog):
    features = np.zeros((1000, 4))
    features[:10, 1], features[:11, 3] = 2, -2
    warn_of_extrapolation(features, -np.ones(4), np.ones(4))
    assert [record.getMessage() for record in caplog.records] == [
        r"1.1 % of the sampled events lie outside the training range of feature 4, $\tau_{21}^{J2}$"
    ]
