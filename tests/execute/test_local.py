"""Tasks in worker processes: in any order, through a worker's death, never without their parent."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from potstill.core.errors import PotstillError
from potstill.execute import LocalExecutor, available_cores, executor, expect_within, run_tasks

# Module-level functions of a file that workers can import, as run_tasks asks for.
MODULE = """
import os, signal, time
from pathlib import Path

def square(x):
    return x * x

def slow_first(x):
    time.sleep(0.5 if x == 0 else 0.0)
    return x

def threads(x):
    return os.environ["OMP_NUM_THREADS"]

def raises(x):
    if x == 3:
        raise ValueError("task three")
    return x

def _die(how):
    if how == "exit":
        os._exit(1)
    os.kill(os.getpid(), signal.SIGKILL)

def dies_once(task):
    how, folder, x = task
    try:
        (Path(folder) / "died").open("x").close()
    except FileExistsError:
        (Path(folder) / f"{x}").write_text("done")
        return x
    _die(how)

def dies_always(task):
    how, x = task
    if x == 2:
        _die(how)
    return x

def dies_once_each(task):
    folder, x = task
    mark = Path(folder) / f"mark{x}"
    if not mark.exists():
        mark.touch()
        _die("kill")
    return x

def hangs(x):
    from potstill.execute import expect_within
    expect_within(60.0, "beginning")
    if x == 1:
        expect_within(0.2, "thinking")
        time.sleep(120)
    expect_within(None, "ending")
    return x

