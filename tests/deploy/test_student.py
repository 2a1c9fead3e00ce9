"""Loading a student, and its ASE calculator."""

import shutil

import numpy as np
import pytest
import torch
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_stress

import potstill
from potstill.core.errors import InputError
from potstill.core.neighbors import structure_neighbors
from potstill.core.types import Labels
from potstill.dataset import Records
from potstill.deploy import DeployedStudent, load_student
from potstill.deploy.engine import Stepper
from potstill.student.files import save_student
from potstill.student.fused import FusedTraining
from potstill.testing import copper, ethanol, one_atom, random_student, rattled, rocksalt, slab, triclinic, water
from potstill.train.data import LabelledStructures

ELEMENTS = [1, 6, 8, 11, 12, 17, 29]
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@pytest.fixture
def folder(tmp_path):
    save_student(random_student(ELEMENTS).model, tmp_path / "student", {})
    return tmp_path / "student"


@pytest.mark.parametrize("structure", [rattled(triclinic()), rattled(rocksalt()), ethanol(), slab()], ids=lambda s: s.id)
def test_calculator_gives_what_label_gives(structure):
    student = random_student(ELEMENTS)
    (labels,) = student.label([structure])
    atoms = structure.to_ase()
    atoms.calc = student.calculator()
    assert atoms.get_potential_energy() == pytest.approx(labels.energy, rel=1e-6)  # neighbours are summed in any order
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    assert np.allclose(atoms.get_forces(), labels.forces, rtol=0, atol=1e-5)
    if labels.stress is not None:
        assert np.allclose(atoms.get_stress(voigt=False), labels.stress, rtol=0, atol=1e-6)


def test_stress_in_voigt_order_is_the_slope_of_the_energy():
    student = random_student(ELEMENTS)
    exact = type(student)(student.model, student.config, dtype=torch.float64)
    atoms = rattled(triclinic()).to_ase()
    atoms.calc = exact.calculator()
    stress, h = atoms.get_stress(), 1e-5
    assert len(set(np.round(stress, 8))) == 6  # six different numbers, so that their order shows
    for found, (a, b) in zip(stress, VOIGT, strict=True):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * h / 2
            strain[b, a] += sign * h / 2
            strained = atoms.copy()
            strained.set_cell(atoms.cell[:] @ strain, scale_atoms=True)
            strained.calc = exact.calculator()
            energies.append(strained.get_potential_energy())
        slope = (energies[0] - energies[1]) / (2 * h) / atoms.get_volume()
        assert found == pytest.approx(slope, rel=1e-4, abs=1e-6)


def test_a_stretched_crystal_is_under_tension():
    """Sign by words: where a larger cell costs energy, the stress is positive."""
    student = random_student([29])
    crystal = copper()
    squeezed = crystal.with_(positions=0.7 * crystal.positions, cell=0.7 * crystal.cell)  # repelled by ZBL
    assert np.trace(student.label([squeezed])[0].stress) < 0


def test_stress_is_refused_where_there_is_no_volume():
    atoms = water().to_ase()
    atoms.calc = random_student(ELEMENTS).calculator()
    with pytest.raises(PropertyNotImplementedError, match="a cell with a volume"):
        atoms.get_stress()


