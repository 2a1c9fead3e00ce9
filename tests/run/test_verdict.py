"""The verdict on a run where active learning did not meet its gate."""

from __future__ import annotations

import json
import shutil

import pytest

from potstill.core.errors import MissingExtraError
from potstill.core.verdict import Verdict
from potstill.evaluate.gates import NO_TEACHER
from potstill.report.page import uncompared
from potstill.run.folder import RunFolder
from potstill.run.lock import locked
from potstill.run.made_from import file_checksum, missing_files, rounds_fault
from potstill.run.next_step import after_no_go
from potstill.run.verdict import data_reason, run_verdict, state_in_exports, student_verdict
from potstill.student.files import save_student
from potstill.testing import random_student

AUDIT = {"verdict": "GO", "findings": [{"check": "finite", "verdict": "GO"}]}
EVALUATION = {"findings": [{"check": "nve_drift", "verdict": "GO"}]}


@pytest.fixture
def run(tmp_path):
    """A finished run of one round, whose error is 0.5 eV/Å."""
    folder = RunFolder(tmp_path / "run")
    folder.begin("generate:\n  sources:\n  - {source: molecules, count: 8}\n", 1, resume=False)
    for stage in folder.stages:
        folder.set_stage(stage, "done", 1.0)
    return folder


def write_round(run: RunFolder, limit: float, number: str = "01") -> None:
    report = {"round": int(number), "passed": limit > 0.5, "forces": {"mae": 0.5, "limit": limit}}
    folder = run.active_learning / number
    folder.mkdir(parents=True)
    (folder / "round.json").write_text(json.dumps({**report, "broken_trajectories": 0, "trajectories": []}))


def test_errors_in_its_own_md_above_the_gate_are_no_go(run):
    write_round(run, limit=0.1)
    verdict = run_verdict(run, AUDIT, EVALUATION)
    assert verdict.verdict == Verdict.NO_GO
    assert "was 0.5 eV/Å in round 1, active_learning.max_force_error_ev_per_angstrom is 0.1" in verdict.sentence
    assert verdict.next.startswith("one round does not tell whether the error falls: raise active_learning.max_rounds")


@pytest.mark.parametrize("lost", ["", "01", "02"])
def test_deleted_rounds_are_no_go_forgotten(run, lost):
    for number, limit in (("01", 0.1), ("02", 0.1)):
        write_round(run, limit, number)
    names = [f"active_learning/{number}/round.json" for number in ("01", "02")]
    files = {name: file_checksum(run.path / name) for name in names}
    run.set_stage("train", "done", 1.0, files=files, made_from={"active_learning": {"max_rounds": 2}})
    assert run_verdict(run, AUDIT, EVALUATION).verdict == Verdict.NO_GO
    shutil.rmtree(run.active_learning / lost)
    assert f"active_learning/{lost or '01'}/round.json" in missing_or_faulty(run)
    verdict = run_verdict(run, AUDIT, EVALUATION)
    assert verdict.verdict == Verdict.NOT_RUN
    assert "own MD was" not in verdict.reason


def missing_or_faulty(run: RunFolder) -> list[str]:
    """Return the faults of the rounds and the file that each names."""
    return [*missing_files(run, "train"), rounds_fault(run).removesuffix(" is missing")]


def test_a_round_that_passed_leaves_the_verdict_to_the_gates(run):
    write_round(run, limit=0.6)
    assert run_verdict(run, AUDIT, EVALUATION).verdict == Verdict.GO


def test_a_go_names_the_checks_with_a_warning(run):
    write_round(run, limit=0.9)
    audit = {"verdict": "GO", "findings": [*AUDIT["findings"], {"check": "repeated_cells", "verdict": "WARN"}]}
    sentence = run_verdict(run, audit, EVALUATION).sentence
    assert sentence.startswith(
        "GO: the data passed all 2 checks that apply, 1 with a warning (repeated cells); and the student"
    )
    assert "warning" not in run_verdict(run, AUDIT, EVALUATION).sentence


