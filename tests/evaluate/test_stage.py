"""The stage evaluate: gates, choice of systems, speed, and the report as a whole."""

import json
import time
from dataclasses import asdict

import numpy as np
import pytest
import torch
from ase.calculators.calculator import Calculator

from potstill.core.errors import InputError
from potstill.core.types import Labels, Refused, Structure
from potstill.core.verdict import Verdict
from potstill.dataset import Dataset, merge, write_part
from potstill.evaluate.gates import GATES, OF_STUDENT
from potstill.evaluate.options import EvaluateConfig
from potstill.evaluate.speed import compare_speed, speed_by_size
from potstill.evaluate.stage import compare, evaluate, judge, pick
from potstill.report.evaluate import force_tile
from potstill.teacher import load_teacher
from potstill.teacher.ase import AseCalculator
from potstill.teacher.classical import LennardJones
from potstill.teacher.opening import open_teacher
from potstill.teacher.options import AseTeacher
from potstill.testing import copper, ethanol, random_student, rattled, rocksalt, slab, water

ELEMENTS = [1, 6, 8, 11, 17, 29]
CONFIG = EvaluateConfig()
NO_PHYSICS = {"physics_crystals": 0, "physics_molecules": 0, "physics_pairs": 0}


def forces(mae: float, zero: float = 1.0) -> dict:
    return {"mae": mae, "zero_baseline_mae": zero, "ratio_to_zero_baseline": mae / zero if zero else None}


def run_row(drift: float | None, *, finite: bool = True) -> dict:
    row = {"system": "a", "kind": "crystal", "atoms": 32, "steps": 100, "timestep_fs": 1.0}
    return {**row, "drift_mev_per_atom": drift, "finite": finite}


def verdicts(report: dict, config: EvaluateConfig = CONFIG) -> dict[str, Verdict]:
    return {f.check: f.verdict for f in judge(report, config)}


def test_judge_passes_a_good_student():
    report = {"forces": forces(0.1), "per_source": {"crystals": {"forces": forces(0.2)}}, "nve": [run_row(0.1)]}
    assert verdicts(report) == {"force_error": "GO", "force_error_crystals": "GO", "nve_crystal": "GO"}


def test_judge_holds_each_source_to_its_own_limit():
    report = {"forces": forces(0.3), "per_source": {"a": {"forces": forces(0.49)}, "b": {"forces": forces(0.51)}}, "nve": []}
    found = verdicts(report)
    assert (found["force_error"], found["force_error_a"], found["force_error_b"]) == ("GO", "GO", "NO_GO")


def test_judge_can_be_asked_again_with_other_limits():
    report = {"forces": forces(0.3), "per_source": {}, "nve": [run_row(3.0)]}
    assert set(verdicts(report).values()) == {Verdict.GO}
    strict = EvaluateConfig(max_force_error_ratio=0.2, max_nve_drift_mev_per_atom=1.0)
    assert set(verdicts(report, strict).values()) == {Verdict.NO_GO}


def test_judge_does_not_pass_a_run_that_exploded():
    report = {"forces": forces(0.1), "per_source": {}, "nve": [run_row(None, finite=False)]}
    finding = next(f for f in judge(report, CONFIG) if f.check == "nve_crystal")
    assert finding.verdict == "NO_GO"
    assert json.dumps(asdict(finding), allow_nan=False)  # can be written into evaluate.json


def test_judge_does_not_pass_a_number_that_is_none():
    found = verdicts({"forces": forces(float("nan")), "per_source": {}, "nve": [run_row(0.1)]})
    assert found["force_error"] == "NO_GO"


def test_judge_says_what_did_not_run():
    found = verdicts({"forces": forces(0.0, zero=0.0), "per_source": {}, "nve": []})
    assert found == {"force_error": "NOT_RUN", "nve": "NOT_RUN"}


def with_force(structure: Structure, size: float, name: str) -> Structure:
    labels = Labels(0.0, np.full((len(structure), 3), size))
    return structure.with_(labels=labels, id=name)


def test_pick_takes_the_largest_of_the_calm():
    candidates = [with_force(ethanol(), 0.1, "calm"), with_force(water(), 0.05, "calmer")]
    candidates += [with_force(ethanol(), 5.0, f"wild{k}") for k in range(6)]
    assert pick(candidates, periodic=False).id == "calm"


