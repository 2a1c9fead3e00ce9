"""A teacher whose packages cannot live beside ours: in its own environment, in a process that is kept running.

Enters a teacher's options with an interpreter, leaves a teacher as any other. The process loads the model once and is asked
over pipes. If it ends, it is started again and asked once more, then for each structure by itself, and the structure that
ends it twice is refused. It is a process group of its own, which ends with its parent however that is ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
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
from potstill.teacher.frames import BrokenFrameError, names_of, pack_structures, receive, send, unpack_answers

if TYPE_CHECKING:
    from potstill.teacher.options import TeacherOptions

PACKAGE = Path(__file__).parents[1]
# Only potstill itself is found in its folder: what stands beside it belongs to another environment.
START = """\
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
PATIENCE_SECONDS = 5.0  # for a process that has closed its pipe and is about to end


class EndedError(Exception):
    """The process ended without an answer; the text says how."""


class IsolatedTeacher:
    """A teacher in a process of another interpreter.

    Parameters
    ----------
    options
        Of the teacher; its class must be importable there.
    python
        The interpreter of its environment.

    Raises
    ------
    InputError
        If the teacher cannot be loaded there for a reason that the user can mend.
    PotstillError
        If its process ends while it loads.
    """

    def __init__(self, options: TeacherOptions, python: Path) -> None:
        self._options, self._python = options, python
        self._process = _Process(python)
        self._described: dict[str, Any] = {}
        self._load()

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """Name, version, weights and dtype, as its process has said them last."""
        return dict(self._described["fingerprint"])

    @property
    def elements(self) -> frozenset[int] | None:
        """Atomic numbers that it knows; None where it does not say."""
        known = self._described["elements"]
        return None if known is None else frozenset(known)

    @property
    def properties(self) -> frozenset[str]:
        """What it gives."""
        return frozenset(self._described["properties"])

    def label(self, structures: Sequence[Structure]) -> list[Labels | Refused]:
        """Labels or a refusal for each structure, in order."""
        if not structures:
            return []
        how = ""
        for _ in range(2):  # it may be killed without any fault of its own
            try:
                return self._ask(structures)
            except EndedError as error:
                how = str(error)
        if len(structures) == 1:
            return [Refused("teacher_crashed", f"its process ended: {how}")]
        return [answer for structure in structures for answer in self.label([structure])]

    def close(self) -> None:
        """End its process; it is started again when it is asked for more."""
        self._process.end()

    def _ask(self, structures: Sequence[Structure]) -> list[Labels | Refused]:
        if not self._process.alive:
            self._process = _Process(self._python)
            self._load()
        asking.get()(len(structures))
        self._process.tell({"threads": _threads(), "structures": names_of(structures)}, pack_structures(structures))
        message, arrays = self._hear()
        while "asking" in message:
            asking.get()(message["asking"])
            message, arrays = self._hear()
        self._described = {name: message[name] for name in self._described}
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
                f"the process of the teacher ended while it loaded it: {error}\n  its interpreter is {self._python}"
            ) from error

    def _hear(self) -> tuple[dict[str, Any], dict[str, Any]]:
        message, arrays = self._process.hear()
        if "failed" in message:
            raise (InputError if message["input"] else PotstillError)(f"{message['failed']}\n  (in {self._python})")
        return message, arrays


class _Process:
    def __init__(self, python: Path) -> None:
        variables = {k: v for k, v in os.environ.items() if k not in NOT_INHERITED}
        variables |= {"PYTHONNOUSERSITE": "1", "HF_HUB_OFFLINE": "1"}
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process lives
        try:
            self._process = subprocess.Popen(
                [str(python), "-c", START, str(PACKAGE)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._printed,
                env=variables,
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

    def tell(self, message: Mapping[str, Any], arrays: Mapping[str, Any] | None = None) -> None:
        try:
            send(_pipe(self._process.stdin), message, arrays)
        except OSError:
            raise EndedError(self._how()) from None

    def hear(self) -> tuple[dict[str, Any], dict[str, Any]]:
        try:
            return receive(_pipe(self._process.stdout))
        except (EOFError, OSError, BrokenFrameError):
            raise EndedError(self._how()) from None

    def end(self) -> None:
        self._end()

    def _how(self) -> str:
        """How it ended, with the last line that it printed."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE_SECONDS)
        self._printed.seek(0, os.SEEK_END)
        self._printed.seek(max(0, self._printed.tell() - TAIL_BYTES))
        lines = self._printed.read().decode("utf-8", errors="replace").split("\n")
        self.end()
        code = self._process.returncode or 0
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"exit code {code}: {last}" if last else f"exit code {code}"


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
    """Threads of PyTorch in this process, which its process shall have too; one where PyTorch is not there."""
    torch = sys.modules.get("torch")
    return int(torch.get_num_threads()) if torch is not None else 1
