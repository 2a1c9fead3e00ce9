"""Any two models beside each other, from Python and from the command line."""

import json

import ase.io
import numpy as np
import pytest
import yaml
from ase.build import bulk

from potstill.core.errors import InputError
from potstill.core.types import Labels, Structure
from potstill.deploy.student import load_student
from potstill.evaluate.made_from import weights_checksum
from potstill.evaluate.model import TeacherModel
from potstill.evaluate.options import EvaluateConfig
from potstill.evaluate.pair import composition_baseline, evaluate_pair, load_model
from potstill.report.evaluate import sentence, write_evaluate_page
from potstill.stats.references import fit_reference_energies
from potstill.student.files import save_student
from potstill.testing import random_student

EMT = "ase.calculators.emt:EMT"
CHEAP = {
    "nve_ps": 0.01,
    "physics_molecules": 0,
    "physics_pairs": 0,
    "physics_ps": 0,
    "stability_ps": 0,
    "speed_repeats": 1,
    "speed_atoms": 0,
}


@pytest.fixture(autouse=True)
def one_core(monkeypatch):
    monkeypatch.setattr("potstill.evaluate.stage.available_cores", lambda: 1)


@pytest.fixture
def structures(tmp_path):
    frames = []
    for k in range(4):
        frame = bulk("Cu", "fcc", a=3.6, cubic=True)
        frame.rattle(0.03 * k, seed=k)
        frames.append(frame)
    path = tmp_path / "mine.extxyz"
    ase.io.write(path, frames)
    return path


def test_a_calculator_beside_itself(structures, tmp_path):
    evaluation = evaluate_pair(EMT, "emt", structures, tmp_path / "out", EvaluateConfig(**CHEAP))
    report = json.loads((tmp_path / "out" / "evaluate.json").read_text())
    assert report["forces"]["mae"] == 0
    assert report["models"] == {"candidate": EMT, "reference": "emt"}
    found = {f["check"]: f["verdict"] for f in report["findings"]}
    assert {name for name, verdict in found.items() if verdict != "GO"} == {"force_error_element"}  # 16 atoms are too few
    assert found["force_error_element"] == "DOES_NOT_APPLY"
    assert len(evaluation.comparison.structures) == 4


def alloys(count: int) -> list[Structure]:
    """Rattled cells of copper and nickel with energies that are no sum over their atoms."""
    rng, found = np.random.default_rng(3), []
    for k in range(count):
        atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
        atoms.numbers[: k % 4] = 28
        labels = Labels(-3.5 * (k % 4) - 3.0 * (4 - k % 4) + rng.normal(), np.zeros((4, 3)))
        found.append(Structure.from_ase(atoms, labels=labels))
    return found


def test_the_baseline_of_a_structure_is_fitted_to_the_others():
    structures = alloys(9)
    found = composition_baseline(structures)
    amounts = np.array([[(s.atomic_numbers == z).sum() for z in (28, 29)] for s in structures], float)
    energies = np.array([s.labels.energy for s in structures])
    for k in range(9):
        others = np.arange(9) != k
        expected = amounts[k] @ fit_reference_energies(amounts[others], energies[others]) / 4
        assert found[k] == pytest.approx(expected)


@pytest.mark.parametrize("count", [1, 2])
def test_few_structures_say_nothing_about_the_energies_of_each_other(count):
    chosen = alloys(4)[1 : 1 + count]
    assert np.isnan(composition_baseline(chosen)).all()


def test_a_good_model_is_not_condemned_for_one_structure(tmp_path):
    frame = bulk("Cu", "fcc", a=3.6, cubic=True)
    frame.numbers[0] = 28
    frame.rattle(0.05, seed=1)
    ase.io.write(tmp_path / "one.extxyz", frame)
    report = evaluate_pair(EMT, "emt", tmp_path / "one.extxyz", tmp_path / "out", errors_only=True).report
    (energy,) = (f for f in report["findings"] if f["check"] == "energy_error")
    assert energy["verdict"] == "NOT_RUN"
    assert "as of few structures" in energy["why"]


