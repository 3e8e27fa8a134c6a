"""How a script ends: the exit code, and one line."""

from __future__ import annotations

import pytest

from common.errors import InputError, Interrupted, MachineError
from common.options import StageOptions
from common.script import run_script

FAULTS = [
    (InputError("bad x.npy"), 2, "error: bad x.npy"),
    (MachineError("x.npy: cannot be written"), 3, "error: x.npy: cannot be written"),
    (OSError(28, "No space left on device", "x.npy"), 3, "error: [Errno 28] No space left on device: 'x.npy'"),
    (MemoryError(), 3, "error: out of memory"),
    (
        RuntimeError("DefaultCPUAllocator: can't allocate memory\nfor it"),
        3,
        "error: DefaultCPUAllocator: can't allocate memory for it",
    ),
    (Interrupted(15), 143, "ended by SIGTERM"),
    (Interrupted(2), 130, "ended by SIGINT"),
    (KeyboardInterrupt(), 130, "ended by SIGINT"),
]


@pytest.mark.parametrize(("fault", "code", "text"), FAULTS)
def test_faults_end_with_their_code_and_one_line(fault, code, text, capsys):
    def main(options: StageOptions) -> None:
        raise fault

    with pytest.raises(SystemExit) as ending:
        run_script(main, "", StageOptions, [])
    assert ending.value.code == code
    assert capsys.readouterr().err.split(": ", 1)[1] == f"{text}\n"


@pytest.mark.parametrize("fault", [RuntimeError("a shape is wrong"), ValueError("a bug"), ZeroDivisionError()])
def test_bugs_are_not_hidden(fault):
    def main(options: StageOptions) -> None:
        raise fault

    with pytest.raises(type(fault)):
        run_script(main, "", StageOptions, [])
