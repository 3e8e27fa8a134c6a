"""Scripts in processes of their own, which a test can kill: forked from a server that has imported everything already."""

from __future__ import annotations

import importlib
import io
import json
import multiprocessing
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from toys import ROOT

SCRIPTS = ("run_all", "run_scan", "run_data_preparation", "run_data_preparation_LHCORD",
           "run_ANODE_training", "run_classifier_data_creation",
           "run_classifier_training", "run_ANODE_evaluation")  # fmt: skip
LIBRARIES = (
    "torch",
    "torch._dynamo",
    "matplotlib.backends.backend_agg",
    "workflow.checks",
    "workflow.plan",
    "events.preparation",
    "events.separation",
    "background.lacathode",
    "models.classifier",
    "models.flow",
    "evaluation_utils",
)


@dataclass
class Script:
    """A script that runs elsewhere."""

    process: multiprocessing.Process
    answer: Connection

    def end(self) -> tuple[int, str]:
        """Wait for it; exit code (-N: killed by signal N) and what it wrote to stderr."""
        text = ""
        if self.answer.poll(120):
            try:
                code, text = self.answer.recv()
            except EOFError:
                code = None
        self.process.join(120)
        return (self.process.exitcode if self.process.exitcode else code), text


def _run(answer: Connection, script: str, argv: Sequence[str], largest_file: int | None, checkpoint_seconds: float) -> None:
    from common.script import run_script
    from models.training import checkpoints

    sys.stderr = io.StringIO()
    checkpoints.SECONDS_BETWEEN_CHECKPOINTS = checkpoint_seconds
    if largest_file is not None:  # as on a full disk, writing more is an error
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    module, code = importlib.import_module(script), 0
    try:
        run_script(module.main, module.__doc__, module.Options, argv)
    except SystemExit as ending:
        code = ending.code
    except BaseException:
        code = 1
        traceback.print_exc()
    answer.send((code, sys.stderr.getvalue()))


@contextmanager
def server() -> Iterator[multiprocessing.context.BaseContext]:
    """What starts processes in a few milliseconds, with one thread each."""
    os.environ |= {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*SCRIPTS, *LIBRARIES])
    yield context


def start(
    context: multiprocessing.context.BaseContext,
    script: str,
    *argv: object,
    largest_file: int | None = None,
    checkpoint_seconds: float = 0.1,
) -> Script:
    """Begin a script; checkpoints are written far more often than in earnest."""
    mine, theirs = context.Pipe()
    argv = [*argv, "--no_report"] if script == "run_all" else argv
    arguments = (theirs, script, [str(argument) for argument in argv], largest_file, checkpoint_seconds)
    process = context.Process(target=_run, args=arguments, daemon=False)  # daemons could not start processes themselves
    process.start()
    theirs.close()
    return Script(process, mine)


def wait_for(path: Path, seconds: float = 60) -> None:
    """Until the file exists."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} never came"
        time.sleep(0.002)


INCIDENTAL = ("start", "end", "command", "resumed", "read_from")  # parts of a record that do not belong to the result


def contents(folder: Path) -> dict[str, bytes | dict]:
    """Every file below the folder with its bytes, but for the log; of STAGE.json all but times, command and folders."""
    found: dict[str, bytes | dict] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "run.log":
            name = path.relative_to(folder).as_posix()
            found[name] = path.read_bytes()
            if path.name == "STAGE.json":
                records = json.loads(found[name])
                found[name] = {key: {**record, **dict.fromkeys(INCIDENTAL)} for key, record in records.items()}
    return found
