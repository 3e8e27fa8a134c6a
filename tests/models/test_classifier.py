"""The stacked classifiers learn, are independent of each other, and honour weights."""

from __future__ import annotations

import joblib
import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from common import processes
from models.arrays import member_generators
from models.classifier import NeuralNetworkClassifier
from models.network import losses_and_gradients_of, losses_of
from models.training.state import flatten_parameters
from models.weights import save_weights

SETTINGS = {"n_inputs": 2, "layers": (16, 16), "epochs": 6, "random_state": 3}


def two_gaussians(n: int = 4000, shift: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n)
    return rng.normal(size=(n, 2)) + shift * y[:, None] * [1, 0], y


def test_reaches_the_optimal_auc():
    classifier = NeuralNetworkClassifier(n_runs=2, **SETTINGS).fit(*two_gaussians())
    X, y = two_gaussians(20000, seed=1)
    assert roc_auc_score(y, classifier.predict(X)) == pytest.approx(0.760, abs=0.01)  # Phi(1/sqrt(2))
    np.testing.assert_allclose(classifier.predict_proba(X).sum(axis=1), 1)


def test_members_are_independent_of_their_neighbours():
    """The members start differently, and one that has become NaN leaves the other alone."""
    X, y = two_gaussians(600)
    classifier = NeuralNetworkClassifier(n_runs=2, no_gpu=True, **SETTINGS)
    pair = classifier.fit(X, y, X, y).predict_runs(X)
    assert not np.allclose(pair[0], pair[1])
    module = classifier.module_
    before = module(torch.as_tensor(X, dtype=torch.float32).expand(2, -1, -1))[0].detach().clone()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter[1] = torch.nan
    after = module(torch.as_tensor(X, dtype=torch.float32).expand(2, -1, -1))[0]
    assert torch.equal(before, after)


def test_each_member_holds_out_its_own_events():
    """Untrained, a member's losses on the events it holds out and on the rest average to its loss on all events."""
    X, y = two_gaussians(400)
    settings = SETTINGS | {"n_runs": 3, "epochs": 1, "lr": 1e-12}
    split = NeuralNetworkClassifier(**settings, val_split=0.5).fit(X, y)
    whole = NeuralNetworkClassifier(**settings).fit(X, y, X, y)
    np.testing.assert_allclose((split.val_losses_[0] + split.train_losses_[0]) / 2, whole.val_losses_[0], rtol=1e-5)
    assert not np.allclose(split.val_losses_[0], split.train_losses_[0], rtol=1e-4)


def test_a_run_is_the_same_alone_and_in_company():
    """Run 0 of three and run 0 of one agree to 1e-4: sums are rounded in another order."""
    X, y = two_gaussians(1000)
    one, three = (NeuralNetworkClassifier(n_runs=n, **SETTINGS).fit(X, y) for n in (1, 3))
    np.testing.assert_allclose(three.predict_runs(X)[0], one.predict_runs(X)[0], atol=1e-4)
    np.testing.assert_allclose(three.val_losses_[:, 0], one.val_losses_[:, 0], atol=1e-4)
    assert np.abs(three.predict_runs(X)[1] - one.predict_runs(X)[0]).max() > 0.01


def test_patience_ends_a_run_that_no_longer_improves():
    X, y = two_gaussians(200, shift=0.0)
    classifier = NeuralNetworkClassifier(n_runs=2, **SETTINGS | {"epochs": 40, "lr": 0.01}, early_stopping=True, patience=3).fit(
        X, y
    )
    for losses in classifier.val_losses_[1:].T:
        n_epochs = int(np.isfinite(losses).sum())
        assert np.nanargmin(losses) == n_epochs - 4
        assert n_epochs < 40


def test_gradients_by_hand_are_those_of_autograd():
    """Losses and all gradients, to 1e-6."""
    network = NeuralNetworkClassifier(n_runs=3, **SETTINGS)._build(member_generators(1, 3))
    generator = torch.Generator().manual_seed(2)
    x, weight = torch.randn(3, 50, 2, generator=generator), torch.rand(3, 50, generator=generator)
    target = (torch.rand(3, 50, generator=generator) > 0.5).float()
    losses = losses_of(network)(x, target, weight)
    expected = torch.autograd.grad(losses.sum(), list(network.parameters()))
    flatten_parameters(network)
    torch.testing.assert_close(losses_and_gradients_of(network)(x, target, weight), losses.detach(), atol=1e-6, rtol=0)
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-6, rtol=0)
        assert gradient.abs().max() > 1e-3


def test_weights_move_the_decision():
    X, y = two_gaussians()
    weight = np.where(y == 1, 5.0, 1.0)
    up = NeuralNetworkClassifier(**SETTINGS, use_class_weights=False).fit(X, y, X, y, weight, weight)
    assert np.average(up.predict(X), weights=weight) == pytest.approx(5 / 6, abs=0.02)  # calibrated for the weighted events


