"""Students by name: one that comes with the package, a run, a folder, and what is none."""

import pytest

from potstill.core.errors import InputError
from potstill.student import shipped
from potstill.student.files import save_student
from potstill.student.shipped import elements_of, shipped_students, sizes_of, student_folder
from potstill.testing.models import random_student


@pytest.fixture
def named(tmp_path, monkeypatch):
    """Return a folder of shipped students that holds one named ``general``."""
    save_student(random_student((1, 8)).model, tmp_path / "students" / "general", {})
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "students")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "students" / "general"


def test_a_name_is_the_folder_of_the_package(named):
    assert shipped_students() == ["general"]
    assert student_folder("general") == named


@pytest.mark.usefixtures("named")
def test_a_folder_of_that_name_comes_first(tmp_path):
    save_student(random_student((6,)).model, tmp_path / "general", {})
    assert student_folder("general").resolve() == tmp_path / "general"


@pytest.mark.usefixtures("named")
def test_a_run_stands_for_its_student(tmp_path):
    save_student(random_student((6,)).model, tmp_path / "run" / "student", {})
    assert student_folder(tmp_path / "run") == tmp_path / "run" / "student"


@pytest.mark.usefixtures("named")
def test_an_unknown_name_says_what_there_is():
    with pytest.raises(InputError, match=r"no student of that name: did you mean 'general'"):
        student_folder("genral")


@pytest.mark.usefixtures("named")
def test_sizes_are_those_of_the_student():
    sizes = sizes_of("general")
    assert sizes["features"] == random_student((1,)).model.architecture.features
    assert "atomic_numbers" not in sizes
    assert "parameters_between" not in sizes


def test_what_is_no_student_says_what_it_is(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}", encoding="utf-8")
    (tmp_path / "file").write_text("", encoding="utf-8")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text("[]", encoding="utf-8")
    for name, told in (
        ("nowhere", r"there is no folder .*nowhere\n  name that of a run or of a student, or one of: general"),
        ("run", r"run is not a student: .*\n  its run has no student yet"),
        ("file", "file is not a folder of a student"),
        ("odd", r"config\.json is no config\.json of a student"),
    ):
        with pytest.raises(InputError, match=told):
            sizes_of(tmp_path / name)


def test_elements_are_those_that_the_student_knows():
    assert len(elements_of("general")) == 89
