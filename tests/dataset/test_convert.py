"""dataset.h5 to extended XYZ and back keeps everything, or says that it cannot."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from potstill.dataset import open_dataset
from potstill.dataset.convert import convert, read_structures
from potstill.errors import DatasetError, InputError
from potstill.types import Structure

ODD = {"empty": "", "text": 'C[C@@H]\\N "x" = y', "unicode": "Å 晶体", "nested": {"a": [1, None, True]}}


def assert_same(a: Structure, b: Structure) -> None:
    np.testing.assert_array_equal(a.atomic_numbers, b.atomic_numbers)
    np.testing.assert_allclose(a.positions, b.positions, atol=1e-6)
    np.testing.assert_allclose(a.cell, b.cell, atol=1e-9)
    np.testing.assert_array_equal(a.pbc, b.pbc)
    assert (a.id, a.source, a.family) == (b.id, b.source, b.family)
    assert dict(a.generator_metadata) == dict(b.generator_metadata)
    assert a.labels is not None
    assert b.labels is not None
    assert a.labels.energy == pytest.approx(b.labels.energy, abs=1e-9)
    np.testing.assert_allclose(a.labels.forces, b.labels.forces, atol=1e-6)
    assert (a.labels.stress is None) == (b.labels.stress is None)
    if a.labels.stress is not None:
        np.testing.assert_allclose(a.labels.stress, b.labels.stress, atol=1e-8)


def test_there_and_back(tmp_path, build, labelled):
    structures = [s.with_(generator_metadata=ODD if k % 2 else {}) for k, s in enumerate(labelled)]
    path = build(structures)
    assert convert(path, tmp_path / "data.extxyz") == len(structures)
    assert convert(tmp_path / "data.extxyz", tmp_path / "back.h5") == len(structures)
    for a, b in zip(open_dataset(tmp_path / "back.h5"), open_dataset(path), strict=True):
        assert_same(a, b)
    assert open_dataset(tmp_path / "back.h5").verify() == []


@pytest.mark.parametrize("word", ["F", "T", "000123", "1e5", "NaN", "a b", 'a"b', "a=b", "", "Ωμέγα", "[1, 2]"])
def test_names_that_extended_xyz_takes_for_something_else(tmp_path, build, labelled, word):
    path = build([labelled[0].with_(family=word, source=word, id=word or "id")])
    convert(path, tmp_path / "data.xyz")
    (read,) = read_structures(tmp_path / "data.xyz")
    assert (read.family, read.source, read.id) == (word, word, word or "id")


def test_ref_keys_are_those_that_others_read(tmp_path, build, labelled):
    convert(build(labelled[:4]), tmp_path / "data.extxyz")
    for atoms, structure in zip(ase.io.read(tmp_path / "data.extxyz", index=":"), labelled, strict=False):
        assert structure.labels is not None
        assert atoms.info["REF_energy"] == pytest.approx(structure.labels.energy)
        np.testing.assert_allclose(atoms.arrays["REF_forces"], structure.labels.forces, atol=1e-6)
        assert ("REF_stress" in atoms.info) == (structure.labels.stress is not None)


def test_results_of_a_calculator_are_labels(tmp_path):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.calc = EMT()
    energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(voigt=False)
    ase.io.write(tmp_path / "mine.traj", atoms)
    convert(tmp_path / "mine.traj", tmp_path / "mine.h5")
    labels = open_dataset(tmp_path / "mine.h5")[0].labels
    assert labels.energy == pytest.approx(energy)
    np.testing.assert_allclose(labels.forces, forces, atol=1e-5)
    np.testing.assert_allclose(labels.stress, stress, atol=1e-7)


def test_frames_without_labels_make_an_unlabelled_file(tmp_path):
    ase.io.write(tmp_path / "a.xyz", [bulk("Cu"), bulk("Al")])
    convert(tmp_path / "a.xyz", tmp_path / "a.h5")
    dataset = open_dataset(tmp_path / "a.h5")
    assert not dataset.labelled
    assert dataset.families.tolist() == ["Cu", "Al"]


def test_what_cannot_be_done_is_said(tmp_path, build, labelled):
    path = build(labelled[:2])
    with pytest.raises(InputError, match=r"cannot write '\.docx'"):
        convert(path, tmp_path / "a.docx")
    with pytest.raises(InputError, match="exists already"):
        convert(path, path)
    with pytest.raises(InputError, match="no file at"):
        convert(tmp_path / "nothing.xyz", tmp_path / "b.h5")
    (tmp_path / "bad.xyz").write_text("this is no structure\n")
    with pytest.raises(InputError, match="ASE cannot read"):
        convert(tmp_path / "bad.xyz", tmp_path / "b.h5")


def test_a_loss_is_an_error_and_leaves_no_file(tmp_path, build, labelled):
    far = labelled[0].with_(positions=labelled[0].positions + 1e7)  # eight decimals are not enough for float32 out there
    wide = far.with_(positions=far.positions * (1 + 1e-9) + np.pi * 1e-7)
    path = build([wide])
    target = tmp_path / "far.xyz"
    try:
        convert(path, target)
    except DatasetError:
        assert not target.exists()
    else:
        (read,) = read_structures(target)
        np.testing.assert_allclose(read.positions, open_dataset(path)[0].positions, atol=1e-6)
