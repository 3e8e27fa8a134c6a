"""Files that are whole or absent: every output is written beside its final name and renamed. What is read is not trusted.

Nothing on disk is a pickle: arrays are plain numbers, the rest is JSON or YAML, and the size that a file claims is compared with the size
it has before anything is allocated.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np

from common.errors import InputError, MachineError

Content = TypeVar("Content")
LARGEST_JSON = 16 * 2**20  # bytes


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


def load_array(path: Path, *, mapped: bool = False, records: bool = False) -> np.ndarray:
    """Read one .npy file of numbers; its header must fit its size.

    Parameters
    ----------
    mapped : bool
        Leave the numbers in the file, and read what is looked at; what is changed is a copy in memory.
    records : bool
        Whether it is an array of records of numbers.

    Raises
    ------
    InputError
        If the file is missing, truncated, not a .npy file, or holds anything but numbers.
    """

    def read(file: io.BufferedReader) -> np.ndarray:
        _read_header(path, file, records=records)
        file.seek(0)
        return np.load(path if mapped else file, mmap_mode="c" if mapped else None, allow_pickle=False)

    return _from_npy(path, read)


def array_shape(path: Path) -> tuple[int, ...]:
    """The shape of the array in a .npy file, from its header alone; raises what `load_array` raises."""
    return _from_npy(path, lambda file: _read_header(path, file))


def _from_npy(path: Path, read: Callable[[io.BufferedReader], Content]) -> Content:
    try:
        with Path(path).open("rb") as file:
            return read(file)
    except (InputError, MemoryError):
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a damaged header can be any text: numpy raises what Python's parser raises
        raise InputError(f"{path}: not a complete .npy file ({first_line(error)})") from error


def _read_header(path: Path, file: io.BufferedReader, *, records: bool = False) -> tuple[int, ...]:
    """The shape, if the file holds as many numbers as its header promises."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version}")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    kinds = [dtype[name].base for name in dtype.names or ()] if records else [dtype]
    if not kinds or any(kind.kind not in "fiub" for kind in kinds):
        raise InputError(f"{path}: holds no {'records' if records else 'plain array'} of numbers")
    found, promised = os.fstat(file.fileno()).st_size - file.tell(), math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or found != promised:
        raise ValueError(f"{found} bytes of data, its header says {promised}")
    return shape


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def save_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    text = json.dumps(content, indent=1, allow_nan=False)
    write_whole(path, lambda partial: partial.write_text(text + "\n", encoding="utf-8"))


def save_csv(path: Path, head: Sequence[str], lines: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(lines)
    write_whole(path, lambda partial: partial.write_text(text.getvalue(), encoding="utf-8"))


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
        raise InputError(f"{path}: not a JSON file ({first_line(error)})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a JSON object")
    return content


def save_arrays(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write several arrays as NAME.npy."""
    for name, array in arrays.items():
        save_array(Path(folder) / f"{name}.npy", array)


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file, whole or not at all."""
    write_whole(target, lambda partial: shutil.copyfile(source, partial))


def writable_folder(path: Path) -> Path:
    """Make the folder if needed.

    Raises
    ------
    InputError
        If it cannot be made or written to.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: this folder cannot be made ({error.strerror or error})") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise InputError(f"{path}: this folder cannot be written to")
    return path


def missing_files(folder: Path, names: Sequence[str]) -> list[str]:
    """Those of the arrays `names` that are not in the folder."""
    return [name for name in names if not (Path(folder) / f"{name}.npy").is_file()]
