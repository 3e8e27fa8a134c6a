"""GRID.yml: axes, what runs share, and every run that comes of them, with its folder and its command line.

    stages:                                  # shared: done once for every different folder
      events:
        command: run_data_preparation_LHCORD.py
        folder: events/S_over_B_{S_over_B}
        flags: {S_over_B: "{S_over_B}", seed: 1}
    run:
      command: run_all.py
      folder: "{method}/S_over_B_{S_over_B}_seed_{seed}"
      flags: {data_dir: "{events}", seed: "{seed}", no_extra_signal: true}
    axes:
      S_over_B: [0.001, 0.002]
      seed: 1..10
      method:                                # cases: each with flags of its own
        CATHODE: {mode: CATHODE, cf_oversampling: true}
        CWoLa: {mode: CWoLa}
    zip: [[S_over_B, n_samples]]             # axes that go together; all others are multiplied
    small: {axes: {seed: 1..2}}              # what --small replaces, key by key; null removes a key

{NAME} is the value of an axis, or the folder of a stage, which the run then needs. true is a flag without a value; false switches off
what a preset has switched on.
"""

from __future__ import annotations

import itertools
import math
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from common.errors import InputError
from common.hyperparameters import read_yaml

Value = int | float | str | bool
KEYS = {"stages": dict, "run": dict, "axes": dict, "zip": list, "small": dict}
OF_TEMPLATE = {"command": str, "folder": str, "flags": dict}
RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")
NAME = re.compile(r"[A-Za-z]\w*")
REFERENCE = re.compile(r"\{([^{}]*)\}")
COLUMNS = ("run", "state", "reason", "seconds", "peak_mib", "host")  # of the table of results, beside axes and results
MOST_RUNS = 100_000


@dataclass(frozen=True)
class Template:
    """A command whose folder and flags may refer to axes and stages."""

    name: str
    command: str
    folder: str
    flags: Mapping[str, Any]


@dataclass(frozen=True)
class Grid:
    """The content of a GRID.yml.

    Attributes
    ----------
    axes : dict
        Values of every axis.
    cases : dict
        Of axes whose values have flags of their own: these, by axis and value.
    together : tuple of tuples
        Axes that go together.
    """

    path: Path
    stages: tuple[Template, ...]
    run: Template
    axes: Mapping[str, tuple[Value, ...]]
    cases: Mapping[str, Mapping[str, Mapping[str, Any]]]
    together: tuple[tuple[str, ...], ...]

    def points(self) -> Iterator[dict[str, Value]]:
        """The value of every axis, for every run."""
        groups, seen = [], set()
        for name in self.axes:
            if name not in seen:
                group = next((group for group in self.together if name in group), (name,))
                seen.update(group)
                groups.append(
                    [dict(zip(group, values, strict=True)) for values in zip(*(self.axes[n] for n in group), strict=True)]
                )
        for parts in itertools.product(*groups):
            point = {name: value for part in parts for name, value in part.items()}
            yield {name: point[name] for name in self.axes}


@dataclass(frozen=True)
class Run:
    """A command in a folder of its own: a run of the grid, or a stage that runs share.

    Attributes
    ----------
    name : str
        Its folder below the scan's.
    settings : dict
        The values of the axes, as far as the run depends on them.
    needs : tuple of str
        Names of the shared stages it reads from.
    """

    name: str
    folder: Path
    command: str
    argv: tuple[str, ...]
    settings: Mapping[str, Value]
    needs: tuple[str, ...] = ()
    is_shared: bool = False

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(f'{name} = {value}' for name, value in self.settings.items())})"


def read_grid(path: Path, *, small: bool = False) -> Grid:
    """Read and check a GRID.yml.

    Raises
    ------
    InputError
        With the file and the key that is wrong.
    """
    content = _mapping(read_yaml(path), KEYS, path, "")
    overlay = content.pop("small", {})
    if small:
        if not overlay:
            raise InputError(f"{path}: there is no key small, which --small needs")
        content = _mapping(_overlaid(content, overlay), KEYS, path, "small: ")
    for key in ("run", "axes"):
        if key not in content:
            raise InputError(f"{path}: the key {key} is missing")
    axes, cases = _axes(content["axes"], path)
    stages = tuple(_template(name, each, path, f"stages: {name}") for name, each in content.get("stages", {}).items())
    for stage in stages:
        if stage.name in axes:
            raise InputError(f"{path}: {stage.name} is both a stage and an axis")
    run = _template("run", content["run"], path, "run")
    return Grid(path, stages, run, axes, cases, _together(content.get("zip", []), axes, path))


