"""Signals that stop a command: each becomes an exit with the code of a shell, also where Python would ignore it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPS = (signal.SIGTERM, signal.SIGHUP)
AGAIN_SECONDS = 0.05  # until a signal is sent again
EXIT_CODES = tuple(128 + number for number in (signal.SIGINT, *STOPS))  # exit codes of a shell


class Terminated(SystemExit):
    """Raised at SIGTERM from a scheduler or SIGHUP from a closed terminal, with the exit code of a shell."""


@contextmanager
def stops_as_exits() -> Iterator[None]:
    """Raise :class:`Terminated` at each of these signals that is not ignored, until the block is left."""
    before = {number: signal.signal(number, _terminate) for number in STOPS if signal.getsignal(number) != signal.SIG_IGN}
    hook, sys.unraisablehook = sys.unraisablehook, _send_again
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def _terminate(number: int, _frame: FrameType | None) -> None:
    for other in STOPS:  # a second signal must not interrupt the shutdown after the first
        signal.signal(other, signal.SIG_IGN)
    raise Terminated(128 + number)


def _send_again(ignored: sys.UnraisableHookArgs) -> None:
    """Send a signal again that arrived within a callback of the garbage collector, where Python ignores exceptions."""
    error = ignored.exc_value
    if isinstance(error, KeyboardInterrupt):
        number = int(signal.SIGINT)
    elif isinstance(error, Terminated):
        number = int(error.code or 0) - 128
        for other in STOPS:
            signal.signal(other, _terminate)
    else:
        sys.__unraisablehook__(ignored)
        return
    threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), number)).start()
