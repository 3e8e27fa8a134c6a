"""Folders of toy events, small configurations, and a way to run the scripts in this process."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import matplotlib
import pytest
import torch
from matplotlib.figure import Figure
from toys import write_toy

matplotlib.use("Agg")
PAGES = ("report", "compare_runs")
torch.set_num_threads(1)  # the tests' networks are tiny, and threads of several processes only wait for each other


def sketched(figure: Figure, target: Path, *, format: str, **settings: object) -> None:
    """In place of Figure.savefig: a file that says what it would be."""
    Path(target).write_text(f"a figure as {format}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole runs come first: a long file that is begun last would keep one worker at it while the others have ended."""
    items.sort(key=lambda item: not {"scripts", "workflow", "docs"} & set(item.path.parts))


@pytest.fixture(scope="session")
def toy_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of separated toy events; not to be changed."""
    return write_toy(tmp_path_factory.mktemp("toy") / "separated_data")


@pytest.fixture
def toy_copy(tmp_path: Path) -> Path:
    """A folder of separated toy events to damage."""
    return write_toy(tmp_path / "separated_data", n_sr=200)


@pytest.fixture(scope="session")
def flow_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hyperparameters of a small flow."""
    path = tmp_path_factory.mktemp("configs") / "flow.yml"
    path.write_text("num_blocks: 3\nnum_hidden: 16\nlr: 3.0e-3\nschedule: one_cycle\n")
    return path


@pytest.fixture(scope="session")
def classifier_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hyperparameters of a small network."""
    path = tmp_path_factory.mktemp("configs") / "classifier.yml"
    path.write_text("layers: [16, 16]\nlr: 5.0e-3\nschedule: one_cycle\nscored_epochs: last\nn_scored_epochs: 2\n")
    return path


@pytest.fixture(scope="session")
def small_configs(flow_config: Path, classifier_config: Path) -> list[str]:
    """run_all flags for small networks and short trainings."""
    return ["--DE_config_file", str(flow_config), "--cf_config_file", str(classifier_config), "--DE_epochs", "3",
            "--cf_epochs", "4", "--cf_n_runs", "2", "--cf_n_samples", "4000"]  # fmt: skip


@pytest.fixture(scope="session")
def run() -> Callable[..., None]:
    """Run a script of the project in this process: run("run_all", "--resume", mode="CWoLa").

    Figures are made but not drawn, which takes most of a small run's time, unless `drawn`; report.html is left out unless `report`.
    """
    from common.script import run_script

    def run_one(script: str, *argv: object, report: bool = False, drawn: bool = False, **flags: object) -> None:
        module = importlib.import_module(script)
        named = [text for name, value in flags.items() for text in (f"--{name}", value)]
        seed = [] if script in PAGES or "--seed" in argv or "seed" in flags else ["--seed", "1"]
        seed += ["--no_report"] if script in ("run_all", "run_bump_hunt") and not report else []  # which takes seconds
        with contextlib.nullcontext() if drawn or report or script in PAGES else patch.object(Figure, "savefig", sketched):
            run_script(module.main, module.__doc__, module.Options, [str(a) for a in (*argv, *named, *seed)])

    return run_one


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let reports make their figures, but not draw them, which takes seconds."""
    import matplotlib.pyplot as plt

    def nothing(figure: object, kind: str) -> bytes:
        plt.close(figure)
        return kind.encode()

    monkeypatch.setattr("reports.page.as_bytes", nothing)


@pytest.fixture
def fails(run: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a script that must end with exit code 2 and one line; returns the line."""

    def run_failing(script: str, *argv: object, **flags: object) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ending:
            run(script, *argv, **flags)
        line = capsys.readouterr().err
        assert ending.value.code == 2
        assert line.endswith("\n")
        assert line.count("\n") == 1, line
        assert "Traceback" not in line
        return line

    return run_failing