def expand(grid: Grid, outdir: Path, folder_flags: Mapping[str, str]) -> list[Run]:
    """All runs of a grid, each after the shared stages that it needs.

    Parameters
    ----------
    folder_flags : dict
        The commands that may be used, and the flag of each that says where it writes.

    Raises
    ------
    InputError
        For an unknown command or reference, or where two runs would write into one folder.
    """
    for template in (*grid.stages, grid.run):
        if template.command not in folder_flags:
            raise InputError(
                f"{grid.path}: {template.name}: command {template.command}: must be one of {', '.join(folder_flags)}"
            )
    found: dict[str, Run] = {}
    for point in grid.points():
        folders: dict[str, Run] = {}
        for template in grid.stages:
            folders[template.name] = _expanded(grid, template, point, folders, outdir, folder_flags)
        flags = dict(grid.run.flags)
        for axis, cases in grid.cases.items():
            flags |= cases[str(point[axis])]
        run = _expanded(grid, replace(grid.run, flags=flags), point, folders, outdir, folder_flags)
        run = replace(run, is_shared=False, settings=point)
        needed = _all_needs(run, {stage.name: stage for stage in folders.values()})
        for each in (*needed, run):
            known = found.setdefault(each.name, each)
            are_one = known is each or (each.is_shared and known.is_shared)
            if not are_one or (known.command, known.argv) != (each.command, each.argv):
                raise InputError(f"{grid.path}: {known} and {each} would write into one folder: a pattern needs another {{AXIS}}")
        if len(found) > MOST_RUNS:
            raise InputError(f"{grid.path}: more than {MOST_RUNS} runs")
    _no_folder_in_another(grid, found)
    return list(found.values())


def is_seed(axis: str) -> bool:
    """Whether an axis is that of seeds, over which results are pooled."""
    return axis.lower().endswith("seed")


def _no_folder_in_another(grid: Grid, runs: Mapping[str, Run]) -> None:
    """Refuse folders inside of each other: a stage would take the files of one for those of the other."""
    for name in runs:
        for above in PurePosixPath(name).parents:
            if str(above) in runs:
                raise InputError(f"{grid.path}: {name} would be written into the folder of {above}")


def _all_needs(run: Run, stages: Mapping[str, Run]) -> list[Run]:
    """The stages that a run needs, and those that they need, in order."""
    found: dict[str, Run] = {}
    for name in run.needs:
        for each in (*_all_needs(stages[name], stages), stages[name]):
            found[each.name] = each
    return list(found.values())


def _expanded(
    grid: Grid,
    template: Template,
    point: Mapping[str, Value],
    stages: Mapping[str, Run],
    outdir: Path,
    folder_flags: Mapping[str, str],
) -> Run:
    """One template at one point of the grid."""
    key = f"{grid.path}: {template.name}"
    used: set[str] = set()

    def text(pattern: Any, what: str, *, folders: bool) -> str:
        def value(found: re.Match[str]) -> str:
            name = found[1]
            if name in point:
                used.add(name)
                return _as_typed(point[name])
            if folders and name in stages:
                used.update(stages[name].settings)
                needs[stages[name].name] = None
                return str(stages[name].folder)
            known = [*point, *(stages if folders else ())]
            raise InputError(f"{key}: {what}: {{{name}}} is none of {', '.join(known)}")

        return REFERENCE.sub(value, _as_typed(pattern))

    needs: dict[str, None] = {}
    name = text(template.folder, "folder", folders=False)
    place = PurePosixPath(name)
    if place.is_absolute() or ".." in place.parts or not place.parts:
        raise InputError(f"{key}: folder {name}: must be a folder below that of the scan")
    own = folder_flags[template.command]
    if own in template.flags:
        raise InputError(f"{key}: flags: {own} is what folder says")
    argv = []
    for flag, given in template.flags.items():
        if given is True:
            argv.append(f"--{flag}")
        elif isinstance(given, list):
            argv += [f"--{flag}", *(text(each, flag, folders=True) for each in given)]
        elif given is not None:
            argv.append(f"--{flag}={text(given, flag, folders=True)}")
    folder = outdir / place
    settings = {axis: value for axis, value in point.items() if axis in used}
    return Run(place.as_posix(), folder, template.command, (*argv, f"--{own}={folder}"), settings, tuple(needs), is_shared=True)


