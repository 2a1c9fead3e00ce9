"""Every file of a run damaged in turn: right results or one line that says what is wrong, nothing else."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from potstill.dataset import open_dataset

FILES = (
    *("run.json", "config.yaml", "metrics.jsonl", "log.txt", ".lock", "report.html"),
    *("structures/structures.h5", "label/00000000-00000008.h5", "dataset.h5"),
    *("audit.json", "audit.html", "audit_data.npz"),
    *("student/weights.safetensors", "student/config.json", "student/checkpoints/last.ckpt", "student"),
    *("evaluate.json", "evaluate_data.npz", "deploy/ase/student/weights.safetensors", "label", "structures", "deploy"),
)
DAMAGES = ("deleted", "emptied", "halved", "a folder", "older", "another run's", "unreadable")
STAGES = ("generate", "label", "audit", "train", "evaluate", "deploy")


def damage(path: Path, how: str, other: Path) -> bool:
    """Damage a file or folder, by one of ``other`` where another replaces it; return whether it can be damaged so."""
    if path.is_dir() and how in ("emptied", "halved", "a folder"):
        return False
    if how == "unreadable":
        path.chmod(0)
        return os.geteuid() != 0  # root reads everything
    if how == "emptied":
        path.write_bytes(b"")
    elif how == "halved":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        if how == "a folder":
            path.mkdir()
        elif how in ("older", "another run's"):
            (shutil.copytree if other.is_dir() else shutil.copyfile)(other, path)
    return True


def wrong(run: Path, whole: Path) -> list[str]:
    """What is not right in a run that says it is done."""
    record = json.loads((run / "run.json").read_text())
    faults = [name for name in STAGES if record["stages"][name]["state"] != "done"]
    found, expected = open_dataset(run), open_dataset(whole)
    if found.verify() or found.attributes["checksums"] != expected.attributes["checksums"]:
        faults.append("dataset.h5 differs")
    weights = ("student/weights.safetensors", "deploy/ase/student/weights.safetensors")
    faults += [f"{name} differs" for name in weights if (run / name).read_bytes() != (whole / name).read_bytes()]
    if json.loads((run / "audit.json").read_text())["verdict"] != "GO":
        faults.append("verdict differs")
    forces = [json.loads((folder / "evaluate.json").read_text())["forces"]["mae"] for folder in (run, whole)]
    return faults + ["evaluate.json differs"] * (forces[0] != forces[1])


def outcome(potstill, run: Path, whole: Path, command: tuple) -> str:
    """How a command ended: ``right``, ``one line``, or what is wrong with it."""
    try:
        answer = potstill(*command)
    except Exception as error:  # noqa: BLE001 - what a shell would show as a traceback
        return f"{type(error).__name__}: {error}"
    told = [line for line in answer.err.splitlines() if line.startswith("potstill: ")]
    if "Traceback" in answer.err or "potstill: unexpected" in answer.err or (answer.code and len(told) != 1):
        return f"exit {answer.code}: {answer.err[-300:]}"
    if answer.code:
        return "one line"
    if command[0] == "run" and (faults := wrong(run, whole)):
        return f"done, but {', '.join(faults)}"
    return "right"


def test_structures_of_another_run_are_not_taken_with_their_parts(potstill, finished, make_run, tmp_path):
    other = make_run(tmp_path, 4) / "run"
    run = Path(shutil.copytree(finished / "run", tmp_path / "mine"))
    damage(run / "structures", "another run's", other / "structures")
    resume = ("run", finished / "config.yaml", "--out", run, "--resume", "--yes")
    assert outcome(potstill, run, finished / "run", resume) == "right"


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_every_file_of_a_run_damaged_in_turn(potstill, finished, make_run, tmp_path, tmp_path_factory, capsys):
    other = make_run(tmp_path_factory.mktemp("other"), 4) / "run"
    older = make_run(tmp_path_factory.mktemp("older"), 3, sigma_angstrom=0.88) / "run"  # the same ids, another teacher
    whole, counts, bad = finished / "run", Counter(), []
    for name in FILES:
        for how in DAMAGES:
            run = Path(shutil.copytree(whole, tmp_path / "run"))
            if damage(run / name, how, (older if how == "older" else other) / name):
                resume = ("run", finished / "config.yaml", "--out", run, "--resume", "--yes")
                for command in (("status", run), ("train", run), ("deploy", run), resume):
                    said = outcome(potstill, run, whole, command)
                    counts[said if said in ("right", "one line") else "wrong"] += 1
                    if said not in ("right", "one line"):
                        bad.append(f"{name} {how}, {command[0]}: {said}")
            if (run / name).exists():
                (run / name).chmod(0o700)  # or an unreadable folder could not be removed
            shutil.rmtree(tmp_path / "run")
        with capsys.disabled():  # the end comes after many minutes
            print(name, dict(counts), *bad[-1:], flush=True)  # noqa: T201
    assert bad == [], "\n".join(bad)
