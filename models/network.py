"""Stacked fully connected networks and the gradients of their loss by hand: the classifier's hot loop."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch.nn.functional import binary_cross_entropy_with_logits


class StackedNetwork(torch.nn.Module):
    """Fully connected ReLU networks of several members side by side: weights [n_members, in, out], biases [n_members, 1, out]."""

    def __init__(self, widths: Sequence[int], generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.weights, self.biases = torch.nn.ParameterList(), torch.nn.ParameterList()
        for n_in, n_out in itertools.pairwise([*widths, 1]):
            bound = 1 / math.sqrt(n_in)  # the same uniform law as torch.nn.Linear's
            for shape, parameters in (((n_in, n_out), self.weights), ((1, n_out), self.biases)):
                parameters.append(torch.stack([torch.empty(shape).uniform_(-bound, bound, generator=g) for g in generators]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [n_members, n] of x [n_members, n, d]."""
        *hidden, (weight, bias) = zip(self.weights, self.biases, strict=True)
        for w, b in hidden:
            x = torch.baddbmm(b, x, w).relu_()
        return (x * weight.mT).sum(dim=2) + bias[:, :, 0]  # a matrix product with one column is slower


def losses_of(network: StackedNetwork) -> Callable[..., torch.Tensor]:
    """The mean cross-entropy of every member (nats), of x [n_members, n, d], target and weight [n_members, n]."""

    def member_losses(x: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return binary_cross_entropy_with_logits(network(x), target, weight, reduction="none").mean(dim=1)

    return member_losses


def losses_and_gradients_of(network: StackedNetwork) -> Callable[..., torch.Tensor]:
    """`losses_of` that also writes the gradients: backpropagation by hand, without allocating anything per step.

    Steps are so small that autograd's bookkeeping and fresh memory would cost as much as the matrix products.
    """
    weights, biases = list(network.weights), list(network.biases)
    # Batched products are slow where the result is not contiguous, as the views of the flat gradient are not.
    products = [torch.empty_like(w, memory_format=torch.contiguous_format) for w in weights[:-1]]
    buffers: dict[torch.Size, tuple[list[torch.Tensor], list[torch.Tensor]]] = {}

    @torch.no_grad()
    def member_losses(x: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        if x.shape not in buffers:
            buffers[x.shape] = tuple([x.new_empty(*x.shape[:2], b.shape[2]) for b in biases[:-1]] for _ in range(2))
        outputs, slopes = buffers[x.shape]
        inputs = [x, *outputs]
        for w, b, before, after in zip(weights[:-1], biases[:-1], inputs[:-1], outputs, strict=True):
            torch.baddbmm(b, before, w, out=after).relu_()
        last = weights[-1].mT
        logits = torch.mul(inputs[-1], last, out=slopes[-1]).sum(dim=2) + biases[-1][:, :, 0]
        losses = binary_cross_entropy_with_logits(logits, target, weight, reduction="none").mean(dim=1)
        slope = logits.sigmoid_().sub_(target).mul_(weight).div_(x.shape[1]).unsqueeze(2)  # d(sum of losses) / d(logits)
        torch.sum(slope, dim=1, keepdim=True, out=biases[-1].grad)
        weights[-1].grad.copy_(torch.mul(inputs[-1], slope, out=slopes[-1]).sum(dim=1).unsqueeze(2))
        torch.mul(slope, last, out=slopes[-1])
        for i in reversed(range(len(outputs))):
            slopes[i].mul_(torch.sign(outputs[i], out=outputs[i]))  # 0 where the ReLU was; its output is not needed any more
            weights[i].grad.copy_(torch.bmm(inputs[i].mT, slopes[i], out=products[i]))
            torch.sum(slopes[i], dim=1, keepdim=True, out=biases[i].grad)
            if i:
                torch.bmm(slopes[i], weights[i].mT, out=slopes[i - 1])
        return losses

    return member_losses
