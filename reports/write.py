"""Which page a folder has, and where it is written."""

from __future__ import annotations

import logging
from pathlib import Path

from common.errors import InputError
from reports.folder import RunFolder
from reports.run import run_page
from reports.search import CURVE, SEARCH, search_page

logger = logging.getLogger(__name__)

REPORT = "report.html"
OF_DAMAGE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)  # where a file holds something else than is written


def write_report(folder: Path) -> Path:
    """Write report.html into a folder of results; returns where it is.

    Raises
    ------
    InputError
        If there is no STAGE.json, if it is of separated events only, or if it or a file beside it is damaged.
    """
    path = Path(folder) / REPORT
    try:
        records = RunFolder.read(folder).records.keys()
        if records == {"separation"}:
            raise InputError(f"{folder}: holds separated events, and no results")
        is_search = {SEARCH, CURVE} & records
        page = search_page(folder) if is_search else run_page(folder)
        page.write(path)
    except InputError:
        raise
    except OF_DAMAGE as error:
        raise InputError(f"{folder}: STAGE.json or a file beside it is damaged ({error!r})") from error
    logger.info("report: %s", path)
    return path


def try_report(folder: Path) -> None:
    """Write it at the end of a run, whose results are there without it: whatever goes wrong is only a warning."""
    try:
        write_report(folder)
    except Exception as error:
        logger.warning("no report: %s", error)
        logger.debug("where that was", exc_info=True)
