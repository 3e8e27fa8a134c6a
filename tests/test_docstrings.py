"""The examples in the docstrings are run."""

from __future__ import annotations

import doctest
import importlib

import numpy as np
import pytest

MODULES = (
    "classifier_training",
    "density_estimation",
    "evaluation_utils",
    "lhco_events",
    "models.classifier",
    "models.epochs",
    "models.flow",
    "models.scalers",
    "sculpting",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name), extraglobs={"np": np}, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0
    assert result.failed == 0
