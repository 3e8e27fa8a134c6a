"""Small runs on the bundled sample, for the figures of plotting_notebook.ipynb where nobody has listed others.

    python demos/utils/small_runs.py

Runs the scripts of the project as their users do. Runs that are there are not done again; what is missing or changed is.
"""

from __future__ import annotations

import logging
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from common.files import write_whole  # noqa: E402
from common.progress import progress  # noqa: E402
from workflow.records import changed_output, read_records  # noqa: E402

FOLDER = ROOT / "sample_run" / "paper"
SEED = ["--seed", "1"]
SAMPLE = ["--features_file", "sample_data/events.features.h5", "--extra_bkg_file", "sample_data/extra_inneronly.features.h5"]
SMALL = ["--preset", "paper", "--DE_epochs", "8", "--cf_epochs", "10", "--cf_n_runs", "3", *SEED]
S_OVER_B, SHIFT = (0.01, 0.03, 0.06), 0.1
MIDDLE = S_OVER_B[1]
N_SAMPLES, FEWER_SAMPLES = 40_000, (5_000, 20_000)
BORROWERS = ("CATHODE", "LaCATHODE")  # of ANODE's sideband flow
OTHERS = ("CWoLa", "idealized_AD")


def small_runs(folder: Path = FOLDER) -> Path:
    """Do all runs that are not done, and write the list of their folders; returns its path.

    Raises
    ------
    RuntimeError
        If a script fails, with its last line.
    """
    path = folder / "runs.yml"
    todo = [command for command in commands(folder) if not is_done(command)]
    for command in progress("small runs", "run", len(todo), iterable=todo):
        done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip().splitlines()[-1:]}")
    content = yaml.safe_dump(run_list(), allow_unicode=True)
    write_whole(path, lambda partial: partial.write_text(content, encoding="utf-8"))
    return path


def is_done(command: list[str]) -> bool:
    """Whether this very command was the last one to fill its folder, and all that it wrote is still there."""
    folder = Path(command[1 + max(i for i, word in enumerate(command) if word in ("--outdir", "--save_dir"))])
    records = read_records(folder)
    last = records.get("evaluation") or records.get("separation") or {}
    as_it_was = all(changed_output(folder, record) is None for record in records.values())
    return as_it_was and last.get("command") == shlex.join(command)


def run_list() -> dict[str, Any]:
    """The folders of the runs by what they are for, as workflow/paper.py reads them."""
    return {
        "sample": "bundled sample (sample_data/), small runs that say nothing about the methods",
        "figures": "figures",
        "modes": f"SB{MIDDLE:g}/*/",
        "s_over_b": [f"SB{value:g}/{mode}/" for value in S_OVER_B for mode in ("ANODE", *BORROWERS, *OTHERS)],
        "shifted": [f"SB{MIDDLE:g}/*/", f"shift{SHIFT:g}/*/"],
        "n_samples": [f"SB{MIDDLE:g}/CATHODE/", "n_samples*/CATHODE/"],
    }


def commands(folder: Path) -> Iterator[list[str]]:
    """Every command line; ANODE's sideband flow serves CATHODE and LaCATHODE as well."""
    for value in S_OVER_B:
        data = folder / f"separated_SB{value:g}"
        yield ["run_data_preparation_LHCORD.py", *SAMPLE, "--S_over_B", f"{value:g}", "--outdir", str(data), *SEED]
        more = ("supervised",) if value == MIDDLE else ()
        yield from _modes(folder / f"SB{value:g}", data, (*OTHERS, *more))
    data = folder / f"separated_SB{MIDDLE:g}"
    yield from _modes(folder / f"shift{SHIFT:g}", data, OTHERS, "--datashift", f"{SHIFT:g}")
    for n in FEWER_SAMPLES:
        yield _run("CATHODE", data, folder / f"n_samples{n}", n, "--DE_dir", str(folder / f"SB{MIDDLE:g}" / "ANODE"))


def _modes(folder: Path, data: Path, others: tuple[str, ...], *flags: str) -> Iterator[list[str]]:
    yield _run("ANODE", data, folder, N_SAMPLES, *flags)
    for mode in BORROWERS:
        yield _run(mode, data, folder, N_SAMPLES, "--DE_dir", str(folder / "ANODE"), *flags)
    for mode in others:
        yield _run(mode, data, folder, N_SAMPLES, *flags)


def _run(mode: str, data: Path, folder: Path, n_samples: int, *flags: str) -> list[str]:
    places = ["--mode", mode, "--data_dir", str(data), "--save_dir", str(folder / mode)]
    return ["run_all.py", *places, *SMALL, "--cf_n_samples", str(n_samples), *flags]


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    small_runs()
