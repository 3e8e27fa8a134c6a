"""The classifier: `n_runs` independent fully connected networks, stacked and trained side by side."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError
from torch.nn.functional import binary_cross_entropy_with_logits

from models.arrays import as_matrix, member_generators, pick_device
from models.epochs import best_epochs
from models.persistence import load_weights
from models.training import TrainingPlan, train_members

CHUNK = 1024  # events whose activations, for ten members, stay in cache


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


class NeuralNetworkClassifier(ClassifierMixin, BaseEstimator):
    """Binary classifier made of `n_runs` networks that differ in initialisation, shuffles and (if held out at random) validation events.

    Parameters
    ----------
    n_inputs : int
        Number of features.
    layers : sequence of int
        Widths of the hidden layers (ReLU).
    n_runs : int
        Number of independent networks.
    learning_rate, weight_decay : float
        Of Adam; the loss is the binary cross-entropy.
    batch_size, epochs, patience : int
        Events per step, passes over the training events, epochs without a lower validation loss after which a network is done (0: never).
    val_split : float
        Share of the events that every network holds out for validation where `fit` is given none.
    random_state : int or None
        Seeds everything; None draws a fresh seed.
    device : {"auto", "cpu", "cuda"}

    Attributes
    ----------
    module_ : StackedNetwork
        After `fit`: every network in its epoch of lowest validation loss.
    train_losses_, val_losses_ : arrays [n_epochs + 1, n_runs]
        Mean weighted cross-entropy in nats; index 0 is before training.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> y = rng.integers(2, size=400)
    >>> X = rng.normal(size=(400, 2)) + 3 * y[:, None]
    >>> classifier = NeuralNetworkClassifier(n_inputs=2, n_runs=2, epochs=20, random_state=1).fit(X, y)
    >>> bool(np.mean((classifier.predict(X) > 0.5) == y) > 0.8)
    True
    """

    def __init__(
        self,
        n_inputs: int = 4,
        layers: Sequence[int] = (64, 64, 64),
        n_runs: int = 1,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        batch_size: int = 128,
        epochs: int = 100,
        patience: int = 0,
        val_split: float = 0.5,
        random_state: int | None = None,
        device: Literal["auto", "cpu", "cuda"] = "auto",
    ) -> None:
        self.n_inputs = n_inputs
        self.layers = layers
        self.n_runs = n_runs
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.epochs = epochs
        self.patience = patience
        self.val_split = val_split
        self.random_state = random_state
        self.device = device

    def fit(
        self,
        X: np.ndarray,
        y: np.ndarray,
        X_val: np.ndarray | None = None,
        y_val: np.ndarray | None = None,
        sample_weight: np.ndarray | None = None,
        sample_weight_val: np.ndarray | None = None,
        *,
        on_epoch: Callable[[int, NeuralNetworkClassifier, np.ndarray], None] | None = None,
    ) -> NeuralNetworkClassifier:
        """Minimise the weighted cross-entropy of y [n] (1 or 0) given X [n, d].

        Parameters
        ----------
        X_val, y_val, sample_weight_val : arrays, optional
            Validation events for all networks; without them each holds out its own random share `val_split` of X.
        sample_weight : array [n], optional
            Only the relative size counts: weights are scaled to mean 1.
        on_epoch : callable, optional
            Called after every epoch with its number, this estimator (in that epoch's state) and the validation losses [n_runs].

        Raises
        ------
        ValueError
            If an array is empty, of the wrong width or length, if a class is absent, or if no epoch has a finite loss.
        """
        generators = member_generators(self.random_state, self.n_runs)
        device = pick_device(self.device)
        self.module_ = self._build(generators).to(device)
        data = self._tensors(X, y, sample_weight)
        n = len(data[0])
        if X_val is None:
            n_val = round(self.val_split * n)
            order = torch.stack([torch.randperm(n, generator=generator) for generator in generators]).to(device)
            val_data, val_rows, train_rows = data, order[:, :n_val], order[:, n_val:]
        else:
            val_data = self._tensors(X_val, y_val, sample_weight_val)
            train_rows, val_rows = (torch.arange(k, device=device).expand(self.n_runs, k) for k in (n, len(val_data[0])))

        self.classes_ = np.array([0, 1])
        lowest = torch.full((self.n_runs,), torch.inf, dtype=torch.float64)
        best_state = {name: value.clone() for name, value in self.module_.state_dict().items()}

        def keep_best(epoch: int, validated: torch.nn.Module, val_losses: np.ndarray) -> None:
            better = torch.as_tensor(val_losses) < lowest
            lowest[better] = torch.as_tensor(val_losses)[better]
            for name, value in self.module_.state_dict().items():
                best_state[name][better] = value[better]
            if on_epoch is not None:
                on_epoch(epoch, self, val_losses)

        curves = train_members(
            self.module_,
            losses_of,
            data,
            train_rows,
            val_data,
            val_rows,
            TrainingPlan(self.epochs, self.batch_size, self.learning_rate, self.weight_decay, patience=self.patience),
            generators,
            gradients=losses_and_gradients_of,
            on_epoch=keep_best,
            label="classifier",
        )
        self.train_losses_, self.val_losses_ = curves.train, curves.val
        for run in range(self.n_runs):
            best_epochs(self.val_losses_[1:, run], 1)  # raises where no epoch is usable
        self.module_.load_state_dict(best_state)
        self.module_.eval()
        return self

    def load(self, path: Path) -> NeuralNetworkClassifier:
        """Read the weights of one epoch, as written by `models.persistence.save_weights`, into this configuration."""
        module = self._build(member_generators(0, self.n_runs))
        load_weights(path, module)
        self.module_ = module.to(pick_device(self.device)).eval()
        return self

    @torch.no_grad()
    def predict_runs(self, X: np.ndarray) -> np.ndarray:
        """Probability of class 1 for every network and event [n_runs, n], float32; NaN for rows with NaN."""
        if not hasattr(self, "module_"):
            raise NotFittedError("this NeuralNetworkClassifier is not fitted yet: call fit or load first")
        self.module_.eval()
        X = as_matrix(X, width=self.n_inputs)
        scores = np.empty((self.n_runs, len(X)), dtype=np.float32)
        for start in range(0, len(X), CHUNK):
            x = torch.as_tensor(X[start : start + CHUNK], dtype=torch.float32, device=pick_device(self.device))
            scores[:, start : start + CHUNK] = torch.sigmoid(self.module_(x.expand(self.n_runs, -1, -1))).cpu().numpy()
        return scores

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Mean probability of class 1 over the networks [n]; what users of this API expect instead of a class."""
        return self.predict_runs(X).mean(axis=0)

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Probabilities of class 0 and class 1 [n, 2], averaged over the networks."""
        signal = self.predict(X)
        return np.stack([1 - signal, signal], axis=1)

    def _build(self, generators: Sequence[torch.Generator]) -> StackedNetwork:
        return StackedNetwork([self.n_inputs, *self.layers], generators)

    def _tensors(self, X: np.ndarray, y: np.ndarray | None, weight: np.ndarray | None) -> list[torch.Tensor]:
        X = as_matrix(X, width=self.n_inputs)
        y = as_matrix(y, name="y", width=1, length=len(X))[:, 0]
        weight = np.ones(len(X)) if weight is None else as_matrix(weight, name="sample_weight", width=1, length=len(X))[:, 0]
        keep = np.isfinite(X).all(axis=1)
        if set(np.unique(y[keep])) != {0.0, 1.0}:
            raise ValueError("y must hold both classes, 0 and 1, and nothing else")
        weight = weight[keep] / weight[keep].mean()
        device = pick_device(self.device)
        return [torch.as_tensor(a, dtype=torch.float32, device=device) for a in (X[keep], y[keep], weight)]
