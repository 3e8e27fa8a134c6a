"""A second process computes a part of every batch: to the last bit the same training, and never a reason to wait for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import joblib
import numpy as np
import pytest
from toys import ROOT

import models.flow
from common.errors import MachineError
from models.flow import ConditionalNormalizingFlow
from models.training import parts
from models.training.loop import Objective
from models.training.parts import Parts

RNG = np.random.default_rng(0)
M = RNG.uniform(-1, 1, size=(1501, 1))
X = M + RNG.normal(size=(1501, 2))


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch):
    """On a machine with one core, too."""
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)


def flow(n_jobs: int, **settings: object) -> ConditionalNormalizingFlow:
    settings = {"num_inputs": 2, "num_blocks": 2, "num_hidden": 8, "epochs": 4, "random_state": 3, "no_gpu": True} | settings
    return ConditionalNormalizingFlow(n_jobs=n_jobs, **settings)


@pytest.mark.parametrize(
    "settings",
    [{"schedule": "one_cycle"}, {"averaging": 0.0, "batch_size": 101}, {"drop_last": False, "batch_size": 1200 // 7}, {"batch_size": 1},
     {"transform_type": "RQS"}, {"normalization": "batch_norm"}, {"early_stopping": True, "patience": 1, "lr": 0.05}],
    ids=str,
)  # fmt: skip
def test_two_processes_train_what_one_does(settings, monkeypatch):
    """Last batches of one event, and modules that are not shared, among them."""
    started, enter = [], Parts.__enter__
    monkeypatch.setattr(Parts, "__enter__", lambda self: started.append(enter(self)._process is not None) or self)
    n = 60 if settings.get("batch_size") == 1 else len(X)
    one, two = (flow(n_jobs, **settings).fit(X[:n], M[:n], X, M) for n_jobs in (1, 2))
    assert started == [False, settings.get("normalization") != "batch_norm"], "batches are normalized as a whole"
    np.testing.assert_array_equal(one.val_losses_, two.val_losses_)
    np.testing.assert_array_equal(one.train_losses_, two.train_losses_)
    np.testing.assert_array_equal(one.transform(X, M), two.transform(X, M))
    assert np.nanmin(one.val_losses_[1:]) < one.val_losses_[0]


def test_parts_add_up_to_the_whole_batch(monkeypatch):
    """Losses after training on halves and on whole batches agree to 1e-4: sums are rounded in another order."""
    halves = flow(1).fit(X, M).val_losses_
    monkeypatch.setattr(models.flow, "Objective", lambda *given, n_parts: Objective(*given))
    whole = flow(1).fit(X, M).val_losses_
    np.testing.assert_allclose(halves, whole, atol=1e-4)
    assert not np.array_equal(halves, whole)


def test_a_second_process_that_is_killed_is_one_line(monkeypatch):
    monkeypatch.setattr(parts, "SECONDS_BETWEEN_LOOKS", 0.05)
    begin, pids = Parts.begin, []

    def begin_and_kill(self: Parts, first: int) -> None:
        begin(self, first)
        pids.append(self._process.pid)
        if len(pids) == 2:
            os.kill(self._process.pid, signal.SIGKILL)

    monkeypatch.setattr(Parts, "begin", begin_and_kill)
    with pytest.raises(MachineError, match="killed by signal 9 in a training"):
        flow(2).fit(X, M)


FIT = """
import os, sys, joblib, numpy as np
joblib.cpu_count = lambda: 2
from models.flow import ConditionalNormalizingFlow
from models.training.parts import Parts
begin = Parts.begin
def tell(self, first):
    sys.stdout.write(f"{self._process.pid}\\n"); sys.stdout.flush(); begin(self, first)
Parts.begin = tell
X = np.random.default_rng(0).normal(size=(1000, 2))
ConditionalNormalizingFlow(num_inputs=2, num_blocks=1, num_hidden=8, epochs=100000, n_jobs=2, no_gpu=True).fit(X, X[:, :1])
"""


def test_the_second_process_does_not_outlive_the_first():
    with subprocess.Popen([sys.executable, "-c", FIT], cwd=ROOT, stdout=subprocess.PIPE, text=True) as training:
        second = int(training.stdout.readline())
        training.kill()
    end = time.monotonic() + 20
    while os.path.exists(f"/proc/{second}"):
        assert time.monotonic() < end
        time.sleep(0.05)
