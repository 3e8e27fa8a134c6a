"""Losses and gradients by hand of flows of affine blocks: the hot loop of the training.

Steps are so small that autograd's bookkeeping and fresh memory would cost more than the matrix products.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn.functional import softplus

from models.autoregressive import MIN_SCALE, Affine, Block, ConditionalFlow, StackedFlow

threshold_backward = torch.ops.aten.threshold_backward.grad_input


def are_known_of(flow: ConditionalFlow) -> bool:
    """Whether a flow is a stack of nothing but affine blocks."""
    return isinstance(flow, StackedFlow) and all(
        isinstance(layer, Block) and isinstance(layer.transformer, Affine) for layer in flow.layers
    )


class _Pass:
    """What the way back through a block needs of the way forth, in memory [n_members, ..., n] that is used again and again.

    Views are made once: making one costs as much as a small product.
    """

    def __init__(self, block: Block, n: int) -> None:
        d, members, empty = block.d, len(block.biases[0]), block.biases[0].new_empty
        self.inputs = empty(members, block.weights[0].shape[2], n)
        self.x, self.m = self.inputs[:, :d], self.inputs[:, d:]
        hidden, slopes = ([empty(members, bias.shape[1], n) for bias in block.biases[:-1]] for _ in range(2))
        parameters, self.scale = empty(members, block.biases[-1].shape[1], n), empty(members, d, n)
        self.raw_scale, self.shift = parameters[:, :d], parameters[:, d:]
        self.layers = [self.inputs, *hidden, parameters]  # values on the way forth
        self.slopes = [
            None,
            *slopes,
            parameters,
        ]  # d(sum of losses) / d(those) on the way back, the last in the place of the value
        self.layers_T = [layer.mT for layer in self.layers]
        weights = [weight.data for weight in block.weights]
        self.biases, self.weights = [bias.data for bias in block.biases], weights
        self.weights_T, self.first_T = [weight.mT for weight in weights], weights[0][:, :, :d].mT
        self.bias_gradients = [bias.grad for bias in block.biases]
        self.weight_gradients = [weight.grad for weight in block.weights]
        # Batched products are slow where the result is not contiguous, as the views of several members' gradients are not.
        self.products = [g if g.is_contiguous() else torch.empty_like(w, memory_format=torch.contiguous_format)
                         for g, w in zip(self.weight_gradients, weights, strict=True)]  # fmt: skip


def losses_and_gradients_of(flow: StackedFlow) -> Callable[..., torch.Tensor]:
    """The mean -log p(x|m) of every member (nats); the gradient of their sum is written into every parameter's `.grad`."""
    blocks: list[Block] = list(flow.layers)
    gradients, masks = [], []
    with torch.no_grad():
        for block in blocks:
            for i, weight in enumerate(block.weights):
                mask = getattr(block, f"mask_{i}")
                weight.mul_(mask)  # what is masked now stays 0, as its gradient is
                gradients.append(weight.grad)
                masks.append(mask.expand_as(weight.grad))
    passes: dict[int, list[_Pass]] = {}

    @torch.no_grad()
    def member_losses(x: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        n, d = x.shape[1:]
        if n not in passes:
            passes[n] = [_Pass(block, n) for block in blocks]
        log_det, x, m = x.new_zeros(x.shape[:2]), x.mT, flow.seen(m).mT
        for kept in passes[n]:
            kept.x.copy_(x)
            kept.m.copy_(m)
            last = len(kept.weights) - 1
            for i, (bias, weight) in enumerate(zip(kept.biases, kept.weights, strict=True)):
                torch.baddbmm(bias, weight, kept.layers[i], out=kept.layers[i + 1])
                if i < last:
                    kept.layers[i + 1].relu_()
            torch.add(softplus(kept.raw_scale), MIN_SCALE, out=kept.scale)
            log_det += kept.scale.log().sum(dim=1)
            x = torch.addcmul(kept.shift, kept.scale, kept.x)
        losses = (0.5 * (x * x).sum(dim=1) - log_det).mean(dim=1) + 0.5 * math.log(2 * math.pi) * d
        slope = x.div_(n)  # d(sum of losses) / d(what the block returns)
        for kept in reversed(passes[n]):
            at_scale = kept.scale.reciprocal().mul_(-1 / n).addcmul_(slope, kept.x)
            kept.raw_scale.sigmoid_().mul_(at_scale)
            kept.shift.copy_(slope)
            slope.mul_(kept.scale)
            for i in reversed(range(len(kept.weights))):
                gradient = kept.slopes[i + 1]
                torch.sum(gradient, dim=2, keepdim=True, out=kept.bias_gradients[i])
                torch.bmm(gradient, kept.layers_T[i], out=kept.products[i])
                if i:
                    torch.bmm(kept.weights_T[i], gradient, out=kept.slopes[i])
                    threshold_backward(kept.slopes[i], kept.layers[i], 0, grad_input=kept.slopes[i])  # 0 where the ReLU was
            slope.baddbmm_(kept.first_T, kept.slopes[1])
            for product, gradient in zip(kept.products, kept.weight_gradients, strict=True):
                if product is not gradient:
                    gradient.copy_(product)
        torch._foreach_mul_(gradients, masks)
        return losses

    return member_losses
