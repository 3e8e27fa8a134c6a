"""The estimators that can be chosen by name, and what is asked of them.

A new one is a class with these methods and a line below; docs/estimators.md has an example of both kinds. It derives from scikit-learn's
`BaseEstimator`, or from `models.plain.PlainEstimator`, which has `hyperparameters`, `save` and `load_from`. Parameters are stored by
`__init__` as scikit-learn wants them; the stages set those among `random_state`, `n_jobs` (how many processes may be used), `no_gpu`,
`verbose`, `epochs`, `batch_size` and `patience` that it has, of a density `num_inputs`, `condition_center` and `condition_scale` (m is
best seen as distance from the one in units of the other), of a classifier `n_inputs`, `val_split`, `n_runs` and `n_ensemble`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, get_type_hints

from common.errors import InputError
from common.options import Options
from common.registry import Registry

if TYPE_CHECKING:
    import numpy as np


ROOT = Path(__file__).resolve().parents[1]


class DensityEstimator(Protocol):
    """p(x|m) of features x [n, d] given m, which the project hands over as [n, c], also where it was given m [n].

    `fit` gets an open `checkpoint` in which it may keep an unfinished training, and may ignore it. LaCATHODE also needs
    `transform(X, m)`, coordinates that are N(0, 1). An estimator of which there are several versions (the epochs of a training) may offer
    `versions(n_best, within)`, a list of estimators, best first, none worse than the best by more than `within` (nats).
    """

    hyperparameters: ClassVar[tuple[str, ...]]  # parameters that a YAML file may set
    train_losses_: np.ndarray  # [k + 1], nats per event; index 0 is before training, or NaN
    val_losses_: np.ndarray

    def fit(
        self, X: np.ndarray, m: np.ndarray, X_val: np.ndarray, m_val: np.ndarray, *, checkpoint: Any = None
    ) -> DensityEstimator:
        """Learn from events; the validation events serve to choose and to stop."""

    def predict_log_proba(self, X: np.ndarray, m: np.ndarray) -> np.ndarray:
        """log p(x|m) of every event [n], in nats."""

    def sample(self, n_samples: int, m: np.ndarray, random_state: np.random.Generator) -> np.ndarray:
        """One event x ~ p(x|m) [n, d] for every row of m."""

    def save(self, folder: Path, name: str) -> None:
        """Write files whose names begin with NAME_; NAME_estimator.json is an object whose "estimator" is the name of the class."""

    @classmethod
    def load_from(cls, folder: Path, name: str) -> DensityEstimator:
        """The estimator that `save` wrote."""


class Classifier(Protocol):
    """`n_runs` independent classifiers of events X [n, d] into y = 0 and 1, each the mean of `n_ensemble` members if it has any.

    `fit` is without validation events (None) where every run is to hold out its own random share `val_split`. A classifier of which
    there are several versions in every run (the epochs of a network) may offer `predict_versions(X)`, scores [n_runs, k, n] in the order
    of `val_losses_[1:]`, and `predict_best(X, n_best)`, those of the best ones.
    """

    hyperparameters: ClassVar[tuple[str, ...]]
    # [k + 1, n_runs * n_ensemble], nats per event, members of a run side by side; index 0 is before training, or NaN, as after the end
    train_losses_: np.ndarray
    val_losses_: np.ndarray

    def fit(
        self,
        X: np.ndarray,
        y: np.ndarray,
        X_val: np.ndarray | None,
        y_val: np.ndarray | None,
        sample_weight: np.ndarray,
        sample_weight_val: np.ndarray | None,
        *,
        checkpoint: Any = None,
    ) -> Classifier:
        """Learn from weighted events."""

    def predict_runs(self, X: np.ndarray) -> np.ndarray:
        """Score of every run and event [n_runs, n], 0 to 1."""

    def save(self, folder: Path, name: str) -> None:
        """Write files whose names begin with NAME_; NAME_estimator.json is an object whose "estimator" is the name of the class."""

    @classmethod
    def load_from(cls, folder: Path, name: str) -> Classifier:
        """The classifier that `save` wrote."""


class EstimatorRegistry(Registry[type]):
    """Estimators by name, with the YAML file of hyperparameters that is read where none is named."""

    def __init__(self, kind: str, places: Mapping[str, str], configurations: Mapping[str, str]) -> None:
        super().__init__(kind, places)
        self._configurations = dict(configurations)

    def hyperparameters(self, name: str, path: Path | None = None) -> dict[str, Any]:
        """Those in a YAML file; what it does not set is as in the estimator's own.

        Raises
        ------
        InputError
            If the file is absent, says that it is for another estimator (`model`), or sets what the estimator does not have.
        """
        from common.hyperparameters import checked, read_yaml

        own = [ROOT / self._configurations[name]] if name in self._configurations else []
        values: dict[str, Any] = {}
        for file in (*own, *([] if path is None else [path])):
            content = read_yaml(file)
            if (meant := content.pop("model", name)) != name:
                raise InputError(f"{file}: hyperparameters of the {self.kind} {meant}, but {name} was chosen")
            values |= checked(content, self._types(name), file)
        return values

    def parameters(self, name: str) -> Collection[str]:
        """What can be set of an estimator."""
        return signature(self.get(name)).parameters

    def create(
        self, name: str, hyperparameters: Mapping[str, Any], options: Options, settings: Sequence[str], **given: Any
    ) -> Any:
        """An unfitted estimator.

        Parameters
        ----------
        options, settings
            The options of these names become parameters.
        given
            Further parameters, or other values of those, which it is given if it has them.

        Raises
        ------
        InputError
            If an option was set that the estimator does not have.
        """
        accepted = self.parameters(name)
        values = options.settings(settings, accepted, name) | {key: value for key, value in given.items() if key in accepted}
        if "early_stopping" in accepted and "patience" in values:
            values["early_stopping"] = values["patience"] > 0
        return self.get(name)(**hyperparameters, **values)

    def load(self, folder: Path, name: str) -> Any:
        """The estimator NAME in a folder, whatever it is: one that can be chosen, or of a subclass of such a one.

        Raises
        ------
        InputError
            If it is absent, damaged, or of an unknown kind.
        """
        from common.files import load_json

        path = Path(folder) / f"{name}_estimator.json"
        wanted = load_json(path).get("estimator")
        for known in self.names:
            chosen = self.get(known)
            for kind in (chosen, *chosen.__subclasses__()):
                if kind.__name__ == wanted:
                    return kind.load_from(folder, name)
        raise InputError(f"{path}: {wanted!r} is no {self.kind}")

    def _types(self, name: str) -> dict[str, Any]:
        """The types of the parameters that a file may set."""
        estimator = self.get(name)
        hints = get_type_hints(estimator.__init__)
        return {key: hints[key] for key in estimator.hyperparameters}


DENSITIES = EstimatorRegistry(
    "density estimator",
    {"flow": "models.flow:ConditionalNormalizingFlow", "published": "models.published_flow:PublishedFlow"},
    {"flow": "DE_MAF_model.yml", "published": "DE_MAF_published.yml"},
)
CLASSIFIERS = EstimatorRegistry(
    "classifier",
    {"nn": "models.classifier:NeuralNetworkClassifier", "hgb": "models.boosted_trees:HGBClassifier"},
    {"nn": "classifier.yml", "hgb": "classifier_hgb.yml"},
)
