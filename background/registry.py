"""The modes by name. A new one is a file with a `MODE` and a line here; README's table, `--mode` and the checks follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.registry import Registry

if TYPE_CHECKING:
    from background.mode import Mode

MODES: Registry[Mode] = Registry(
    "mode",
    {
        "CATHODE": "background.cathode:MODE",
        "LaCATHODE": "background.lacathode:MODE",
        "ANODE": "background.anode:MODE",
        "CWoLa": "background.cwola:MODE",
        "idealized_AD": "background.idealized:MODE",
        "supervised": "background.supervised:MODE",
    },
)
