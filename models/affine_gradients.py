"""Losses and gradients by hand of flows of affine blocks: the hot loop of the training.

Steps are so small that autograd's bookkeeping and fresh memory would cost more than the matrix products.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import softplus

from models.autoregressive import MIN_SCALE, Affine, Block, StackedFlow


def are_known_of(flow: StackedFlow) -> bool:
    """Whether a flow has nothing but affine blocks."""
    return all(isinstance(layer, Block) and isinstance(layer.transformer, Affine) for layer in flow.layers)


@dataclass
class _Pass:
    """What the way back through a block needs of the way forth, [n_members, ..., n], and memory for it."""

    inputs: torch.Tensor
    hidden: list[torch.Tensor]
    slopes: list[torch.Tensor]
    parameters: torch.Tensor
    scale: torch.Tensor
    weights: list[torch.Tensor]
    products: list[torch.Tensor]

    @classmethod
    def allocate(cls, block: Block, n: int) -> _Pass:
        """Memory for batches of n events."""
        members, empty = len(block.biases[0]), block.biases[0].new_empty
        hidden, slopes = ([empty(members, bias.shape[1], n) for bias in block.biases[:-1]] for _ in range(2))
        inputs, parameters = empty(members, block.weights[0].shape[2], n), empty(members, block.biases[-1].shape[1], n)
        weights, products = (
            [torch.empty_like(w, memory_format=torch.contiguous_format) for w in block.weights] for _ in range(2)
        )
        return cls(inputs, hidden, slopes, parameters, empty(members, block.d, n), weights, products)


def losses_and_gradients_of(flow: StackedFlow) -> Callable[..., torch.Tensor]:
    """The mean -log p(x|m) of every member (nats); the gradient of their sum is written into every parameter's `.grad`."""
    blocks: list[Block] = list(flow.layers)
    masks = [[getattr(block, f"mask_{i}") for i in range(len(block.weights))] for block in blocks]
    buffers: dict[int, list[_Pass]] = {}

    @torch.no_grad()
    def member_losses(x: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        n, d = x.shape[1:]
        if n not in buffers:
            buffers[n] = [_Pass.allocate(block, n) for block in blocks]
        log_det, x, m = x.new_zeros(x.shape[:2]), x.mT, (m / flow.condition_scale).mT
        for block, own_masks, kept in zip(blocks, masks, buffers[n], strict=True):
            kept.inputs[:, :d], kept.inputs[:, d:] = x, m
            layers = [kept.inputs, *kept.hidden]
            for w, mask, weight in zip(block.weights, own_masks, kept.weights, strict=True):
                torch.mul(w, mask, out=weight)
            for before, after, bias, weight in zip(layers[:-1], layers[1:], block.biases[:-1], kept.weights[:-1], strict=True):
                torch.baddbmm(bias, weight, before, out=after).relu_()
            torch.baddbmm(block.biases[-1], kept.weights[-1], layers[-1], out=kept.parameters)
            torch.add(softplus(kept.parameters[:, :d]), MIN_SCALE, out=kept.scale)
            log_det += kept.scale.log().sum(dim=1)
            x = torch.addcmul(kept.parameters[:, d:], kept.scale, x)
        losses = (0.5 * (x * x).sum(dim=1) - log_det).mean(dim=1) + 0.5 * math.log(2 * math.pi) * d
        slope = x / n  # d(sum of losses) / d(what the block returns)
        for block, own_masks, kept in zip(reversed(blocks), reversed(masks), reversed(buffers[n]), strict=True):
            at_scale = kept.scale.reciprocal().mul_(-1 / n).addcmul_(slope, kept.inputs[:, :d])
            gradient = kept.parameters  # whose values are not needed any more
            torch.mul(at_scale, gradient[:, :d].sigmoid(), out=gradient[:, :d])
            gradient[:, d:] = slope
            slope = slope * kept.scale
            layers = [kept.inputs, *kept.hidden]
            for i in reversed(range(len(layers))):
                torch.sum(gradient, dim=2, keepdim=True, out=block.biases[i].grad)
                torch.bmm(gradient, layers[i].mT, out=kept.products[i])
                torch.mul(kept.products[i], own_masks[i], out=block.weights[i].grad)
                if i:
                    torch.bmm(kept.weights[i].mT, gradient, out=kept.slopes[i - 1])
                    gradient = kept.slopes[i - 1].mul_(layers[i].sign_())  # 0 where the ReLU was
            slope.baddbmm_(kept.weights[0][:, :, :d].mT, gradient)
        return losses

    return member_losses