@pytest.mark.parametrize(
    ("skipped", "told"),
    [
        (("gradients", "energy_work", "pair_fit_slope", "stress_work_slope"), "with no energy compared with forces"),
        (("gradients", "energy_work", "stress_work_slope"), "with no stress compared with energies"),
        (("gradients", "stress_work_slope"), "with no stress compared with energies"),
        (("gradients", "stress_work_slope", "stress_limits"), ""),  # there is none
        (("gradients",), ""),
        (("energy_work", "stress_work_slope", "pair_fit_slope"), ""),  # a teacher repeated them
    ],
)
def test_a_go_says_which_labels_were_compared_with_nothing(run, skipped, told):
    names = ("gradients", "energy_work", "pair_fit_slope", "stress_work_slope", "stress_limits")
    found = [{"check": name, "verdict": "DOES_NOT_APPLY" if name in skipped else "GO"} for name in names]
    audit = {"verdict": "GO", "findings": [*AUDIT["findings"], *found]}
    for text in (run_verdict(run, audit, EVALUATION).sentence, data_reason(audit)):
        assert told in text if told else "compared with" not in text


@pytest.mark.parametrize(
    ("siblings", "fitted", "strained", "told"),
    [
        (3, 24, 60, ", with energies compared with forces in 24 of 120 structures only (no teacher, few siblings)"),
        (90, 24, 10, ", with stresses compared with energies in 10 of 120 structures only (no teacher, few siblings)"),
        (0, 120, 120, ""),
    ],
)
def test_a_go_says_where_few_labels_were_compared(siblings, fitted, strained, told):
    by = {"energy_work": siblings, "pair_fit_slope": fitted, "stress_work_slope": strained}
    found = [{"check": name, "verdict": "GO", "covered": n} for name, n in by.items()]
    found += [{"check": "gradients", "verdict": "DOES_NOT_APPLY"}]
    assert uncompared({"findings": found, "labelled": 120}) == told


@pytest.mark.parametrize(
    ("siblings", "fitted", "fitted_stresses", "told"),
    [
        (0, 0, 0, ("no energy compared with forces", " and no stress compared with energies")),
        (30, 30, 0, ("energies compared with forces in 30 of 120", " and no stress compared with energies")),
        (30, 30, 20, ("energies compared with forces in 30 of 120", " and stresses compared with energies in 20 of 120")),
        (120, 120, 100, ()),  # the fit compared the stresses
    ],
)
def test_a_go_says_of_energies_and_of_stresses_what_was_not_compared(siblings, fitted, fitted_stresses, told):
    found = [
        {"check": "gradients", "verdict": "DOES_NOT_APPLY"},
        {"check": "energy_work", "verdict": "GO", "covered": siblings},
        {"check": "stress_work_slope", "verdict": "DOES_NOT_APPLY"},
        {"check": "pair_fit_slope", "verdict": "GO", "covered": fitted, "covered_stresses": fitted_stresses},
    ]
    said = uncompared({"findings": found, "labelled": 120})
    assert all(text in said for text in told)
    assert bool(said) == bool(told)


def test_a_go_names_what_the_training_data_lack(run):
    lacking = [{"check": name, "verdict": "DOES_NOT_APPLY"} for name in ("surfaces", "dimers", "torsions")]
    verdict = run_verdict(run, AUDIT, {"findings": [*EVALUATION["findings"], *lacking]})
    assert verdict.sentence.endswith(
        "meets all 1 gates that apply; not judged, since its data contain none: surfaces, dimers"
    )


def test_a_go_names_what_no_teacher_or_nobody_judged(run):
    left = [
        {"check": name, "verdict": "DOES_NOT_APPLY", "why": NO_TEACHER}
        for name in ("bulk_modulus", "phonons", "rdf", "adf", "vdos")
    ]
    found = {"findings": [*EVALUATION["findings"], *left], "start": {"name": "../other", "held_out": 3, "seen": None}}
    sentence = run_verdict(run, AUDIT, found).sentence
    assert "not judged, since there is no teacher to compare with: bulk modulus, phonons, rdf, adf and 1 more;" in sentence
    assert sentence.endswith("its start ../other may have seen what judges it")
    known = {**found, "findings": EVALUATION["findings"], "kinds": {"crystals": True}, "start": None}
    assert "since they were not asked for: systems, force slope" in run_verdict(run, AUDIT, known).sentence


