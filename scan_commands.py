"""The commands that a grid of run_scan.py may run, and their stages as the tasks of a scan.

Workers import this module: a task is a command, its flags and the name of a stage, from which `units_of` finds out what is to be done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import run_all
import run_ANODE_evaluation
import run_ANODE_training
import run_bump_hunt
import run_classifier_data_creation
import run_classifier_training
import run_data_preparation
import run_data_preparation_LHCORD
from common.errors import InputError
from common.options import parsed

if TYPE_CHECKING:
    from workflow.plan import Step
    from workflow.scan.tasks import Unit
    from workflow.search import Hunt

# By command the script, and its flag that says where it writes.
COMMANDS: dict[str, tuple[Any, str]] = {
    "run_all.py": (run_all, "save_dir"),
    "run_bump_hunt.py": (run_bump_hunt, "save_dir"),
    "run_data_preparation_LHCORD.py": (run_data_preparation_LHCORD, "outdir"),
    "run_data_preparation.py": (run_data_preparation, "outdir"),
    "run_ANODE_training.py": (run_ANODE_training, "savedir"),
    "run_classifier_data_creation.py": (run_classifier_data_creation, "savedir"),
    "run_classifier_training.py": (run_classifier_training, "savedir"),
    "run_ANODE_evaluation.py": (run_ANODE_evaluation, "savedir"),
}
FOLDER_FLAGS = {command: flag for command, (_, flag) in COMMANDS.items()}
NOT_IN_A_SCAN = ("force", "dry_run", "resume")  # a scan goes on by itself


def units_of(command: str, argv: Sequence[str]) -> list[Unit]:
    """The stages of a command; their names do not depend on files, so that they are known before anything runs.

    Raises
    ------
    InputError
        For flags that the command refuses.
    """
    script, _ = COMMANDS[command]
    options: Any = parsed(script.Options, argv)
    for name in NOT_IN_A_SCAN:
        if getattr(options, name, False):
            raise InputError(f"{options.flag(name)} has no place in a scan")
    if script is run_all:
        return _units_of_run(options)
    return _units_of_search(options) if script is run_bump_hunt else _units_of_stages(script, options)


def _chain(steps: Sequence[tuple[str, Callable[[], Step | None]]], check: Callable[[], object] = lambda: None) -> list[Unit]:
    """Units one after another; the first one checks."""
    from workflow.scan.tasks import Unit

    units: list[Unit] = []
    for name, step in steps:
        first = {"check": check} if not units else {"after": (units[-1].name,)}
        units.append(Unit(name, step, **first))
    return units


def _units_of_stages(script: Any, options: Any) -> list[Unit]:
    """A single stage, or the closure test and the training of stage 2."""
    from workflow.plan import Step

    makers = [script.closure_stage] if getattr(options, "closure", 0) else []
    stages = [make(options) for make in (*makers, script.stage)]
    return _chain([(stage.name, lambda stage=stage: Step(stage)) for stage in stages])


def _units_of_run(options: run_all.Options) -> list[Unit]:
    """The stages of run_all.py, and its evaluation."""
    from workflow.checks import check_results_are_of
    from workflow.plan import Step, check_skipped
    from workflow.search import quiet

    with quiet((run_all.__name__,)):  # what it says of the flags, it would say for every stage
        options = run_all.in_folder(options, options.save_dir)
    steps = run_all.plan(options)
    to_do = [step for step in steps if not step.is_skipped]

    def check() -> None:
        check_results_are_of(options.arrays.data_dir, [step.stage for step in to_do])
        run_all.check(options)
        for step in steps:
            if step.is_skipped:
                check_skipped(step.stage)

    last = run_all.evaluation(options, options.save_dir)
    units = _chain([(step.stage.name, lambda step=step: step) for step in (*to_do, Step(last))], check)
    return [*units[:-1], replace(units[-1], finish=_report(options))]


def _report(options: Any) -> Callable[[bool], object]:
    """Writes report.html where results are new, or where it is missing."""

    def finish(is_new: bool) -> None:
        from reports.write import REPORT, write_report

        if not options.no_report and (is_new or not (options.save_dir / REPORT).is_file()):
            write_report(options.save_dir)

    return finish


def _units_of_search(options: run_bump_hunt.Options) -> list[Unit]:
    """The stages of every window of run_bump_hunt.py, whose windows wait for nothing but themselves; then its fits."""
    from workflow.plan import Step
    from workflow.scan.tasks import Unit

    if len(options.inject) > 1:
        raise InputError(f"{options.flag('inject')}: one value for a run of a scan; several are an axis")
    save_dir = options.save_dir
    n_windows = options.n_windows if options.is_scan else 1
    nowhere = save_dir / "window" / "separated_data"
    shared = None if options.arrays.DE_dir is None else options.arrays.DE_dir / "window"
    of_mode = [step.stage.name for step in run_all.plan(run_bump_hunt.run_in(options, nowhere, nowhere.parent, shared))]

    def hunt() -> Hunt:
        return run_bump_hunt.searches(options, save_dir)[0]

    def of_window(number: int, name: str) -> Step | None:
        search = hunt()
        if number >= len(search.windows[0]):
            return None  # a window without room for a fit
        window = search.windows[0][number]
        separation = search.separation(window)
        if name == separation.name:
            return Step(separation)
        steps = search.steps_of(separation.folder, search.folder_of(window))
        return next(step for step in steps if step.stage.name == name)

    units: list[Unit] = []
    for number in range(n_windows):
        stages = [
            (f"window {number + 1}, {name}", lambda number=number, name=name: of_window(number, name))
            for name in ("separation", *of_mode)
        ]
        units += _chain(stages)
    last_of_windows = tuple(unit.name for unit in units if unit.name.endswith(of_mode[-1]))
    return [*units, Unit("bump_hunt", lambda: Step(hunt().stage()), after=last_of_windows, finish=_report(options))]
