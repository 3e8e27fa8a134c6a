"""A whole run on toys whose names are those of an attacker, with its report."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from toys import write_toy

HOSTILE = '<script>alert("1")</script>&"><img src=x onerror=alert(2)>'
FOLDER = "<script>alert(1)<&script> 'run'"  # no slash can be in it


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory, run: Callable[..., None], small_configs: list[str]) -> Path:
    """The folder of the run; not to be changed."""
    events, folder = tmp_path_factory.mktemp("reported") / "separated_data", tmp_path_factory.mktemp("run") / FOLDER
    write_toy(events)
    columns = [{"name": f"x{i}", "label": f"$x_{i}$", "unit": "GeV", "formula": ""} for i in range(4)]
    columns[1] |= {"name": HOSTILE, "label": HOSTILE}
    resonant = {"name": "m_JJ", "label": "$m_{JJ}$", "unit": "TeV", "formula": ""}
    content = {"resonant": resonant, "features": columns, "signal_region": [3.3, 3.7]}
    (events / "columns.json").write_text(json.dumps(content))
    settings = ("--DE_closure", 1, "--cf_save_model", "--cf_use_class_weights", "--cf_no_logit", "--no_extra_signal")
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.INFO)  # as a script does
    run("run_all", *small_configs, *settings, data_dir=events, save_dir=folder, mode="CATHODE", report=True)
    logging.getLogger().setLevel(level)
    return folder
