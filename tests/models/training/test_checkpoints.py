"""A training that is interrupted and goes on ends bit for bit where it would have ended; numerical trouble is survived."""

from __future__ import annotations

import logging
import os
import signal

import numpy as np
import pytest
import torch

from common.errors import InputError, Interrupted
from models.classifier import NeuralNetworkClassifier
from models.flow import ConditionalNormalizingFlow
from models.published_flow import PublishedFlow
from models.training import checkpoints
from models.training.checkpoints import Checkpoint
from models.training.state import TrainingState

RNG = np.random.default_rng(0)
M = RNG.uniform(-1, 1, size=(1500, 1))
X = M + RNG.normal(size=(1500, 2))
Y = RNG.integers(2, size=1500)


def flow(kind: type = ConditionalNormalizingFlow, **settings) -> ConditionalNormalizingFlow:
    return kind(num_inputs=2, num_blocks=2, num_hidden=8, epochs=4, random_state=3, **settings)


def classifier(**settings) -> NeuralNetworkClassifier:
    return NeuralNetworkClassifier(n_inputs=2, layers=(8,), n_runs=3, epochs=6, random_state=3, **settings)


class Stop(Exception):
    """What ends a training in the tests."""


def interrupted(monkeypatch, after: int, fit) -> None:
    """Run `fit` until it has taken `after` steps; a checkpoint is written at each."""
    take_step, n_steps = TrainingState.take_step, 0

    def take_some_steps(self, losses):
        nonlocal n_steps
        if n_steps == after:
            raise Stop
        n_steps += 1
        take_step(self, losses)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "take_step", take_some_steps)
        patch.setattr(checkpoints, "SECONDS_BETWEEN_CHECKPOINTS", 0)
        with pytest.raises(Stop):
            fit()


@pytest.mark.parametrize("after", [1, 4, 5, 13])
@pytest.mark.parametrize(
    "settings",
    [{"schedule": "one_cycle"}, {"normalization": "batch_norm", "averaging": 0}, {"transform_type": "RQS", "drop_last": False},
     {"early_stopping": True, "patience": 3, "lr": 0.05}, {"kind": PublishedFlow, "lr": 1e-3}],
)  # fmt: skip
def test_a_flow_goes_on_bit_for_bit(monkeypatch, tmp_path, settings, after):
    whole, checkpoint = flow(**settings).fit(X, M), Checkpoint(tmp_path / "checkpoint")
    kept, kept_again = [], []
    interrupted(
        monkeypatch, after, lambda: flow(**settings).fit(X, M, on_epoch=lambda *a: kept.append(a[0]), checkpoint=checkpoint)
    )
    resumed = flow(**settings).fit(X, M, on_epoch=lambda *a: kept_again.append(a[0]), checkpoint=Checkpoint(checkpoint.path))
    assert kept + kept_again == list(range(len(kept) + len(kept_again))), "every epoch once"
    np.testing.assert_array_equal(resumed.val_losses_, whole.val_losses_)
    np.testing.assert_array_equal(resumed.train_losses_, whole.train_losses_)
    for name, value in whole.module_.state_dict().items():
        assert torch.equal(value, resumed.module_.state_dict()[name]), name


@pytest.mark.parametrize("after", [1, 9, 20])
def test_classifiers_go_on_bit_for_bit(monkeypatch, tmp_path, after):
    settings = {"early_stopping": True, "patience": 2, "lr": 0.01}
    whole, checkpoint = classifier(**settings).fit(X, Y), Checkpoint(tmp_path / "checkpoint")
    interrupted(monkeypatch, after, lambda: classifier(**settings).fit(X, Y, checkpoint=checkpoint))
    resumed = classifier(**settings).fit(X, Y, checkpoint=checkpoint)
    np.testing.assert_array_equal(resumed.val_losses_, whole.val_losses_)
    np.testing.assert_array_equal(resumed.predict_runs(X), whole.predict_runs(X))


def test_a_finished_training_is_not_trained_again(tmp_path, monkeypatch):
    checkpoint = Checkpoint(tmp_path / "checkpoint")
    first = flow().fit(X, M, checkpoint=checkpoint)
    monkeypatch.setattr(TrainingState, "take_step", lambda *_: 1 / 0)
    again = flow().fit(X, M, checkpoint=checkpoint)
    np.testing.assert_array_equal(again.val_losses_, first.val_losses_)
    np.testing.assert_array_equal(again.transform(X, M), first.transform(X, M))


