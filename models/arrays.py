"""Checks that every estimator makes of the arrays it is given, its seeds, and where it computes."""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import issparse

from common.errors import InputError

if TYPE_CHECKING:
    import torch

RandomState = int | np.integer | np.random.Generator | np.random.RandomState | None


def as_matrix(X: Any, *, name: str = "X", width: int | None = None, length: int | None = None, owner: Any = None) -> np.ndarray:
    """X as a float64 array [n, width]; anything but X itself may be one-dimensional, as one column.

    Parameters
    ----------
    owner : estimator, optional
        Named in the message where the width is wrong.

    Raises
    ------
    ValueError
        If X is missing, empty, not numeric, infinite, or of another width or length than asked for.
    TypeError
        If X is sparse.
    """
    if X is None:
        raise ValueError(f"{name} is missing")
    if issparse(X):
        raise TypeError(f"{name} is a sparse matrix; a dense array is needed")
    matrix = np.asarray(X)
    if matrix.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {name} holds complex numbers")
    matrix = matrix.astype(np.float64, copy=False)
    if matrix.ndim == 1 and name != "X":
        matrix = matrix[:, None]
    if matrix.ndim != 2:
        raise ValueError(f"{name} must be an array [n, d], got shape {np.shape(X)}. Reshape your data")
    if matrix.shape[0] == 0 or matrix.shape[1] == 0:
        what = "sample(s)" if matrix.shape[0] == 0 else "feature(s)"
        raise ValueError(f"{name} is empty: Found array with 0 {what} (shape={matrix.shape}) while a minimum of 1 is required.")
    if width is not None and matrix.shape[1] != width:
        if owner is not None:
            raise ValueError(
                f"{name} has {matrix.shape[1]} features, but {type(owner).__name__} is expecting {width} features as input"
            )
        raise ValueError(f"{name} has {matrix.shape[1]} columns, expected {width}")
    if length is not None and len(matrix) != length:
        raise ValueError(f"{name} has {len(matrix)} rows, expected {length}")
    return matrix


def with_conditions(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call an estimator's method with its `m` and `m_val` as arrays [n, c]: a one-dimensional one is one condition per event.

    Whoever hands conditions on does it in this way: an estimator behind scalers or in a mixture never sees any other shape.
    """
    call = signature(function).bind(*arguments, **named)
    for name in ("m", "m_val"):
        if call.arguments.get(name) is not None:
            call.arguments[name] = as_matrix(call.arguments[name], name=name)
    return function(*call.args, **call.kwargs)


def conditions_to_sample(m: Any, n_samples: int) -> np.ndarray:
    """The conditions [n, c] of the events to be drawn: the rows of m, or a single row `n_samples` times.

    Raises
    ------
    ValueError
        If `n_samples` and the length of m do not fit together.
    """
    m = as_matrix(m, name="m")
    if len(m) == 1:
        m = np.repeat(m, n_samples, axis=0)
    if n_samples not in (1, len(m)):
        raise ValueError(f"n_samples is {n_samples}, but m has {len(m)} rows")
    return m


def in_chunks(function: Callable[[np.ndarray], np.ndarray], X: np.ndarray, size: int = 2**16) -> np.ndarray:
    """What a function makes of the rows of X [n, ...], computed chunk by chunk: what it needs on the way stays small."""
    first = function(X[:size])
    result = np.empty((len(X), *first.shape[1:]), dtype=first.dtype)
    result[:size] = first
    for start in range(size, len(X), size):
        result[start : start + size] = function(X[start : start + size])
    return result


def as_seed(random_state: RandomState) -> int | None:
    """An integer seed of whatever scikit-learn accepts as `random_state`; None stays None.

    Raises
    ------
    ValueError
        If it is none of those.
    """
    if random_state is None or isinstance(random_state, (int, np.integer)):
        return None if random_state is None else int(random_state)
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**32))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31))
    raise ValueError(f"random_state must be an integer, a numpy generator or None, not {random_state!r}")


def as_generator(random_state: RandomState) -> np.random.Generator:
    """A numpy generator: the one given, or a new one."""
    return random_state if isinstance(random_state, np.random.Generator) else np.random.default_rng(as_seed(random_state))


def member_generators(seed: int | None, n_members: int) -> list[torch.Generator]:
    """An independent torch generator for every member of a stack; that of member i does not depend on how many there are."""
    import torch

    seeds = (
        int(child.generate_state(1, np.uint64)[0] >> np.uint64(1)) for child in np.random.SeedSequence(seed).spawn(n_members)
    )
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def shared_zeros(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """A tensor of zeros on the CPU, in memory that processes forked from this one share with it."""
    import torch

    n = math.prod(shape)
    return torch.frombuffer(mmap.mmap(-1, max(n * dtype.itemsize, 1)), dtype=dtype, count=n).view(*shape)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in one thread: small networks gain nothing from more, and their results do not depend on how many there are."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def no_gpu(device: str) -> bool:
    """Whether estimators have to stay on the CPU; raises what `pick_device` raises."""
    return pick_device(device).type == "cpu"


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
