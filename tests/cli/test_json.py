"""``--json``: one object on standard output and nothing else, with the keys that the documentation names."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

DOCS = Path(__file__).parents[2] / "docs" / "scripts.md"
ENDED = {
    *("stage", "run", "verdict", "reason", "report", "next", "stages", "wanted", "labelled", "refused_by_teacher"),
    *("sources", "refused", "dataset", "student", "error", "exit_code"),
}
KEYS = {
    **dict.fromkeys(("run", "generate", "label", "train"), ENDED),
    "setup": {"name", "ready", "folder", "files", "error", "exit_code"},
    "status": {
        *("run", "verdict", "reason", "report", "next", "stages", "batch", "wanted", "labelled", "refused_by_teacher"),
        *("structures_per_hour", "seconds_left", "sources", "workers", "refused", "alerts"),
        *("disk_used_bytes", "disk_free_bytes", "process_alive"),
    },
    "check": {"good", "config", "structures", "teacher", "faults", "missing", "contradictions"},
    "plan": {"missing", "sources", "stages", "total"},
    "audit": {"verdict", "reason", "report", "advice", "next", "passed", "asked", "failed", "findings"},
    "evaluate": {"verdict", "reason", "report", "next", "passed", "asked", "failed", "findings", "forces", "energy", "run"},
    "deploy": {"verdict", "reason", "exports"},
    "doctor": {"works", "conditions"},
    "verify": {"good", "path", "structures", "atoms", "faults"},
    "convert": {"path", "structures"},
    "dataset info": {"path", "structures", "atoms", "sources", "splits", "refused"},
    "dataset diff": {
        *("same", "common", "only_first", "only_second", "reordered", "changes", "columns", "attributes"),
        *("refused_only_first", "refused_only_second"),
    },
    "dataset merge": {"path", "structures", "split"},
    "dataset subset": {"path", "structures", "of", "refusals_left_out"},
    "student size": {"tier", "parameters", "parts", "flops_per_atom", "atoms", "seconds", "threads"},
}


def facts(answer, command: str, code: int = 0) -> dict:
    assert answer.code == code, answer.err
    found = json.loads(answer.out)
    assert set(found) >= KEYS[command]
    assert found.get("exit_code", code) == code
    return found


def test_the_documentation_names_every_key():
    text = DOCS.read_text(encoding="utf-8")
    for command, keys in KEYS.items():
        (section,) = (part for part in text.split("\n## ")[1:] if command in part.splitlines()[0].split(", "))
        named = set(re.findall(r"`(\w+)`", section))
        assert keys <= named, f"{command}: {keys - named}"


@pytest.fixture(scope="module")
def run(finished, tmp_path_factory):
    """A copy of a finished run, which the tests work on."""
    return Path(shutil.copytree(finished / "run", tmp_path_factory.mktemp("json") / "run"))


def test_status_of_a_run(potstill, run):
    status = facts(potstill("status", "--json", run), "status")
    assert status["verdict"] == "NO_GO"
    assert [row["stage"] for row in status["stages"]] == ["generate", "label", "audit", "train", "evaluate", "deploy"]
    assert {row["state"] for row in status["stages"]} == {"done"}
    assert status["sources"][0]["labelled"] > 0
    assert status["batch"] is None


def test_deploy_says_folder_and_command(potstill, run):
    deploy = facts(potstill("deploy", "--json", run), "deploy")
    assert deploy["exports"] == [{"format": "ase", "folder": str(run / "deploy" / "ase"), "command": "python run_md.py"}]
    lines = potstill("deploy", run).out.splitlines()
    assert lines[0].split(maxsplit=1) == ["ase", f"cd {run / 'deploy' / 'ase'} && python run_md.py"]
    assert lines[1].startswith("NO-GO: the student does not meet ")


def test_audit_of_a_run(potstill, run):
    audit = facts(potstill("audit", "--json", run), "audit")
    assert audit["verdict"] == "GO"
    assert (audit["passed"], audit["failed"]) == (audit["asked"], [])


def test_evaluate_of_a_run(potstill, run):
    evaluate = facts(potstill("evaluate", "--json", run), "evaluate", code=3)
    assert evaluate["verdict"] == "NO_GO"
    assert "force_error" in evaluate["failed"]


def test_a_verdict_of_no_go_is_json_too(potstill, build, labelled, tmp_path):
    found = facts(potstill("audit", "--json", build(labelled), "--out", tmp_path / "out"), "audit", code=3)
    assert found["verdict"] == "NO_GO"
    assert found["report"] == str(tmp_path / "out" / "audit.html")


def test_check_of_good_and_bad_configs(potstill, write_config, tmp_path):
    good = facts(potstill("check", "--json", write_config()), "check")
    assert (good["good"], good["structures"], good["teacher"]) == (True, 46, "lennard-jones")
    impossible = facts(potstill("check", "--json", write_config(dataset={"test_fraction": 0.0})), "check", code=2)
    assert "test_fraction" in impossible["contradictions"][0]
    lacking = {**yaml.safe_load(write_config().read_text())["generate"], "after": ["earlier"]}
    after = facts(potstill("check", "--json", write_config(generate=lacking)), "check", code=2)
    assert f"generate.after: {tmp_path / 'earlier'} is no run folder with structures" in after["missing"][0]
    (tmp_path / "earlier" / "structures").mkdir(parents=True)
    (tmp_path / "earlier" / "structures" / "structures.h5").touch()
    assert facts(potstill("check", "--json", write_config(generate=lacking)), "check")["good"]
    wrong = facts(potstill("check", "--json", write_config(train={"epoch": 3})), "check", code=2)
    assert any("train.epoch" in line for line in wrong["faults"])
    assert facts(potstill("check", "--json", tmp_path / "no.yaml"), "check", code=2)["faults"]


def test_plan_counts_what_there_is(potstill, write_config):
    config = write_config(
        generate={"sources": [{"source": "files", "paths": ["mine.extxyz"], "count": 100}]},
        active_learning={"max_rounds": 2, "frames": 4, "trajectories": 2, "length_ps": 0.1, "epochs": 1},
    )
    found = facts(potstill("plan", "--json", config), "plan")
    assert found["sources"] == [{"source": "files", "asked": 100, "available": 6}]
    seconds = {row["stage"]: row["seconds"] for row in found["stages"]}
    assert seconds["active_learning"] > 0
    assert found["total"]["seconds"] == pytest.approx(sum(seconds.values()))
    assert found["stages"][0]["what"] == "6 structures"


def test_verify_and_the_size_of_a_student(potstill, build, labelled, write_config):
    assert facts(potstill("verify", "--json", build(labelled)), "verify")["faults"] == []
    assert facts(potstill("student", "size", "--json", write_config()), "student size")["parameters"] > 0


def test_datasets_that_differ(potstill, build, labelled, tmp_path):
    whole, some = build(labelled), tmp_path / "some.h5"
    assert facts(potstill("dataset", "info", "--json", whole, "--workers", 1), "dataset info")["structures"] == len(labelled)
    taken = facts(potstill("dataset", "subset", "--json", whole, some, "--first", 5), "dataset subset")
    assert (taken["structures"], taken["of"], taken["path"]) == (5, len(labelled), str(some))
    assert facts(potstill("dataset", "diff", "--json", some, some), "dataset diff")["same"] is True
    found = facts(potstill("dataset", "diff", "--json", whole, some), "dataset diff", code=1)
    assert (found["same"], found["common"], len(found["only_first"])) == (False, 5, len(labelled) - 5)
    assert set(found["attributes"]["subset_of"]) == {"first", "second"}


def test_a_difference_that_is_not_finite_is_json(potstill, build, labelled, tmp_path):
    other = tmp_path / "other.h5"
    whole = build(labelled)
    shutil.copy(whole, other)
    with h5py.File(other, "r+") as file:
        file["structures/energy"][3] = np.nan
        del file.attrs["checksums"], file["blocks"]
    found = facts(potstill("dataset", "diff", "--json", whole, other), "dataset diff", code=1)
    (change,) = [row for row in found["changes"] if row["field"] == "structures/energy"]
    assert (change["structures"], change["largest"], change["finite"], change["unit"]) == (1, None, False, "eV")


def test_files_that_are_written(potstill, build, labelled, tmp_path):
    half = [build(part).rename(tmp_path / name) for name, part in (("a.h5", labelled[::2]), ("b.h5", labelled[1::2]))]
    joined = facts(potstill("dataset", "merge", "--json", *half, tmp_path / "c.h5"), "dataset merge")
    assert joined["structures"] == len(labelled)
    written = facts(potstill("convert", "--json", tmp_path / "c.h5", tmp_path / "c.extxyz"), "convert")
    assert written == {"path": str(tmp_path / "c.extxyz"), "structures": len(labelled)}


def test_what_packages_print_goes_to_standard_error(potstill, monkeypatch):
    from potstill.cli import doctor

    def loud() -> list:
        sys.stdout.write("a package says hello\n")
        return [doctor.Condition("engine", "ase", works=True, detail="", required=True)]

    monkeypatch.setattr(doctor, "examine", loud)
    answer = potstill("doctor", "--json")
    assert facts(answer, "doctor")["conditions"][0]["name"] == "ase"
    assert "hello" in answer.err


def test_live_and_json_exclude_each_other(potstill, tmp_path):
    assert potstill("status", "--json", "--live", tmp_path).code == 2


def test_stages_of_a_run_as_they_end(potstill, write_config, tmp_path):
    config, folder = write_config(train={"epochs": 1}, evaluate={"nve_ps": 0.0}), tmp_path / "run"
    made = facts(potstill("generate", "--json", config, "--out", folder), "generate")
    assert (made["stage"], made["verdict"], made["run"], made["error"]) == ("generate", "NOT_RUN", str(folder), None)
    assert (sum(row["generated"] for row in made["sources"]), made["labelled"], made["dataset"]) == (46, 0, None)
    labelled = facts(potstill("label", "--json", folder), "label")
    assert (labelled["stage"], labelled["labelled"]) == ("label", 46)
    assert labelled["dataset"] == str(folder / "dataset.h5")
    early = facts(potstill("train", "--json", folder), "train", code=2)
    assert (early["stage"], early["student"]) == ("train", None)
    assert "'train' needs 'audit' to be done" in early["error"]
    judged = facts(potstill("run", "--json", config, "--out", folder, "--resume", "--last", "audit"), "run")
    assert judged["stage"] == "audit"
    trained = facts(potstill("train", "--json", folder), "train")
    assert (trained["stage"], trained["student"]) == ("train", str(folder / "student"))


def test_a_whole_run_as_it_ends(potstill, run):
    found = facts(potstill("run", "--json", run / "config.yaml", "--out", run, "--resume"), "run")
    assert (found["stage"], found["verdict"], found["report"]) == ("deploy", "NO_GO", str(run / "report.html"))
    assert found["labelled"] > 0


def test_a_run_that_ends_with_no_go(potstill, write_config, tmp_path):
    config = write_config(audit={"min_size_cv": 9.0})
    answer = potstill("run", "--json", config, "--out", tmp_path / "run")
    found = facts(answer, "run", code=3)
    assert (found["stage"], found["verdict"], found["student"]) == ("audit", "NO_GO", None)
    assert found["error"].splitlines()[0] in answer.err


def test_a_run_that_cannot_begin(potstill, tmp_path):
    found = facts(potstill("run", "--json", tmp_path / "no.yaml", "--out", tmp_path / "run"), "run", code=2)
    assert (found["stage"], found["verdict"], found["stages"]) == (None, "NOT_RUN", None)
    assert "no.yaml" in found["error"]
    for command in ("label", "train"):
        assert "is no run folder" in facts(potstill(command, "--json", tmp_path / "run"), command, code=2)["error"]


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (ValueError("new"), 1), (OSError(28, "full"), 1)])
def test_other_ends_of_a_stage(potstill, run, monkeypatch, error, code):
    def fail(*_):
        raise error

    monkeypatch.setattr("potstill.run.pipeline.Pipeline.stage", fail)
    found = facts(potstill("run", "--json", run / "config.yaml", "--out", run, "--resume"), "run", code=code)
    assert found["error"]


def test_setup_of_an_environment(potstill, monkeypatch, tmp_path):
    from potstill.environments import Installed

    unknown = facts(potstill("setup", "--json", "mol-diff"), "setup", code=2)
    assert (unknown["name"], unknown["ready"]) == ("mol-diff", False)
    assert "did you mean 'moldiff'?" in unknown["error"]
    for record, ready in (({}, False), ({"proof": {"structures": ["a"]}}, True)):
        place = Installed("mace", tmp_path, record)

        def make(_environment, _options, place=place, **done):
            done["say"]("a line about a step")
            return place

        monkeypatch.setattr("potstill.environments.setup", make)
        found = facts(potstill("setup", "--json", "mace"), "setup")
        assert (found["ready"], found["folder"]) == (ready, str(tmp_path))
    monkeypatch.setattr("potstill.deploy.lammps_setup.setup_lammps", lambda _tree, _say: [tmp_path / "plugin.so"])
    assert facts(potstill("setup", "--json", "lammps"), "setup")["files"] == [str(tmp_path / "plugin.so")]
