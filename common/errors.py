"""The three ways in which a run ends early for a reason that is no fault of the code: each is one line for the user."""

from __future__ import annotations

import signal


class InputError(ValueError):
    """Something the user gave (a file, a flag, a folder) cannot be used; the message is one line that says what and why."""


class MachineError(RuntimeError):
    """The machine does not do what is needed (a full disk, a folder that became read-only, a lock); one line that says what and why."""


class Interrupted(BaseException):
    """SIGTERM or SIGINT arrived. Like KeyboardInterrupt it is no Exception, so that nothing takes it for a fault and goes on."""

    def __init__(self, signal_number: int, remark: str = "") -> None:
        super().__init__(signal_number, remark)  # as it is made again in another process
        self.signal_number, self.remark = signal_number, remark

    def __str__(self) -> str:
        return signal.Signals(self.signal_number).name + self.remark
