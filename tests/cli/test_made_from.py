"""A stage knows what it was made from: an edited config, other labels or other files are never taken for the same."""

from __future__ import annotations

import json
import re
import shutil

import ase.io
import h5py
import pytest
import yaml
from ase.build import bulk

from potstill.dataset import Dataset
from potstill.deploy import load_student
from potstill.run.facts import training_curve
from potstill.run.made_from import file_checksum

STAGES = ("generate", "label", "audit", "train", "evaluate", "deploy")


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished / "run", tmp_path / "run")


def states(run) -> dict[str, str]:
    return {name: entry["state"] for name, entry in json.loads((run / "run.json").read_text())["stages"].items()}


def edit(run, section, **options) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config[section] |= options
    (run / "config.yaml").write_text(yaml.safe_dump(config))


def resume(potstill, run, *more):
    return potstill("run", run / "config.yaml", "--out", run, "--resume", "--yes", *more)


def test_a_moved_run_is_done_as_before(potstill, run):
    answer = resume(potstill, run)
    assert answer.code == 0, answer.err
    assert answer.err.count("done before") == len(STAGES)


def test_a_source_file_that_was_moved_since(potstill, write_config, tmp_path):
    """A finished stage has what it read; only a stage that reads the file again names it."""
    run = tmp_path / "run"
    assert potstill("run", write_config(), "--out", run, "--yes", "--last", "label").code == 0
    (tmp_path / "mine.extxyz").rename(tmp_path / "elsewhere.extxyz")
    answer = resume(potstill, run, "--last", "label")
    assert answer.code == 0, answer.err
    assert answer.err.count("done before") == 2
    for command in ("audit", "train", "evaluate", "deploy", "status"):
        answer = potstill(command, run)
        assert "mine.extxyz" not in answer.err, command
        assert answer.code in (0, 3), answer.err
    assert "stale" not in answer.out
    assert set(states(run).values()) == {"done"}
    answer = potstill("generate", run / "config.yaml", "--out", tmp_path / "anew")
    assert answer.code == 2
    assert "mine.extxyz, which does not exist" in answer.err


def test_a_project_that_was_moved_with_its_files_goes_on(potstill, write_config, tmp_path):
    config = write_config()
    (project := tmp_path / "project").mkdir()
    for path in (config, tmp_path / "mine.extxyz"):
        path.rename(project / path.name)
    assert potstill("run", project / "config.yaml", "--out", project / "run", "--yes", "--last", "label").code == 0
    project = project.rename(tmp_path / "elsewhere")
    again = ("run", project / "config.yaml", "--out", project / "run", "--resume", "--yes", "--last", "label")
    answer = potstill(*again)
    assert answer.code == 0, answer.err
    assert answer.err.count("done before") == 2
    assert str(project / "mine.extxyz") in (project / "run" / "config.yaml").read_text()
    frames = ase.io.read(project / "mine.extxyz", ":")
    ase.io.write(project / "mine.extxyz", frames[::-1])
    project = project.rename(tmp_path / "third")
    answer = potstill("run", project / "config.yaml", "--out", project / "run", "--resume", "--yes")
    assert answer.code == 2
    assert "those that generate names now have other content" in answer.err


def test_a_folder_of_source_files_is_known_by_their_content(potstill, write_config, tmp_path):
    config = write_config()
    (folder := tmp_path / "frames").mkdir()
    (tmp_path / "mine.extxyz").rename(folder / "mine.extxyz")
    text = yaml.safe_load(config.read_text())
    text["generate"]["sources"][0]["paths"] = [str(folder)]
    config.write_text(yaml.safe_dump(text))
    run = tmp_path / "run"
    assert potstill("run", config, "--out", run, "--yes", "--last", "label").code == 0
    assert "stale" not in potstill("status", run).out
    frames = ase.io.read(folder / "mine.extxyz", ":")
    ase.io.write(folder / "more.extxyz", frames[:1])
    assert "stale" in potstill("status", run).out
    (folder / "more.extxyz").unlink()
    assert "stale" not in potstill("status", run).out
    ase.io.write(folder / "mine.extxyz", frames[::-1])
    answer = potstill("audit", run)
    assert answer.code == 2
    assert "another file at generate.sources[0].paths[0]" in answer.err


