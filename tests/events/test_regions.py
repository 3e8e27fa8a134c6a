"""The regions of a folder of separated events, and the shift of features."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ks_2samp
from toys import event_source, toy_background

from events.columns import Columns
from events.regions import FeatureShift


def test_two_way_split_is_read(toy_copy):
    (toy_copy / "innerdata_val.npy").unlink()
    for half in ("train", "val"):
        (toy_copy / f"innerdata_extrasig_{half}.npy").rename(toy_copy / "innerdata_extrasig.npy")
    source = event_source(toy_copy)
    train, val = source.signal_region()
    assert len(train) + len(val) == 260
    assert abs(len(train) - len(val)) <= 1
    assert sum(map(len, source.extra_signal())) == 300


def test_narrower_signal_region_leaves_events_out(toy_dir):
    train, _ = event_source(toy_dir, sr=(3.45, 3.55)).signal_region(separate_val_set=True)
    assert 0 < len(train) < 1560
    assert ((train.m > 3.45) & (train.m < 3.55)).all()


@pytest.mark.parametrize("random", [False, True])
def test_shift_adds_the_mass_to_the_two_masses_only(random):
    rng = np.random.default_rng(0)
    events = toy_background(5000, rng)
    pool = 2.5 + rng.exponential(0.8, 20000)
    shifted = FeatureShift(0.1, random).apply(events, pool, rng, Columns.positional(4))
    np.testing.assert_array_equal(shifted[:, [0, 3, 4, 5]], events[:, [0, 3, 4, 5]])
    added = (shifted - events)[:, 1:3] / 0.1
    np.testing.assert_allclose(added[:, 0], added[:, 1], atol=1e-5)
    if not random:
        np.testing.assert_allclose(added[:, 0], events[:, 0], atol=1e-5)
    correlation = np.corrcoef(added[:, 0], events[:, 0])[0, 1]
    assert abs(correlation) < 0.05 if random else correlation > 0.999


def test_a_random_shift_is_the_same_in_both_regions(toy_dir):
    """Masses of all data smear signal region and sideband alike; a permutation within a region would tell the regions apart."""
    plain, shifted = event_source(toy_dir), event_source(toy_dir, datashift=0.1, random_shift=True)
    added = [[a.x[:, 0] - b.x[:, 0] for a, b in zip(getattr(shifted, region)(), getattr(plain, region)(), strict=True)]
             for region in ("sideband", "signal_region")]  # fmt: skip
    sideband, signal_region = (np.concatenate(parts) for parts in added)
    assert ks_2samp(sideband, signal_region).pvalue > 0.01
    assert sideband.std() > 0.03


def test_every_file_is_read_once(toy_dir, monkeypatch):
    from events import regions

    read, load_events = [], regions.load_events
    monkeypatch.setattr(regions, "load_events", lambda path: read.append(path.name) or load_events(path))
    source = event_source(toy_dir, datashift=0.1, random_shift=True)
    for region in (source.sideband, source.signal_region, source.test, source.test_sideband, source.strips, source.extra_signal):
        region()
    assert sorted(read) == sorted(set(read))
    assert {"outerdata_train.npy", "innerdata_val.npy", "innerdata_test.npy"} <= set(read)
