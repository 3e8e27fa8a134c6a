"""Checks that every estimator makes of the arrays it is given, and where it computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from models.persistence import InputError

if TYPE_CHECKING:
    import torch


def as_matrix(X: Any, *, name: str = "X", width: int | None = None, length: int | None = None) -> np.ndarray:
    """X as a float64 array [n, width]; a one-dimensional array counts as one column.

    Raises
    ------
    ValueError
        If X is missing, empty, not numeric, or of another width or length than asked for.
    """
    if X is None:
        raise ValueError(f"{name} is missing")
    matrix = np.asarray(X, dtype=np.float64)
    if matrix.ndim == 1:
        matrix = matrix[:, None]
    if matrix.ndim != 2 or len(matrix) == 0:
        raise ValueError(f"{name} must be a non-empty array [n, d], got shape {np.shape(X)}")
    if width is not None and matrix.shape[1] != width:
        raise ValueError(f"{name} has {matrix.shape[1]} columns, expected {width}")
    if length is not None and len(matrix) != length:
        raise ValueError(f"{name} has {len(matrix)} rows, expected {length}")
    return matrix


def member_generators(random_state: int | None, n_members: int) -> list[torch.Generator]:
    """An independent torch generator for every member of a stack; that of member i does not depend on how many there are."""
    import torch

    seeds = (
        int(child.generate_state(1, np.uint64)[0] >> np.uint64(1))
        for child in np.random.SeedSequence(random_state).spawn(n_members)
    )
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def pick_device(device: str) -> torch.device:
    """The torch device called `device`; "auto" is the GPU where there is one.

    Raises
    ------
    InputError
        If a GPU is asked for and none is usable.
    """
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda: no usable GPU on this machine")
    return torch.device(device)
