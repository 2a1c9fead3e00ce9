"""7net-0, from its package: few and small, for it takes seconds to load."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

from potstill.core.errors import InputError
from potstill.core.types import Labels, Refused, Structure, Teacher
from potstill.teacher import load_teacher

pytest.importorskip("sevenn")


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    return load_teacher("sevennet", device="cpu")


@pytest.fixture(scope="module")
def salt() -> Structure:
    atoms = bulk("NaCl", "rocksalt", a=5.5)
    atoms.positions[1] += [0.1, -0.05, 0.2]
    return Structure.from_ase(atoms)


def test_batch_equals_single(teacher, salt):
    slab = salt.with_(pbc=[True, True, False])
    structures = [
        salt,
        Structure.from_ase(molecule("CH3OH")),
        slab,
        Structure.from_ase(bulk("Si")),
        Structure([2], [[0, 0, 0]]),
    ]
    together = teacher.label(structures)
    for structure, answer in zip(structures, together, strict=True):
        (alone,) = teacher.label([structure])
        assert isinstance(alone, Labels)
        assert answer.energy == pytest.approx(alone.energy, abs=1e-5 * len(structure))
        np.testing.assert_allclose(answer.forces, alone.forces, atol=1e-5)
        assert (answer.stress is None) == (alone.stress is None) == (not structure.pbc.all())
        if answer.stress is not None:
            np.testing.assert_allclose(answer.stress, alone.stress, atol=1e-5)


def test_stress_sign_and_order_by_finite_difference(teacher, salt):
    (labels,) = teacher.label([salt])
    step = 5e-3
    pairs = [(0, 0), (2, 2), (0, 1), (1, 2), (0, 2)]
    strained = []
    for a, b in pairs:
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * step / 2
            strain[b, a] += sign * step / 2
            strained.append(salt.with_(positions=salt.positions @ strain, cell=salt.cell @ strain))
    energies = [a.energy for a in teacher.label(strained)]
    for k, (a, b) in enumerate(pairs):
        difference = (energies[2 * k] - energies[2 * k + 1]) / (2 * step * salt.volume)
        assert labels.stress[a, b] == pytest.approx(difference, abs=3e-4)
    wide = salt.with_(positions=salt.positions * 1.05, cell=salt.cell * 1.05)
    (labels,) = teacher.label([wide])
    assert np.trace(labels.stress) > 0.01  # + is tension


def test_forces_by_finite_difference(teacher, salt):
    (labels,) = teacher.label([salt])
    step = 0.01
    moved = []
    for sign in (1, -1):
        positions = salt.positions.copy()
        positions[1, 2] += sign * step
        moved.append(salt.with_(positions=positions))
    up, down = (a.energy for a in teacher.label(moved))
    assert labels.forces[1, 2] == pytest.approx(-(up - down) / (2 * step), abs=5e-3)


def test_an_unsupported_element_is_refused_alone(teacher, salt):
    odd = salt.with_(atomic_numbers=[11, 118])
    first, second, third = teacher.label([salt, odd, salt])
    assert isinstance(second, Refused)
    assert (second.reason, second.detail) == ("unsupported_element", "the teacher does not support Og")
    assert first.energy == pytest.approx(third.energy, abs=1e-5)


def test_the_fingerprint_is_that_of_the_weights(teacher):
    again = load_teacher("sevennet", device="cpu", atoms_per_batch=7)
    assert dict(again.fingerprint) == dict(teacher.fingerprint)
    assert teacher.fingerprint["name"] == "sevennet 7net-0"
    assert len(teacher.fingerprint["weights"]) == len("sha256:") + 64


def test_a_batch_that_fails_is_halved_until_one_stands_alone(teacher, salt, monkeypatch):
    honest = type(teacher)._evaluate

    def fail(self, graphs, structures):
        if any(s.id == "bad" for s in structures):
            raise RuntimeError("out of memory")
        return honest(self, graphs, structures)

    monkeypatch.setattr(type(teacher), "_evaluate", fail)
    answers = teacher.label([salt.with_(id=name) for name in ("a", "b", "bad", "c", "d")])
    assert [isinstance(a, Refused) for a in answers] == [False, False, True, False, False]
    assert "out of memory" in answers[2].detail


def test_weights_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match="no weights of the teacher 'sevennet'"):
        load_teacher("sevennet", weights=str(tmp_path / "no.pth"))
    from sevenn import _const

    (tmp_path / "half.pth").write_bytes(Path(_const.SEVENNET_0_11Jul2024).read_bytes()[:100_000])
    with pytest.raises(InputError, match=r"(?s)cannot be read from .*half\.pth \(100,000 bytes\).*7net-0"):
        load_teacher("sevennet", weights=str(tmp_path / "half.pth"))
    torch.save({"config": {}}, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"(?s)cannot be read from .*other\.pth.*that of another model"):
        load_teacher("sevennet", weights=str(tmp_path / "other.pth"))
    with pytest.raises(InputError, match="device"):
        load_teacher("sevennet", device="gpu")


def test_embeddings_do_not_change_when_a_structure_is_turned(teacher, salt):
    structure = salt
    turn = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    turned = structure.with_(positions=structure.positions @ turn, cell=structure.cell @ turn)
    here, there = (a.extra["node_embeddings"] for a in teacher.label([structure, turned]))
    assert here.shape == (len(structure), 64)
    assert here.dtype == np.float32
    np.testing.assert_allclose(here, there, atol=2e-4 * np.abs(here).max())
    assert np.ptp(here, axis=0).max() > 0.01 * np.abs(here).max()
