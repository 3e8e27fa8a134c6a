"""p(x|m) of features in their own units: a density estimator behind the scalers through which events enter it."""

from __future__ import annotations

import copy
import glob
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.contract import OutputFile, figure_file
from common.errors import InputError
from common.files import load_array, load_json, save_arrays, save_json
from models.arrays import as_matrix, in_chunks
from models.dequantizer import Dequantizer
from models.ensembles import EnsembleModel
from models.registry import DENSITIES
from models.scalers import ExtPipeline, make_scaler, scaler_from_dict, scaler_to_dict
from models.training.epochs import MIXED_WITHIN, N_MIXED

logger = logging.getLogger(__name__)

DENSITY_FILES = (
    OutputFile(
        "NAME_epoch_E.par",
        "weights after every epoch that did not diverge (a PyTorch state dict); with folds, this and the next four are in fold_F/",
        pattern="NAME_epoch_[0-9]*.par",
    ),
    OutputFile(
        "NAME_estimator.json",
        "class and hyperparameters of the estimator, and its epochs, best first: `load_density(folder, name)` needs no YAML",
        pattern="NAME_estimator*",
    ),
    OutputFile(
        "NAME_train_losses.npy, NAME_val_losses.npy",
        "mean -log p(x|m) (nats) of the logit-transformed, standardized features; index 0 is before training, index E + 1 after epoch E",
        "[epochs + 1]",
        "NAME_[tv][ra]*_losses.npy",
    ),
    OutputFile(
        "NAME_preprocessing.json",
        "range, mean and width of the training features, values of discrete ones, and how they were made (names, shift)",
    ),
    figure_file("NAME_losses", "both losses against the epoch"),
)
MOST_VALUES = 10_000  # of a feature that is called discrete
EPOCH_FILE = re.compile(r"(?P<name>.+)_epoch_(?P<epoch>\d+)\.par")


