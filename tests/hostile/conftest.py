"""Scripts that must fail, and leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture
def fails(fails, tmp_path) -> Callable[..., str]:
    """Run a script that must fail; returns its one line. The output folder tmp_path/out must stay empty."""

    def run_failing(script: str, *argv: object, **flags: object) -> str:
        line, out = fails(script, *argv, **flags), tmp_path / "out"
        assert not out.exists() or not list(out.iterdir())
        return line

    return run_failing
