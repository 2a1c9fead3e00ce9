"""Runs a command for as long as the driver of a run is alive, and ends it with all its children then.

Started in place of Parsl's own processes, on the driver's machine and on every node of a cluster. The driver writes a
heartbeat into a file in the run folder (see :class:`Heartbeat`), which every node sees. On the driver's own machine its
process is checked as well, so that a killed driver is noticed within a second.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

import psutil

POLL_SECONDS = 0.5
# Runs in the command's process group, and ends the group when the supervisor itself is killed and the pipe closes.
SENTRY = "import os, signal\nwhile os.read(0, 4096): pass\nos.killpg(0, signal.SIGKILL)"


class Heartbeat:
    """Heartbeat of this process, in a file, until it is stopped.

    Parameters
    ----------
    path
        Path of the file, which is replaced as a whole.
    every_seconds
        Time between two writes in s.
    """

    def __init__(self, path: Path, every_seconds: float) -> None:
        self._path = path
        self._every = every_seconds
        self._beats = 0
        self._stopped = threading.Event()
        self.beat()
        threading.Thread(target=self._go_on, daemon=True).start()

    def beat(self) -> None:
        """Write one heartbeat."""
        self._beats += 1
        born = psutil.Process().create_time()
        content = {"host": platform.node(), "process": os.getpid(), "born": born, "every": self._every, "beat": self._beats}
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(content), encoding="utf-8")
        temporary.replace(self._path)

    def stop(self) -> None:
        """Stop the heartbeat and remove the file."""
        self._stopped.set()
        self._path.unlink(missing_ok=True)

    def _go_on(self) -> None:
        while not self._stopped.wait(self._every):
            with suppress(OSError):  # the file system may be away for a while; readers wait for six heartbeats
                self.beat()


class Driver:
    """State of the driver, read from its file.

    Parameters
    ----------
    path
        File of a :class:`Heartbeat`.
    missed
        Number of heartbeats that may be missing.
    """

    def __init__(self, path: Path, missed: int = 6) -> None:
        self._path = path
        self._missed = missed
        self._last = ""
        self._heard = time.monotonic()  # this machine's clock: those of two machines may differ
        self._every = 5.0

    def alive(self) -> bool:
        """Return whether the driver's process is alive; for another machine, whether its heartbeat is recent."""
        if not self._path.exists():  # the driver has stopped; a rename leaves no moment without a file
            return False
        with suppress(OSError, ValueError):
            text = self._path.read_text(encoding="utf-8")
            content = json.loads(text)
            if content["host"] == platform.node():
                return _is_there(content["process"], content["born"])
            if text != self._last:
                self._last, self._heard, self._every = text, time.monotonic(), content["every"]
        return time.monotonic() - self._heard < self._missed * self._every


def _is_there(number: int, born: float) -> bool:
    try:
        process = psutil.Process(number)
        return abs(process.create_time() - born) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def main() -> None:
    """Run a command: ``python -m potstill.execute.parsl_supervisor HEARTBEAT_FILE COMMAND …``."""
    driver = Driver(Path(sys.argv[1]))
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # only the driver reacts to Ctrl-C; it ends the others
    variables = {**os.environ, "PYTHONSAFEPATH": "1"}  # so that a struct.py in the current folder does not replace Python's
    child = subprocess.Popen(sys.argv[2:], process_group=0, env=variables)
    sentry = subprocess.Popen([sys.executable, "-I", "-S", "-c", SENTRY], stdin=subprocess.PIPE, process_group=child.pid)
    code: int | None = None
    try:
        while code is None and driver.alive():
            with suppress(subprocess.TimeoutExpired):
                code = child.wait(POLL_SECONDS)
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        sentry.wait()
    sys.exit(1 if code is None else code)


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main()
