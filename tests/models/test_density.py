"""Densities of physical features: the estimator behind its scalers, on disk and in memory."""

from __future__ import annotations

import numpy as np
import pytest
from toys import event_source

from common.errors import InputError
from models.density import DensityPreprocessing, StoredDensity, TrainedDensity, load_density
from models.flow import ConditionalNormalizingFlow
from models.scalers import make_scaler

NAMES = ["a", "b", "c", "d"]


def trained(flow, X: np.ndarray, m: np.ndarray, *, use_logit: bool) -> TrainedDensity:
    """A flow fitted to events that validate it as well."""
    return TrainedDensity.fit(flow, (X, m), (X, m), use_logit=use_logit, names=NAMES, trained_on={"features": NAMES})


@pytest.mark.parametrize("use_logit", [True, False])
def test_losses_with_and_without_logit_are_quoted_in_the_same_space(toy_dir, tmp_path, use_logit):
    """Whatever the flow works on, its loss is -log p of the physical features plus log |dz/dx| of logit and standardization."""
    train, val = event_source(toy_dir).sideband()
    train.x[:, 2], val.x[:, 2] = np.exp(3 * train.x[:, 2]), np.exp(3 * val.x[:, 2])
    flow = ConditionalNormalizingFlow(
        num_blocks=2, num_hidden=16, lr=3e-3, epochs=2, batch_size=256, random_state=1, save_path=tmp_path / "epochs"
    )
    result = TrainedDensity.fit(
        flow, *((events.x, events.m[:, None]) for events in (train, val)), use_logit=use_logit, names=NAMES
    )
    result.save(tmp_path, "flow")
    losses, preprocessing = result.val_losses, result.preprocessing
    np.testing.assert_array_equal(np.load(tmp_path / "flow_val_losses.npy"), losses)
    train, val = (events[preprocessing.inside(events.x, "test")] for events in (train, val))
    density = load_density(tmp_path, "flow", n_best=1)
    log_p = density.predict_log_proba(val.x, val.m[:, None])
    reference = make_scaler(use_logit=True).fit(preprocessing.scaler.inverse_transform(preprocessing.scaler.transform(train.x)))
    expected = np.mean(preprocessing.reference.log_jacobian_determinant(val.x) - log_p)
    assert losses[1:].min() == pytest.approx(expected, abs=1e-3)
    assert len(reference.steps) == 2


def test_a_density_is_loaded_by_folder_and_name_alone(tmp_path):
    """Class and hyperparameters are beside the weights, epochs are mixed, and one epoch can be asked for."""
    rng = np.random.default_rng(0)
    X, m = rng.random((800, 4)), rng.uniform(3.3, 3.7, (800, 1))
    flow = ConditionalNormalizingFlow(
        transform_type="RQS",
        num_blocks=1,
        num_hidden=8,
        num_bins=5,
        epochs=4,
        lr=1e-6,
        random_state=0,
        save_path=tmp_path / "epochs",
    )
    result = trained(flow, X, m, use_logit=True)
    result.save(tmp_path, "spline")
    inside = result.preprocessing.inside(X, "test")
    events = (X[inside], m[inside])
    mixed, alone = load_density(tmp_path, "spline"), load_density(tmp_path, "spline", n_best=1)
    assert len(mixed.estimator.models) == 4
    assert alone.estimator.num_bins == 5
    best = int(np.argmin(flow.val_losses_[1:]))
    of_epoch = StoredDensity.of_epochs([tmp_path / f"spline_epoch_{best}.par"]).load()
    np.testing.assert_array_equal(alone.predict_log_proba(*events), of_epoch.predict_log_proba(*events))
    assert np.isnan(mixed.predict_log_proba(X + 1, m)).all()
    samples = mixed.sample(m[:5], np.random.default_rng(1))
    assert samples.shape == (5, 4)
    with pytest.raises(InputError, match="has no latent space"):
        mixed.transform(*events)
    stored = StoredDensity(tmp_path, "spline")
    assert stored.check(4, {"features": NAMES}).uses_logit
    with pytest.raises(InputError, match="4 features, but the events have 5"):
        stored.check(5, {})
    with pytest.raises(InputError, match="trained with features"):
        stored.check(4, {"features": NAMES[::-1]})


def test_an_estimator_of_an_unknown_kind_is_refused(tmp_path):
    (tmp_path / "x_estimator.json").write_text('{"estimator": "os.system", "parameters": {}, "epochs": [[0]]}')
    make_scaler(use_logit=False)
    X = np.random.default_rng(0).random((50, 4))
    DensityPreprocessing.fit(X, use_logit=False, names=NAMES).save(tmp_path / "x_preprocessing.json")
    with pytest.raises(InputError, match=r"x_estimator\.json: 'os.system' is no density estimator"):
        load_density(tmp_path, "x")
