"""Known signal that is added to data."""

import numpy as np
import pytest

from common.errors import InputError
from events.injection import Injection
from events.window import Window

WINDOW = Window(3.3, 3.7)


def events(m, label):
    return np.column_stack([m, np.zeros((len(m), 2)), np.full(len(m), label)]).astype(np.float32)


@pytest.fixture
def inject(tmp_path):
    """Injects some of a signal of these masses into 200 events, half of them in the window."""
    data = events(np.repeat([3.5, 4.0], 100), 0)

    def inject(m, s_over_b):
        np.save(tmp_path / "signal.npy", events(np.array(m), 1))
        injection = Injection(s_over_b, (tmp_path / "signal.npy",))
        return injection.into(data, np.arange(200), WINDOW, np.random.default_rng(1))

    return inject


def test_s_over_b_is_that_of_the_window_and_tails_come_with_it(inject, caplog):
    found, row = inject([3.5] * 50 + [3.0] * 50, 0.2)
    signal = found[found[:, -1] == 1]
    assert WINDOW.contains(signal[:, 0]).sum() == 20
    assert len(signal) > 22
    assert len(row) == len(found)
    assert not caplog.messages


def test_signal_without_tails_is_warned_of(inject, caplog):
    inject([3.5] * 50, 0.2)
    assert "no known signal lies outside 3.3 < m_JJ < 3.7 TeV" in caplog.text


def test_more_signal_than_is_known_is_refused(inject):
    with pytest.raises(InputError, match=r"S/B = 0.6 is more signal than the 50 that are known in 3.3 < m_JJ < 3.7 TeV"):
        inject([3.5] * 50, 0.6)
