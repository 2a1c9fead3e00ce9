"""A teacher in a process of its own, for packages of another environment or teachers that may end their process.

Takes a teacher's options and returns a teacher like any other. The process loads the model once and is called over pipes. If
the process ends, it is started again and called once more, then for each structure alone. A structure that ends it twice is
refused. A process that does not answer in time is killed. Its output goes to the log. It is a process group of its own,
which ends with its parent however the parent ends.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from potstill.core.errors import InputError, PotstillError
from potstill.core.types import Labels, Refused, Structure
from potstill.execute import expect_within
from potstill.execute.parsl_supervisor import SENTRY
from potstill.execute.program import NOT_INHERITED
from potstill.teacher.batching import LOADING, asking
from potstill.teacher.messages import BrokenMessageError, names_of, pack_structures, receive, send, unpack_answers

if TYPE_CHECKING:
    from potstill.teacher.options import TeacherOptions

log = logging.getLogger(__name__)
PACKAGE = Path(__file__).parents[1]
# Started with this interpreter: it has the paths of the parent, and modules of the current folder never hide those of
# Python.
START_HERE = """\
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from potstill.teacher.serve import main
main()
"""
# Only potstill itself is imported from its folder: the packages beside it belong to another environment.
START_THERE = """\
import importlib.util, sys
sys.path[:] = [place for place in sys.path if place]
place = sys.argv[1]
spec = importlib.util.spec_from_file_location("potstill", place + "/__init__.py", submodule_search_locations=[place])
sys.modules["potstill"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
from potstill.teacher.serve import main
main()
"""
TAIL_BYTES = 4096
LOGGED_BYTES = 65_536  # per call, so that a teacher that prints without end does not fill the log
GIVEN_UP_AFTER = 6  # ends in a row of a supervised teacher, so that audit and evaluate do not restart it for hours
END_SECONDS = 5.0  # wait for a process that has closed its pipe


class EndedError(Exception):
    """Raised when the process ended without an answer; the text says how.

    Parameters
    ----------
    how
        Exit code or signal, with the last line of its output.
    timed_out
        Whether it was killed because no answer came in time.
    """

    def __init__(self, how: str, *, timed_out: bool = False) -> None:
        super().__init__(how)
        self.timed_out = timed_out


class IsolatedTeacher:
    """A teacher in a process of its own.

    Parameters
    ----------
    options
        Options of the teacher; their class must be importable in its process.
    python
        Interpreter of its environment; this one, with the same paths and variables, where None.
    timeout_seconds_per_structure
        Time limit in s for each structure; no limit where None.

    Raises
    ------
    InputError
        If the teacher cannot be loaded there for a reason that the user can fix.
    PotstillError
        If its process ends while it loads.
    """

    def __init__(
        self, options: TeacherOptions, python: Path | None = None, *, timeout_seconds_per_structure: float | None = None
    ) -> None:
        self._options, self._python = options, python
        self._timeout = timeout_seconds_per_structure
        self._process = _Process(python)
        self._described: dict[str, Any] = {}
        self._cost = (0.0, 0)
        self._ends = 0  # number of ends of its process since the last answer
        self._load()

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """Return name, version, weights and dtype, as last reported by its process."""
        return dict(self._described["fingerprint"])

    @property
    def elements(self) -> frozenset[int] | None:
        """Return the atomic numbers that it supports; None where it does not state them."""
        known = self._described["elements"]
        return None if known is None else frozenset(known)

    @property
    def properties(self) -> frozenset[str]:
        """Return the names of the properties that it predicts."""
        return frozenset(self._described["properties"])

    @property
    def seconds(self) -> float:
        """Return the time of the last call in s by the clock of its process, without the transfer."""
        return self._cost[0]

    @property
    def device_bytes(self) -> int:
        """Return the largest GPU memory in bytes that its process has used; 0 without a GPU."""
        return self._cost[1]

    @property
    def process(self) -> int:
        """Return the id of its process."""
        return self._process.number

    def label(self, structures: Sequence[Structure]) -> list[Labels | Refused]:
        """Return labels or a refusal for each structure, in order."""
        if not structures:
            return []
        if self._ends >= GIVEN_UP_AFTER and self._python is None:
            why = f"its process ended {self._ends} times in a row and is not started again"
            return [Refused("teacher_crashed", why)] * len(structures)
        ended = EndedError("")
        for _ in range(2):  # another program may have killed the process
            try:
                answers = self._ask(structures)
            except EndedError as error:
                ended = error
                self._ends += 1
                self._warn(ended)
                if ended.timed_out:
                    break
            else:
                self._ends = 0
                return answers
        if len(structures) > 1:
            return [answer for structure in structures for answer in self.label([structure])]
        if ended.timed_out:
            return [Refused("teacher_timeout", f"no answer within {self._timeout:g} s")]
        return [Refused("teacher_crashed", f"its process ended: {ended}")]

    def _warn(self, ended: EndedError) -> None:
        log.warning(
            "the process of the teacher ended: %s", f"no answer within {self._timeout:g} s" if ended.timed_out else ended
        )
        if self._ends == GIVEN_UP_AFTER and self._python is None:
            log.warning("it ended %d times in a row and is not started again: what needs the teacher is not run", self._ends)

    def close(self) -> None:
        """End its process; the next call starts it again."""
        self._process.end()

    def _ask(self, structures: Sequence[Structure]) -> list[Labels | Refused]:
        if not self._process.alive:
            self._process = _Process(self._python)
            self._load()
        asking.get()(len(structures))
        self._process.tell({"threads": _threads(), "structures": names_of(structures)}, pack_structures(structures))
        message, arrays = self._hear(len(structures))
        while "asking" in message:
            asking.get()(message["asking"])
            message, arrays = self._hear(message["asking"])
        self._described = {name: message[name] for name in self._described}
        self._cost = (float(message.get("seconds", 0.0)), int(message.get("device_bytes", 0)))
        return unpack_answers(message["answers"], arrays)

    def _load(self) -> None:
        expect_within(None, LOADING)
        kind = type(self._options)
        options = self._options.model_copy(update={"environment": ""}).model_dump_json()
        try:
            self._process.tell({"module": kind.__module__, "kind": kind.__qualname__, "options": options})
            self._described, _ = self._hear()
        except EndedError as error:
            raise PotstillError(
                f"the process of the teacher ended while it loaded the teacher: {error}\n"
                f"  its interpreter is {self._python or sys.executable}"
            ) from error

    def _hear(self, structures: int | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the next message; the time limit counts ``structures`` structures."""
        seconds = None if structures is None or self._timeout is None else structures * self._timeout
        message, arrays = self._process.hear(seconds)
        self._process.log_output()
        if "failed" in message:
            where = f"\n  (in {self._python})" if self._python else ""
            raise (InputError if message["input"] else PotstillError)(f"{message['failed']}{where}")
        return message, arrays


class _Process:
    def __init__(self, python: Path | None) -> None:
        self._printed = tempfile.TemporaryFile("a+b")  # noqa: SIM115 - as long as the process; it appends while we read
        self._logged = 0
        try:
            self._process = subprocess.Popen(
                _command(python),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._printed,
                env=_variables(python),
                process_group=0,
            )
        except OSError as error:
            self._printed.close()
            raise InputError(f"the interpreter {python} cannot be started: {error}") from error
        self._sentry = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", SENTRY], stdin=subprocess.PIPE, process_group=self._process.pid
        )
        self._end = weakref.finalize(self, _end, self._process, self._sentry, self._printed)

    @property
    def alive(self) -> bool:
        return self._end.alive and self._process.poll() is None

    @property
    def number(self) -> int:
        return self._process.pid

    def tell(self, message: Mapping[str, Any], arrays: Mapping[str, Any] | None = None) -> None:
        try:
            send(_pipe(self._process.stdin), message, arrays)
        except OSError:
            raise EndedError(self._how()) from None

    def hear(self, seconds: float | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the next message; kill a process that sends none within ``seconds``."""
        late = threading.Event()

        def kill() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(seconds, kill) if seconds is not None else None
        if timer is not None:
            timer.daemon = True
            timer.start()
        try:
            return receive(_pipe(self._process.stdout))
        except (EOFError, OSError, BrokenMessageError):
            raise EndedError(self._how(), timed_out=late.is_set()) from None
        finally:
            if timer is not None:
                timer.cancel()

    def log_output(self) -> None:
        """Write to the log the new output of its process."""
        size = self._printed.seek(0, os.SEEK_END)
        if size <= self._logged:
            return
        self._printed.seek(max(self._logged, size - LOGGED_BYTES))
        text = self._printed.read(size - self._printed.tell()).decode("utf-8", errors="replace")
        self._printed.seek(0, os.SEEK_END)
        self._logged = size
        for line in text.splitlines():
            if line.strip():
                log.info("the teacher printed: %s", line.rstrip())

    def end(self) -> None:
        self._end()

    def _how(self) -> str:
        """Return how it ended, with the last line that it printed."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        self.log_output()
        self._printed.seek(0, os.SEEK_END)
        self._printed.seek(max(0, self._printed.tell() - TAIL_BYTES))
        lines = self._printed.read().decode("utf-8", errors="replace").split("\n")
        self.end()
        code = self._process.returncode or 0
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"exit code {code}: {last}" if last else f"exit code {code}"


def _command(python: Path | None) -> list[str]:
    if python is None:
        here = {"", ".", str(Path.cwd())}
        paths = sorted((str(place) for place in sys.path), key=lambda place: place in here)
        return [sys.executable, "-P", "-c", START_HERE, json.dumps(paths)]
    return [str(python), "-c", START_THERE, str(PACKAGE)]


def _variables(python: Path | None) -> dict[str, str]:
    """Return the environment variables of the process; another interpreter gets none of Python's own."""
    if python is None:
        return dict(os.environ)
    kept = {k: v for k, v in os.environ.items() if k not in NOT_INHERITED}
    return kept | {"PYTHONNOUSERSITE": "1", "HF_HUB_OFFLINE": "1"}


def _end(process: subprocess.Popen[bytes], sentry: subprocess.Popen[bytes], printed: IO[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    for one in (process, sentry):
        one.wait()
        for pipe in (one.stdin, one.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
    printed.close()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None  # noqa: S101 - opened above
    return stream


def _threads() -> int:
    """Return the number of PyTorch's threads in this process, for the teacher's process; 1 without PyTorch."""
    torch = sys.modules.get("torch")
    return int(torch.get_num_threads()) if torch is not None else 1