def test_a_candidate_without_a_stress_is_not_judged_by_it(structures, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "bare.py").write_text(
        "from ase.calculators.emt import EMT\n\n\nclass Bare(EMT):\n"
        "    implemented_properties = [name for name in EMT.implemented_properties if 'stress' not in name]\n\n"
        "    def get_stress(self, atoms=None):\n        raise NotImplementedError\n"
    )
    report = evaluate_pair("bare:Bare", "emt", structures, tmp_path / "out", EvaluateConfig(**CHEAP)).report
    found = {f["check"]: f for f in report["findings"]}
    assert found["stress_error"]["verdict"] == "NOT_RUN"
    assert "no stress is given for 4 structures" in found["stress_error"]["why"]


def test_what_is_compared_is_not_called_held_out(structures, tmp_path):
    evaluation = evaluate_pair(EMT, "emt", structures, tmp_path / "out", EvaluateConfig(**CHEAP))
    write_evaluate_page(evaluation, tmp_path / "out" / "evaluate.html")
    assert "held-out structures" not in (tmp_path / "out" / "evaluate.html").read_text(encoding="utf-8")
    assert not any("held-out structures of" in f["why"] for f in evaluation.report["findings"])


def test_structures_that_the_reference_refuses_stand_in_the_verdict(structures, tmp_path):
    frames = ase.io.read(structures, ":")
    frames[1].symbols[0] = "Cl"  # unknown to EMT
    ase.io.write(structures, frames)
    report = evaluate_pair(EMT, "emt", structures, tmp_path / "out", EvaluateConfig(**CHEAP)).report
    assert report["refused_by_reference"] == {"unsupported_element": 1}
    assert "3 of 4 structures, for the reference refuses 1 (unsupported_element 1)" in sentence(report)


