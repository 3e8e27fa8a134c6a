"""Discrete features go through a density smeared, and come back as what they are."""

from __future__ import annotations

import json

import numpy as np
import pytest

from common.errors import InputError
from models.density import DensityPreprocessing, TrainedDensity, load_density
from models.dequantizer import Dequantizer
from models.flow import ConditionalNormalizingFlow

NAMES = ["x", "n"]


def events(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A feature with three values 0, 1 and 4, the more often the highest the larger m; and one that knows of it."""
    rng = np.random.default_rng(seed)
    m = rng.uniform(3, 4, (n, 1))
    value = np.where(rng.random(n) < m[:, 0] - 3, 4.0, rng.integers(2, size=n))
    return np.column_stack([rng.normal(value / 4, 0.3), value]), m


def test_every_value_is_smeared_evenly_over_its_own_cell_and_rounded_back():
    values = np.repeat([0.0, 1.0, 4.0], 4000)[:, None]
    dequantizer = Dequantizer([0]).fit(values)
    smeared = dequantizer.transform(values)
    for value, low, high in ((0, -0.5, 0.5), (1, 0.5, 2.5), (4, 2.5, 5.5)):
        mine = smeared[values == value]
        assert low <= mine.min() < mine.max() < high
        assert mine.mean() == pytest.approx((low + high) / 2, abs=0.05 * (high - low))
        assert mine.std() == pytest.approx((high - low) / 12**0.5, rel=0.03)
    np.testing.assert_array_equal(dequantizer.inverse_transform(smeared), values)
    np.testing.assert_array_equal(dequantizer.inverse_transform([[-9.0], [0.6], [99.0], [np.nan]]).ravel(), [0, 1, 4, np.nan])
    assert np.isnan(dequantizer.transform([[np.nan]])).all()


def test_other_columns_are_left_alone():
    X, _ = events(200)
    smeared = Dequantizer([1]).fit_transform(X)
    np.testing.assert_array_equal(smeared[:, 0], X[:, 0])
    assert len(np.unique(smeared[:, 1])) == 200
    assert Dequantizer().fit_transform(X) is X


def test_a_density_with_a_discrete_feature_samples_its_values_with_their_shares(tmp_path):
    """By m, to 0.04; as stored and loaded. What the density says of the values is proportional to their shares."""
    (X, m), val = events(20000), events(5000, seed=1)
    flow = ConditionalNormalizingFlow(
        num_inputs=2, num_blocks=6, num_hidden=32, epochs=8, batch_size=200, lr=3e-3, schedule="one_cycle",
        condition_center=3.5, condition_scale=1.0, random_state=1, save_path=tmp_path / "epochs",
    )  # fmt: skip
    trained = TrainedDensity.fit(flow, (X, m), val, use_logit=True, names=NAMES, discrete=["n"])
    trained.save(tmp_path, "flow")
    density = load_density(tmp_path, "flow", n_best=1)
    np.testing.assert_array_equal(density.predict_log_proba(*val), trained.density(1).predict_log_proba(*val))
    for mass in (3.25, 3.75):
        samples = density.sample(np.full((20000, 1), mass), np.random.default_rng(0))
        assert set(np.unique(samples[:, 1])) == {0, 1, 4}
        assert np.mean(samples[:, 1] == 4) == pytest.approx(mass - 3, abs=0.04)
        assert np.mean(samples[samples[:, 1] == 4, 0]) == pytest.approx(1, abs=0.05)
    np.testing.assert_array_equal(np.isfinite(density.predict_log_proba(*val)).mean() > 0.99, True)


@pytest.mark.parametrize(
    ("discrete", "message"), [(["nobody"], "nobody is none of the features, which are x, n"), (["x"], "it is not discrete")]
)
def test_what_cannot_be_smeared_is_refused(discrete, message):
    with pytest.raises(InputError, match=message):
        DensityPreprocessing.fit(events(20000)[0], use_logit=True, names=NAMES, discrete=discrete)


@pytest.mark.parametrize(
    "change",
    [{"columns": [7]}, {"columns": [True]}, {"columns": []}, {"values": [[1.0, 0.0]]}, {"values": [[0.0]]}, {"values": [["a", "b"]]},
     {"values": [[0.0, float("inf")]]}, {"values": 3}],
)  # fmt: skip
def test_a_damaged_description_is_refused(tmp_path, change):
    path = tmp_path / "preprocessing.json"
    DensityPreprocessing.fit(events(500)[0], use_logit=True, names=NAMES, discrete=["n"]).save(path)
    content = json.loads(path.read_text())
    content["dequantizer"] |= change
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"preprocessing\.json: not "):
        DensityPreprocessing.load(path)
