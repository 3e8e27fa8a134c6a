"""What scans cost: more workers and more threads on the same grid, and Dask itself on tasks that do nothing.

    python benchmarks/scan.py --features_file pythia_dijets.features.h5 --extra_bkg_file extra_inneronly.features.h5
    python benchmarks/scan.py --features_file F --extra_bkg_file E --only grid --share 1 --epochs 20
    python benchmarks/scan.py --features_file F --extra_bkg_file E --only faults     # after the grid

The grid: three values of S/B × two seeds × CATHODE and idealized_AD, on a third of the events, with two workers of one thread, one of
one, and one of two. The faults: the same grid, with two workers and then the command killed while they train, must end with the same
table and the same bytes in all scores. The tasks that do nothing: 1000, submitted to two workers as functions, and as tasks of a scan.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import measuring
import numpy as np
import pandas as pd
import yaml

from common.files import load_json
from workflow.scan.clusters import Place
from workflow.scan.driver import Scan
from workflow.scan.grid import Run
from workflow.scan.results import Table
from workflow.scan.session import tasks_of_all
from workflow.scan.tasks import Unit

PLACES = {"2 workers of 1 thread": (2, 1), "1 worker of 1 thread": (1, 1), "1 worker of 2 threads": (1, 2)}
N_TASKS = 1000


def share_of(path: Path, share: float, folder: Path) -> Path:
    """A file with so much of the events of another one, chosen at random."""
    target = folder / f"{share:.3g}_of_{path.name}"
    if share == 1 or target.exists():
        return path if share == 1 else target
    events = pd.read_hdf(path)
    rows = np.sort(np.random.default_rng(0).permutation(len(events))[: round(share * len(events))])
    events.iloc[rows].to_hdf(target, key="df", mode="w")
    return target


def write_grid(options: Any, work: Path) -> Path:
    """The grid of the comparison."""
    files = {name: str(share_of(Path(getattr(options, name)).resolve(), options.share, work))
             for name in ("features_file", "extra_bkg_file")}  # fmt: skip
    grid = {
        "stages": {"separated": {
            "command": "run_data_preparation_LHCORD.py", "folder": "separated/S_over_B_{S_over_B}_seed_{seed}",
            "flags": {**files, "S_over_B": "{S_over_B}", "seed": "{seed}"}}},
        "run": {"command": "run_all.py", "folder": "{method}/S_over_B_{S_over_B}_seed_{seed}", "flags": {
            "data_dir": "{separated}", "seed": "{seed}", "cf_separate_val_set": True, "no_extra_signal": True, "cf_no_logit": True,
            "cf_oversampling": True, "cf_use_class_weights": True, "cf_save_model": True, "cf_model": "hgb"}},
        "axes": {"S_over_B": [0.003, 0.006, 0.01], "seed": [1, 2], "method": {
            "CATHODE": {"mode": "CATHODE", "cf_n_samples": options.n_samples, "cf_realistic_conditional": True,
                        "DE_epochs": options.epochs},
            "idealized_AD": {"mode": "idealized_AD", "cf_extra_bkg": True}}},
    }  # fmt: skip
    path = work / "grid.yml"
    path.write_text(yaml.safe_dump(grid, sort_keys=False), encoding="utf-8")
    return path


def compare(options: Any) -> tuple[dict[str, Any], list[tuple[str, ...]]]:
    """Do the grid in every place."""
    work = Path(options.work_dir).resolve()
    work.mkdir(parents=True, exist_ok=True)
    grid, results = write_grid(options, work), {}
    rows: list[tuple[str, ...]] = [("where", "s", "task s, sum", "peak MiB of a worker", "shared stages done", "max SIC, median")]
    for name, (workers, threads) in PLACES.items():
        out, begin = work / name.replace(" ", "_"), time.monotonic()
        measuring.script("run_scan.py", grid, "--outdir", out, "--workers", workers, "--threads", threads)
        seconds, content = time.monotonic() - begin, load_json(out / "scan.json")
        everything = [*content["runs"], *content["shared"]]
        logs = [(out / row["run"] / "scan.log").read_text(encoding="utf-8").count("not done yet") for row in content["shared"]]
        results[name] = found = {
            "seconds": seconds,
            "task_seconds": sum(row["seconds"] for row in everything),
            "peak_mib": max(row["peak_mib"] for row in everything),
            "shared_stages_done": sum(logs),
            "shared_stages": len(logs),
            "runs": {row["run"]: {"max_sic": row["results"]["max_sic"], "seconds": row["seconds"]} for row in content["runs"]},
        }
        sic = float(np.median([row["max_sic"] for row in found["runs"].values()]))
        rows.append((name, f"{seconds:.0f}", f"{found['task_seconds']:.0f}", f"{found['peak_mib']}",
                     f"{sum(logs)} of {len(logs)}", f"{sic:.2f}"))  # fmt: skip
        sys.stderr.write(f"{rows[-1]}\n")
    return results, rows


def is_alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    with contextlib.suppress(OSError):
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


def trainings(folder: Path) -> list[int]:
    """Processes that hold the lock of a folder with a checkpoint."""
    found = []
    for checkpoint in folder.rglob(".checkpoint"):
        place = next(parent for parent in checkpoint.parents if parent.name.startswith(".unfinished_")).parent
        with contextlib.suppress(OSError, IndexError, ValueError):
            found.append(int((place / ".lock").read_text().split()[1]))
    return [pid for pid in found if is_alive(pid)]


def disturb(options: Any) -> tuple[dict[str, Any], list[tuple[str, ...]]]:
    """Kill workers that train, twice, then the command itself; repeat it, and compare with the undisturbed scan of `compare`."""
    work = Path(options.work_dir).resolve()
    whole, out = work / next(iter(PLACES)).replace(" ", "_"), work / "disturbed"
    command = [
        sys.executable,
        str(measuring.ROOT / "run_scan.py"),
        str(work / "grid.yml"),
        "--outdir",
        str(out),
        "--workers",
        "2",
    ]
    process, killed = subprocess.Popen(command, cwd=measuring.ROOT), []
    for victim in ("worker", "worker", "command"):
        while not (found := [pid for pid in trainings(out) if pid not in killed]):
            time.sleep(0.2)
        time.sleep(options.seconds_before_a_kill)
        os.kill(found[0] if victim == "worker" else process.pid, signal.SIGKILL)
        killed.append(found[0])
    process.wait()
    ends = time.monotonic()
    while any(is_alive(pid) for pid in trainings(out)):
        time.sleep(0.1)
    orphans = time.monotonic() - ends
    measuring.script("run_scan.py", work / "grid.yml", "--outdir", out, "--workers", 2)
    tables = [
        {row["run"]: (row["state"], row["results"]) for row in load_json(folder / "scan.json")["runs"]} for folder in (whole, out)
    ]
    scores = [{str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("preds_matris*.npy"))}
              for folder in (whole, out)]  # fmt: skip
    resumed = sum(path.read_text(encoding="utf-8").count("goes on where it was interrupted") for path in out.rglob("scan.log"))
    results = {"tables_equal": tables[0] == tables[1], "scores_equal": scores[0] == scores[1], "scores": len(scores[0]),
               "trainings_resumed": resumed, "seconds_of_orphans": orphans}  # fmt: skip
    return results, [tuple(results), tuple(str(value) for value in results.values())]


def nothing(command: str, argv: Sequence[str]) -> list[Unit]:
    """A command that has nothing to do."""
    return [Unit("nothing", lambda: None)]


def identity(x: int) -> int:
    """A function that does nothing."""
    return x


def memory_of_scheduler(dask_scheduler: Any) -> float:
    """Memory of the scheduler's process (MiB)."""
    return dask_scheduler.proc.memory_info().rss / 2**20


