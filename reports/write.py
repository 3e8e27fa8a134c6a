"""Which page a folder has, and where it is written."""

from __future__ import annotations

import logging
from pathlib import Path

from reports.folder import RunFolder
from reports.run import run_page
from reports.search import CURVE, SEARCH, search_page

logger = logging.getLogger(__name__)

REPORT = "report.html"


def write_report(folder: Path) -> Path:
    """Write report.html into a folder of results; returns where it is.

    Raises
    ------
    InputError
        If there is no STAGE.json, or a damaged one.
    """
    is_search = {SEARCH, CURVE} & RunFolder.read(folder).records.keys()
    page = search_page(folder) if is_search else run_page(folder)
    path = Path(folder) / REPORT
    page.write(path)
    logger.info("report: %s", path)
    return path
