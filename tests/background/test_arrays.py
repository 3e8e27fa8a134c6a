"""The classifier's arrays: shared out in the data's proportion, scaled by the training events alone, written and read back."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from toys import toy_background, toy_signal

from background.arrays import ClassifierArrays, share_out
from common.errors import InputError
from events.columns import Column, Columns
from events.features import BASELINE, columns_of
from events.view import DATA, SAMPLE, Events


@pytest.mark.parametrize(
    ("n", "oversampling", "expected"), [(1000, True, (750, 250)), (1000, False, (300, 100)), (200, False, (150, 50))]
)
def test_background_is_shared_out_in_the_datas_proportion(n, oversampling, expected):
    background = Events(np.arange(n)[:, None])
    train, val = share_out(background, 300, 100, oversampling, np.random.default_rng(0))
    assert (len(train), len(val)) == expected
    assert len(np.unique(Events.joined(train, val).array)) == sum(expected)


def some_arrays(d: int = 4) -> ClassifierArrays:
    rng = np.random.default_rng(1)

    def one(n: int) -> Events:
        events = np.concatenate([toy_background(n, rng), toy_signal(n // 10, rng)])
        x = np.concatenate([events[:, 1:-1]] * 2, axis=1)[:, :d]
        return Events.mix(events[:, 0], x, DATA, events[:, -1])

    return ClassifierArrays(one(2000), one(1000), one(1000), None, None, Columns.positional(d))


@pytest.mark.parametrize("d", [1, 4, 5])
@pytest.mark.parametrize("use_logit", [True, False])
def test_preprocessing_standardizes_and_drops_only_the_boundary(use_logit, d):
    arrays = some_arrays(d).preprocessed(use_logit=use_logit, fiducial_cut=False)
    np.testing.assert_allclose(arrays.train.x.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(arrays.train.x.std(axis=0), 1, atol=1e-3)
    assert arrays.train.array.shape[1] == d + 3
    assert arrays.train.array.dtype == np.float32
    dropped = 2200 - len(arrays.train)
    assert 1 <= dropped <= 2 * d
    assert np.isfinite(arrays.test.array).all()


def test_preprocessing_looks_at_training_events_only():
    arrays = some_arrays()
    reference = arrays.preprocessed(use_logit=False, fiducial_cut=False).train.array
    arrays.test.x[:] *= 0.9
    arrays.validation.x[:] *= 0.5
    np.testing.assert_array_equal(arrays.preprocessed(use_logit=False, fiducial_cut=False).train.array, reference)


@pytest.mark.parametrize("use_logit", [True, False])
def test_what_lies_on_the_boundary_of_the_datas_range_is_cut_from_all(use_logit):
    """A spike at the lowest value, which a flow does not make: in the data alone it would tell them from samples. Samples beyond, too."""
    arrays = some_arrays()
    low = arrays.train.x[:, 2].min()
    samples = Events.mix(arrays.train.m, arrays.train.x * [1, 1, 3, 1], SAMPLE, 5)
    for name, events in arrays.sets():
        events.x[::50, 2] = low
        assert name in ("train", "validation", "test")
    data = replace(arrays, train=Events.joined(arrays.train, samples))
    cut = data.preprocessed(use_logit=use_logit, fiducial_cut=False)
    assert (~data.train.is_data).sum() > (~cut.train.is_data).sum() > 0
    reach = data.train.x[data.train.is_data]
    for _, events in cut.sets():
        assert len(np.unique(events.x[events.is_data, 2])) > 0.9 * events.is_data.sum(), "no spike"
    kept = ((data.train.x > reach.min(axis=0)) & (data.train.x < reach.max(axis=0))).all(axis=1)
    assert len(cut.train) == kept.sum()


def test_scaling_is_learned_from_the_data_not_from_samples():
    """Four outliers among external samples must not squeeze all features."""
    arrays = some_arrays()
    alone = arrays.preprocessed(use_logit=False, fiducial_cut=False).train.x
    samples = Events.mix(arrays.test.m, arrays.test.x, SAMPLE, 5)
    samples.x[:4] *= 1000
    both = replace(arrays, train=Events.joined(arrays.train, samples)).preprocessed(use_logit=False, fiducial_cut=False).train
    np.testing.assert_array_equal(both.x[both.is_data], alone)
    pooled = replace(arrays, train=Events.joined(arrays.train, samples)).preprocessed(
        use_logit=False, fiducial_cut=False, learned_from=lambda events: np.ones(len(events), dtype=bool)
    )
    assert pooled.train.x[pooled.train.is_data].std() < 0.1, "as in the supervised mode, where both classes are true"


def test_fiducial_cut_keeps_the_middle():
    arrays = some_arrays()
    low, high = arrays.train.x.min(axis=0), arrays.train.x.max(axis=0)
    scaled = (arrays.test.x - low) / (high - low)
    expected = ((scaled > 0.05) & (scaled < 0.95)).all(axis=1).sum()
    assert 0 < expected < len(arrays.test)
    for use_logit in (True, False):
        assert len(arrays.preprocessed(use_logit=use_logit, fiducial_cut=True).test) == expected


def test_what_is_written_is_read_back(tmp_path):
    rng, columns = np.random.default_rng(0), columns_of(BASELINE)

    def one(n: int, kinds: tuple[int, ...] = (DATA, SAMPLE)) -> Events:
        return Events.joined(*(Events.mix(rng.uniform(3.3, 3.7, n), rng.random((n, 4)), kind, 1) for kind in kinds))

    written = ClassifierArrays(one(50), one(20), one(30, (DATA,)), one(10, (DATA,)), None, columns)
    assert written.write(tmp_path)["X_train"] == {"data": 50, "background": 50}
    read = ClassifierArrays.read(tmp_path, extra_signal=True)
    for (name, events), (again, others) in zip(written.sets(), read.sets(), strict=True):
        assert name == again
        np.testing.assert_array_equal(events.array, others.array)
    assert read.columns == columns
    assert ClassifierArrays.read(tmp_path, extra_signal=False).extrasig is None
    np.testing.assert_array_equal(np.load(tmp_path / "y_train.npy"), written.train.is_data)
    (tmp_path / "columns.json").unlink()
    assert ClassifierArrays.read(tmp_path, extra_signal=True).columns.names == [f"feature_{k}" for k in range(1, 5)]


@pytest.mark.parametrize("damage", ["one feature less", "no label", "two lines", "no list", "no JSON"])
def test_damaged_names_are_refused(tmp_path, damage):
    columns_of(BASELINE).save(tmp_path)
    path = tmp_path / "columns.json"
    content = json.loads(path.read_text())
    if damage == "one feature less":
        content["features"].pop()
    elif damage == "no label":
        del content["resonant"]["label"]
    elif damage == "two lines":
        content["features"][0]["name"] = "m\nJ1"
    elif damage == "no list":
        content["features"] = "m_J1"
    path.write_text("{" if damage == "no JSON" else json.dumps(content))
    with pytest.raises(InputError, match=r"columns\.json: "):
        Columns.read(tmp_path, 4)


def test_axis_labels_have_units():
    assert columns_of(BASELINE).axes[:2] == ["$m_{JJ}$ (TeV)", "$m_{J1}$ (TeV)"]
    assert Column("x", "$x$").axis == "$x$"
    assert Column("x", "x", "GeV").axis == Column("x (GeV)", "x (GeV)", "GeV").axis == "x (GeV)"
