"""Windows of a scan, and the bins of a fit."""

from __future__ import annotations

import numpy as np
import pytest

from common.errors import InputError
from events.columns import M_JJ, Column
from events.window import Window
from search.bins import MassBins, joined_edges, scan_windows, unit_in_tev

WINDOW = Window(3.3, 3.7)


def test_windows_are_as_wide_in_proportion_as_the_papers():
    windows = scan_windows(3.2, 5.0, 6, M_JJ)
    centers = np.array([window.center for window in windows])
    np.testing.assert_allclose(centers[1:] / centers[:-1], (5.0 / 3.2) ** 0.2)
    assert centers[[0, -1]] == pytest.approx([3.2, 5.0])
    assert [window.width / window.center for window in windows] == pytest.approx([0.4 / 3.5] * 6)


@pytest.mark.parametrize("window", [WINDOW, *scan_windows(3.2, 5.0, 3, M_JJ)], ids=str)
def test_bins_have_the_edges_of_the_window_and_lie_in_the_range(window):
    bins = MassBins.around(window, 2.6, 8.0, 13.0)
    assert window.low in bins.edges
    assert window.high in bins.edges
    assert bins.in_window.sum() == 8
    assert 2.6 <= bins.edges[0] < 2.7
    assert 7.6 < bins.edges[-1] <= 8.0
    assert (np.diff(bins.edges) > 0).all()
    assert np.array(bins.edges[1:])[bins.below_window].max() == window.low


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_counted_in_the_window_is_what_the_window_contains(dtype):
    rng = np.random.default_rng(0)
    m = np.concatenate([rng.uniform(2, 6, 5000), np.repeat(WINDOW.edges, 7)]).astype(dtype)
    bins = MassBins.around(WINDOW, 2.6, 8.0, 13.0)
    counts = bins.counts(m)
    assert counts[bins.in_window].sum() == WINDOW.contains(m).sum()
    assert counts.sum() == ((m >= bins.edges[0]) & (m < bins.edges[-1])).sum()


def test_a_range_without_the_window_is_refused():
    for low, high in ((3.4, 8.0), (2.6, 3.6)):
        with pytest.raises(InputError, match="not inside the range of the fit"):
            MassBins.around(WINDOW, low, high, 13.0)


def test_room_is_a_width_on_either_side():
    assert MassBins.around(WINDOW, 2.8, 4.3, 13.0).has_room
    assert not MassBins.around(WINDOW, 3.0, 4.3, 13.0).has_room
    assert not MassBins.around(WINDOW, 2.8, 4.0, 13.0).has_room


def test_bins_end_below_the_energy_of_the_collisions():
    assert MassBins.around(WINDOW, 2.6, 20.0, 13.0).edges[-1] < 13.0


def test_units():
    assert [unit_in_tev(Column("m", "m", unit)) for unit in ("TeV", "GeV", "MeV")] == pytest.approx([1, 1e-3, 1e-6])
    for unit in ("", "cm"):
        with pytest.raises(InputError, match="need MeV, GeV, TeV"):
            unit_in_tev(Column("m", "m", unit))


def test_joined_edges_count_close_ones_once():
    first, second = (MassBins((1.0, 2.0, edge), WINDOW, 13.0) for edge in (3.0, 3.0 + 1e-9))
    np.testing.assert_allclose(joined_edges([first, second]), [1, 2, 3])
