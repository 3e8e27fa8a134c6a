"""The density estimator as published (arXiv:2109.00546): a masked autoregressive flow (arXiv:1705.07057) from the library nflows."""

from __future__ import annotations

from pathlib import Path

import torch
from nflows.distributions import StandardNormal
from nflows.flows import Flow
from nflows.transforms import BatchNorm, CompositeTransform, ReversePermutation
from nflows.transforms.autoregressive import AutoregressiveTransform
from nflows.transforms.made import MADE
from torch.nn.utils.parametrize import register_parametrization

from common.errors import InputError
from models.arrays import RandomState
from models.autoregressive import ConditionalFlow
from models.flow import ConditionalNormalizingFlow


class PublishedFlow(ConditionalNormalizingFlow):
    """The flow of the CATHODE paper for the density of X [n, d] given m [n, c], with the interface of `ConditionalNormalizingFlow`.

    15 MADE blocks of 128 hidden units with an exponential scale, a batch norm after each, the order of the features reversed: 274 800
    weights for four features. It is given m as it is (m_JJ in TeV), and trained with Adam at a constant rate, without clipping or
    averaging, on all events of every epoch. It is an order of magnitude slower than `ConditionalNormalizingFlow`, and serves to compare.

    Parameters
    ----------
    num_blocks, num_hidden : int
        Number of blocks, and width of their two hidden layers.
    lr, weight_decay : float
        Of Adam; the decay is added to the gradient.

    The other parameters, and the attributes after `fit`, are those of `ConditionalNormalizingFlow`.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> m = rng.uniform(-1, 1, size=(500, 1))
    >>> X = m + rng.normal(size=(500, 2))
    >>> flow = PublishedFlow(num_inputs=2, num_blocks=2, num_hidden=8, epochs=2, random_state=1).fit(X, m)
    >>> flow.sample(m=m).shape
    (500, 2)
    """

    hyperparameters = ("num_blocks", "num_hidden", "lr", "weight_decay")

    condition_center, condition_scale = 0.0, 1.0
    normalization, transform_type = "batch_norm", "MAF"
    schedule, gradient_clip, averaging, drop_last = "constant", 0.0, 0.0, False
    precision, compile = "float32", False

    def __init__(
        self,
        save_path: str | Path | None = None,
        load: bool = False,
        num_inputs: int | None = 4,
        num_cond_inputs: int | None = 1,
        num_blocks: int = 15,
        num_hidden: int = 128,
        lr: float = 1e-4,
        weight_decay: float = 1e-6,
        early_stopping: bool = False,
        patience: int = 10,
        n_jobs: int | None = 1,
        no_gpu: bool = False,
        val_split: float = 0.2,
        batch_size: int | None = 256,
        epochs: int | None = 100,
        verbose: bool = False,
        random_state: RandomState = None,
    ) -> None:
        self.save_path = save_path
        self.load = load
        self.num_inputs = num_inputs
        self.num_cond_inputs = num_cond_inputs
        self.num_blocks = num_blocks
        self.num_hidden = num_hidden
        self.lr = lr
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.patience = patience
        self.n_jobs = n_jobs
        self.no_gpu = no_gpu
        self.val_split = val_split
        self.batch_size = batch_size
        self.epochs = epochs
        self.verbose = verbose
        self.random_state = random_state

    def _build(self, generators: list[torch.Generator]) -> ConditionalFlow:
        if min(self.num_blocks, self.num_hidden) < 1:
            raise InputError(f"num_blocks = {self.num_blocks} and num_hidden = {self.num_hidden} must be at least 1")
        d, c = self._dimensions()
        (generator,) = generators
        return StackOfOne(published_maf(d, c, self.num_blocks, self.num_hidden, generator), d, c)


class StackOfOne(ConditionalFlow):
    """A flow of nflows as a stack with a single member, which is what the training loop knows."""

    def __init__(self, flow: Flow, d: int, c: int) -> None:
        super().__init__(d, c)
        self.flow = flow
        for layer in list(flow.modules()):
            statistics = [name for name, _ in layer.named_buffers(recurse=False) if name.startswith("running_")]
            for name in [*(name for name, _ in layer.named_parameters(recurse=False)), *statistics]:
                register_parametrization(layer, name, OnlyMember(), unsafe=True)

    def forward(self, x: torch.Tensor, m: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        z, log_det = self.flow._transform(x[0], self.seen(m)[0])
        return z[None], log_det[None]

    def inverse(self, z: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        return self.flow._transform.inverse(z[0], self.seen(m)[0])[0][None]


class OnlyMember(torch.nn.Module):
    """A weight that is kept with the axis of the members in front."""

    def forward(self, stacked: torch.Tensor) -> torch.Tensor:
        """The weight as the library uses it."""
        return stacked[0]

    def right_inverse(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight as it is kept."""
        return weight[None]


def published_maf(d: int, c: int, num_blocks: int, num_hidden: int, generator: torch.Generator) -> Flow:
    """The paper's flow of d features and c conditions; weights are orthogonal matrices at first, biases 0, as in the published code."""
    layers = [layer for _ in range(num_blocks) for layer in (Affine(d, c, num_hidden), BatchNorm(d), ReversePermutation(d))]
    flow = Flow(CompositeTransform(layers), StandardNormal([d]))
    for layer in flow.modules():
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.orthogonal_(layer.weight, generator=generator)
            if layer.bias is not None:
                torch.nn.init.zeros_(layer.bias)
    return flow


class Affine(AutoregressiveTransform):
    """x -> (x - shift) exp(-log_scale) with both from a MADE; the library's own block has a softplus for the exponential."""

    def __init__(self, d: int, c: int, num_hidden: int) -> None:
        super().__init__(LinearlyConditioned(d, num_hidden, c, num_blocks=1, output_multiplier=2, use_residual_blocks=False))

    def _elementwise_forward(self, x: torch.Tensor, parameters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        shift, log_scale = parameters.unflatten(1, (-1, 2)).unbind(dim=2)
        return (x - shift) * torch.exp(-log_scale), -log_scale.sum(dim=1)

    def _elementwise_inverse(self, z: torch.Tensor, parameters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        shift, log_scale = parameters.unflatten(1, (-1, 2)).unbind(dim=2)
        return z * torch.exp(log_scale) + shift, log_scale.sum(dim=1)


class LinearlyConditioned(MADE):
    """A MADE whose first layer adds the condition times a weight; the library's own has a bias and a ReLU there."""

    def __init__(self, d: int, num_hidden: int, c: int, **settings: object) -> None:
        super().__init__(d, num_hidden, context_features=c, **settings)
        self.context_layer = torch.nn.Linear(c, num_hidden, bias=False)

    def forward(self, inputs: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Parameters [n, 2 d] of the transform."""
        hidden = self.activation(self.initial_layer(inputs) + self.context_layer(context))
        for block in self.blocks:
            hidden = block(hidden)
        return self.final_layer(hidden)
