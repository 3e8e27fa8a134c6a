"""Scripts that must fail, and leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


def _files_in(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture
def fails(fails, tmp_path) -> Callable[..., str]:
    """Run a script that must fail; returns its one line. Nothing may be new or other in the output folder tmp_path/out."""

    def run_failing(script: str, *argv: object, **flags: object) -> str:
        before = _files_in(tmp_path / "out")
        line = fails(script, *argv, **flags)
        assert _files_in(tmp_path / "out") == before
        return line

    return run_failing
