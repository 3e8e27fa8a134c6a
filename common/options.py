"""Options of a script, each written once: a dataclass field with its default, unit, help and check.

From the dataclass come the parser of the script, the prefixed flags of a script that chains others, what STAGE.json records, and the
tables in docs/flags.md.

    @dataclass(frozen=True, kw_only=True)
    class Options(StageOptions):
        epochs: int = option(20, "passes over the training events", unit="epochs", check=positive)

A script that chains others has their options as fields, `density: DensityOptions = chained("DE_")`: `--epochs` is `--DE_epochs` there.

A flag that is on or off is off by default; `--fast` switches it on, `--fast false` off again where something else has switched it on.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TypeVar, get_args, get_origin, get_type_hints

from common.errors import InputError

SWITCHED = ("true", "false")  # what may stand after a switch
BAD_INPUT = 2  # exit code for what the user gave and cannot be used
WITH_PREFIX = "with the prefix"
FIGURE_FORMATS = ("png", "pdf", "svg")

Check = Callable[[Any], str | None]
SomeOptions = TypeVar("SomeOptions", bound="Options")


def option(
    default: Any,
    help: str,
    *,
    unit: str = "",
    check: Check | None = None,
    choices: Sequence[str] = (),
    metavar: str | None = None,
    default_text: str = "",
    chained_as: str | None = WITH_PREFIX,
    recorded: bool = True,
    switches: bool = False,
    positional: bool = False,
) -> Any:
    """A field that is a flag of the same name.

    Parameters
    ----------
    default : object
        MISSING where the flag must be given.
    check : callable, optional
        Says in words what is wrong with a value, None if nothing is.
    default_text : str
        What to print where the default is None.
    chained_as : str or None
        The flag's name in a script that chains this one; None: that script sets it itself.
    recorded : bool
        Whether the value decides the result, and so belongs into STAGE.json. Files do not: what they hold is recorded.
    switches : bool
        Whether every choice is also a flag of its own, where the script is not chained.
    positional : bool
        Whether it is given without a flag.
    """
    metadata = {"help": help, "unit": unit, "check": check, "choices": tuple(choices), "metavar": metavar}
    metadata |= {"default": default_text, "chained_as": chained_as, "recorded": recorded, "switches": switches}
    metadata |= {"positional": positional}
    return field(default=default, metadata=metadata)


def chained(prefix: str) -> Any:
    """A field that holds the options of a stage, whose flags get the prefix."""
    return field(metadata={"prefix": prefix})


def positive(value: float) -> str | None:
    """Check of a number above 0."""
    return None if 0 < value < math.inf else "must be above 0"


def not_negative(value: float) -> str | None:
    """Check of a number of 0 or above."""
    return None if 0 <= value < math.inf else "must be 0 or above"


def finite(value: float) -> str | None:
    """Check of a number that is neither NaN nor infinite."""
    return None if math.isfinite(value) else "must be a finite number"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Base of all options; `spelling` says how the user called those flags that were called otherwise."""

    spelling: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        for f in fields(self):
            value, metadata = getattr(self, f.name), f.metadata
            if "help" not in metadata or value is None:
                continue
            if metadata["choices"] and value not in metadata["choices"]:
                raise InputError(f"{self.flag(f.name)} {value}: must be one of {', '.join(metadata['choices'])}")
            if metadata["check"] is not None and (fault := metadata["check"](value)):
                given = " ".join(map(str, value)) if isinstance(value, tuple) else value
                raise InputError(f"{self.flag(f.name)} {given}: {fault}")

    @classmethod
    def further_defaults(cls, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Defaults, by flag, that follow from the values of all flags: what a preset stands for."""
        return {}

    def flag(self, name: str) -> str:
        """The flag behind a field, as the user typed it."""
        if any(f.name == name and f.metadata.get("positional") for f in fields(self)):
            return name.upper()
        return f"--{self.spelling.get(name, name)}"

    def recorded(self, without: Collection[str] = ()) -> dict[str, Any]:
        """The values that decide the result, as they will come back from STAGE.json."""
        names = [f.name for f in fields(self) if f.metadata.get("recorded") and f.name not in without]
        return json.loads(json.dumps({name: getattr(self, name) for name in names}, default=str))

    def default(self, name: str) -> Any:
        """The value where a flag is not given."""
        return next(f.default for f in fields(self) if f.name == name)

    def settings(self, names: Sequence[str], accepted: Collection[str], owner: str) -> dict[str, Any]:
        """Those of the options `names` that `owner` accepts.

        Raises
        ------
        InputError
            If one that it does not accept is not at its default.
        """
        for name in names:
            if name not in accepted and getattr(self, name) != self.default(name):
                raise InputError(f"{self.flag(name)}: {owner} has no such option")
        return {name: getattr(self, name) for name in names if name in accepted}


@dataclass(frozen=True, kw_only=True)
class ScriptOptions(Options):
    """What every script has."""

    verbose: bool = option(False, "log more, every epoch's losses among it", chained_as="verbose", recorded=False)


@dataclass(frozen=True, kw_only=True)
class ReportOptions(ScriptOptions):
    """What every script has that ends with a report."""

    no_report: bool = option(False, "write no report.html", chained_as=None, recorded=False)


@dataclass(frozen=True, kw_only=True)
class StageOptions(ScriptOptions):
    """What every script has that computes."""

    DRAWN: ClassVar[str] = "the one that the folder was begun with, else one is drawn"

    seed: int | None = option(
        None, "random seed; the same seed gives the same result", check=not_negative, default_text=DRAWN, chained_as="seed"
    )
    device: str = option(
        "auto",
        "where networks run; auto: the GPU if there is one",
        choices=("auto", "cpu", "cuda"),
        chained_as="device",
        recorded=False,
    )
    threads: int | None = option(
        None,
        "processes to compute with, of one thread each; the result does not depend on it",
        check=positive,
        default_text="as many as there are cores to use, which are never exceeded",
        chained_as="threads",
        recorded=False,
    )
    figures: str = option("png", "format of the figures", choices=FIGURE_FORMATS, chained_as="figures", recorded=False)


@dataclass(frozen=True, kw_only=True)
class ResumableOptions(StageOptions):
    """What every script has that trains."""

    resume: bool = option(
        False,
        "go on with the training that was interrupted in the output folder, if there is one",
        chained_as="resume",
        recorded=False,
    )


@dataclass(frozen=True)
class Flag:
    """One flag of a script: its name without dashes, the field behind it, and the field's type."""

    name: str
    field: Field[Any]
    kind: Any
    is_chained: bool = False

    @property
    def typed(self) -> str:
        """What the user types: the flag, or what stands in its place."""
        return self.field.metadata["metavar"] if self.field.metadata["positional"] else f"--{self.name}"

    @property
    def help(self) -> str:
        """What --help says of it: the field's help with unit and default."""
        remarks = [self.field.metadata["unit"], f"default: {self.default}" if self.default else ""]
        remarks = "; ".join(filter(None, remarks))
        return self.field.metadata["help"] + (f" ({remarks})" if remarks else "")

    @property
    def default(self) -> str:
        """The default in words; empty for what is off or absent by default."""
        value = self.field.default
        return self.field.metadata["default"] if value in (None, (), MISSING) else "" if value is False else str(value)

    def add_to(self, parser: argparse._ActionsContainer) -> None:
        """Add it to a parser."""
        metadata, help = self.field.metadata, self.help.replace("%", "%%")
        if self.kind is bool:
            parser.add_argument(f"--{self.name}", action=_Switch, help=help)
            return
        kind, many = _plain(self.kind)
        metavar = metadata["metavar"] or {int: "N", float: "X", Path: "PATH", str: "NAME"}[kind]
        settings = {"choices": metadata["choices"]} if metadata["choices"] else {"metavar": metavar}
        if metadata["positional"]:
            parser.add_argument(self.name, type=kind, help=help, **settings, **({"nargs": "+"} if many else {}))
            return
        required = self.field.default is MISSING
        default = None if required else self.field.default
        if many:
            settings |= {"nargs": "+", "action": "extend"}
            default = None if required else list(default)
        if not metadata["switches"] or self.is_chained:
            parser.add_argument(f"--{self.name}", type=kind, default=default, required=required, help=help, **settings)
            return
        group = parser.add_mutually_exclusive_group(required=required)
        group.add_argument(f"--{self.name}", type=kind, default=default, help=help, **settings)
        for choice in metadata["choices"]:
            short = {"dest": self.name, "action": "store_const", "const": choice, "default": argparse.SUPPRESS}
            group.add_argument(f"--{choice}", help=f"short for --{self.name} {choice}", **short)


class _Switch(argparse.Action):
    """On where it is given, unless `false` follows; see `_Parser.parse_known_args`."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs="?", const=True, default=False, metavar="false", help=help)

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, value: Any, name: str | None = None
    ) -> None:
        if value not in (True, *SWITCHED):
            parser.error(f"argument {name}: {value!r} is neither true nor false")
        setattr(namespace, self.dest, value in (True, SWITCHED[0]))


def _plain(kind: Any) -> tuple[type, bool]:
    """`int` of `int | None`, `Path` of `tuple[Path, ...]`; and whether there may be several."""
    if isinstance(kind, types.UnionType):
        return _plain(next(part for part in get_args(kind) if part is not type(None)))
    return (get_args(kind)[0], True) if get_origin(kind) is tuple else (kind, False)


def flags(options: type[Options], prefix: str | None = None) -> dict[str, Flag]:
    """The flags of a script by name; with a prefix, those that a script has which chains it."""
    found: dict[str, Flag] = {}
    kinds = get_type_hints(options)
    for f in fields(options):
        if "prefix" in f.metadata:
            found = flags(kinds[f.name], f.metadata["prefix"]) | found
        elif name := _name(f, prefix):
            found[name] = Flag(name, f, kinds[f.name], is_chained=prefix is not None)
    return found


def _name(f: Field[Any], prefix: str | None) -> str | None:
    """The flag of a field, None where it has none."""
    if "help" not in f.metadata:
        return None
    chained_as = f.metadata["chained_as"]
    if prefix is None:
        return f.name
    return prefix + f.name if chained_as == WITH_PREFIX else chained_as


def make_options(options: type[SomeOptions], values: Mapping[str, Any], prefix: str | None = None) -> SomeOptions:
    """The options of a script from the values of its flags.

    Raises
    ------
    InputError
        If a value cannot be.
    """
    kinds, arguments, spelling = get_type_hints(options), {}, {}
    for f in fields(options):
        if "prefix" in f.metadata:
            arguments[f.name] = make_options(kinds[f.name], values, f.metadata["prefix"])
        elif (name := _name(f, prefix)) and name in values:
            value, spelling[f.name] = values[name], name
            arguments[f.name] = tuple(value) if isinstance(value, list) else value
    return options(**arguments, spelling=spelling)


class _Parser(argparse.ArgumentParser):
    """argparse's parser, whose errors are one line without the usage, and whose switches take no word but true and false."""

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """A switch before something else has no value: `--dry_run GRID.yml` is not about a switch called GRID.yml."""
        words = list(sys.argv[1:] if args is None else args)
        switches = {name for action in self._actions if isinstance(action, _Switch) for name in action.option_strings}
        for place, (word, following) in enumerate(zip(words, [*words[1:], ""], strict=False)):
            if word in switches and following not in SWITCHED:
                words[place] = f"{word}={SWITCHED[0]}"
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: error: {message} (see --help)\n")


def make_parser(description: str, options: type[Options]) -> argparse.ArgumentParser:
    """The parser of a script: its docstring and its flags."""
    parser = _Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    for flag in flags(options).values():
        flag.add_to(parser)
    return parser


def parse(description: str, options: type[Options], argv: Sequence[str] | None = None) -> dict[str, Any]:
    """The values of a script's flags: as given on the command line, else as `Options.further_defaults` has it, else the default."""
    return _values(make_parser(description, options), options, argv)


def parsed(options: type[SomeOptions], argv: Sequence[str]) -> SomeOptions:
    """The options of a script from a command line that no user has typed just now.

    Raises
    ------
    InputError
        Where the script would end: an unknown flag, a value that cannot be.
    """

    def refuse(message: str) -> NoReturn:
        raise InputError(message)

    parser = make_parser("", options)
    parser.error = refuse  # type: ignore[method-assign]
    return make_options(options, _values(parser, options, argv))


def _values(parser: argparse.ArgumentParser, options: type[Options], argv: Sequence[str] | None) -> dict[str, Any]:
    parser.set_defaults(**options.further_defaults(vars(parser.parse_args(argv))))
    return vars(parser.parse_args(argv))
