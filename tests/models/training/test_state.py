"""The optimizer and its schedule are those of the literature, as torch has them."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from toys import ROOT

from models.training.state import TrainingPlan, TrainingState


@pytest.mark.parametrize("one_cycle", [True, False])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_steps_are_those_of_torch(one_cycle, weight_decay):
    """Fifty steps of Adam down the same noisy slope, to 1e-5."""
    n_steps, start = 50, torch.randn(1, 6, 1, generator=torch.Generator().manual_seed(1))
    slopes = torch.randn(n_steps, 1, 6, 1, generator=torch.Generator().manual_seed(2)) + 0.5
    ours = torch.nn.ParameterList([start.clone()])
    plan = TrainingPlan(5, 1, learning_rate=0.05, weight_decay=weight_decay, one_cycle=one_cycle)
    run = TrainingState(ours, plan, n_steps // 5, [torch.Generator()])
    theirs = torch.nn.Parameter(start.clone())
    optimizer = torch.optim.Adam([theirs], lr=0.05, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=n_steps, pct_start=0.2)
    for step, slope in enumerate(slopes):
        ours[0].grad.copy_(slope)
        theirs.grad = slope.clone()
        if not one_cycle:
            optimizer.param_groups[0].update(lr=0.05, betas=(0.9, 0.999))
        assert run.pace == pytest.approx((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["betas"][0]), rel=1e-6)
        run.take_step(torch.zeros(1))
        optimizer.step()
        if step < n_steps - 1:
            schedule.step()
        if run.step == run.n_steps:
            run.epoch, run.step = run.epoch + 1, 0
        torch.testing.assert_close(ours[0].data, theirs.data, rtol=1e-5, atol=1e-5)
    assert (theirs - start).abs().min() > 0.1


def test_a_training_needs_no_compiler():
    """torch's optimizers would import it, which takes 100 MB and a second and a half."""
    code = (
        "import sys, numpy as np; from models.classifier import NeuralNetworkClassifier as C; X = np.random.randn(100, 2); "
        "C(n_inputs=2, epochs=1, batch_size=16).fit(X, X[:, 0] > 0); assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
