"""One condition per event may be m [n] or m [n, 1]: every method that takes m gives the same for both, to the last bit."""

from __future__ import annotations

import re
from collections.abc import Callable
from inspect import getmembers, isfunction, signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from models.density import FeatureDensity, TrainedDensity
from models.ensembles import EnsembleModel, EpochEnsembleModel
from models.flow import ConditionalNormalizingFlow
from models.scalers import ExtPipeline, ExtStandardScaler, LogitScaler, make_ext_pipeline

FLOW = {"num_inputs": 2, "num_blocks": 1, "num_hidden": 8, "batch_size": 100, "epochs": 2, "random_state": 1}
rng = np.random.default_rng(0)
M = rng.uniform(-1, 1, (200, 1))
X = np.exp(0.3 * rng.normal(size=(200, 2)) + 0.2 * M)
M_VAL, X_VAL = M[:100], X[:100]
Z = rng.normal(size=X.shape)


class OwnDensity(BaseEstimator):
    """A user's own density, N(k m, 1) in every feature: its m is [n, c] and nothing else."""

    def fit(self, X, m, X_val=None, m_val=None, *, checkpoint=None):
        self.k_ = float(np.mean(X * self._checked(m, X)))
        self.train_losses_ = np.array([np.nan, -self.predict_log_proba(X, m).mean()])
        self.val_losses_ = np.array([np.nan, 0.0 if X_val is None else -self.predict_log_proba(X_val, m_val).mean()])
        return self

    def predict_log_proba(self, X, m):
        return -np.sum((X - self.k_ * self._checked(m, X)) ** 2, axis=1) / 2 - np.log(2 * np.pi)

    def sample(self, n_samples, m, random_state):
        assert len(m) == n_samples
        return self.k_ * self._checked(m, m) + np.random.default_rng(random_state).standard_normal((n_samples, 2))

    def _checked(self, m: Any, events: np.ndarray) -> np.ndarray:
        assert type(m) is np.ndarray
        assert m.shape == (len(events), 1)
        return m


def trained(estimator: Any, m: Any, m_val: Any) -> TrainedDensity:
    return TrainedDensity.fit(estimator, (X, m), (X_VAL, m_val), use_logit=True, names=["a", "b"])


def flow() -> ConditionalNormalizingFlow:
    return ConditionalNormalizingFlow(**FLOW)


MODELS: dict[str, tuple[type, Callable[[Path], Any]]] = {
    "flow": (ConditionalNormalizingFlow, lambda folder: flow().fit(X, M)),
    "pipeline of a flow": (
        ExtPipeline,
        lambda folder: make_ext_pipeline(LogitScaler(epsilon=0.01), ExtStandardScaler(), flow()).fit(X, M),
    ),
    "pipeline of another": (ExtPipeline, lambda folder: make_ext_pipeline(ExtStandardScaler(), OwnDensity()).fit(X, M)),
    "mixture of flows": (EnsembleModel, lambda folder: EnsembleModel([flow(), flow()]).fit(X, M)),
    "mixture of others": (EnsembleModel, lambda folder: EnsembleModel([OwnDensity(), OwnDensity()]).fit(X, M)),
    "mixture of epochs": (EpochEnsembleModel, lambda folder: EpochEnsembleModel(flow().set_params(save_path=folder)).fit(X, M)),
    "density of a flow": (FeatureDensity, lambda folder: trained(flow(), M, M_VAL).density()),
    "density of another": (FeatureDensity, lambda folder: trained(OwnDensity(), M, M_VAL).density()),
}
LATENT = ("transform", "fit_transform", "log_jacobian_determinant", "inverse_transform", "inverse_log_jacobian_determinant")
ENTRIES = [
    (name, method)
    for name, (kind, _) in MODELS.items()
    for method, function in getmembers(kind, isfunction)
    if "m" in signature(function).parameters and not re.match("_|set_.*_request", method)
    if method != "predict"  # classes, of which a density has none
    if "flow" in name or method not in LATENT  # other densities have no latent space
]
KINDS = {
    "array": (np.float64, lambda m: m[:, 0]),
    "list": (np.float64, lambda m: m[:, 0].tolist()),
    "single precision": (np.float32, lambda m: m[:, 0]),
}


def answer(model: Any, method: str, m: Any, m_val: Any) -> np.ndarray:
    """What a method gives; its arguments are chosen by their names."""
    if method.startswith("fit"):
        model = clone(model)
    wanted = signature(getattr(model, method)).parameters
    named = {"X": X, "Z": Z, "m": m, "X_val": X_VAL, "m_val": m_val}
    named |= {name: np.random.default_rng(1) for name in ("random_state", "rng")}
    result = getattr(model, method)(**{name: value for name, value in named.items() if name in wanted})
    return model.predict_log_proba(X, M) if method == "fit" else result


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {name: make(tmp_path_factory.mktemp("epochs")) for name, (_, make) in MODELS.items()}


