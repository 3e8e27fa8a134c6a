"""The share of the background that passes a cut, interpolated from the sideband."""

from __future__ import annotations

import numpy as np
import pytest
from toys import SR

from evaluation.interpolation import interpolated_share
from events.window import Window

WINDOW = Window(*SR)


def toy(rng: np.random.Generator, n: int, share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masses, whether the events pass a cut whose efficiency rises and bends with the mass, and which are inside the window."""
    m = 2.5 + rng.exponential(0.6, n)
    passes = rng.random(n) < share * (1 + 0.5 * (m - 3.5) + 0.4 * (m - 3.5) ** 2)
    return m, passes, WINDOW.contains(m)


@pytest.mark.parametrize("share", [0.2, 0.02, 0.003])
def test_what_passes_scatters_about_the_interpolation_as_its_error_says(share):
    rng, pulls = np.random.default_rng(2), []
    for _ in range(150):
        m, passes, inside = toy(rng, 15_000, share)
        found = interpolated_share(m[~inside], passes[~inside], m[inside], WINDOW)
        if found is not None:
            expected, error = found
            n = inside.sum()
            pulls.append((passes[inside].sum() - n * expected) / np.sqrt(n * expected * (1 - expected) + (n * error) ** 2))
    assert len(pulls) > 100
    assert np.mean(pulls) == pytest.approx(0, abs=0.3)
    assert np.std(pulls) == pytest.approx(1, abs=0.2)


def test_neither_the_window_nor_far_events_have_a_say():
    rng = np.random.default_rng(3)
    m, passes, inside = toy(rng, 30_000, 0.1)
    expected = interpolated_share(m, passes, m[inside], WINDOW)
    far = (m > SR[1] + 2.1 * WINDOW.width) | (m < SR[0] - 2.1 * WINDOW.width)
    assert interpolated_share(m, passes | inside | far, m[inside], WINDOW) == expected


@pytest.mark.parametrize("side", ["lower", "upper"])
def test_a_side_without_events_that_pass_gives_no_share(side):
    m, passes, inside = toy(np.random.default_rng(4), 5_000, 0.1)
    passes[m < SR[0] if side == "lower" else m > SR[1]] = False
    assert interpolated_share(m, passes, m[inside], WINDOW) is None


def test_a_cut_that_all_pass():
    m = np.linspace(3, 4, 1001)
    assert interpolated_share(m, np.ones(len(m), dtype=bool), np.array([3.5]), WINDOW) == (1.0, 0.0)


def test_what_cannot_be_fitted_gives_no_share():
    m = np.linspace(2.6, 4.4, 2001)
    assert interpolated_share(m, m > 3.75, np.array([3.5]), WINDOW) is None, "no event passes below the window"
    step = (m > 3.75) | (m < 2.7)
    assert interpolated_share(m, step, np.array([]), WINDOW) is None, "no mass"
    low = (m > 3.2) & (m < 3.9)
    found = interpolated_share(m, low, np.array([3.5]), WINDOW)
    assert found is None or found[1] > 0.05, "a box in the mass is no smooth share"
