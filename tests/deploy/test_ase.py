"""What ASE asks of a calculator: its own checks of derivatives, and its tools on a student without special code."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pytest
import torch
from ase.calculators.calculator import PropertyNotImplementedError, all_properties
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.mixing import SumCalculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.calculators.test import gradient_test
from ase.constraints import FixAtoms
from ase.eos import calculate_eos
from ase.filters import FrechetCellFilter, StrainFilter, UnitCellFilter
from ase.mep import NEB
from ase.optimize import BFGS, FIRE, LBFGS
from ase.utils.forcecurve import fit_images
from ase.vibrations import Vibrations

from potstill.core.errors import InputError
from potstill.deploy import DeployedStudent, load_student
from potstill.testing import copper, ethanol, lone_crystal, random_student, rattled, rocksalt, slab, triclinic, water, wire

ELEMENTS = [1, 6, 8, 11, 12, 17, 18, 29]
COPPER = Path(__file__).parent / "copper_student"


def exact():
    """A calculator in float64, for differences."""
    student = random_student(ELEMENTS)
    return DeployedStudent(student.model, student.config, dtype=torch.float64).calculator()


@pytest.fixture
def crystal():
    """Copper in the student that was trained on it."""
    atoms = rattled(copper()).to_ase()
    atoms.calc = load_student(COPPER, dtype="float64").calculator()
    return atoms


@pytest.mark.parametrize("make", [ethanol, triclinic, slab, wire, rocksalt])
def test_ase_finds_the_forces_to_be_the_slope_of_the_energy(make):
    atoms = rattled(make()).to_ase()
    atoms.calc = exact()
    some = [0, len(atoms) - 1]
    slope = calculate_numerical_forces(atoms, eps=1e-4, iatoms=some)
    assert np.allclose(atoms.get_forces()[some], slope, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [triclinic, rocksalt])
def test_ase_finds_the_stress_to_be_the_slope_of_the_energy(make):
    atoms = rattled(make()).to_ase()
    atoms.calc = exact()
    assert np.allclose(atoms.get_stress(), calculate_numerical_stress(atoms, eps=1e-5), rtol=1e-5, atol=1e-7)


def test_gradient_test_of_ase():
    atoms = rattled(water()).to_ase()
    atoms.calc = exact()
    forces, slopes = gradient_test(atoms)
    assert np.allclose(forces, slopes, rtol=1e-4, atol=1e-5)


def test_force_curve_of_ase(crystal):
    """Tangents that ASE draws from the forces are those of the curve of energies."""
    images = []
    for shift in np.linspace(0.0, 0.02, 5):
        image = crystal.copy()
        image.positions[0, 0] += shift
        image.calc = crystal.calc
        image.calc = SinglePointCalculator(image, energy=image.get_potential_energy(), forces=image.get_forces())
        images.append(image)
    fit = fit_images(images)
    slopes = [np.diff(energies)[0] / np.diff(path)[0] for path, energies in fit.lines]
    assert np.allclose(slopes, np.gradient(fit.energies, fit.path, edge_order=2), atol=0.02 * np.abs(slopes).max())


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_what_is_implemented_is_given_and_nothing_else(backend):
    atoms = rattled(rocksalt()).to_ase()
    atoms.calc = random_student(ELEMENTS, backend=backend).calculator()
    shapes = {"energy": (), "free_energy": (), "forces": (len(atoms), 3), "stress": (6,)}
    assert set(atoms.calc.implemented_properties) == set(shapes)
    for name, shape in shapes.items():
        assert np.shape(atoms.calc.get_property(name, atoms)) == shape
    for name in set(all_properties) - set(shapes):
        with pytest.raises(PropertyNotImplementedError):
            atoms.calc.get_property(name, atoms)
    assert set(atoms.get_properties(["energy", "stress"])) >= {"energy", "stress"}


def test_nothing_is_computed_where_that_is_not_allowed(crystal):
    calculator = crystal.calc
    assert calculator.get_property("forces", crystal, allow_calculation=False) is None
    assert calculator.calculation_required(crystal, ["energy"])
    forces = crystal.get_forces()
    assert not calculator.calculation_required(crystal, ["energy", "forces", "stress"])
    assert np.array_equal(calculator.get_property("forces", crystal, allow_calculation=False), forces)
    crystal.rattle(0.01, seed=1)
    assert calculator.calculation_required(crystal, ["energy"])
    assert calculator.get_property("forces", crystal, allow_calculation=False) is None
    assert calculator.neighbors.calls == 1


def test_reset_forgets_the_results(crystal):
    energy = crystal.get_potential_energy()
    crystal.calc.reset()
    assert crystal.calc.results == {}
    assert crystal.calc.get_property("energy", crystal, allow_calculation=False) is None
    assert crystal.get_potential_energy() == pytest.approx(energy, abs=1e-10)


def test_results_do_not_change_with_what_was_given(crystal):
    first = crystal.get_forces()
    first[:] = 0.0
    stress = crystal.get_stress()
    stress[:] = 0.0
    assert np.abs(crystal.get_forces()).max() > 0.1
    assert np.abs(crystal.get_stress()).max() > 0.0
    kept = crystal.calc.results["forces"]
    before = kept.copy()
    crystal.rattle(0.05, seed=2)
    crystal.get_forces()
    assert np.array_equal(kept, before)  # a new calculation, new arrays


def test_asking_leaves_the_atoms_as_they_were(crystal):
    before = {name: array.copy() for name, array in crystal.arrays.items()}
    cell = crystal.cell.copy()
    crystal.get_forces()
    crystal.get_stress()
    assert {*crystal.arrays} == {*before}
    assert all(np.array_equal(crystal.arrays[name], array) for name, array in before.items())
    assert np.array_equal(crystal.cell, cell)


def test_atoms_added_and_taken_away(crystal):
    energy = crystal.get_potential_energy()
    doubled = crystal.repeat([2, 1, 1])
    doubled.calc = crystal.calc
    assert doubled.get_potential_energy() == pytest.approx(2 * energy, abs=1e-8)
    hollow = doubled.copy()
    del hollow[0]
    hollow.calc = crystal.calc
    assert hollow.get_forces().shape == (7, 3)
    assert crystal.get_potential_energy() == pytest.approx(energy, abs=1e-8)


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_a_deep_copy_is_a_calculator_of_its_own(backend):
    atoms = ethanol().to_ase()
    atoms.calc = random_student(ELEMENTS, backend=backend).calculator()
    forces = atoms.get_forces()
    assert atoms.copy().calc is None
    other = copy.deepcopy(atoms)
    other.rattle(0.1, seed=1)
    assert not np.allclose(other.get_forces(), forces)
    other.positions = atoms.positions
    assert np.allclose(other.get_forces(), forces, atol=1e-5)
    assert np.array_equal(atoms.get_forces(), forces)


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_a_calculator_goes_to_other_processes(backend):
    """By pickle, as multiprocessing sends it."""
    atoms = ethanol().to_ase()
    atoms.calc = random_student(ELEMENTS, backend=backend).calculator()
    sent = pickle.loads(pickle.dumps(atoms))  # noqa: S301 - our own
    assert np.allclose(sent.get_forces(), atoms.get_forces(), atol=1e-5)


def test_results_are_written_by_ase(crystal, tmp_path):
    energy, forces, stress = crystal.get_potential_energy(), crystal.get_forces(), crystal.get_stress()
    for name in ("frames.traj", "frames.extxyz"):
        ase.io.write(tmp_path / name, crystal)
        read = ase.io.read(tmp_path / name)
        assert read.get_potential_energy() == pytest.approx(energy, abs=1e-6)
        assert np.allclose(read.get_forces(), forces, atol=1e-6)
        assert np.allclose(read.get_stress(), stress, atol=1e-6)
    with ase.db.connect(tmp_path / "rows.db") as database:
        database.write(crystal)
        (row,) = database.select()
    assert row.energy == pytest.approx(energy)
    assert row.calculator == "studentcalculator"
    assert np.allclose(row.forces, forces)
    assert crystal.calc.export_properties()["energy"] == pytest.approx(energy)


@pytest.mark.parametrize("optimizer", [BFGS, LBFGS, FIRE])
@pytest.mark.parametrize("cell_filter", [None, FrechetCellFilter, UnitCellFilter, StrainFilter])
def test_optimizers_and_filters_find_a_minimum(optimizer, cell_filter, crystal):
    start = crystal.get_potential_energy()
    moved = crystal if cell_filter is None else cell_filter(crystal)
    assert optimizer(moved, logfile=None).run(fmax=0.05, steps=200)
    assert crystal.get_potential_energy() < start - 1e-3
    if cell_filter is not None:  # fmax is of the virial there
        assert np.abs(crystal.get_stress()).max() * crystal.get_volume() < 0.06 * len(crystal)
    if cell_filter is not StrainFilter:
        assert np.linalg.norm(crystal.get_forces(), axis=1).max() < 0.05


def test_atoms_that_are_held_stay(crystal):
    crystal.set_constraint(FixAtoms([0]))
    place = crystal.positions[0].copy()
    assert not crystal.get_forces()[0].any()
    assert crystal.get_forces(apply_constraint=False)[0].any()
    FIRE(crystal, logfile=None).run(fmax=0.05, steps=50)
    assert np.array_equal(crystal.positions[0], place)


def test_equation_of_state_of_ase(crystal):
    FIRE(FrechetCellFilter(crystal), logfile=None).run(fmax=0.01, steps=300)
    volume, _, bulk = calculate_eos(crystal, npoints=7).fit()
    assert volume == pytest.approx(crystal.get_volume(), rel=0.01)
    assert bulk > 0


def test_vibrations_of_ase(crystal, tmp_path):
    FIRE(crystal, logfile=None).run(fmax=0.01, steps=200)
    modes = Vibrations(crystal, indices=[0], name=str(tmp_path / "vibrations"))
    modes.run()
    assert (modes.get_energies().real > 0).all()


def test_elastic_band_of_ase_with_one_calculator_for_all_images(crystal):
    FIRE(crystal, logfile=None).run(fmax=0.02, steps=200)
    end = crystal.copy()
    end.positions[0] += [0.1, 0.0, 0.0]
    images = [crystal.copy(), *(crystal.copy() for _ in range(2)), end]
    for image in images:
        image.calc = crystal.calc
    band = NEB(images, method="improvedtangent", allow_shared_calculator=True)
    band.interpolate()
    energies = [image.get_potential_energy() for image in images]
    assert (np.diff(energies) > 0).all()  # uphill from the minimum
    assert np.isfinite(band.get_forces()).all()


def test_sums_of_calculators(crystal):
    alone, forces = crystal.get_potential_energy(), crystal.get_forces()
    crystal.calc = SumCalculator([load_student(COPPER, dtype="float64").calculator() for _ in range(2)])
    assert crystal.get_potential_energy() == pytest.approx(2 * alone, abs=1e-8)
    assert np.allclose(crystal.get_forces(), 2 * forces, atol=1e-8)


def test_a_refused_element_leaves_no_stale_results(crystal):
    crystal.get_forces()
    crystal.numbers[0] = 79
    for _ in range(2):
        with pytest.raises(InputError, match="not trained on Au"):
            crystal.get_potential_energy()
    assert crystal.calc.get_property("energy", crystal, allow_calculation=False) is None
    crystal.numbers[0] = 29
    assert np.isfinite(crystal.get_potential_energy())


def test_one_atom_alone_in_its_cell():
    atoms = lone_crystal().to_ase()
    atoms.calc = exact()
    assert not atoms.get_forces().any()
    assert not atoms.get_stress().any()


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_four_threads_on_one_calculator_get_their_own_answers(backend):
    calculator = random_student(ELEMENTS, backend=backend).calculator()
    structures = [rattled(ethanol(), k) for k in range(4)]

    def ask(k):
        atoms = structures[k].to_ase()
        return [(calculator.get_potential_energy(atoms), calculator.get_forces(atoms)) for _ in range(30)]

    expected = [ask(k)[0] for k in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for found, (energy, forces) in zip(pool.map(ask, range(4)), expected, strict=True):
            assert all(e == pytest.approx(energy, abs=1e-4) for e, _ in found)
            assert all(np.allclose(f, forces, rtol=0, atol=1e-4) for _, f in found)


@pytest.mark.parametrize("stated", ["info", "initial charges"])
def test_a_net_charge_of_the_atoms_is_said_once(crystal, stated, caplog):
    if stated == "info":
        crystal.info["charge"] = -1
    else:
        crystal.set_initial_charges([-1.0] + [0.0] * (len(crystal) - 1))
    neutral = crystal.get_potential_energy()
    assert [r.message for r in caplog.records if "net charge" in r.message] == [
        "the atoms state a net charge of -1; a student has no charge and predicts as without it"
    ]
    crystal.rattle(0.01, seed=1)
    assert crystal.get_potential_energy() != neutral
    assert sum("net charge" in record.message for record in caplog.records) == 1


@pytest.mark.parametrize("charge", [None, 0, 0.01, "neutral"])
def test_neutral_atoms_are_not_warned_of(crystal, charge, caplog):
    crystal.info["charge"] = charge
    crystal.set_initial_charges([0.5, -0.5] + [0.0] * (len(crystal) - 2))
    crystal.get_potential_energy()
    assert not [r for r in caplog.records if "net charge" in r.message]


@pytest.mark.parametrize("device", ["cuda:99", "nonsense"])
def test_a_device_that_is_not_there_is_refused_by_name(device):
    with pytest.raises(InputError, match=f"device '{device}' cannot be used here"):
        load_student(COPPER, device=device)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("total_charge", 1, "a net charge of 1"),
        ("charge", "1", "a net charge of 1"),
        ("charge", np.array([1]), "a net charge of 1"),
        ("spin", 2, "a spin of 2"),
        ("multiplicity", 3, "a spin of 3"),
    ],
)
def test_a_charge_or_spin_set_after_the_first_call_is_said(crystal, key, value, says, caplog):
    crystal.get_potential_energy()
    assert not caplog.records
    crystal.info[key] = value
    for seed in range(3):
        crystal.rattle(0.01, seed=seed)
        crystal.get_potential_energy()
    assert [says in record.message for record in caplog.records] == [True]


def test_an_option_that_would_change_nothing_is_refused(crystal):
    with pytest.raises(
        InputError, match=r"no option cutoff, charge\n  dtype, device and backend are options of load_student"
    ):
        crystal.calc.set(cutoff=3.0, charge=1)
