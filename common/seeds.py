"""One seed for a run; from it an independent one for every purpose (numpy's SeedSequence)."""

from __future__ import annotations

import zlib

import numpy as np


def make_rng(seed: int, purpose: str) -> np.random.Generator:
    """An independent random generator for every purpose, derived from one seed."""
    return np.random.default_rng(np.random.SeedSequence([seed, zlib.crc32(purpose.encode())]))


def make_seed(seed: int, purpose: str) -> int:
    """An independent seed for every purpose, for estimators that take a `random_state`."""
    return int(make_rng(seed, purpose).integers(2**32))
