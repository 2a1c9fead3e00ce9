"""The stage deploy: the exported folder works by itself and is the student it came from."""

import importlib.util
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch

from potstill.core.errors import PotstillError
from potstill.deploy import check, load_student, stage, student_file
from potstill.deploy.read_back import label_with_file
from potstill.deploy.stage import deploy
from potstill.student.compiled import compile_student
from potstill.student.files import read_student, save_student
from potstill.testing import ethanol, one_atom, random_student, rattled, rocksalt, slab, triclinic, water, wire


@pytest.fixture
def student(tmp_path):
    save_student(random_student([1, 6, 8, 11, 17]).model, tmp_path / "student", {})
    return tmp_path / "student"


def test_export_gives_the_labels_of_its_student(student, tmp_path):
    (folder,) = deploy(student, tmp_path / "deploy", ("ase",), ethanol())
    assert folder == tmp_path / "deploy" / "ase"
    (a,), (b,) = (load_student(path).label([ethanol()]) for path in (student, folder))
    assert a.energy == b.energy
    assert np.array_equal(a.forces, b.forces)


OF_ASE = "ignore:Setting the shape on a NumPy array has been deprecated:DeprecationWarning"  # ASE 3.29 under NumPy 2.5


@pytest.mark.parametrize("example", [ethanol(), rattled(rocksalt())], ids=["molecule", "crystal"])
def test_exported_script_runs_by_itself(student, tmp_path, example):
    (folder,) = deploy(student, tmp_path / "deploy", ("ase",), example)
    moved = folder.rename(tmp_path / "elsewhere")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", OF_ASE, str(moved / "run_md.py"), "5"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.strip().splitlines()
    *steps, speed = lines
    assert len(steps) == 6
    assert speed.startswith(f"{len(example)} atoms: ")
    energies = [float(line.split("E =")[1].split()[0]) for line in steps]
    assert np.ptp(energies) < 0.05 * len(example)


def test_example_is_the_structure_asked_for(student, tmp_path):
    example = rattled(rocksalt())
    (folder,) = deploy(student, tmp_path / "deploy", ("ase",), example)
    atoms = ase.io.read(folder / "example.xyz")
    assert np.allclose(atoms.positions, example.positions, atol=1e-7)
    assert np.allclose(atoms.cell, example.cell, atol=1e-7)
    assert atoms.pbc.all()


def test_deploying_again_replaces_the_export(student, tmp_path):
    for _ in range(2):
        (folder,) = deploy(student, tmp_path / "deploy", ("ase",), ethanol())
    assert sorted(p.name for p in folder.iterdir()) == ["VERDICT.txt", "example.xyz", "run_md.py", "student"]


def test_a_script_that_was_edited_is_kept_aside(student, tmp_path, caplog):
    (folder,) = deploy(student, tmp_path / "deploy", ["ase"], ethanol())
    written = (folder / "run_md.py").read_text(encoding="utf-8")
    deploy(student, tmp_path / "deploy", ["ase"], ethanol())
    assert not list(folder.glob("*.aside-*"))
    (folder / "run_md.py").write_text("mine = 600\n", encoding="utf-8")
    deploy(student, tmp_path / "deploy", ["ase"], ethanol())
    assert (folder / "run_md.py.aside-1").read_text(encoding="utf-8") == "mine = 600\n"
    assert (folder / "run_md.py").read_text(encoding="utf-8") == written
    assert "kept as run_md.py.aside-1" in caplog.text


def test_an_export_that_differs_from_its_student_is_refused(student, tmp_path, monkeypatch):
    copy = stage.shutil.copyfile

    def damaging(source, target):
        copy(source, target)
        if str(target).endswith("config.json"):
            model, _ = read_student(source.parent)
            model.scale *= 1.001
            save_student(model, target.parent, {})

    monkeypatch.setattr(stage.shutil, "copyfile", damaging)
    with pytest.raises(PotstillError, match="differs from its student"):
        deploy(student, tmp_path / "deploy", ("ase",), ethanol())


class Wrong:
    """What loads an export, of whose answers one is changed."""

    def __init__(self, load, change):
        self.load, self.change = load, change

    def __call__(self, folder, example):
        return {path: replace(found, **self.change(found)) for path, found in self.load(folder, example).items()}


