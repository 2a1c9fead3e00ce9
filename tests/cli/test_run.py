"""Whole runs: to the end, to a NO-GO, and through ``kill -9`` at any moment."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from potstill.audit.checks import CHECKS
from potstill.dataset import open_dataset

CONTRACT = (
    "config.yaml",
    "run.json",
    "log.txt",
    "metrics.jsonl",
    "structures/structures.h5",
    "dataset.h5",
    "audit.json",
    "audit.html",
    "student/weights.safetensors",
    "student/config.json",
    "evaluate.json",
    "evaluate.html",
    "deploy/ase/run_md.py",
    "report.html",
)
STAGES = ["generate", "label", "audit", "train", "evaluate", "deploy"]


def test_a_committee_selects_and_its_first_structures_are_labelled_once(potstill, write_config, tmp_path, monkeypatch):
    monkeypatch.setattr("potstill.active_learning.committee.LOOKED_AT", 40)
    run = tmp_path / "run"
    config = write_config(label={"select": {"count": 30}})
    result = potstill("run", config, "--out", run, "--yes", "--last", "label")
    assert result.code == 0, result.err
    assert "committee: student 2 of 2 is trained on 8 structures" in (run / "log.txt").read_text(encoding="utf-8")
    first, selected = (open_dataset(run / "structures" / f"{name}.h5") for name in ("first", "selected"))
    assert len(first) == 8
    assert selected.ids[:8].tolist() == first.ids.tolist()
    assert open_dataset(run / "dataset.h5").ids.tolist() == selected.ids.tolist()
    assert not (run / "label" / "committee").exists()
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    asked = [row["labelled"] for row in rows if row["stage"] == "label" and "worker" in row]
    assert sum(asked) == 30


def test_a_run_with_rounds_shows_them_and_keeps_the_last_student(potstill, write_config, tmp_path):
    rounds = {
        "max_rounds": 1,
        "max_force_error_ev_per_angstrom": 1e-9,
        "frames": 4,
        "trajectories": 1,
        "length_ps": 0.05,
        "interval_fs": 5.0,
        "epochs": 2,
    }
    run = tmp_path / "run"
    result = potstill("run", write_config(active_learning=rounds), "--out", run, "--yes", "--last", "train")
    assert result.code == 0, result.err
    logged = [line.partition(": ")[2] for line in (run / "log.txt").read_text(encoding="utf-8").splitlines()]
    assert "round 1: 4 frames for the teacher" in logged
    assert any(re.fullmatch(r"round 1: files-\d+ at \d+ K, 0.05 ps: finished", line) for line in logged), logged
    assert [line.split()[0] for line in result.err.splitlines() if line.split()[1] == "done"] == STAGES[:4]
    assert "; round 1 of 1: " in result.err
    assert "did not pass its gate in 1 rounds" in result.err
    assert "GPU available" not in result.err
    last = (run / "active_learning" / "01" / "student" / "weights.safetensors").read_bytes()
    assert (run / "student" / "weights.safetensors").read_bytes() == last
    assert (run / "active_learning" / "01" / "round.html").exists()
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows if row["stage"] == "active_learning" and "epoch" in row] == [1, 2]


def test_a_whole_run_leaves_every_file_of_the_contract(potstill, write_config, tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "potstill", "run", str(write_config()), "--out", str(run), "--yes"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    verdict, page, following = done.stdout.splitlines()
    assert verdict.startswith("NO-GO: the student does not meet ")
    assert page == f"report: {run / 'report.html'}"
    assert following.startswith("next: ")
    stages = [line.split()[0] for line in done.stderr.splitlines() if line.split()[1] == "done"]
    assert stages == STAGES, "one line each"
    assert [name for name in CONTRACT if not (run / name).exists()] == []
    assert not (run / "error.log").exists()
    report = json.loads((run / "audit.json").read_text())
    assert report["verdict"] == "GO"
    assert report["structures"] == report["labelled"] == len(open_dataset(run)) == 46
    assert set(report["sources"]) == {"files", "perturb"}
    record = json.loads((run / "run.json").read_text())
    assert {"potstill", "git", "seed", "teacher", "stages", "machine"} <= set(record)
    assert open_dataset(run).attributes["created"] == record["created"]
    assert {name: s["state"] for name, s in record["stages"].items()} == dict.fromkeys(
        ("generate", "label", "audit", "train", "evaluate", "deploy"), "done"
    )
    evaluation = json.loads((run / "evaluate.json").read_text())
    assert {"forces", "energy", "per_source", "per_element", "nve", "speed"} <= set(evaluation)
    for line in (run / "metrics.jsonl").read_text().splitlines():
        json.loads(line)
    leftovers = [p.name for p in run.rglob("*.tmp")]
    assert leftovers == []

    again = potstill("run", write_config(), "--out", run, "--resume", "--yes")
    assert again.code == 0
    assert again.err.count("done before") == 6
    status = potstill("status", run)
    report = json.loads((run / "audit.json").read_text())
    asked = sum(f["verdict"] != "DOES_NOT_APPLY" for f in report["findings"])
    assert asked > 0.8 * len(CHECKS)
    assert f"GO: {asked} of {asked} checks that apply passed" in status.out
    assert potstill("audit", run).code == 0


def test_no_go_stops_the_run_and_is_written(potstill, write_config, tmp_path):
    run = tmp_path / "run"
    answer = potstill("run", write_config(audit={"min_element_coverage": 9}), "--out", run, "--yes")
    assert answer.code == 3
    assert "NO-GO: the data did not pass 1 of " in answer.err
    assert answer.err.splitlines()[-2] == f"report: {run / 'audit.html'}"
    assert answer.err.splitlines()[-1].startswith("next: ")
    assert "element_coverage: 6 elements against 9" in answer.err
    report = json.loads((run / "audit.json").read_text())
    assert report["verdict"] == "NO_GO"
    assert (run / "audit.html").exists()
    assert (run / "report.html").exists()
    assert not (run / "student").exists()
    assert potstill("run", write_config(audit={"min_element_coverage": 9}), "--out", run, "--resume", "--yes").code == 3
    assert potstill("audit", run).code == 3
    assert potstill("train", run).code == 3
    assert not (run / "student").exists()


def test_a_teacher_that_refuses_everything_is_no_go(potstill, write_config, tmp_path):
    run = tmp_path / "run"
    config = write_config(label={"max_force_ev_per_angstrom": 1e-9})
    answer = potstill("run", config, "--out", run, "--yes")
    assert answer.code == 3, answer.err
    report = json.loads((run / "audit.json").read_text())
    assert (report["verdict"], report["labelled"], report["structures"]) == ("NO_GO", 0, 46)


def test_two_runs_of_one_config_are_equal(potstill, write_config, tmp_path):
    contents = []
    for name, workers in (("a", 1), ("b", 2)):
        run = tmp_path / name
        assert potstill("generate", write_config(workers=workers), "--out", run).code == 0
        assert potstill("label", run).code == 0
        contents.append(content(run / "dataset.h5"))
    assert contents[0] == contents[1]


def content(path: Path) -> dict[str, bytes]:
    """Every byte of structures, labels, splits and refusals."""
    found: dict[str, bytes] = {}
    with h5py.File(path, "r") as file:

        def visit(name: str, node: object) -> None:
            if isinstance(node, h5py.Dataset):
                rows = node[:]
                found[name] = b"\0".join(rows) if rows.dtype == object else rows.tobytes()

        file.visititems(visit)
    return found


def start(config: Path, run: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "potstill", "run", str(config), "--out", str(run), "--resume", "--yes"]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def kill_and_resume(config: Path, run: Path, waits: list[float]) -> int:
    """Kill the whole process group after each wait and start again, then run to the end; returns the kills that hit."""
    kills = 0
    for wait in waits:
        process = start(config, run)
        try:
            process.wait(timeout=wait)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.communicate()
    process = start(config, run)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err.decode()
    return kills


def killed_run_equals_quiet_run(potstill, config: Path, tmp_path: Path, waits: list[float]) -> None:
    run, quiet = tmp_path / "killed", tmp_path / "quiet"
    assert kill_and_resume(config, run, waits) >= 1
    assert potstill("generate", config, "--out", quiet).code == 0
    assert potstill("label", quiet).code == 0
    killed, whole = content(run / "dataset.h5"), content(quiet / "dataset.h5")
    assert {name for name in whole if killed.get(name) != whole[name]} == set()
    assert set(killed) == set(whole)
    assert open_dataset(run).verify() == []
    assert [name for name in CONTRACT if not (run / name).exists()] == []


def test_killed_twice(potstill, write_config, tmp_path):
    rng = np.random.default_rng(int.from_bytes(os.urandom(4), "little"))
    config = write_config(workers=2, evaluate={"nve_ps": 0.0}, train={"epochs": 1})
    config.write_text(config.read_text().replace("count: 40", "count: 90"))
    waits = [float(rng.uniform(1.0, 3.0)), float(rng.uniform(2.0, 4.5))]
    print(f"waits {waits}")  # noqa: T201 - shown when the test fails
    killed_run_equals_quiet_run(potstill, config, tmp_path, waits)


@pytest.mark.slow
def test_killed_ten_times(potstill, write_config, tmp_path):
    rng = np.random.default_rng(int.from_bytes(os.urandom(4), "little"))
    config = write_config(workers=2, train={"epochs": 4})
    config.write_text(config.read_text().replace("count: 40", "count: 1000"))
    waits = rng.uniform(0.5, 9.0, size=10).tolist()
    print(f"waits {waits}")  # noqa: T201 - shown when the test fails
    killed_run_equals_quiet_run(potstill, config, tmp_path, waits)
