"""Ensembles of boosted trees, scikit-learn's histogram-based ones (arXiv:2309.13111), which uninformative features hardly disturb."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import get_type_hints

import numpy as np
import torch
from scipy.special import expit
from sklearn.base import BaseEstimator
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import NotFittedError
from threadpoolctl import threadpool_limits

from common.errors import InputError, Interrupted
from common.files import load_array, load_json, save_arrays, save_json
from common.hyperparameters import checked
from common.processes import processes_of, run_side_by_side
from common.progress import progress
from models.arrays import RandomState, as_matrix, as_seed
from models.binary import BinaryClassifier, PredictsClasses
from models.training.checkpoints import Checkpoint
from models.trees import Trees

FILE_NAME = "my_trees"
logger = logging.getLogger(__name__)

SCORED_TOGETHER = 2**14  # events
LOSSES = ("train_losses", "val_losses")
Learned = dict[str, np.ndarray]


class HGBClassifier(BinaryClassifier, BaseEstimator):
    """Binary classifier made of ensembles of boosted trees, each of which stops early on validation events of its own.

    A single classifier (n_runs = n_ensemble = 1) validates on the events that `fit` is given for that, or on a random share of the
    training events. Several ones each draw a split of their own: the training and the validation events that `fit` is given are joined
    and divided anew. Averaging over splits is what makes such ensembles stable (arXiv:2309.13111).

    Parameters
    ----------
    save_path : path, optional
        Folder in which `fit` keeps the trees, in `save_path/CLSF_models/`.
    load : bool
        Read the trees from `save_path` at first use.
    n_inputs : int or None
        Number of features; None takes it from the array given to `fit`.
    n_runs, n_ensemble : int
        Number of independent classifiers, and of members whose scores each of them averages.
    learning_rate, max_leaf_nodes, min_samples_leaf, l2_regularization, max_bins
        As in scikit-learn's `HistGradientBoostingClassifier`.
    max_iters : int
        Largest number of trees of a member.
    early_stopping, patience : bool, int
        A member is done after `patience` trees without a lower validation loss, and keeps the trees up to the lowest one.
    val_split : float
        Share of the events that every member holds out for validation where `fit` is given none.
    use_class_weights : bool
        Weight the events so that both classes count the same in total.
    n_jobs : int or None
        Members are trained, and events scored, in so many processes side by side, in one thread each; the result does not depend on how
        many.
    verbose : bool
        Show a progress bar.
    random_state : int, numpy generator or None
        Seeds everything; None draws a fresh seed.

    Attributes
    ----------
    train_losses_, val_losses_ : arrays [n_trees + 1, n_runs * n_ensemble]
        Mean weighted cross-entropy of every member in nats, those of one run side by side; index 0 is before training, NaN is where a
        member was done already.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> y = rng.integers(2, size=400)
    >>> X = rng.normal(size=(400, 2)) + 3 * y[:, None]
    >>> classifier = HGBClassifier(n_inputs=2, n_ensemble=3, random_state=1).fit(X, y)
    >>> bool(np.mean((classifier.predict(X) > 0.5) == y) > 0.9)
    True
    """

    hyperparameters = ("learning_rate", "max_iters", "max_leaf_nodes", "min_samples_leaf", "l2_regularization", "max_bins")

    _sizes = ("n_inputs", "n_runs", "n_ensemble")

    def __init__(
        self,
        save_path: str | Path | None = None,
        load: bool = False,
        n_inputs: int | None = None,
        n_runs: int = 1,
        n_ensemble: int = 1,
        learning_rate: float = 0.1,
        max_iters: int = 200,
        max_leaf_nodes: int = 31,
        min_samples_leaf: int = 20,
        l2_regularization: float = 0.0,
        max_bins: int = 127,
        early_stopping: bool = True,
        patience: int = 10,
        val_split: float = 0.2,
        use_class_weights: bool = True,
        n_jobs: int | None = 1,
        verbose: bool = False,
        random_state: RandomState = None,
    ) -> None:
        self.save_path = save_path
        self.load = load
        self.n_inputs = n_inputs
        self.n_runs = n_runs
        self.n_ensemble = n_ensemble
        self.learning_rate = learning_rate
        self.max_iters = max_iters
        self.max_leaf_nodes = max_leaf_nodes
        self.min_samples_leaf = min_samples_leaf
        self.l2_regularization = l2_regularization
        self.max_bins = max_bins
        self.early_stopping = early_stopping
        self.patience = patience
        self.val_split = val_split
        self.use_class_weights = use_class_weights
        self.n_jobs = n_jobs
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
    ) -> HGBClassifier:
        """Minimise the weighted cross-entropy of y [n] given X [n, d]; rows with NaN are ignored.

        Classes are 1 and 0, or any other two by their order.

        Parameters
        ----------
        X_val, y_val, sample_weight_val : arrays, optional
            Validation events of a single classifier. Several members join them with the others, and each divides all anew, into parts of
            the same sizes.
        sample_weight : array [n], optional
            Only the relative size counts: weights are scaled to mean 1, after balancing the classes where that is asked for.
        checkpoint : models.training.checkpoints.Checkpoint, optional
            Where the members are kept as they are trained; events, parameters and seed must be the same when the training goes on.

        Raises
        ------
        ValueError
            If an array is empty, of the wrong width or length, or if a class is absent.
        """
        self._forget()
        self._learn_classes(X, y)
        seeds = np.random.SeedSequence(as_seed(self.random_state)).spawn(self._n_members)
        events = self._events(X, y, sample_weight)
        if X_val is None:
            validation = self._n_held_out(len(events[0]))
        else:
            validation = self._events(X_val, y_val, sample_weight_val)
            if len(seeds) > 1:
                events = tuple(np.concatenate(pair) for pair in zip(events, validation, strict=True))
                validation = len(validation[0])
        places = [None if checkpoint is None else checkpoint.below(f"member_{member}") for member in range(len(seeds))]
        tasks = [partial(self._learn, seed, events, validation, place) for seed, place in zip(seeds, places, strict=True)]
        if self.verbose and (n_kept := sum(place is not None and place.exists() for place in places)):
            logger.info("boosted trees: %d of %d members are done already", n_kept, len(tasks))
        with progress(f"boosted trees ({len(tasks)})", "member", len(tasks), shown=self.verbose) as bar:
            lowest: list[float] = []

            def done(member: Learned) -> None:
                lowest.append(float(np.nanmin(member["val_losses"])))
                bar.set_postfix(val=f"{np.mean(lowest):.4f}", best=f"{min(lowest):.4f}", refresh=False)
                bar.update()

            try:
                members = run_side_by_side(tasks, processes_of(self.n_jobs), done=done)
            except Interrupted as ending:
                if not any(place is not None and place.exists() for place in places):
                    raise
                raise Interrupted(ending.signal_number, "; members that are done are kept, --resume trains the others") from None
        self._take_over(members)
        if self.verbose:
            text = "boosted trees: %d members of %d to %d trees"
            logger.info(text, len(members), self.trees_.n_trees.min(), self.trees_.n_trees.max())
        if self.save_path is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self.save(self._folder, FILE_NAME)
        return self

    def _learn(
        self,
        seed: np.random.SeedSequence,
        events: tuple[np.ndarray, np.ndarray, np.ndarray],
        validation: tuple[np.ndarray, np.ndarray, np.ndarray] | int,
        place: Checkpoint | None,
    ) -> Learned:
        """Train one member, unless that was done already, validating on the events given or on so many of all."""
        if place is not None and (kept := place.load()) is not None:
            try:
                return _checked({name: np.asarray(value) for name, value in kept.items()}, events[0].shape[1], 1)
            except ValueError as error:
                text = f"{place.path}: damaged trees ({error}); without --resume the training begins anew"
                raise InputError(text) from error
        rng = np.random.default_rng(seed)
        if isinstance(validation, int):
            rows = rng.permutation(len(events[0]))
            events, validation = ([part[mine] for part in events] for mine in (rows[validation:], rows[:validation]))
        (X, y, weight), (X_val, y_val, weight_val) = events, validation
        boosting = HistGradientBoostingClassifier(
            learning_rate=self.learning_rate, max_iter=self.max_iters, max_leaf_nodes=self.max_leaf_nodes,
            min_samples_leaf=self.min_samples_leaf, l2_regularization=self.l2_regularization, max_bins=self.max_bins,
            early_stopping=True, n_iter_no_change=self.patience if self.early_stopping else self.max_iters, tol=0.0,
            random_state=as_seed(rng),
        )  # fmt: skip
        with threadpool_limits(1):
            boosting.fit(X, y, weight, X_val=X_val, y_val=y_val, sample_weight_val=weight_val)
        losses = {"train_losses": -boosting.train_score_, "val_losses": -boosting.validation_score_}
        n_trees = 1 + int(np.argmin(losses["val_losses"][1:])) if self.early_stopping else boosting.n_iter_
        learned = Trees.of(boosting, n_trees).arrays() | losses
        if place is not None:
            place.save({name: torch.as_tensor(value) for name, value in learned.items()})
        return learned

    def _take_over(self, members: list[Learned]) -> None:
        """Know what the members have learned."""
        self.trees_ = Trees.joined([Trees(**{name: member[name] for name in Trees.names()}) for member in members])
        for kind in LOSSES:
            longest = max(len(member[kind]) for member in members)
            columns = [np.pad(member[kind], (0, longest - len(member[kind])), constant_values=np.nan) for member in members]
            setattr(self, f"{kind}_", np.column_stack(columns))

    def predict_runs(self, X: np.ndarray) -> np.ndarray:
        """Probability of class 1 of every run and event [n_runs, n], float32; NaN for rows with NaN."""
        trees = self._ready().trees_
        X = as_matrix(X, width=self.n_features_in_, owner=self)
        if np.isinf(X).any():
            raise ValueError("X holds infinity")
        tasks = [partial(self._scores, trees, X[start : start + SCORED_TOGETHER]) for start in range(0, len(X), SCORED_TOGETHER)]
        return np.concatenate(run_side_by_side(tasks, processes_of(self.n_jobs)), axis=1)

    def _scores(self, trees: Trees, X: np.ndarray) -> np.ndarray:
        scores = self._mean_of_members(expit(trees.logits(X)))
        scores[:, np.isnan(X).any(axis=1)] = np.nan
        return scores.astype(np.float32)

    def load_train_loss(self) -> np.ndarray:
        """Training losses (nats), [n_trees + 1, n_members]; index 0 is before training."""
        return self._ready().train_losses_

    def load_val_loss(self) -> np.ndarray:
        """Validation losses (nats), shaped as those of `load_train_loss`."""
        return self._ready().val_losses_

    def load_best_model(self) -> HGBClassifier:
        """Read the trees from `save_path`.

        Raises
        ------
        InputError
            If a file is missing or damaged.
        ValueError
            If there is no `save_path`.
        """
        if self.save_path is None:
            raise ValueError("this HGBClassifier has no save_path to read trees from")
        stored = vars(self.load_from(self._folder, FILE_NAME))
        own = {name: value for name, value in self.get_params(deep=False).items() if name not in self._sizes}
        self.__dict__.update(stored | own)
        return self

    def save(self, folder: Path, name: str) -> None:
        """Write NAME_estimator_ARRAY.npy and, with the parameters, NAME_estimator.json."""
        arrays = self._ready().trees_.arrays() | {key: getattr(self, f"{key}_") for key in LOSSES}
        save_arrays(folder, {f"{name}_estimator_{key}": value for key, value in arrays.items()})
        parameters = {key: getattr(self, key) for key in (*self.hyperparameters, *self._sizes)}
        parameters["n_inputs"] = self.n_features_in_
        save_json(Path(folder) / f"{name}_estimator.json", {"estimator": type(self).__name__, "parameters": parameters})

    @classmethod
    def load_from(cls, folder: Path, name: str) -> HGBClassifier:
        """The classifier that `save` wrote; its classes are 0 and 1.

        Raises
        ------
        InputError
            If a file is missing or damaged: malformed trees are refused.
        """
        path, hints = Path(folder) / f"{name}_estimator.json", get_type_hints(cls.__init__)
        types = {key: hints[key] for key in (*cls.hyperparameters, *cls._sizes)} | {"n_inputs": int}
        parameters = load_json(path).get("parameters")
        if not isinstance(parameters, dict) or not {*cls._sizes} <= parameters.keys():
            raise InputError(f"{path}: not the description of boosted trees")
        classifier = cls(**checked(parameters, types, path))
        names = (*Trees.names(), *LOSSES)
        try:
            arrays = {key: load_array(path.with_name(f"{name}_estimator_{key}.npy")) for key in names}
            _checked(arrays, classifier.n_inputs, classifier._n_members)
        except InputError:
            raise
        except ValueError as error:
            raise InputError(f"{path}: damaged trees ({error})") from error
        trees = Trees(**{key: arrays[key] for key in Trees.names()})
        classifier.trees_, classifier.n_features_in_, classifier.classes_ = trees, classifier.n_inputs, np.array([0, 1])
        classifier.train_losses_, classifier.val_losses_ = arrays["train_losses"], arrays["val_losses"]
        return classifier

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "trees_") or bool(self.load)

    @property
    def _folder(self) -> Path:
        return Path(self.save_path) / "CLSF_models"

    def _ready(self) -> HGBClassifier:
        """Itself; with the trees read from where they were kept at the first call."""
        if not hasattr(self, "trees_"):
            if not self.load:
                raise NotFittedError("this HGBClassifier is not fitted yet: call fit, or use load=True with a save_path")
            self.load_best_model()
        return self

    def _forget(self) -> None:
        """What an earlier training left."""
        for name in ("trees_", "train_losses_", "val_losses_"):
            self.__dict__.pop(name, None)


class HGBClassPredictor(PredictsClasses, HGBClassifier):
    """The same trees, but `predict` gives classes."""


def _checked(arrays: Learned, n_features: int, n_members: int) -> Learned:
    """The arrays, if they are trees on so many features, and losses, of so many members.

    Raises
    ------
    ValueError
    """
    trees = Trees.from_arrays(arrays, n_features)
    if len(trees.n_trees) != n_members:
        raise ValueError(f"trees of {len(trees.n_trees)} members instead of {n_members}")
    for name in LOSSES:
        losses = arrays.get(name)
        if losses is None or losses.dtype != np.float64 or losses.ndim == 0 or losses.size != len(losses) * n_members:
            raise ValueError(f"{name} are missing, or not those of {n_members} members")
    return arrays
