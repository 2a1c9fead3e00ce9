"""SIGTERM and Ctrl-C, as schedulers and people send them: nothing left running, everything resumable; a log to read."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import typer

from potstill.cli.main import app
from potstill.cli.output import stopped
from potstill.dataset import open_dataset
from potstill.run.folder import RunFolder

PARSL = {"executor": "parsl", "workers_per_node": 2, "heartbeat_seconds": 1}


def content(path: Path) -> object:
    """Checksums of everything in a dataset, after they were compared with it."""
    dataset = open_dataset(path)
    assert dataset.verify() == []
    return dataset.attributes["checksums"]


def start(config: Path, run: Path, *more: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "potstill", "run", str(config), "--out", str(run), "--resume", "--yes", *more]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def until(condition, seconds: float = 240.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def family(process: subprocess.Popen, run: Path) -> list[psutil.Process]:
    """All that the run has started, those under a supervisor included, whose parent is another."""
    found = psutil.Process(process.pid).children(recursive=True)
    for other in psutil.process_iter():
        try:
            if str(run / "execute") in " ".join(other.cmdline()):
                found += [other, *other.children(recursive=True)]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return list(dict.fromkeys(found))


def left_of(processes: list[psutil.Process]) -> list[psutil.Process]:
    _, alive = psutil.wait_procs(processes, timeout=10)
    return [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def stop_while_labelling(config: Path, run: Path, how: signal.Signals) -> tuple[int, str]:
    process = start(config, run)
    until(lambda: list((run / "label").glob("*.h5")))
    started = family(process, run)
    assert started
    process.send_signal(how)
    _, err = process.communicate(timeout=20)
    assert left_of(started) == []
    return process.returncode, err.decode()


def same_as_quiet(potstill, config: Path, run: Path, quiet: Path) -> None:
    assert potstill("generate", config, "--out", run).code == 0
    assert potstill("label", run).code == 0
    config.write_text(config.read_text().replace("workers: 2", "workers: 1"))
    assert potstill("generate", config, "--out", quiet).code == 0
    assert potstill("label", quiet).code == 0
    assert content(run / "dataset.h5") == content(quiet / "dataset.h5")


@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)])
def test_stopped_and_resumed(potstill, write_config, tmp_path, how, code):
    config = write_config(workers=2, label={"structures_per_task": 2})
    config.write_text(config.read_text().replace("count: 40", "count: 300"))
    run = tmp_path / "run"
    returned, err = stop_while_labelling(config, run, how)
    assert returned == code, err
    assert "stopped; what was finished is kept, go on with --resume" in err
    assert "Traceback" not in err
    assert RunFolder(run).stage("label")["state"] == "stopped"
    assert not (run / "dataset.h5").exists()
    assert (run / "metrics.prom").exists()
    status = potstill("status", run)
    assert "stopped" in status.out
    assert "ALERT" not in status.out
    same_as_quiet(potstill, config, run, tmp_path / "quiet")
    log = (run / "log.txt").read_text()
    lines = ["generate: begins", "generate: done in", "306 of 306 structures", "label: begins", "label: stopped after"]
    places = [log.index(line) for line in lines]
    assert places == sorted(places)
    assert log.rindex("label: done in") > log.index("label: stopped after")


def test_the_log_tells_of_refusals(potstill, write_config, tmp_path):
    run = tmp_path / "run"
    config = write_config(label={"max_force_ev_per_angstrom": 1e-9})
    assert potstill("run", config, "--out", run, "--yes").code == 3
    log = (run / "log.txt").read_text()
    assert "refused: 46 force_limit" in log
    assert "teacher success" not in log  # the teacher gave labels, and the limits refused them
    assert "0.0% at best, the audit asks for 80.0%" in log
    assert 'potstill_label_refused_structures{source="perturb"} 40' in (run / "metrics.prom").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_parsl_stopped_and_resumed(potstill, write_config, tmp_path, how):
    pytest.importorskip("parsl")
    config = write_config(execute=PARSL, label={"structures_per_task": 2})
    config.write_text(config.read_text().replace("count: 40", "count: 300"))
    run = tmp_path / "run"
    returned, err = stop_while_labelling(config, run, how)
    assert returned == (143 if how == signal.SIGTERM else -signal.SIGKILL), err
    if how == signal.SIGKILL:
        assert "no process works on 'label' any more" in potstill("status", run).out.replace("\n", " ")
    local = tmp_path / "local"
    local.mkdir()
    assert potstill("generate", config, "--out", run).code == 0
    assert potstill("label", run).code == 0
    plain = write_config(workers=1, label={"structures_per_task": 2})
    plain.write_text(plain.read_text().replace("count: 40", "count: 300"))
    assert potstill("generate", plain, "--out", local).code == 0
    assert potstill("label", local).code == 0
    assert content(run / "dataset.h5") == content(local / "dataset.h5")


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.parametrize("stage", ["train", "evaluate", "deploy"])
def test_stopped_in_a_later_stage_and_resumed(potstill, finished, tmp_path, stage, how):
    run = Path(shutil.copytree(finished / "run", tmp_path / "run"))
    weights = (run / "student" / "weights.safetensors").read_bytes()
    for folder in {"train": ("student", "deploy"), "evaluate": (), "deploy": ("deploy",)}[stage]:
        shutil.rmtree(run / folder)
    (run / "evaluate.json").unlink()
    process = start(finished / "config.yaml", run)
    until(lambda: RunFolder(run).stage(stage)["state"] == "running" or process.poll() is not None)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (-how, 128 + how), err.decode()
    assert "Traceback" not in err.decode()
    assert potstill("run", finished / "config.yaml", "--out", run, "--resume", "--yes").code == 0
    assert (run / "student" / "weights.safetensors").read_bytes() == weights
    assert (run / "deploy" / "ase" / "student" / "weights.safetensors").read_bytes() == weights


MOMENTS = (("01/visited.h5", signal.SIGTERM), ("01/round.json", signal.SIGHUP), ("02/visited.h5", signal.SIGKILL))
ROUNDS = {"trajectories": 2, "length_ps": 0.05, "temperatures_kelvin": [600.0], "frames": 6, "epochs": 3}


IN_A_CALLBACK = """
import signal, sys, time, weakref
from potstill.cli import main as command_line

