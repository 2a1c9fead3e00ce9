"""Claims, locks and the record of a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from potstill.config import Config, dump_config
from potstill.core.errors import RunFolderError
from potstill.run.folder import STAGES, RunFolder


def test_a_new_folder_is_claimed(tmp_path):
    run = RunFolder(tmp_path / "deep" / "run")
    run.begin("a: 1\n", 5, resume=False)
    assert run.config.read_text() == "a: 1\n"
    record = run.record()
    assert record["seed"] == 5
    assert record["stages"] == {}
    assert {"platform", "cores", "python", "versions"} <= set(record["machine"])
    assert [run.stage(name)["state"] for name in STAGES] == ["waiting"] * len(STAGES)


def test_a_tilde_within_quotes_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert RunFolder(Path("~/run")).path == tmp_path / "home" / "run"
    assert RunFolder(Path("~nobody-of-this-name/run")).path == tmp_path / "~nobody-of-this-name" / "run"


@pytest.mark.parametrize(("text", "resume", "match"), [("b: 2\n", True, "another run"), ("a: 1\n", False, "--resume")])
def test_a_claimed_folder_is_guarded(tmp_path, text, resume, match):
    run = RunFolder(tmp_path)
    run.begin("a: 1\n", 5, resume=False)
    before = run.config.read_text()
    with pytest.raises(RunFolderError, match=match):
        run.begin(text, 5, resume=resume)
    assert run.config.read_text() == before


def test_workers_and_where_they_run_may_change(tmp_path):
    run = RunFolder(tmp_path)
    run.begin("workers: 2\nseed: 5\n", 5, resume=False)
    run.set_stage("label", "done", 1.0)
    run.begin("workers: 1\nexecute: {executor: parsl}\nseed: 5\n", 5, resume=True)
    assert "parsl" in run.config.read_text()
    assert run.stage("label")["state"] == "done"
    with pytest.raises(RunFolderError, match="in execute, seed"):
        run.begin("workers: 1\nseed: 6\n", 6, resume=True)


def test_other_gates_mean_another_audit(tmp_path):
    run = RunFolder(tmp_path)
    run.begin("audit: {max_duplicates: 0}\n", 5, resume=False)
    run.set_stage("label", "done", 1.0)
    run.set_stage("audit", "done", 1.0)
    run.begin("audit: {max_duplicates: 1}\n", 5, resume=True)
    assert [run.stage(name)["state"] for name in ("label", "audit")] == ["done", "waiting"]


def test_structures_of_a_batch_may_change_until_all_have_passed(tmp_path):
    run = RunFolder(tmp_path)
    run.begin("generate: 1\n", 5, resume=False)
    with pytest.raises(RunFolderError, match="in generate"):
        run.begin("generate: 2\n", 5, resume=True)
    (tmp_path / "batches").mkdir()
    run.begin("generate: 2\n", 5, resume=True)
    run.set_stage("batches", "done", 1.0)
    with pytest.raises(RunFolderError, match="in generate"):
        run.begin("generate: 3\n", 5, resume=True)


def test_resuming_keeps_the_record(tmp_path):
    run = RunFolder(tmp_path)
    run.begin("a: 1\n", 5, resume=False)
    run.set_stage("generate", "done", 12.3456)
    created = run.record()["created"]
    run.begin("a: 1\n", 5, resume=True)
    assert run.stage("generate") == {"seconds": 12.346, "state": "done"}
    assert run.record()["created"] == created


def test_a_record_that_was_never_written_is_made_up_for(tmp_path):
    run = RunFolder(tmp_path)
    run.begin("a: 1\n", 5, resume=False)
    (tmp_path / "run.json").unlink()
    run.begin("a: 1\n", 5, resume=True)
    assert run.record()["seed"] == 5


def test_the_time_of_a_killed_stage_ends_with_its_last_line(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.begin("a: 1\n", 3, resume=False)
    run.set_stage("train", "running", 5.0)
    started = datetime.fromisoformat(run.stage("train")["since"]).timestamp()
    run.log_metrics(stage="train", epoch=1)
    os.utime(run.metrics, (started + 30, started + 30))
    run.note_killed()
    assert run.stage("train")["seconds"] == pytest.approx(35.0, abs=0.1)
    assert run.stage("train")["state"] == "stopped"
    run.set_stage("train", "running", 35.0)
    run.set_stage("train", "done", 50.0)
    assert "since" not in run.stage("train")


def test_the_lock_ends_with_its_process(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom potstill.run.folder import RunFolder\n"
        f"with RunFolder(Path({str(tmp_path)!r})).locked():\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    run = RunFolder(tmp_path)
    with pytest.raises(RunFolderError, match=f"process {holder.pid} "), run.locked():
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with run.locked():
        pass
    with run.locked():
        pass


def test_metrics_are_lines(tmp_path):
    run = RunFolder(tmp_path)
    run.log_metrics(stage="label", labelled=3)
    run.log_metrics(stage="train", note="Å")
    lines = [json.loads(line) for line in run.metrics.read_text(encoding="utf-8").splitlines()]
    assert [line["stage"] for line in lines] == ["label", "train"]
    assert all("time" in line for line in lines)


def test_a_run_of_a_version_that_knew_fewer_options(tmp_path):
    text = dump_config(Config.model_validate({"generate": {"sources": [{"source": "crystals", "count": 3}]}}))
    run = RunFolder(tmp_path)
    run.begin(text.replace("  max_stress_ev_per_cubic_angstrom: 1.0\n", ""), 1, resume=False)
    run.begin(text, 1, resume=True)
    with pytest.raises(RunFolderError, match="differs from this config in label"):
        run.begin(
            text.replace("max_stress_ev_per_cubic_angstrom: 1.0", "max_stress_ev_per_cubic_angstrom: 2.0"), 1, resume=True
        )
