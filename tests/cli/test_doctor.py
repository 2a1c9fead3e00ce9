"""What works is asked for a structure or a label; what does not says why."""

from __future__ import annotations

import io
from typing import Literal

import pytest
from rich.console import Console

from potstill.cli import doctor
from potstill.core.registry import borrow
from potstill.student.fused_library import loaded_library
from potstill.teacher import choices
from potstill.teacher.ase import AseCalculator
from potstill.teacher.classical import EMT
from potstill.teacher.options import TeacherOptions


class Absent(TeacherOptions):
    name: Literal["absent"] = "absent"

    def load(self):
        return borrow("nonexistent_package", "sevennet", "the teacher 'absent'")


class Broken(TeacherOptions):
    name: Literal["broken"] = "broken"

    def load(self):
        raise OSError("libcuda.so.1 is missing")


@pytest.fixture
def found(monkeypatch, tmp_path):
    monkeypatch.setenv("POTSTILL_HOME", str(tmp_path))
    monkeypatch.setattr(choices, "TEACHERS", {"emt": EMT, "ase": AseCalculator, "absent": Absent, "broken": Broken})
    return {c.name: c for c in doctor.examine()}


def test_each_is_really_asked(found):
    assert "copper has" in found["emt"].detail
    assert found["emt"].works
    assert found["ase"].works
    for source in ("molecules", "crystals", "benchmark", "prototypes", "alloys", "surfaces", "clusters", "melts", "dimers"):
        assert found[source].works, found[source].detail
        assert "made" in found[source].detail
    assert found["ase"].required
    assert found["torch"].required


def test_the_fused_kernel_needs_a_compiler(found, monkeypatch):
    assert found["fused kernel"].works
    assert found["fused kernel"].detail.startswith("compiled by /")
    monkeypatch.setenv("CXX", "no-such-compiler")
    loaded_library.cache_clear()
    try:
        missing = doctor._try("machine", "fused kernel", doctor._fused_kernel)
    finally:
        loaded_library.cache_clear()
    assert not missing.works
    assert not missing.required  # PyTorch does without
    assert "students and SevenNet run in PyTorch, several times slower: no C++ compiler no-such" in missing.detail


def test_environments_that_were_never_made_say_how(found):
    for name in ("mattergen", "moldiff"):
        assert not found[name].works
        assert not found[name].required
        assert found[name].lacking
        assert f"potstill setup {name}" in found[name].detail


def test_what_does_not_work_says_why(found):
    assert not found["absent"].works
    assert "pip install 'potstill[sevennet]'" in found["absent"].detail
    assert not found["broken"].works
    assert found["broken"].detail == "OSError: libcuda.so.1 is missing"
    console = Console(file=io.StringIO(), width=200)
    doctor.print_findings([found[name] for name in ("emt", "absent", "broken")], console)
    table, _, optional = console.file.getvalue().partition("not installed, and optional:")
    assert table.count("does not work") == 1
    assert "libcuda.so.1" in table
    assert "absent" not in table
    assert "teacher absent: " in optional
    assert "'potstill[sevennet]'" in optional
    assert "1 of 3 work, 1 are not installed; does not work: broken" in optional
    assert [found[name].lacking for name in ("emt", "absent", "broken")] == [False, True, False]


def test_the_teacher_that_computes_nothing_is_not_asked(monkeypatch, tmp_path):
    monkeypatch.setenv("POTSTILL_HOME", str(tmp_path))
    monkeypatch.setattr(doctor, "ENVIRONMENTS", {})
    monkeypatch.setattr(doctor, "_propose", lambda options: "")
    monkeypatch.setattr(choices, "TEACHERS", {"emt": EMT, "given": choices.TEACHERS["given"]})
    names = [c.name for c in doctor.examine() if c.kind == "teacher"]
    assert names == ["emt"]


def test_engines_that_are_not_installed_say_how(found, monkeypatch):
    monkeypatch.setattr("potstill.core.registry.importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr("potstill.deploy.lammps_setup.found_lammps", list)  # Debian's may be here
    for name, version in doctor.ENGINES.items():
        assert name in found
        missing = doctor._try("engine", name, version)
        assert not missing.works
        assert not missing.required
        assert "pip install 'potstill[engines]'" in missing.detail
