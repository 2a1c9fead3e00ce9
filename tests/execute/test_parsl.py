"""Real Parsl with two workers here: the same results, whoever is killed, and no process left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

pytest.importorskip("parsl")

from potstill.core.errors import PotstillError
from potstill.execute.options import Parsl

pytestmark = pytest.mark.slow

MODULE = """
import os, signal, time
from pathlib import Path

def square(x):
    return x * x, os.getpid()

def seals(task):
    folder, x = task
    time.sleep(0.1)
    with (Path(folder) / "log").open("a") as file:
        file.write(f"{x}\\n")
    (Path(folder) / f"{x}").write_text(str(x))
    return x

def raises(x):
    if x == 3:
        raise ValueError("task three")
    return x

def dies(x):
    if x == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return x

def hangs(x):
    from potstill.execute import expect_within
    if x == 1:
        expect_within(0.2, "thinking")
        time.sleep(120)
    return x

def gpu(x):
    time.sleep(0.5)
    return os.environ.get("CUDA_VISIBLE_DEVICES")
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch):
    (tmp_path / "module_for_parsl.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    sys.modules.pop("module_for_parsl", None)
    import module_for_parsl

    return module_for_parsl


@pytest.fixture
def executor(work, tmp_path):  # noqa: ARG001 - workers import its module
    executor = Parsl(workers_per_node=2, heartbeat_seconds=1).start(tmp_path / "execute", 0)
    yield executor
    executor.close()
    until_nothing_belongs_to(tmp_path, 5.0)


def belonging_to(folder: Path) -> list[str]:
    """Commands of living processes that were started for a executor in this folder, and of their children."""
    found = []
    for process in psutil.process_iter():
        try:
            command = " ".join(process.cmdline())
            mine = str(folder) in process.environ().get("PYTHONPATH", "") or str(folder) in command
            if mine and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(command)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def until_nothing_belongs_to(folder: Path, seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while belonging_to(folder):
        assert time.monotonic() < until, belonging_to(folder)
        time.sleep(0.2)


def results_of(executor, function, tasks, **options) -> dict:
    found = {}

    def note(task, result):
        assert task not in found
        found[task] = result

    executor.run(function, tasks, on_done=note, **options)
    return found


def test_results_exceptions_and_lost_tasks(executor, work):
    found = results_of(executor, work.square, range(40))
    assert {x: square for x, (square, _) in found.items()} == {x: x * x for x in range(40)}
    assert len({process for _, process in found.values()}) == 2
    assert executor.workers == 2
    assert results_of(executor, work.square, []) == {}

    with pytest.raises(ValueError, match="task three"):
        results_of(executor, work.raises, range(6))

    with pytest.raises(PotstillError, match="worker processes died 3 times"):
        results_of(executor, work.dies, range(4))

    lost = []

    def instead(loss):
        lost.append((loss.task, loss.times, loss.doing, loss.timed_out))
        return [10, 11]

    assert set(results_of(executor, work.hangs, [0, 1, 2], on_lost=instead)) == {0, 2, 10, 11}
    assert lost == [(1, 1, "thinking", True)]


def named(folder: Path, word: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            command = " ".join(process.cmdline())
            if str(folder) in process.environ().get("PYTHONPATH", "") and word in command and "supervisor" not in command:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def manager_of(folder: Path) -> psutil.Process:
    return next(p for p in named(folder, "process_worker_pool.py") if "bash" not in p.name())


@pytest.mark.parametrize("victim", ["task's process", "Parsl's worker", "manager", "supervisor"])
def test_nothing_is_lost_and_nothing_twice(executor, work, tmp_path, victim):
    killed = []

    def kill() -> None:
        while not (tmp_path / "log").exists():
            time.sleep(0.05)
        if victim == "supervisor":
            process = manager_of(tmp_path).parent()
        else:
            process = manager_of(tmp_path)
            if victim != "manager":
                workers = [p for p in process.children() if "spawn_main" in " ".join(p.cmdline())]
                process = next(p for p in workers if p.children())
            if victim == "task's process":
                process = process.children()[0]
        process.kill()
        killed.append(process)

    killer = threading.Thread(target=kill)
    killer.start()
    tasks = [(str(tmp_path), x) for x in range(100)]
    found = results_of(executor, work.seals, tasks)
    killer.join()
    assert killed
    assert found == {task: task[1] for task in tasks}
    assert all((tmp_path / f"{x}").read_text() == str(x) for x in range(100))
    done = (tmp_path / "log").read_text().split()
    assert len(done) - len(set(done)) <= 2  # those in hand when the answer was lost on its way


def test_each_worker_has_an_accelerator_of_its_own(work, tmp_path):
    executor = Parsl(accelerators=("0", "1"), heartbeat_seconds=1).start(tmp_path / "execute", 0)
    try:
        assert executor.workers == 2
        assert set(results_of(executor, work.gpu, range(6)).values()) == {"0", "1"}
    finally:
        executor.close()
    until_nothing_belongs_to(tmp_path, 1.0)


def test_workers_that_cannot_start_are_told_of(work, tmp_path):
    executor = Parsl(worker_init="echo no such module >&2; exit 7", heartbeat_seconds=1).start(tmp_path / "execute", 1)
    try:
        with pytest.raises(PotstillError, match=r"(?s)jobs ended before any worker answered.*no such module.*worker_init"):
            results_of(executor, work.square, range(3))
    finally:
        executor.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.usefixtures("work")
def test_no_process_outlives_its_driver(tmp_path, how):
    code = f"""
import module_for_parsl
from pathlib import Path
from potstill.execute.options import Parsl
if __name__ == "__main__":
    folder = {str(tmp_path)!r}
    executor = Parsl(workers_per_node=2, heartbeat_seconds=1).start(Path(folder) / "execute", 0)
    executor.run(module_for_parsl.seals, [(folder, x) for x in range(10_000)], on_done=lambda *_: None)
"""
    (tmp_path / "driver.py").write_text(code)
    driver = subprocess.Popen([sys.executable, str(tmp_path / "driver.py")])
    until = time.monotonic() + 60
    while not (tmp_path / "log").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    assert len(belonging_to(tmp_path)) > 4
    driver.send_signal(how)
    driver.wait()
    until_nothing_belongs_to(tmp_path)
