"""What a scan does once its runs are known: tasks, cluster, table, figure, and how it ends."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.errors import InputError, MachineError
from plots.scan import Band, against_axis
from plots.style import save
from workflow.scan.clusters import Place
from workflow.scan.driver import Scan, check_workers
from workflow.scan.grid import Grid, Run, is_seed
from workflow.scan.results import CSV, FIGURE, Row, Table
from workflow.scan.tasks import Resolver, Task, Unit, tasks_of

logger = logging.getLogger(__name__)

QUANTITIES = {
    "max_sic": "max SIC",
    "merit.sic_at_0.01.value": r"SIC at $\epsilon_B = 10^{-2}$",
    "merit.sic_at_0.001.value": r"SIC at $\epsilon_B = 10^{-3}$",
    "global.z": "largest local significance (σ)",
    "global.global_z": "global significance (σ)",
}
SHOWN_REASONS = 5


def do_scan(outdir: Path, runs: Sequence[Run], units: Mapping[str, Sequence[Unit]], place: Place, resolve: Resolver) -> Table:
    """Do all runs where there are workers; the table, which is on disk as well."""
    table = Table(outdir, runs)
    scan = Scan(runs, tasks_of_all(runs, units), place.retries, table)
    n_tasks = sum(len(tasks) for tasks in scan.tasks.values())
    logger.info("%d runs, %d shared stages, %d tasks", len(table.of_runs), len(runs) - len(table.of_runs), n_tasks)
    try:
        with place.client() as client:
            check_workers(client)
            scan.do(client, resolve)
    finally:
        table.write()
    return table


def tasks_of_all(runs: Sequence[Run], units: Mapping[str, Sequence[Unit]]) -> dict[str, list[Task]]:
    """The tasks of every run, by its name."""

    def last_of(name: str) -> list[str]:
        return [f"{name}: {units[name][-1].name}"]

    return {run.name: tasks_of(run, units[run.name], last_of) for run in runs}


def figure_axis(grid: Grid, wanted: str | None) -> str | None:
    """The axis of the figure: the one that is wanted, else the first with several numbers, else with several values; never the seed.

    Raises
    ------
    InputError
        If the grid has no such axis.
    """
    if wanted is not None and wanted not in grid.axes:
        raise InputError(f"--against {wanted}: must be an axis of {grid.path}: {', '.join(grid.axes)}")
    several = [name for name, values in grid.axes.items() if len(values) > 1 and not is_seed(name)]
    numeric = [name for name in several if _is_numeric(grid, name)]
    return wanted or next(iter((*numeric, *several)), None)


def _is_numeric(grid: Grid, axis: str) -> bool:
    return all(isinstance(value, (int, float)) for value in grid.axes[axis])


def bands(rows: Sequence[Row], grid: Grid, axis: str, quantity: str) -> dict[str, Band]:
    """Median and central 68 % of a result over the seeds, against an axis, for every value of the other axes.

    Where an axis has no numbers, x counts its values.
    """
    values: dict[str, dict[float, list[float]]] = {}
    for row in rows:
        if isinstance(value := row.results.get(quantity), (int, float)):
            others = [f"{name} = {each}" if isinstance(each, (int, float)) else str(each)
                      for name, each in row.run.settings.items() if name != axis and not is_seed(name)]  # fmt: skip
            at = row.run.settings[axis]
            x = float(at) if _is_numeric(grid, axis) else float(grid.axes[axis].index(at))
            values.setdefault(", ".join(others), {}).setdefault(x, []).append(value)
    return {name: Band.of(points) for name, points in values.items()}


def draw(table: Table, grid: Grid, axis: str | None) -> None:
    """Draw SICs, or the significance of searches, against the axis, as far as there are results; or say why there is no figure."""
    if axis is None:
        logger.info("no figure: the grid has no axis with several values, but for the seed")
        return
    found = {label: each for name, label in QUANTITIES.items() if (each := bands(table.of_runs, grid, axis, name))}
    if found:
        ticks = () if _is_numeric(grid, axis) else tuple(map(str, grid.axes[axis]))
        save(against_axis(found, axis, ticks), table.folder / FIGURE)
        logger.info("figure: %s", table.folder / FIGURE)
    else:
        logger.info("no figure: no run has a result that is drawn (%s)", ", ".join(QUANTITIES))


def end(table: Table) -> None:
    """Say what came out.

    Raises
    ------
    InputError, MachineError
        If runs failed: for what they were given, or only by faults of machines, which the same command may overcome.
    """
    failed, n = table.failed(), len(table.rows)
    logger.info("table: %s", table.folder / CSV)
    if not failed:
        logger.info("all of %d runs and shared stages are done", n)
        return
    for row in failed[:SHOWN_REASONS]:
        logger.error("%s: %s", row.run, row.reason)
    text = f"{len(failed)} of {n} runs and shared stages are not done, {table.folder / CSV} says why"
    if all(row.is_machine for row in failed):
        raise MachineError(f"{text}; the same command tries them again")
    raise InputError(text)
