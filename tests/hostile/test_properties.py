"""For any input of the right type: an answer or an InputError, never another exception; what is written is read back the same."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nst
from toys import ROOT

from background.arrays import ClassifierArrays
from common.errors import InputError
from common.files import load_array, load_json, save_array, save_json
from events.columns import Columns
from events.lhco import read_lhco_file
from events.regions import FeatureShift
from events.view import DATA, Events, load_events
from models.density import DensityPreprocessing
from models.flow import ConditionalNormalizingFlow
from models.registry import DENSITIES
from models.scalers import ExtStandardScaler, LogitScaler, make_scaler, scaler_from_dict, scaler_to_dict
from models.weights import load_weights, save_weights
from workflow.records import read_records

settings.register_profile("here", max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("here")

NUMBERS = st.one_of(
    nst.floating_dtypes(sizes=(32, 64)), nst.integer_dtypes(), nst.unsigned_integer_dtypes(), nst.boolean_dtypes()
)
SHAPES = nst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FEATURES = nst.arrays(
    np.float64, st.tuples(st.integers(2, 30), st.integers(1, 5)), elements=st.floats(-1e6, 1e6, allow_subnormal=False, width=32)
)


def written(content: bytes) -> Path:
    """A file with this content, in a folder of its own."""
    path = Path(tempfile.mkdtemp()) / "file"
    path.write_bytes(content)
    return path


@contextmanager
def at_most_refused() -> Iterator[None]:
    """What happens within may be refused, in one line, and nothing else may go wrong."""
    try:
        yield
    except InputError as error:
        if "\n" in str(error):
            raise AssertionError(f"more than one line: {error}") from error


def damaged(content: bytes, where: float, what: bytes, cut: float) -> bytes:
    """Some bytes replaced, and the end cut off."""
    start = int(where * len(content))
    return (content[:start] + what + content[start + len(what) :])[: max(1, int(cut * len(content)))]


DAMAGE = {"where": st.floats(0, 1), "what": st.binary(max_size=8), "cut": st.floats(0, 1) | st.just(1.0)}


@given(NUMBERS.flatmap(lambda dtype: nst.arrays(dtype, SHAPES)))
def test_arrays_are_read_as_they_were_written(array):
    path = written(b"")
    save_array(path, array)
    read = load_array(path)
    assert read.dtype == array.dtype
    assert read.shape == array.shape
    np.testing.assert_array_equal(read, array)
    np.save(path.with_suffix(".npy"), array)
    assert path.with_suffix(".npy").read_bytes() == path.read_bytes(), "the bytes numpy writes"


@given(st.binary(max_size=300))
def test_any_bytes_as_an_array(content):
    with pytest.raises(InputError):
        load_array(written(content))


@given(**DAMAGE)
def test_a_damaged_array(where, what, cut):
    path = written(b"")
    save_array(path, np.arange(12, dtype=np.float32).reshape(3, 4))
    path.write_bytes(damaged(path.read_bytes(), where, what, cut))
    with at_most_refused():
        assert load_array(path).dtype.kind in "fiub"


@given(nst.arrays(NUMBERS, nst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=8)))
def test_any_array_as_events(array):
    path = written(b"")
    save_array(path, array)
    try:
        events = load_events(path)
    except InputError:
        return
    assert events.ndim == 2
    assert np.isfinite(events).all()
    assert np.isin(events[:, -1], (0, 1)).all()


@given(st.text(max_size=200) | st.binary(max_size=200))
def test_any_text_as_a_configuration(content):
    path = written(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
    with at_most_refused():
        DENSITIES.hyperparameters("flow", path)


@given(st.dictionaries(st.sampled_from(ConditionalNormalizingFlow.hyperparameters), JSON, max_size=4))
def test_any_values_in_a_configuration(content):
    """What is accepted has the types that the flow's parameters have."""
    try:
        config = DENSITIES.hyperparameters("flow", written(yaml.safe_dump(content).encode()))
    except InputError:
        return
    for key, value in config.items():
        default = getattr(ConditionalNormalizingFlow(), key)
        assert isinstance(value, (int, float) if isinstance(default, float) else type(default))


@given(st.text(max_size=100) | JSON.map(json.dumps))
def test_any_text_as_json(text):
    path = written(text.encode("utf-8", "surrogatepass"))
    with at_most_refused():
        assert isinstance(load_json(path), dict)


@given(
    st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=8) | st.floats(allow_nan=False, allow_infinity=False))
)
def test_json_is_read_as_it_was_written(content):
    path = written(b"")
    save_json(path, content)
    assert load_json(path) == content