def test_stress_of_a_slab_is_the_slope_of_its_energy():
    student = random_student(ELEMENTS)
    atoms = rattled(slab()).to_ase()
    atoms.calc = DeployedStudent(student.model, student.config, dtype=torch.float64).calculator()
    assert not atoms.pbc.all()
    assert np.abs(atoms.get_stress()).max() > 1e-4
    assert np.allclose(atoms.get_stress(), calculate_numerical_stress(atoms, eps=1e-5), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("change", ["positions", "numbers", "cell", "pbc"])
def test_calculator_computes_again_when_something_changes(change):
    atoms = triclinic().to_ase()
    atoms.calc = random_student(ELEMENTS).calculator()
    before = atoms.get_potential_energy()
    atoms.set_initial_magnetic_moments(np.ones(len(atoms)))  # nothing that a student knows of
    assert atoms.get_potential_energy() == before
    assert atoms.calc.neighbors.calls == 1
    if change == "positions":
        atoms.positions[1, 0] += 0.1
    elif change == "numbers":
        atoms.numbers[:] = 8
    elif change == "cell":
        atoms.cell[2, 2] += 0.1
    else:
        atoms.pbc[2] = False
    assert atoms.get_potential_energy() != before
    assert atoms.calc.neighbors.calls == 2


@pytest.mark.parametrize("structure", [triclinic(), rocksalt(), ethanol(), slab()], ids=lambda s: s.id)
def test_calculator_searches_now_and_then_and_is_right_at_every_step(structure):
    student = random_student(ELEMENTS)
    exact = type(student)(student.model, student.config, dtype=torch.float64)
    atoms, rng = structure.to_ase(), np.random.default_rng(0)
    atoms.calc = exact.calculator()
    for k in range(20):
        atoms.positions += rng.normal(scale=0.04, size=atoms.positions.shape)
        atoms.set_cell(atoms.cell * 0.998, scale_atoms=True)
        if k == 10:
            atoms.wrap()
            atoms.numbers = rng.permutation(atoms.numbers)
        (labels,) = exact.label([structure.from_ase(atoms)])
        assert atoms.get_potential_energy() == pytest.approx(labels.energy, abs=1e-9)
        assert np.allclose(atoms.get_forces(), labels.forces, rtol=0, atol=1e-9)
    assert atoms.calc.neighbors.calls == 20
    assert atoms.calc.neighbors.searches < 10


def test_a_change_of_elements_needs_no_search():
    atoms = water().to_ase()
    student = random_student(ELEMENTS)
    atoms.calc = student.calculator()
    atoms.get_forces()
    atoms.numbers = [6, 8, 1]
    (labels,) = student.label([water().with_(atomic_numbers=[6, 8, 1])])
    assert atoms.get_potential_energy() == pytest.approx(labels.energy, rel=1e-6)
    assert (atoms.calc.neighbors.calls, atoms.calc.neighbors.searches) == (2, 1)


def test_one_calculator_for_two_sets_of_atoms():
    student = random_student(ELEMENTS)
    calculator = student.calculator()
    for structure in (water(), ethanol(), triclinic(), water()):
        (labels,) = student.label([structure])
        assert calculator.get_property("energy", structure.to_ase()) == pytest.approx(labels.energy, rel=1e-6)


def test_label_takes_neighbours_made_earlier():
    student = random_student(ELEMENTS)
    structures = [water(), triclinic()]
    neighbors = [structure_neighbors(s, student.cutoff_angstrom) for s in structures]
    for made, plain in zip(student.label(structures, neighbors=neighbors), student.label(structures), strict=True):
        assert made.energy == plain.energy
        assert np.array_equal(made.forces, plain.forces)


def test_unknown_element_is_refused_by_name():
    student = random_student([1, 8])
    with pytest.raises(InputError, match=r"not trained on Ar; it supports H, O"):
        student.label([water(), one_atom()])
    atoms = one_atom().to_ase()
    atoms.calc = student.calculator()
    with pytest.raises(InputError, match="Ar"):
        atoms.get_potential_energy()


def test_load_finds_the_student_of_a_run_folder(folder):
    a, b = load_student(folder), load_student(folder.parent)
    c = potstill.load_student(str(folder))
    energies = {student.label([water()])[0].energy for student in (a, b, c)}
    assert len(energies) == 1
    assert a.elements == ["H", "C", "O", "Na", "Mg", "Cl", "Cu"]
    assert a.parameters == sum(p.numel() for p in a.model.parameters())


def test_load_in_float64(folder):
    student = load_student(folder, dtype="float64")
    assert {p.dtype for p in student.model.parameters()} == {torch.float64}
    low, high = load_student(folder).label([ethanol()])[0], student.label([ethanol()])[0]
    assert low.energy != high.energy
    assert np.allclose(low.forces, high.forces, atol=1e-4)


def test_load_refuses_other_dtypes(folder):
    with pytest.raises(InputError, match="float16"):
        load_student(folder, dtype="float16")


def test_load_refuses_a_folder_without_student(tmp_path):
    with pytest.raises(InputError, match="contains no student"):
        load_student(tmp_path)


def test_load_refuses_a_packed_student_with_what_to_do(tmp_path, folder):
    packed = shutil.make_archive(str(tmp_path / "student"), "zip", folder)
    with pytest.raises(InputError, match="unpack an archive first"):
        load_student(packed)


def test_reference_energies_stay_float64(folder):
    assert load_student(folder).model.reference_energies.dtype == torch.float64


def test_nothing_but_the_arrays_decides_the_labels():
    student = random_student(ELEMENTS)
    plain, named = student.label([water(), water().with_(id="x", source="y", family="z")])
    assert plain.energy == pytest.approx(named.energy, abs=1e-6)
    assert np.allclose(plain.forces, named.forces, atol=1e-6)


ROUNDING = 2e-6  # eV/Å: edges of float32 numbers whose last bit may differ


def ways_to_labels(student):
    """Each way from a structure to labels that needs no engine."""

    def ask(structure):
        atoms = structure.to_ase()
        atoms.calc = student.calculator()
        return Labels(atoms.get_potential_energy(), atoms.get_forces())

    def train(structure):
        records = Records.of([structure.with_(labels=Labels(0.0, np.zeros_like(structure.positions)))])
        batch = LabelledStructures(records, student.cutoff_angstrom)[np.array([0])]
        kernel = None if student.backend == "torch" else FusedTraining(student.model)
        found = student.model.predict(batch.inputs, training=True, kernel=kernel)
        return Labels(float(found.energy.detach()), found.forces.detach().double().numpy())

    step = Stepper(student)
    return {
        "label": lambda s: student.label([s])[0],
        "calculator": ask,
        "engine": lambda s: step(s.atomic_numbers, s.positions, s.cell, s.pbc),
        "training": train,
    }


@pytest.mark.parametrize("backend", ["fused", "torch"])
@pytest.mark.parametrize("way", ["label", "calculator", "engine", "training"])
def test_forces_do_not_depend_on_where_the_molecule_is(backend, way):
    """In float32: 7e-3 eV/Å at 3,000 Å, when differences were taken of positions in float32."""
    label = ways_to_labels(random_student(ELEMENTS, backend=backend))[way]
    here = label(ethanol())
    for far in (30.0, 300.0, 3e3, 1e5):
        there = label(ethanol().with_(positions=ethanol().positions + np.array([far, -far, 0.7 * far])))
        assert np.abs(there.forces - here.forces).max() < ROUNDING, far
        assert there.energy == pytest.approx(here.energy, abs=1e-5)


def test_a_crystal_far_from_its_cell_is_the_same():
    student, crystal = random_student(ELEMENTS), rattled(rocksalt())
    far = crystal.with_(positions=crystal.positions + 20_000 * crystal.cell[0] + 3e4)
    here, there = (student.label([s])[0] for s in (crystal, far))
    assert np.abs(there.forces - here.forces).max() < ROUNDING
    assert np.abs(there.stress - here.stress).max() < ROUNDING


def test_atoms_that_are_too_far_apart_are_refused_by_the_calculator():
    atoms = water().to_ase()
    atoms.calc = random_student(ELEMENTS).calculator()
    atoms.get_forces()
    atoms.positions[0, 0] = 1e12
    with pytest.raises(InputError, match=r"reaches 1e\+12 Å, expected at most"):
        atoms.get_forces()
    atoms.positions[0, 0] = 1e7  # the process ended by SIGFPE
    assert np.isfinite(atoms.get_forces()).all()


@pytest.mark.parametrize(
    ("structures", "found"), [([], "found none"), ([ethanol().to_ase()], "found Atoms"), (iter([]), "found none")]
)
def test_what_is_no_structure_is_named(structures, found):
    with pytest.raises(InputError, match=f"expected one or more structures, {found}"):
        random_student(ELEMENTS).label(structures)


def test_an_iterator_of_structures():
    student = random_student(ELEMENTS)
    (a,), (b,), (c,) = (student.label(x) for x in (iter([ethanol()]), [ethanol()], ethanol()))
    assert a.energy == b.energy == c.energy
