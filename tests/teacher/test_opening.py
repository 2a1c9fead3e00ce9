"""A teacher that ends its process is outlived by those who asked it."""

import logging
import os

import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes

from potstill.audit.files import audit_file
from potstill.audit.options import AuditConfig
from potstill.core.errors import PotstillError
from potstill.core.types import Labels, Refused
from potstill.dataset.convert import convert
from potstill.teacher.calculator import TeacherCalculator
from potstill.teacher.classical import EMT
from potstill.teacher.isolated import IsolatedTeacher
from potstill.teacher.opening import open_teacher
from potstill.teacher.options import AseTeacher
from potstill.testing import copper, water

ENDINGS = {"os._exit(0)": "exit code 0", "sys.exit(0)": "exit code 0", "os.abort()": "killed by SIGABRT"}
MODULE = """\
import os, sys, time
from ase.calculators.emt import EMT

class Ending(EMT):
    def calculate(self, *arguments):
        super().calculate(*arguments)
        if 8 in self.atoms.numbers:
            print("about to end", flush=True)
            {ending}
"""


@pytest.fixture
def ending(tmp_path, monkeypatch):
    """Options of a teacher that ends its process at oxygen."""
    from potstill.teacher.ase import AseCalculator

    def make(how: str) -> AseCalculator:
        (tmp_path / "ending_teacher.py").write_text(MODULE.format(ending=how))
        monkeypatch.syspath_prepend(str(tmp_path))
        return AseCalculator(calculator="ending_teacher:Ending")

    return make


def test_in_this_process_unless_supervised():
    assert not isinstance(open_teacher(EMT()), IsolatedTeacher)
    teacher = open_teacher(EMT(), supervised=True)
    assert isinstance(teacher, IsolatedTeacher)
    assert teacher.process != os.getpid()
    teacher.close()


@pytest.mark.parametrize("how", ENDINGS)
def test_the_end_of_its_process_is_a_refusal(how, ending, caplog):
    caplog.set_level(logging.INFO, "potstill.teacher.isolated")
    teacher = open_teacher(ending(how), supervised=True)
    good, bad = teacher.label([copper(), water()])
    assert isinstance(good, Labels)
    assert isinstance(bad, Refused)
    assert bad.reason == "teacher_crashed"
    assert ENDINGS[how] in bad.detail
    assert "the teacher printed: about to end" in caplog.text
    assert isinstance(teacher.label([copper()])[0], Labels)
    teacher.close()


def test_no_answer_in_time_is_a_refusal(ending):
    teacher = open_teacher(ending("time.sleep(60)"), supervised=True, timeout_seconds_per_structure=1.0)
    assert isinstance(teacher.label([copper()])[0], Labels)
    (late,) = teacher.label([water()])
    assert (late.reason, late.detail) == ("teacher_timeout", "no answer within 1 s")
    teacher.close()


def test_modules_of_the_current_folder_do_not_hide_those_of_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "struct.py").write_text("raise RuntimeError('executed')")
    monkeypatch.syspath_prepend("")
    teacher = open_teacher(EMT(), supervised=True)
    assert isinstance(teacher.label([copper()])[0], Labels)
    teacher.close()


def test_an_end_while_loading_is_an_error(tmp_path, monkeypatch):
    from potstill.teacher.ase import AseCalculator

    (tmp_path / "ending_at_once.py").write_text("import os\ndef make():\n    os._exit(0)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PotstillError, match=r"(?s)ended while it loaded the teacher: exit code 0"):
        open_teacher(AseCalculator(calculator="ending_at_once:make"), supervised=True)


def test_an_audit_outlives_its_teacher(build, labelled, tmp_path, ending, monkeypatch):
    convert(build([s for s in labelled if 8 in s.atomic_numbers]), tmp_path / "mine.extxyz")
    options = ending("os._exit(0)")
    monkeypatch.setattr("potstill.audit.files.parse_teacher", lambda data: options)
    report = audit_file(tmp_path / "mine.extxyz", tmp_path / "out", "ending", AuditConfig(replay_fraction=0.1))
    found = {f["check"]: f for f in report["findings"]}
    assert report["verdict"] == "NO_GO"
    assert found["label_replay"]["verdict"] == "NO_GO"


class OneEnergy(Calculator):
    """Energies of shape (1,), and no stress."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": np.array([-1.5]), "forces": np.zeros((len(atoms), 3))}


def test_an_energy_in_an_array_is_a_number_and_no_stress_is_asked_of_who_has_none():
    teacher = AseTeacher(OneEnergy, {})
    assert teacher.properties == {"energy", "forces"}
    (answer,) = teacher.label([copper()])
    assert answer.energy == -1.5
    assert isinstance(answer.energy, float)
    assert answer.stress is None
    atoms = copper().to_ase()
    atoms.calc = TeacherCalculator(teacher)
    assert atoms.get_potential_energy() == -1.5