def test_a_few_missed_gates_are_named_with_their_figures_and_many_are_counted(run):
    missed = [
        {"check": name, "verdict": "NO_GO", "measured": 0.61904, "limit": 0.3, "unit": "eV"}
        for name in ("vacancies", "surfaces", "rdf", "adf", "vdos")
    ]
    verdict = run_verdict(run, AUDIT, {"findings": [*EVALUATION["findings"], missed[0]]})
    assert verdict.sentence == ("NO-GO: the student does not meet 1 of 2 gates that apply (vacancies: 0.619 eV against 0.3)")
    verdict = run_verdict(run, AUDIT, {"findings": [*EVALUATION["findings"], *missed]})
    assert verdict.sentence.endswith("does not meet 5 of 6 gates that apply (solids 2, dynamics 3)")


def test_a_stage_is_under_way_only_while_a_process_works_on_it(run):
    run.set_stage("evaluate", "running", 0.0)
    with locked(run.path):
        verdict = run_verdict(run, AUDIT, {})
        assert "the stage evaluate is under way" in verdict.reason
        assert verdict.next.startswith("potstill status ")  # a second process would be refused
    run.path.joinpath(".lock").write_text("")
    verdict = run_verdict(run, AUDIT, {})
    assert "the stage evaluate was killed, and its finished parts are kept" in verdict.reason
    assert verdict.next.startswith("potstill run ")


def judged(run: RunFolder, verdict: str) -> None:
    finding = {"check": "nve_drift", "verdict": verdict, "measured": None, "limit": 5.0, "unit": "meV/atom"}
    for name, report in (("audit", AUDIT), ("evaluate", {"findings": [finding]})):
        run.json(name).write_text(json.dumps(report))


def test_a_student_needs_no_export_to_be_judged(run):
    judged(run, "GO")
    run.set_stage("deploy", "running", 0.0)
    assert run_verdict(run).verdict == Verdict.NOT_RUN
    assert student_verdict(run).verdict == Verdict.GO
    run.set_stage("evaluate", "waiting", 0.0)
    assert student_verdict(run).verdict == Verdict.NOT_RUN


@pytest.mark.parametrize(("verdict", "word"), [("GO", "GO"), ("NO_GO", "NO-GO"), ("NOT_RUN", "NO-GO")])
def test_exports_of_the_present_student_state_the_present_verdict(run, verdict, word):
    exports = {name: run.deploy / name / "student" for name in ("ase", "earlier")}
    for folder, elements in ((run.student, [29]), (exports["ase"], [29]), (exports["earlier"], [79])):
        save_student(random_student(elements).model, folder, {})
    judged(run, verdict)
    state_in_exports(run)
    assert (exports["ase"].parent / "VERDICT.txt").read_text().startswith(f"{word}: ")
    assert not (exports["earlier"] / "VERDICT.txt").exists()


def evaluated(**measured: float | None) -> dict:
    """An evaluation whose gates, all of a limit of 0.3, have these figures."""

    def verdict(x: float | None) -> str:
        return "NOT_RUN" if x is None else "GO" if x <= 0.3 else "NO_GO"

    rows = [{"check": name, "verdict": verdict(x), "measured": x, "limit": 0.3, "unit": ""} for name, x in measured.items()]
    return {"findings": rows}


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        ({"force_error": 0.6, "energy_error": 0.4}, "with more structures or active_learning"),
        ({"force_error": 1.6, "energy_error": 0.2}, "look for a wrong sign, unit or order of atoms in the forces"),
        ({"force_error": 0.2, "energy_error": 1.0}, "raise train.epochs, or look for energies of another unit"),
        ({"force_error": 0.2, "energy_error": 0.2, "stress_error": 2.0}, "order of components in the stresses"),
        ({"force_error": 1.2, "energy_error": 1.3}, "neither forces nor energies were learned"),
        ({"force_error": None, "softening": None, "energy_error": 0.2}, "every held-out force is zero"),
        ({"force_error": 0.2, "energy_error": 0.2, "rdf": 4.0}, "with more structures or active_learning"),
        ({"force_error": 0.2, "energy_error": 1.5, "stress_error": 2.0}, "energies and stresses were not: look for another"),
        ({"start_leakage": 2.0, "energy_error": 1.3, "force_error": 0.2}, "take another start"),
    ],
    ids=["more", "forces", "energies", "stresses", "nothing", "zeros", "physics", "energies and stresses", "start"],
)
def test_the_next_step_is_what_the_figures_point_to(run, figures, told):
    verdict = run_verdict(run, AUDIT, evaluated(**figures))
    assert verdict.verdict == Verdict.NO_GO
    assert told in verdict.next
    assert "potstill run COPY.yaml --out" in verdict.next
    assert ("more structures" in verdict.next) == ("more structures" in told)


