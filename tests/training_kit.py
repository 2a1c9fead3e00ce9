"""Jobs of training on structures in memory, and a script that trains in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from potstill.core.types import Structure
from potstill.dataset import Records
from potstill.student.options import StudentConfig
from potstill.train.job import TrainJob
from potstill.train.options import TrainConfig

ONE_CORE = """
import os
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])  # tiny matrices: two threads would wait for each other
"""
TRAINING = (
    ONE_CORE
    + """
import sys
from pathlib import Path
from potstill.dataset import open_dataset
from potstill.student.options import StudentConfig
from potstill.train.job import TrainJob
from potstill.train.options import TrainConfig
from potstill.train.stage import train

student, config = StudentConfig.model_validate_json(sys.argv[3]), TrainConfig.model_validate_json(sys.argv[4])
job = TrainJob.on(open_dataset(sys.argv[1]), student, config, Path(sys.argv[2]), seed=1)

def report(epoch, errors):
    print("epoch", epoch, flush=True)

train(job, on_epoch=report)
"""
)


def job_of(
    training: Sequence[Structure] | Records,
    watching: Sequence[Structure] | Records,
    student: StudentConfig,
    config: TrainConfig,
    folder: Path,
    seed: int = 1,
) -> TrainJob:
    """A training on structures."""
    first, others = (some if isinstance(some, Records) else Records.of(some) for some in (training, watching))
    return TrainJob(training=first, watching=others, student=student, config=config, folder=folder, seed=seed)


def begin_training(
    dataset: Path, folder: Path, student: StudentConfig, config: TrainConfig, *, script: str = TRAINING
) -> subprocess.Popen[str]:
    """Start a training in a process of its own, whose output and errors are kept."""
    command = [sys.executable, "-c", script, dataset, folder, student.model_dump_json(), config.model_dump_json()]
    return subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