def overhead(options: Any) -> tuple[dict[str, Any], list[tuple[str, ...]]]:
    """Milliseconds for each of many tasks that do nothing, and the scheduler's memory (this process: client and scheduler)."""
    work = Path(options.work_dir).resolve() / "nothing"
    work.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str, ...]] = [(f"{options.n_tasks} tasks", "ms per task", "scheduler MiB before", "after")]
    results = {}
    runs = [Run(f"run{i}", work / f"run{i}", "nothing", (), {"i": i}) for i in range(options.n_tasks)]
    with Place(workers=2).client() as client:
        client.gather(client.map(identity, range(-20, 0)))  # workers are awake

        def measured(name: str, work: Any) -> None:
            before, begin = client.run_on_scheduler(memory_of_scheduler), time.monotonic()
            work()
            each, after = 1e3 * (time.monotonic() - begin) / options.n_tasks, client.run_on_scheduler(memory_of_scheduler)
            results[name] = {"ms_per_task": each, "scheduler_mib": [before, after]}
            rows.append((name, f"{each:.2f}", f"{before:.0f}", f"{after:.0f}"))

        measured("functions, one submit each", lambda: client.gather(
            [client.submit(identity, i, pure=False) for i in range(options.n_tasks)]))  # fmt: skip
        table = Table(work, runs)
        scan = Scan(runs, tasks_of_all(runs, {run.name: nothing(run.command, run.argv) for run in runs}), 2, table)
        measured("tasks of a scan, with log and table", lambda: scan.do(client, nothing))
    return results, rows


def main() -> None:
    """Measure, print and store."""
    parser = measuring.parser(__doc__)
    parser.add_argument("--only", choices=("grid", "faults", "overhead"), help="one of the three")
    parser.add_argument("--seconds_before_a_kill", type=float, default=2.0, help="from a training's first checkpoint on")
    parser.add_argument("--share", type=float, default=1 / 3, help="of the events")
    parser.add_argument("--n_samples", type=int, default=130_000, help="of CATHODE")
    parser.add_argument("--epochs", type=int, default=20, help="of the density estimator")
    parser.add_argument("--n_tasks", type=int, default=N_TASKS, help="that do nothing")
    options = parser.parse_args()
    for name, measure in {"grid": compare, "faults": disturb, "overhead": overhead}.items():
        if options.only in (None, name):
            results, rows = measure(options)
            measuring.write(f"scan_{name}", {"results": results}, rows)


if __name__ == "__main__":
    main()
