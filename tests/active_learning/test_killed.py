"""A signal ends the process right after each file that a round writes: resumed, it ends as if there had been no signal."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import ase.io
import pytest
from ase.build import bulk

from potstill.active_learning.stage import learn_actively
from potstill.config import Config, dump_config, parse_config
from potstill.dataset import Dataset, open_dataset
from potstill.execute import LocalExecutor
from potstill.generate.stage import generate
from potstill.label.stage import assemble, label
from potstill.train.job import TrainJob
from potstill.train.stage import train
from training_kit import ONE_CORE

FILES = ("visited.h5", "new.h5", "round.json", "dataset.h5", "student/checkpoints/last.ckpt", "student/config.json")
ROUNDS = (
    ONE_CORE
    + """
import signal, sys
from pathlib import Path
from potstill.active_learning.stage import learn_actively
from potstill.config import load_config
from potstill.execute import LocalExecutor

run, fatal, number = Path(sys.argv[1]), Path(sys.argv[2]), signal.Signals[sys.argv[3]]
renamed = False

def watch(event, given):  # whatever comes after the file has its name: syncing its folder
    global renamed
    if event == "os.rename" and Path(os.fsdecode(given[1])) == fatal:
        renamed = True
    elif renamed and fatal.exists():
        renamed = False
        os.kill(os.getpid(), number)

sys.addaudithook(watch)
config = load_config(run / "config.yaml")
learn_actively(config, run / "dataset.h5", run / "student", run / "active_learning", executor=LocalExecutor(1))
"""
)


def prepared(folder: Path) -> Config:
    """A run of two rounds as far as its first student."""
    ase.io.write(folder / "mine.extxyz", [bulk("Cu", cubic=True), bulk("Cu", cubic=True, a=3.7)])
    sources = [
        {"source": "files", "paths": ["mine.extxyz"], "count": 2},
        {"source": "perturb", "count": 12, "rattle_angstrom": [0.01, 0.05], "max_strain": 0.02},
    ]
    asked = {"trajectories": 2, "length_ps": 0.05, "temperatures_kelvin": [600.0], "frames": 6, "epochs": 4}
    config = parse_config(
        {
            "workers": 1,
            "generate": {"sources": sources},
            "label": {"teacher": {"name": "emt"}},
            "student": {"cutoff_angstrom": 4.0, "layers": 1, "features": 16, "channels": 8, "radial": 4, "hidden": 32},
            "train": {"epochs": 6, "batch_structures": 4, "learning_rate": "auto", "ema_decay": 0.9},
            "active_learning": {**asked, "max_rounds": 2, "max_force_error_ev_per_angstrom": 1e-4},
        },
        folder=folder,
    )
    (folder / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    generate(config.generate, folder / "structures", seed=1, workers=1)
    structures = folder / "structures" / "structures.h5"
    parts = label(config.label, structures, folder / "label", workers=1)
    attributes = {"config": json.dumps(config.model_dump(mode="json"))}
    assemble(parts, structures, folder / "dataset.h5", split=config.dataset, seed=1, attributes=attributes)
    train(TrainJob.on(Dataset(folder / "dataset.h5"), config.student, config.train, folder / "student", seed=1))
    return config


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_after_each_file_the_rounds_end_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    config = prepared(whole)
    shutil.copytree(whole, killed)
    learn_actively(config, whole / "dataset.h5", whole / "student", whole / "active_learning", executor=LocalExecutor(1))
    rounds = killed / "active_learning"
    for k, name in enumerate(FILES):
        fatal = rounds / ("01" if k < 4 else "02") / name
        number = ("SIGKILL", "SIGHUP", "SIGTERM")[k % 3]
        process = go_on(killed, fatal, number)
        assert process.returncode in (-signal.Signals[number], 128 + signal.Signals[number]), process.stderr
        assert fatal.exists()
        later = [f for f in FILES[k + 1 :] if (fatal.parents[name.count("/")] / f).exists()]
        assert later == [], f"killed after {name}"
    assert (process := go_on(killed, Path("none"))).returncode == 0, process.stderr
    for number in ("01", "02"):
        a, b = whole / "active_learning" / number, rounds / number
        assert (a / "round.json").read_text() == (b / "round.json").read_text()
        assert (
            open_dataset(a / "dataset.h5").attributes["checksums"] == open_dataset(b / "dataset.h5").attributes["checksums"]
        )
        assert (a / "student" / "weights.safetensors").read_bytes() == (b / "student" / "weights.safetensors").read_bytes()
    for name in ("weights.safetensors", "uncertainty.safetensors", "config.json"):
        assert (whole / "student" / name).read_bytes() == (killed / "student" / name).read_bytes()


def go_on(run: Path, fatal: Path, number: str = "SIGKILL") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", ROUNDS, str(run), str(fatal), number]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
