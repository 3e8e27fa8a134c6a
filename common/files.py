"""Files, whole or not at all: every output is written beside its final name and renamed. What is read is not trusted.

Nothing on disk is a pickle that runs code: arrays are plain numbers, weights are read with torch's restricted reader, and the size that a
file claims is compared with the size it has before anything is allocated.
"""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

if TYPE_CHECKING:
    import torch

LARGEST_JSON = 16 * 2**20  # bytes
ARCHIVE_OVERHEAD = 2**20  # bytes that a weights file may hold beside its weights


class InputError(ValueError):
    """Something the user gave (a file, a flag, a folder) cannot be used; the message is one line that says what and why."""


class MachineError(RuntimeError):
    """The machine does not do what is needed (a full disk, a folder that became read-only, a lock); one line that says what and why."""


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to disk, then give it its name.

    Raises
    ------
    MachineError
        If the folder cannot be written to or the disk is full; a file that was there before is unharmed.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise MachineError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        partial.unlink(missing_ok=True)


def save_array(path: Path, array: np.ndarray) -> None:
    """Write one .npy file, whole or not at all."""
    array = np.asarray(array, order="C")

    def write(partial: Path) -> None:
        with partial.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
            file.write(array.data)  # unlike numpy's own tofile, it says why it fails

    write_whole(path, write)


def load_array(path: Path) -> np.ndarray:
    """Read one .npy file of numbers; its header must fit its size.

    Raises
    ------
    InputError
        If the file is missing, truncated, not a .npy file, or holds anything but numbers.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            _check_header(path, file)
            file.seek(0)
            return np.load(file, allow_pickle=False)
    except (InputError, MemoryError):
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a damaged header can be any text: numpy raises what Python's parser raises
        raise InputError(f"{path}: not a complete .npy file ({_first_line(error)})") from error


def _check_header(path: Path, file: io.BufferedReader) -> None:
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version}")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    if dtype.kind not in "fiub":
        raise InputError(f"{path}: holds no plain array of numbers")
    found, promised = os.fstat(file.fileno()).st_size - file.tell(), math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or found != promised:
        raise ValueError(f"{found} bytes of data, its header says {promised}")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def save_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    text = json.dumps(content, indent=1, allow_nan=False)
    write_whole(path, lambda partial: partial.write_text(text + "\n", encoding="utf-8"))


def load_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object; NaN and infinity, which are no JSON, are refused.

    Raises
    ------
    InputError
        If the file is missing, absurdly large, or not a JSON object.
    """

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON")

    try:
        if Path(path).stat().st_size > LARGEST_JSON:
            raise InputError(f"{path}: larger than {LARGEST_JSON} bytes, no file of this program")
        content = json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=refuse)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a JSON file ({_first_line(error)})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a JSON object")
    return content


def save_tensors(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors, numbers and text in nested containers, whole or not at all; equal content gives equal bytes."""
    import torch

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
    import torch

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
    import torch

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
