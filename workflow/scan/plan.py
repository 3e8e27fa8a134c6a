"""What a scan would do: which stages are up to date, and how long the rest would take, from the records of earlier ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median

from common.durations import duration
from common.errors import InputError
from common.progress import progress
from workflow.records import read_records
from workflow.scan.grid import Run
from workflow.scan.tasks import UP_TO_DATE, Unit
from workflow.stage import Stage, interrupted, out_of_date


@dataclass
class Planned:
    """What would become of a run.

    Attributes
    ----------
    to_do : list of str
        Its stages that would be done.
    why : str
        The reason for the first of them; or what the run would be refused for.
    """

    run: Run
    to_do: list[str] = field(default_factory=list)
    why: str = ""
    is_refused: bool = False

    @property
    def state(self) -> str:
        """In a word or two."""
        return "will fail" if self.is_refused else f"{len(self.to_do)} to do" if self.to_do else UP_TO_DATE


@dataclass
class Plan:
    """What would become of a scan, and the seconds that its stages took where they have been done: by command and stage."""

    planned: list[Planned] = field(default_factory=list)
    seconds: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    @classmethod
    def of(cls, runs: Sequence[Run], units: Mapping[str, Sequence[Unit]]) -> Plan:
        """Look at every folder; hashes all files, as the scan would do."""
        plan, stale = cls(), set()
        for run in progress("looking", "run", iterable=runs, total=len(runs)):
            found = plan._of_run(run, units[run.name], [name for name in run.needs if name in stale])
            plan.planned.append(found)
            if found.to_do or found.is_refused:
                stale.add(run.name)
        return plan

    def _of_run(self, run: Run, units: Sequence[Unit], waits_for: Sequence[str]) -> Planned:
        found = Planned(run)
        for unit in units:
            earlier = [name for name in unit.after if name in found.to_do]
            try:
                if waits_for or earlier:
                    reason: str | None = f"after {(*waits_for, *earlier)[0]}"
                else:
                    step = unit.step()
                    reason = None if step is None or step.is_skipped else out_of_date(step.stage)
                    if reason is not None:
                        unit.check()
                        step.stage.inputs()  # stage 1 refuses files that are absent
                        if interrupted(step.stage.unfinished):
                            reason += "; an interrupted training is there"
                    elif step is not None:
                        self._note(run, unit, step.stage)
            except InputError as error:
                found.is_refused, reason = True, str(error)
            if reason is not None:
                found.why = found.why or reason
                found.to_do.append(unit.name)
        return found

    def _note(self, run: Run, unit: Unit, stage: Stage) -> None:
        """Keep how long a stage took, if it was not interrupted."""
        record = read_records(stage.folder).get(stage.name, {})
        if "start" in record and "end" in record and not record.get("resumed"):
            took = datetime.fromisoformat(record["end"]) - datetime.fromisoformat(record["start"])
            self.seconds.setdefault((run.command, unit.name), []).append(took.total_seconds())

    def estimate(self) -> tuple[float | None, list[str]]:
        """Seconds of one worker for what is to do (None: nothing is known), and the stages that no record tells of."""
        known = {key: median(values) for key, values in self.seconds.items()}
        counts = Counter((each.run.command, name) for each in self.planned if not each.is_refused for name in each.to_do)
        unknown = list(dict.fromkeys(name for key in counts if key not in known for name in (key[1],)))
        total = sum(known[key] * n for key, n in counts.items() if key in known)
        return (total if any(key in known for key in counts) else None), unknown

    def describe(self, workers: int | None) -> str:
        """The table of runs, and the estimate."""
        width = max((len(each.run.name) for each in self.planned), default=0)
        lines = []
        for each in self.planned:
            kind = "shared " if each.run.is_shared else "run    "
            lines.append(f"{kind}{each.run.name:<{width}}  {each.state}" + (f": {each.why}" if each.why else ""))
        runs = [each for each in self.planned if not each.run.is_shared]
        n_done, n_stages = sum(each.state == UP_TO_DATE for each in runs), sum(len(each.to_do) for each in self.planned)
        n_shared = len(self.planned) - len(runs)
        lines.append(f"{len(runs)} runs, {n_shared} shared stages; {n_done} runs up to date, {n_stages} stages to do")
        seconds, unknown = self.estimate()
        if n_stages and seconds is None:
            lines.append("no estimate of the time: no stage of these has been done here before")
        elif n_stages:
            text = f"about {duration(seconds)} of one worker"
            if workers:
                text += f", {duration(seconds / workers)} of {workers}"
            lines.append(text + ", from the stages done here" + (f"; not known: {', '.join(unknown)}" if unknown else ""))
        return "\n".join(lines) + "\n"
