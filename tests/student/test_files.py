"""A student on disk."""

import json

import numpy as np
import pytest
import torch

from potstill.core.errors import InputError
from potstill.student.files import count_parameters, read_student, save_student
from potstill.testing import random_student, rattled, rocksalt


@pytest.fixture
def saved(tmp_path):
    student = random_student([11, 17])
    save_student(student.model, tmp_path / "student", {"teacher": {"name": "lennard-jones"}})
    return student, tmp_path / "student"


def change(folder, **changes):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, **changes}), encoding="utf-8")


def test_round_trip_is_bit_exact(saved):
    student, folder = saved
    model, config = read_student(folder)
    before, after = student.model.state_dict(), model.state_dict()
    assert before.keys() == after.keys()
    for name in before:
        assert before[name].dtype == after[name].dtype, name
        assert torch.equal(before[name], after[name]), name
    assert model.architecture == student.model.architecture
    (a,), (b,) = (s.label([rattled(rocksalt())]) for s in (student, type(student)(model, config)))
    assert a.energy == b.energy
    assert np.array_equal(a.forces, b.forces)
    assert np.array_equal(a.stress, b.stress)


def test_config_says_what_it_is(saved):
    _, folder = saved
    _, config = read_student(folder)
    assert config["elements"] == ["Na", "Cl"]
    assert config["teacher"] == {"name": "lennard-jones"}
    assert config["units"]["stress"] == "eV/Å^3, + is tension"
    assert config["architecture"]["atomic_numbers"] == [11, 17]


def test_only_the_two_files_are_left(saved):
    _, folder = saved
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "weights.safetensors"]


def test_a_read_student_does_not_train(saved):
    model, _ = read_student(saved[1])
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("name", ["config.json", "weights.safetensors"])
def test_missing_file_is_refused_by_name(saved, name):
    (saved[1] / name).unlink()
    with pytest.raises(InputError, match=name):
        read_student(saved[1])


def test_other_format_version_is_refused(saved):
    change(saved[1], format_version=99)
    with pytest.raises(InputError, match="format 99"):
        read_student(saved[1])


@pytest.mark.parametrize("units", [None, {"energy": "kcal/mol"}])
def test_other_units_are_refused(saved, units):
    change(saved[1], units=units)
    with pytest.raises(InputError, match="units"):
        read_student(saved[1])


def test_damaged_config_is_refused(saved):
    (saved[1] / "config.json").write_text('{"format_version": 1,', encoding="utf-8")
    with pytest.raises(InputError, match=r"config\.json"):
        read_student(saved[1])


def test_weights_of_another_architecture_are_refused(saved):
    _, folder = saved
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    change(folder, architecture={**config["architecture"], "hidden": 64})
    with pytest.raises(InputError, match="weights"):
        read_student(folder)


def test_truncated_weights_are_refused(saved):
    path = saved[1] / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-16])
    with pytest.raises(InputError, match="weights"):
        read_student(saved[1])


def test_count_parameters_counts_numbers_not_tensors():
    assert count_parameters(torch.nn.Linear(3, 5)) == 20
