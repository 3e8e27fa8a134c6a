"""Estimators that learn nothing but numbers: what is stored comes back, anything else is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from common.errors import InputError
from models.plain import PlainEstimator


class Line(PlainEstimator):
    """It has a hyperparameter, and a seed that is none."""

    hyperparameters = ("strength",)

    def __init__(self, strength: float = 1.0, random_state: int | None = None) -> None:
        self.strength = strength
        self.random_state = random_state

    def fit(self, X, y):
        self.slope_, self.offset_ = np.linalg.lstsq(X, y, rcond=None)[0], np.float64(0.1)
        self.losses_ = np.array([np.nan, 1 / 3])
        self.n_events_ = len(X)
        self._cache = object()
        return self


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    Line(0.25, random_state=np.random.default_rng(1)).fit(rng.normal(size=(50, 3)), rng.normal(size=(50, 2))).save(tmp_path, "x")
    return tmp_path


def test_what_was_learned_comes_back_to_the_last_bit(folder):
    rng = np.random.default_rng(0)
    line, again = Line().fit(rng.normal(size=(50, 3)), rng.normal(size=(50, 2))), Line.load_from(folder, "x")
    assert type(again) is Line
    assert (again.strength, again.random_state) == (0.25, None)
    for key in ("slope_", "offset_", "losses_", "n_events_"):
        np.testing.assert_array_equal(getattr(again, key), getattr(line, key), strict=True)
    assert not hasattr(again, "_cache")


def test_what_is_no_number_is_not_stored(tmp_path):
    line = Line().fit(np.eye(2), np.eye(2))
    line.model_ = LinearRegression()
    with pytest.raises(TypeError, match=r"Line\.model_ is no array of numbers"):
        line.save(tmp_path, "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learned": ["slope_", "absent_"]}, "x_estimator_absent_.npy: no such file"),
        ({"learned": ["fit"]}, "not the description"),
        ({"learned": ["../slope_"]}, "not the description"),
        ({"learned": ["__class__"]}, "not the description"),
        ({"learned": [["slope_"]]}, "not the description"),
        ({"learned": None}, "not the description"),
        ({"parameters": []}, "not the description"),
        ({"parameters": {"strength": "much"}}, "strength is 'much', expected a number"),
        ({"parameters": {"random_state": 1}}, "unknown key 'random_state'"),
    ],
)
def test_a_damaged_description_is_refused(folder, change, message):
    path = folder / "x_estimator.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=message):
        Line.load_from(folder, "x")


def test_a_damaged_array_is_refused(folder):
    path = folder / "x_estimator_slope_.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="not a complete"):
        Line.load_from(folder, "x")
