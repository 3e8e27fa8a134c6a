"""Hyperparameters of estimators from YAML and JSON files: known names and values of the right type, nothing else."""

from __future__ import annotations

import reprlib
import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml

from common.errors import InputError

LARGEST_INT = 10_000  # no layer is wider and no flow deeper than this
LARGEST_LIST = 100  # no classifier is deeper than this
LARGEST_FILE = 2**16  # bytes


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises
    ------
    InputError
        If the file is missing, too large, or no YAML mapping.
    """
    try:
        if Path(path).stat().st_size > LARGEST_FILE:
            raise InputError(f"{path}: larger than {LARGEST_FILE} bytes, no configuration")
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
    return content


def checked(content: Mapping[str, Any], kinds: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The content of a file, if its keys are among those of `kinds` and every value is of its key's type.

    Raises
    ------
    InputError
        For an unknown key or a value of the wrong type; `path` is named.
    """
    values = dict(content)
    for key, value in values.items():
        if key not in kinds:
            raise InputError(f"{path}: unknown key {reprlib.repr(key)} (known: {', '.join(kinds)})")
        if kinds[key] is float and isinstance(value, str):  # YAML 1.1 takes 1e-3 for text
            values[key] = value = _number(value)
        if not _is_a(value, kinds[key]):
            raise InputError(f"{path}: {key} is {reprlib.repr(value)}, expected {_in_words(kinds[key])}")
    return values


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _is_a(value: Any, kind: Any) -> bool:
    if isinstance(kind, types.UnionType):
        return any(value is None if part is type(None) else _is_a(value, part) for part in get_args(kind))
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if get_origin(kind) is Sequence:
        return (
            isinstance(value, list) and 0 < len(value) <= LARGEST_LIST and all(_is_a(item, get_args(kind)[0]) for item in value)
        )
    if kind is bool:
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    if kind is int:
        return isinstance(value, int) and 0 < value <= LARGEST_INT
    return 0 <= value <= sys.float_info.max


def _in_words(kind: Any) -> str:
    if isinstance(kind, types.UnionType):
        return " or ".join("null" if part is type(None) else _in_words(part) for part in get_args(kind))
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if get_origin(kind) is Sequence:
        return f"a list, each {_in_words(get_args(kind)[0])}"
    if kind is bool:
        return "true or false"
    return f"an integer from 1 to {LARGEST_INT}" if kind is int else "a number of 0 or above"