class Thing:
    pass

def work(standalone_mode):
    thing = Thing()
    watched = weakref.ref(thing, lambda _: signal.raise_signal(int(sys.argv[1])))
    del thing
    time.sleep(20)

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell leaves out for a job in the background
command_line.app = work
command_line.main()
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_within_a_callback_of_the_garbage_collector_is_not_lost(how):
    if how == signal.SIGHUP and signal.getsignal(how) == signal.SIG_IGN:
        pytest.skip("the suite was started by nohup, which ignores this signal")
    done = subprocess.run(
        [sys.executable, "-c", IN_A_CALLBACK, str(int(how))], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode in (128 + how, -how, 1), done.stderr
    assert "Exception ignored" not in done.stderr
    if how != signal.SIGINT:
        assert (done.returncode, done.stderr) == (128 + how, "stopped\n")


def commands(app: Any, words: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    found = {}
    for name, command in typer.main.get_command(app).commands.items() if not words else app.commands.items():
        inner = {} if not hasattr(command, "commands") else commands(command, (*words, name))
        found |= inner or {(*words, name): command}
    return found


@pytest.mark.parametrize("words", commands(app), ids=" ".join)
def test_only_commands_with_that_option_go_on_by_resume(monkeypatch, words):
    command = commands(app)[words]
    monkeypatch.setattr(sys, "argv", ["potstill", *words, "FILE", "--json"])
    has = any("--resume" in option.opts for option in command.params)
    assert ("--resume" in stopped()) == has
    assert ("is kept" in stopped()) == (words[0] in ("run", "generate", "label", "train"))


def stop_once_written(config: Path, run: Path, name: str, how: signal.Signals) -> None:
    """Send a signal to a run right after its active learning has written a file."""
    process = start(config, run, "--last", "train")
    until(lambda: (run / "active_learning" / name).exists() or process.poll() is not None)
    started = family(process, run)
    process.send_signal(how)
    _, err = process.communicate(timeout=120)
    assert process.returncode in (-how, 128 + how), err.decode()
    assert "Traceback" not in err.decode()
    assert left_of(started) == [], f"after {how.name}"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_stopped_in_the_middle_of_rounds_and_resumed(potstill, write_config, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    config = write_config(active_learning=ROUNDS | {"max_rounds": 2, "max_force_error_ev_per_angstrom": 1e-9})
    run, quiet = tmp_path / "run", tmp_path / "quiet"
    assert potstill("run", config, "--out", quiet, "--yes", "--last", "audit").code == 0
    shutil.copytree(quiet, run)
    for name, how in MOMENTS:
        stop_once_written(config, run, name, how)
        assert not (run / "active_learning" / "02" / "student" / "config.json").exists()
    for folder in (run, quiet):
        process = start(config, folder, "--last", "train")
        _, err = process.communicate()
        assert process.returncode == 0, err.decode()
    for name in ("01", "02"):
        here, there = (folder / "active_learning" / name for folder in (run, quiet))
        assert (here / "round.json").read_text() == (there / "round.json").read_text()
        assert content(here / "dataset.h5") == content(there / "dataset.h5")
        assert (here / "student" / "weights.safetensors").read_bytes() == (
            there / "student" / "weights.safetensors"
        ).read_bytes()
    assert (run / "student" / "weights.safetensors").read_bytes() == (quiet / "student" / "weights.safetensors").read_bytes()