@pytest.mark.parametrize(("dtype", "convert"), KINDS.values(), ids=KINDS)
@pytest.mark.parametrize(("name", "method"), ENTRIES)
def test_m_of_one_dimension_is_one_condition_per_event(models, name, method, dtype, convert):
    m, m_val = M.astype(dtype), M_VAL.astype(dtype)
    expected = answer(models[name], method, m, m_val)
    assert np.isfinite(expected).any()
    np.testing.assert_array_equal(answer(models[name], method, convert(m), convert(m_val)), expected)


def test_the_entries_are_found():
    """By their argument m: one that lost it would not be missed above."""
    for kind in {kind for kind, _ in MODELS.values()}:
        mine = {method for name, method in ENTRIES if MODELS[name][0] is kind}
        assert mine >= {"predict_log_proba", "sample"} | ({"fit"} if hasattr(kind, "fit") else {"transform"})
    assert ("flow", "inverse_log_jacobian_determinant") in ENTRIES


def test_members_of_a_mixture_get_validation_events_with_one_condition():
    """They reach them by position or by name."""
    expected = EnsembleModel([OwnDensity()]).fit(X, M, X_VAL, M_VAL).models_[0].val_losses_
    for found in (
        EnsembleModel([OwnDensity()]).fit(X, M[:, 0], X_VAL, M_VAL[:, 0]),
        EnsembleModel([OwnDensity()]).fit(X, M[:, 0], X_val=X_VAL, m_val=M_VAL[:, 0]),
    ):
        np.testing.assert_array_equal(found.models_[0].val_losses_, expected)


@pytest.mark.parametrize("estimator", [flow, OwnDensity])
def test_training_events_of_a_density_may_have_m_of_one_dimension(estimator):
    """Those of training and of validation: losses are the same."""
    expected, found = trained(estimator(), M, M_VAL), trained(estimator(), M[:, 0].tolist(), M_VAL[:, 0])
    np.testing.assert_array_equal(found.train_losses, expected.train_losses)
    np.testing.assert_array_equal(found.val_losses, expected.val_losses)
    with pytest.raises(ValueError, match="m has 100 rows, expected 200"):
        trained(estimator(), M[:100, 0], M_VAL)


@pytest.mark.parametrize("name", [name for name in MODELS if not name.startswith("density")])
def test_events_at_a_single_condition(models, name):
    """One row of m, or an m of length 1, stands for as many events as are asked for; n events are not n conditions."""

    def draw(m: Any) -> np.ndarray:
        return models[name].sample(7, m=m, random_state=np.random.default_rng(1))

    expected = draw([[0.5]])
    assert expected.shape == (7, 2)
    np.testing.assert_array_equal(draw([0.5]), expected)
    np.testing.assert_array_equal(draw(np.full(7, 0.5)), expected)
    with pytest.raises(ValueError, match="n_samples is 7, but m has 200 rows"):
        draw(M[:, 0])


def test_two_conditions_are_not_two_events():
    """With two conditions, an m of length 2 is refused rather than read as one event."""
    flow = ConditionalNormalizingFlow(**FLOW, num_cond_inputs=2).fit(X, np.column_stack([M, -M]))
    with pytest.raises(ValueError, match="m has 1 columns, expected 2"):
        flow.sample(m=[0.5, -0.5])
    with pytest.raises(ValueError, match="m has 1 columns, expected 2"):
        flow.transform(X, M[:, 0])


def test_scikit_learn_routes_m_of_one_dimension(models):
    """Its own pipelines, where metadata routing is on."""
    with sklearn.config_context(enable_metadata_routing=True):
        predictor = make_pipeline(ExtStandardScaler().fit(X), models["mixture of others"])
        np.testing.assert_array_equal(predictor.predict_log_proba(X, m=M[:, 0]), predictor.predict_log_proba(X, m=M))


def test_pipelines_to_a_score_take_m_of_one_dimension():
    """LaCATHODE in one pipeline: the flow on the way gets m, the classifier none."""
    y = (X[:, 0] > 1).astype(int)
    steps = ExtStandardScaler(), flow(), ExtStandardScaler(), LogisticRegression()
    expected, found = (make_ext_pipeline(*map(clone, steps)).fit(X, m, y=y) for m in (M, M[:, 0]))
    np.testing.assert_array_equal(found.predict(X, M[:, 0]), expected.predict(X, M))
    np.testing.assert_array_equal(found.predict_proba(X, m=M[:, 0]), expected.predict_proba(X, m=M))
