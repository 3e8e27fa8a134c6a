"""Events for searches."""

from __future__ import annotations

import numpy as np
import pytest
from toys import toy_data, toy_signal, write_own


@pytest.fixture(scope="session")
def own(tmp_path_factory):
    """Separated events without labels and without signal."""
    return write_own(tmp_path_factory.mktemp("search") / "own", toy_data(14_000, 0))


@pytest.fixture(scope="session")
def signal_file(tmp_path_factory):
    """Signal events in the units of the data."""
    path = tmp_path_factory.mktemp("signal") / "signal.npy"
    events = toy_signal(600, np.random.default_rng(9)) * np.array([1000, 1, 1, 1, 1, 1], dtype=np.float32)
    np.save(path, events)
    return path
