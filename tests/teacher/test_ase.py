"""Any ASE calculator by ``module:callable``."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
from ase.calculators.emt import EMT

from potstill.config import dump_config, load_config
from potstill.core.errors import InputError
from potstill.core.stress import from_voigt
from potstill.core.types import Labels, Refused
from potstill.dataset import open_dataset, write_part
from potstill.execute import LocalExecutor
from potstill.execute.options import Parsl
from potstill.label.stage import label
from potstill.teacher import load_teacher
from potstill.teacher.choices import parse_teacher
from potstill.teacher.options import AseTeacher
from potstill.testing import check_teacher, copper, rattled, slab, water

LJ = {"calculator": "ase.calculators.lj:LennardJones", "options": {"sigma": 2.0, "rc": 5.0, "smooth": True}}


def test_the_kit():
    check_teacher(load_teacher("ase", **LJ), [rattled(copper()), rattled(slab()), water()])
    check_teacher(
        load_teacher("ase", calculator="ase.calculators.emt:EMT", elements=("Cu", "H", "O")), [rattled(copper()), water()]
    )


def test_the_same_as_the_built_in_one():
    named, built_in = load_teacher("ase", calculator="ase.calculators.emt:EMT"), load_teacher("emt")
    structure = rattled(copper())
    assert named.label([structure])[0].energy == built_in.label([structure])[0].energy
    assert "ase 3" in named.fingerprint["version"]


def test_the_fingerprint_is_that_of_the_options_and_of_the_files_they_name(tmp_path):
    file = tmp_path / "weights.bin"
    file.write_bytes(b"one")

    def weights(**options) -> str:
        return load_teacher("ase", calculator="tests_calculators:make", options=options).fingerprint["weights"]

    (tmp_path / "tests_calculators.py").write_text(
        "from ase.calculators.emt import EMT\n\ndef make(**options):\n    return EMT()\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        assert weights(a=1, b=2) == weights(b=2, a=1) != weights(a=1, b=3)
        before = weights(path=str(file))
        assert before == weights(path=str(file))
        file.write_bytes(b"two")
        assert weights(path=str(file)) != before
        named = weights(path=str(tmp_path), directory="here")
        assert named == weights(path=str(tmp_path), directory="here")
        file.write_bytes(b"three")
        assert weights(path=str(tmp_path), directory="here") != named
        version = load_teacher("ase", calculator="tests_calculators:make").fingerprint["version"]
        assert version.startswith("tests_calculators sha256:")


@pytest.mark.parametrize("name", ["own_calc", "own_package.calc"])
def test_the_fingerprint_is_also_that_of_the_modules_beside_it(tmp_path, monkeypatch, name):
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
    module.parent.mkdir(exist_ok=True)
    (module.parent / "__init__.py").touch()
    dotted = name.rpartition(".")[0]
    first = f"from {dotted + '.' if dotted else ''}own_first import SIGMA"
    module.write_text(f"{first}\nfrom ase.calculators.lj import LennardJones\ndef Own(): return LennardJones(sigma=SIGMA)\n")
    (module.parent / "own_first.py").write_text("import json\ntry:\n    from .own_second import SIGMA\nexcept ImportError:\n"
                                                "    from own_second import SIGMA\n")  # fmt: skip
    (module.parent / "own_second.py").write_text("SIGMA = 2.0\n")
    (module.parent / "not_imported.py").write_text("X = 1\n")

    def version() -> str:
        return load_teacher("ase", calculator=f"{name}:Own").fingerprint["version"]

    before = version()
    (module.parent / "not_imported.py").write_text("X = 2\n")
    assert version() == before
    (module.parent / "own_second.py").write_text("SIGMA = 2.5\n")
    assert version() != before


def test_what_it_knows_and_gives():
    teacher = load_teacher("ase", **LJ, elements=("Cu",), stress=False)
    metal, water_ = teacher.label([copper(), water()])
    assert isinstance(metal, Labels)
    assert metal.stress is None
    assert isinstance(water_, Refused)
    assert water_.reason == "unsupported_element"
    assert parse_teacher({"name": "ase", **LJ}).conservative
    assert not parse_teacher({"name": "ase", **LJ, "direct_forces": True}).conservative


@pytest.mark.parametrize(
    ("calculator", "message"),
    [
        ("no_such_module:Thing", "no_such_module.*cannot be imported"),
        ("ase.calculators.emt:EMMT", "no 'EMMT' in.*did you mean 'EMT'"),
        ("ase.calculators.lj:LennardJones.default_parameters", "is a dict, expected a callable"),
        ("ase.calculators.emt", "pattern"),
        ("os:system('true')", "pattern"),
    ],
)
def test_names_that_are_no_calculators(calculator, message):
    with pytest.raises(InputError, match=f"(?s){message}"):
        load_teacher("ase", calculator=calculator)


def test_options_that_it_does_not_take():
    with pytest.raises(InputError, match=r"(?s)options: no option 'sigmaa'.*expected keyword arguments"):
        load_teacher("ase", calculator="ase.calculators.harmonic:SpringCalculator", options={"sigmaa": 1.0})


MINE = """
from helper_of_mine import STRENGTH
from ase.calculators.calculator import Calculator, all_changes


