"""A program is given its time and no more, takes nothing of ours, and does not outlive those who started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import potstill
from potstill.execute.program import run_program

CHILD = "import subprocess, sys, os, time; c = subprocess.Popen(['sleep', '600']); "
TELL = "open(sys.argv[1], 'w').write(f'{os.getpid()} {c.pid}'); "


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(condition, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def python(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-S", "-c", code, *map(str, arguments)]


def test_output_is_kept_and_the_last_line_told(tmp_path):
    code = "import sys; print('one'); print('10%\\r20%\\rtwo', file=sys.stderr); sys.exit(3)"
    for _ in range(2):
        ended = run_program(python(code), tmp_path / "logs" / "a.log", timeout_seconds=60)
    assert (ended.code, ended.timed_out, ended.out_of_memory, ended.last_line) == (3, False, False, "two")
    log = (tmp_path / "logs" / "a.log").read_text()
    assert log.count("one\n") == 2
    assert log.startswith(f"$ {sys.executable} -S -c ")


def test_its_surroundings(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("MINE", "kept")
    code = (
        "import os, sys, tempfile; names = ('PYTHONPATH', 'MINE', 'HF_HUB_OFFLINE', 'OWN'); "
        "same = tempfile.gettempdir() == os.environ['TMPDIR']; "
        "print([os.environ.get(n) for n in names], same, os.getcwd(), sys.stdin.read())"
    )
    ended = run_program(python(code), tmp_path / "a.log", timeout_seconds=60, folder=tmp_path, environment={"OWN": "yes"})
    assert ended.last_line == f"[None, 'kept', '1', 'yes'] True {tmp_path}"
    leave = "import os, pathlib; pathlib.Path(os.environ['TMPDIR'], 'x').touch(); print(os.environ['TMPDIR'])"
    assert not Path(run_program(python(leave), tmp_path / "b.log", timeout_seconds=60).last_line).exists()


def test_its_time_is_over_for_its_children_too(tmp_path):
    pids = tmp_path / "pids"
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + CHILD + TELL + "time.sleep(600)"
    started = time.monotonic()
    ended = run_program(python(stubborn, pids), tmp_path / "a.log", timeout_seconds=1.5)
    assert ended.timed_out
    assert not ended.out_of_memory
    assert time.monotonic() - started < 30
    wait_until(lambda: all(gone(int(pid)) for pid in pids.read_text().split()))


def test_children_that_are_left_are_ended(tmp_path):
    pids = tmp_path / "pids"
    ended = run_program(python(CHILD + TELL, pids), tmp_path / "a.log", timeout_seconds=60)
    assert ended.code == 0
    wait_until(lambda: all(gone(int(pid)) for pid in pids.read_text().split()))


def test_it_does_not_outlive_a_killed_parent(tmp_path):
    pids = tmp_path / "pids"
    inner = python(CHILD + TELL + "time.sleep(600)", pids)
    code = (
        "from pathlib import Path; from potstill.execute.program import run_program; "
        f"run_program({inner!r}, Path({str(tmp_path / 'a.log')!r}), timeout_seconds=600)"
    )
    source = str(Path(potstill.__file__).parents[1])
    parent = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": source})
    try:
        wait_until(lambda: pids.exists() and len(pids.read_text().split()) == 2, 60)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    wait_until(lambda: all(gone(int(pid)) for pid in pids.read_text().split()))


@pytest.mark.parametrize(
    "last",
    [
        "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 10.00 GiB total capacity)",
        "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "RuntimeError: [enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory",
        "MemoryError",
    ],
)
def test_memory_that_does_not_suffice(tmp_path, last):
    code = "import sys; print(sys.argv[1]); sys.exit(1)"
    assert run_program(python(code, last), tmp_path / "a.log", timeout_seconds=60).out_of_memory
    ended = run_program(python(code, "IndexError"), tmp_path / "a.log", timeout_seconds=60)
    assert not ended.out_of_memory  # what an earlier run said is not counted


def test_the_hand_of_linux_when_memory_is_short(tmp_path):
    ended = run_program(python("import os; os.kill(os.getpid(), 9)"), tmp_path / "a.log", timeout_seconds=60)
    assert (ended.code, ended.out_of_memory, ended.timed_out) == (137, True, False)
    assert run_program(python("import os; os.abort()"), tmp_path / "b.log", timeout_seconds=60).code == 134


def test_no_such_program(tmp_path):
    ended = run_program(["/nowhere/python"], tmp_path / "a.log", timeout_seconds=60)
    assert ended.code != 0
    assert "/nowhere/python" in ended.last_line
