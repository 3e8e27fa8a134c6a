"""Scalers invert, know their Jacobian, and survive the disk."""

from __future__ import annotations

import json

import numpy as np
import pytest

from common.errors import InputError
from models.scalers import LogitScaler, make_scaler, scaler_from_dict, scaler_to_dict

X = np.random.default_rng(0).gamma(2, size=(500, 3)) * [1, 10, 0.1]


@pytest.mark.parametrize("use_logit", [True, False])
def test_round_trip_and_unit_width(use_logit):
    Z = make_scaler(use_logit=use_logit).fit(X).transform(X)
    inside = np.isfinite(Z).all(axis=1)
    assert (~inside).sum() == (6 if use_logit else 0)
    np.testing.assert_allclose(np.nanmean(Z, axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(np.nanstd(Z, axis=0), 1)
    np.testing.assert_allclose(make_scaler(use_logit=use_logit).fit(X).inverse_transform(Z[inside]), X[inside])


@pytest.mark.parametrize("use_logit", [True, False])
def test_jacobian_matches_finite_differences(use_logit):
    scaler = make_scaler(use_logit=use_logit).fit(X)
    inside = X[np.isfinite(scaler.transform(X)).all(axis=1)][:50]
    step = 1e-6 * X.std(axis=0)
    slopes = (scaler.transform(inside + step / 2) - scaler.transform(inside - step / 2)) / step
    np.testing.assert_allclose(scaler.log_jacobian_determinant(inside), np.log(slopes).sum(axis=1), rtol=1e-3)
    Z = scaler.transform(inside)
    np.testing.assert_allclose(scaler.inverse_log_jacobian_determinant(Z), -scaler.log_jacobian_determinant(inside))


def test_outside_the_range_is_nan():
    scaler = LogitScaler().fit(X)
    assert np.isnan(scaler.transform(X.max(axis=0)[None])).all()
    assert np.isnan(scaler.transform(X.min(axis=0)[None] - 1)).all()


def test_epsilon_keeps_the_boundary():
    scaler = LogitScaler(epsilon=0.01).fit(X)
    assert np.isfinite(scaler.transform(X)).all()
    np.testing.assert_allclose(scaler.inverse_transform(scaler.transform(X)), X)


def test_constant_feature_is_refused():
    with pytest.raises(ValueError, match="feature 1 is constant"):
        LogitScaler().fit(np.column_stack([X[:, 0], np.ones(len(X))]))


@pytest.mark.parametrize("use_logit", [True, False])
def test_json_round_trip(use_logit):
    scaler = make_scaler(use_logit=use_logit).fit(X)
    again = scaler_from_dict(json.loads(json.dumps(scaler_to_dict(scaler))))
    np.testing.assert_array_equal(again.transform(X), scaler.transform(X))


@pytest.mark.parametrize(
    "content", [{}, {"standard": {}}, {"standard": {"mean_": [1], "scale_": ["x"], "var_": [1]}}, {"standard": 3}]
)
def test_damaged_description_is_refused(content):
    with pytest.raises(InputError, match="preprocessing"):
        scaler_from_dict(content)