def test_keeps_the_epoch_of_lowest_validation_loss_of_every_member(tmp_path):
    X, y = two_gaussians(300)
    classifier = NeuralNetworkClassifier(tmp_path, n_runs=2, **SETTINGS | {"epochs": 15, "lr": 0.05})
    scores = classifier.fit(X[:150], y[:150], X[150:], y[150:]).predict_runs(X)
    versions = classifier.predict_versions(X)
    best = classifier.val_losses_[1:].argmin(axis=0)
    assert best.max() < 14
    for run in range(2):
        np.testing.assert_allclose(scores[run], versions[run, best[run]])


def test_the_last_epochs_are_scored_where_that_is_asked_for(tmp_path):
    X, y = two_gaussians(300)
    settings = SETTINGS | {"epochs": 15, "lr": 0.05, "scored_epochs": "last"}
    mean = NeuralNetworkClassifier(tmp_path, n_runs=2, n_scored_epochs=3, **settings)
    scores = mean.fit(X[:150], y[:150], X[150:], y[150:]).predict_runs(X)
    np.testing.assert_allclose(scores, mean.predict_versions(X)[:, -3:].mean(axis=1), rtol=1e-5)
    last = NeuralNetworkClassifier(n_runs=2, **settings).fit(X[:150], y[:150], X[150:], y[150:])
    np.testing.assert_allclose(last.predict_runs(X), mean.predict_versions(X)[:, -1])


@pytest.mark.parametrize("keep", [True, False])
def test_runs_are_the_same_in_one_process_and_in_two(tmp_path, keep, monkeypatch):
    """Seven runs, stacks of five and two; epochs, scores and losses to the last bit."""
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)
    started, start = [], processes._start
    monkeypatch.setattr(processes, "_start", lambda *given: started.append(given) or start(*given))
    X, y = two_gaussians(400)
    settings = SETTINGS | {"n_runs": 7, "early_stopping": True, "patience": 2, "lr": 0.02, "epochs": 12, "no_gpu": True}
    one, two = (
        NeuralNetworkClassifier(tmp_path / str(n) if keep else None, n_jobs=n, n_scored_epochs=3 if keep else 1, **settings)
        for n in (1, 2)
    )
    scores = [classifier.fit(X, y).predict_runs(X) for classifier in (one, two)]
    assert len(started) == 2, "one process for each stack"
    np.testing.assert_array_equal(*scores)
    np.testing.assert_array_equal(one.val_losses_, two.val_losses_)
    assert one.val_losses_.shape == one.train_losses_.shape == (13, 7)
    assert len({scores[0][run].tobytes() for run in range(7)}) == 7
    if keep:
        folders = [tmp_path / str(n) / "CLSF_models" for n in (1, 2)]
        for path in folders[0].glob("*.par"):
            assert path.read_bytes() == (folders[1] / path.name).read_bytes()
        assert not [path for path in folders[1].iterdir() if path.is_dir()], "what the stacks kept is joined, not kept twice"
        again = NeuralNetworkClassifier(tmp_path / "1", load=True, n_scored_epochs=3, **settings)
        np.testing.assert_array_equal(again.predict_runs(X), scores[0])


def test_same_seed_same_scores_and_weights_reload(tmp_path):
    X, y = two_gaussians(500)
    first, second = (NeuralNetworkClassifier(n_runs=2, **SETTINGS).fit(X, y) for _ in range(2))
    np.testing.assert_array_equal(first.predict_runs(X), second.predict_runs(X))
    save_weights(tmp_path / "c.par", first.module_.state_dict())
    again = NeuralNetworkClassifier(n_runs=2, **SETTINGS).load_weights(tmp_path / "c.par")
    np.testing.assert_array_equal(first.predict_runs(X), again.predict_runs(X))


def test_one_class_is_refused():
    X, _ = two_gaussians(100)
    with pytest.raises(ValueError, match="both classes"):
        NeuralNetworkClassifier(**SETTINGS).fit(X, np.ones(100))


def test_an_ensemble_is_the_mean_of_its_networks(tmp_path):
    """Two runs of three networks each are six networks, averaged three by three; so are those that were kept."""
    X, y = two_gaussians(600)
    members = NeuralNetworkClassifier(n_runs=6, **SETTINGS).fit(X, y)
    runs = NeuralNetworkClassifier(tmp_path, n_runs=2, n_ensemble=3, **SETTINGS).fit(X, y)
    expected = members.predict_runs(X).reshape(2, 3, -1).mean(axis=1)
    np.testing.assert_allclose(runs.predict_runs(X), expected, rtol=1e-6)
    assert runs.val_losses_.shape == members.val_losses_.shape == (7, 6)
    assert runs.predict_versions(X).shape == (2, 6, 600)
    runs.save(tmp_path, "mine")
    loaded = NeuralNetworkClassifier.load_from(tmp_path, "mine")
    np.testing.assert_allclose(loaded.predict_runs(X), expected, rtol=1e-6)
    assert loaded.predict_best(X, 2).shape[:1] == (2,)
