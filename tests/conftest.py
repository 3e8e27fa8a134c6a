"""Toy events in the form stage 1 writes, small configurations, and a way to run the scripts in this process."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch

matplotlib.use("Agg")
torch.set_num_threads(1)  # the tests' networks are tiny, and threads of several processes only wait for each other

ROOT = Path(__file__).parent.parent
SR = (3.3, 3.7)


def toy_background(n: int, rng: np.random.Generator, m: np.ndarray | None = None) -> np.ndarray:
    """Events [n, 6]: m_JJ (TeV), four features that depend on it a little, label 0."""
    if m is None:
        m = 2.5 + rng.exponential(0.8, n)
    x = rng.normal(size=(n, 4)) * [0.05, 0.1, 0.1, 0.1] + [0.3, 0.5, 0.5, 0.5]
    x[:, 0] += 0.02 * (m - 3.5)
    return np.column_stack([m, x, np.zeros(n)]).astype(np.float32)


def toy_signal(n: int, rng: np.random.Generator) -> np.ndarray:
    """Events [n, 6]: a resonance of 3.5 TeV that sits in a corner of the features, label 1."""
    m = np.clip(rng.normal(3.5, 0.05, n), 3.31, 3.69)
    x = rng.normal(size=(n, 4)) * [0.01, 0.03, 0.03, 0.03] + [0.35, 0.65, 0.35, 0.35]
    return np.column_stack([m, x, np.ones(n)]).astype(np.float32)


def write_toy(folder: Path, seed: int = 0, n_sr: int = 1500, n_signal: int = 60) -> Path:
    """All ten files of stage 1."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)

    def inner(n: int, n_sig: int) -> np.ndarray:
        background = toy_background(n, rng, rng.uniform(3.301, 3.699, n))
        return rng.permutation(np.concatenate([background, toy_signal(n_sig, rng)]))

    sideband = toy_background(9000, rng)
    sideband = sideband[(sideband[:, 0] < SR[0]) | (sideband[:, 0] > SR[1])]
    files = {
        "outerdata_train": sideband[:4000],
        "outerdata_test": sideband[4000:],
        "innerdata_train": inner(n_sr, n_signal),
        "innerdata_val": inner(n_sr, n_signal),
        "innerdata_test": inner(1000, 300),
        "innerdata_extrasig_train": toy_signal(300, rng),
        "innerdata_extrasig_val": toy_signal(300, rng),
        "innerdata_extrabkg_train": inner(n_sr, 0),
        "innerdata_extrabkg_val": inner(n_sr, 0),
        "innerdata_extrabkg_test": inner(200, 0),
    }
    for name, events in files.items():
        np.save(folder / f"{name}.npy", events)
    return folder


@pytest.fixture(scope="session")
def toy_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of separated toy events; not to be changed."""
    return write_toy(tmp_path_factory.mktemp("toy") / "separated_data")


@pytest.fixture
def toy_copy(tmp_path: Path) -> Path:
    """A folder of separated toy events to damage."""
    return write_toy(tmp_path / "separated_data", n_sr=200)


@pytest.fixture(scope="session")
def small_configs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """run_all flags for small networks and short trainings."""
    folder = tmp_path_factory.mktemp("configs")
    (folder / "flow.yml").write_text("num_blocks: 3\nnum_hidden: 16\nlr: 3.0e-3\nschedule: one_cycle\n")
    (folder / "classifier.yml").write_text("layers: [16, 16]\n")
    return ["--DE_config_file", f"{folder}/flow.yml", "--cf_config_file", f"{folder}/classifier.yml", "--DE_epochs", "3",
            "--cf_epochs", "4", "--cf_n_runs", "2", "--cf_n_samples", "4000"]  # fmt: skip


@pytest.fixture
def run() -> Callable[..., None]:
    """Run a script of the project in this process: run("run_all", "--mode", "CWoLa")."""
    from common.script import run_script

    def run_one(script: str, *argv: object) -> None:
        module = importlib.import_module(script)
        seed = [] if "--seed" in argv else ["--seed", "1"]
        run_script(module.main, module.__doc__, module.FLAGS, [*(str(a) for a in argv), *seed])

    return run_one
