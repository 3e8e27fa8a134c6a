"""docs/reliability.md names tests that exist."""

from __future__ import annotations

import re

from toys import ROOT

TABLE = (ROOT / "docs" / "reliability.md").read_text()


def test_it_has_at_least_forty_rows():
    rows = [line for line in TABLE.splitlines() if line.startswith("| ") and not line.startswith("| fault")]
    assert len(rows) >= 40


def test_every_test_it_names_exists():
    file, n_found = "", 0
    for name, test in re.findall(r"`([a-z_]+(?:/[a-z_]+)*/test_\w+)?::(test_\w+)`", TABLE):
        file = name or file
        if file:
            path = ROOT / "tests" / f"{file}.py"
            assert path.is_file(), file
            assert not test or f"def {test}(" in path.read_text(), f"{file}::{test}"
            n_found += bool(test)
    assert n_found >= 40
