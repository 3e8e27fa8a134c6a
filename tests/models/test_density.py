"""Densities of physical features: the estimator behind its scalers, on disk and in memory."""

from __future__ import annotations

import numpy as np
import pytest
from toys import event_source

from common.errors import InputError
from models.density import DensityPreprocessing, StoredDensity, load_density, save_density, train_density
from models.flow import ConditionalNormalizingFlow
from models.scalers import make_scaler

NAMES = ["a", "b", "c", "d"]


def fitted(X: np.ndarray, *, use_logit: bool) -> DensityPreprocessing:
    return DensityPreprocessing.fit(X, use_logit=use_logit, names=NAMES, trained_on={"features": NAMES})


@pytest.mark.parametrize("use_logit", [True, False])
def test_losses_with_and_without_logit_are_quoted_in_the_same_space(toy_dir, tmp_path, use_logit):
    """Whatever the flow works on, its loss is -log p of the physical features plus log |dz/dx| of logit and standardization."""
    train, val = event_source(toy_dir).sideband()
    train.x[:, 2], val.x[:, 2] = np.exp(3 * train.x[:, 2]), np.exp(3 * val.x[:, 2])
    preprocessing = fitted(train.x, use_logit=use_logit)
    train, val = (events[preprocessing.inside(events.x, "test")] for events in (train, val))
    flow = ConditionalNormalizingFlow(
        num_blocks=2, num_hidden=16, lr=3e-3, epochs=2, batch_size=256, random_state=1, save_path=tmp_path / "epochs"
    )
    losses = train_density(flow, preprocessing, *((events.x, events.m[:, None]) for events in (train, val)))
    save_density(flow, preprocessing, losses, tmp_path, "flow")
    np.testing.assert_array_equal(np.load(tmp_path / "flow_val_losses.npy"), losses[1])
    density = load_density(tmp_path, "flow", n_best=1)
    log_p = density.predict_log_proba(val.x, val.m[:, None])
    reference = make_scaler(use_logit=True).fit(preprocessing.scaler.inverse_transform(preprocessing.scaler.transform(train.x)))
    expected = np.mean(preprocessing.reference.log_jacobian_determinant(val.x) - log_p)
    assert losses[1][1:].min() == pytest.approx(expected, abs=1e-3)
    assert len(reference.steps) == 2


def test_a_density_is_loaded_by_folder_and_name_alone(tmp_path):
    """Class and hyperparameters are beside the weights, epochs are mixed, and one epoch can be asked for."""
    rng = np.random.default_rng(0)
    X, m = rng.random((800, 4)), rng.uniform(3.3, 3.7, (800, 1))
    preprocessing = fitted(X, use_logit=True)
    inside = preprocessing.inside(X, "test")
    events = (X[inside], m[inside])
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
    save_density(flow, preprocessing, train_density(flow, preprocessing, events, events), tmp_path, "spline")
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
    fitted(np.random.default_rng(0).random((50, 4)), use_logit=False).save(tmp_path / "x_preprocessing.json")
    with pytest.raises(InputError, match=r"x_estimator\.json: 'os.system' is no density estimator"):
        load_density(tmp_path, "x")
