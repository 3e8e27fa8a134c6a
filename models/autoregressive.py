"""Stacked masked autoregressive blocks (MAF, arXiv:1705.07057; neural splines, arXiv:1906.04032): the flow's hot loop.

Several independent flows are one batched computation: every weight is [n_members, out, in], every batch [n_members, d, n]. With the
events last, the few features lie in long rows: elementwise functions are several times faster, and so are products with narrow matrices.
The hidden units of a block are sorted by the number of features they may see, so that the inverse can compute every unit once.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch.nn.functional import softplus

MIN_SCALE = 1e-3
MIN_BIN, MIN_SLOPE = 1e-3, 1e-3


class Affine:
    """x -> scale * x + shift, with two parameters per feature."""

    n_parameters = 2

    def forward(self, x: torch.Tensor, parameters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Transformed x and log |dz/dx| [n_members, d, n], elementwise; parameters are [n_members, 2, d, n]."""
        scale = softplus(parameters[:, 0]) + MIN_SCALE
        return torch.addcmul(parameters[:, 1], scale, x), scale.log()

    def inverse(self, z: torch.Tensor, parameters: torch.Tensor) -> torch.Tensor:
        """The x that `forward` takes to z."""
        return (z - parameters[:, 1]) / (softplus(parameters[:, 0]) + MIN_SCALE)

    def initial_bias(self, d: int) -> torch.Tensor:
        """Parameters [2, d] of the identity."""
        return torch.stack([torch.full((d,), math.log(math.expm1(1 - MIN_SCALE))), torch.zeros(d)])


