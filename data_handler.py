"""Reading event and YAML files, deriving seeds, writing arrays: numpy in, numpy out.

The columns of every event file are m_JJ (TeV), the d features, label (1 signal, 0 background).
"""

from __future__ import annotations

import logging
import os
import reprlib
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import yaml

from common.files import InputError, load_array, save_array

logger = logging.getLogger(__name__)

MAX_NAN_SHARE = 0.01
LARGEST_INT = 10_000  # no layer is wider and no flow deeper than this
LARGEST_LIST = 100  # no classifier is deeper than this
LARGEST_CONFIG = 2**16  # bytes


def make_rng(seed: int, purpose: str) -> np.random.Generator:
    """An independent random generator for every purpose, derived from one seed (numpy SeedSequence)."""
    return np.random.default_rng(np.random.SeedSequence([seed, zlib.crc32(purpose.encode())]))


def make_seed(seed: int, purpose: str) -> int:
    """An independent seed for every purpose, for estimators that take a `random_state`."""
    return int(make_rng(seed, purpose).integers(2**32))


def drop_nan_rows(array: np.ndarray, source: Path | str) -> np.ndarray:
    """Rows without NaN or infinity; up to 1 % may be dropped, and are counted in the log.

    Raises
    ------
    InputError
        If more than 1 % of the rows are not finite.
    """
    finite = np.isfinite(array).all(axis=1)
    n_bad = len(array) - int(finite.sum())
    if n_bad == 0:
        return array
    if n_bad > MAX_NAN_SHARE * len(array):
        raise InputError(f"{source}: {n_bad} of {len(array)} rows are NaN or infinite, more than 1 %")
    logger.warning("%s: dropped %d of %d rows with NaN or infinity", source, n_bad, len(array))
    return array[finite]


def load_events(path: Path) -> np.ndarray:
    """Read one event file [n, 2 + d].

    Raises
    ------
    InputError
        If the file cannot be read, is not a table of at least three columns, has labels other than 0 and 1, or more than 1 % NaN rows.
    """
    events = load_array(path)
    if events.ndim != 2 or events.shape[1] < 3:
        raise InputError(f"{path}: wrong number of columns: shape {events.shape}, expected [n, 2 + d] (m_JJ, features, label)")
    events = drop_nan_rows(events, path)
    if not np.isin(events[:, -1], (0, 1)).all():
        raise InputError(f"{path}: the last column must be the label (1 signal, 0 background)")
    return events


def missing_files(data_dir: Path, names: Sequence[str]) -> list[str]:
    """Those of the event files `names` that are not in `data_dir`."""
    return [name for name in names if not (Path(data_dir) / f"{name}.npy").is_file()]


def read_config(path: Path, estimator: type, keys: Sequence[str]) -> dict[str, Any]:
    """Read hyperparameters of an estimator from a YAML file.

    Parameters
    ----------
    estimator : type
        Its `__init__` says which type every key has.
    keys : sequence of str
        The keys that may be set.

    Raises
    ------
    InputError
        If the file is missing or no YAML mapping, for an unknown key, or for a value of the wrong type.
    """
    try:
        if Path(path).stat().st_size > LARGEST_CONFIG:
            raise InputError(f"{path}: larger than {LARGEST_CONFIG} bytes, no configuration")
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    except InputError:
        raise
    except Exception as error:  # besides YAMLError whatever the types' constructors raise
        raise InputError(f"{path}: not a YAML file ({' '.join(str(error).split())[:300]})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a YAML mapping of keys to values")
    types = {key: kind for key, kind in get_type_hints(estimator.__init__).items() if key in keys}
    for key, value in content.items():
        if key not in types:
            raise InputError(f"{path}: unknown key {reprlib.repr(key)} (known: {', '.join(types)})")
        if types[key] is float and isinstance(value, str):  # YAML 1.1 takes 1e-3 for text
            content[key] = value = _number(value)
        if not _fits(value, types[key]):
            raise InputError(f"{path}: {key} is {reprlib.repr(value)}, expected {_in_words(types[key])}")
    return content


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if get_origin(kind) is Sequence:
        return (
            isinstance(value, list) and 0 < len(value) <= LARGEST_LIST and all(_fits(item, get_args(kind)[0]) for item in value)
        )
    if kind is bool:
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    if kind is int:
        return isinstance(value, int) and 0 < value <= LARGEST_INT
    return 0 <= value <= sys.float_info.max


def _in_words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if get_origin(kind) is Sequence:
        return f"a list, each {_in_words(get_args(kind)[0])}"
    if kind is bool:
        return "true or false"
    return f"an integer from 1 to {LARGEST_INT}" if kind is int else "a number of 0 or above"


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


def save_arrays(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write several arrays as NAME.npy."""
    for name, array in arrays.items():
        save_array(Path(folder) / f"{name}.npy", array)
