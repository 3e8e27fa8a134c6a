"""The examples in the docstrings are run."""

from __future__ import annotations

import doctest
import importlib

import numpy as np
import pytest

MODULES = (
    "background.classifiers",
    "background.densities",
    "evaluation_utils",
    "events.lhco",
    "models.classifier",
    "models.training.epochs",
    "models.flow",
    "models.scalers",
    "evaluation.sculpting",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name), extraglobs={"np": np}, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0
    assert result.failed == 0