def test_epochs_on_disk_are_kept_when_a_training_goes_on(monkeypatch, tmp_path):
    whole = flow(save_path=tmp_path / "whole").fit(X, M)
    checkpoint = Checkpoint(tmp_path / "checkpoint")
    interrupted(monkeypatch, 10, lambda: flow(save_path=tmp_path / "parts").fit(X, M, checkpoint=checkpoint))
    flow(save_path=tmp_path / "parts").fit(X, M, checkpoint=checkpoint)
    names = sorted(path.name for path in (tmp_path / "whole" / "DE_models").iterdir())
    for name in names:
        assert (tmp_path / "whole" / "DE_models" / name).read_bytes() == (tmp_path / "parts" / "DE_models" / name).read_bytes()
    assert len(names) == len(whole.val_losses_) + 2  # the losses of both kinds, and what was trained


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_waits_for_the_step_and_the_checkpoint(tmp_path, number):
    checkpoint, before = Checkpoint(tmp_path / "checkpoint"), signal.getsignal(number)
    take_step = TrainingState.take_step

    def told_to_end(epoch, *_):
        if epoch == 1:
            os.kill(os.getpid(), number)

    with pytest.raises(Interrupted) as ending:
        flow().fit(X, M, on_epoch=told_to_end, checkpoint=checkpoint)
    assert ending.value.signal_number == number
    assert TrainingState.take_step is take_step
    resumed = flow().fit(X, M, checkpoint=Checkpoint(checkpoint.path))
    np.testing.assert_array_equal(resumed.val_losses_, flow().fit(X, M).val_losses_)
    assert signal.getsignal(number) is before


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    checkpoint = Checkpoint(tmp_path / "checkpoint")
    flow().fit(X, M, checkpoint=checkpoint)
    wider = ConditionalNormalizingFlow(num_inputs=2, num_blocks=2, num_hidden=9, epochs=4, random_state=3)
    with pytest.raises(InputError, match="the checkpoint belongs to another training"):
        wider.fit(X, M, checkpoint=checkpoint)
    with pytest.raises(InputError, match="the checkpoint belongs to another training"):
        classifier().fit(X, Y, checkpoint=checkpoint)
    checkpoint.path.write_bytes(checkpoint.path.read_bytes()[:-1000])
    with pytest.raises(InputError, match="not a readable"):
        flow().fit(X, M, checkpoint=checkpoint)


def spoil(monkeypatch, steps: set[int], where: str) -> list[float]:
    """Make loss or gradient NaN at the given steps, counted over the whole training; returns the learning rates of all steps."""
    take_step, rates = TrainingState.take_step, []

    def spoilt(self, losses):
        rates.append(self.pace[0])
        if len(rates) in steps:
            if where == "loss":
                losses = losses * torch.nan
            self.weights.grad.fill_(torch.inf if where == "gradient" else torch.nan)
        take_step(self, losses)

    monkeypatch.setattr(TrainingState, "take_step", spoilt)
    return rates


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_after_a_bad_step_the_epoch_is_repeated_with_half_the_learning_rate(monkeypatch, caplog, where):
    rates = spoil(monkeypatch, {6}, where)  # in the second epoch of four steps each
    trained = flow(lr=1e-3).fit(X, M)
    assert np.isfinite(trained.val_losses_).all()
    assert len(trained.val_losses_) == 5
    assert caplog.text.count("once more from its beginning with half the learning rate") == 1
    n_steps = 1200 // 256
    assert rates[: 2 * n_steps] == [1e-3] * 2 * n_steps
    assert rates[2 * n_steps :] == [5e-4] * (3 * n_steps)


def test_halved_one_cycle_schedules_stay_halved(monkeypatch):
    undisturbed = spoil(monkeypatch, set(), "loss")
    flow(lr=1e-3, schedule="one_cycle").fit(X, M)
    monkeypatch.undo()
    rates = spoil(monkeypatch, {2}, "loss")
    flow(lr=1e-3, schedule="one_cycle").fit(X, M)
    np.testing.assert_allclose(np.array(rates[4:]) * 2, undisturbed[: len(rates) - 4])


def test_after_five_returns_the_training_ends_with_its_epochs(monkeypatch, caplog):
    rates = spoil(monkeypatch, set(range(9, 1000)), "loss")  # from the third epoch on
    trained = flow().fit(X, M)
    assert np.isfinite(trained.val_losses_).tolist() == [True, True, True, False, False]
    assert caplog.text.count("once more from its beginning") == 5
    assert "epoch 2; the training ends here" in caplog.text
    assert len(rates) == 4 * (2 + 6)
    assert trained.transform(X, M).shape == X.shape


def test_a_classifier_survives_it_too(monkeypatch, caplog):
    caplog.set_level(logging.WARNING)
    spoil(monkeypatch, {3}, "gradient")
    assert np.isfinite(classifier().fit(X, Y).val_losses_).all()
    assert caplog.text.count("half the learning rate") == 1
