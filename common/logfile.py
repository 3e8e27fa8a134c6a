"""run.log: what a run has said, kept in its folder."""

from __future__ import annotations

import contextlib
import logging
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

LOG = "run.log"
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
NOISY = ("matplotlib", "fontTools", "PIL", "h5py", "numexpr")  # loggers of others, of which only warnings are of interest


class QuietFile(logging.FileHandler):
    """A file that is no reason to end a run: where the disk is full, lines are lost."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing."""


@contextlib.contextmanager
def logged(folder: Path) -> Iterator[None]:
    """Append all that is logged within to run.log in a folder that is there, and how it ends.

    Where nothing else was written into the folder, the file is removed: an empty folder stays empty.
    """
    path, root = Path(folder) / LOG, logging.getLogger()
    is_new = not path.exists()
    try:
        handler = QuietFile(path, encoding="utf-8")
    except OSError:  # whoever needs the folder will say why
        yield
        return
    handler.setFormatter(logging.Formatter(FORMAT))
    root.addHandler(handler)

    def note(text: str) -> None:
        level = logging.INFO
        handler.emit(logging.LogRecord(__name__, level, __file__, 0, text, None, None))

    try:
        note(f"begins: {shlex.join(sys.argv)}")
        yield
        note("ends")
    except BaseException as error:
        note(f"ends with {type(error).__name__}: {error}")
        raise
    finally:
        root.removeHandler(handler)
        with contextlib.suppress(OSError):
            handler.close()
        others = [other.name for other in path.parent.iterdir() if other.name not in (LOG, ".lock")]
        if is_new and not others:
            path.unlink(missing_ok=True)
