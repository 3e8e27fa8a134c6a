"""Scripts that must fail, and leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


def _files_in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.exists() else []


@pytest.fixture
def fails(fails, tmp_path) -> Callable[..., str]:
    """Run a script that must fail; returns its one line. Nothing may be new in the output folder tmp_path/out."""

    def run_failing(script: str, *argv: object, **flags: object) -> str:
        before = _files_in(tmp_path / "out")
        line = fails(script, *argv, **flags)
        assert _files_in(tmp_path / "out") == before
        return line

    return run_failing
