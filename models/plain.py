"""The base of estimators that learn nothing but numbers, such as one's own: how they are stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, get_type_hints

import numpy as np
from sklearn.base import BaseEstimator

from common.errors import InputError
from common.files import load_array, load_json, save_arrays, save_json
from common.hyperparameters import checked


class PlainEstimator(BaseEstimator):
    """An estimator whose `fit` leaves numbers and arrays of them in attributes that end in "_", and nothing else.

    Examples
    --------
    >>> class Mean(PlainEstimator):
    ...     def fit(self, X):
    ...         self.mean_ = X.mean(axis=0)
    ...         return self
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     Mean().fit(np.array([[1.0, 2.0], [3.0, 5.0]])).save(folder, "mine")
    ...     Mean.load_from(folder, "mine").mean_
    array([2. , 3.5])
    """

    hyperparameters: ClassVar[tuple[str, ...]] = ()

    def save(self, folder: Path, name: str) -> None:
        """Write NAME_estimator.json, and NAME_estimator_ATTRIBUTE.npy for all that was learned.

        Raises
        ------
        TypeError
            If something else than numbers was learned.
        """
        learned = {key: np.asarray(value) for key, value in vars(self).items() if _is_learned(key)}
        for key, value in learned.items():
            if value.dtype.kind not in "fiub":
                raise TypeError(f"{type(self).__name__}.{key} is no array of numbers: it needs save and load_from of its own")
        save_arrays(folder, {f"{name}_estimator_{key}": value for key, value in learned.items()})
        parameters = {key: getattr(self, key) for key in self.hyperparameters}
        content = {"estimator": type(self).__name__, "parameters": parameters, "learned": sorted(learned)}
        save_json(Path(folder) / f"{name}_estimator.json", content)

    @classmethod
    def load_from(cls, folder: Path, name: str) -> Any:
        """The estimator that `save` wrote.

        Raises
        ------
        InputError
            If a file is missing or damaged.
        """
        path = Path(folder) / f"{name}_estimator.json"
        content = load_json(path)
        parameters, learned = content.get("parameters"), content.get("learned")
        if not isinstance(parameters, dict) or not isinstance(learned, list) or not all(map(_is_learned, learned)):
            raise InputError(f"{path}: not the description of an estimator")
        hints = get_type_hints(cls.__init__)
        estimator = cls(**checked(parameters, {key: hints[key] for key in cls.hyperparameters}, path))
        for key in learned:
            setattr(estimator, key, load_array(Path(folder) / f"{name}_estimator_{key}.npy"))
        return estimator


def _is_learned(key: Any) -> bool:
    """Whether this is the name of something that `fit` leaves, in scikit-learn's spelling."""
    return isinstance(key, str) and key.isidentifier() and key.endswith("_") and not key.startswith("_")
