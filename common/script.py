"""What all scripts share on the command line: flags written down once, logging, and errors as one line."""

from __future__ import annotations

import argparse
import logging
import os
import platform
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any, NoReturn

logger = logging.getLogger(__name__)

BAD_INPUT, MACHINE = 2, 3  # exit codes: what the user gave cannot be used; the machine does not do what is needed
ENDED_BY_SIGNAL = 128  # plus the signal's number


@dataclass(frozen=True)
class Flag:
    """One command-line flag: its name without dashes, and argparse's keywords."""

    name: str
    settings: Mapping[str, Any]

    @property
    def default(self) -> Any:
        """The value where the flag is not given."""
        return self.settings.get("default", False if self.settings.get("action") == "store_true" else None)


def flag(name: str, **settings: Any) -> Flag:
    """A flag `--NAME`; `settings` are those of `argparse.ArgumentParser.add_argument`."""
    return Flag(name, settings)


def switch(name: str, help: str) -> Flag:
    """A flag that is on or off (default: off)."""
    return Flag(name, {"action": "store_true", "help": help})


def pick(flags: Sequence[Flag], *names: str, prefix: str = "") -> list[Flag]:
    """Some of another script's flags, under a prefix; an unknown name is an error."""
    by_name = {f.name: f for f in flags}
    return [replace(by_name[name], name=prefix + name) for name in names]


def arguments(flags: Sequence[Flag], **values: Any) -> argparse.Namespace:
    """The arguments of a script called from another one: its defaults, overridden by `values`."""
    unknown = values.keys() - {f.name for f in flags}
    if unknown:
        raise TypeError(f"no such flags: {', '.join(sorted(unknown))}")
    return argparse.Namespace(**{f.name: values.get(f.name, f.default) for f in flags})


def positive_int(text: str) -> int:
    """argparse type: an integer above 0."""
    value = int(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{value} is not above 0")
    return value


def positive_float(text: str) -> float:
    """argparse type: a number above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{value} is not above 0")
    return value


def finite_float(text: str) -> float:
    """argparse type: a number that is neither NaN nor infinite."""
    value = float(text)
    if not abs(value) < float("inf"):
        raise argparse.ArgumentTypeError(f"{value} is not a finite number")
    return value


def whole_number(text: str) -> int:
    """argparse type: an integer of 0 or above."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is below 0")
    return value


SEED = flag(
    "seed",
    type=whole_number,
    metavar="N",
    help="random seed; the same seed gives the same result (default: the one the folder was begun with, else one is drawn)",
)
RESUME = switch("resume", "go on with the training that was interrupted in the output folder, if there is one")
DEVICE = flag("device", choices=("auto", "cpu", "cuda"), default="auto", help="where networks run; auto: the GPU if there is one")
VERBOSE = switch("verbose", "log more, every epoch's losses among it")
DATA_DIR = flag("data_dir", default="separated_data/", metavar="DIR", help="folder with the separated .npy files of stage 1")
DATASHIFT = flag(
    "datashift",
    type=finite_float,
    default=0.0,
    metavar="X",
    help="add X × m_JJ (TeV) to m_J1 and Δm_J (TeV), so that features and m_JJ are correlated",
)
RANDOM_SHIFT = switch(
    "random_shift",
    "let --datashift add X × m_JJ (TeV) of randomly chosen data instead: the same smearing without the correlation",
)
SEPARATE_VAL_SET = switch(
    "separate_val_set",
    "keep innerdata_val.npy for validation; without it training and validation events are pooled and split at random",
)
NO_EXTRA_SIGNAL = switch("no_extra_signal", "leave the extra signal events (innerdata_extrasig*.npy) out of the evaluation")
SR_MIN = flag("SR_min", type=finite_float, default=3.3, metavar="TEV", help="lower edge of the signal region in m_JJ (TeV)")
SR_MAX = flag("SR_max", type=finite_float, default=3.7, metavar="TEV", help="upper edge of the signal region in m_JJ (TeV)")


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False):
            return action.help
        return super()._get_help_string(action)


class _Parser(argparse.ArgumentParser):
    """argparse's parser, whose errors are one line without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: error: {message} (see --help)\n")


def make_parser(description: str, flags: Sequence[Flag]) -> argparse.ArgumentParser:
    """The parser of a script: its docstring and its flags."""
    parser = _Parser(description=description, formatter_class=_Formatter, allow_abbrev=False)
    for f in flags:
        parser.add_argument(f"--{f.name}", **f.settings)
    return parser


def run_script(
    main: Callable[[argparse.Namespace], None],
    description: str,
    flags: Sequence[Flag],
    argv: Sequence[str] | None = None,
) -> None:
    """Parse, log, and call `main`; what goes wrong ends with one line.

    Exit codes: 2 for input that cannot be used, 3 for a machine that does not do what is needed (a full disk, another run in the same
    folder), 128 + N for signal N.
    """
    try:
        args = make_parser(description, flags).parse_args(argv)
        _log(args.verbose)
        _run(main, args)
    except KeyboardInterrupt:  # before the signals are handled
        _end(ENDED_BY_SIGNAL + signal.SIGINT, "ended by SIGINT")


def _log(verbose: bool) -> None:
    from workflow.records import VERSIONS_OF

    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for noisy in ("matplotlib", "PIL", "h5py", "numexpr"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    versions = ", ".join(f"{name} {version(name)}" for name in VERSIONS_OF)
    logger.info("%s, Python %s, %s", os.path.basename(sys.argv[0]), platform.python_version(), versions)


def _run(main: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> None:
    from common.files import InputError, MachineError
    from models.training.checkpoints import Interrupted, signals_interrupt

    try:
        with signals_interrupt():
            main(args)
    except InputError as error:
        _end(BAD_INPUT, f"error: {error}")
    except Interrupted as ending:
        _end(ENDED_BY_SIGNAL + ending.signal_number, f"ended by {ending}")
    except MemoryError:
        _end(MACHINE, "error: out of memory")
    except RuntimeError as error:
        if not isinstance(error, MachineError) and "memory" not in str(error):  # torch has no better name for it
            raise
        _end(MACHINE, f"error: {' '.join(str(error).split())[:300]}")
    except OSError as error:
        _end(MACHINE, f"error: {' '.join(str(error).split())}")


def _end(code: int, line: str) -> NoReturn:
    sys.stderr.write(f"{os.path.basename(sys.argv[0])}: {line}\n")
    sys.exit(code)
