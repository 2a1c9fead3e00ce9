"""CHGNet from its package: the kit, crystals and what is put into a box, its own calculator, and its weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from potstill.core.errors import InputError
from potstill.core.types import Labels, Refused, Teacher
from potstill.teacher import load_teacher
from potstill.testing import check_teacher, left_handed, lone_crystal, rattled, rocksalt, slab, triclinic, water, wire

pytest.importorskip("chgnet")
pytestmark = [  # of chgnet and pymatgen
    pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad=True:UserWarning"),
    pytest.mark.filterwarnings("ignore:No Pauling electronegativity:UserWarning"),
]


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    return load_teacher("chgnet", device="cpu")


def test_the_kit(teacher):
    check_teacher(teacher, [rattled(s) for s in (water(), triclinic(), slab())])


def test_a_left_handed_cell_has_the_stress_of_the_right_handed_one(teacher):
    right, left = teacher.label([rattled(triclinic()), rattled(left_handed())])
    np.testing.assert_allclose(left.stress, right.stress, atol=1e-5)
    check_teacher(teacher, [rattled(left_handed())])


def test_the_same_as_the_calculator_of_the_package(teacher):
    from chgnet.model.dynamics import CHGNetCalculator

    structures = [rattled(rocksalt()), rattled(triclinic())]
    for structure, labels in zip(structures, teacher.label(structures), strict=True):
        atoms = structure.to_ase()
        atoms.calc = CHGNetCalculator(teacher._model, use_device="cpu", on_isolated_atoms="error")
        assert labels.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-5)
        np.testing.assert_allclose(labels.forces, atoms.get_forces(), atol=1e-5)
        np.testing.assert_allclose(labels.stress, atoms.get_stress(voigt=False), atol=1e-5)


def test_what_is_not_a_crystal_is_put_into_a_box_and_has_no_stress(teacher):
    molecule, sheet = rattled(water()), rattled(slab())
    wider = sheet.with_(cell=sheet.cell * [[1], [1], [3]])
    in_a_cell = molecule.with_(cell=25.0 * np.eye(3), pbc=[True] * 3)
    answers = teacher.label([molecule, in_a_cell, sheet, wider, rattled(wire())])
    assert all(isinstance(a, Labels) for a in answers)
    assert [a.stress is None for a in answers] == [True, False, True, True, True]
    for a, b in (answers[:2], answers[2:4]):
        assert a.energy == pytest.approx(b.energy, abs=1e-4)
        np.testing.assert_allclose(a.forces, b.forces, atol=1e-4)


def test_an_atom_without_neighbours_is_refused_alone(teacher):
    salt = rattled(rocksalt())
    first, lonely, last = teacher.label([salt, lone_crystal(), salt])
    assert isinstance(lonely, Refused)
    assert "isolated atom" in lonely.detail
    assert first.energy == last.energy


def test_weights_by_name_and_by_path(teacher, tmp_path, capsys):
    import chgnet

    (path,) = (Path(chgnet.__file__).parent / "pretrained" / "r2scan").glob("*.tar")
    copy = tmp_path / "mine.tar"
    copy.write_bytes(path.read_bytes())
    named, by_path = load_teacher("chgnet", weights="r2scan", device="cpu"), load_teacher("chgnet", weights=str(copy))
    assert capsys.readouterr().out == ""
    assert named.fingerprint["weights"] == by_path.fingerprint["weights"] != teacher.fingerprint["weights"]
    assert (named.fingerprint["name"], by_path.fingerprint["name"]) == ("chgnet r2scan", "chgnet mine.tar")
    salt = rattled(rocksalt())
    assert named.label([salt])[0].energy == by_path.label([salt])[0].energy
    with pytest.raises(InputError, match=r"(?s)no weights of the teacher 'chgnet'.*0\.3\.0"):
        load_teacher("chgnet", weights="0.9.9")
    copy.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(InputError, match=r"(?s)cannot be read.*100,000 bytes.*cut short"):
        load_teacher("chgnet", weights=str(copy))


def test_embeddings_do_not_change_when_a_structure_is_turned(teacher):
    structure = rattled(triclinic())
    turn = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    turned = structure.with_(positions=structure.positions @ turn, cell=structure.cell @ turn)
    here, there = (a.extra["node_embeddings"] for a in teacher.label([structure, turned]))
    assert here.shape == (len(structure), 64)
    assert here.dtype == np.float32
    np.testing.assert_allclose(here, there, atol=2e-4 * np.abs(here).max())
    assert np.ptp(here, axis=0).max() > 0.01 * np.abs(here).max()
