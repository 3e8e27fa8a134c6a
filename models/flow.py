"""The density estimator p(x|m): a conditional masked autoregressive flow (arXiv:1705.07057) or neural spline flow (arXiv:1906.04032)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from models.arrays import as_matrix, member_generators, pick_device
from models.autoregressive import Affine, BatchNorm, Spline, StackedFlow
from models.epochs import DIVERGED, best_epochs
from models.persistence import InputError, load_weights
from models.training import TrainingPlan, by_autograd, compiler_works, train_members

logger = logging.getLogger(__name__)

CALIBRATION_EVENTS = 65536
CHUNK = 2048  # events whose activations stay in the cache


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
    normalization : {"none", "batch_norm"}
        Layer between the blocks.
    num_bins, tail_bound : int, float
        Of the splines, which are the identity beyond `tail_bound`.
    learning_rate, weight_decay, schedule, gradient_clip, averaging, batch_size, epochs, patience
        How it is trained, see `models.training.TrainingPlan`; `schedule` is "one_cycle" or "constant".
    precision : {"float32", "bfloat16"}
        Of the matrix products of the training steps; weights, loss, validation and everything after training are float32.
    compile : bool
        Let `torch.compile` fuse the training steps, where a compiler is there; costs about half a minute at the start.
    val_split : float
        Share of the events held out for validation where `fit` is given none.
    random_state : int or None
        Seeds initialisation, shuffles, hold-out and samples; None draws a fresh seed.
    device : {"auto", "cpu", "cuda"}

    Attributes
    ----------
    module_ : models.autoregressive.StackedFlow
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
        num_blocks: int = 8,
        num_hidden: int = 64,
        num_layers: int = 1,
        normalization: Literal["none", "batch_norm"] = "none",
        num_bins: int = 8,
        tail_bound: float = 5.0,
        learning_rate: float = 5e-3,
        weight_decay: float = 0.0,
        schedule: Literal["one_cycle", "constant"] = "one_cycle",
        gradient_clip: float = 1.0,
        averaging: float = 0.999,
        batch_size: int = 1024,
        epochs: int = 20,
        patience: int = 10,
        precision: Literal["float32", "bfloat16"] = "float32",
        compile: bool = False,
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
        self.schedule = schedule
        self.gradient_clip = gradient_clip
        self.averaging = averaging
        self.batch_size = batch_size
        self.epochs = epochs
        self.patience = patience
        self.precision = precision
        self.compile = compile
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
        on_epoch: Callable[[int, torch.nn.Module, float], None] | None = None,
    ) -> ConditionalNormalizingFlow:
        """Maximise the likelihood of X [n, d] given m [n, c]; rows with NaN are ignored.

        Parameters
        ----------
        X_val, m_val : arrays, optional
            Validation events; without them the share `val_split` of X is held out.
        on_epoch : callable, optional
            Called after every epoch with its number, the module in that epoch's state, and the validation loss.

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
        generators = member_generators(self.random_state, 1)

        device = pick_device(self.device)
        module = self._build(generators)
        module.condition_mean.copy_(torch.as_tensor(m.mean(axis=0)))
        module.condition_scale.copy_(torch.as_tensor(np.where(m.std(axis=0) > 0, m.std(axis=0), 1.0)))
        module.to(device)
        data, val_data = ([self._tensor(a) for a in pair] for pair in ((X, m), (X_val, m_val)))
        calibration = [tensor[None, :CALIBRATION_EVENTS] for tensor in data]
        best_state: dict[str, torch.Tensor] = {}
        lowest = np.inf

        def keep_best(epoch: int, validated: torch.nn.Module, val_losses: np.ndarray) -> None:
            nonlocal best_state, lowest
            if val_losses[0] < lowest:
                lowest = val_losses[0]
                best_state = {name: value.clone() for name, value in validated.state_dict().items()}
            if on_epoch is not None:
                on_epoch(epoch, validated, float(val_losses[0]))

        curves = train_members(
            module,
            losses_of,
            data,
            torch.arange(len(X), device=device)[None],
            val_data,
            torch.arange(len(X_val), device=device)[None],
            TrainingPlan(
                epochs=self.epochs,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                weight_decay=self.weight_decay,
                one_cycle=self.schedule == "one_cycle",
                gradient_clip=self.gradient_clip,
                averaging=self.averaging,
                patience=self.patience,
            ),
            generators,
            gradients=self._losses_and_gradients_of,
            calibrate=lambda flow: calibrate_batch_norm(flow, *calibration),
            on_epoch=keep_best,
            label="density estimator",
        )
        self.train_losses_, self.val_losses_ = curves.train[:, 0], curves.val[:, 0]
        best_epochs(self.val_losses_[1:], 1, ceiling=self.val_losses_[0] + DIVERGED)  # raises where no epoch is usable
        module.load_state_dict(best_state)
        self.module_ = module.eval()
        return self

    def load(self, path: Path) -> ConditionalNormalizingFlow:
        """Read the weights of one epoch, as written by `models.persistence.save_weights`, into this configuration.

        Raises
        ------
        InputError
            If the file is damaged or belongs to another configuration.
        """
        module = self._build(member_generators(0, 1))
        load_weights(path, module)
        self.module_ = module.to(pick_device(self.device)).eval()
        return self

    def predict_log_proba(self, X: np.ndarray, m: np.ndarray) -> np.ndarray:
        """log p(x|m) of every event [n], in nats; NaN for rows with NaN."""
        return self._per_event(X, m, lambda flow, *pair: flow.log_prob(*pair)[..., None])[:, 0]

    def transform_to_latent(self, X: np.ndarray, m: np.ndarray) -> np.ndarray:
        """Latent coordinates [n, d], distributed as N(0, 1) where the flow describes the events."""
        return self._per_event(X, m, lambda flow, *pair: flow(*pair)[0])

    def transform_from_latent(self, Z: np.ndarray, m: np.ndarray) -> np.ndarray:
        """Features [n, d] of latent coordinates Z; the inverse of `transform_to_latent`."""
        return self._per_event(Z, m, lambda flow, *pair: flow.inverse(*pair))

    def sample(self, m: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """Draw one event x ~ p(x|m) for every row of m [n, c]."""
        rng = np.random.default_rng(self.random_state) if rng is None else rng
        m = as_matrix(m, name="m", width=self.num_cond_inputs)
        return self.transform_from_latent(rng.standard_normal((len(m), self.num_inputs)), m)

    def _build(self, generators: list[torch.Generator]) -> StackedFlow:
        if self.transform not in ("MAF", "RQS"):
            raise InputError(f"transform must be MAF or RQS, not {self.transform!r}")
        if self.normalization not in ("none", "batch_norm"):
            raise InputError(f"normalization must be none or batch_norm, not {self.normalization!r}")
        return StackedFlow(
            self.num_inputs,
            self.num_cond_inputs,
            transformer=Affine() if self.transform == "MAF" else Spline(self.num_bins, self.tail_bound),
            num_blocks=self.num_blocks,
            num_hidden=self.num_hidden,
            num_layers=self.num_layers,
            batch_norm=self.normalization == "batch_norm",
            generators=generators,
        )

    def _losses_and_gradients_of(self, flow: StackedFlow) -> Callable[..., torch.Tensor]:
        """The training step's losses and gradients in the precision asked for, compiled if asked for and possible."""
        if self.precision not in ("float32", "bfloat16"):
            raise InputError(f"precision must be float32 or bfloat16, not {self.precision!r}")
        member_losses = losses_of(flow)
        if self.precision == "bfloat16":
            device = pick_device(self.device).type
            member_losses = torch.autocast(device, torch.bfloat16, cache_enabled=False)(member_losses)
        if self.compile:
            if compiler_works():
                member_losses = torch.compile(member_losses)
            else:
                logger.info("no compiler that torch.compile could use: the training steps are not compiled")
        return by_autograd(member_losses, flow)

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
    def _per_event(self, X: np.ndarray, m: np.ndarray, function: Callable[..., torch.Tensor]) -> np.ndarray:
        """Apply `function` of the flow in chunks that stay in cache; rows with NaN are answered with NaN."""
        if not hasattr(self, "module_"):
            raise NotFittedError("this ConditionalNormalizingFlow is not fitted yet: call fit or load first")
        X = as_matrix(X, width=self.num_inputs)
        m = as_matrix(m, name="m", width=self.num_cond_inputs, length=len(X))
        x, condition = self._tensor(X)[None], self._tensor(m)[None]
        chunks = zip(x.split(CHUNK, dim=1), condition.split(CHUNK, dim=1), strict=True)
        result = torch.cat([function(self.module_, *pair)[0].cpu() for pair in chunks]).double().numpy()
        result[~(np.isfinite(X).all(axis=1) & np.isfinite(m).all(axis=1))] = np.nan
        return result


def losses_of(flow: StackedFlow) -> Callable[..., torch.Tensor]:
    """The mean -log p(x|m) of every member (nats)."""

    def member_losses(x: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        return -flow.log_prob(x, m).mean(dim=1)

    return member_losses


@torch.no_grad()
def calibrate_batch_norm(flow: StackedFlow, x: torch.Tensor, m: torch.Tensor) -> None:
    """Set every batch norm's statistics to those of many training events, instead of a noisy average over the last few batches."""
    layers = [layer for layer in flow.layers if isinstance(layer, BatchNorm)]
    if layers:
        momenta = [layer.momentum for layer in layers]
        flow.train()
        for layer in layers:
            layer.momentum = 1.0
        flow(x, m)
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
