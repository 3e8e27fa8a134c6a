"""The classifier: `n_runs` independent fully connected networks, stacked and trained side by side."""

from __future__ import annotations

import copy
import itertools
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from common.processes import processes_of, run_side_by_side
from models.arrays import RandomState, as_matrix, as_seed, member_generators
from models.binary import BinaryClassifier, PredictsClasses
from models.network import StackedNetwork, losses_and_gradients_of, losses_of
from models.training.checkpoints import Checkpoint
from models.training.epochs import EpochRule, Losses, mean_over_epochs
from models.training.estimator import EpochEstimator
from models.training.loop import MemberData, Objective
from models.training.state import TrainingPlan, default_batch_size

SCORED_TOGETHER = 2**16  # events whose scores in all epochs are in memory
CHUNK = 1024  # events whose activations, for ten members, stay in cache
LARGEST_STACK = 2 * 10**7  # weights
LARGEST_BATCH = 384  # events, by default
TRAINED_TOGETHER = 5  # networks per stack on the CPU: together a step costs a quarter less; more would leave cores idle


class NeuralNetworkClassifier(BinaryClassifier, EpochEstimator):
    """Binary classifier made of networks that differ in initialisation, shuffles and (if held out at random) validation events.

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
    n_runs, n_ensemble : int
        Number of independent classifiers, and of networks whose scores each of them averages.
    scored_epochs, n_scored_epochs : {"lowest", "last"}, int
        Every network's score is the mean over so many of its epochs, those of lowest validation loss or the last ones. More than 1 needs
        a `save_path`, or a checkpoint, where the epochs are kept.
    lr, weight_decay, schedule, gradient_clip, averaging
        How it is trained, see `models.training.state.TrainingPlan`; `schedule` is "one_cycle" or "constant". The loss is the binary
        cross-entropy.
    early_stopping, patience : bool, int
        A network is done after `patience` epochs without a lower validation loss.
    val_split : float
        Share of the events that every network holds out for validation where `fit` is given none.
    batch_size, drop_last : int or None, bool
        Events per step, None for the number of `default_batch_size`; whether to leave out what does not fill a batch.
    epochs : int or None
        Passes over the training events; None trains until the patience is used up.
    use_class_weights : bool
        Weight the events so that both classes count the same in total.
    n_jobs : int or None
        On the CPU, stacks of five networks are trained in so many processes side by side; the result does not depend on how many.
    no_gpu : bool
        Stay on the CPU; otherwise the GPU is used if there is one.
    verbose : bool
        Show a progress bar and log the losses.
    random_state : int, numpy generator or None
        Seeds everything; None draws a fresh seed.

    Attributes
    ----------
    module_ : StackedNetwork
        After `fit`: every network in its epoch of lowest validation loss, or in the last one.
    train_losses_, val_losses_ : arrays [n_epochs + 1, n_runs * n_ensemble]
        Mean weighted cross-entropy of every network in nats, those of one run side by side; index 0 is before training.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> y = rng.integers(2, size=400)
    >>> X = rng.normal(size=(400, 2)) + 3 * y[:, None]
    >>> classifier = NeuralNetworkClassifier(n_inputs=2, n_runs=2, epochs=20, random_state=1).fit(X, y)
    >>> bool(np.mean((classifier.predict(X) > 0.5) == y) > 0.8)
    True
    """

    hyperparameters = (
        "layers",
        "lr",
        "weight_decay",
        "schedule",
        "gradient_clip",
        "averaging",
        "scored_epochs",
        "n_scored_epochs",
    )
    _sizes = ("n_inputs", "n_runs", "n_ensemble")
    _folder_name = "CLSF_models"

    def __init__(
        self,
        save_path: str | Path | None = None,
        load: bool = False,
        n_inputs: int | None = 4,
        layers: Sequence[int] = (64, 64, 64),
        n_runs: int = 1,
        n_ensemble: int = 1,
        scored_epochs: Literal["lowest", "last"] = "lowest",
        n_scored_epochs: int = 1,
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        schedule: Literal["one_cycle", "constant"] = "constant",
        gradient_clip: float = 0.0,
        averaging: float = 0.0,
        early_stopping: bool = False,
        patience: int = 10,
        val_split: float = 0.2,
        batch_size: int | None = 128,
        drop_last: bool = True,
        epochs: int | None = 100,
        use_class_weights: bool = True,
        n_jobs: int | None = 1,
        no_gpu: bool = False,
        verbose: bool = False,
        random_state: RandomState = None,
    ) -> None:
        self.save_path = save_path
        self.load = load
        self.n_inputs = n_inputs
        self.layers = layers
        self.n_runs = n_runs
        self.n_ensemble = n_ensemble
        self.scored_epochs = scored_epochs
        self.n_scored_epochs = n_scored_epochs
        self.lr = lr
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.gradient_clip = gradient_clip
        self.averaging = averaging
        self.early_stopping = early_stopping
        self.patience = patience
        self.val_split = val_split
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.epochs = epochs
        self.use_class_weights = use_class_weights
        self.n_jobs = n_jobs
        self.no_gpu = no_gpu
        self.verbose = verbose
        self.random_state = random_state

    def fit(
        self,
        X: np.ndarray,
        y: np.ndarray,
        X_val: np.ndarray | None = None,
        y_val: np.ndarray | None = None,
        sample_weight: np.ndarray | None = None,
        sample_weight_val: np.ndarray | None = None,
        *,
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
        checkpoint : models.training.checkpoints.Checkpoint, optional
            Where the training is kept, and goes on from if it was interrupted; events, parameters and seed must be the same then.

        Raises
        ------
        ValueError
            If an array is empty, of the wrong width or length, if a class is absent, or if no epoch has a finite loss.
        """
        self._learn_classes(X, y)
        if self.n_scored_epochs < 1 or (self.n_scored_epochs > 1 and self.save_path is None and checkpoint is None):
            raise ValueError(f"n_scored_epochs = {self.n_scored_epochs} must be 1, or above 1 with a place where epochs are kept")
        if self.early_stopping and self.schedule == "one_cycle" and self.scored_epochs == "last":
            raise ValueError("early stopping (a patience) would score the last epochs of a one-cycle schedule that has not ended")
        self._check_size()
        train = self._tensors(X, y, sample_weight)
        val = None if X_val is None else self._tensors(X_val, y_val, sample_weight_val)
        generators = member_generators(as_seed(self.random_state), self._n_members)
        if len(generators) <= TRAINED_TOGETHER or self._device.type != "cpu":
            return self._learn(generators, train, val, checkpoint)
        parts, tasks, places = [], [], []
        for first in range(0, len(generators), TRAINED_TOGETHER):
            mine, name = generators[first : first + TRAINED_TOGETHER], f"runs_{first}"
            part = copy.copy(self).set_params(n_runs=len(mine), n_ensemble=1)
            if self.save_path is not None:
                part.save_path = Path(self.save_path) / self._folder_name / name
            place = None if checkpoint is None else checkpoint.below(name)
            parts.append(part)
            places.append(place)
            tasks.append(partial(part._learn_for_another, mine, train, val, place))
        for part, place, learned in zip(parts, places, run_side_by_side(tasks, processes_of(self.n_jobs)), strict=True):
            part._take_over(learned, place)
        joined = self._join(parts, checkpoint)
        for part in parts:
            if part.save_path is not None:
                shutil.rmtree(part.save_path)
        return joined

    def _learn_for_another(self, *arguments: Any) -> dict[str, Any]:
        """Train one stack; what was learned, as plain arrays that another process can take over."""
        return self._learn(*arguments)._learned()

    def _learn(
        self,
        generators: list[torch.Generator],
        train: Sequence[torch.Tensor],
        val: Sequence[torch.Tensor] | None,
        checkpoint: Checkpoint | None,
    ) -> NeuralNetworkClassifier:
        """Train one stack on tensors X [n, d], y [n] and weight [n]."""
        network, n = self._build(generators).to(self._device), len(train[0])
        if val is None:
            n_val = self._n_held_out(n)
            order = torch.stack([torch.randperm(n, generator=generator) for generator in generators]).to(self._device)
            data = MemberData(train, order[:, n_val:]), MemberData(train, order[:, :n_val])
        else:
            data = tuple(MemberData.all_for_all(tensors, self._n_members) for tensors in (train, val))
        plan = TrainingPlan(
            self.epochs,
            default_batch_size(data[0].rows.shape[1], LARGEST_BATCH) if self.batch_size is None else self.batch_size,
            self.lr,
            self.weight_decay,
            one_cycle=self.schedule == "one_cycle",
            gradient_clip=self.gradient_clip,
            averaging=self.averaging,
            patience=self.patience if self.early_stopping else 0,
            keep_last=self.scored_epochs == "last",
            drop_last=self.drop_last,
        )
        objective = Objective(f"classifiers ({self._n_members})", losses_of, losses_and_gradients_of)
        self._train(network, objective, *data, plan, generators, None, checkpoint)
        return self

    def load_weights(self, path: Path) -> NeuralNetworkClassifier:
        """Read the weights of one epoch into this configuration; see `EpochEstimator.load_weights`."""
        super().load_weights(path)
        self.n_features_in_ = self.module_.weights[0].shape[1]
        if not hasattr(self, "classes_"):
            self.classes_ = np.array([0, 1])
        return self

    def predict_runs(self, X: np.ndarray) -> np.ndarray:
        """Probability of class 1 of every run and event [n_runs, n], float32; NaN for rows with NaN."""
        self._ready()
        if self.n_scored_epochs == 1:
            return self._mean_of_members(self._scores(X))
        epochs = [list(mine) for mine in self._in_use(self._store.usable())]
        versions = {epoch: copy.copy(self).load_epoch_model(epoch) for epoch in {epoch for mine in epochs for epoch in mine}}
        scores = np.empty((self.n_runs, len(X)), dtype=np.float32)
        for start in range(0, len(X), SCORED_TOGETHER):
            part = slice(start, start + SCORED_TOGETHER)
            of_members = mean_over_epochs(lambda epoch, part=part: versions[epoch]._scores(X[part]), epochs)
            scores[:, part] = self._mean_of_members(of_members)
        return scores

    def predict_versions(self, X: np.ndarray) -> np.ndarray:
        """Probability of class 1 after every epoch that was kept [n_runs, n_epochs, n], float32; NaN after the last one trained."""
        trained = np.isfinite(self.val_losses_[1:]).any(axis=1)
        scores = np.full((self.n_runs, len(trained), len(X)), np.nan, dtype=np.float32)
        for epoch in np.flatnonzero(trained):
            scores[:, epoch] = self._mean_of_members(copy.copy(self).load_epoch_model(int(epoch))._scores(X))
        return scores

    def predict_best(self, X: np.ndarray, n_best: int) -> np.ndarray:
        """Probability of class 1 [n_runs, n_best, n], float32, in every network's epochs of lowest validation loss among those kept.

        There are fewer epochs where fewer were kept.
        """
        if not hasattr(self, "store_") and not self.load:
            return self.predict_runs(X)[:, None]
        epochs = [EpochRule("lowest", n_best).choose(mine) for mine in self._store.usable()]
        scores = np.empty((self._n_members, min(map(len, epochs)), len(X)), dtype=np.float32)
        for epoch in sorted({epoch for mine in epochs for epoch in mine}):
            of_members = copy.copy(self).load_epoch_model(epoch)._scores(X)
            for member, mine in enumerate(epochs):
                if epoch in mine[: scores.shape[1]]:
                    scores[member, mine.index(epoch)] = of_members[member]
        return self._mean_of_members(scores)

    def _build(self, generators: Sequence[torch.Generator]) -> StackedNetwork:
        if self.schedule not in ("one_cycle", "constant") or self.scored_epochs not in ("lowest", "last"):
            raise ValueError(
                f"schedule = {self.schedule!r}, scored_epochs = {self.scored_epochs!r}: see the docstring for what they may be"
            )
        self._check_size()
        return StackedNetwork([self._n_inputs(), *self.layers], generators)

    def _check_size(self) -> None:
        """Refuse layers that are none, or more than fits into memory."""
        if np.ndim(self.layers) != 1 or len(self.layers) == 0:
            raise ValueError(f"layers must hold the widths of the hidden layers, one at least, not {self.layers!r}")
        if self._n_members * sum(a * b for a, b in itertools.pairwise([self._n_inputs(), *self.layers, 1])) > LARGEST_STACK:
            raise ValueError(f"{self._n_members} networks with layers of {tuple(self.layers)} are more than can be trained")

    def _in_use(self, usable: list[Losses]) -> list[Losses]:
        rule = EpochRule(self.scored_epochs, self.n_scored_epochs)
        return [{epoch: mine[epoch] for epoch in rule.choose(mine)} for mine in usable]

    def _best(self, usable: Losses) -> int:
        return EpochRule(self.scored_epochs, 1).choose(usable)[0]

    @torch.no_grad()
    def _scores(self, X: np.ndarray) -> np.ndarray:
        """Probabilities [n_runs * n_ensemble, n] by the module as it is."""
        network = self._ready().eval()
        X = as_matrix(X, width=network.weights[0].shape[1], owner=self)
        scores = np.empty((self._n_members, len(X)), dtype=np.float32)
        for start in range(0, len(X), CHUNK):
            x = torch.as_tensor(X[start : start + CHUNK], dtype=torch.float32, device=self._device)
            scores[:, start : start + CHUNK] = torch.sigmoid(network(x.expand(self._n_members, -1, -1))).cpu().numpy()
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
        return [torch.as_tensor(a, dtype=torch.float32, device=self._device) for a in self._events(X, y, weight)]


class NeuralNetworkClassPredictor(PredictsClasses, NeuralNetworkClassifier):
    """The same networks, but `predict` gives classes.

    Examples
    --------
    >>> from sklearn.model_selection import cross_val_score
    >>> rng = np.random.default_rng(1)
    >>> y = np.repeat(["background", "signal"], 200)
    >>> X = rng.normal(size=(400, 2)) + 3 * (y == "signal")[:, None]
    >>> accuracies = cross_val_score(NeuralNetworkClassPredictor(n_inputs=2, epochs=20, random_state=1), X, y, scoring="accuracy")
    >>> bool(accuracies.mean() > 0.9)
    True
    """
