"""Every example runs in small, as a user would start it: its own process, its own folder, nothing but its arguments."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
import yaml
from ase.build import bulk

from potstill.testing.models import TINY

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
COPPER, ETHANOL = (ROOT / "tests" / "deploy" / f"{name}_student" for name in ("copper", "ethanol"))
QUICK = {
    "workers": 1,
    "dataset": {"valid_fraction": 0.2, "test_fraction": 0.2},
    "student": TINY,
    "evaluate": {
        "nve_ps": 0.01,
        "physics_crystals": 0,
        "physics_molecules": 0,
        "physics_pairs": 0,
        "speed_repeats": 1,
        "speed_atoms": 8,
        "stability_ps": 0.0,
        "physics_ps": 0.0,
    },
}
GENTLE = {"min_structures_per_hour": 1.0, "min_teacher_success": 0.5, "min_share_of_asked": 0.3, "max_near_duplicates": 9}


def python(*arguments: object, cwd: Path, code: int = 0) -> str:
    """Run a script in a process of its own and return what it prints; the exit code must be ``code``."""
    found = os.pathsep.join([str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH", "")])])
    environment = {**os.environ, "PYTHONPATH": found, "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def in_small(config: dict, **changes: dict) -> dict:
    """Make a config of the examples quick: few structures, a tiny student, one short round; its structure stays."""
    small = {**config, **{name: {**config.get(name, {}), **QUICK[name]} for name in ("dataset", "evaluate")}}
    small |= {"workers": 1, "student": TINY, "train": {**config.get("train", {}), "epochs": 2}}
    small["audit"] = {**config.get("audit", {}), **GENTLE}
    for source in small["generate"]["sources"]:
        source["count"] = min(source["count"], 24)
    if "active_learning" in small:
        quick = {"max_rounds": 1, "frames": 6, "trajectories": 2, "length_ps": 0.05, "epochs": 1}
        small["active_learning"] = {**config["active_learning"], **quick}
    for section, values in changes.items():
        small[section] = {**small.get(section, {}), **values}
    return small


def write_small(folder: Path, name: str, **changes: dict) -> Path:
    path = folder / name
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump(in_small(config, **changes)), encoding="utf-8")
    return path


def whole_run(test):
    """Mark a test that starts a whole run, some ten processes one after the other; ``make test-slow`` runs it."""
    return pytest.mark.slow(pytest.mark.timeout(1200)(test))


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory) -> Path:
    """The tutorial as far as its student, with copper and EMT in the place of silicon and SevenNet-0."""
    folder = tmp_path_factory.mktemp("tutorial")
    shutil.copytree(EXAMPLES / "tutorial", folder, dirs_exist_ok=True)
    ase.io.write(folder / "silicon.extxyz", [bulk("Cu", a=a, cubic=True) for a in np.linspace(3.5, 3.75, 10)])
    write_small(folder, "silicon.yaml", label={"teacher": {"name": "emt"}}, deploy={"formats": ["ase"]})
    python("-m", "potstill", "run", "silicon.yaml", "--out", "run", "--yes", cwd=folder)
    return folder


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.yaml")), ids=lambda path: path.name)
def test_every_config_is_good(path):
    from potstill.config import parse_config

    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    if "plugin" not in path.parts:  # whose source exists where it is installed: tests/test_plugin_package.py
        parse_config(config)


def test_tutorial_writes_its_structures(tmp_path):
    told = python(EXAMPLES / "tutorial" / "structures.py", cwd=tmp_path)
    assert "10 structures of 64 atoms" in told
    assert len(ase.io.read(tmp_path / "silicon.extxyz", index=":")) == 10


def test_carbon_of_the_adsorbate_is_next_to_the_surface(tmp_path):
    python(EXAMPLES / "surface" / "slabs.py", cwd=tmp_path)
    slab = ase.io.read(tmp_path / "slabs.extxyz", index=0)
    top = slab.positions[slab.symbols == "Cu", 2].max()
    assert slab.positions[slab.symbols == "C", 2].item() == pytest.approx(top + 1.7)
    assert slab.positions[slab.symbols == "O", 2].item() > top + 2.5


@whole_run
def test_tutorial_ends_with_a_result_and_pictures(tutorial):
    told = python("production.py", "run", "--ps", "0.1", "--kelvin", "50", cwd=tutorial)
    result = json.loads((tutorial / "production" / "result.json").read_text(encoding="utf-8"))
    assert result["frames_compared"] == 18
    assert 0 < result["force_mae_mev_per_angstrom"] < 1e3
    assert all(name in told for name in result)
    for picture in ("md.png", "rdf.png", "parity.png"):
        assert (tutorial / "production" / picture).read_bytes().startswith(b"\x89PNG")


@whole_run
def test_uncertainty_stops_md_and_saves_the_frame(tutorial):
    script = EXAMPLES / "uncertainty_md.py"
    told = python(script, "run", "--ps", "0.05", "--limit", "1e-9", cwd=tutorial, code=1)
    assert "stopped at 0.010 ps" in told
    assert len(ase.io.read(tutorial / "uncertain.extxyz")) == 32
    assert "every expected error was below" in python(script, "run", "--ps", "0.05", "--limit", "1e9", cwd=tutorial)


@whole_run
def test_surface_with_an_adsorbate(tmp_path):
    shutil.copytree(EXAMPLES / "surface", tmp_path, dirs_exist_ok=True)
    assert "13 slabs" in python("slabs.py", cwd=tmp_path)
    config = write_small(tmp_path, "surface.yaml", label={"teacher": {"name": "emt"}})
    python("-m", "potstill", "run", config, "--out", "run", "--yes", "--last", "train", cwd=tmp_path)
    told = json.loads((tmp_path / "run" / "student" / "config.json").read_text(encoding="utf-8"))
    assert sorted(told["elements"]) == ["C", "Cu", "O"]


@whole_run
def test_liquid_by_active_learning(tmp_path):
    pytest.importorskip("rdkit")
    pytest.importorskip("packmol")
    shutil.copytree(EXAMPLES / "liquid", tmp_path, dirs_exist_ok=True)
    config = write_small(tmp_path, "liquid.yaml", label={"teacher": {"name": "emt"}, "max_force_ev_per_angstrom": 300.0})
    python("-m", "potstill", "run", config, "--out", "run", "--yes", "--last", "train", cwd=tmp_path)
    assert (tmp_path / "run" / "active_learning" / "01" / "round.json").exists()


@whole_run
def test_teacher_of_ones_own(tmp_path):
    shutil.copytree(EXAMPLES / "own_teacher", tmp_path, dirs_exist_ok=True)
    config = write_small(tmp_path, "own_teacher.yaml")
    python("-m", "potstill", "run", config, "--out", "run", "--yes", "--last", "label", cwd=tmp_path)
    told = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert told["teacher"]["name"] == "ase my_calculator:make"


def test_source_of_ones_own(tmp_path):
    assert "finds nothing wrong" in python(EXAMPLES / "own_source.py", "--count", 8, cwd=tmp_path)
    assert len(ase.io.read(tmp_path / "pairs.extxyz", index=":")) == 8


def test_phonons(tmp_path):
    pytest.importorskip("phonopy")
    told = python(EXAMPLES / "phonons.py", COPPER, "--supercell", 1, "--mesh", 3, cwd=tmp_path)
    assert "imaginary modes   none" in told


@whole_run
def test_dft_labels_are_converted_and_judged(tmp_path):
    from ase.calculators.emt import EMT
    from ase.calculators.singlepoint import SinglePointCalculator

    rng, frames = np.random.default_rng(1), []
    for _ in range(40):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(atoms.cell * rng.uniform(0.97, 1.04), scale_atoms=True)
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
        atoms.calc = EMT()
        atoms.get_stress()
        found = {name: atoms.calc.results[name] for name in ("energy", "forces", "stress")}
        atoms.calc = SinglePointCalculator(atoms, **found)
        frames.append(atoms)
    ase.io.write(tmp_path / "dft.extxyz", frames)
    assert "GO" in python(EXAMPLES / "dft_labels.py", "dft.extxyz", cwd=tmp_path)
    wrong = [atoms.copy() for atoms in frames]
    for atoms, good in zip(wrong, frames, strict=True):  # energies in kcal/mol: a NO-GO, by the work on the way to siblings
        found = {**good.calc.results, "energy": 23.06 * good.calc.results["energy"]}
        atoms.calc = SinglePointCalculator(atoms, **found)
    ase.io.write(tmp_path / "wrong.extxyz", wrong)
    python(EXAMPLES / "dft_labels.py", "wrong.extxyz", "--out", "wrong", cwd=tmp_path, code=3)
    told = json.loads((tmp_path / "wrong" / "audit.json").read_text(encoding="utf-8"))
    assert told["verdict"] == "NO_GO"
    assert any(f["check"].startswith("energy_work") and f["verdict"] == "NO_GO" for f in told["findings"])


def needs(package: str):
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


@pytest.mark.engines
@needs("openmm")
def test_umbrella_sampling_in_openmm(tmp_path):
    told = python(EXAMPLES / "openmm_umbrella.py", ETHANOL, "--windows", 4, "--steps", 100, cwd=tmp_path)
    assert "barrier" in told
    assert told.count("kJ/mol") == 37


@pytest.mark.engines
@needs("torch_sim")
def test_relaxation_in_torchsim(tmp_path):
    told = python(EXAMPLES / "torchsim_relax.py", COPPER, "--max-steps", 200, cwd=tmp_path)
    relaxed = ase.io.read(tmp_path / "relaxed.extxyz", index=":")
    assert "8 structures" in told
    assert told.count("eV/Å") == 8
    assert "not relaxed" not in told
    assert np.ptp([atoms.get_volume() / len(atoms) for atoms in relaxed]) < 0.2  # all went to one minimum


@pytest.mark.engines
@needs("torch_sim")
def test_unfinished_relaxations_in_torchsim_are_counted(tmp_path):
    """One rattled crystal, left-handed, and one in its minimum."""
    rattled, still = bulk("Cu", cubic=True).repeat(2), bulk("Cu", cubic=True)
    rattled.rattle(0.2, seed=1)
    rattled.set_cell(rattled.cell[[1, 0, 2]])
    ase.io.write(tmp_path / "start.extxyz", [rattled, still])
    told = python(EXAMPLES / "torchsim_relax.py", COPPER, "start.extxyz", "--max-steps", 1, cwd=tmp_path, code=1)
    assert "1 of them are not relaxed" in told


@pytest.mark.engines
@needs("lammps")
def test_constant_pressure_in_lammps_over_two_ranks(tmp_path):
    python("-m", "potstill", "setup", "lammps", cwd=tmp_path)
    told = python(EXAMPLES / "lammps_npt.py", COPPER, "--ranks", 2, "--steps", 100, cwd=tmp_path)
    volume = float(told.split("second half")[1].split()[0])
    assert 11 < volume < 13  # Å^3 per atom of copper


@pytest.fixture(scope="module")
def for_lammps(tmp_path_factory) -> Path:
    """Copper, exported for LAMMPS, and the inputs beside it as the page of examples says."""
    from potstill.deploy.stage import deploy
    from potstill.testing import copper, rattled

    (folder,) = deploy(COPPER, tmp_path_factory.mktemp("deploy"), ("lammps",), rattled(copper()))
    shutil.copytree(EXAMPLES / "lammps", folder, dirs_exist_ok=True)
    python("-m", "potstill", "setup", "lammps", cwd=folder)
    return folder


def run_input(folder: Path, name: str, *variables: object) -> tuple[np.ndarray, str]:
    """Run an input of LAMMPS on two ranks; return the rows of its thermodynamic output, and all output."""
    from potstill.deploy.lammps import plugin_path

    launcher, program = (str(Path(sys.executable).parent / each) for each in ("mpirun", "lmp"))
    command = [launcher, "-np", "2", program, "-in", name, "-var", "plugin", plugin_path(), *map(str, variables)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    lines = [line.split() for line in done.stdout.splitlines()]
    rows = [words for words in lines if len(words) > 4 and words[0].isdigit() and not words[1].isalpha()]
    return np.array([[float(word) for word in words[:5]] for words in rows]), done.stdout


@pytest.mark.engines
@needs("lammps")
def test_constant_energy_in_lammps(for_lammps):
    rows, _ = run_input(for_lammps, "in.nve", "-var", "steps", 200, "-var", "elements", "Cu")
    assert rows[-1, 0] == 200
    assert np.ptp(rows[:, 1]) > 50  # the temperature swings
    assert np.ptp(rows[:, 3]) < 1e-3 * np.ptp(rows[:, 2])
    assert (for_lammps / "nve.lammpstrj").read_text(encoding="utf-8").count("ITEM: TIMESTEP") == 21


@pytest.mark.engines
@needs("lammps")
def test_constant_pressure_in_lammps(for_lammps):
    rows, told = run_input(for_lammps, "in.npt", "-var", "steps", 200)
    assert rows[-1, 0] == 200
    mean = float(told.split("mean volume")[-1].split()[0])
    assert mean == pytest.approx(rows[rows[:, 0] >= 100, 4].mean() / 108, rel=2e-3)
    assert (for_lammps / "npt.restart.100").exists()


@pytest.mark.engines
@needs("lammps")
def test_minimization_in_lammps(for_lammps):
    rows, _ = run_input(for_lammps, "in.minimize")
    assert rows[-1, 1] < rows[0, 1] - 0.05
    assert abs(rows[-1, 2]) < 10 < abs(rows[0, 2])  # bar
    assert "4 atoms" in (for_lammps / "relaxed.data").read_text(encoding="utf-8")


@pytest.mark.engines
@needs("lammps")
def test_another_potential_beside_the_student_in_lammps(for_lammps):
    rows, _ = run_input(for_lammps, "in.overlay", "-var", "steps", 200)
    assert rows[-1, 0] == 200
    assert np.ptp(rows[:, 4]) < 2e-3 * np.ptp(rows[:, 3])  # both potentials act, and their sum is conserved
    lines = (for_lammps / "in.overlay").read_text(encoding="utf-8").splitlines()
    (for_lammps / "in.alone").write_text("\n".join(x.replace("0.0300 3.00", "0.0 3.00") for x in lines), encoding="utf-8")
    alone, _ = run_input(for_lammps, "in.alone", "-var", "steps", 1)
    assert abs(alone[0, 3] - rows[0, 3]) > 1e-3  # argon feels the copper
