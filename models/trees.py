"""Boosted trees as plain arrays: taken from scikit-learn's, checked when they are read from a file, scored by the library's own code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor

NO_CATEGORIES = np.zeros((0, 8), dtype=np.uint32)


@dataclass(frozen=True)
class Trees:
    """The trees of several members behind one another.

    Attributes
    ----------
    value : array [n_nodes], float64
        What a leaf adds to the logit of its events.
    feature : array [n_nodes], int32
        Which column a node that is no leaf looks at.
    threshold : array [n_nodes], float64
        Events up to it go to the left child.
    children : array [n_nodes, 2], int32
        Numbers of the left and the right child within the tree; both 0 where the node is a leaf.
    n_nodes : array [n_trees], int32
        Of every tree.
    n_trees : array [n_members], int32
        Of every member.
    baseline : array [n_members], float64
        Logit before the first tree.
    """

    value: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    children: np.ndarray
    n_nodes: np.ndarray
    n_trees: np.ndarray
    baseline: np.ndarray

    @classmethod
    def of(cls, boosting: HistGradientBoostingClassifier, n_trees: int) -> Trees:
        """The first trees of a fitted classifier, as those of one member."""
        nodes = [tree.nodes for (tree,) in boosting._predictors[:n_trees]]
        together = np.concatenate(nodes)
        return cls(
            together["value"],
            together["feature_idx"].astype(np.int32),
            together["num_threshold"],
            np.column_stack([together["left"], together["right"]]).astype(np.int32) * (together["is_leaf"] == 0)[:, None],
            np.array([len(tree) for tree in nodes], dtype=np.int32),
            np.array([len(nodes)], dtype=np.int32),
            np.asarray(boosting._baseline_prediction, dtype=np.float64).ravel(),
        )

    @classmethod
    def joined(cls, parts: Sequence[Trees]) -> Trees:
        """The members of all parts."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.names()))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], n_features: int) -> Trees:
        """Trees from arrays that are not trusted: the library would follow wrong numbers into foreign memory.

        Raises
        ------
        ValueError
            If they are no trees on so many features.
        """
        if absent := [name for name in cls.names() if name not in arrays]:
            raise ValueError(f"{absent[0]} is missing")
        for name, kind, shape in (
            ("value", "f8", (-1,)), ("feature", "i4", (-1,)), ("threshold", "f8", (-1,)), ("children", "i4", (-1, 2)),
            ("n_nodes", "i4", (-1,)), ("n_trees", "i4", (-1,)), ("baseline", "f8", (-1,)),
        ):  # fmt: skip
            if arrays[name].dtype != np.dtype(kind) or arrays[name].shape[1:] != shape[1:] or arrays[name].ndim != len(shape):
                raise ValueError(f"{name} is {arrays[name].dtype} {arrays[name].shape}, expected {np.dtype(kind)} {shape}")
        trees = cls(**{name: arrays[name] for name in cls.names()})
        n = len(trees.value)
        counts = (("n_trees", trees.n_trees, len(trees.n_nodes)), ("n_nodes", trees.n_nodes, n))
        for name, parts, total in counts:
            if len(parts) == 0 or parts.min() < 1 or parts.sum(dtype=np.int64) != total:
                raise ValueError(f"{name} does not add up to {total}")
        if {len(trees.feature), len(trees.threshold), len(trees.children)} != {n} or len(trees.baseline) != len(trees.n_trees):
            raise ValueError("the arrays differ in length")
        if not all(np.isfinite(array).all() for array in (trees.value, trees.baseline)) or np.isnan(trees.threshold).any():
            raise ValueError("a leaf, a threshold or a baseline is not a finite number")
        own = np.arange(n) - np.repeat(np.cumsum(trees.n_nodes) - trees.n_nodes, trees.n_nodes)
        size, leaf = np.repeat(trees.n_nodes, trees.n_nodes), trees._is_leaf
        inside = (trees.children > own[:, None]) & (trees.children < size[:, None])
        if not (leaf | inside.all(axis=1)).all():
            raise ValueError("a child is outside of its tree, or not after its parent")
        if not (leaf | ((trees.feature >= 0) & (trees.feature < n_features))).all():
            raise ValueError(f"a node looks at a column that is none of the {n_features}")
        return trees

    @classmethod
    def names(cls) -> list[str]:
        """Of the arrays."""
        return [field.name for field in fields(cls)]

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays by name."""
        return {name: getattr(self, name) for name in self.names()}

    @property
    def _is_leaf(self) -> np.ndarray:
        return (self.children == 0).all(axis=1)

    def logits(self, X: np.ndarray) -> np.ndarray:
        """log(p / (1 - p)) of every member and event X [n, d], [n_members, n]."""
        nodes = np.zeros(len(self.value), dtype=PREDICTOR_RECORD_DTYPE)
        for name, values in {
            "value": self.value, "feature_idx": self.feature, "num_threshold": self.threshold, "left": self.children[:, 0],
            "right": self.children[:, 1], "is_leaf": self._is_leaf,
        }.items():  # fmt: skip
            nodes[name] = values
        trees = iter(np.split(nodes, np.cumsum(self.n_nodes)[:-1]))
        X, of_feature = np.ascontiguousarray(X, dtype=np.float64), np.zeros(X.shape[1], dtype=np.uint32)
        logits = np.repeat(self.baseline[:, None], len(X), axis=1)
        for member, n_trees in enumerate(self.n_trees):
            for _ in range(n_trees):
                tree = TreePredictor(next(trees), NO_CATEGORIES, NO_CATEGORIES)
                logits[member] += tree.predict(X, NO_CATEGORIES, of_feature, n_threads=1)
        return logits
