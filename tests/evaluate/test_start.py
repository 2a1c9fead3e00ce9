"""Held-out structures that the start of a fine-tuning has seen."""

from __future__ import annotations

import numpy as np
import pytest

from potstill.dataset import merge, open_file, write_part
from potstill.evaluate.options import EvaluateConfig
from potstill.evaluate.stage import evaluate
from potstill.evaluate.start import seen_by_start
from potstill.report.evaluate import held_out_by
from potstill.student.options import StudentConfig
from potstill.teacher.classical import LennardJones
from potstill.testing import copper, random_student, rattled
from potstill.train.job import TrainJob
from potstill.train.options import TrainConfig
from potstill.train.stage import train
from potstill.train.start import starting_student

TRAIN, TEST = 0, 2
NOTHING = EvaluateConfig(nve_ps=0.0, physics_crystals=0, physics_molecules=0, physics_pairs=0)


@pytest.fixture(scope="module")
def structures():
    teacher = LennardJones(sigma_angstrom=2.3).load()
    found = [rattled(copper(), k).with_(id=f"s-{k}", family=f"f{k // 2}") for k in range(8)]
    return [s.with_(labels=labels) for s, labels in zip(found, teacher.label(found), strict=True)]


def dataset(folder, structures, test):
    folder.mkdir()
    write_part(folder / "p.h5", structures, labelled=True)
    splits = np.array([TEST if k in test else TRAIN for k in range(len(structures))], np.uint8)
    merge([folder / "p.h5"], folder / "dataset.h5", attributes={}, splits=splits)
    return open_file(folder / "dataset.h5")


@pytest.fixture(scope="module")
def start(tmp_path_factory, structures):
    """A run folder with its dataset and its student."""
    folder = tmp_path_factory.mktemp("start") / "run"
    data = dataset(folder, structures, test=(0, 1))
    sizes = StudentConfig(layers=1, features=8, channels=4, hidden=8, cutoff_angstrom=4.0)
    train(TrainJob.on(data, sizes, TrainConfig(epochs=1, uncertainty=False), folder / "student", seed=1))
    return folder / "student"


@pytest.mark.parametrize(("test", "seen"), [((0, 1), 0), ((1, 2, 3), 2), ((6, 7), 2)])
def test_families_that_the_start_was_trained_on_are_counted(tmp_path, structures, start, test, seen):
    found = seen_by_start("../run", start, dataset(tmp_path / "mine", structures, test))
    assert found == {"name": "../run", "held_out": len(test), "seen": seen}


@pytest.mark.parametrize(("test", "seen"), [((0, 1), None), ((6, 7), 2)])
def test_of_the_start_of_a_start_nothing_is_claimed(tmp_path, structures, start, test, seen):
    again = tmp_path / "again"
    data = dataset(again, structures, test=(0, 1))
    options = TrainConfig(epochs=1, uncertainty=False)
    job = TrainJob.on(data, StudentConfig(), options, again / "student", seed=1, start=starting_student(str(start), data))
    train(job)
    assert seen_by_start("../again", again / "student", dataset(tmp_path / "mine", structures, test))["seen"] == seen


def test_it_is_a_gate(tmp_path, structures, start):
    data = dataset(tmp_path / "mine", structures, (6, 7))
    leak = seen_by_start("../run", start, data)
    report = evaluate(random_student([29]), data, NOTHING, teacher=None, seed=1, start=leak).report
    finding = report["findings"][0]
    assert (finding["check"], finding["verdict"], finding["measured"]) == ("start_leakage", "NO_GO", 2.0)


def test_an_unknown_start_is_said(tmp_path, structures):
    data = dataset(tmp_path / "mine", structures, (6, 7))
    leak = seen_by_start("general", tmp_path, data)
    assert leak["seen"] is None
    report = evaluate(random_student([29]), data, NOTHING, teacher=None, seed=1, start=leak).report
    assert "start_leakage" not in [finding["check"] for finding in report["findings"]]
    assert "its start general may have seen them" in held_out_by(report)