def test_a_teacher_without_stress_is_named_and_not_the_number_of_structures(run):
    row = {"check": "systems", "verdict": "NO_GO", "measured": 3.0, "limit": 0.0, "unit": "systems"}
    why = "crystals: the teacher predicts no stress for this structure"
    then = after_no_go(run, {"findings": [*evaluated(force_error=0.2)["findings"], {**row, "why": why}]})
    assert then.startswith(
        "the teacher predicts no stress, which the physics of crystals need: set evaluate.physics_crystals"
    )


def test_a_gate_that_lacks_a_package_names_the_command_that_installs_it(run):
    why = f"Cu: {MissingExtraError('phonopy', 'phonons', 'phonons')}"
    lacking = {"check": "phonons", "verdict": "NOT_RUN", "measured": None, "limit": None, "unit": "%", "why": why}
    then = after_no_go(run, {"findings": [*evaluated(force_error=0.2)["findings"], lacking]})
    assert then.startswith("pip install 'potstill[phonons]', then potstill evaluate ")
    then = after_no_go(run, {"findings": [*evaluated(force_error=0.6)["findings"], lacking]})
    assert "with more structures" in then


def test_labels_without_a_weight_are_not_blamed(run):
    weights = {"energy_weight": 0.0, "forces_weight": 10.0}
    run.set_stage("train", "done", 1.0, made_from={"train": weights})
    then = after_no_go(run, evaluated(force_error=0.2, energy_error=1.0))
    assert then.startswith("train.energy_weight is 0, so nothing was learned from these labels: raise it")
    assert "energy_weight" not in after_no_go(run, evaluated(force_error=1.2, energy_error=0.2))


def test_the_next_step_after_a_fault_that_no_config_mends_is_no_config(run):
    rows = [
        {"check": "size_cv", "source": "", "why": "lower it", "change": "audit: {min_size_cv: 0.1}"},
        {"check": "net_force", "source": "", "why": "forces do not sum to zero", "change": ""},
    ]
    audit = {"verdict": "NO_GO", "findings": [{"check": "net_force", "verdict": "NO_GO"}], "advice": rows}
    (run.path / "advice.yaml").write_text("audit: {min_size_cv: 0.1}")
    then = run_verdict(run, audit, {}).next
    assert then.startswith("net force: forces do not sum to zero; then potstill run")
    assert "advice.yaml --out" in then
    audit["advice"] = rows[:1]
    assert run_verdict(run, audit, {}).next.startswith("potstill run")


def test_given_labels_are_no_matter_of_active_learning(run):
    verdict = run_verdict(run, AUDIT, {**evaluated(force_error=0.6, energy_error=0.4), "labels_given": True})
    assert "with more structures in a copy of" in verdict.next


def test_active_learning_that_ran_is_not_proposed_and_its_advice_is_repeated(run):
    run.config.write_text(run.config.read_text() + "active_learning: {max_rounds: 1}\n")
    figures = evaluated(force_error=0.6, energy_error=0.4)
    assert after_no_go(run, figures).endswith("config.yaml")
    write_round(run, limit=0.1)
    then = after_no_go(run, figures)
    assert "with more structures in a copy of" in then
    assert "or active_learning" not in then
    assert then.endswith(
        "; advice of the rounds: one round does not tell whether the error falls: raise active_learning.max_rounds"
    )
    write_round(run, limit=1.0, number="02")
    assert "advice" not in after_no_go(run, figures)


@pytest.mark.parametrize(("training", "told"), [(0.5, "raise train.epochs or student.tier"), (0.2, "more structures")])
def test_the_next_step_by_the_error_on_training_data(run, training, told):
    run.log_metrics(stage="train", epoch=1, train_forces=training, valid_forces=0.5)
    assert told in run_verdict(run, AUDIT, evaluated(force_error=0.6, energy_error=0.4)).next
