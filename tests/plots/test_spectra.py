"""Figures of distributions: axes have labels, any number of features fits."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

from plots.spectra import data_against_samples, mass_spectrum


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def test_the_mass_spectrum_names_its_axis():
    (axes,) = mass_spectrum(np.random.default_rng(0).uniform(2, 5, 500), (3.3, 3.7), "mass (TeV)").axes
    assert axes.get_xlabel() == "mass (TeV)"
    assert "events" in axes.get_ylabel()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["data", "signal region (SR)", "sideband (SB)"]


@pytest.mark.parametrize("n", [2, 7, 8, 20])
def test_every_feature_has_its_panel(n):
    rng, labels = np.random.default_rng(0), [f"x{i}" for i in range(n)]
    figure = data_against_samples(rng.normal(size=(200, n)), rng.normal(size=(300, n)), labels)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert len(shown) == 2 * n
    assert [axes.get_xlabel() for axes in shown if axes.get_xlabel()] == labels