def test_no_more_than_the_first_structures_are_compared_and_it_is_said(structures, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("potstill.evaluate.pair.MOST_STRUCTURES", 3)
    report = evaluate_pair(EMT, "emt", structures, tmp_path / "out", EvaluateConfig(**CHEAP)).report
    assert report["structures"] == 3
    assert "the first 3 are used" in caplog.text


def test_a_student_beside_a_teacher(structures, tmp_path):
    save_student(random_student([29]).model, tmp_path / "student", {})
    evaluation = evaluate_pair(str(tmp_path / "student"), EMT, structures, tmp_path / "out", EvaluateConfig(**CHEAP))
    assert evaluation.report["forces"]["mae"] > 0


def test_from_the_command_line(structures, tmp_path, monkeypatch, capsys):
    from potstill.cli.main import main

    gates = tmp_path / "gates.yaml"
    gates.write_text(yaml.safe_dump({"evaluate": CHEAP}))
    out = tmp_path / "out"
    command = ["potstill", "evaluate", str(structures), "--candidate", EMT, "--reference", EMT, "--gates", str(gates)]
    monkeypatch.setattr("sys.argv", [*command, "--out", str(out)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    assert "GO             bulk_modulus" in capsys.readouterr().out
    assert (out / "evaluate.html").exists()


@pytest.mark.parametrize("options", [["--candidate", EMT], []], ids=["no reference", "no models"])
def test_half_a_question_is_refused(options, structures, monkeypatch, capsys):
    from potstill.cli.main import main

    monkeypatch.setattr("sys.argv", ["potstill", "evaluate", str(structures), *options])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert "--reference" in capsys.readouterr().err


def test_names_of_models():
    assert isinstance(load_model("lennard-jones"), TeacherModel)
    with pytest.raises(InputError, match="did you mean 'sevennet'"):
        load_model("sevenet")
    with pytest.raises(InputError, match="EMT"):
        load_model("ase.calculators.emt:EMTT")
    with pytest.raises(InputError, match="without one: into a folder of PYTHONPATH"):  # no config is read here
        load_model("no_such_module:Calculator")


def test_a_student_is_no_reference(structures, tmp_path):
    save_student(random_student([29]).model, tmp_path / "student", {})
    with pytest.raises(InputError, match="is a student"):
        evaluate_pair(EMT, str(tmp_path / "student"), structures, tmp_path / "out")


def test_the_candidate_is_opened_before_the_reference_is_asked(structures, tmp_path):
    told: list[str] = []
    with pytest.raises(InputError, match="nostudent"):
        evaluate_pair("nostudent", "emt", structures, tmp_path / "out", on_step=told.append)
    assert told == []


def test_a_file_without_structures_is_named(tmp_path):
    (tmp_path / "empty.extxyz").write_text("")
    with pytest.raises(InputError, match=r"empty\.extxyz has no structure"):
        evaluate_pair(EMT, "emt", tmp_path / "empty.extxyz", tmp_path / "out")


@pytest.mark.parametrize("name", ["nve_ps", "physics_ps", "stability_ps"])
def test_runs_of_a_few_steps_are_refused(name):
    """One step of MD drifts by nothing: its gates were GO."""
    assert getattr(EvaluateConfig(**{name: 0.0}), name) == 0
    with pytest.raises(ValueError, match="a few steps, which show nothing"):
        EvaluateConfig(**{name: 1e-5})


def test_errors_only_asks_the_reference_for_one_label_of_each_structure(structures, tmp_path):
    report = evaluate_pair(EMT, "emt", structures, tmp_path / "out", errors_only=True).report
    found = {f["check"]: f["verdict"] for f in report["findings"]}
    assert {name for name, verdict in found.items() if verdict == "DOES_NOT_APPLY"} == {"nve", "force_error_element"}
    assert {name for name, verdict in found.items() if verdict == "GO"} == {
        *("force_error", "force_error_mine", "softening", "force_direction", "energy_error", "stress_error")
    }
    assert report["physics"] == report["speed"] == report["speed_by_size"] == []
    assert "force_floor" not in report


@pytest.mark.parametrize(("place", "trained"), [("student", False), ("student", True), (".", False)])
def test_a_student_in_its_run_is_judged_for_what_it_was_trained_on(place, trained, structures, tmp_path):
    run = tmp_path / "run"
    save_student(random_student([29]).model, run / "student", {})
    (run / "run.json").write_text("{}")
    weights = weights_checksum(load_student(run / "student"))
    kinds = {"crystals": True, "molecules": False, "surfaces": trained, "vacancies": False, "pairs": False}
    (run / "evaluate.json").write_text(json.dumps({"made_from": {"student": weights}, "kinds": kinds}))
    report = evaluate_pair(str(run / place), EMT, structures, tmp_path / "out", EvaluateConfig(**CHEAP)).report
    found = {f["check"]: f["verdict"] for f in report["findings"]}
    assert found["vacancies"] == "DOES_NOT_APPLY"
    assert (found["surfaces"] == "DOES_NOT_APPLY") is not trained


def test_an_evaluation_of_other_weights_excuses_no_gate(structures, tmp_path):
    save_student(random_student([29]).model, tmp_path / "student", {})
    other = {"made_from": {"student": "sha256:0"}, "kinds": {"surfaces": False, "vacancies": False, "pairs": False}}
    (tmp_path / "evaluate.json").write_text(json.dumps(other))
    config = EvaluateConfig(**CHEAP)
    report = evaluate_pair(str(tmp_path / "student"), EMT, structures, tmp_path / "out", config).report
    assert "DOES_NOT_APPLY" not in {f["verdict"] for f in report["findings"] if f["check"] in {"surfaces", "vacancies"}}


def test_errors_only_without_two_models_is_refused(structures, monkeypatch, capsys):
    from potstill.cli.main import main

    monkeypatch.setattr("sys.argv", ["potstill", "evaluate", str(structures), "--errors-only"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert "--candidate" in capsys.readouterr().err
