"""One worker process with one thread, and the pipe to its parent.

The parent sends tasks. The worker sends results, exceptions and deadlines. A task may report its activity and the deadline
of its next message, so that the parent can kill a worker that hangs.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import psutil

from potstill.core.errors import InputError, PotstillError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
SAFE_PATH = "PYTHONSAFEPATH"  # keeps the current folder, and a file there such as struct.py, off the path of modules
WORKER_VARIABLE = "POTSTILL_WORKER"  # number of a worker process, from 0

_parent: Connection | None = None  # in a worker: its pipe to the parent


def expect_within(seconds: float | None, doing: str) -> None:
    """Report to the parent, from within a task, the present activity and the deadline of the next message.

    A worker that misses its deadline is killed, and its task is lost. In other processes the function does nothing.

    Parameters
    ----------
    seconds
        Time to the deadline in s; None for no limit.
    doing
        Activity for messages, such as ``"labelling"``.
    """
    if _parent is not None:
        _parent.send(("promise", (seconds, doing)))


class Worker:
    """A worker process, as seen by its parent.

    Parameters
    ----------
    number
        Number from 0; an environment variable states it to its processes.
    """

    def __init__(self, number: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.number = number
        self.line, theirs = context.Pipe()
        safe = os.environ.get(SAFE_PATH)
        self._process = context.Process(target=_work, args=(theirs, os.getpid(), number, safe))
        with _environment():
            self._process.start()
        theirs.close()
        self.doing = "starting"
        self.deadline: float | None = None
        self.on_gpu = False

    @property
    def alive(self) -> bool:
        """Return whether the process has not ended."""
        return self._process.is_alive()

    @property
    def memory_bytes(self) -> int | None:
        """Return the memory of the process in bytes; None where it cannot be told, or processes of its own take more."""
        try:
            process = psutil.Process(self._process.pid)
            return None if process.children() else int(process.memory_info().rss)
        except psutil.Error:
            return None

    @property
    def sentinel(self) -> int:
        """Return the handle that is ready when the process has ended, see :func:`multiprocessing.connection.wait`."""
        return self._process.sentinel

    def give(self, function: Callable[[Any], Any], task: Any) -> None:
        """Send a module-level function and its task; a dead process gets none, and :meth:`lost` reports it later."""
        self.doing, self.deadline = "starting", None
        try:
            self.line.send((function, task))
        except (BrokenPipeError, ConnectionResetError):
            return

    def result(self) -> tuple[Any] | None:
        """Return the result of the task if it has arrived; raise its exception, and store deadlines."""
        try:
            while self.line.poll():
                kind, content = self.line.recv()
                if kind == "done":
                    result, self.on_gpu = content
                    return (result,)
                if kind == "error":
                    break
                seconds, self.doing = content
                self.deadline = None if seconds is None else time.monotonic() + seconds
            else:
                return None
        except (EOFError, OSError):  # the process has ended
            return None
        raise content

    def lost(self) -> tuple[str, bool] | None:
        """Return why the current task will have no answer, and whether it timed out; None while an answer may come."""
        if not self._process.is_alive():
            return self._why(), False
        if self.deadline is not None and time.monotonic() > self.deadline:
            return "it missed its deadline", True
        return None

    def _why(self) -> str:
        self._process.join()
        code = self._process.exitcode or 0
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def dismiss(self) -> None:
        """End an idle process without force."""
        self.line.close()
        self._process.join(timeout=5.0)
        self.kill()

    def kill(self) -> None:
        """Kill the process; an unsealed task will be repeated."""
        self._process.kill()
        self._process.join()
        self.line.close()


def _work(line: Connection, parent: int, number: int, safe: str | None) -> None:
    global _parent  # noqa: PLW0603 - one line per process
    _parent = line
    os.environ.pop(SAFE_PATH, None)  # programs that a task starts get the user's own setting
    if safe is not None:
        os.environ[SAFE_PATH] = safe
    os.environ[WORKER_VARIABLE] = str(number)
    stay_with(parent)
    while True:
        try:
            function, task = line.recv()
        except (EOFError, OSError):
            return
        except Exception as error:  # noqa: BLE001 - a module that cannot be imported here
            line.send(("error", portable(error)))
            continue
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)
        try:
            answer: tuple[str, Any] = ("done", (function(task), _on_gpu()))
        except Exception as error:  # noqa: BLE001 - the parent raises it
            answer = ("error", portable(error))
        except KeyboardInterrupt:  # by the teacher: Ctrl-C is ignored here; its traceback is no news for the terminal
            os._exit(1)
        try:
            line.send(answer)
        except OSError:  # the parent has ended
            return
        except Exception as error:  # noqa: BLE001 - a result that cannot be pickled
            line.send(("error", portable(error)))


def _on_gpu() -> bool:
    """Return whether this process has memory of a GPU."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_initialized())


def portable(error: Exception) -> Exception:
    """Return the exception, or one with its text where it cannot be pickled."""
    error.add_note("in a worker:\n" + "".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - just made here
    except Exception:  # noqa: BLE001 - whatever its class does while it is pickled
        kind = InputError if isinstance(error, InputError) else PotstillError
        text = str(error) if isinstance(error, PotstillError) else f"{type(error).__name__}: {error}"
        return kind(text)
    return error


def stay_with(parent: int) -> None:
    """Ignore Ctrl-C in this process (the parent decides), and end it with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()


def _exit_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


@contextmanager
def _environment() -> Iterator[None]:
    """Set the environment of a new process: one thread, and no modules from its current folder."""
    wanted = {**dict.fromkeys(THREAD_VARIABLES, "1"), SAFE_PATH: "1"}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
