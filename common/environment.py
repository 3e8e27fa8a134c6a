"""What a result may depend on beside its inputs and options: versions, threads, GPU."""

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
    """Versions, threads and GPU; the latter are None where torch is not in use."""
    torch = sys.modules.get("torch")
    threads = None if torch is None else torch.get_num_threads()
    gpu = torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else None
    return {**versions(), "threads": threads, "gpu": gpu}
