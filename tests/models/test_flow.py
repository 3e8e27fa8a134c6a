"""The flow is a density: normalised, with the right Jacobian, invertible, reproducible, loadable."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import models.flow
from common.errors import InputError
from models import affine_gradients
from models.arrays import member_generators
from models.autoregressive import losses_of
from models.ensembles import EnsembleModel
from models.flow import ConditionalNormalizingFlow
from models.published_flow import PublishedFlow
from models.scalers import ExtPipeline, make_scaler
from models.training.loop import MemberData, Objective, compiler_works, train_members
from models.training.state import TrainingPlan, flatten_parameters
from models.weights import save_weights

SMALL = {
    "num_blocks": 3, "num_hidden": 16, "epochs": 3, "batch_size": 128, "lr": 3e-3, "schedule": "one_cycle", "random_state": 5
}  # fmt: skip
OWN = [("MAF", "batch_norm"), ("MAF", "none"), ("RQS", "batch_norm"), ("RQS", "none")]
CASES = [*OWN, ("published", "batch_norm")]


def moving_gaussian(n: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    m = rng.uniform(-1, 1, (n, 1))
    return 0.5 * m + rng.normal(size=(n, d)) * np.linspace(0.5, 1, d), m


def fitted(d: int, transform: str = "MAF", normalization: str = "none", **changes: object) -> ConditionalNormalizingFlow:
    X, m = moving_gaussian(2000, d)
    if transform == "published":
        return PublishedFlow(num_inputs=d, num_blocks=3, num_hidden=16, epochs=3, batch_size=128, lr=3e-3, random_state=5).fit(
            X, m
        )
    return ConditionalNormalizingFlow(num_inputs=d, transform_type=transform, normalization=normalization, **SMALL | changes).fit(
        X, m
    )


@pytest.mark.parametrize(("transform", "normalization"), CASES)
@pytest.mark.parametrize("d", [1, 2])
def test_density_integrates_to_one(d, transform, normalization):
    flow = fitted(d, transform, normalization)
    edge = np.linspace(-12, 12, 4001 if d == 1 else 301)
    X = np.stack(np.meshgrid(*[edge] * d, indexing="ij"), axis=-1).reshape(-1, d)
    density = np.exp(flow.predict_log_proba(X, np.full((len(X), 1), 0.3)))
    assert density.sum() * (edge[1] - edge[0]) ** d == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("transform", "normalization"), CASES)
def test_log_prob_matches_the_jacobian_from_autograd(transform, normalization):
    flow = fitted(3, transform, normalization)
    X, m = moving_gaussian(20, 3, seed=1)
    log_prob = flow.predict_log_proba(X, m)
    for x, condition, expected in zip(X, m, log_prob, strict=True):
        context = torch.tensor(condition[None, None], dtype=torch.float32)

        def to_latent(point, context=context):
            return flow.module_(point[None, None], context)[0][0, 0]

        point = torch.tensor(x, dtype=torch.float32)
        jacobian = torch.autograd.functional.jacobian(to_latent, point)
        z = to_latent(point).detach().double().numpy()
        log_det = np.linalg.slogdet(jacobian.double().numpy())[1]
        assert expected == pytest.approx(-0.5 * z @ z - 1.5 * np.log(2 * np.pi) + log_det, abs=1e-3)


@pytest.mark.parametrize(("transform", "normalization"), CASES)
def test_round_trip_through_the_latent_space(transform, normalization):
    flow = fitted(3, transform, normalization)
    X, m = moving_gaussian(500, 3, seed=2)
    np.testing.assert_allclose(flow.inverse_transform(flow.transform(X, m), m), X, atol=1e-4)


@pytest.mark.parametrize("transform", ["MAF", "RQS"])
def test_interpolates_a_moving_gaussian_into_the_signal_region(transform):
    """Trained where |m| > 0.15 only, sampled where |m| < 0.15: 20 000 samples reproduce mean and covariance to 0.06."""
    rng = np.random.default_rng(3)
    covariance = np.array([[1.0, 0.6], [0.6, 0.8]])
    m = rng.uniform(0.15, 1, (40000, 1)) * rng.choice([-1, 1], (40000, 1))
    X = np.column_stack([m, -0.5 * m]) + rng.multivariate_normal([0, 0], covariance, len(m))
    flow = ConditionalNormalizingFlow(
        num_inputs=2,
        transform_type=transform,
        num_blocks=3,
        num_hidden=16,
        epochs=12,
        batch_size=500,
        lr=1e-3,
        schedule="one_cycle",
        random_state=1,
    ).fit(X, m)
    sr = rng.uniform(-0.15, 0.15, (20000, 1))
    samples = flow.sample(m=sr, random_state=rng)
    residual = samples - np.column_stack([sr, -0.5 * sr])
    np.testing.assert_allclose(residual.mean(axis=0), 0, atol=0.06)
    np.testing.assert_allclose(np.cov(residual.T), covariance, atol=0.06)
    slope = np.polyfit(sr[:, 0], samples, 1)[0]
    np.testing.assert_allclose(slope, [1, -0.5], atol=0.3)


def test_training_lowers_the_loss_towards_the_entropy():
    X, m = moving_gaussian(10000, 2)
    flow = ConditionalNormalizingFlow(num_inputs=2, **SMALL | {"epochs": 8}).fit(X, m)
    entropy = np.log(2 * np.pi * np.e) + np.log([0.5, 1.0]).sum()
    assert flow.val_losses_.shape == (9,)
    assert entropy - 0.05 < flow.val_losses_.min() < entropy + 0.05
    np.testing.assert_allclose(-flow.predict_log_proba(X, m).mean(), entropy, atol=0.05)


def test_same_seed_same_weights_and_other_seed_other_weights():
    weights = [fitted(2, random_state=seed).module_.state_dict() for seed in (5, 5, 6)]
    assert all(torch.equal(a, b) for a, b in zip(weights[0].values(), weights[1].values(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(weights[0].values(), weights[2].values(), strict=True))


def test_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    fitted(1)
    assert torch.equal(before, torch.get_rng_state())


def test_nan_rows_are_ignored_in_fit_and_answered_with_nan():
    X, m = moving_gaussian(1000, 2)
    dirty = np.concatenate([X, [[np.nan, 0.0]]]), np.concatenate([m, [[0.0]]])
    flow = ConditionalNormalizingFlow(num_inputs=2, **SMALL).fit(X[:800], m[:800], *dirty)
    log_prob = flow.predict_log_proba(*dirty)
    assert np.isnan(log_prob[-1])
    assert np.isfinite(log_prob[:-1]).all()


def test_weights_load_into_the_same_architecture_only(tmp_path):
    flow = fitted(2)
    X, m = moving_gaussian(100, 2)
    save_weights(tmp_path / "flow.par", flow.module_.state_dict())
    again = ConditionalNormalizingFlow(num_inputs=2, **SMALL).load_weights(tmp_path / "flow.par")
    np.testing.assert_array_equal(again.predict_log_proba(X, m), flow.predict_log_proba(X, m))
    with pytest.raises(InputError, match=r"flow\.par: belongs to another architecture"):
        ConditionalNormalizingFlow(num_inputs=2, **SMALL | {"num_hidden": 8}).load_weights(tmp_path / "flow.par")


@pytest.mark.parametrize("problem", ["width", "rows", "missing m", "empty"])
def test_wrong_arrays_are_refused(problem):
    X, m = moving_gaussian(100, 2)
    arrays = {"width": (X[:, :1], m), "rows": (X[:50], m), "missing m": (X, None), "empty": (X[:0], m[:0])}[problem]
    with pytest.raises(ValueError, match=r"feature|rows|missing|empty"):
        ConditionalNormalizingFlow(num_inputs=2, **SMALL).fit(*arrays)


def test_ensemble_averages_probabilities_and_of_one_equals_its_member():
    X, m = moving_gaussian(200, 2, seed=4)
    scaler = make_scaler(use_logit=True).fit(moving_gaussian(2000, 2)[0])
    flows = [fitted(2, random_state=seed) for seed in (1, 2)]
    single = [ExtPipeline([*scaler.steps, ("flows", EnsembleModel([flow]))]).predict_log_proba(X, m) for flow in flows]
    Z = scaler.transform(X)
    np.testing.assert_allclose(single[0], flows[0].predict_log_proba(Z, m) + scaler.log_jacobian_determinant(X))
    both = ExtPipeline([*scaler.steps, ("flows", EnsembleModel(flows))])
    np.testing.assert_allclose(np.exp(both.predict_log_proba(X, m)), np.exp(single).mean(axis=0))
    assert both.sample(m=m, random_state=0).shape == X.shape


@pytest.mark.parametrize("transform", ["MAF", "RQS"])
def test_chunks_do_not_change_the_result(monkeypatch, transform):
    """Samples and log-probs in chunks of 64, 100 and 10 000 events agree to 1e-5: matrix products round differently by shape."""
    flow = fitted(3, transform)
    X, m = moving_gaussian(1000, 3, seed=4)
    results = []
    for chunk in (64, 100, 10_000):
        monkeypatch.setattr(models.flow, "CHUNK", chunk)
        results.append((flow.sample(m=m, random_state=1), flow.predict_log_proba(X, m)))
    for samples, log_prob in results[1:]:
        np.testing.assert_allclose(samples, results[0][0], atol=1e-5)
        np.testing.assert_allclose(log_prob, results[0][1], atol=1e-5)


def trained_alike(**settings) -> ConditionalNormalizingFlow:
    """A flow of the same seed and the same events, whatever else is set."""
    X, m = moving_gaussian(2000, 2, seed=1)
    flow = ConditionalNormalizingFlow(
        num_inputs=2, num_blocks=2, num_hidden=16, epochs=5, batch_size=100, random_state=1, **settings
    )
    return flow.fit(X[:1500], m[:1500], X[1500:], m[1500:])


@pytest.mark.parametrize("transform", ["MAF", "RQS"])
def test_bfloat16_training_ends_where_float32_training_ends(transform):
    """Within 0.005 nats; the trained flow itself is float32."""
    full, half = (trained_alike(transform_type=transform, precision=precision) for precision in ("float32", "bfloat16"))
    assert min(full.val_losses_) < full.val_losses_[0] - 0.1
    assert abs(min(half.val_losses_) - min(full.val_losses_)) < 0.005
    assert not np.array_equal(half.val_losses_, full.val_losses_)
    assert {p.dtype for p in half.module_.parameters()} == {torch.float32}


@pytest.mark.parametrize("d", [1, 3])
def test_gradients_by_hand_are_those_of_autograd(d):
    """Of two flows at once: losses and all gradients, to 1e-6 of the largest."""
    generators = member_generators(1, 2)
    flow = ConditionalNormalizingFlow(num_inputs=d, num_cond_inputs=2, num_blocks=3, num_hidden=12, num_layers=2)._build(
        generators
    )
    flow.condition_center.fill_(0.4)
    flow.condition_scale.fill_(0.7)
    generator = torch.Generator().manual_seed(2)
    x, m = torch.randn(2, 50, d, generator=generator), torch.rand(2, 50, 2, generator=generator)
    losses = losses_of(flow)(x, m)
    expected = torch.autograd.grad(losses.sum(), list(flow.parameters()))
    flatten_parameters(flow)
    for _ in range(2):  # the second time in memory that was used already
        found = affine_gradients.losses_and_gradients_of(flow)(x, m)
    torch.testing.assert_close(found, losses.detach(), atol=1e-6, rtol=1e-6)
    for parameter, gradient in zip(flow.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-6 * float(gradient.abs().max()), rtol=1e-5)
    assert all(gradient.abs().max() > 1e-4 for gradient in expected[1:])


def test_the_condition_is_scaled_alike_in_any_unit_and_for_any_width_of_the_sideband():
    """How fast p(x|m) may change with m is not learned from how the training events are spread in m."""
    rng = np.random.default_rng(0)
    X, spread = rng.normal(size=(800, 2)), rng.uniform(-1, 1, (800, 1))
    centers, scales = [], []
    for width, unit in ((0.4, 1), (0.4, 1000), (0.05, 1)):
        m = (3.5 + width * spread) * unit
        for given in (None, 3.5 * unit):
            flow = ConditionalNormalizingFlow(num_inputs=2, condition_center=given, condition_scale=given, **SMALL).fit(X, m)
            centers.append(float(flow.module_.condition_center) / unit)
            scales.append(float(flow.module_.condition_scale) / unit)
            if unit == 1 and given:
                losses = flow.val_losses_
            elif given:
                np.testing.assert_allclose(flow.val_losses_, losses, atol=1e-4)
    np.testing.assert_allclose(centers, 3.5, rtol=0.02)
    np.testing.assert_allclose(scales, 3.5, rtol=0.02)
    seen = flow.module_.seen(torch.tensor([[[3.5], [4.2]]]))
    np.testing.assert_allclose(seen.flatten(), [0, 0.2], atol=1e-6)
    with pytest.raises(ValueError, match="condition_scale must be above 0"):
        ConditionalNormalizingFlow(num_inputs=2, condition_scale=0.0, **SMALL).fit(X, m)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler warns about torch's own code
def test_compiled_training_is_eager_training():
    """Log-prob and samples agree to 1e-3 after 75 steps that round differently."""
    if not compiler_works():
        pytest.skip("torch.compile needs a C++ compiler")
    eager, compiled = (trained_alike(compile=value) for value in (False, True))
    X, m = moving_gaussian(500, 2, seed=2)
    np.testing.assert_allclose(compiled.predict_log_proba(X, m), eager.predict_log_proba(X, m), atol=1e-3)
    np.testing.assert_allclose(compiled.sample(m=m, random_state=3), eager.sample(m=m, random_state=3), atol=1e-3)


def test_without_a_compiler_training_is_eager(monkeypatch, caplog):
    monkeypatch.setattr(models.flow, "compiler_works", lambda: False)
    with caplog.at_level("INFO"):
        flow = trained_alike(compile=True)
    assert "not compiled" in caplog.text
    np.testing.assert_array_equal(flow.val_losses_, trained_alike().val_losses_)


@pytest.mark.parametrize(("transform", "normalization"), OWN)
def test_stacked_flows_are_the_single_flows(transform, normalization):
    """Two flows trained as one stack end where each ends alone (1e-3 in log-prob: sums are rounded in another order)."""
    X, m = (torch.as_tensor(a, dtype=torch.float32) for a in moving_gaussian(600, 2))
    settings = {"transform_type": transform, "normalization": normalization}
    estimator = ConditionalNormalizingFlow(num_inputs=2, num_blocks=2, num_hidden=8, **settings)
    plan = TrainingPlan(epochs=2, batch_size=100, learning_rate=1e-3, one_cycle=True, gradient_clip=0.5, averaging=0.9)

    def log_probs(members: slice) -> torch.Tensor:
        generators = member_generators(1, 2)[members]
        module, rows = estimator._build(generators), torch.arange(600).expand(len(generators), 600)
        kept = []
        train_members(
            module, Objective("flow", losses_of), MemberData((X, m), rows), MemberData((X, m), rows), plan, generators,
            on_epoch=lambda epoch, validated, losses: kept.append(copy.deepcopy(validated)),
        )  # fmt: skip
        return kept[-1].log_prob(X[rows], m[rows]).detach()

    both = log_probs(slice(0, 2))
    for i in range(2):
        torch.testing.assert_close(log_probs(slice(i, i + 1))[0], both[i], atol=1e-3, rtol=0)
    assert (both[0] - both[1]).abs().max() > 0.01