def test_figures_of_a_former_training_are_none_of_the_present_one(potstill, run):
    edit(run, "train", epochs=3)
    assert resume(potstill, run, "--last", "train").code == 0
    assert training_curve(run / "metrics.jsonl")["training"][0] == [1.0, 2.0, 3.0]
    edit(run, "train", epochs=1)
    answer = resume(potstill, run, "--last", "train")
    assert answer.code == 0, answer.err
    assert training_curve(run / "metrics.jsonl")["training"][0] == [1.0]
    assert "1 epochs" in (run / "report.html").read_text()


def test_a_time_limit_stops_a_training_that_goes_on_later(potstill, write_config, tmp_path):
    run = tmp_path / "run"
    config = write_config(train={"epochs": 3})
    assert potstill("run", config, "--out", run, "--yes", "--last", "audit").code == 0
    answer = potstill("run", config, "--out", run, "--yes", "--resume", "--hours", 1e-6)
    assert answer.code == 124
    assert states(run).get("train", "waiting") in ("waiting", "stopped")
    assert potstill("run", config, "--out", run, "--yes", "--resume", "--last", "train").code == 0


def test_exports_are_not_judged_while_their_student_is_judged_anew(potstill, run, monkeypatch):
    def killed(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("potstill.evaluate.stage.evaluate", killed)
    potstill("evaluate", run)
    assert (run / "deploy" / "ase" / "VERDICT.txt").read_text().startswith("NOT RUN")


def test_a_student_is_not_judged_while_it_is_judged_anew(potstill, run, monkeypatch):
    """The file was taken away, so that a kill in an evaluation left a student that loads without a word."""

    def looked(*_arguments, **_options):
        seen.append((run / "student" / "VERDICT.txt").read_text(encoding="utf-8"))
        raise KeyboardInterrupt

    seen: list[str] = []
    monkeypatch.setattr("potstill.evaluate.stage.evaluate", looked)
    potstill("evaluate", run)
    assert [text.split(":")[0] for text in seen] == ["NOT RUN"]


def test_status_names_a_copy_in_part(potstill, run):
    for name in (".lock", "run.json"):
        (run / name).unlink()
    for path in set(run.iterdir()) - {run / "config.yaml", run / "dataset.h5", run / "student"}:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for answer in (potstill("status", run), resume(potstill, run)):
        assert answer.code == 2
        assert "files of a run without its run.json, as a copy in part" in answer.err


def test_an_export_of_one_format_keeps_the_others(potstill, run):
    edit(run, "deploy", formats=["ase", "ipi"])
    assert resume(potstill, run).code == 0
    answer = potstill("deploy", run, "--to", "ase")
    assert answer.code == 0, answer.err
    assert "deploy.formats" not in answer.out
    files = json.loads((run / "run.json").read_text())["stages"]["deploy"]["files"]
    assert {path.split("/")[1] for path in files} == {"ase", "ipi"}
    assert "stale" not in potstill("status", run).out
    assert resume(potstill, run).err.count("done before") == len(STAGES)
    shutil.rmtree(run / "deploy" / "ipi")
    assert "stale" in potstill("status", run).out


def test_other_formats_than_those_of_the_config_leave_the_verdict(potstill, run):
    shutil.rmtree(run / "deploy")
    before = potstill("status", run).out
    answer = potstill("deploy", run, "--to", "ipi")
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[-1] in before
    stated = (run / "deploy" / "ipi" / "VERDICT.txt").read_text(encoding="utf-8").strip()
    assert stated == answer.out.splitlines()[-1]


def test_an_export_of_an_earlier_student_is_none_of_the_present_one(potstill, run):
    assert potstill("deploy", run, "--to", "ipi").code == 0
    edit(run, "train", learning_rate=0.01)
    answer = resume(potstill, run)
    assert answer.code in (0, 3), answer.err
    told = "ase; of another student: ipi"
    assert told in answer.err
    assert told in potstill("status", run).out
    page = (run / "report.html").read_text(encoding="utf-8")
    assert told in page
    assert "deploy/ase/" in page
    assert "deploy/ipi/" not in page
    answer = potstill("deploy", run)
    assert [line.split()[0] for line in answer.out.splitlines()[:-1]] == ["ase"]
    assert potstill("deploy", run, "--to", "ipi").code == 0
    assert "ase, ipi" in potstill("status", run).out


def test_a_stage_that_was_killed_is_not_under_way_while_another_works(potstill, run):
    record = json.loads((run / "run.json").read_text())
    record["stages"]["evaluate"]["state"] = "running"
    (run / "run.json").write_text(json.dumps(record))
    answer = potstill("deploy", run)
    assert answer.code == 0, answer.err
    told = "the stage evaluate was killed, and its finished parts are kept"
    assert told in answer.out
    assert told in (run / "deploy" / "ase" / "VERDICT.txt").read_text(encoding="utf-8")
    rows = {row["stage"]: row["state"] for row in json.loads(potstill("status", run, "--json").out)["stages"]}
    assert rows["evaluate"] == "killed"
    assert resume(potstill, run).code in (0, 3)
    assert "was killed" not in potstill("status", run).out


def test_other_gates_change_the_verdict_in_the_exports(potstill, run, tmp_path):
    (gates := tmp_path / "gates.yaml").write_text("evaluate:\n  max_force_error_ratio: 1000.0\n")
    before = (run / "deploy" / "ase" / "VERDICT.txt").read_text(encoding="utf-8")
    potstill("evaluate", run, "--gates", gates)
    after = (run / "deploy" / "ase" / "VERDICT.txt").read_text(encoding="utf-8")
    assert after != before
    assert after.strip() in potstill("status", run).out


def test_other_gates_are_named_wherever_the_verdict_stands(potstill, run, tmp_path):
    (gates := tmp_path / "gates.yaml").write_text("evaluate:\n  max_force_error_ratio: 1000.0\n")
    potstill("evaluate", run, "--gates", gates)
    words = f"judged by the limits of {gates}, not of the run's config"
    assert words in potstill("status", run).out
    assert words in (run / "deploy" / "ase" / "VERDICT.txt").read_text(encoding="utf-8")
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "gates.yaml, not of the run" in page
    assert "of the evaluation differ" in page
    assert "max force error ratio" in (run / "evaluate.html").read_text(encoding="utf-8")
    potstill("evaluate", run)
    assert "gates.yaml" not in potstill("status", run).out
    assert "gates.yaml" not in (run / "report.html").read_text(encoding="utf-8")


def test_limits_that_a_file_of_gates_does_not_name_are_those_of_the_run(potstill, run, tmp_path):
    edit(run, "evaluate", max_force_error_ratio=1000.0, limits={"surfaces": 0.7})
    (gates := tmp_path / "gates.yaml").write_text("evaluate: {max_energy_error_ratio: 999.0, limits: {dimers: 0.9}}\n")
    potstill("evaluate", run, "--gates", gates)
    report = json.loads((run / "evaluate.json").read_text())
    findings = {f["check"]: f for f in report["findings"]}
    assert findings["force_error"]["limit"] == 1000.0
    assert findings["energy_error"]["limit"] == 999.0
    assert {"surfaces", "dimers"} <= {name.rpartition(".")[2] for name in report["changed_gates"]}


@pytest.mark.parametrize("name", ["evaluate.json", "audit.json"])
def test_an_emptied_report_is_named(potstill, run, name):
    (run / name).write_bytes(b"")
    assert f"{name} is " in potstill("status", run).out


@pytest.mark.parametrize("size", [0, 1000])
def test_status_shows_a_run_whose_dataset_was_cut(potstill, run, size):
    (run / "dataset.h5").write_bytes((run / "dataset.h5").read_bytes()[:size])
    answer = potstill("status", run)
    assert answer.code == 0, answer.err
    assert "dataset.h5 is not the file that the stage wrote" in answer.out
    assert answer.out.splitlines()[-1].endswith("--resume")
    assert potstill("status", run, "--json").code == 0


def test_a_student_of_other_hands_is_kept_aside(potstill, run):
    weights = (run / "student" / "weights.safetensors").read_bytes()
    foreign = bytes([*weights[:-4], 0, 0, 0, 0])
    (run / "student" / "weights.safetensors").write_bytes(foreign)
    assert resume(potstill, run).code in (0, 3)
    assert (run / "student" / "weights.safetensors").read_bytes() == weights
    assert (run / "student.aside-1" / "weights.safetensors").read_bytes() == foreign


def test_a_student_of_a_run_states_its_verdict_too(potstill, run, caplog):
    assert potstill("evaluate", run).code == 3
    caplog.clear()
    load_student(run)
    assert "NO-GO: " in caplog.text
    caplog.clear()
    potstill("evaluate", run)  # which judges it anew
    assert "VERDICT" not in caplog.text
    assert (run / "student" / "VERDICT.txt").read_text(encoding="utf-8").startswith("NO-GO: ")


def test_a_student_that_nobody_judged_says_so(potstill, run, caplog):
    edit(run, "train", learning_rate=0.01)
    assert potstill("train", run).code == 0
    assert (run / "student" / "VERDICT.txt").read_text(encoding="utf-8").startswith("NOT RUN: ")
    caplog.clear()
    load_student(run)
    assert "NOT RUN: the data passed its audit, the student is not judged" in caplog.text


def test_an_audit_made_anew_changes_the_verdict_on_the_student(potstill, run):
    gates = run.parent / "gates.yaml"
    gates.write_text(yaml.safe_dump({"evaluate": {"limits": {}, "max_force_error_ratio": 1e9}}))
    edit(run, "audit", min_element_coverage=50)
    assert potstill("audit", run).code == 3
    for folder in (run / "student", run / "deploy" / "ase", run / "deploy" / "ase" / "student"):
        assert (folder / "VERDICT.txt").read_text(encoding="utf-8").startswith("NO-GO: the data did not pass")
    answer = potstill("evaluate", run, "--gates", gates, "--json")
    assert answer.code == 3
    assert json.loads(answer.out)["run"]["verdict"] == "NO_GO"


def test_files_that_desktops_add_change_nothing(potstill, run):
    before = potstill("status", run).out
    for name in (".DS_Store", "._dataset.h5", "label/._00000000-00000008.h5", "deploy/.DS_Store", "student/.DS_Store"):
        (run / name).write_bytes(b"\0\5\26\7")
    (run / "deploy" / "notes").mkdir()
    answer = potstill("status", run)
    assert answer.code == 0, answer.err
    without_disk = [re.sub(r"[\d.]+ .B free", "", text) for text in (answer.out, before)]  # others write to it too
    assert without_disk[0] == without_disk[1]
    (run / "dataset.h5").unlink()
    assert potstill("status", run).code == 0
    assert resume(potstill, run).code == 0


def test_deleted_metrics_are_no_share_of_zero(potstill, run):
    (run / "metrics.jsonl").unlink()
    assert "at best" not in potstill("status", run).out
    assert "at best" not in resume(potstill, run).err


def test_an_edited_training_makes_another_student_and_later_stages_stale(potstill, run):
    before = (run / "student" / "weights.safetensors").read_bytes()
    edit(run, "train", learning_rate=0.01)
    assert "stale" in potstill("status", run).out
    answer = potstill("train", run)
    assert answer.code == 0, answer.err
    assert (run / "student" / "weights.safetensors").read_bytes() != before
    assert (run / "student.aside-1" / "weights.safetensors").read_bytes() == before
    assert [states(run)[name] for name in ("train", "evaluate", "deploy")] == ["done", "stale", "stale"]
    assert resume(potstill, run).code == 0
    deployed = (run / "deploy" / "ase" / "student" / "weights.safetensors").read_bytes()
    assert deployed == (run / "student" / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("content", ["", "seed", "generate: [1"])
def test_an_emptied_or_cut_config_is_one_line(potstill, finished, run, content):
    (run / "config.yaml").write_text(content)
    answer = potstill("run", finished / "config.yaml", "--out", run, "--resume", "--yes")
    assert "unexpected" not in answer.err
    assert answer.code == 0 or "config" in answer.err


def test_an_entry_added_to_a_table_makes_its_stage_stale(potstill, run):
    name = Dataset(run / "dataset.h5").sources[0]
    edit(run, "train", source_weights={str(name): 0.5})
    assert f"train.source_weights.{name}" in potstill("status", run).out
    assert resume(potstill, run).code == 0
    assert (run / "student.aside-1" / "weights.safetensors").is_file()


def test_a_training_does_not_start_from_the_student_that_it_replaces(potstill, run):
    edit(run, "train", start=str(run / "student"))
    found = resume(potstill, run)
    assert found.code != 0
    assert "train.start is the student of this run" in found.err
    assert (run / "student" / "weights.safetensors").is_file()


def test_another_teacher_labels_anew_and_the_old_labels_are_kept(potstill, run):
    edit(run, "label", teacher={"name": "lennard-jones", "sigma_angstrom": 0.8})
    answer = potstill("train", run)
    assert answer.code == 2
    assert "'train' needs 'audit' to be done, but it was made with another label.teacher.sigma_angstrom" in answer.err
    answer = resume(potstill, run, "--last", "audit")
    assert answer.code in (0, 3), answer.err
    with h5py.File(run / "dataset.h5") as file:
        assert "0.8" in file.attrs["teacher"]
    assert list((run / "label.aside-1").glob("*.h5"))
    assert states(run)["train"] == "stale"


def test_a_student_is_not_evaluated_beside_another_teacher_than_that_of_its_labels(potstill, run):
    edit(run, "label", teacher={"name": "lennard-jones", "sigma_angstrom": 0.8})
    answer = potstill("evaluate", run)
    assert answer.code == 2
    assert "'evaluate' needs 'label' to be done, but it was made with another label.teacher.sigma_angstrom" in answer.err


@pytest.mark.parametrize(
    ("command", "section", "stage"),
    [("train", "generate", "generate"), ("evaluate", "generate", "generate"), ("deploy", "audit", "audit")],
)
def test_a_stage_refuses_to_start_where_an_earlier_one_is_stale(potstill, run, command, section, stage):
    option = {"generate": {"families": "structure"}, "audit": {"min_element_coverage": 1}}[section]
    edit(run, section, **option)
    answer = potstill(command, run)
    assert answer.code == 2
    assert f"'{command}' needs '{stage}' to be done, but it was made with another {section}." in answer.err
    assert "--resume" in answer.err


@pytest.mark.parametrize(("name", "stage"), [("student/config.json", "evaluate"), ("dataset.h5", "audit")])
def test_the_verdict_on_another_student_or_dataset_is_none(potstill, run, name, stage):
    before = potstill("status", run, "--json")
    assert json.loads(before.out)["verdict"] != "NOT_RUN"
    if name == "dataset.h5":
        with h5py.File(run / name, "a") as file:
            file.attrs["teacher"] = "{}"
    else:
        (run / name).write_text((run / name).read_text() + " ")
    answer = potstill("status", run, "--json")
    assert json.loads(answer.out)["verdict"] == "NOT_RUN"
    assert f"the stage {stage} was done with another {name.partition('/')[0]}" in answer.out


@pytest.mark.parametrize(("section", "option", "value"), [("train", "epochs", 2), ("label", "teacher", {"name": "emt"})])
def test_the_verdict_says_that_the_config_was_edited(potstill, run, section, option, value):
    before = json.loads(potstill("status", run, "--json").out)
    assert "the config has another" not in before["reason"]
    edit(run, section, **{option: value})
    after = json.loads(potstill("status", run, "--json").out)
    assert after["verdict"] == ("NOT_RUN" if before["verdict"] == "GO" else before["verdict"])
    assert f"the config has another {section}.{option}" in after["reason"]
    assert after["next"].endswith("--resume")


def test_the_verdict_names_a_stale_stage(potstill, run):
    before = json.loads(potstill("status", run, "--json").out)
    assert "stale" not in before["reason"]
    (run / "structures" / "structures.h5").write_bytes(b"")
    after = json.loads(potstill("status", run, "--json").out)
    assert after["verdict"] == ("NOT_RUN" if before["verdict"] == "GO" else before["verdict"])
    assert "the stage generate is stale: structures/structures.h5 is not the file that the stage wrote" in after["reason"]
    assert after["next"].endswith("--resume")


def test_a_dataset_that_was_exchanged_after_the_audit_is_not_trained_on(potstill, run):
    with h5py.File(run / "dataset.h5", "a") as file:
        sums = json.loads(file.attrs["checksums"])
        file["structures/energy"][0] += 1.0
        file.attrs["checksums"] = json.dumps({**sums, "structures/energy": "another"})
    foreign = (run / "dataset.h5").read_bytes()
    answer = potstill("train", run)
    assert answer.code == 2
    assert "but it was made with another dataset.h5" in answer.err
    answer = resume(potstill, run)
    assert answer.code == 0, answer.err
    assert (run / "dataset.aside-1.h5").read_bytes() == foreign
    assert states(run) == dict.fromkeys(STAGES, "done")


def test_gates_of_a_file_do_not_judge_a_run(potstill, run, tmp_path):
    gates = tmp_path / "loose.yaml"
    gates.write_text("audit: {min_element_coverage: 1}\n")
    before = (run / "audit.json").read_bytes()
    answer = potstill("audit", run / "dataset.h5", "--gates", gates)
    assert answer.code == 2
    assert f"judge the run:  potstill audit {run}" in answer.err
    assert (run / "audit.json").read_bytes() == before


def test_labels_that_were_edited_in_place_are_no_judged_ones(potstill, run):
    with h5py.File(run / "dataset.h5", "r+") as file:
        file["structures/energy"][...] = file["structures/energy"][...] + 5.0
    facts = json.loads(potstill("status", run, "--json").out)
    assert facts["verdict"] != "GO"
    assert {row["stage"]: row["state"] for row in facts["stages"]}["label"] == "stale"


def test_a_failed_evaluation_is_not_under_way(potstill, run):
    with h5py.File(run / "dataset.h5", "r+") as file:
        file["atoms/forces"][...] = file["atoms/forces"][...] + 5.0
    assert potstill("evaluate", run).code != 0
    for path in run.rglob("VERDICT.txt"):
        assert "under way" not in path.read_text(encoding="utf-8")


def test_a_verdict_that_was_edited_is_made_again(potstill, run):
    report = json.loads((run / "audit.json").read_text())
    (run / "audit.json").write_text(json.dumps({**report, "verdict": "NO_GO"}))
    assert "audit.json is not the file that the stage wrote" in potstill("train", run).err
    answer = resume(potstill, run)
    assert answer.code == 0, answer.err
    assert json.loads((run / "audit.json").read_text())["verdict"] == "GO"
    assert answer.err.count("done before") == len(STAGES) - 1


def test_a_source_file_with_other_structures_makes_another_run(potstill, write_config, tmp_path):
    run = tmp_path / "run"
    config = write_config()
    assert potstill("generate", config, "--out", run).code == 0
    before = (run / "structures" / "structures.h5").read_bytes()
    ase.io.write(tmp_path / "mine.extxyz", [bulk("Cu", a=3.6 + 0.01 * k, cubic=True) for k in range(6)])
    assert "generate.sources[0].paths" in potstill("label", run).err
    assert potstill("generate", config, "--out", run).code == 0
    assert (run / "structures.aside-1" / "structures.h5").read_bytes() == before


def test_other_gates_of_an_evaluation_stand_in_the_record(potstill, run, tmp_path):
    gates = tmp_path / "gates.yaml"
    gates.write_text("evaluate: {max_softening: 0.5}\n")
    before = json.loads((run / "run.json").read_text())["stages"]["evaluate"]
    potstill("evaluate", run, "--gates", gates)
    after = json.loads((run / "run.json").read_text())["stages"]["evaluate"]
    assert after["gates"] == str(gates)
    assert after["files"]["evaluate.json"] == file_checksum(run / "evaluate.json") != before["files"]["evaluate.json"]
    answer = resume(potstill, run)
    assert answer.code == 0, answer.err
    assert answer.err.count("done before") == len(STAGES)


def test_a_student_that_misses_its_gates_is_no_go_with_exit_code_3(potstill, run, tmp_path):
    answer = potstill("evaluate", run)
    assert answer.code == 3, answer.err
    assert "NO-GO: " in answer.out
    gates = tmp_path / "gates.yaml"
    gates.write_text("evaluate: {max_force_error_ratio: 1.0e-9}\n")
    assert potstill("evaluate", run, "--gates", gates).code == 3


def test_limits_alone_judge_again_and_in_the_folder_of_the_run(potstill, run, tmp_path):
    before = (run / "evaluate.json").read_bytes()
    gates = tmp_path / "gates.yaml"
    gates.write_text("evaluate: {max_softening: 0.5, nve_ps: 77.0}\n")
    answer = potstill("evaluate", run, "--gates", gates)
    assert (answer.code, "these are no limits: nve_ps" in answer.err) == (2, True)
    gates.write_text("evaluate: {max_softening: 0.5}\n")
    answer = potstill("evaluate", run, "--gates", gates, "--out", tmp_path / "other")
    assert (answer.code, "leave --out away" in answer.err) == (2, True)
    assert (run / "evaluate.json").read_bytes() == before


@pytest.mark.parametrize("how", ["emptied", "halved", "text"])
@pytest.mark.parametrize("name", ["evaluate.json", "evaluate_data.npz"])
def test_damaged_figures_are_not_judged_again(potstill, run, tmp_path, name, how):
    gates = tmp_path / "gates.yaml"
    gates.write_text("evaluate: {max_softening: 0.5}\n")
    content = (run / name).read_bytes()
    (run / name).write_bytes({"emptied": b"", "halved": content[: len(content) // 2], "text": b"[1]"}[how])
    answer = potstill("evaluate", run, "--gates", gates)
    assert answer.code == 1
    assert f"{name} " in answer.err
    assert "evaluate again:  potstill evaluate" in answer.err
    assert "unexpected" not in answer.err