def _as_typed(value: Any) -> str:
    """A value as it is typed on a command line."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _overlaid(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`below` with the values of `above` in place of its own, mapping by mapping."""
    merged = dict(below)
    for key, value in above.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = (
                _overlaid(merged[key], value) if isinstance(value, dict) and isinstance(merged.get(key), dict) else value
            )
    return merged


def _mapping(content: Mapping[str, Any], kinds: Mapping[str, type], path: Path, where: str) -> dict[str, Any]:
    """The content, if its keys are known and its values of the right type."""
    for key, value in content.items():
        if key not in kinds:
            raise InputError(f"{path}: {where}unknown key {reprlib.repr(key)} (known: {', '.join(kinds)})")
        if not isinstance(value, kinds[key]):
            wanted = {dict: "a mapping", list: "a list", str: "text"}[kinds[key]]
            raise InputError(f"{path}: {where}{key} is {reprlib.repr(value)}, expected {wanted}")
    return dict(content)


def _template(name: Any, content: Any, path: Path, where: str) -> Template:
    _check_name(name, path, where)
    if not isinstance(content, dict):
        raise InputError(f"{path}: {where} is {reprlib.repr(content)}, expected a mapping")
    content = _mapping(content, OF_TEMPLATE, path, f"{where}: ")
    for key in ("command", "folder"):
        if key not in content:
            raise InputError(f"{path}: {where}: the key {key} is missing")
    return Template(name, content["command"], content["folder"], _flags(content.get("flags", {}), path, f"{where}: flags"))


def _flags(content: Any, path: Path, where: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise InputError(f"{path}: {where} is {reprlib.repr(content)}, expected a mapping of flags to values")
    for flag, value in content.items():
        _check_name(flag, path, where)
        for each in value if isinstance(value, list) else [value]:
            if each is not None and not isinstance(each, Value):
                raise InputError(
                    f"{path}: {where}: {flag} is {reprlib.repr(each)}, expected a number, text, true, false, or a list of them"
                )
    return dict(content)


def _axes(content: Mapping[str, Any], path: Path) -> tuple[dict[str, tuple[Value, ...]], dict[str, Any]]:
    """Values of every axis, and the flags of those that have cases."""
    axes, cases = {}, {}
    if not content:
        raise InputError(f"{path}: axes is empty")
    for name, given in content.items():
        _check_name(name, path, "axes")
        if name in COLUMNS:
            raise InputError(f"{path}: axes: {name} is a column of the table already")
        where = f"axes: {name}"
        if isinstance(given, dict):
            cases[name] = {str(case): _flags(flags, path, f"{where}: {case}") for case, flags in given.items()}
            values: list[Any] = list(cases[name])
        elif isinstance(given, str) and (found := RANGE.fullmatch(given)):
            values = list(range(int(found[1]), int(found[2]) + 1))
        else:
            values = [_number(value) for value in given] if isinstance(given, list) else []
        if not values or any(not isinstance(value, Value) for value in values):
            raise InputError(
                f"{path}: {where} is {reprlib.repr(given)}, expected a list of values, a range such as 1..10, or cases"
            )
        if len(set(map(str, values))) < len(values):
            raise InputError(f"{path}: {where} has a value twice")
        axes[name] = tuple(values)
    return axes, cases


def _together(content: Sequence[Any], axes: Mapping[str, Sequence[Value]], path: Path) -> tuple[tuple[str, ...], ...]:
    groups: list[tuple[str, ...]] = []
    for group in content:
        if not isinstance(group, list) or any(name not in axes for name in group):
            raise InputError(f"{path}: zip has {reprlib.repr(group)}, expected a list of axes ({', '.join(axes)})")
        if len({len(axes[name]) for name in group}) != 1:
            raise InputError(f"{path}: zip: {', '.join(group)} have different numbers of values")
        if any(name in other for other in groups for name in group):
            raise InputError(f"{path}: zip has an axis in two groups")
        groups.append(tuple(group))
    return tuple(groups)


def _check_name(name: Any, path: Path, where: str) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InputError(f"{path}: {where}: {reprlib.repr(name)} is no name of letters, digits and underscores")


def _number(value: Any) -> Any:
    """YAML 1.1 takes 1e-3 for text."""
    if isinstance(value, str):
        try:
            return float(value) if math.isfinite(float(value)) else value
        except ValueError:
            return value
    return value
