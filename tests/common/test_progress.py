"""Progress is written to the log by time, where no one watches."""

from __future__ import annotations

import logging
import time

from common import progress as module
from common.progress import progress


def test_lines_come_by_time_inside_of_long_work(monkeypatch, caplog):
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0.1)
    with caplog.at_level(logging.INFO), progress("density estimator", "step", 8) as bar:
        for number in range(8):
            bar.set_postfix(epoch=number, refresh=False)
            time.sleep(0.05)
            bar.update()
    lines = [record.getMessage() for record in caplog.records]
    assert 2 <= len(lines) <= 6
    assert lines[0].startswith("density estimator:")
    assert "/8 [" in lines[0]
    assert "epoch=" in lines[0]


def test_short_or_unwanted_work_is_silent(caplog):
    with caplog.at_level(logging.INFO):
        assert list(progress("short", "step", iterable=range(3))) == [0, 1, 2]
        assert list(progress("quiet", "step", iterable=range(3), shown=False)) == [0, 1, 2]
    assert not caplog.records
