"""Weights on disk: tensors and plain containers, written whole or not at all, read with torch's restricted reader."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from common.errors import InputError
from common.files import write_whole

ARCHIVE_OVERHEAD = 2**20  # bytes that a weights file may hold beside its weights


def save_tensors(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors, numbers and text in nested containers, whole or not at all; equal content gives equal bytes."""
    buffer = io.BytesIO()  # torch would name the archive after the temporary file, and hide why writing fails
    torch.save(content, buffer)
    write_whole(path, lambda partial: partial.write_bytes(buffer.getbuffer()))


def load_tensors(path: Path, largest: int | None = None) -> Any:
    """Read what `save_tensors` wrote, with torch's restricted reader; `largest` limits the bytes that the archive may unpack to.

    Raises
    ------
    InputError
        If the file is missing, damaged, larger than expected, or holds anything but tensors and plain containers.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > (path.stat().st_size if largest is None else largest):
            raise InputError(f"{path}: unpacks to {size} bytes, more than the configuration needs")
        return torch.load(path, map_location="cpu", weights_only=True)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # torch raises half a dozen unrelated types for a damaged archive
        raise InputError(f"{path}: not a readable weights file ({type(error).__name__})") from error


def save_weights(path: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Write a state dict (weights only, on the CPU), whole or not at all."""
    save_tensors(path, {name: value.detach().cpu().clone() for name, value in state.items()})


def load_weights(path: Path, module: torch.nn.Module) -> None:
    """Load a state dict into `module`, after comparing every name, shape and type.

    Raises
    ------
    InputError
        If the file is missing, is no state dict, belongs to another architecture, or holds weights that are not finite.
    """
    path, expected = Path(path), module.state_dict()
    size = sum(value.numel() * value.element_size() for value in expected.values())
    state = load_tensors(path, 2 * size + ARCHIVE_OVERHEAD)
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"{path}: holds no state dict")
    for name in sorted(expected.keys() | state.keys(), key=str):
        if name not in state or name not in expected or state[name].shape != expected[name].shape:
            found, wanted = (tuple(d[name].shape) if name in d else "absent" for d in (state, expected))
            raise InputError(f"{path}: belongs to another architecture ({name} is {found}, the configuration says {wanted})")
        if state[name].dtype != expected[name].dtype:
            raise InputError(f"{path}: {name} is {state[name].dtype}, expected {expected[name].dtype}")
        if not torch.isfinite(state[name]).all():
            raise InputError(f"{path}: {name} holds weights that are not finite")
    module.load_state_dict(state)