class Mine(Calculator):
    implemented_properties = ["energy", "forces"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        centred = self.atoms.positions - self.atoms.positions.mean(axis=0)
        print("words of my calculator")
        self.results = {"energy": STRENGTH * (centred**2).sum() / 2, "forces": -STRENGTH * centred}
"""
CONFIG = """
generate:
  sources: [{{source: crystals, count: 1}}, {{source: md, count: 1, teacher: {teacher}}}]
label:
  teacher: {teacher}
"""


class TestBesideTheConfig:
    @pytest.fixture
    def config(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sys, "path", [*sys.path])
        for name in ("mine_beside", "helper_of_mine"):
            sys.modules.pop(name, None)
        folder = tmp_path / "project"
        folder.mkdir()
        (folder / "mine_beside.py").write_text(MINE)
        (folder / "helper_of_mine.py").write_text("STRENGTH = 0.5\n")
        path = folder / "config.yaml"
        path.write_text(CONFIG.format(teacher="{name: ase, calculator: 'mine_beside:Mine'}"))
        return path

    def test_a_module_beside_the_config_is_found(self, config):
        checked = load_config(config)
        for options in (checked.label.teacher, checked.generate.sources[1].teacher):
            assert options.folder == str(config.parent)
            options.check()
        teacher = checked.label.teacher.load()
        (answer,) = teacher.label([water()])
        assert isinstance(answer, Labels)
        assert "sha256" in teacher.fingerprint["version"]

    def test_also_from_the_config_of_the_run_folder(self, config, tmp_path):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "config.yaml").write_text(dump_config(load_config(config)))
        again = load_config(tmp_path / "run" / "config.yaml").label.teacher
        assert again.folder == str(config.parent)

    @pytest.mark.parametrize("parsl", [False, True], ids=["local", "Parsl"])
    def test_workers_find_it(self, config, tmp_path, parsl):
        if parsl:
            pytest.importorskip("parsl")
        options = load_config(config).label
        write_part(tmp_path / "some.h5", [water().with_(id="a", source="s", family="f")])
        executor = Parsl(workers_per_node=1).start(tmp_path / "execute", 0) if parsl else LocalExecutor(1)
        try:
            (part,) = label(options, tmp_path / "some.h5", tmp_path / "label", executor=executor)
        finally:
            if parsl:
                executor.close()
        assert open_dataset(part).ids.tolist() == ["a"]
        assert "words of my calculator" in (tmp_path / "label" / "teacher.log").read_text()

    def test_a_module_that_is_hidden_is_an_error(self, config):
        (config.parent / "json").mkdir()
        (config.parent / "json" / "__init__.py").write_text(MINE)
        config.write_text(CONFIG.format(teacher="{name: ase, calculator: 'json:Mine'}"))
        with pytest.raises(InputError, match="give your module another name"):
            load_config(config).label.teacher.check()

    def test_without_the_module_the_error_says_where_to_put_it(self, config):
        (config.parent / "mine_beside.py").unlink()
        with pytest.raises(InputError, match="put the module beside the config"):
            load_config(config).label.teacher.check()


def test_paths_of_a_teacher_of_a_source_are_relative_to_the_config(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "mine.pth").write_bytes(b"weights")
    teacher = "{name: sevennet, weights: weights/mine.pth}"
    (tmp_path / "config.yaml").write_text(CONFIG.format(teacher=teacher))
    checked = load_config(tmp_path / "config.yaml")
    found = [checked.label.teacher.weights, checked.generate.sources[1].teacher.weights]
    assert found == [str(tmp_path / "weights" / "mine.pth")] * 2


def test_a_module_that_exits_on_import_is_refused(tmp_path, monkeypatch):
    (tmp_path / "leaves_at_once.py").write_text("import sys; sys.exit(0)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"'leaves_at_once' .* cannot be imported: SystemExit\(0\)"):
        parse_teacher({"name": "ase", "calculator": "leaves_at_once:X"}).check()


@pytest.mark.parametrize(
    ("ending", "how"),
    [("os._exit(0)", "exit code 0"), ("os.kill(os.getpid(), signal.SIGSEGV)", "killed by signal 11")],
)
def test_a_module_that_ends_the_process_on_import_is_refused(tmp_path, monkeypatch, ending, how):
    (tmp_path / "ends_at_once.py").write_text(f"import os, signal\n{ending}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=f"importing 'ends_at_once' .* ends the process .{how}"):
        parse_teacher({"name": "ase", "calculator": "ends_at_once:X"}).check()


@pytest.mark.parametrize(
    ("body", "at_once", "message"),
    [
        ("class Odd(EMT):\n    implemented_properties = ['energy']\n", True, "computes energy, and no forces"),
        (
            "def Odd():\n    made = EMT()\n    made.implemented_properties = ['forces']\n    return made\n",
            False,
            "no energy",
        ),
        ("def Odd():\n    return 3\n", False, "returns int, expected an ASE calculator"),
        ("def Odd():\n    return EMT\n", False, "returns the class EMT itself, expected an ASE calculator"),
    ],
)
def test_calculators_that_give_too_little_are_refused(tmp_path, monkeypatch, body, at_once, message):
    name = f"odd_{abs(hash(body))}"
    (tmp_path / f"{name}.py").write_text(f"from ase.calculators.emt import EMT\n{body}")
    monkeypatch.syspath_prepend(tmp_path)
    options = parse_teacher({"name": "ase", "calculator": f"{name}:Odd"})
    with pytest.raises(InputError, match=message):
        options.check_weights() if at_once else options.load()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import os\n    os.environ['NO_SUCH_MODEL']", r"made:\n  KeyError: 'NO_SUCH_MODEL'\n  the calculator itself"),
        ("open('no_such_weights.pth')", r"FileNotFoundError(.|\n)*such as a file, a variable or a device"),
        ("raise TypeError('unexpected keyword')", "TypeError: unexpected keyword\n  expected its keyword arguments"),
    ],
)
def test_a_calculator_that_cannot_be_made_names_whose_fault_it_is(tmp_path, monkeypatch, body, message):
    name = f"raises_{abs(hash(body))}"
    (tmp_path / f"{name}.py").write_text(f"def make():\n    {body}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=message):
        load_teacher("ase", calculator=f"{name}:make")


FILES = """
from ase.calculators.emt import EMT

class Files(EMT):
    def __init__(self, directory="."):
        super().__init__()
        self.directory = directory

    def write_input(self, atoms, properties=None, system_changes=None):
        raise NotImplementedError
"""


def test_two_workers_never_write_the_same_files(tmp_path, monkeypatch):
    (tmp_path / "writes_files.py").write_text(FILES)
    monkeypatch.syspath_prepend(tmp_path)
    shared = parse_teacher({"name": "ase", "calculator": "writes_files:Files"})
    own = parse_teacher({"name": "ase", "calculator": "writes_files:Files", "options": {"directory": "scratch/{worker}"}})
    folders = []
    for number in ("0", "1"):
        monkeypatch.setenv("POTSTILL_WORKER", number)
        folders.append(own.load()._calculator.directory)
        if number == "0":
            shared.load()
        else:
            with pytest.raises(InputError, match=r"several workers would write the same ones\n.*scratch/\{worker\}"):
                shared.load()
    assert len(set(folders)) == 2
    assert own.load().fingerprint["weights"] == own.load().fingerprint["weights"]


class MuteError(Exception):
    """An exception that fails at its own text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Wrong(EMT):
    """Changes its results after it has computed them."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, change) -> None:
        super().__init__()
        self.change = change

    def calculate(self, *args, **kwargs) -> None:
        super().calculate(*args, **kwargs)
        self.change(self.results)


def raising(error: BaseException):
    def fail(_results) -> None:
        raise error

    return fail


def refusal(change) -> Refused:
    (answer,) = AseTeacher(lambda: Wrong(change), {}).label([rattled(copper())])
    assert isinstance(answer, Refused), answer
    return answer


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda r: r.update(stress=np.zeros(9)),
            r"ValueError: stress has shape \(9,\), expected \(6,\) in the order xx, yy",
        ),
        (lambda r: r.update(stress=np.zeros((1, 6))), r"stress has shape \(1, 6\)"),
        (lambda r: r.update(forces=np.ma.masked_less(r["forces"], 0)), "forces contain masked values"),
        (raising(AssertionError()), r"AssertionError: no text, raised in .*test_ase\.py, line \d+$"),
        (raising(MuteError()), "MuteError: no text, raised in"),
        (raising(ValueError("two\nlines \ud800 and\0zero")), r"^ValueError: two lines \? and zero$"),
    ],
)
def test_a_refusal_says_in_one_line_what_was_wrong(tmp_path, change, says):
    refused = refusal(change)
    assert re.search(says, refused.detail)
    write_part(tmp_path / "a.h5", [], [refused], labelled=True)


def test_a_long_text_is_cut():
    assert len(refusal(raising(ValueError("x" * 100_000))).detail) < 600


def test_a_stress_of_six_or_nine_numbers_is_taken_as_it_is():
    structure = rattled(copper())
    (expected,) = load_teacher("emt").label([structure])
    (six,) = AseTeacher(lambda: Wrong(lambda r: r.update(stress=tuple(r["stress"]))), {}).label([structure])
    np.testing.assert_allclose(six.stress, expected.stress, atol=1e-12)
    skew = np.array([[0.0, 0.1, 0.0], [-0.1, 0.0, 0.0], [0.0, 0.0, 0.0]])
    (nine,) = AseTeacher(lambda: Wrong(lambda r: r.update(stress=from_voigt(r["stress"]) + skew)), {}).label([structure])
    np.testing.assert_allclose(nine.stress, expected.stress + skew, atol=1e-12)  # so that the audit sees it


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("class Calc(:\n", r"correct line 1 of .*spoiled_a\.py"),
        ("import argparse\nargparse.ArgumentParser().parse_args(['x'])\n", "below  if __name__ == '__main__':"),
        ("import no_such_package_of_mine\n", "install its package into this environment"),
    ],
)
def test_a_module_that_cannot_be_imported_is_given_its_own_remedy(tmp_path, monkeypatch, text, remedy):
    (tmp_path / "spoiled_a.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=remedy):
        parse_teacher({"name": "ase", "calculator": "spoiled_a:Calc"}).check()
