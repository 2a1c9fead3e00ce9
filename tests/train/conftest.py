"""A few labelled structures and the smallest training there is."""

import os

import pytest
import torch

from potstill.core.types import Structure
from potstill.student.options import StudentConfig
from potstill.teacher import load_teacher
from potstill.testing import copper, ethanol, rattled, rocksalt, water
from potstill.train.options import TrainConfig


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Tiny matrices on one thread: two would wait for each other."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def labelled() -> list[Structure]:
    """Crystals and molecules labelled by Lennard-Jones."""
    structures = [rattled(make(), seed, 0.08) for seed in range(3) for make in (copper, rocksalt, water, ethanol)]
    answers = load_teacher("lennard-jones", sigma_angstrom=1.2).label(structures)
    return [s.with_(labels=a) for s, a in zip(structures, answers, strict=True)]


@pytest.fixture
def tiny() -> StudentConfig:
    return StudentConfig(cutoff_angstrom=3.5, layers=1, features=8, channels=4, radial=4, hidden=16)


@pytest.fixture
def short() -> TrainConfig:
    return TrainConfig(epochs=4, batch_structures=4, learning_rate=1e-2)
