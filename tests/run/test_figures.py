"""The figures of a run, from the lines that it leaves: rates, time left, workers, alerts, and their Prometheus form."""

from __future__ import annotations

import io
import json
import logging
import os
import platform
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from rich.console import Console

from potstill.config import load_config
from potstill.run.figures import look
from potstill.run.folder import RunFolder
from potstill.run.metrics import monitored, observe, prometheus
from potstill.run.status import print_status
from potstill.run.status_json import status_facts

START = datetime(2024, 1, 1, tzinfo=UTC)
WORKER = f"{platform.node()}:{os.getpid()}"


@pytest.fixture
def run(tmp_path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    sources = [{"source": "benchmark", "count": 600}, {"source": "perturb", "count": 600}]
    config = {"generate": {"sources": sources}, "label": {"teacher": {"name": "emt"}}}
    run.begin(yaml.safe_dump(config), 1, resume=False)
    run.set_stage("generate", "done", 10.0)
    run.set_stage("label", "running", 0.0)
    generated = {"accepted": 600, "refused": {"too_close": 3}}
    write(run, 0, stage="generate", sources={"benchmark": generated, "perturb": {**generated, "refused": {}}})
    return run


def write(run: RunFolder, seconds: float, **values) -> None:
    line = {"time": (START + timedelta(seconds=seconds)).isoformat(), **values}
    with run.metrics.open("a") as file:
        file.write(json.dumps(line) + "\n")


def task(run: RunFolder, seconds: float, labelled: int, refused: int = 0, **more) -> None:
    sources = {"benchmark": [labelled, refused]}
    write(run, seconds, stage="label", labelled=labelled, refused=refused, sources=sources, worker=WORKER, **more)


def at(run: RunFolder, seconds: float):
    return look(run, load_config(run.config), now=START + timedelta(seconds=seconds))


def test_rates_and_time_left(run):
    write(run, 0, stage="label", event="begun", workers=2)
    for k in range(11):
        task(run, 6 * k, 9, 1, memory_bytes=5_000_000)
    figures = at(run, 60)
    assert (figures.labelled, figures.refused, figures.total) == (99, 11, 1200)
    assert figures.rate == pytest.approx(100 / 60)
    assert figures.seconds_left == pytest.approx((1200 - 110) / (100 / 60))
    source = figures.sources["benchmark"]
    assert (source.accepted, source.labelled, source.refused_by_filter, source.refused_by_teacher) == (600, 99, 3, 11)
    assert source.recent_rate == pytest.approx(100 / 60)
    assert figures.sources["perturb"].labelled == 0
    (worker,) = figures.workers
    assert (worker.name, worker.structures, worker.memory_bytes, worker.alive) == (WORKER, 110, 5_000_000, True)


def test_a_resumed_run_counts_what_it_found_once_and_not_as_work(run):
    write(run, 0, stage="label", event="begun", workers=2)
    task(run, 1, 10)
    task(run, 2, 10)  # sealed, but killed before more was told
    write(run, 100, stage="label", event="begun", workers=2)
    for _ in range(3):
        write(run, 100, stage="label", event="found", labelled=10, refused=0, sources={"perturb": [10, 0]})
    for k in range(3):
        task(run, 110 + 10 * k, 10)
    figures = at(run, 130)
    assert figures.labelled == 60
    assert figures.rate == pytest.approx(1.0)
    assert figures.sources["perturb"].recent_rate == 0


def alerts(run: RunFolder, seconds: float) -> str:
    return "\n".join(at(run, seconds).alerts)


def test_alerts(run):
    assert "no process works on 'label' any more" in alerts(run, 0)
    with run.locked():
        assert alerts(run, 0) == ""
        write(run, 0, stage="label", event="begun", workers=2)
        for k in range(60):
            task(run, 6 * k, 10)
        assert "rate" not in alerts(run, 361)
        assert "teacher success" not in alerts(run, 361)
        task(run, 365, 10)
        assert "rate: 600 structures/hour in the last minute, usually 6,000" in alerts(run, 421)
        task(run, 425, 0, 50)
        assert "teacher success: 92.4% so far, the audit asks for 95.0%" in alerts(run, 430)
        task(run, 426, 0, 20)
        assert "teacher success: 94.2% at best" in alerts(run, 430)


def test_gpus_are_shown_while_the_run_works(run, tmp_path, monkeypatch):
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho '0, NVIDIA H100, 97, 1000, 80000'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    assert at(run, 0).gpus == []
    with run.locked():
        assert 'potstill_gpu_busy{gpu="0"} 0.97' in prometheus(at(run, 0)).splitlines()
        (gpu,) = status_facts(run.path)["gpus"]
        assert (gpu["busy"], gpu["used_bytes"]) == (0.97, 1000 * 1024**2)
        console = Console(file=io.StringIO(), width=120)
        print_status(run.path, console)
        assert "NVIDIA H100" in console.file.getvalue()
        assert "1.0 of 83.9 GB" in console.file.getvalue()


def test_gates_that_can_no_longer_be_met(run):
    with run.locked():
        write(run, 0, stage="label", event="begun", workers=2)
        for k in range(12):
            task(run, 600 * k, 10)
        assert "throughput: 60 structures/hour, the audit asks for 100" in alerts(run, 6600)
        assert "share of" not in alerts(run, 6600)
        task(run, 6601, 0, 130)
        assert "share of benchmark: 78.3% at best, the audit asks for 80.0%" in alerts(run, 6602)
        left_out = {"benchmark": {"wanted": 600, "accepted": 600, "refused": {}}}
        write(run, 6603, stage="generate", sources=left_out)  # the contingency mix, without perturb
        assert "perturb" not in alerts(run, 6604)


def test_a_run_in_batches_shows_the_batch_in_hand(run, tmp_path):
    whole = RunFolder(tmp_path / "whole")
    whole.begin(run.config.read_text(), 1, resume=False)
    (whole.path / "batches").mkdir()
    whole.set_stage("batches", "running", 5.0)
    run.path.rename(whole.subrun(1).path)
    batch = whole.subrun(1)
    with whole.locked(), batch.locked():
        write(batch, 0, stage="label", event="begun", workers=2)
        for k in range(11):
            task(batch, 6 * k, 10)
        figures = at(whole, 60)
        assert (figures.labelled, figures.subrun) == (110, batch)
        assert figures.stages["batches"]["state"] == "running"
        assert figures.alerts == []


@pytest.mark.parametrize(("free", "alert"), [(200_000, True), (400_000, False)])
def test_disk(run, monkeypatch, free, alert):
    """Ten of 1,200 labels have 1,000 bytes; structures are there already, whatever their size."""
    (run.path / "structures").mkdir()
    (run.path / "structures" / "part.h5").write_bytes(bytes(10_000_000))
    run.labelled_parts.mkdir()
    (run.labelled_parts / "part.h5").write_bytes(bytes(1000))
    with run.locked():
        write(run, 0, stage="label", event="begun", workers=2)
        task(run, 1, 10)
        monkeypatch.setattr("potstill.run.figures.shutil.disk_usage", lambda _: type("Usage", (), {"free": free}))
        assert ("disk: 0.0 GB free" in alerts(run, 2)) == alert


def test_prometheus(run):
    task(run, 0, 9, 1)
    task(run, 10, 9, 1)
    lines = prometheus(at(run, 10)).splitlines()
    assert 'potstill_labelled_structures{source="benchmark"} 18' in lines
    assert 'potstill_label_structures_per_second{source="benchmark"} 1' in lines
    assert 'potstill_stage_state{stage="label",state="running"} 1' in lines
    assert 'potstill_stage_state{stage="label",state="done"} 0' in lines
    for line in lines:
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            float(value)
            assert f"# TYPE {name.partition('{')[0]} gauge" in lines


def test_an_alert_is_logged_once_while_it_lasts(run, caplog):
    config, said = load_config(run.config), set()
    with caplog.at_level(logging.WARNING, logger="potstill"):
        observe(run, config, said)
        observe(run, config, said)
        assert len(caplog.records) == 1
        with run.locked():
            observe(run, config, said)
        (run.path / ".lock").unlink()
        observe(run, config, said)
    assert len(caplog.records) == 2


def test_the_file_is_there_at_the_end(run):
    with run.locked(), monitored(run, load_config(run.config)):
        pass
    assert "potstill_structures_wanted 1200" in (run.path / "metrics.prom").read_text()
