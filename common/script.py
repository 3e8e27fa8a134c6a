"""The frame of a script: parse, log, call, and end with one line and an exit code where something goes wrong."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from common.environment import versions
from common.errors import InputError, Interrupted, MachineError
from common.logfile import FORMAT, NOISY
from common.options import BAD_INPUT, SomeOptions, make_options, parse
from common.processes import compute_in_one_thread
from common.progress import LogAboveBars
from common.signals import signals_interrupt

logger = logging.getLogger(__name__)

MACHINE = 3  # exit code where the machine does not do what is needed
ENDED_BY_SIGNAL = 128  # plus the signal's number


def run_script(
    main: Callable[[SomeOptions], None],
    description: str,
    options: type[SomeOptions],
    argv: Sequence[str] | None = None,
) -> None:
    """Parse the command line into `options` and call `main`; what goes wrong ends with one line.

    Exit codes: 2 for input that cannot be used, 3 for a machine that does not do what is needed (a full disk, another run in the same
    folder), 128 + N for signal N.
    """
    compute_in_one_thread()
    try:
        values = parse(description, options, argv)
        _start_logging(values["verbose"])
        with signals_interrupt():
            main(make_options(options, values))
    except InputError as error:
        _end(BAD_INPUT, f"error: {error}")
    except Interrupted as ending:
        _end(ENDED_BY_SIGNAL + ending.signal_number, f"ended by {ending}")
    except KeyboardInterrupt:  # before the signals are handled
        _end(ENDED_BY_SIGNAL + signal.SIGINT, "ended by SIGINT")
    except MemoryError:
        _end(MACHINE, "error: out of memory")
    except RuntimeError as error:
        if not isinstance(error, MachineError) and "memory" not in str(error):  # torch has no better name for it
            raise
        _end(MACHINE, f"error: {' '.join(str(error).split())[:300]}")
    except OSError as error:
        _end(MACHINE, f"error: {' '.join(str(error).split())}")


def _start_logging(verbose: bool) -> None:
    screen = LogAboveBars() if sys.stderr is not None and sys.stderr.isatty() else logging.StreamHandler()
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, format=FORMAT, handlers=[screen])
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    packages = ", ".join(f"{name} {number}" for name, number in versions().items())
    logger.info("%s with %s", os.path.basename(sys.argv[0]), packages)


def _end(code: int, line: str) -> NoReturn:
    sys.stderr.write(f"{os.path.basename(sys.argv[0])}: {line}\n")
    sys.exit(code)
