"""The classifier: `n_runs` independent fully connected networks, stacked and trained side by side."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from torch.nn.functional import binary_cross_entropy_with_logits

from models.arrays import RandomState, as_matrix, as_seed, member_generators
from models.training.checkpoints import Checkpoint
from models.training.epochs import mean_over_epochs
from models.training.estimator import EpochEstimator
from models.training.loop import MemberData, Objective
from models.training.state import TrainingPlan

CHUNK = 1024  # events whose activations, for ten members, stay in cache
LARGEST_STACK = 2 * 10**7  # weights


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


class NeuralNetworkClassifier(ClassifierMixin, EpochEstimator):
    """Binary classifier made of `n_runs` networks that differ in initialisation, shuffles and (if held out at random) validation events.

    Parameters
    ----------
    save_path : path, optional
        Folder for the weights of every epoch and the losses, in `save_path/CLSF_models/`; without it the best are kept in memory.
    load : bool
        Read the best epoch from `save_path` at first use; `fit` would train anew and replace what is kept there.
    n_inputs : int or None
        Number of features; None takes it from the array given to `fit`.
    layers : sequence of int
        Widths of the hidden layers (ReLU).
    n_runs : int
        Number of independent networks.
    n_best_epochs : int
        Every network's score is the mean over so many of its epochs, those of lowest validation loss. More than 1 needs a `save_path`,
        or a checkpoint, where the epochs are kept.
    lr, weight_decay : float
        Of Adam; the loss is the binary cross-entropy.
    early_stopping, patience : bool, int
        A network is done after `patience` epochs without a lower validation loss.
    val_split : float
        Share of the events that every network holds out for validation where `fit` is given none.
    batch_size, drop_last : int, bool
        Events per step; whether to leave out what does not fill a batch.
    epochs : int or None
        Passes over the training events; None trains until the patience is used up.
    use_class_weights : bool
        Weight the events so that both classes count the same in total.
    no_gpu : bool
        Stay on the CPU; otherwise the GPU is used if there is one.
    verbose : bool
        Show a progress bar and log the losses.
    random_state : int, numpy generator or None
        Seeds everything; None draws a fresh seed.

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

    hyperparameters = ("layers", "lr", "weight_decay")
    _sizes = ("n_inputs", "n_runs", "n_best_epochs")
    _folder_name = "CLSF_models"

    def __init__(
        self,
        save_path: str | Path | None = None,
        load: bool = False,
        n_inputs: int | None = 4,
        layers: Sequence[int] = (64, 64, 64),
        n_runs: int = 1,
        n_best_epochs: int = 1,
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        early_stopping: bool = False,
        patience: int = 10,
        val_split: float = 0.2,
        batch_size: int = 128,
        drop_last: bool = True,
        epochs: int | None = 100,
        use_class_weights: bool = True,
        no_gpu: bool = False,
        verbose: bool = False,
        random_state: RandomState = None,
    ) -> None:
        self.save_path = save_path
        self.load = load
        self.n_inputs = n_inputs
        self.layers = layers
        self.n_runs = n_runs
        self.n_best_epochs = n_best_epochs
        self.lr = lr
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.patience = patience
        self.val_split = val_split
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.epochs = epochs
        self.use_class_weights = use_class_weights
        self.no_gpu = no_gpu
        self.verbose = verbose
        self.random_state = random_state

    @property
    def _n_members(self) -> int:
        return self.n_runs

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
        checkpoint: Checkpoint | None = None,
    ) -> NeuralNetworkClassifier:
        """Minimise the weighted cross-entropy of y [n] given X [n, d]; rows with NaN are ignored.

        Classes are 1 and 0, or any other two by their order.

        Parameters
        ----------
        X_val, y_val, sample_weight_val : arrays, optional
            Validation events for all networks; without them each holds out its own random share `val_split` of X.
        sample_weight : array [n], optional
            Only the relative size counts: weights are scaled to mean 1, after balancing the classes where that is asked for.
        on_epoch : callable, optional
            Called after every epoch with its number, this estimator (in that epoch's state) and the validation losses [n_runs].
        checkpoint : models.training.checkpoints.Checkpoint, optional
            Where the training is kept, and goes on from if it was interrupted; events, parameters and seed must be the same then.

        Raises
        ------
        ValueError
            If an array is empty, of the wrong width or length, if a class is absent, or if no epoch has a finite loss.
        """
        plan = TrainingPlan(
            self.epochs,
            self.batch_size,
            self.lr,
            self.weight_decay,
            patience=self.patience if self.early_stopping else 0,
            drop_last=self.drop_last,
        )
        X = as_matrix(X, width=self.n_inputs, owner=self)
        self.n_features_in_ = X.shape[1]
        if y is None:
            raise ValueError(f"This {type(self).__name__} requires y to be passed, but the target y is None")
        y = np.asarray(y)
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        if len(self.classes_) > 2:
            raise ValueError("Only binary classification is supported. The type of the target is multiclass.")
        if self.n_best_epochs < 1 or (self.n_best_epochs > 1 and self.save_path is None and checkpoint is None):
            raise ValueError(f"n_best_epochs = {self.n_best_epochs} must be 1, or above 1 with a place where epochs are kept")
        data = self._tensors(X, y, sample_weight)
        device, n = self._device, len(data[0])
        generators = member_generators(as_seed(self.random_state), self.n_runs)
        network = self._build(generators).to(device)
        if X_val is None:
            n_val = round(self.val_split * n)
            if not 0 < n_val < n:
                raise ValueError(f"val_split = {self.val_split:g} of n_samples={n} leaves no event to train or to validate on")
            order = torch.stack([torch.randperm(n, generator=generator) for generator in generators]).to(device)
            train, val = MemberData(data, order[:, n_val:]), MemberData(data, order[:, :n_val])
        else:
            val_data = self._tensors(X_val, y_val, sample_weight_val)
            train, val = (MemberData.all_for_all(tensors, self.n_runs) for tensors in (data, val_data))
        objective = Objective("classifier", losses_of, losses_and_gradients_of)
        self._train(network, objective, train, val, plan, generators, on_epoch, checkpoint)
        return self

    def load_weights(self, path: Path) -> NeuralNetworkClassifier:
        """Read the weights of one epoch into this configuration; see `EpochEstimator.load_weights`."""
        super().load_weights(path)
        self.n_features_in_ = self.module_.weights[0].shape[1]
        if not hasattr(self, "classes_"):
            self.classes_ = np.array([0, 1])
        return self

    def predict_runs(self, X: np.ndarray) -> np.ndarray:
        """Probability of class 1 for every network and event [n_runs, n], float32; NaN for rows with NaN."""
        if self.n_best_epochs == 1:
            return self._scores(X)
        self._ready()
        epochs = self._in_use(self._store.ranking())
        return mean_over_epochs(lambda epoch: self._scores_after(epoch, X), epochs).astype(np.float32)

    def predict_versions(self, X: np.ndarray) -> np.ndarray:
        """Probability of class 1 after every epoch that was kept [n_runs, n_epochs, n], float32; NaN after the last one trained."""
        trained = np.isfinite(self.val_losses_[1:]).any(axis=1)
        scores = np.full((self.n_runs, len(trained), len(X)), np.nan, dtype=np.float32)
        for epoch in np.flatnonzero(trained):
            scores[:, epoch] = self._scores_after(int(epoch), X)
        return scores

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Mean probability of class 1 over the networks [n]; what users of this API expect instead of a class."""
        return self.predict_runs(X).mean(axis=0)

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Probabilities of class 0 and class 1 [n, 2], averaged over the networks."""
        signal = self.predict(X)
        return np.stack([1 - signal, signal], axis=1)

    def score(self, X: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None) -> float:
        """Share of the events on whose class the networks are right, at a cut of 0.5."""
        return float(np.average((self.predict(X) > 0.5) == (np.ravel(y) == self.classes_[1]), weights=sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.classifier_tags.multi_class = False
        return tags

    def _build(self, generators: Sequence[torch.Generator]) -> StackedNetwork:
        n_inputs = self._n_inputs()
        if np.ndim(self.layers) != 1 or len(self.layers) == 0:
            raise ValueError(f"layers must hold the widths of the hidden layers, one at least, not {self.layers!r}")
        widths = [n_inputs, *self.layers, 1]
        if self.n_runs * sum(a * b for a, b in itertools.pairwise(widths)) > LARGEST_STACK:
            raise ValueError(f"{self.n_runs} networks with layers of {tuple(self.layers)} are more than can be trained")
        if self.n_runs < 1:
            raise ValueError(f"n_runs must be at least 1, not {self.n_runs}")
        return StackedNetwork([n_inputs, *self.layers], generators)

    def _in_use(self, ranking: list[list[int]]) -> list[list[int]]:
        return [mine[: self.n_best_epochs] for mine in ranking]

    def _scores_after(self, epoch: int, X: np.ndarray) -> np.ndarray:
        return copy.copy(self).load_epoch_model(epoch)._scores(X)

    @torch.no_grad()
    def _scores(self, X: np.ndarray) -> np.ndarray:
        """Probabilities [n_runs, n] by the module as it is."""
        network = self._ready().eval()
        X = as_matrix(X, width=network.weights[0].shape[1], owner=self)
        scores = np.empty((self.n_runs, len(X)), dtype=np.float32)
        for start in range(0, len(X), CHUNK):
            x = torch.as_tensor(X[start : start + CHUNK], dtype=torch.float32, device=self._device)
            scores[:, start : start + CHUNK] = torch.sigmoid(network(x.expand(self.n_runs, -1, -1))).cpu().numpy()
        return scores

    def _n_inputs(self) -> int:
        """Number of features, as given or as learned."""
        n_inputs = getattr(self, "n_features_in_", None) if self.n_inputs is None else self.n_inputs
        if n_inputs is None:
            raise ValueError("n_inputs must be given to load a classifier")
        return n_inputs

    def _parameters(self) -> dict[str, Any]:
        return super()._parameters() | {"n_inputs": self._n_inputs()}

    def _tensors(self, X: np.ndarray, y: np.ndarray | None, weight: np.ndarray | None) -> list[torch.Tensor]:
        X = as_matrix(X, width=self.n_features_in_, owner=self)
        if y is None or np.size(y) != len(X):
            raise ValueError(f"y or y_val is missing or has not one class for each of the {len(X)} rows of X or X_val")
        y = np.ravel(y)
        weight = np.ones(len(X)) if weight is None else as_matrix(weight, name="sample_weight", width=1, length=len(X))[:, 0]
        if np.isinf(X).any():
            raise ValueError("X holds infinity")
        keep = np.isfinite(X).all(axis=1)
        X, y, weight = X[keep], y[keep], weight[keep]
        if not np.array_equal(np.unique(y), self.classes_) or len(self.classes_) != 2:
            raise ValueError(f"y must hold both classes, got 1 class or others than in training (n_samples={len(y)})")
        y = (y == self.classes_[1]).astype(int)
        if self.use_class_weights:
            weight = weight / np.bincount(y, weights=weight)[y]
        return [torch.as_tensor(a, dtype=torch.float32, device=self._device) for a in (X, y, weight / weight.mean())]
