"""The density estimator p(x|m): a conditional masked autoregressive flow (arXiv:1705.07057) or neural spline flow (arXiv:1906.04032)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from sklearn.base import TransformerMixin

from common.errors import InputError
from common.progress import progress
from models import affine_gradients
from models.arrays import RandomState, as_generator, as_matrix, as_seed, conditions_to_sample, member_generators
from models.autoregressive import Affine, ConditionalFlow, Spline, StackedFlow, losses_of
from models.training.checkpoints import Checkpoint
from models.training.estimator import EpochEstimator
from models.training.loop import MemberData, Objective, by_autograd, compiler_works
from models.training.state import TrainingPlan, default_batch_size

logger = logging.getLogger(__name__)

CALIBRATION_EVENTS = 65536
LARGEST_FLOW = 2 * 10**7  # weights
CHUNK = 2048  # events whose activations stay in the cache
SILENT_SECONDS = 5.0  # of transforming or sampling events before its progress is shown


class ConditionalNormalizingFlow(TransformerMixin, EpochEstimator):
    """A conditional normalizing flow for the density of X [n, d] given m [n, c], or m [n] where there is one condition.

    Parameters
    ----------
    save_path : path, optional
        Folder for the weights of every epoch and the losses, in `save_path/DE_models/`; without it the best epoch is kept in memory.
    load : bool
        Read the best epoch from `save_path` at first use; `fit` would train anew and replace what is kept there.
    num_inputs, num_cond_inputs : int or None
        Number of features d and of conditions c; None takes them from the arrays given to `fit`.
    condition_center, condition_scale : float or None
        The flow is given (m - condition_center) / condition_scale. Interpolation lives on p(x|m) changing slowly with m. With the mass
        around which one looks for both, m becomes the relative distance from it: this fixes how slowly, whatever the unit, and however
        narrow the sideband. (Standardized conditions let p(x|m) change the faster, the narrower the sideband is, and the samples in the
        signal region are the worse for it: benchmarks/README.md.) None: mean and root mean square of the training events' conditions.
    num_blocks : int
        Number of autoregressive (MADE, arXiv:1502.03509) blocks; the order of the features is reversed after each.
    num_hidden, num_layers : int
        Width of the hidden layers of a block, and how many follow the first one.
    transform_type : {"MAF", "RQS"}
        Affine or rational-quadratic-spline autoregressive blocks.
    normalization : {"none", "batch_norm"}
        Layer between the blocks.
    num_bins, tail_bound : int, float
        Of the splines, which are the identity beyond `tail_bound`.
    lr, weight_decay, schedule, gradient_clip, averaging, batch_size, drop_last
        How it is trained, see `models.training.state.TrainingPlan`; `schedule` is "one_cycle" or "constant"; `batch_size` None is
        that of `default_batch_size`.
    epochs : int or None
        None trains until the patience is used up.
    early_stopping, patience : bool, int
        Stop after `patience` epochs without a lower validation loss.
    precision : {"float32", "bfloat16"}
        Of the matrix products of the training steps; weights, loss, validation and everything after training are float32.
    compile : bool
        Let `torch.compile` fuse the training steps, where a compiler is there; costs about half a minute at the start.
    val_split : float
        Share of the events held out for validation where `fit` is given none.
    n_jobs : int or None
        On the CPU, every batch is computed in two halves (without batch norm), which two processes share where this is above 1; the
        result is the same.
    no_gpu : bool
        Stay on the CPU; otherwise the GPU is used if there is one.
    verbose : bool
        Show a progress bar and log the losses.
    random_state : int, numpy generator or None
        Seeds initialisation, shuffles, hold-out and samples; None draws a fresh seed.

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

    hyperparameters = (
        "transform_type", "num_blocks", "num_hidden", "num_layers", "normalization", "num_bins", "tail_bound",
        "lr", "weight_decay", "schedule", "gradient_clip", "averaging", "precision", "compile",
    )  # fmt: skip
    _sizes = ("num_inputs", "num_cond_inputs")
    _folder_name = "DE_models"
    # m is routed through scikit-learn's pipelines without further ado. As their last step a flow is fitted with m in the place of y.
    __metadata_request__fit = {"m": True}
    __metadata_request__transform = {"m": True}
    __metadata_request__inverse_transform = {"m": True}
    __metadata_request__predict_log_proba = {"m": True}
    __metadata_request__predict_proba = {"m": True}
    __metadata_request__score = {"m": True}

    def __init__(
        self,
        save_path: str | Path | None = None,
        load: bool = False,
        num_inputs: int | None = 4,
        num_cond_inputs: int | None = 1,
        condition_center: float | None = None,
        condition_scale: float | None = None,
        num_blocks: int = 15,
        num_hidden: int = 128,
        num_layers: int = 1,
        transform_type: Literal["MAF", "RQS"] = "MAF",
        normalization: Literal["none", "batch_norm"] = "none",
        num_bins: int = 8,
        tail_bound: float = 5.0,
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        schedule: Literal["one_cycle", "constant"] = "constant",
        gradient_clip: float = 1.0,
        averaging: float = 0.999,
        early_stopping: bool = False,
        patience: int = 10,
        n_jobs: int | None = 1,
        no_gpu: bool = False,
        val_split: float = 0.2,
        batch_size: int | None = 256,
        drop_last: bool = True,
        epochs: int | None = 100,
        precision: Literal["float32", "bfloat16"] = "float32",
        compile: bool = False,
        verbose: bool = False,
        random_state: RandomState = None,
    ) -> None:
        self.save_path = save_path
        self.load = load
        self.num_inputs = num_inputs
        self.num_cond_inputs = num_cond_inputs
        self.condition_center = condition_center
        self.condition_scale = condition_scale
        self.num_blocks = num_blocks
        self.num_hidden = num_hidden
        self.num_layers = num_layers
        self.transform_type = transform_type
        self.normalization = normalization
        self.num_bins = num_bins
        self.tail_bound = tail_bound
        self.lr = lr
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.gradient_clip = gradient_clip
        self.averaging = averaging
        self.early_stopping = early_stopping
        self.patience = patience
        self.n_jobs = n_jobs
        self.no_gpu = no_gpu
        self.val_split = val_split
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.epochs = epochs
        self.precision = precision
        self.compile = compile
        self.verbose = verbose
        self.random_state = random_state

    def fit(
        self,
        X: np.ndarray,
        m: np.ndarray | None = None,
        X_val: np.ndarray | None = None,
        m_val: np.ndarray | None = None,
        *,
        on_epoch: Callable[[int, ConditionalNormalizingFlow, np.ndarray], None] | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> ConditionalNormalizingFlow:
        """Maximise the likelihood of X [n, d] given m [n, c]; rows with NaN are ignored.

        Parameters
        ----------
        X_val, m_val : arrays, optional
            Validation events; without them the share `val_split` of X is held out.
        on_epoch : callable, optional
            Called after every epoch with its number, this estimator (in that epoch's state) and the validation loss [1].
        checkpoint : models.training.checkpoints.Checkpoint, optional
            Where the training is kept, and goes on from if it was interrupted; events, parameters and seed must be the same then.

        Raises
        ------
        ValueError
            If an array is empty or of the wrong width, or if no epoch has a finite loss.
        """
        seed = as_seed(self.random_state)
        X = as_matrix(X, width=self.num_inputs, owner=self)
        m = as_matrix(m, name="m", width=self.num_cond_inputs, length=len(X))
        self.n_features_in_, self.n_conditions_in_ = X.shape[1], m.shape[1]
        X, m = self._finite_rows(X, m)
        if X_val is None:
            X, m, X_val, m_val = self._hold_out(X, m, np.random.default_rng(seed))
        X_val, m_val = self._finite_rows(X_val, m_val, "m_val")
        plan = self._plan(len(X))
        generators = member_generators(seed, 1)
        module = self._build(generators)
        for buffer, values in zip((module.condition_center, module.condition_scale), self._frame_of_conditions(m), strict=True):
            buffer.copy_(torch.as_tensor(values))
        module.to(self._device)
        train, val = (MemberData.all_for_all([self._tensor(a) for a in pair], 1) for pair in ((X, m), (X_val, m_val)))
        del X, m, X_val, m_val  # so that the memory is free while the flow learns
        calibration = [tensor[None, :CALIBRATION_EVENTS] for tensor in train.tensors]
        compiled = self.compile and compiler_works()
        if self.compile and not compiled:
            logger.info("no compiler that torch.compile could use: the training steps are not compiled")
        in_parts = self.normalization == "none" and not compiled and self._device.type == "cpu"
        objective = Objective(
            "density estimator",
            losses_of,
            partial(self._losses_and_gradients_of, compiled=compiled),
            lambda flow: flow.calibrate(*calibration),
            n_parts=2 if in_parts else 1,
        )  # fmt: skip
        self._train(module, objective, train, val, plan, generators, on_epoch, checkpoint)
        self.train_losses_, self.val_losses_ = self.load_train_loss(), self.load_val_loss()
        return self

    def fit_transform(
        self, X: np.ndarray, y: np.ndarray | None = None, m: np.ndarray | None = None, **fit_params: Any
    ) -> np.ndarray:
        """Fit, then the latent coordinates [n, d] of X; m may come second, or by name after what scikit-learn's pipelines call y."""
        m = y if m is None else m
        return self.fit(X, m, **fit_params).transform(X, m)

    def transform(self, X: np.ndarray, m: np.ndarray | None = None) -> np.ndarray:
        """Latent coordinates [n, d], distributed as N(0, 1) where the flow describes the events; NaN for rows with NaN."""
        return self._per_event(X, m, lambda flow, *pair: flow(*pair)[0])

    def inverse_transform(self, Z: np.ndarray, m: np.ndarray | None = None) -> np.ndarray:
        """Features [n, d] of latent coordinates Z; the inverse of `transform`."""
        return self._per_event(Z, m, lambda flow, *pair: flow.inverse(*pair))

    def log_jacobian_determinant(self, X: np.ndarray, m: np.ndarray | None = None) -> np.ndarray:
        """log |dz/dx| of every event [n], in nats."""
        return self._per_event(X, m, lambda flow, *pair: flow(*pair)[1][..., None])[:, 0]

    def inverse_log_jacobian_determinant(self, Z: np.ndarray, m: np.ndarray | None = None) -> np.ndarray:
        """log |dx/dz| of every event [n], in nats."""
        return -self.log_jacobian_determinant(self.inverse_transform(Z, m), m)

    def predict_log_proba(self, X: np.ndarray, m: np.ndarray | None = None) -> np.ndarray:
        """log p(x|m) of every event [n], in nats; NaN for rows with NaN."""
        return self._per_event(X, m, lambda flow, *pair: flow.log_prob(*pair)[..., None])[:, 0]

    def predict_proba(self, X: np.ndarray, m: np.ndarray | None = None) -> np.ndarray:
        """The density p(x|m) of every event [n]."""
        return np.exp(self.predict_log_proba(X, m))

    def score_samples(self, X: np.ndarray, m: np.ndarray | None = None) -> np.ndarray:
        """log p(x|m) of every event [n], in nats: scikit-learn's name for `predict_log_proba`."""
        return self.predict_log_proba(X, m)

    def score(self, X: np.ndarray, m: np.ndarray | None = None) -> float:
        """Mean log p(x|m) of the events without NaN, in nats."""
        return float(np.nanmean(self.predict_log_proba(X, m)))

    def sample(self, n_samples: int = 1, m: np.ndarray | None = None, random_state: RandomState = None) -> np.ndarray:
        """Draw events x ~ p(x|m).

        Parameters
        ----------
        n_samples : int
            With 1 (or the length of m): one event for every row of m [n, c]; with a single row of m: so many events there.
        random_state : int, numpy generator or None
            None uses that of the estimator.

        Raises
        ------
        ValueError
            If `n_samples` and the length of m do not fit together.
        """
        module = self._ready()
        if m is None:
            raise ValueError("m is missing: sample(m=masses) draws one event for every mass")
        m = conditions_to_sample(m, n_samples)
        rng = as_generator(self.random_state if random_state is None else random_state)
        return self.inverse_transform(rng.standard_normal((len(m), module.d)), m)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _plan(self, n_train: int) -> TrainingPlan:
        return TrainingPlan(
            epochs=self.epochs,
            batch_size=default_batch_size(n_train, 1024) if self.batch_size is None else self.batch_size,
            learning_rate=self.lr,
            weight_decay=self.weight_decay,
            one_cycle=self.schedule == "one_cycle",
            gradient_clip=self.gradient_clip,
            averaging=self.averaging,
            patience=self.patience if self.early_stopping else 0,
            drop_last=self.drop_last,
        )

    def _build(self, generators: list[torch.Generator]) -> ConditionalFlow:
        if self.transform_type not in ("MAF", "RQS"):
            raise InputError(f"transform_type must be MAF or RQS, not {self.transform_type!r}")
        if self.schedule not in ("one_cycle", "constant"):
            raise InputError(f"schedule must be one_cycle or constant, not {self.schedule!r}")
        if min(self.num_blocks, self.num_hidden) < 1:
            raise InputError(f"num_blocks = {self.num_blocks} and num_hidden = {self.num_hidden} must be at least 1")
        if self.normalization not in ("none", "batch_norm"):
            raise InputError(f"normalization must be none or batch_norm, not {self.normalization!r}")
        d, c = self._dimensions()
        transformer = Affine() if self.transform_type == "MAF" else Spline(self.num_bins, self.tail_bound)
        outputs = d * transformer.n_parameters
        if self.num_blocks * self.num_hidden * (d + c + self.num_layers * self.num_hidden + outputs) > LARGEST_FLOW:
            raise InputError(
                f"{self.num_blocks} blocks of width {self.num_hidden} with {outputs} outputs are more than can be trained"
            )
        return StackedFlow(
            d,
            c,
            transformer=transformer,
            num_blocks=self.num_blocks,
            num_hidden=self.num_hidden,
            num_layers=self.num_layers,
            batch_norm=self.normalization == "batch_norm",
            generators=generators,
        )

    def _dimensions(self) -> tuple[int, int]:
        """Number of features and of conditions, as given or as learned."""
        d, c = (
            given if given is not None else getattr(self, learned, None)
            for given, learned in ((self.num_inputs, "n_features_in_"), (self.num_cond_inputs, "n_conditions_in_"))
        )
        if d is None or c is None:
            raise ValueError("num_inputs and num_cond_inputs must be given to load a flow")
        return d, c

    def _parameters(self) -> dict[str, Any]:
        return super()._parameters() | dict(zip(self._sizes, self._dimensions(), strict=True))

    def _losses_and_gradients_of(self, flow: ConditionalFlow, *, compiled: bool) -> Callable[..., torch.Tensor]:
        """The training step's losses and gradients, by hand, or in the precision asked for."""
        if self.precision not in ("float32", "bfloat16"):
            raise InputError(f"precision must be float32 or bfloat16, not {self.precision!r}")
        if self.precision == "float32" and not compiled and affine_gradients.are_known_of(flow):
            return affine_gradients.losses_and_gradients_of(flow)
        member_losses = losses_of(flow)
        if self.precision == "bfloat16":
            member_losses = torch.autocast(self._device.type, torch.bfloat16, cache_enabled=False)(member_losses)
        return by_autograd(torch.compile(member_losses) if compiled else member_losses, flow)

    def _frame_of_conditions(self, m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Centre and scale [c] of the conditions m [n, c]."""
        center = m.mean(axis=0) if self.condition_center is None else np.full(m.shape[1], float(self.condition_center))
        if self.condition_scale is not None:
            if not 0 < self.condition_scale < np.inf:
                raise ValueError(f"condition_scale must be above 0, not {self.condition_scale!r}")
            return center, np.full(m.shape[1], float(self.condition_scale))
        scale = np.sqrt(np.mean(m**2, axis=0))
        return center, np.where(scale > 0, scale, 1.0)

    def _hold_out(self, X: np.ndarray, m: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        n_val = round(self.val_split * len(X))
        if not 0 < n_val < len(X):
            raise ValueError(f"val_split = {self.val_split:g} of n_samples={len(X)} leaves no event to train or to validate on")
        order = rng.permutation(len(X))
        return [array[rows] for rows in (order[n_val:], order[:n_val]) for array in (X, m)]

    def _finite_rows(self, X: np.ndarray, m: np.ndarray | None, m_name: str = "m") -> tuple[np.ndarray, np.ndarray]:
        X = as_matrix(X, width=self.n_features_in_, owner=self)
        m = as_matrix(m, name=m_name, width=self.n_conditions_in_, length=len(X))
        finite = np.isfinite(X).all(axis=1) & np.isfinite(m).all(axis=1)
        if finite.all():
            return X, m
        if np.isinf(X).any() or np.isinf(m).any():
            raise ValueError("X or m holds infinity")
        if not finite.any():
            raise ValueError("X and m have no row without NaN")
        return X[finite], m[finite]

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.tensor(array, dtype=torch.float32, device=self._device)

    @torch.no_grad()
    def _per_event(self, X: np.ndarray, m: np.ndarray | None, function: Callable[..., torch.Tensor]) -> np.ndarray:
        """Apply `function` of the flow in chunks that stay in cache; rows with NaN are answered with NaN."""
        flow = self._ready()
        X = as_matrix(X, width=flow.d, owner=self)
        m = as_matrix(m, name="m", width=flow.condition_scale.shape[0], length=len(X))
        x, condition = self._tensor(X)[None], self._tensor(m)[None]
        done = []
        with progress("events through the flow", "event", len(X), shown=self.verbose, delay=SILENT_SECONDS) as bar:
            for pair in zip(x.split(CHUNK, dim=1), condition.split(CHUNK, dim=1), strict=True):
                done.append(function(flow, *pair)[0].cpu())
                bar.update(len(done[-1]))
        result = torch.cat(done).double().numpy()
        result[~(np.isfinite(X).all(axis=1) & np.isfinite(m).all(axis=1))] = np.nan
        return result
