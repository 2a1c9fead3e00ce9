"""``pair_style potstill`` on 1, 2 and 4 ranks of every LAMMPS that is here: the numbers of the ASE calculator in float64.

Run by ``make test-engines``. Debian's LAMMPS is tried where ``apt-get install lammps liblammps-dev`` has put it.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import units
from ase.filters import UnitCellFilter
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS

from lammps_kit import CLOSE, COPPER, DUMP, MARKS, MEASURE, assert_same, expected, last_row, warm_copper
from potstill.core.types import Structure
from potstill.deploy import load_student
from potstill.deploy.engine import lower_triangular
from potstill.deploy.lammps import plugin_path, write_data
from potstill.deploy.lammps_setup import setup_lammps
from potstill.deploy.native import Native
from potstill.deploy.student_file import write_student_file
from potstill.student.files import save_student
from potstill.student.uncertainty import Uncertainty, save_uncertainty
from potstill.testing import copper, one_atom, random_student, rattled, slab, triclinic, water, wire

pytestmark = MARKS


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("make", [water, wire, slab, triclinic, one_atom])
def test_every_kind_of_cell_on_any_number_of_ranks(make, ranks, organic, lmp):
    structure = rattled(make())
    shown = lmp.run(lmp.begin(structure, organic, lines=MEASURE) + "run 0\n" + DUMP, ranks)
    assert_same(shown, lmp, structure, organic)


def test_relative_distances(wheel, tmp_path):
    student = tmp_path / "relative"
    save_student(random_student([1, 8], radial_distance="relative").model, student, {})
    structure = rattled(water())
    shown = wheel.run(wheel.begin(structure, student, lines=MEASURE) + "run 0\n" + DUMP, 2)
    assert_same(shown, wheel, structure, student)


@pytest.mark.parametrize("newton", ["on", "off"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_ranks_agree_with_newton_on_and_off_for_any_depth(newton, layers, wheel, tmp_path):
    student = tmp_path / "deep"
    save_student(random_student([29], layers=layers, l_max=3, vectors=5, features=33).model, student, {})
    structure = warm_copper(2, 2, 2)
    shown = wheel.run(wheel.begin(structure, student, lines=MEASURE, newton=newton) + "run 0\n" + DUMP, 3)
    assert_same(shown, wheel, structure, student)


def test_single_precision_is_the_calculator_in_float32(wheel):
    structure = warm_copper(2, 2, 2)
    wheel.run(wheel.begin(structure, COPPER, "single", lines=MEASURE) + "run 0\n" + DUMP, 2)
    (labels,) = load_student(COPPER).label([structure])
    assert np.abs(wheel.forces() @ lower_triangular(structure)[1].T - labels.forces).max() < 3e-5


@pytest.mark.parametrize(
    ("ranks", "grid"),
    [(1, ""), (2, ""), (4, "processors 4 1 1"), (4, "processors 2 2 1")],
    ids=["one", "two", "thinner than the cutoff", "four"],
)
def test_after_200_steps_it_is_where_ase_is(ranks, grid, lmp):
    structure = warm_copper(2, 2, 3)
    atoms = structure.to_ase()
    velocity = np.random.default_rng(0).normal(size=(len(atoms), 3)) * 0.02 + [0.05, 0.0, 0.0]  # drifts over the faces
    turn = lower_triangular(structure)[1]
    atoms.set_velocities(velocity)
    atoms.calc = load_student(COPPER, dtype="float64").calculator()
    VelocityVerlet(atoms, timestep=units.fs).run(200)
    rows = "\n".join(f"{k + 1} {x:.17g} {y:.17g} {z:.17g}" for k, (x, y, z) in enumerate(velocity * 1e3 * units.fs @ turn))
    text = lmp.begin(structure, COPPER, lines=MEASURE, processors=grid)
    data = lmp.folder / "start.data"
    data.write_text(data.read_text(encoding="utf-8") + f"\nVelocities\n\n{rows}\n", encoding="utf-8")
    shown = lmp.run(text + "timestep 0.001\nfix move all nve\nrun 200\n" + DUMP, ranks)
    row = last_row(shown)
    assert np.linalg.norm(atoms.positions - structure.positions, axis=1).mean() > 0.5  # far enough to change rank
    assert row[1] == pytest.approx(atoms.get_potential_energy(), abs=CLOSE * len(atoms))
    assert np.abs(lmp.forces() @ turn.T - atoms.get_forces()).max() < CLOSE


def test_units_real_are_kilocalories(organic, lmp):
    structure = rattled(water())
    shown = lmp.run(lmp.begin(structure, organic, lines=MEASURE, units="real") + "run 0\n" + DUMP)
    labels, turn = expected(organic, structure)
    assert last_row(shown)[1] == pytest.approx(23.060549 * labels.energy, rel=1e-7)
    assert np.allclose(lmp.forces() @ turn.T, 23.060549 * labels.forces, atol=1e-5)


@pytest.mark.parametrize("ranks", [1, 2])
def test_hybrid_overlay_adds_and_null_is_left_out(ranks, lmp):
    structure = warm_copper(2, 2, 2)
    text = lmp.begin(structure, COPPER, lines=MEASURE)
    text = text.replace("pair_style potstill double", "pair_style hybrid/overlay potstill double zero 4.0")
    text = text.replace("pair_coeff * * student", "pair_coeff * * zero\npair_coeff * * potstill student")
    assert_same(lmp.run(text + "run 0\n" + DUMP, ranks), lmp, structure, COPPER)
    numbers = structure.atomic_numbers.copy()
    numbers[5:9] = 18  # argon, which the student does not know
    mixed = structure.with_(atomic_numbers=numbers)
    (lmp.folder / "student.potstill").unlink()
    write_data(mixed, lmp.folder / "start.data")
    write_student_file(COPPER, lmp.folder / "student.potstill")
    kept = structure.with_(atomic_numbers=numbers[numbers == 29], positions=structure.positions[numbers == 29])
    labels, turn = expected(COPPER, kept)
    lmp.run(re.sub(r"student\.potstill Cu", "student.potstill NULL Cu", text) + "run 0\n" + DUMP, ranks)
    found = lmp.forces() @ turn.T
    assert np.abs(found[numbers == 29] - labels.forces).max() < CLOSE
    assert np.abs(found[numbers == 18]).max() == 0


@pytest.mark.parametrize("neighbors", [0.0, 1.0])
def test_uncertainty_is_that_of_the_calculator(neighbors, wheel, tmp_path):
    student, generator = tmp_path / "sure", torch.Generator().manual_seed(0)
    model = random_student([29]).model
    hidden = model.architecture.hidden
    save_student(model, student, {})
    curve = torch.tensor([[-3.0, 0.0, 2.0], [-4.0, 0.5, 1.0]])
    draw = [torch.randn(n, generator=generator) * 0.1 for n in ((hidden, hidden), (hidden + 1,))]
    values = (*draw, torch.tensor([-9.0, 9.0]), torch.tensor([0.5, 0.7, 0.1]), torch.tensor(0.3), curve)
    options = {"neighbors": torch.tensor(neighbors), "reach": torch.tensor(0.5 if neighbors else 1e6)}
    save_uncertainty(Uncertainty(*values, force=torch.tensor([0.6, 0.05]), **options), student)
    structure = warm_copper(2, 2, 2)
    text = wheel.begin(structure, student) + "fix u all pair 1 potstill uncertainty 1\nrun 1\n"
    text += "write_dump all custom u.dump id f_u modify format float %20.15g sort id\n"
    wheel.run(text, 2)
    (labels,) = load_student(student, dtype="float64").label([structure], uncertainty=True)
    lengths = np.linalg.norm(labels.forces, axis=1) + 0.05
    assert lengths.max() > 3 * lengths.min()  # forces matter, those that other ranks add included
    assert np.allclose(wheel.forces("u.dump")[:, 0], labels.extra["uncertainty"], rtol=1e-9)


def test_what_is_foreign_is_warned_of_once(wheel, tmp_path):
    folder = shutil.copytree(COPPER, tmp_path / "narrow")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["domain"] = {"closest_angstrom": {"Cu-Cu": 4.0}, "most_neighbors": 200}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    shown = wheel.run(wheel.begin(warm_copper(2, 2, 2), folder) + "fix move all nve\ntimestep 0.0001\nrun 201\n", 2)
    assert shown.count("far outside the student's training data: Cu-Cu at") == 1


BAD = {
    "there is no file": ("student.potstill Cu", "nothing.potstill Cu"),
    "found 'units lj': put 'units metal' at the top of the input": ("units metal", "units lj"),
    "does not hold Ag; it holds Cu": ("student.potstill Cu", "student.potstill Ag"),
    "names 2 elements, there are 1 atom types": ("student.potstill Cu", "student.potstill Cu Cu"),
    "found respa": ("run 0", "run_style respa 2 2 pair 1\nrun 0"),
    "expected single or double": ("potstill double", "potstill half"),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_one_line_and_no_crash(message, lmp):
    text = (lmp.begin(warm_copper(1, 1, 1), COPPER) + "fix move all nve\nrun 0\n").replace(*BAD[message])
    shown = lmp.run(text, 2)
    lines = [line for line in shown.splitlines() if "ERROR" in line]
    assert len(lines) == 1, shown
    assert message in lines[0]
    assert lmp.status not in (0, -11, 139)


@pytest.mark.parametrize(
    ("message", "damage"),
    [
        ("its checksum is another", lambda b: b[:-9] + bytes([b[-9] ^ 1]) + b[-8:]),
        ("is cut short", lambda b: b[: len(b) // 2]),
        ("has format 9", lambda b: b.replace(b"potstill student 2", b"potstill student 9", 1)),
        ("is no student of potstill", lambda _: b"LJ 1 1\n"),
        ("is no student of potstill", lambda _: b""),
    ],
)
def test_a_damaged_student_is_refused(message, damage, lmp):
    text = lmp.begin(warm_copper(1, 1, 1), COPPER) + "run 0\n"
    file = lmp.folder / "student.potstill"
    file.write_bytes(damage(file.read_bytes()))
    shown = lmp.run(text, 2)
    assert [message in line for line in shown.splitlines() if "ERROR" in line] == [True], shown


def test_a_killed_rank_and_read_restart_go_on_with_the_same_numbers(lmp):
    structure = warm_copper(2, 2, 2)
    begin = lmp.begin(structure, COPPER, lines=MEASURE + "velocity all create 300 1 loop geom\n")
    rest = "timestep 0.001\nfix move all nve\nrestart 50 state.*\n"
    whole = last_row(lmp.run(begin + rest + "run 300\n", 2))
    for state in lmp.folder.glob("state.*"):
        state.unlink()
    process = lmp.start(begin + rest + "run 2000000\n", 2)
    deadline = time.monotonic() + 120
    while not (lmp.folder / "state.100").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(lmp.ranks()[-1], 9)
    process.communicate(timeout=60)
    assert process.returncode != 0
    again = f"""
        neighbor 1.0 nsq
        read_restart state.100
        {lmp.load}
        pair_style potstill double
        pair_coeff * * student.potstill Cu
        {MEASURE}
    """
    resumed = last_row(lmp.run(again + "timestep 0.001\nfix move all nve\nrun 200\n", 2))
    assert resumed[0] == whole[0] == 300
    assert resumed[1] == pytest.approx(whole[1], abs=CLOSE * len(structure))


def test_a_stretched_slab_relaxes_to_the_length_of_a_box_with_vacuum(lmp):
    atoms = copper().to_ase() * (2, 2, 2)
    atoms.set_cell(atoms.cell * np.array([[1.02], [1.02], [1.0]]), scale_atoms=True)
    open_ = Structure.from_ase(atoms)
    open_ = open_.with_(pbc=np.array([True, True, False]))
    boxed = atoms.copy()
    boxed.positions = open_.positions
    boxed.center(vacuum=8.0, axis=2)
    boxed.pbc = True
    boxed.calc = load_student(COPPER, dtype="float64").calculator()
    BFGS(UnitCellFilter(boxed, mask=[1, 1, 0, 0, 0, 0]), logfile=None).run(fmax=1e-4, steps=1000)
    lines = "thermo_style custom step pe lx ly\nthermo_modify format float %20.15g\n"
    lines += "fix b all box/relax x 0 y 0 couple xy vmax 0.0005\n"
    text = lmp.begin(open_, COPPER, lines=lines) + "minimize 0 1e-6 2000 20000\n" * 3
    found = last_row(lmp.run(text, 2))[2:]
    assert found == pytest.approx(boxed.cell.lengths()[:2], rel=1e-3)
    assert abs(found[0] / open_.cell[0, 0] - 1) > 3e-3


def test_the_exported_input_runs_as_it_is_in_every_lammps(lmp, organic, tmp_path):
    from potstill.deploy.stage import deploy

    (lmp.folder,) = deploy(organic, tmp_path / "deploy", ("lammps",), rattled(water()))
    text = (lmp.folder / "in.potstill").read_text(encoding="utf-8")
    rows = [last_row(lmp.run(text, ranks)) for ranks in (1, 2)]
    assert rows[0][0] == 200
    assert rows[1] == pytest.approx(rows[0], rel=1e-5)
    once = text.replace("run 200", "run 10")
    again = last_row(lmp.run(once + "clear\n" + once))
    assert again == pytest.approx(last_row(lmp.run(once)), rel=1e-9)


def test_an_export_before_the_setup_names_the_plugin_to_come(tmp_path, monkeypatch):
    monkeypatch.setenv("POTSTILL_HOME", str(tmp_path))
    named = plugin_path()  # what deploy writes into in.potstill
    assert not Path(named).exists()
    monkeypatch.setattr(Native, "compiled", lambda self: self.place)
    shown: list[str] = []
    setup_lammps(None, shown.append)
    assert f"  in an input script:  plugin load {named}" in shown


def test_cmake_makes_the_plugin(wheel, organic, tmp_path):
    from potstill.deploy.stage import deploy

    if not shutil.which("cmake"):
        pytest.skip("there is no cmake")
    (folder,) = deploy(organic, tmp_path / "deploy", ("lammps",), rattled(water()))
    mpi = f"-DMPI_CXX_COMPILER={Path(sys.prefix) / 'bin' / 'mpicxx'}"
    for command in (
        ["cmake", "-S", "plugin", "-B", "build", f"-DLAMMPS_SOURCE_DIR={wheel.build.include}", mpi],
        ["cmake", "--build", "build"],
    ):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    wheel.folder = folder
    wheel.command[-1:] = [wheel.command[-1], "-var", "plugin", "build/potstillplugin.so"]
    shown = wheel.run((folder / "in.potstill").read_text(encoding="utf-8").replace("run 200", "run 20"), 2)
    assert wheel.status == 0, shown
