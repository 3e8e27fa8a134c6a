"""The report of a folder of results: report.html in it, one page that needs nothing else.

    python report.py CATHODE_results/
    python report.py CATHODE_search/

run_all.py and run_bump_hunt.py write it at their end. It reads STAGE.json and the arrays beside it, and says what is missing.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path

from common.options import ScriptOptions, option
from common.script import run_script


@dataclass(frozen=True, kw_only=True)
class Options(ScriptOptions):
    """Options of a report."""

    save_dir: Path = option(MISSING, "folder of results", metavar="SAVE_DIR", positional=True)


def main(options: Options) -> None:
    """Write it."""
    from reports.write import write_report

    write_report(options.save_dir)


if __name__ == "__main__":
    run_script(main, __doc__, Options)
