"""Figures of a search, whatever it found."""

import itertools

import matplotlib.pyplot as plt
import pytest

from events.window import Window
from plots.search import p0_against_center
from search.hunt import Measured


@pytest.mark.parametrize("p0", [0.4, 1e-3, 1e-60, 0.0])
def test_names_of_significances_do_not_overlap(p0):
    figure = p0_against_center([(Window(3.3, 3.7), [Measured(1, p0=p0)]), (Window(4, 4.4), [Measured(1, p0=0.5)])])
    renderer = figure.canvas.get_renderer()
    names = [text for text in figure.axes[0].texts if text.get_text().endswith("σ")]
    boxes = sorted((text.get_window_extent(renderer).extents for text in names), key=lambda box: box[1])
    assert len(boxes) >= 2
    assert all(lower[3] <= upper[1] for lower, upper in itertools.pairwise(boxes))
    plt.close(figure)