@pytest.mark.parametrize("change", [lambda x: {"energy": x.energy + 1.0}, lambda x: {"forces": np.nan * x.forces}])
def test_the_export_itself_is_asked(student, tmp_path, monkeypatch, change):
    """A copy of the student's files is not what an engine loads."""
    monkeypatch.setitem(check._LOADERS, "ase", Wrong(check._LOADERS["ase"], change))
    with pytest.raises(PotstillError, match=r"deploy/ase differs from its student"):
        deploy(student, tmp_path / "deploy", ("ase",), ethanol())


COMPILER = pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="there is no C++ compiler")


@COMPILER
def test_the_file_for_lammps_is_read_back(student, tmp_path, monkeypatch):
    """Not the weights that it was made of: a slip in its writer is found, in one element of three."""
    tensors = student_file._tensors

    def slipped(deployed, elements):
        found = tensors(deployed, elements)
        return {**found, "1.hidden.2": 1.01 * found["1.hidden.2"]}

    deploy(student, tmp_path / "deploy", ("lammps",), rattled(ethanol()))
    monkeypatch.setattr(student_file, "_tensors", slipped)
    with pytest.raises(PotstillError, match=r"lammps/student\.potstill differs from its student"):
        deploy(student, tmp_path / "deploy", ("lammps",), rattled(ethanol()))


@COMPILER
@pytest.mark.parametrize("make", [water, wire, slab, triclinic, one_atom], ids=lambda make: make.__name__)
def test_the_file_computes_as_its_student(make, tmp_path):
    structure = rattled(make())
    save_student(random_student([1, 6, 8, 12, 18, 29]).model, tmp_path / "student", {})
    file = student_file.write_student_file(tmp_path / "student", tmp_path / "student.potstill")
    found = label_with_file(file, structure)
    (expected,) = load_student(tmp_path / "student", dtype="float64").label([structure])
    assert found.energy == pytest.approx(expected.energy, abs=1e-9)
    assert np.allclose(found.forces, expected.forces, atol=1e-9)
    assert (found.stress is None) == (expected.stress is None)
    if expected.stress is not None:
        assert np.allclose(found.stress, expected.stress, atol=1e-9)


def test_the_file_is_written_by_plain_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_student(random_student([1, 6, 8]).model, tmp_path / "student", {})
    assert student_file.write_student_file("student", "oh.potstill", ["O", "H"]) == Path("oh.potstill")
    assert b"elements O H\n" in (tmp_path / "oh.potstill").read_bytes()