@dataclass(frozen=True)
class DensityPreprocessing:
    """How events enter a density estimator, and what makes its losses comparable.

    Losses are quoted as densities of the logit-transformed, standardized features, whatever space the estimator itself works in.

    Attributes
    ----------
    scaler, reference : ExtPipeline
        The way to the estimator's own space, and to the space in which losses are quoted.
    trained_on : mapping
        What else must be the same of events that are described (their columns, say); plain JSON.
    dequantizer : Dequantizer
        Smears discrete features before anything else.
    """

    scaler: ExtPipeline
    reference: ExtPipeline
    trained_on: Mapping[str, Any]
    dequantizer: Dequantizer

    @classmethod
    def fit(
        cls,
        X: np.ndarray,
        *,
        use_logit: bool,
        names: Sequence[str],
        trained_on: Mapping[str, Any] | None = None,
        discrete: Sequence[str] = (),
    ) -> DensityPreprocessing:
        """Learn range, mean and width of the training features X [n, d]; `names` are theirs, `discrete` are those to be smeared."""
        for name, column in zip(names, X.T, strict=True):
            if column.min() == column.max():
                raise InputError(f"the density estimator cannot be trained: the feature {name} is constant")
        for name in discrete:
            if name not in names:
                raise InputError(f"{name} is none of the features, which are {', '.join(names)}")
            if (n_values := len(np.unique(X[:, list(names).index(name)]))) > MOST_VALUES:
                raise InputError(f"the feature {name} has {n_values} different values: it is not discrete, and is not smeared")
        dequantizer = Dequantizer([list(names).index(name) for name in discrete])
        try:
            X = dequantizer.fit_transform(X)
            reference = make_scaler(use_logit=True).fit(X)
        except ValueError as error:
            raise InputError(f"the density estimator cannot be trained: {error}") from error
        scaler = reference if use_logit else make_scaler(use_logit=False).fit(X)
        return cls(scaler, reference, dict(trained_on or {}), dequantizer)

    @classmethod
    def load(cls, path: Path) -> DensityPreprocessing:
        """Read what `save` wrote."""
        content = load_json(path)
        try:
            trained_on = content["trained_on"]
            if not isinstance(trained_on, dict):
                raise ValueError("trained_on is no object")
            scaler, reference = (scaler_from_dict(content[name]) for name in ("scaler", "reference"))
            dequantizer = Dequantizer.from_dict(content["dequantizer"], scaler.steps[-1][1].n_features_in_)
            return cls(scaler, reference, trained_on, dequantizer)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: not the preprocessing of a density estimator ({error})") from error

    def save(self, path: Path) -> None:
        """Write the parameters as JSON."""
        scalers = {"scaler": scaler_to_dict(self.scaler), "reference": scaler_to_dict(self.reference)}
        save_json(path, scalers | {"dequantizer": self.dequantizer.to_dict(), "trained_on": dict(self.trained_on)})

    @property
    def uses_logit(self) -> bool:
        """Whether the estimator works on logits."""
        return len(self.scaler.steps) == 2

    @property
    def n_features(self) -> int:
        """Number of features d."""
        return self.scaler.steps[-1][1].n_features_in_

    @property
    def training_range(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest value [d] of every feature in training."""
        scaler = self.reference.steps[0][1]
        return scaler.data_min_, scaler.data_max_

    def inside(self, X: np.ndarray, what: str) -> np.ndarray:
        """Which events [n] lie inside the training range; those on its boundary or beyond do not, and are counted in the log.

        Raises
        ------
        InputError
            If none does.
        """
        low, high = self.training_range
        keep = (np.greater(X, low) & np.less(X, high)).all(axis=1)
        if not keep.any():
            raise InputError(f"{what}: no event lies inside the feature range of the training events")
        n_outside = len(keep) - keep.sum()
        logger.info("%s: %d events, %d on or beyond the boundary of the training range dropped", what, keep.sum(), n_outside)
        return keep

    def loss_offset(self, X: np.ndarray) -> float:
        """What to add to the mean -log p of the estimator's own space to quote it in the reference space (nats; 0 with logit)."""
        if self.uses_logit:
            return 0.0
        reference, own = (in_chunks(s.log_jacobian_determinant, X) for s in (self.reference, self.scaler))
        return float(np.mean(reference - own))


@dataclass(frozen=True)
class FeatureDensity:
    """A trained density estimator with its preprocessing.

    Attributes
    ----------
    preprocessing : DensityPreprocessing
    estimator : DensityEstimator
        One, or a mixture of several.
    """

    preprocessing: DensityPreprocessing
    estimator: Any

    @property
    def _pipeline(self) -> ExtPipeline:
        steps = [("dequantizer", self.preprocessing.dequantizer), *self.preprocessing.scaler.steps, ("density", self.estimator)]
        return ExtPipeline(steps)

    def predict_log_proba(self, X: np.ndarray, m: np.ndarray) -> np.ndarray:
        """log p(x|m) of events X [n, d] at m [n, c], in nats, per unit of the features; NaN outside the training range."""
        return self._pipeline.predict_log_proba(X, m)

    def sample(self, m: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One event x ~ p(x|m) [n, d] for every row of m [n, c]."""
        return self._pipeline.sample(len(m), m, rng)

    def transform(self, X: np.ndarray, m: np.ndarray) -> np.ndarray:
        """Latent coordinates [n, d] of events; NaN outside the training range.

        Raises
        ------
        InputError
            If the estimator has no latent space.
        """
        if not hasattr(self.estimator, "transform"):
            raise InputError(f"{type(self.estimator).__name__} has no latent space, LaCATHODE needs a flow")
        return self._pipeline.transform(X, m)


@dataclass(frozen=True)
class TrainedDensity:
    """A density estimator that has just been trained, and all that belongs to it.

    Attributes
    ----------
    train_losses, val_losses : arrays [k]
        -log p per event in nats, for logit-transformed, standardized features.
    """

    estimator: Any
    preprocessing: DensityPreprocessing
    train_losses: np.ndarray
    val_losses: np.ndarray

    @classmethod
    def fit(
        cls,
        estimator: Any,
        train: tuple[np.ndarray, np.ndarray],
        val: tuple[np.ndarray, np.ndarray],
        *,
        use_logit: bool,
        names: Sequence[str],
        trained_on: Mapping[str, Any] | None = None,
        discrete: Sequence[str] = (),
        checkpoint: Any = None,
    ) -> TrainedDensity:
        """Fit an estimator to those events (X [n, d], m [n, c]) that lie inside the range of the training features.

        Parameters
        ----------
        names : sequence of str
            Of the features.
        trained_on : mapping
            See `DensityPreprocessing`.
        discrete : sequence of str
            Features that are smeared by their own spacing first; samples are rounded back.

        Raises
        ------
        InputError
            If it cannot be trained.
        """
        preprocessing = DensityPreprocessing.fit(
            train[0], use_logit=use_logit, names=names, trained_on=trained_on, discrete=discrete
        )
        offsets, events = [], []
        for (X, m), what in ((train, "training"), (val, "validation")):
            X = preprocessing.dequantizer.transform(X)
            keep = preprocessing.inside(X, what)
            inside = X[keep]
            offsets.append(preprocessing.loss_offset(inside))
            events += [in_chunks(preprocessing.scaler.transform, inside), as_matrix(m, name="m", length=len(X))[keep]]
        del train, val, X, m, inside
        try:
            estimator.fit(*(events.pop(0) for _ in range(4)), checkpoint=checkpoint)  # which then is the only one to hold them
        except InputError:
            raise
        except ValueError as error:
            raise InputError(f"the density estimator cannot be trained: {error}") from error
        return cls(estimator, preprocessing, estimator.train_losses_ + offsets[0], estimator.val_losses_ + offsets[1])

    def save(self, folder: Path, name: str) -> None:
        """Write NAME_preprocessing.json, NAME_*_losses.npy, and what the estimator writes."""
        self.estimator.save(folder, name)
        self.preprocessing.save(folder / f"{name}_preprocessing.json")
        save_arrays(folder, {f"{name}_train_losses": self.train_losses, f"{name}_val_losses": self.val_losses})

    @property
    def n_mixed(self) -> int:
        """How many of the estimator's versions are mixed."""
        return len(versions_of(self.estimator, N_MIXED, MIXED_WITHIN))

    def density(self, n_best: int = N_MIXED) -> FeatureDensity:
        """The density, mixed of the estimator's best versions."""
        return mixed(
            [FeatureDensity(self.preprocessing, version) for version in versions_of(self.estimator, n_best, MIXED_WITHIN)]
        )


def versions_of(estimator: Any, n_best: int, within: float = np.inf) -> list[Any]:
    """The best versions of an estimator, best first; it alone where it has none."""
    return estimator.versions(n_best, within) if hasattr(estimator, "versions") else [estimator]


def mixed(versions: Sequence[FeatureDensity]) -> FeatureDensity:
    """The equal mixture of several versions of one density."""
    if len(versions) == 1:
        return versions[0]
    return FeatureDensity(versions[0].preprocessing, EnsembleModel([v.estimator for v in versions]))


@dataclass(frozen=True)
class StoredDensity:
    """Where a trained density is: the files NAME_* of a folder.

    Attributes
    ----------
    epochs : tuple of int
        Use these epochs; where there are none, those of lowest validation loss.
    """

    folder: Path
    name: str
    epochs: tuple[int, ...] = ()

    @classmethod
    def of_epochs(cls, paths: Sequence[Path]) -> StoredDensity:
        """That of certain epochs of one training, NAME_epoch_E.par.

        Raises
        ------
        InputError
            If they are not named so, or belong to several trainings.
        """
        parts = [EPOCH_FILE.fullmatch(Path(path).name) for path in paths]
        if None in parts:
            raise InputError(f"{paths[parts.index(None)]}: not the name of an epoch's weights, NAME_epoch_E.par")
        if len({(Path(path).parent, part["name"]) for path, part in zip(paths, parts, strict=True)}) > 1:
            raise InputError(f"{paths[0]}: epochs of different trainings cannot be mixed, they differ in their preprocessing")
        return cls(Path(paths[0]).parent, parts[0]["name"], tuple(int(part["epoch"]) for part in parts))

    @property
    def preprocessing_file(self) -> Path:
        """Where the preprocessing is."""
        return self.folder / f"{self.name}_preprocessing.json"

    def files(self) -> list[Path]:
        """All that it is made of; the first two also where they are absent."""
        weights = [self.folder / f"{self.name}_epoch_{epoch}.par" for epoch in self.epochs]
        weights = weights or sorted(self.folder.glob(f"{glob.escape(self.name)}_epoch_[0-9]*.par"))
        further = set(self.folder.glob(f"{glob.escape(self.name)}_estimator*"))
        description = self.folder / f"{self.name}_estimator.json"
        return [self.preprocessing_file, description, *sorted(further - {description}), *weights]

    def check(self, n_features: int, trained_on: Mapping[str, Any]) -> DensityPreprocessing:
        """Its preprocessing, if it describes events of so many features, made in this way; what is not known is not compared.

        Raises
        ------
        InputError
            If it does not.
        """
        path, preprocessing = self.preprocessing_file, DensityPreprocessing.load(self.preprocessing_file)
        if preprocessing.n_features != n_features:
            raise InputError(f"{path}: {preprocessing.n_features} features, but the events have {n_features}")
        for key, kept in preprocessing.trained_on.items():
            if key in trained_on and kept != trained_on[key]:
                raise InputError(f"{path}: trained with {key} {kept}, but the events have {trained_on[key]}")
        return preprocessing

    def versions(self, n_best: int, within: float = np.inf, *, no_gpu: bool = False) -> list[FeatureDensity]:
        """Its best versions (the epochs of a flow), each as a density, best first, none worse by more than `within` (nats)."""
        preprocessing, estimator = DensityPreprocessing.load(self.preprocessing_file), DENSITIES.load(self.folder, self.name)
        settings = {"no_gpu": no_gpu, "verbose": True}
        estimator.set_params(**{name: value for name, value in settings.items() if name in estimator.get_params()})
        if self.epochs:
            versions = [copy.copy(estimator).load_epoch_model(epoch) for epoch in self.epochs]
        else:
            versions = versions_of(estimator, n_best, within)
        logger.info("density estimator: %s, %d version(s)", self.folder / self.name, len(versions))
        return [FeatureDensity(preprocessing, version) for version in versions]

    def load(self, n_best: int = N_MIXED, *, no_gpu: bool = False) -> FeatureDensity:
        """The density, mixed of its best versions."""
        return mixed(self.versions(n_best, MIXED_WITHIN, no_gpu=no_gpu))


def load_density(folder: Path, name: str = "my_ANODE_model", n_best: int = N_MIXED) -> FeatureDensity:
    """The density that stage 2 left in a folder, mixed of its best epochs, `n_best` at most."""
    return StoredDensity(Path(folder), name).load(n_best)


def load_density_losses(folder: Path, name: str) -> dict[str, np.ndarray]:
    """Training and validation losses [epochs + 1] of the density estimator NAME (nats), index 0 before training."""
    files = {"training": f"{name}_train_losses.npy", "validation": f"{name}_val_losses.npy"}
    return {kind: load_array(Path(folder) / file) for kind, file in files.items()}
