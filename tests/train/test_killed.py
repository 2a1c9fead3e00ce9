"""Ten times ``kill -9`` at random moments of a training: the student is that of a training that nobody disturbed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from potstill.core.types import Structure
from potstill.dataset import Dataset, merge, write_part
from potstill.deploy import load_student
from potstill.train.job import TrainJob
from potstill.train.options import TrainConfig
from potstill.train.stage import train
from training_kit import begin_training

KILLS = 10


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_ten_times_it_ends_with_the_same_student(labelled, tiny, tmp_path):
    """Each time some random while after the next checkpoint, and twice before there is another."""
    rng = np.random.default_rng(int.from_bytes(os.urandom(4), "little"))
    config = TrainConfig(
        epochs=60, batch_structures=2, learning_rate="auto", checkpoint_minutes=0.0, patience_epochs=60, ema_decay=0.99
    )
    path, folder = dataset_of(labelled, tmp_path), tmp_path / "killed"
    started = time.monotonic()
    train(TrainJob.on(Dataset(path), tiny, config, tmp_path / "whole", seed=1))
    whole = time.monotonic() - started
    steps = []
    for k in range(KILLS):
        process = begin_training(path, folder, tiny, config)
        if k in (0, 5):
            time.sleep(rng.uniform(0.0, 4.0))
        else:
            wait_for_another_checkpoint(folder, process)
            time.sleep(rng.uniform(0.0, whole / (2 * KILLS)))
        process.send_signal(signal.SIGKILL)
        _, err = process.communicate()
        assert process.returncode == -signal.SIGKILL, err
        steps.append(step_reached(folder))
    print(f"steps {steps}")  # noqa: T201 - shown when the test fails
    assert steps == sorted(steps)
    assert len(set(steps)) >= KILLS - 2
    process = begin_training(path, folder, tiny, config)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    for name in ("weights.safetensors", "uncertainty.safetensors", "config.json", "learning_rate.json"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert load_student(folder).config["patience"]["best_epoch"] > 1


def dataset_of(labelled: list[Structure], folder: Path) -> Path:
    write_part(folder / "part.h5", labelled, labelled=True)
    splits = np.array([0] * (len(labelled) - 4) + [1, 1, 2, 2], np.uint8)
    merge([folder / "part.h5"], folder / "dataset.h5", attributes={"seed": 1}, splits=splits)
    return folder / "dataset.h5"


def wait_for_another_checkpoint(folder: Path, process: subprocess.Popen[str]) -> None:
    last = folder / "checkpoints" / "last.ckpt"
    before = last.stat().st_mtime_ns if last.exists() else 0
    while process.poll() is None and not (last.exists() and last.stat().st_mtime_ns > before):
        time.sleep(0.005)


def step_reached(folder: Path) -> int:
    last = folder / "checkpoints" / "last.ckpt"
    return int(torch.load(last, weights_only=True)["global_step"]) if last.exists() else 0