@COMPILER
@pytest.mark.parametrize(
    ("message", "damage"),
    [
        ("there is no file", None),
        ("is no student of potstill", lambda _: b"LJ 1 1\n"),
        ("is cut short", lambda b: b[: len(b) // 2]),
        ("its checksum is another", lambda b: b[:-9] + bytes([b[-9] ^ 1]) + b[-8:]),
        ("has format 9", lambda b: b.replace(b"potstill student 2", b"potstill student 9", 1)),
        ("does not hold H", lambda b: b),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(message, damage, student, tmp_path):
    file = student_file.write_student_file(student, tmp_path / "student.potstill", ["C", "O"])
    if damage is None:
        file.unlink()
    else:
        file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(PotstillError, match=message) as caught:
        label_with_file(file, ethanol())
    assert len(str(caught.value).splitlines()) == 1


@COMPILER
@pytest.mark.slow  # compiles two students
def test_a_compiled_file_of_another_student_is_refused(student, tmp_path):
    (folder,) = deploy(student, tmp_path / "deploy", ("pt2",), ethanol())
    other = random_student([1, 6, 8, 11, 17], seed=1, backend="torch").model
    compile_student(other, folder / "student.pt2")
    with pytest.raises(PotstillError, match=r"deploy/pt2 differs from its student"):
        check.check_export(student, folder, "pt2", ethanol())


@pytest.mark.parametrize(
    ("name", "package"), [("openmm", "openmm"), ("torchsim", "torch_sim"), ("ipi", "ipi"), ("metatomic", "metatomic")]
)
def test_what_was_not_checked_is_named(student, tmp_path, caplog, name, package):
    if importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed")
    (folder,) = deploy(student, tmp_path / "deploy", (name,), ethanol())
    (line,) = [r.getMessage() for r in caplog.records if "was not checked" in r.getMessage()]
    assert str(folder) in line
    assert package in line
    assert not check.check_export(student, folder, name, ethanol())


def test_nothing_to_export_gives_nothing(student, tmp_path):
    assert deploy(student, tmp_path / "deploy", (), ethanol()) == []


FILES = {
    "lammps": {"in.potstill", "example.data", "student.potstill", "plugin"},
    "openmm": {"run_openmm.py"},
    "torchsim": {"run_torchsim.py"},
    "ipi": {"input.xml", "potstill_pes.py", "start.xyz"},
}


@pytest.mark.parametrize("example", [ethanol(), rattled(rocksalt())], ids=["molecule", "crystal"])
def test_engines_need_not_be_installed_to_export_for_them(student, tmp_path, example):
    folders = deploy(student, tmp_path / "deploy", [*FILES, "lammps"], example)
    assert [f.name for f in folders] == list(FILES)
    for folder in folders:
        assert {p.name for p in folder.iterdir()} == {"student", "example.xyz", "VERDICT.txt"} | FILES[folder.name]
        for script in folder.glob("*.py"):
            compile(script.read_text(encoding="utf-8"), str(script), "exec")


def test_what_an_export_lacks_is_left_to_its_script(student, tmp_path, monkeypatch, caplog):
    def missing(*_):
        raise PotstillError("no metatomic here")

    monkeypatch.setattr("potstill.deploy.metatomic.export_model", missing)
    (folder,) = deploy(student, tmp_path / "deploy", ("metatomic",), ethanol())
    assert "no metatomic here" in caplog.text
    assert {p.name for p in folder.iterdir()} == {"student", "example.xyz", "VERDICT.txt", "run_metatomic.py"}


def test_a_verdict_beside_another_student_is_not_its_own(student, tmp_path, caplog):
    (folder,) = deploy(student, tmp_path / "deploy", ("ase",), ethanol(), "GO: all is well")
    config = json.loads((folder / "student" / "config.json").read_text())
    assert load_student(folder / "student")
    assert not caplog.records
    save_student(load_student(student).model, folder / "student", {"made_by": "hand"})  # the same one
    load_student(folder / "student")
    assert not caplog.records
    other = load_student(student).model
    with torch.no_grad():
        next(other.parameters()).mul_(1.01)
    save_student(other, folder / "student", {name: config[name] for name in ("domain",) if name in config})
    load_student(folder / "student")
    assert "NOT RUN: the verdict beside this student is that of another one" in caplog.text


NO_GO = 'NO-GO: the student does not meet 8 of 9 gates that apply (errors 7, "dynamics" $1)'


@pytest.mark.parametrize("verdict", [NO_GO, "NOT RUN: the student is not judged"])
def test_an_export_states_its_verdict(student, tmp_path, verdict, caplog):
    for folder in deploy(student, tmp_path / "deploy", ("ase", "lammps"), ethanol(), verdict):
        for path in (folder, folder / "student"):
            assert (path / "VERDICT.txt").read_text(encoding="utf-8").splitlines()[0] == verdict
        caplog.clear()
        copied = shutil.copytree(folder / "student", tmp_path / f"copied {folder.name}")
        calculator = load_student(copied).calculator()
        for _ in range(2):
            calculator.get_potential_energy(ethanol().to_ase())
        said = [r.getMessage() for r in caplog.records if r.levelname == "WARNING" and "training data" not in r.message]
        assert said == [f"{copied}: {verdict}"]
    script = (tmp_path / "deploy" / "lammps" / "in.potstill").read_text(encoding="utf-8")
    line = next(line for line in script.splitlines() if line.startswith("print"))
    assert line == f'print "student: {verdict.replace(chr(34), " ").replace("$", " ")}"'


def test_an_export_with_go_is_silent_also_after_an_earlier_verdict(student, tmp_path, caplog):
    deploy(student, tmp_path / "deploy", ("ase",), ethanol(), NO_GO)
    caplog.clear()
    (folder,) = deploy(student, tmp_path / "deploy", ("ase",), ethanol(), "GO: the student meets all 9 gates")
    load_student(folder)
    assert (folder / "VERDICT.txt").read_text(encoding="utf-8").startswith("GO: ")
    assert "NO-GO" not in caplog.text
    assert not [r for r in caplog.records if "GO" in r.message]


def test_an_export_that_nobody_judged_says_so(student, tmp_path):
    (folder,) = deploy(student, tmp_path / "deploy", ("lammps",), ethanol())
    assert (folder / "VERDICT.txt").read_text(encoding="utf-8").startswith("NOT RUN: nobody judged")
    assert 'print "student: NOT RUN: nobody judged' in (folder / "in.potstill").read_text(encoding="utf-8")
