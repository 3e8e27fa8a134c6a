"""run.log: all runs one after another, how each ended; and what it must not do."""

from __future__ import annotations

import logging

import pytest

from common.errors import InputError
from common.logfile import LOG, logged

logger = logging.getLogger(__name__)


def fail_in(folder):
    with logged(folder):
        logger.warning("second")
        raise InputError("bad input")


def test_runs_follow_each_other_and_say_how_they_ended(tmp_path):
    (tmp_path / "result.npy").touch()
    with logged(tmp_path):
        logger.warning("first")
    with pytest.raises(InputError, match="bad"):
        fail_in(tmp_path)
    logger.warning("outside")
    lines = [line.split(": ", 1)[1] for line in (tmp_path / LOG).read_text().splitlines()]
    assert lines[0] == lines[3]
    assert lines[0].startswith("begins: ")
    assert [lines[1], lines[2], *lines[4:]] == ["first", "ends", "second", "ends with InputError: bad input"]


def test_it_is_not_left_alone_in_a_folder(tmp_path):
    with pytest.raises(InputError), logged(tmp_path):
        raise InputError("before anything was written")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_to_ends_no_run(tmp_path):
    with logged(tmp_path / "nowhere"):
        pass
    (tmp_path / LOG).symlink_to("/dev/full")
    with logged(tmp_path):
        logger.warning("lost")