class Awkward(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")

def raises_awkwardly(x):
    raise Awkward("one", "two")

def whereabouts(x):
    return os.getpid(), os.environ["POTSTILL_WORKER"]

def returns_a_function(x):
    return lambda: x

def outlasts(task):
    folder, x = task
    if x:
        time.sleep(30)
        (Path(folder) / "finished").touch()
    return os.getpid()

def sleeps(folder):
    (Path(folder) / f"{os.getpid()}").touch()
    time.sleep(120)
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch):
    (tmp_path / "module_of_tasks.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    sys.modules.pop("module_of_tasks", None)
    import module_of_tasks

    return module_of_tasks


def results_of(function, tasks, workers) -> dict:
    found = {}

    def note(task, result):
        assert task not in found
        found[task] = result

    run_tasks(function, tasks, workers=workers, on_done=note)
    return found


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_every_result_once(work, workers):
    assert results_of(work.square, range(10), workers) == {x: x * x for x in range(10)}


@pytest.mark.parametrize("workers", [1, 2])
def test_no_tasks(work, workers):
    assert results_of(work.square, [], workers) == {}


def test_one_worker_is_this_process_in_order():
    order = []
    run_tasks(lambda x: (x, os.getpid()), [3, 1, 2], workers=1, on_done=lambda task, result: order.append(result))
    assert order == [(3, os.getpid()), (1, os.getpid()), (2, os.getpid())]


def test_a_slow_task_does_not_hold_back_others(work):
    order = []
    run_tasks(work.slow_first, range(6), workers=2, on_done=lambda task, result: order.append(task))
    assert sorted(order) == list(range(6))
    assert order[0] != 0


def test_workers_have_one_thread_and_the_parent_keeps_its_own(work, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    assert set(results_of(work.threads, range(3), 2).values()) == {"1"}
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("workers", [1, 2])
def test_an_exception_of_a_task_is_raised(work, workers):
    with pytest.raises(ValueError, match="task three"):
        results_of(work.raises, range(6), workers)


@pytest.mark.parametrize("how", ["exit", "kill"])
def test_the_task_of_a_dead_worker_is_done_again(work, tmp_path, how):
    tasks = [(how, str(tmp_path), x) for x in range(8)]
    found = results_of(work.dies_once, tasks, 2)
    assert found == {task: task[2] for task in tasks}
    assert all((tmp_path / str(x)).read_text() == "done" for x in range(8))


@pytest.mark.parametrize(("how", "why"), [("exit", "exit code 1"), ("kill", "killed by SIGKILL; out of memory?")])
def test_workers_that_keep_dying_are_given_up(work, how, why):
    with pytest.raises(PotstillError, match=re.escape(f"worker processes died 3 times over one task ({why})")) as caught:
        results_of(work.dies_always, [(how, x) for x in range(4)], 2)
    assert "--resume" in str(caught.value)
    assert ("fewer workers" in str(caught.value)) == (how == "kill")
    assert caught.value.exit_code == 1


def test_deaths_of_different_tasks_do_not_add_up(work, tmp_path):
    tasks = [(str(tmp_path), x) for x in range(5)]
    assert results_of(work.dies_once_each, tasks, 2) == {task: task[1] for task in tasks}


def test_one_isolated_worker_is_another_process_in_order(work):
    order, places = [], set()

    def note(task, result):
        order.append(task)
        places.add(result)

    run_tasks(work.whereabouts, [3, 1, 2], workers=1, on_done=note, isolated=True)
    assert order == [3, 1, 2]
    ((process, number),) = places
    assert process != os.getpid()
    assert number == "0"


def test_workers_have_numbers(work):
    found = results_of(work.whereabouts, range(20), 2)
    assert {number for _, number in found.values()} == {"0", "1"}


def test_a_worker_that_breaks_its_promise_is_lost_with_its_task_alone(work):
    lost, order = [], []

    def instead(loss):
        lost.append((loss.task, loss.times, loss.doing, loss.timed_out))
        return [10, 11]

    run_tasks(
        work.hangs, [0, 1, 2], workers=1, on_done=lambda task, result: order.append(task), on_lost=instead, isolated=True
    )
    assert lost == [(1, 1, "thinking", True)]
    assert order == [0, 10, 11, 2]


def test_an_exception_that_cannot_travel_comes_as_its_text(work):
    with pytest.raises(PotstillError, match="Awkward: one and two"):
        results_of(work.raises_awkwardly, range(2), 2)


def test_a_stop_does_not_wait_for_the_tasks_in_hand(work, tmp_path):
    before = set(psutil.Process().children(recursive=True))

    def stop(_task, _result):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_tasks(work.outlasts, [(str(tmp_path), 1), (str(tmp_path), 0)], workers=2, on_done=stop)
    assert not (tmp_path / "finished").exists()
    left = set(psutil.Process().children(recursive=True)) - before
    assert not [p for p in left if "resource_tracker" not in " ".join(p.cmdline())]


def test_outside_a_worker_a_promise_is_nothing():
    expect_within(1e-9, "testing")


@pytest.mark.usefixtures("work")
def test_workers_end_with_a_killed_parent(tmp_path):
    code = (
        "import module_of_tasks\n"
        "from potstill.execute import run_tasks\n"
        "if __name__ == '__main__':\n"
        f"    run_tasks(module_of_tasks.sleeps, [{str(tmp_path)!r}] * 2, workers=2, on_done=lambda *_: None)\n"
    )
    (tmp_path / "parent.py").write_text(code)
    parent = subprocess.Popen([sys.executable, str(tmp_path / "parent.py")])
    until = time.monotonic() + 60
    while not (started := [p for p in tmp_path.iterdir() if p.name.isdigit()]) or len(started) < 2:
        assert time.monotonic() < until
        time.sleep(0.05)
    workers = [psutil.Process(int(p.name)) for p in started]
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []


def test_cores():
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize("name", ["struct", "signal", "random"])
def test_a_file_in_the_current_folder_is_no_module_of_a_worker(tmp_path, monkeypatch, name):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / f"{name}.py").write_text(f"from pathlib import Path\nPath({str(tmp_path)!r}, 'run').touch()\n")
    (tmp_path / "tasks.py").write_text("import os\n\ndef safe(x):\n    return os.environ.get('PYTHONSAFEPATH', '')\n")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    import tasks

    found = []
    run_tasks(tasks.safe, [0, 1], workers=2, on_done=lambda _task, result: found.append(result), isolated=True)
    assert found == ["", ""]  # and programs of a task have the user's own setting
    assert not (tmp_path / "run").exists()


@pytest.fixture
def keeping():
    """An executor of two workers that keeps them."""
    found = LocalExecutor(2, keep=True)
    yield found
    found.close()


def processes_of(keeping, function, tasks, **options) -> list[int]:
    """The processes that worked on isolated tasks."""
    found = []
    keeping.run(function, tasks, on_done=lambda _task, result: found.append(result[0]), isolated=True, **options)
    return found


def test_isolated_tasks_find_the_processes_of_earlier_ones(work, keeping):
    first = set(processes_of(keeping, work.whereabouts, range(6)))
    assert set(processes_of(keeping, work.whereabouts, range(2))) <= first
    squares = []
    keeping.run(work.square, [3], on_done=lambda _task, result: squares.append(result), isolated=True)  # another function
    assert squares == [9]
    assert all(map(psutil.pid_exists, first))
    keeping.close()
    assert not any(map(psutil.pid_exists, first))
    assert processes_of(keeping, work.whereabouts, [1])  # and begins anew


def test_numbers_of_kept_workers_are_not_given_twice(work, keeping):
    numbers = set()
    for tasks in ([0], range(6)):
        keeping.run(work.whereabouts, tasks, on_done=lambda _task, result: numbers.add(result), isolated=True)
    assert len({number for _, number in numbers}) == len({process for process, _ in numbers})


def test_a_kept_worker_that_ended_loses_no_task(work, keeping, caplog):
    (process,) = processes_of(keeping, work.whereabouts, [0])
    os.kill(process, signal.SIGKILL)
    while keeping._kept[0].alive:
        time.sleep(0.01)
    assert processes_of(keeping, work.whereabouts, [1]) != [process]
    assert not caplog.records


def test_no_worker_is_kept_after_an_error(work, keeping):
    first = set(processes_of(keeping, work.whereabouts, range(6)))
    with pytest.raises(ValueError, match="task three"):
        keeping.run(work.raises, [3], on_done=lambda *_: None, isolated=True)
    assert not any(map(psutil.pid_exists, first))


def test_workers_that_hold_much_memory_are_not_kept(work, keeping, monkeypatch):
    monkeypatch.setattr(executor, "LARGEST_SHARE", 0.0)
    assert not any(map(psutil.pid_exists, processes_of(keeping, work.whereabouts, range(4))))


def test_a_function_that_a_worker_cannot_import_is_an_error(work, keeping):
    processes_of(keeping, work.whereabouts, [0])
    del sys.modules["module_of_tasks"]
    Path(work.__file__).write_text(MODULE + "\ndef later(x):\n    return x\n")
    import module_of_tasks

    with pytest.raises(AttributeError, match="later"):
        keeping.run(module_of_tasks.later, [0], on_done=lambda *_: None, isolated=True)


@pytest.mark.usefixtures("work")
def test_kept_workers_end_with_a_process_that_closes_nothing(tmp_path):
    script = tmp_path / "forgets.py"
    script.write_text(
        "import module_of_tasks\n"
        "from potstill.execute import LocalExecutor\n"
        "if __name__ == '__main__':\n"
        "    kept = LocalExecutor(2, keep=True)\n"
        "    kept.run(module_of_tasks.whereabouts, range(4), on_done=lambda _, r: print(r[0]), isolated=True)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60.0, check=True)
    assert not any(psutil.pid_exists(int(process)) for process in done.stdout.split())


def test_a_result_that_cannot_be_sent_is_an_error(work, keeping):
    with pytest.raises(Exception, match="pickle"):
        keeping.run(work.returns_a_function, [0], on_done=lambda *_: None, isolated=True)
