"""A grid of runs: any settings of run_all.py, run_bump_hunt.py or single stages, on all cores of a machine or on a batch farm.

    python run_scan.py scans/s_over_b.yml --outdir scan_s_over_b/                         # one worker for every core
    python run_scan.py scans/s_over_b.yml --outdir scan_s_over_b/ --dry_run               # what would be done, and how long it takes
    python run_scan.py scans/modes.yml --outdir scan_modes/ --small                       # in minutes, on the bundled sample
    python run_scan.py scans/s_over_b.yml --outdir scan_s_over_b/ --scheduler tcp://node7:8786
    python run_scan.py scans/s_over_b.yml --outdir scan_s_over_b/ --cluster slurm --cluster_config slurm.yml --workers 100

The same command again goes on where the last one ended: what is up to date is not done again, interrupted trainings go on. scan.csv and
scan.json in --outdir grow as runs end; every run has a folder there, with a log. docs/scale.md says more.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import scan_commands
from common.errors import InputError
from common.options import Options as AnyOptions
from common.options import not_negative, option, positive
from common.script import run_script

if TYPE_CHECKING:
    from workflow.scan.grid import Grid, Run
    from workflow.scan.tasks import Unit

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options(AnyOptions):
    """Options of a scan."""

    grid: Path = option(MISSING, "YAML file with the grid, see docs/scale.md", metavar="GRID.yml", positional=True)
    outdir: Path | None = option(
        None, "folder for all runs and the table", metavar="DIR", default_text="scan_GRID, scan_GRID_small with --small"
    )
    small: bool = option(False, "what the grid's key small makes of it: a few runs on the bundled sample, in minutes")
    dry_run: bool = option(False, "only say what would be done, what is up to date, and how long it would take")
    workers: int | None = option(
        None,
        "tasks at a time, each in a process of its own",
        check=positive,
        default_text="as many as cores; of a batch system 1",
    )
    threads: int = option(1, "threads that libraries may use in a worker; this project's estimators use one", check=positive)
    scheduler: str | None = option(None, "address of a Dask scheduler whose workers are used: tcp://HOST:PORT", metavar="ADDRESS")
    cluster: str | None = option(None, "batch system to which workers are submitted as jobs", choices=("slurm", "htcondor"))
    cluster_config: Path | None = option(None, "YAML file with the settings of the jobs, see docs/scale.md", metavar="FILE.yml")
    retries: int = option(2, "how often a task is tried again whose worker was lost, killed for example", check=not_negative)
    dashboard: str | None = option(None, "port of Dask's dashboard, as :8787; needs bokeh", metavar=":PORT")
    against: str | None = option(
        None, "axis of the figure", metavar="AXIS", default_text="the first with several numbers, but for the seed"
    )
    seed: int = option(1, "random seed of the runs whose flags have none", check=not_negative)
    verbose: bool = option(False, "log more")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scheduler is not None and (self.cluster, self.workers) != (None, None):
            raise InputError("--scheduler has its own workers: --cluster and --workers do not go with it")
        if self.cluster_config is not None and self.cluster is None:
            raise InputError("--cluster_config needs --cluster")


def main(options: Options) -> None:
    """Expand the grid, check every run's flags, then do what is not up to date, wherever there is a worker."""
    from workflow.records import locked
    from workflow.scan.clusters import Place
    from workflow.scan.grid import read_grid
    from workflow.scan.plan import Plan
    from workflow.scan.results import earlier_costs
    from workflow.scan.session import do_scan, draw, end, figure_axis

    name = f"scan_{options.grid.stem}{'_small' * options.small}"
    outdir = (options.outdir or Path(name)).resolve()
    grid = read_grid(options.grid, small=options.small)
    runs, units = expanded(grid, outdir, options.seed)
    axis = figure_axis(grid, options.against)
    place = Place(
        workers=options.workers,
        scheduler=options.scheduler,
        batch_system=options.cluster,
        config=options.cluster_config,
        threads=options.threads,
        retries=options.retries,
        dashboard=options.dashboard,
        logs=outdir / "jobs",
    )
    if options.dry_run:
        earlier_costs(outdir, [run.name for run in runs])  # refuses the folder of another grid
        sys.stdout.write(Plan.of(runs, units).describe(place.n_workers))
        return
    with locked(outdir):
        table = do_scan(outdir, runs, units, place, scan_commands.units_of)
        draw(table, grid, axis)
        end(table)


def expanded(grid: Grid, outdir: Path, seed: int) -> tuple[list[Run], dict[str, Sequence[Unit]]]:
    """All runs of a grid with a seed for each, and their units.

    Raises
    ------
    InputError
        With the run whose flags are wrong.
    """
    from workflow.scan.grid import expand

    runs, units = [], {}
    for run in expand(grid, outdir, scan_commands.FOLDER_FLAGS):
        if not any(text.startswith("--seed=") for text in run.argv):
            run = replace(run, argv=(*run.argv, f"--seed={seed}"))
        try:
            units[run.name] = scan_commands.units_of(run.command, run.argv)
        except InputError as error:
            raise InputError(f"{grid.path}: {run}: {run.command}: {error}") from error
        runs.append(run)
    return runs, units


if __name__ == "__main__":
    run_script(main, __doc__, Options)
