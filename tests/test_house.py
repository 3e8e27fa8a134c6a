"""How the house is built: imports go one way, what computes does not draw, scripts start fast, nothing prints or unpickles."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from toys import ROOT

from common.options import flags, make_parser

FLOORS = {"common": 0, "models": 1, "events": 2, "background": 3, "evaluation": 3, "search": 4, "plots": 5, "workflow": 6,
          "sk_cathode": 6, "reports": 7, "data_handler": 7, "evaluation_utils": 7}  # fmt: skip
STAGES = ("run_ANODE_evaluation", "run_ANODE_training", "run_classifier_data_creation", "run_classifier_training",
          "run_data_preparation", "run_data_preparation_LHCORD")  # fmt: skip
CHAINS = ("run_all", "run_bump_hunt", "scan_commands", "run_scan")
PAGES = ("report", "compare_runs")  # which only look at results
SCRIPTS = tuple(name for name in (*STAGES, *CHAINS, *PAGES) if name != "scan_commands")
FLOORS |= dict.fromkeys(PAGES, 8) | dict.fromkeys(STAGES, 8) | {script: 9 + number for number, script in enumerate(CHAINS)}
SOURCES = [
    path
    for path in [*ROOT.glob("*.py"), *ROOT.glob("*/**/*.py")]
    if path.relative_to(ROOT).parts[0].removesuffix(".py") in FLOORS
]


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """First parts of all modules that a file imports, inside functions, too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    here = room(path)
    for other in imported(path) & FLOORS.keys() - {here}:
        assert FLOORS[other] < FLOORS[here], f"{here} imports {other}"
    assert "matplotlib" not in imported(path) or here in ("plots", "evaluation_utils"), "the stage draws, by what is in plots"


def test_every_module_has_a_place():
    assert {path.stem for path in ROOT.glob("*.py")} == {*STAGES, *CHAINS, *PAGES, "data_handler", "evaluation_utils"}
    assert len(SOURCES) > 60


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_from_the_shell_needs_no_heavy_import(script):
    code = f"import sys, {script}; assert not {{'numpy', 'torch', 'sklearn', 'matplotlib'}} & set(sys.modules), 'heavy import'"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    command = [sys.executable, f"{script}.py", "--help"]
    assert "--verbose" in subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_flag_is_explained(script):
    options = importlib.import_module(script).Options
    text = make_parser("", options).format_help()
    for flag in flags(options).values():
        assert flag.typed in text
        assert flag.field.metadata["help"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_print_and_no_pickle_in_the_library(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            assert getattr(node.func, "id", "") != "print"
            keywords = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
            assert not keywords.get("allow_pickle", False)
            assert keywords.get("weights_only", True)
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            assert "pickle" not in [alias.name for alias in node.names]