def test_pick_knows_crystals_from_molecules_and_slabs():
    candidates = [with_force(water(), 0.1, "m"), with_force(copper(), 0.1, "c"), with_force(slab(), 0.1, "s")]
    assert pick(candidates, periodic=True).id == "c"
    assert pick([candidates[0]], periodic=True) is None
    assert pick([], periodic=False) is None


def test_pick_takes_no_single_atom():
    atom = Structure(np.array([6]), np.zeros((1, 3)), labels=Labels(0.0, np.zeros((1, 3))))
    assert pick([atom], periodic=False) is None


def test_compare_speed_has_the_keys_of_the_contract():
    student, teacher = random_student(ELEMENTS), load_teacher("lennard-jones")
    systems = [("copper", [copper()]), ("three", [copper(), water(), rocksalt()])]
    rows = compare_speed(student, teacher, systems, repeats=2)
    assert [row["system"] for row in rows] == ["copper", "three"]
    assert [row["atoms"] for row in rows] == [4, 9]
    for row in rows:
        assert {"system", "atoms", "student_s", "teacher_s", "ratio"} <= row.keys()
        assert row["ratio"] == pytest.approx(row["teacher_s"] / row["student_s"])


class Counting:
    """Counts the calls and the structures of each."""

    device = "cpu"

    def __init__(self) -> None:
        self.calls: list[int] = []

    def label(self, structures):
        self.calls.append(len(structures))
        return []


def test_no_call_is_timed_on_the_positions_of_another():
    class Remembering(Counting):
        def label(self, structures):
            self.calls += [s.positions.tobytes() for s in structures]
            return []

    student, teacher = Remembering(), Remembering()
    compare_speed(student, teacher, [("one", [copper()])], repeats=3)
    assert student.calls == teacher.calls
    assert len(set(teacher.calls)) == 4


def test_a_cache_of_results_saves_no_time():
    class Caching(Calculator):
        implemented_properties = ("energy", "forces", "stress")

        def calculate(self, *arguments):
            super().calculate(*arguments)
            time.sleep(0.02)
            self.results = {"energy": 0.0, "forces": np.zeros((len(self.atoms), 3)), "stress": np.zeros(6)}

    teacher = AseTeacher(Caching, {})
    (row,) = compare_speed(random_student(ELEMENTS), teacher, [("copper", [copper()])], repeats=3)
    assert row["teacher_s"] >= 0.02
    (row,) = speed_by_size(random_student(ELEMENTS), teacher, copper(), atoms=[4], repeats=3)
    assert row["teacher_s"] >= 0.02


def test_memory_of_a_card_is_the_growth_since_the_start(monkeypatch):
    """Not what a training in the same process took before, nor that of a student on the CPU."""
    forgotten = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: forgotten.append(1))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 5 * 10**9)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: (5 if forgotten else 90) * 10**9)
    teacher = load_teacher("lennard-jones")
    (row,) = speed_by_size(random_student(ELEMENTS), teacher, copper(), atoms=[4], repeats=1)
    assert row["student_memory_bytes"] < 10**9


def test_a_teacher_that_refuses_is_not_timed():
    class Refusing(Counting):
        def label(self, structures):
            return [Refused("teacher_error", "no")] * len(structures)

    assert compare_speed(random_student(ELEMENTS), Refusing(), [("copper", [copper()])], repeats=1) == []
    assert speed_by_size(random_student(ELEMENTS), Refusing(), copper(), atoms=[4], repeats=1)[0]["teacher_s"] is None


def test_a_teacher_in_a_process_of_its_own_is_timed_there():
    teacher = open_teacher(LennardJones(), supervised=True)
    (row,) = compare_speed(random_student(ELEMENTS), teacher, [("copper", [copper()])], repeats=1)
    assert row["teacher_s"] == teacher.seconds > 0
    (row,) = speed_by_size(random_student(ELEMENTS), teacher, copper(), atoms=[4], repeats=1)
    assert row["teacher_s"] > 0
    teacher.close()


