"""What the benchmarks share: the events, the two-sample test, alternating processes, tables."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import resource
import subprocess
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))


def parser(description: str) -> ArgumentParser:
    """The flags of every benchmark: where the events are, where the results go."""
    result = ArgumentParser(description=description, formatter_class=RawDescriptionHelpFormatter)
    result.add_argument("--features_file", required=True, metavar="FILE", help="full-size events (.h5)")
    result.add_argument("--extra_bkg_file", required=True, metavar="FILE", help="extra SR background (.h5)")
    result.add_argument("--work_dir", default="benchmark_run/", metavar="DIR", help="folder for intermediate files")
    result.add_argument("--seed", type=int, default=1, metavar="N")
    return result


def separate(features_file: str, extra_bkg_file: str, outdir: Path, seed: int) -> None:
    """Stage 1, if it has not been run into `outdir` already."""
    from run_data_preparation_LHCORD import Options, stage
    from workflow.stage import run_stage

    if not (outdir / "mjj_spectrum.png").exists():
        options = Options(features_file=Path(features_file), extra_bkg_file=Path(extra_bkg_file), outdir=outdir, seed=seed)
        run_stage(stage(options), resume=False)


def classifier_arrays(folder: Path, seed: int, mode: Any, **options: Any) -> Any:
    """A mode's arrays without logit, and inputs, target and balanced weight of its training and validation events."""
    from background.options import ArraysOptions, LearningOptions
    from events.regions import EventSource

    options = ArraysOptions(data_dir=folder, seed=seed, separate_val_set=True, no_extra_signal=True, oversampling=True, **options)
    (arrays,) = mode.build(EventSource(options), options)
    arrays = arrays.preprocessed(use_logit=False, fiducial_cut=False)
    return arrays, mode.training_sets(arrays, LearningOptions(use_class_weights=True, separate_val_set=True))


def run_all(checkout: Path, *flags: Any) -> float:
    """A checkout's `run_all.py` in one thread; its processor time, and that of the processes it started (s)."""
    command = [sys.executable, "run_all.py", *(str(flag) for flag in flags)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    process = subprocess.Popen(command, cwd=checkout, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{checkout}: {command} failed")
    return usage.ru_utime + usage.ru_stime


def script(name: str, *flags: Any) -> None:
    """Run a script of this checkout; its log goes to stderr."""
    subprocess.run([sys.executable, str(ROOT / name), *(str(flag) for flag in flags)], cwd=ROOT, check=True, stdout=sys.stderr)


def alternate(commands: Sequence[Sequence[str]]) -> list[list[dict[str, Any]]]:
    """Run workers in one process each, step by step in turn; every step is a line of JSON on stdout, asked for by a line on stdin."""
    processes = [
        subprocess.Popen([sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for command in commands
    ]
    answers: list[list[dict[str, Any]]] = [[] for _ in processes]
    running = set(range(len(processes)))
    while running:
        for i in sorted(running):
            with contextlib.suppress(BrokenPipeError):  # its last step is done
                processes[i].stdin.write("go\n")
                processes[i].stdin.flush()
            line = processes[i].stdout.readline()
            if line:
                answers[i].append(json.loads(line))
                sys.stderr.write(f"{Path(commands[i][0]).name} {commands[i][1]}: {line}")
            else:
                running.discard(i)
                if processes[i].wait():
                    raise RuntimeError(f"{commands[i]} ended with {processes[i].returncode}")
    return answers


def wait_for_turn() -> None:
    """In a worker: block until it is its turn."""
    sys.stdin.readline()


def report(answer: dict[str, Any]) -> None:
    """In a worker: end of the step."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def peak_memory() -> float:
    """Largest resident memory of this process so far (MB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def write(name: str, results: dict[str, Any], rows: Sequence[tuple[str, ...]]) -> None:
    """Print the table, and write the JSON beside the scripts."""
    results |= {
        "date": date.today().isoformat(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in ("torch", "nflows", "numpy", "scikit-learn")},
    }
    (HERE / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    sys.stdout.write("\n".join(lines) + "\n")


def seconds_to_reach(target: float, steps: Sequence[dict[str, Any]]) -> float:
    """Summed seconds until a step's validation loss is at most `target`; NaN if none is."""
    total = 0.0
    for step in steps:
        total += step["seconds"]
        if step["val_loss"] <= target:
            return total
    return float("nan")


def steps_of(answers: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Those answers that are training epochs."""
    return (answer for answer in answers if "val_loss" in answer)
