"""Files, whole or not at all: every output is written beside its final name and renamed; nothing on disk is a pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


class InputError(ValueError):
    """Something the user gave (a file, a flag, a folder) cannot be used; the message is one line that says what and why."""


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to disk, then give it its name.

    Raises
    ------
    InputError
        If the folder cannot be written to or the disk is full.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        partial.unlink(missing_ok=True)


def save_array(path: Path, array: np.ndarray) -> None:
    """Write one .npy file, whole or not at all."""

    def write(partial: Path) -> None:
        with partial.open("wb") as file:
            np.save(file, array, allow_pickle=False)

    write_whole(path, write)


def load_array(path: Path) -> np.ndarray:
    """Read one .npy file of numbers.

    Raises
    ------
    InputError
        If the file is missing, truncated, not a .npy file, or holds anything but numbers.
    """
    path = Path(path)
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, EOFError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(f"{path}: not a complete .npy file ({reason})") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        raise InputError(f"{path}: holds no plain array of numbers")
    return array


def save_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    text = json.dumps(content, indent=1, allow_nan=False)
    write_whole(path, lambda partial: partial.write_text(text + "\n", encoding="utf-8"))


def load_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises
    ------
    InputError
        If the file is missing or not a JSON object.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise InputError(f"{path}: not a JSON file ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a JSON object")
    return content


def save_weights(path: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Write a state dict (weights only, on the CPU), whole or not at all."""
    import torch

    on_cpu = {name: value.detach().cpu() for name, value in state.items()}
    write_whole(path, lambda partial: torch.save(on_cpu, partial))


def load_weights(path: Path, module: torch.nn.Module) -> None:
    """Load a state dict into `module`, after comparing every name and shape.

    Raises
    ------
    InputError
        If the file is missing, is no state dict, or belongs to another architecture.
    """
    import torch

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen unrelated types for a damaged archive
        raise InputError(f"{path}: not a readable weights file ({type(error).__name__})") from error
    expected = module.state_dict()
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"{path}: holds no state dict")
    for name in sorted(expected.keys() | state.keys(), key=str):
        if name not in state or name not in expected or state[name].shape != expected[name].shape:
            found, wanted = (tuple(d[name].shape) if name in d else "absent" for d in (state, expected))
            raise InputError(f"{path}: belongs to another architecture ({name} is {found}, the configuration says {wanted})")
    module.load_state_dict(state)