def test_a_teacher_that_ends_its_process_leaves_gates_that_did_not_run(tmp_path, monkeypatch):
    (tmp_path / "ends_its_process.py").write_text(
        "import os\nfrom ase.calculators.emt import EMT\n\nclass Ending(EMT):\n"
        "    def calculate(self, *arguments):\n        os._exit(0)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    labels = load_teacher("emt").label([copper()])
    structures = [copper().with_(labels=labels[0], id=f"copper-{k}", family=f"copper-{k}") for k in range(2)]
    teacher = open_teacher(AseCalculator(calculator="ends_its_process:Ending"), supervised=True)
    config = EvaluateConfig(nve_ps=0, physics_ps=0, stability_ps=0, physics_pairs=1, speed_repeats=1, speed_atoms=0)
    found = compare(random_student([29]), structures, np.zeros(2), config, teacher=lambda: teacher, seed=1)
    teacher.close()
    verdicts = {f["check"]: f["verdict"] for f in found.report["findings"]}
    assert verdicts["bulk_modulus"] == verdicts["phonons"] == verdicts["dimers"] == "NOT_RUN"
    assert verdicts["systems"] == "NO_GO"
    assert "teacher_crashed" in next(f["why"] for f in found.report["findings"] if f["check"] == "systems")
    assert found.report["speed"] == []


def test_compare_speed_gives_both_the_same_calls():
    student, teacher = Counting(), Counting()
    compare_speed(student, teacher, [("two", [copper(), water()])], repeats=3)
    assert student.calls == teacher.calls == [2, 2, 2, 2]  # one of them to warm up


@pytest.fixture
def dataset(tmp_path) -> Dataset:
    made = [
        rattled(make(), seed).with_(id=f"{name}-{seed}", source=name, family=f"{name}-{seed}")
        for seed in range(4)
        for make, name in ((copper, "metals"), (rocksalt, "salts"), (ethanol, "molecules"))
    ]
    answers = load_teacher("lennard-jones", sigma_angstrom=1.2).label(made)
    labelled = [s.with_(labels=a) for s, a in zip(made, answers, strict=True)]
    write_part(tmp_path / "part.h5", labelled, labelled=True)
    splits = np.repeat([0, 0, 1, 2], 3).astype(np.uint8)
    merge([tmp_path / "part.h5"], tmp_path / "dataset.h5", attributes={}, splits=splits)
    return Dataset(tmp_path / "dataset.h5")


@pytest.fixture(autouse=True)
def one_core(monkeypatch):
    monkeypatch.setattr("potstill.evaluate.stage.available_cores", lambda: 1)


def test_the_report_is_whole(dataset):
    config = EvaluateConfig(nve_ps=0.005, speed_repeats=1, **NO_PHYSICS)
    teacher = load_teacher("lennard-jones", sigma_angstrom=1.2)
    evaluation = evaluate(random_student(ELEMENTS), dataset, config, teacher=lambda: teacher, seed=1)
    report = evaluation.report
    assert {"forces", "energy", "stress", "per_source", "per_element", "nve", "speed", "findings"} <= report.keys()
    assert set(report["per_source"]) == {"metals", "salts", "molecules"}
    assert set(report["per_element"]) == {"H", "C", "O", "Na", "Cl", "Cu"}
    assert report["structures"] == 3
    assert [row["kind"] for row in report["nve"]] == ["crystal", "molecule"]
    assert max(row["atoms"] for row in report["speed"]) >= 200
    assert json.loads(json.dumps(report, allow_nan=False))["forces"] == report["forces"]
    assert report["force_floor"]["total"] < 1e-4 * report["force_floor"]["forces"]


def test_the_floor_of_a_teacher_whose_forces_are_no_slope(dataset):
    honest = load_teacher("lennard-jones", sigma_angstrom=1.2)

    class Twisted:
        fingerprint, elements, properties = honest.fingerprint, honest.elements, honest.properties

        def label(self, structures):
            answers = zip(structures, honest.label(structures), strict=True)
            return [Labels(a.energy, a.forces + 10.0 * np.roll(s.positions, 1, axis=1), a.stress) for s, a in answers]

    student, config = random_student(ELEMENTS), EvaluateConfig(nve_ps=0.0, speed_repeats=1)
    report = evaluate(student, dataset, config, teacher=Twisted, seed=1).report
    # the antisymmetric part of each atom's 3 x 3 block of the derivative has the norm 5 sqrt(6)
    assert report["force_floor"]["curl"] == pytest.approx(0.05 * 5.0 * 2**0.5, rel=0.2)
    assert report["force_floor"]["unit"] == "eV/Å"
    report["forces"]["rmse"] = 1.0
    assert "the floor of any conservative student" in force_tile(report, None)["detail"]
    assert "floor" not in force_tile({**report, "force_floor": None}, None)["detail"]


def with_teacher(dataset: Dataset, folder, fingerprint: dict) -> Dataset:
    """The same structures in a file that states its teacher."""
    write_part(folder / "p.h5", dataset[:], labelled=True)
    merge([folder / "p.h5"], folder / "d.h5", attributes={"teacher": fingerprint}, splits=np.asarray(dataset.splits))
    return Dataset(folder / "d.h5")


def test_another_teacher_than_that_of_the_labels_is_refused(dataset, tmp_path):
    """A calculator that was edited after the labelling must not be taken for the truth that the student learned."""
    config = EvaluateConfig(nve_ps=0.0, speed_repeats=1, **NO_PHYSICS)
    teacher = load_teacher("lennard-jones", sigma_angstrom=1.2)
    edited = {**teacher.fingerprint, "weights": "of an edited module"}
    stated = with_teacher(dataset, tmp_path, edited)
    with pytest.raises(InputError, match="the teacher of the config is not the one that labelled") as refused:
        evaluate(random_student(ELEMENTS), stated, config, teacher=lambda: teacher, seed=1)
    assert teacher.fingerprint["weights"] in str(refused.value)
    assert edited["weights"] in str(refused.value)
    assert "label anew" in str(refused.value)
    assert evaluate(random_student(ELEMENTS), stated, config, teacher=None, seed=1).report["made_from"]["teacher"] is None


@pytest.mark.parametrize("name", ["the same", "given"])
def test_the_teacher_of_the_labels_and_one_beside_given_labels_are_taken(dataset, tmp_path, name):
    config = EvaluateConfig(nve_ps=0.0, speed_repeats=1, **NO_PHYSICS)
    teacher = load_teacher("lennard-jones", sigma_angstrom=1.2)
    recorded = dict(teacher.fingerprint) if name == "the same" else {"name": "given", "weights": "PBE"}
    stated = with_teacher(dataset, tmp_path, recorded)
    report = evaluate(random_student(ELEMENTS), stated, config, teacher=lambda: teacher, seed=1).report
    assert report["made_from"]["teacher"] == dict(teacher.fingerprint)


def test_labels_stand_in_the_order_of_the_structures(dataset):
    """Structures are batched by size and must come back in their own order."""
    student = random_student(ELEMENTS)
    evaluation = evaluate(student, dataset, EvaluateConfig(nve_ps=0.0, **NO_PHYSICS), teacher=None, seed=1)
    for structure, found in zip(evaluation.comparison.structures, evaluation.comparison.student, strict=True):
        (alone,) = student.label([structure])
        assert np.allclose(found.forces, alone.forces, atol=1e-4)


def test_without_a_teacher_only_the_student_alone_is_judged(dataset):
    report = evaluate(random_student(ELEMENTS), dataset, EvaluateConfig(nve_ps=0.0), teacher=None, seed=1).report
    assert report["nve"] == report["speed"] == []
    found = {f["check"]: f["verdict"] for f in report["findings"]}
    assert found["nve"] == "DOES_NOT_APPLY"  # not asked for
    assert {found[name] for name in GATES if name not in (*OF_STUDENT, "dimers")} == {"NOT_RUN"}
    assert found["dimers"] == "DOES_NOT_APPLY"
    assert report["kinds"] == {"crystals": True, "molecules": True, "surfaces": True, "vacancies": True, "pairs": False}
    assert {found["force_slope"], found["invariance"]} <= {"GO", "NO_GO"}
    assert {row["check"] for row in report["physics"]} <= set(OF_STUDENT)


def test_what_was_not_asked_for_is_no_gate(dataset):
    config = EvaluateConfig(nve_ps=0.0, **NO_PHYSICS)
    report = evaluate(random_student(ELEMENTS), dataset, config, teacher=None, seed=1).report
    assert not {f["check"] for f in report["findings"]} & {*GATES}


def test_no_held_out_family_is_refused(tmp_path, dataset):
    write_part(tmp_path / "p.h5", dataset[:], labelled=True)
    merge([tmp_path / "p.h5"], tmp_path / "d.h5", attributes={}, splits=np.zeros(len(dataset), np.uint8))
    with pytest.raises(InputError, match="test part of the split is empty"):
        evaluate(random_student(ELEMENTS), Dataset(tmp_path / "d.h5"), CONFIG, teacher=None, seed=1)
