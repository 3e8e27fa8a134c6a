"""What a result may depend on beside its inputs and options: versions, GPU."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version
from typing import Any

VERSIONS_OF = ("numpy", "scikit-learn", "torch")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the last bits of a result."""
    return {"python": platform.python_version(), **{name: version(name) for name in VERSIONS_OF}}


def environment() -> dict[str, Any]:
    """Versions and GPU; the latter is None where there is none, or torch is not in use."""
    torch = sys.modules.get("torch")
    gpu = torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else None
    return {**versions(), "gpu": gpu}
