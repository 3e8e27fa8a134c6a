"""The density estimator p(x|m): a conditional masked autoregressive flow (arXiv:1705.07057) or neural spline flow (arXiv:1906.04032)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from nflows.distributions import StandardNormal
from nflows.flows import Flow
from nflows.transforms import (
    ActNorm,
    BatchNorm,
    CompositeTransform,
    MaskedAffineAutoregressiveTransform,
    MaskedPiecewiseRationalQuadraticAutoregressiveTransform,
    ReversePermutation,
    Transform,
)
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from models.arrays import as_matrix, pick_device
from models.epochs import best_epochs
from models.persistence import InputError, load_weights
from models.training import TrainingCurves, train_members

logger = logging.getLogger(__name__)

CALIBRATION_EVENTS = 65536
CHUNK = 8192


class _StandardizedCondition(Transform):
    """Hand the condition on with zero mean and unit variance, as measured on the training events."""

    def __init__(self, transform: Transform, mean: torch.Tensor, scale: torch.Tensor) -> None:
        super().__init__()
        self.transform = transform
        self.register_buffer("condition_mean", mean)
        self.register_buffer("condition_scale", scale)

    def forward(self, inputs: torch.Tensor, context: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.transform(inputs, (context - self.condition_mean) / self.condition_scale)

    def inverse(self, inputs: torch.Tensor, context: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.transform.inverse(inputs, (context - self.condition_mean) / self.condition_scale)


class ConditionalNormalizingFlow(BaseEstimator):
    """A conditional normalizing flow for the density of X [n, d] given m [n, c].

    Parameters
    ----------
    transform : {"MAF", "RQS"}
        Affine or rational-quadratic-spline autoregressive blocks.
    num_inputs, num_cond_inputs : int
        Number of features d and of conditions c.
    num_blocks : int
        Number of autoregressive (MADE, arXiv:1502.03509) blocks; the order of the features is reversed after each.
    num_hidden, num_layers : int
        Width of the hidden layers of a block, and how many follow the first one.
    normalization : {"batch_norm", "act_norm", "none"}
        Layer between the blocks.
    num_bins, tail_bound : int, float
        Of the splines, which are the identity beyond `tail_bound`.
    learning_rate, weight_decay : float
        Of Adam.
    batch_size, epochs : int
        Events per step; passes over the training events.
    val_split : float
        Share of the events held out for validation where `fit` is given none.
    random_state : int or None
        Seeds initialisation, shuffles, hold-out and samples; None draws a fresh seed.
    device : {"auto", "cpu", "cuda"}

    Attributes
    ----------
    module_ : nflows.flows.Flow
        After `fit`: the epoch of lowest validation loss.
    train_losses_, val_losses_ : arrays [n_epochs + 1]
        Mean -log p(x|m) in nats; index 0 is before training.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> m = rng.uniform(-1, 1, size=(500, 1))
    >>> X = m + rng.normal(size=(500, 2))
    >>> flow = ConditionalNormalizingFlow(num_inputs=2, num_blocks=2, num_hidden=8, epochs=2, random_state=1).fit(X, m)
    >>> flow.sample(m=m).shape
    (500, 2)
    """

    def __init__(
        self,
        transform: Literal["MAF", "RQS"] = "MAF",
        num_inputs: int = 4,
        num_cond_inputs: int = 1,
        num_blocks: int = 15,
        num_hidden: int = 128,
        num_layers: int = 1,
        normalization: Literal["batch_norm", "act_norm", "none"] = "batch_norm",
        num_bins: int = 8,
        tail_bound: float = 5.0,
        learning_rate: float = 1e-4,
        weight_decay: float = 1e-6,
        batch_size: int = 256,
        epochs: int = 100,
        val_split: float = 0.2,
        random_state: int | None = None,
        device: Literal["auto", "cpu", "cuda"] = "auto",
    ) -> None:
        self.transform = transform
        self.num_inputs = num_inputs
        self.num_cond_inputs = num_cond_inputs
        self.num_blocks = num_blocks
        self.num_hidden = num_hidden
        self.num_layers = num_layers
        self.normalization = normalization
        self.num_bins = num_bins
        self.tail_bound = tail_bound
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.epochs = epochs
        self.val_split = val_split
        self.random_state = random_state
        self.device = device

    def fit(
        self,
        X: np.ndarray,
        m: np.ndarray,
        X_val: np.ndarray | None = None,
        m_val: np.ndarray | None = None,
        *,
        on_epoch: Callable[[int, ConditionalNormalizingFlow, float], None] | None = None,
    ) -> ConditionalNormalizingFlow:
        """Maximise the likelihood of X [n, d] given m [n, c]; rows with NaN are ignored.

        Parameters
        ----------
        X_val, m_val : arrays, optional
            Validation events; without them the share `val_split` of X is held out.
        on_epoch : callable, optional
            Called after every epoch with its number, this estimator (in that epoch's state) and the validation loss.

        Raises
        ------
        ValueError
            If an array is empty or of the wrong width, or if no epoch has a finite loss.
        """
        rng = np.random.default_rng(self.random_state)
        X, m = self._finite_rows(X, m)
        if X_val is None:
            order = rng.permutation(len(X))
            n_val = round(self.val_split * len(X))
            X_val, m_val, X, m = X[order[:n_val]], m[order[:n_val]], X[order[n_val:]], m[order[n_val:]]
        X_val, m_val = self._finite_rows(X_val, m_val)
        init_seed, shuffle_seed = (int(seed) for seed in rng.integers(2**63, size=2))

        device = pick_device(self.device)
        scale = np.where(m.std(axis=0) > 0, m.std(axis=0), 1.0)
        with torch.random.fork_rng(devices=[]):  # nflows draws its initial weights from torch's global generator
            torch.manual_seed(init_seed)
            self.module_ = self._build(m.mean(axis=0), scale).to(device)
        data, val_data = ([self._tensor(a) for a in pair] for pair in ((X, m), (X_val, m_val)))
        calibration = [tensor[:CALIBRATION_EVENTS] for tensor in data]

        best_state: dict[str, torch.Tensor] = {}
        lowest = np.inf

        def keep_best(epoch: int, val_losses: np.ndarray) -> None:
            nonlocal best_state, lowest
            if val_losses[0] < lowest:
                lowest = val_losses[0]
                best_state = {name: value.clone() for name, value in self.module_.state_dict().items()}
            if on_epoch is not None:
                on_epoch(epoch, self, float(val_losses[0]))

        curves: TrainingCurves = train_members(
            self.module_,
            lambda x, condition: -self.module_.log_prob(x[0], condition[0]).mean(dim=0, keepdim=True),
            data,
            torch.arange(len(X), device=device)[None],
            val_data,
            torch.arange(len(X_val), device=device)[None],
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            generator=torch.Generator().manual_seed(shuffle_seed),
            calibrate=lambda: _calibrate(self.module_, *calibration),
            on_epoch=keep_best,
            label="density estimator",
        )
        self.train_losses_, self.val_losses_ = curves.train[:, 0], curves.val[:, 0]
        best_epochs(self.val_losses_[1:], 1, ceiling=self.val_losses_[0])  # raises where no epoch is usable
        self.module_.load_state_dict(best_state)
        self.module_.eval()
        return self

    def load(self, path: Path) -> ConditionalNormalizingFlow:
        """Read the weights of one epoch, as written by `models.persistence.save_weights`, into this configuration.

        Raises
        ------
        InputError
            If the file is damaged or belongs to another configuration.
        """
        module = self._build(np.zeros(self.num_cond_inputs), np.ones(self.num_cond_inputs))
        load_weights(path, module)
        self.module_ = module.to(pick_device(self.device)).eval()
        return self

    def predict_log_proba(self, X: np.ndarray, m: np.ndarray) -> np.ndarray:
        """log p(x|m) of every event [n], in nats; NaN for rows with NaN."""
        return self._per_event(X, m, lambda x, condition: self._fitted().log_prob(x, condition), width=None)

    def transform_to_latent(self, X: np.ndarray, m: np.ndarray) -> np.ndarray:
        """Latent coordinates [n, d], distributed as N(0, 1) where the flow describes the events."""
        return self._per_event(X, m, lambda x, condition: self._fitted().transform_to_noise(x, condition), width=self.num_inputs)

    def transform_from_latent(self, Z: np.ndarray, m: np.ndarray) -> np.ndarray:
        """Features [n, d] of latent coordinates Z; the inverse of `transform_to_latent`."""
        return self._per_event(
            Z, m, lambda z, condition: self._fitted()._transform.inverse(z, condition)[0], width=self.num_inputs
        )

    def sample(self, m: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """Draw one event x ~ p(x|m) for every row of m [n, c]."""
        rng = np.random.default_rng(self.random_state) if rng is None else rng
        m = as_matrix(m, name="m", width=self.num_cond_inputs)
        return self.transform_from_latent(rng.standard_normal((len(m), self.num_inputs)), m)

    def _build(self, condition_mean: np.ndarray, condition_scale: np.ndarray) -> Flow:
        layers: list[Transform] = []
        for _ in range(self.num_blocks):
            layers += [self._block(), *self._normalization(), ReversePermutation(self.num_inputs)]
        mean, scale = (torch.as_tensor(a, dtype=torch.float32) for a in (condition_mean, condition_scale))
        return Flow(_StandardizedCondition(CompositeTransform(layers), mean, scale), StandardNormal([self.num_inputs]))

    def _block(self) -> Transform:
        network: dict[str, Any] = {
            "features": self.num_inputs,
            "hidden_features": self.num_hidden,
            "context_features": self.num_cond_inputs,
            "num_blocks": self.num_layers,
            "use_residual_blocks": False,
        }
        if self.transform == "MAF":
            return MaskedAffineAutoregressiveTransform(**network)
        if self.transform == "RQS":
            return MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
                **network, num_bins=self.num_bins, tails="linear", tail_bound=self.tail_bound
            )
        raise InputError(f"transform must be MAF or RQS, not {self.transform!r}")

    def _normalization(self) -> list[Transform]:
        if self.normalization == "none":
            return []
        if self.normalization == "batch_norm":
            return [BatchNorm(self.num_inputs)]
        if self.normalization == "act_norm":
            return [ActNorm(self.num_inputs)]
        raise InputError(f"normalization must be batch_norm, act_norm or none, not {self.normalization!r}")

    def _fitted(self) -> Flow:
        if not hasattr(self, "module_"):
            raise NotFittedError("this ConditionalNormalizingFlow is not fitted yet: call fit or load first")
        return self.module_

    def _finite_rows(self, X: np.ndarray, m: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        X = as_matrix(X, width=self.num_inputs)
        m = as_matrix(m, name="m", width=self.num_cond_inputs, length=len(X))
        finite = np.isfinite(X).all(axis=1) & np.isfinite(m).all(axis=1)
        if not finite.any():
            raise ValueError("X and m have no row without NaN")
        return X[finite], m[finite]

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(array, dtype=torch.float32, device=pick_device(self.device))

    @torch.no_grad()
    def _per_event(self, X: np.ndarray, m: np.ndarray, function: Callable, width: int | None) -> np.ndarray:
        """Apply `function` in chunks; rows with NaN are answered with NaN."""
        self._fitted()
        X = as_matrix(X, width=self.num_inputs)
        m = as_matrix(m, name="m", width=self.num_cond_inputs, length=len(X))
        finite = np.isfinite(X).all(axis=1) & np.isfinite(m).all(axis=1)
        result = np.full((len(X),) if width is None else (len(X), width), np.nan)
        if finite.any():
            x, condition = self._tensor(X[finite]), self._tensor(m[finite])
            parts = [function(*pair).cpu() for pair in zip(x.split(CHUNK), condition.split(CHUNK), strict=True)]
            result[finite] = torch.cat(parts).double().numpy()
        return result


@torch.no_grad()
def _calibrate(module: torch.nn.Module, x: torch.Tensor, condition: torch.Tensor) -> None:
    """Set every batch norm's statistics to those of many training events, instead of a noisy average over the last few batches."""
    layers = [layer for layer in module.modules() if isinstance(layer, BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    module.train()
    for layer in layers:
        layer.momentum = 1.0
    module.log_prob(x, condition)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
