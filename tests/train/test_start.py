"""Fine-tuning: a training goes on from a student, for other elements and another zero of the energy."""

import numpy as np
import pytest
from ase.build import bulk

from potstill.config import dump_config, parse_config
from potstill.core.errors import InputError
from potstill.core.types import Labels, Structure
from potstill.dataset import Records
from potstill.student.files import save_student
from potstill.testing.models import TINY, random_student
from potstill.train.job import TrainJob
from potstill.train.options import TrainConfig
from potstill.train.stage import train_student
from potstill.train.start import starting_student
from potstill.train.zero import predicted_energies

SOURCES = {"generate": {"sources": [{"source": "molecules", "count": 4}]}}


def salts(count: int) -> list[Structure]:
    """Return rattled cells of sodium chloride with the labels of a hidden student and a zero of their own."""
    cell = Structure.from_ase(bulk("NaCl", "rocksalt", a=5.6, cubic=True), source="salt", family="NaCl")
    rng = np.random.default_rng(3)
    moved = [
        cell.with_(positions=cell.positions + rng.normal(0, 0.1, cell.positions.shape), id=f"salt-{k}") for k in range(count)
    ]
    answers = random_student((11, 17), seed=7).label(moved)
    labels = [Labels(answer.energy - 100.0, answer.forces, answer.stress) for answer in answers]
    return [s.with_(labels=one) for s, one in zip(moved, labels, strict=True)]


@pytest.fixture
def start(tmp_path):
    """Return the folder of a student of more elements than the data have."""
    save_student(random_student((1, 11, 17, 29), seed=5).model, tmp_path / "start", {})
    return tmp_path / "start"


def test_the_start_has_the_elements_and_the_mean_energy_of_the_data(start):
    structures = salts(6)
    student = starting_student(str(start), Records.of(structures))
    assert student.architecture.atomic_numbers == (11, 17)
    gaps = predicted_energies(student, Records.of(structures)) - [s.labels.energy for s in structures]
    assert abs(gaps.mean()) < 1e-6


def test_a_training_of_no_size_keeps_the_start(start, tmp_path):
    structures = salts(6)
    student = starting_student(str(start), Records.of(structures))
    config = TrainConfig(epochs=1, batch_structures=6, learning_rate=1e-12, uncertainty=False)
    sizes = parse_config({**SOURCES, "train": {"start": str(start)}}).student
    job = TrainJob(
        training=Records.of(structures), student=sizes, config=config, folder=tmp_path / "out", seed=1, start=student
    )
    trained = train_student(job)
    known = predicted_energies(student, Records.of(structures))
    assert predicted_energies(trained, Records.of(structures)) == pytest.approx(known, abs=1e-4)


def test_the_sizes_are_those_of_the_start_also_after_a_round_trip(start):
    config = parse_config({**SOURCES, "train": {"start": str(start)}})
    assert config.student.features == TINY["features"]
    import yaml

    assert parse_config(yaml.safe_load(dump_config(config))) == config


def test_other_sizes_than_those_of_the_start_are_refused(start):
    with pytest.raises(InputError, match=r"student\.hidden is 300, but train\.start has .*: remove student\.hidden"):
        parse_config({**SOURCES, "student": {"hidden": 300}, "train": {"start": str(start)}})


def test_a_path_is_relative_to_the_config(start):
    config = parse_config({**SOURCES, "train": {"start": "start"}}, folder=start.parent)
    assert config.train.start == str(start)


def test_no_student_of_that_name_is_a_fault_of_the_config():
    with pytest.raises(InputError, match=r"train\.start.*no student of that name"):
        parse_config({**SOURCES, "train": {"start": "nobody"}})


def test_a_past_run_is_read_after_its_start_is_gone(start):
    import shutil

    import yaml

    config = parse_config({**SOURCES, "train": {"start": "start"}}, folder=start.parent)
    stored = yaml.safe_load(dump_config(config))
    shutil.rmtree(start)
    assert parse_config(stored, folder=start.parent, past=True) == config
    with pytest.raises(InputError, match=r"fault:\n  train\.start: there is no folder .*start"):
        parse_config(stored, folder=start.parent)


def test_the_learning_rate_is_lower_from_a_start():
    for optimizer in ("adamw", "muon"):
        assert TrainConfig(optimizer=optimizer).rate > TrainConfig(optimizer=optimizer, start="general").rate
    assert TrainConfig(start="general", learning_rate=3e-3).rate == 3e-3


def test_steps_of_muon_have_a_higher_rate_unless_one_is_stated():
    assert TrainConfig(optimizer="muon").rate > TrainConfig().rate
    assert TrainConfig(optimizer="muon", learning_rate=3e-3).rate == 3e-3