PARTS = ("options", "hyperparameters", "inputs", "outputs", "results", "output_patterns")
RECORD_PARTS = st.fixed_dictionaries({}, optional=dict.fromkeys(PARTS, JSON))


@given(st.dictionaries(st.text(max_size=5), RECORD_PARTS | JSON, max_size=3))
def test_any_json_as_a_record(content):
    folder = written(b"").parent
    (folder / "STAGE.json").write_text(json.dumps(content))
    try:
        records = read_records(folder)
    except InputError:
        return
    assert all(record["outputs"].keys() is not None for record in records.values())


@given(JSON)
def test_any_json_as_preprocessing(content):
    path = written(json.dumps({"scaler": content, "reference": content, "trained_on": content}).encode())
    with pytest.raises(InputError):
        DensityPreprocessing.load(path)


@given(**DAMAGE)
def test_damaged_weights(where, what, cut):
    module = torch.nn.Linear(3, 2)
    path = written(b"")
    save_weights(path, module.state_dict())
    path.write_bytes(damaged(path.read_bytes(), where, what, cut))
    with at_most_refused():
        load_weights(path, module)
    assert all(torch.isfinite(value).all() for value in module.state_dict().values())


@settings(max_examples=25)
@given(st.binary(max_size=400), st.floats(0, 1))
def test_garbage_and_pieces_as_events(garbage, cut):
    sample = (ROOT / "sample_data" / "extra_inneronly.features.h5").read_bytes()
    for content in (garbage, sample[: int(cut * (len(sample) - 1))]):
        with pytest.raises(InputError):
            read_lhco_file(written(content), default_label=0)


def usable(X: np.ndarray) -> bool:
    """Whether every feature has a range that float64 resolves."""
    return bool((np.ptp(X, axis=0) > 1e-6 * np.abs(X).max(axis=0)).all() and (np.ptp(X, axis=0) > 0).all())


@given(FEATURES)
def test_logit_round_trip_and_jacobian(X):
    if not usable(X):
        with pytest.raises(InputError):
            LogitScaler().fit(np.zeros_like(X))
        return
    scaler = LogitScaler().fit(X)
    Z = scaler.transform(X)
    inside = np.isfinite(Z).all(axis=1)
    if not inside.any():
        return
    span = np.ptp(X, axis=0)
    np.testing.assert_allclose(scaler.inverse_transform(Z[inside]), X[inside], atol=1e-9 * span.max() + 1e-12 * np.abs(X).max())
    forth, back = scaler.log_jacobian_determinant(X[inside]), scaler.inverse_log_jacobian_determinant(Z[inside])
    np.testing.assert_allclose(forth, -back)


@given(FEATURES, st.booleans())
def test_scalers_come_back_from_their_description(X, use_logit):
    if not usable(X) or (use_logit and np.isfinite(LogitScaler().fit(X).transform(X)).sum(axis=0).min() < 2):
        return
    scaler = make_scaler(use_logit=use_logit).fit(X)
    again = scaler_from_dict(json.loads(json.dumps(scaler_to_dict(scaler))))
    np.testing.assert_array_equal(again.transform(X), scaler.transform(X))
    np.testing.assert_array_equal(again.log_jacobian_determinant(X), scaler.log_jacobian_determinant(X))


@given(FEATURES)
def test_standardization_round_trip(X):
    scaler = ExtStandardScaler().fit(X)
    np.testing.assert_allclose(scaler.inverse_transform(scaler.transform(X)), X, rtol=1e-9, atol=1e-9 * np.abs(X).max())


@given(JSON)
def test_any_json_as_a_scaler(content):
    if not isinstance(content, dict):
        content = {"standard": content}
    with pytest.raises(InputError):
        scaler_from_dict(content)


@given(
    nst.arrays(np.float32, st.tuples(st.integers(1, 40), st.just(4)), elements=st.floats(-1e3, 1e3, width=32)),
    st.booleans(),
    st.booleans(),
)
def test_any_features_in_the_classifiers_preprocessing(events, use_logit, fiducial_cut):
    data = Events.mix(events[:, 0], events[:, 1:], DATA, 0)
    arrays = ClassifierArrays(data, data, data, None, None, Columns.positional(3))
    try:
        arrays = arrays.preprocessed(use_logit=use_logit, fiducial_cut=fiducial_cut)
    except InputError:
        return
    assert np.isfinite(arrays.train.array).all()


@given(st.floats(-1e6, 1e6), st.booleans())
def test_any_shift(strength, random):
    events = np.ones((3, 6), dtype=np.float32)
    try:
        shift = FeatureShift(strength, random)
    except InputError:
        return
    assert shift.apply(events, events[:, 0], np.random.default_rng(0), Columns.positional(4)).shape == events.shape