class Spline:
    """Monotonic rational-quadratic splines inside (-tail_bound, tail_bound), the identity beyond (arXiv:1906.04032, eq. 4-8)."""

    def __init__(self, num_bins: int, tail_bound: float) -> None:
        self.num_bins, self.tail_bound = num_bins, tail_bound
        self.n_parameters = 3 * num_bins - 1

    def initial_bias(self, d: int) -> torch.Tensor:
        """Parameters [3 K - 1, d] of the identity."""
        slopes = torch.full((self.num_bins - 1, d), math.log(math.expm1(1 - MIN_SLOPE)))
        return torch.cat([torch.zeros(2 * self.num_bins, d), slopes])

    def _knots(self, parameters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Knot positions in x and z and slopes there, each [K + 1, ...]."""
        k, bound = self.num_bins, self.tail_bound
        widths, heights, slopes = parameters.movedim(1, 0).split([k, k, k - 1])
        knots = []
        for sizes in (widths, heights):
            sizes = MIN_BIN + (1 - MIN_BIN * k) * sizes.softmax(dim=0)
            inner = sizes[:-1].cumsum(dim=0) * (2 * bound) - bound
            edge = torch.full_like(inner[:1], bound)
            knots.append(torch.cat([-edge, inner, edge]))
        one = torch.ones_like(slopes[:1])
        return knots[0], knots[1], torch.cat([one, softplus(slopes) + MIN_SLOPE, one])

    def _bin(self, value: torch.Tensor, along: torch.Tensor, *knots: torch.Tensor) -> list[torch.Tensor]:
        """Lower and upper entries of `knots` in the bin of `along` that holds `value`."""
        index = (value >= along[1:-1]).sum(dim=0, keepdim=True)
        return [k.gather(0, index + i).squeeze(0) for k in knots for i in (0, 1)]

    def forward(self, x: torch.Tensor, parameters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Transformed x and log |dz/dx| [n_members, d, n], elementwise; parameters are [n_members, 3 K - 1, d, n]."""
        inside = x.abs() < self.tail_bound
        clamped = x.clamp(-self.tail_bound, self.tail_bound)
        xs, zs, slopes = self._knots(parameters)
        x0, x1, z0, z1, s0, s1 = self._bin(clamped, xs, xs, zs, slopes)
        width, height = x1 - x0, z1 - z0
        slope = height / width
        t = (clamped - x0) / width
        u = t * (1 - t)
        denominator = slope + (s0 + s1 - 2 * slope) * u
        z = z0 + height * (slope * t * t + s0 * u) / denominator
        derivative = slope**2 * (s1 * t * t + 2 * slope * u + s0 * (1 - t) ** 2) / denominator**2
        return torch.where(inside, z, x), torch.where(inside, derivative, 1.0).log()

    def inverse(self, z: torch.Tensor, parameters: torch.Tensor) -> torch.Tensor:
        """The x that `forward` takes to z."""
        inside = z.abs() < self.tail_bound
        clamped = z.clamp(-self.tail_bound, self.tail_bound)
        xs, zs, slopes = self._knots(parameters)
        x0, x1, z0, z1, s0, s1 = self._bin(clamped, zs, xs, zs, slopes)
        width, height, offset = x1 - x0, z1 - z0, clamped - z0
        slope = height / width
        bend = offset * (s0 + s1 - 2 * slope)
        a, b, c = height * (slope - s0) + bend, height * s0 - bend, -slope * offset
        t = 2 * c / (-b - (b**2 - 4 * a * c).clamp(min=0).sqrt())
        return torch.where(inside, x0 + t * width, z)


class Block(torch.nn.Module):
    """One MADE (arXiv:1502.03509) per member: parameters of the elementwise transformer from the features before, and the condition.

    `reverse` visits the features from last to first, instead of a permutation between blocks.
    """

    def __init__(
        self, d: int, c: int, num_hidden: int, num_layers: int, transformer: Affine | Spline, reverse: bool,
        generators: Sequence[torch.Generator],
    ) -> None:  # fmt: skip
        super().__init__()
        self.transformer, self.d = transformer, d
        self.order = list(range(d))[:: -1 if reverse else 1]
        rank = torch.empty(d, dtype=torch.long)  # how many features come before
        rank[self.order] = torch.arange(d)
        degree = torch.arange(num_hidden) * d // num_hidden  # hidden units of degree k see the first k features of the order
        self.groups = [int((degree < k).sum()) for k in range(d + 1)]
        masks = [torch.cat([rank < degree[:, None], torch.ones(num_hidden, c, dtype=torch.bool)], dim=1)]
        masks += [degree <= degree[:, None]] * num_layers
        masks += [(degree <= rank[:, None]).repeat(transformer.n_parameters, 1)]
        self.weights, self.biases = torch.nn.ParameterList(), torch.nn.ParameterList()
        for i, mask in enumerate(masks):
            self.register_buffer(f"mask_{i}", mask.float(), persistent=False)
            fan_in = mask.sum(dim=1, keepdim=True).clamp(min=1)
            last = i == len(masks) - 1
            bound = (0.1 if last else 1.0) / fan_in.sqrt()
            uniform = torch.stack([torch.rand(mask.shape, generator=generator) for generator in generators])
            self.weights.append((2 * uniform - 1) * bound)
            bias = transformer.initial_bias(d).flatten() if last else torch.zeros(len(mask))
            self.biases.append(bias[:, None].repeat(len(generators), 1, 1))

    def masked_weights(self) -> list[torch.Tensor]:
        """Weights [n_members, out, in] with the masks multiplied in."""
        return [weight * getattr(self, f"mask_{i}") for i, weight in enumerate(self.weights)]

    def forward(self, x: torch.Tensor, m: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Transformed x [n_members, d, n] and log |dz/dx| [n_members, n], given m [n_members, c, n]."""
        hidden = torch.cat([x, m], dim=1)
        *inner, last = zip(self.biases, self.masked_weights(), strict=True)
        for bias, weight in inner:
            hidden = torch.baddbmm(bias, weight, hidden).relu_()
        parameters = torch.baddbmm(last[0], last[1], hidden).to(x.dtype).unflatten(1, (-1, self.d))  # x's: autocast gives others
        z, log_det = self.transformer.forward(x, parameters)
        return z, log_det.sum(dim=1)

    def inverse(self, z: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        """x for which `forward` gives z; every hidden unit is computed once, as soon as the features it sees are known."""
        weights = self.masked_weights()
        x = torch.cat([torch.zeros_like(z), m], dim=1)
        layers = [x, *(z.new_empty(len(z), bias.shape[1], z.shape[2]) for bias in self.biases[:-1])]
        for k, feature in enumerate(self.order):
            new = slice(self.groups[k], self.groups[k + 1])
            for i, (bias, weight) in enumerate(zip(self.biases[:-1], weights[:-1], strict=True)):
                known = slice(0, None if i == 0 else self.groups[k + 1])
                layers[i + 1][:, new] = torch.baddbmm(bias[:, new], weight[:, new, known], layers[i][:, known]).relu_()
            seen, rows = slice(0, self.groups[k + 1]), slice(feature, None, self.d)
            parameters = torch.baddbmm(self.biases[-1][:, rows], weights[-1][:, rows, seen], layers[-1][:, seen])
            x[:, feature] = self.transformer.inverse(z[:, feature : feature + 1], parameters[:, :, None])[:, 0]
        return x[:, : self.d].clone()


class BatchNorm(torch.nn.Module):
    """Normalisation by the batch's mean and variance in training, by fixed ones otherwise; per member (arXiv:1705.07057, appendix B)."""

    def __init__(self, n_members: int, d: int, momentum: float = 0.1, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.epsilon = momentum, epsilon
        self.log_gain = torch.nn.Parameter(torch.zeros(n_members, d, 1))
        self.bias = torch.nn.Parameter(torch.zeros(n_members, d, 1))
        self.register_buffer("mean", torch.zeros(n_members, d, 1))
        self.register_buffer("variance", torch.ones(n_members, d, 1))

    def forward(self, x: torch.Tensor, m: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, variance = self.mean, self.variance
        if self.training:
            variance, mean = torch.var_mean(x, dim=2, keepdim=True)
            with torch.no_grad():
                self.mean.lerp_(mean, self.momentum)
                self.variance.lerp_(variance, self.momentum)
        log_scale = self.log_gain - 0.5 * (variance + self.epsilon).log()
        return (x - mean) * log_scale.exp() + self.bias, log_scale.sum(dim=1)

    def inverse(self, z: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        """x for which `forward`, not in training, gives z."""
        return (z - self.bias) * (0.5 * (self.variance + self.epsilon).log() - self.log_gain).exp() + self.mean


class ConditionalFlow(torch.nn.Module, ABC):
    """A stack of conditional flows side by side: x [n_members, n, d] given m [n_members, n, c], with a latent N(0, 1)."""

    def __init__(self, d: int, c: int) -> None:
        super().__init__()
        self.d = d
        self.register_buffer("condition_center", torch.zeros(c))
        self.register_buffer("condition_scale", torch.ones(c))

    def seen(self, m: torch.Tensor) -> torch.Tensor:
        """The conditions as the blocks are given them: distances from a centre, in units of a scale."""
        return (m - self.condition_center) / self.condition_scale

    @abstractmethod
    def forward(self, x: torch.Tensor, m: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Latent z [n_members, n, d] and log |dz/dx| [n_members, n]."""

    @abstractmethod
    def inverse(self, z: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        """Features x [n_members, n, d] of latent z."""

    def log_prob(self, x: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        """log p(x|m) [n_members, n], in nats."""
        z, log_det = self(x, m)
        return log_det - 0.5 * (z * z).sum(dim=2) - 0.5 * math.log(2 * math.pi) * z.shape[2]

    @torch.no_grad()
    def calibrate(self, x: torch.Tensor, m: torch.Tensor) -> None:
        """Set every batch norm's statistics to those of many training events, instead of a noisy average over the last few batches."""
        layers = [layer for layer in self.modules() if hasattr(layer, "momentum")]
        if layers:
            momenta = [layer.momentum for layer in layers]
            self.train()
            for layer in layers:
                layer.momentum = 1.0
            self(x, m)
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum


class StackedFlow(ConditionalFlow):
    """As many flows as there are generators."""

    def __init__(
        self, d: int, c: int, *, transformer: Affine | Spline, num_blocks: int, num_hidden: int, num_layers: int, batch_norm: bool,
        generators: Sequence[torch.Generator],
    ) -> None:  # fmt: skip
        super().__init__(d, c)
        self.layers = torch.nn.ModuleList()
        for i in range(num_blocks):
            self.layers.append(Block(d, c, num_hidden, num_layers, transformer, i % 2 == 1, generators))
            if batch_norm:
                self.layers.append(BatchNorm(len(generators), d))

    def forward(self, x: torch.Tensor, m: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        log_det = x.new_zeros(x.shape[:2])
        x, m = x.mT, self.seen(m).mT
        for layer in self.layers:
            x, contribution = layer(x, m)
            log_det = log_det + contribution
        return x.mT, log_det

    def inverse(self, z: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        z, m = z.mT, self.seen(m).mT
        for layer in reversed(self.layers):
            z = layer.inverse(z, m)
        return z.mT


def losses_of(flow: ConditionalFlow) -> Callable[..., torch.Tensor]:
    """The mean -log p(x|m) of every member (nats)."""

    def member_losses(x: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        return -flow.log_prob(x, m).mean(dim=1)

    return member_losses
