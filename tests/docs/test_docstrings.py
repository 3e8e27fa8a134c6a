"""The examples in the docstrings are run."""

from __future__ import annotations

import doctest
import importlib

import numpy as np
import pytest
from toys import ROOT

ROOMS = ("common", "models", "events", "background", "evaluation", "plots", "workflow")
FILES = [path.relative_to(ROOT) for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")) if ">>>" in path.read_text()]


@pytest.mark.parametrize("name", [".".join(path.with_suffix("").parts) for path in FILES])
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name), extraglobs={"np": np}, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0
    assert result.failed == 0
