"""Several runs side by side, on one page, as figures and as CSV files.

    python compare_runs.py CATHODE_results/ CWoLa_results/ --out comparison/
    python compare_runs.py seed_1/ seed_2/ other/ --labels CATHODE CATHODE CWoLa --out comparison/
    python compare_runs.py scan_s_over_b/scan.csv --out comparison/

Runs of the same label are pooled: medians and 68 % bands are over runs and seeds. Differences between runs with the same test events have
errors from a joint bootstrap; runs with other test events are marked.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path

from common.options import FIGURE_FORMATS, ScriptOptions, option
from common.script import run_script


@dataclass(frozen=True, kw_only=True)
class Options(ScriptOptions):
    """Options of a comparison."""

    runs: tuple[Path, ...] = option(MISSING, "folders of results, or the scan.csv of a scan", metavar="RUN", positional=True)
    labels: tuple[str, ...] = option(
        (), "what the runs are called; the same label pools runs", default_text="names of the folders"
    )
    out: Path = option(MISSING, "folder for page, figures and CSV files", metavar="FOLDER")
    figures: str = option("png", "format of the figures", choices=FIGURE_FORMATS)


def main(options: Options) -> None:
    """Compare."""
    from reports.comparison import write_comparison

    write_comparison(options.runs, options.labels, options.out, options.figures)


if __name__ == "__main__":
    run_script(main, __doc__, Options)
