"""One run of an external program: in its own process group, with a time limit, its output kept.

The input is an argument list, the output is how the program ended. The caller judges success by the files that it wrote:
programs exit with 0 after a failure, and with 1 after writing all that was requested.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

REPORT_SECONDS = 60.0
TAIL_BYTES = 65_536
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemoryError|\bMemoryError\b|std::bad_alloc|_ALLOC_FAILED|(can't|[Cc]annot) allocate memory"
)
NOT_INHERITED = (
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "PYTHONSAFEPATH",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "__PYVENV_LAUNCHER__",
)


@dataclass(frozen=True, slots=True)
class Ended:
    """End of a program.

    Parameters
    ----------
    code
        Exit code; 128 + n where signal n ended the program.
    timed_out
        Whether it was killed here, with all its children, at its time limit.
    out_of_memory
        Whether its last output reports exhausted memory, or another process killed it (as Linux does then).
    last_line
        Last line that it printed; may be empty.
    """

    code: int
    timed_out: bool
    out_of_memory: bool
    last_line: str

    @property
    def how(self) -> str:
        """Return how the program ended, in words."""
        return "ended when its time was over" if self.timed_out else f"exit code {self.code}"


def run_program(
    command: Sequence[str | Path],
    log_file: Path,
    *,
    timeout_seconds: float,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Run a command to its end, or kill it at the time limit.

    Parameters
    ----------
    command
        Program and arguments; no shell interprets them.
    log_file
        File that the command and its output are appended to.
    timeout_seconds
        Time limit in s; the program and all its children are then killed.
    folder
        Working folder; a temporary folder where None.
    environment
        Variables to set, beside those of this process. Python's own variables are not passed on. Temporary files go to a
        folder that is removed afterwards. The Hugging Face hub is offline unless stated otherwise.
    """
    arguments = [str(part) for part in command]
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="potstill-", ignore_cleanup_errors=True) as private:
        variables = {
            **{k: v for k, v in os.environ.items() if k not in NOT_INHERITED},
            "PYTHONUNBUFFERED": "1",
            "PYTHONNOUSERSITE": "1",
            "PYTHONHASHSEED": "0",
            "HF_HUB_OFFLINE": "1",
            "TMPDIR": private,
            **(environment or {}),
        }
        with log_file.open("ab") as output:
            output.write(f"$ {shlex.join(arguments)}\n".encode())
            output.flush()
            started_at = output.tell()
            timed_out, code = _run(arguments, output.fileno(), folder or Path(private), variables, timeout_seconds, log_file)
    tail = _tail(log_file, started_at)
    lines = [line.strip() for line in re.split(r"[\r\n]", tail) if line.strip()]
    memory = not timed_out and (code in KILLED or OUT_OF_MEMORY.search(tail) is not None)
    return Ended(code, timed_out, memory, lines[-1] if lines else "")


def _run(
    arguments: Sequence[str], output: int, folder: Path, variables: Mapping[str, str], timeout_seconds: float, log_file: Path
) -> tuple[bool, int]:
    supervisor = Path(__file__).with_name("supervisor.py")
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(supervisor), *arguments],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env=dict(variables),
        start_new_session=True,
    )
    started = time.monotonic()
    try:
        while (left := started + timeout_seconds - time.monotonic()) > 0:
            try:
                return False, process.wait(min(left, REPORT_SECONDS))
            except subprocess.TimeoutExpired:
                log.info("%s has run for %.0f s, output in %s", arguments[0], time.monotonic() - started, log_file)
        return True, 128 + signal.SIGKILL
    finally:
        with suppress(ProcessLookupError, PermissionError):  # no process is left; macOS reports that by the second error
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdin:
            process.stdin.close()


def _tail(path: Path, start: int) -> str:
    """Return the last output, from ``start`` on at most."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(start, end - TAIL_BYTES))
        return file.read().decode("utf-8", errors="replace")
