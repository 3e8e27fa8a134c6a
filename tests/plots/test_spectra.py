"""Figures of distributions: axes have labels, any number of features fits."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

from events.columns import Column
from events.window import Window
from plots.spectra import data_against_samples, mass_spectrum, spectrum_bins


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


@pytest.mark.parametrize(("scale", "unit"), [(1, "TeV"), (1000, "GeV")])
def test_the_mass_spectrum_names_its_axis_and_has_the_edges_of_the_window(scale, unit):
    window, m = Window(3.3 * scale, 3.7 * scale, Column("m", "mass", unit)), np.random.default_rng(0).uniform(2, 5, 500) * scale
    (axes,) = mass_spectrum(m, window).axes
    assert axes.get_xlabel() == f"mass ({unit})"
    assert axes.get_ylabel() == f"events / {0.1 * scale:g} {unit}"
    bins = spectrum_bins(m, window)
    assert np.isclose(bins[:, None], window.edges).any(axis=0).all()
    assert bins[0] <= m.min()
    assert bins[-1] >= np.quantile(m, 0.9999)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["data", "signal region (SR)", "sideband (SB)"]


@pytest.mark.parametrize("n", [2, 7, 8, 20])
def test_every_feature_has_its_panel(n):
    rng, labels = np.random.default_rng(0), [f"x{i}" for i in range(n)]
    figure = data_against_samples(rng.normal(size=(200, n)), rng.normal(size=(300, n)), labels)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert len(shown) == 3 * n
    assert [axes.get_xlabel() for axes in shown if axes.get_xlabel()] == labels
