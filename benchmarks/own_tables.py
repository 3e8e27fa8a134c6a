"""Own tables: the same events as ROOT, parquet, csv, HDF5 and .npy, read by run_data_preparation.py; seconds and peak memory.

    python benchmarks/own_tables.py --data_dir separated_data/ --n_events 1000000
    python benchmarks/own_tables.py --data_dir separated_data/ --n_events 10000000 --formats parquet
    python benchmarks/own_tables.py --data_dir separated_data/ --only_write            # the events of data.npy as they are, once

The events are those of data.npy of an LHC Olympics folder, with masses in GeV, other names and the label as a column `truth` that
nobody reads; repeated, with a little noise on every feature, until there are so many.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

import measuring
import numpy as np

FORMATS = ("root", "parquet", "csv", "h5", "npy")
NAMES = ("m_jj", "mj1", "dmj", "t21_1", "t21_2", "truth")
IN_GEV = NAMES[:3]
FLAGS = ("--resonant", "m_jj", "--features", ",".join(NAMES[1:5]), "--SR_min", "3300", "--SR_max", "3700", "--unit",
         *(f"{name}=GeV" for name in IN_GEV), "--seed", "1")  # fmt: skip
CHUNK = 10**6
IMPORTS = "import events.preparation, events.separation, events.tables, workflow.separation, workflow.stage"


def events(data: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """So many events [n, 6], float32: the given ones, then the same again with noise of 1 % of every column's width."""
    repeated = data[np.arange(n) % len(data)].copy()
    spread = data[:, 1:-1].std(axis=0)
    noise = rng.normal(size=(max(n - len(data), 0), data.shape[1] - 2)) * 0.01 * spread
    repeated[len(data) :, 1:-1] += noise.astype(np.float32)
    repeated[:, : len(IN_GEV)] *= 1000
    return repeated


def write_table(path: Path, data: np.ndarray, n: int) -> None:
    """So many events as a table of the kind that the ending says, a million at a time."""
    import h5py
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq
    import uproot

    rng = np.random.default_rng(0)
    if path.suffix == ".npy":
        np.save(path, events(data, n, rng)[:, : len(NAMES)])
        return
    columns = dict(zip(NAMES, events(data, n, rng).T, strict=True))
    starts = range(0, n, CHUNK)
    if path.suffix == ".root":
        with uproot.recreate(path) as file:
            file.mktree("events", {name: values.dtype for name, values in columns.items()})
            for start in starts:
                file["events"].extend({name: values[start : start + CHUNK] for name, values in columns.items()})
    elif path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path, row_group_size=CHUNK)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            for name, values in columns.items():
                file.create_dataset(name, data=values, chunks=True, compression="lzf")
    else:
        for start in starts:
            part = pd.DataFrame({name: values[start : start + CHUNK] for name, values in columns.items()})
            part.to_csv(path, index=False, mode="a" if start else "w", header=not start)


def measured(command: list[str], cwd: Path) -> tuple[float, float]:
    """Seconds and peak resident memory (MB) of a command."""
    begin, environment = time.monotonic(), os.environ | {"MPLBACKEND": "Agg"}
    process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    message = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{command} failed: {message[-500:]}")
    return time.monotonic() - begin, usage.ru_maxrss / 1e3


def main() -> None:
    """Write every table, read it, print and store what it took."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True, type=Path, help="separated LHC Olympics events, with data.npy")
    parser.add_argument("--n_events", type=int, metavar="N", help="default: as many as there are")
    parser.add_argument("--formats", nargs="+", default=FORMATS, choices=FORMATS)
    parser.add_argument("--work_dir", type=Path, default=Path("benchmark_run/"), metavar="DIR")
    parser.add_argument("--only_write", action="store_true", help="do not read them")
    options = parser.parse_args()
    options.work_dir.mkdir(parents=True, exist_ok=True)
    data = np.load(options.data_dir / "data.npy")
    n = options.n_events or len(data)
    imports = measured([sys.executable, "-c", IMPORTS], measuring.ROOT)[1]
    rows: list[tuple[str, ...]] = [("table", "events", "file (MB)", "seconds", "peak above the imports (MB)", "output (MB)")]
    results: dict[str, object] = {"imports_MB": imports, "events": n}
    for ending in options.formats:
        path, out = options.work_dir / f"events_{n}.{ending}", options.work_dir / f"separated_{n}_{ending}"
        write_table(path, data, n)
        if options.only_write:
            continue
        columns = ["--columns", ",".join(NAMES)] if ending == "npy" else []
        command = [sys.executable, "run_data_preparation.py", "--input", str(path.resolve()), *FLAGS, *columns]
        seconds, peak = measured([*command, "--outdir", str(out.resolve())], measuring.ROOT)
        written = sum(file.stat().st_size for file in out.glob("*.npy")) / 1e6
        size = path.stat().st_size / 1e6
        results[ending] = {"file_MB": size, "seconds": seconds, "peak_MB": peak, "output_MB": written}
        rows.append((ending, f"{n}", f"{size:.0f}", f"{seconds:.1f}", f"{peak - imports:.0f}", f"{written:.0f}"))
        sys.stderr.write(json.dumps({ending: results[ending]}) + "\n")
    if not options.only_write:
        measuring.write(f"tables_{n}", results, rows)


if __name__ == "__main__":
    main()
