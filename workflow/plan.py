"""The plan of a run: which stages are done, which are skipped, and whether what is skipped may be used."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from common.errors import InputError
from workflow.records import changed_output, fingerprints, other_input, read_records
from workflow.stage import Stage, interrupted, out_of_date, perform

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """A stage of a run, and whether its outputs are to be used as they are."""

    stage: Stage
    is_skipped: bool = False


def do_steps(steps: Sequence[Step], *, force: bool, resume: bool) -> None:
    """Do those stages that are neither skipped nor up to date; all others, too, with `force`. Their folder must be locked."""
    for step in steps:
        if step.is_skipped:
            check_skipped(step.stage)
            logger.info("%s: skipped", step.stage.name)
    for stage in (step.stage for step in steps if not step.is_skipped):
        reason = "--force" if force else out_of_date(stage)
        if reason is None:
            logger.info("%s: up to date", stage.name)
            shutil.rmtree(stage.unfinished, ignore_errors=True)
        else:
            logger.info("%s: %s", stage.name, reason)
            perform(stage, resume=resume)


def check_skipped(stage: Stage) -> None:
    """Refuse what is in the folder, and is to be used instead of doing the stage, if it does not fit to this run.

    Raises
    ------
    InputError
        If it was made with other options that matter or from other files, or if outputs of different runs were mixed.
    """
    records = read_records(stage.folder)
    record = records.get(stage.name)
    if record is None:
        files = {
            path.relative_to(stage.folder).as_posix() for pattern in stage.output_patterns for path in stage.folder.glob(pattern)
        }
        owners = [name for name, other in records.items() if files & other["outputs"].keys()]
        if owners and files <= {output for name in owners for output in records[name]["outputs"]}:
            raise InputError(f"{stage.folder}: {stage.name} cannot be skipped, the files there are those of {', '.join(owners)}")
        logger.warning("%s: no record of %s, so nobody can say whether it fits", stage.folder, stage.name)
        return
    inputs = fingerprints([path for path in stage.inputs() if path.is_file()], stage.folder)
    in_both = inputs.keys() & record["inputs"].keys()
    reason = (
        stage.other_settings(record, stage.must_match)
        or other_input(*({name: files[name] for name in in_both} for files in (record["inputs"], inputs)))
        or changed_output(stage.folder, record, may_be_absent=True)
    )
    if reason:
        raise InputError(f"{stage.folder}: {stage.name} cannot be skipped, it does not fit: {reason}")
    names = sorted((record["options"].keys() | stage.settings["options"].keys()) - {"seed"})
    others = [text for name in names if (text := stage.other_settings(record, [name]))]
    if others:
        logger.warning("%s is used as it is, though %s", stage.name, "; ".join(others))


def _remains(stage: Stage, resume: bool) -> str:
    """What will become of an interrupted training, in words to append; empty where there is none."""
    begun = interrupted(stage.unfinished)
    if begun is None:
        return ""
    if not resume:
        return "; an interrupted training will be discarded, --resume would go on with it"
    reason = stage.other_settings(begun)
    return (
        f"; will be refused, an interrupted training cannot go on: {reason}"
        if reason
        else "; goes on with an interrupted training"
    )


def describe(steps: Sequence[Step], *, force: bool, resume: bool) -> str:
    """The plan of a run, a few lines for every stage: what it reads and writes, and whether it will be done.

    Raises
    ------
    InputError
        If what is skipped does not fit.
    """
    lines, waits_for = [], set()
    for step in steps:
        stage = step.stage
        earlier = [name for name in stage.after if name in waits_for]
        if step.is_skipped:
            check_skipped(stage)
            state = "skipped, as asked for"
        elif force:
            state = "to do: --force"
        else:
            reason = out_of_date(stage, inputs_are_known=not earlier)
            if earlier and reason is None:
                state = f"to do, if its inputs become others: {', '.join(earlier)} will be done"
            else:
                state = "up to date" if reason is None else f"to do: {reason}"
        if not step.is_skipped and state != "up to date":
            waits_for.add(stage.name)
            state += _remains(stage, resume)
        inputs = [str(path) for path in stage.inputs() if path.is_file()] + [f"what {name} writes" for name in earlier]
        lines += [
            f"{stage.name}: {state}",
            f"  reads  {', '.join(inputs)}",
            f"  writes {stage.folder}/: {', '.join(stage.output_patterns)}",
        ]
    return "\n".join(lines) + "\n"
