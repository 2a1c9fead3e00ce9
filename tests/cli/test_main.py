"""What a person types, what is answered, and the exit code: 0 done, 1 failed, 2 bad input, 3 NO-GO."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys

import ase.io
import h5py
import pytest
import yaml

import potstill as package
from potstill.dataset import open_dataset
from potstill.run.folder import RunFolder

COMMANDS = (
    "template",
    "check",
    "plan",
    "run",
    "generate",
    "label",
    "audit",
    "train",
    "evaluate",
    "deploy",
    "status",
    "verify",
    "convert",
    "dataset",
    "doctor",
)


class TestHelp:
    def test_python_m_potstill(self):
        done = subprocess.run(
            [sys.executable, "-m", "potstill", "--version"], capture_output=True, text=True, check=False, timeout=60
        )
        assert (done.returncode, done.stdout.strip(), done.stderr) == (0, package.__version__, "")

    def test_exit_codes_reach_the_shell(self, tmp_path):
        done = subprocess.run(
            [sys.executable, "-m", "potstill", "check", str(tmp_path / "no.yaml")],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 2
        assert "no config at" in done.stderr
        assert "Traceback" not in done.stderr

    def test_help_names_every_command(self, potstill):
        answer = potstill("--help")
        assert answer.code == 0
        for command in COMMANDS:
            assert command in answer.out

    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_has_help(self, potstill, command):
        answer = potstill(command, "--help")
        assert answer.code == 0
        assert "Usage" in answer.out

    def test_help_imports_nothing_heavy(self):
        code = "import sys, potstill.cli.main; sys.exit(any(name in sys.modules for name in ('torch', 'ase', 'pydantic')))"
        assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0

    def test_nonsense(self, potstill):
        assert potstill("distil").code == 2
        assert potstill("check").code == 2
        assert potstill("check", "a", "b").code == 2
        assert potstill("run", "config.yaml").code == 2


class TestCheck:
    @pytest.mark.parametrize(
        ("name", "total"), [("quickstart", 61), ("small_6k", 5750), ("medium_10k", 10_000), ("production_120k", 120_000)]
    )
    def test_every_template_checks(self, potstill, tmp_path, monkeypatch, name, total):
        monkeypatch.setenv("POTSTILL_HOME", str(tmp_path))
        (tmp_path / "c.yaml").write_text(potstill("template", name).out)
        answer = potstill("check", tmp_path / "c.yaml", "--fallback")
        assert (answer.code, answer.err) == (0, "")
        assert f"is good: {total:,} structures" in answer.out

    def test_files_may_hold_fewer_structures_than_asked_for(self, potstill, write_config):
        config = write_config(generate={"sources": [{"source": "files", "paths": ["mine.extxyz"], "count": 100_000}]})
        assert "is good: at most 100,000 structures, teacher" in potstill("check", config).out

    def test_a_teacher_that_is_not_here(self, potstill, tmp_path, monkeypatch):
        monkeypatch.setenv("POTSTILL_HOME", str(tmp_path))
        teacher = {"name": "orb-v2", "weights": "orb-v2-20241011.ckpt"}
        content = yaml.safe_load(potstill("template", "production_120k").out) | {"label": {"teacher": teacher}}
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(content))
        answer = potstill("check", tmp_path / "c.yaml", "--fallback")
        assert answer.code == 2
        assert "orb" in answer.err  # neither the package nor its weights are here

    def test_a_missing_program_is_told_with_what_can_be_done(self, potstill, tmp_path, monkeypatch):
        monkeypatch.setenv("POTSTILL_HOME", str(tmp_path))
        (tmp_path / "c.yaml").write_text(potstill("template", "medium_10k").out)
        for command in (("check", tmp_path / "c.yaml"), ("run", tmp_path / "c.yaml", "--out", tmp_path / "run")):
            answer = potstill(*command)
            assert answer.code == 2
            for part in ("potstill setup mattergen", "potstill setup moldiff", "--fallback", "1,000 benchmark"):
                assert part in answer.err
        assert not (tmp_path / "run").exists()

    def test_my_system_wants_its_file_first(self, potstill, tmp_path):
        (tmp_path / "c.yaml").write_text(potstill("template", "my_system").out)
        answer = potstill("check", tmp_path / "c.yaml")
        assert answer.code == 2
        assert "my_structures.extxyz" in answer.err

    def test_quickstart_is_the_default_and_names_are_checked(self, potstill):
        assert potstill("template").out == potstill("template", "quickstart").out
        answer = potstill("template", "slowstart")
        assert answer.code == 2
        assert "quickstart" in answer.err

    def test_a_fault(self, potstill, write_config):
        answer = potstill("check", write_config(train={"epoch": 3}))
        assert answer.code == 2
        assert "train.epoch: unknown option; did you mean 'epochs'" in answer.err
        assert "Traceback" not in answer.err

    def test_a_teacher_that_is_not_installed(self, potstill, write_config, monkeypatch):
        find = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "sevenn" else find(name, *a))
        path = write_config(label={"teacher": {"name": "sevennet"}})
        for command in (("check", path), ("run", path, "--out", path.parent / "run"), ("plan", path)):
            answer = potstill(*command)
            assert answer.code == 2
            assert "pip install 'potstill[sevennet]'" in answer.err + answer.out
        assert not (path.parent / "run").exists()

    def test_a_source_that_is_not_installed(self, potstill, write_config, monkeypatch):
        find = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "rdkit" else find(name, *a))
        answer = potstill("check", write_config(generate={"sources": [{"source": "molecules", "count": 3}]}))
        assert answer.code == 2
        assert "the source 'molecules' needs the package 'rdkit'" in answer.err
        assert "pip install 'potstill[molecules]'" in answer.err

    def test_weights_that_are_not_there(self, potstill, write_config):
        answer = potstill("check", write_config(label={"teacher": {"name": "sevennet", "weights": "/no/such.pth"}}))
        assert answer.code == 2
        assert "no weights of the teacher 'sevennet' at /no/such.pth" in answer.err


class TestFolders:
    def test_a_folder_with_other_files(self, potstill, write_config, tmp_path):
        (tmp_path / "thesis").mkdir()
        (tmp_path / "thesis" / "chapter1.tex").write_text("precious")
        answer = potstill("run", write_config(), "--out", tmp_path / "thesis")
        assert answer.code == 2
        assert "contains files that are no run" in answer.err
        assert (tmp_path / "thesis" / "chapter1.tex").read_text() == "precious"

    def test_a_folder_with_another_run(self, potstill, write_config, tmp_path):
        assert potstill("generate", write_config(), "--out", tmp_path / "run").code == 0
        before = (tmp_path / "run" / "config.yaml").read_text()
        answer = potstill("run", write_config(seed=4), "--out", tmp_path / "run", "--resume")
        assert answer.code == 2
        assert "contains another run" in answer.err
        assert (tmp_path / "run" / "config.yaml").read_text() == before

    def test_the_same_run_needs_resume(self, potstill, write_config, tmp_path):
        assert potstill("generate", write_config(), "--out", tmp_path / "run").code == 0
        answer = potstill("run", write_config(), "--out", tmp_path / "run")
        assert answer.code == 2
        assert "--resume" in answer.err

    def test_the_config_of_the_folder_resumes_it(self, potstill, write_config, tmp_path):
        run = tmp_path / "run"
        assert potstill("generate", write_config(), "--out", run).code == 0
        assert potstill("generate", run / "config.yaml", "--out", run).code == 0

    def test_a_second_process_is_refused(self, potstill, write_config, tmp_path):
        run = tmp_path / "run"
        with RunFolder(run).locked():
            answer = potstill("generate", write_config(), "--out", run)
        assert answer.code == 2
        assert "in use by another process (process " in answer.err
        assert potstill("generate", write_config(), "--out", run).code == 0

    def test_a_start_that_was_killed_while_it_wrote_its_config(self, potstill, write_config, tmp_path):
        run = tmp_path / "run"
        run.mkdir()
        (run / ".lock").touch()
        (run / ".config.yaml.4711.tmp").write_text("see")
        assert potstill("generate", write_config(), "--out", run).code == 0

    @pytest.mark.parametrize("command", ["label", "audit", "train", "evaluate", "deploy", "status", "verify"])
    def test_no_run_folder(self, potstill, tmp_path, command):
        answer = potstill(command, tmp_path)
        assert answer.code == 2
        assert "potstill: " in answer.err
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("command", "needed"), [("audit", "label"), ("train", "audit"), ("evaluate", "train"), ("deploy", "train")]
    )
    def test_a_stage_that_comes_too_early(self, potstill, write_config, tmp_path, command, needed):
        potstill("generate", write_config(), "--out", tmp_path / "run")
        answer = potstill(command, tmp_path / "run")
        assert answer.code == 2
        assert f"'{command}' needs '{needed}'" in answer.err

    def test_an_engine_that_does_not_exist(self, potstill, write_config, tmp_path):
        potstill("generate", write_config(), "--out", tmp_path / "run")
        answer = potstill("deploy", tmp_path / "run", "--to", "lamps")
        assert answer.code == 2
        assert "did you mean 'lammps'" in answer.err


class TestStages:
    def test_generate_label_verify_convert_status(self, potstill, write_config, tmp_path):
        run = tmp_path / "run"
        answer = potstill("generate", write_config(), "--out", run)
        assert answer.code == 0
        assert answer.out.strip() == str(run / "structures" / "structures.h5")
        assert not (run / "dataset.h5").exists()
        assert potstill("label", run).code == 0
        answer = potstill("verify", run)
        assert answer.code == 0
        assert "46 structures" in answer.out
        assert potstill("convert", run / "dataset.h5", tmp_path / "d.extxyz").out.startswith("46 structures")
        assert potstill("convert", run / "dataset.h5", tmp_path / "d.extxyz").code == 2
        answer = potstill("status", run)
        assert answer.code == 0
        for word in ("generate", "done", "46 of 46 structures", "waiting"):
            assert word in answer.out
        record = json.loads((run / "run.json").read_text())
        assert record["teacher"]["name"] == "lennard-jones"
        assert record["stages"]["label"]["state"] == "done"

    def test_verify_of_a_damaged_file(self, potstill, build, labelled):
        path = build(labelled)
        assert potstill("verify", path).code == 0
        with h5py.File(path, "a") as file:
            file["structures/energy"][0] += 1e-9
        answer = potstill("verify", path)
        assert answer.code == 1
        assert "structures/energy differs from its checksum" in answer.out
        path.write_bytes(path.read_bytes()[:-100])
        answer = potstill("verify", path)
        assert answer.code == 1
        assert "Traceback" not in answer.err

    def test_audit_of_a_file(self, potstill, build, labelled, tmp_path):
        answer = potstill("audit", build(labelled), "--out", tmp_path / "out")
        assert answer.code == 3
        assert "NOT RUN        label_replay" in answer.out
        assert re.search(r"^NO-GO +[a-z_]+: \S+ .* against \S+\. ", answer.out, re.MULTILINE)
        assert json.loads((tmp_path / "out" / "audit.json").read_text())["verdict"] == "NO_GO"
        assert {"audit.html", "audit.md"} <= {path.name for path in (tmp_path / "out").iterdir()}

    def test_audit_of_no_file(self, potstill, tmp_path):
        assert potstill("audit", tmp_path / "no.h5").code == 2
        (tmp_path / "bad.extxyz").write_text("hello\n")
        assert potstill("audit", tmp_path / "bad.extxyz").code == 2

    def test_a_failure_leaves_its_traceback(self, potstill, write_config, tmp_path, monkeypatch):
        from potstill.generate.files import Files

        def fail(*_):
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr(Files, "propose", fail)
        answer = potstill("generate", write_config(), "--out", tmp_path / "run")
        assert answer.code == 1
        assert "ZeroDivisionError: a bug" in answer.err
        assert "Traceback" not in answer.err
        assert "in fail" in (tmp_path / "run" / "error.log").read_text()
        record = json.loads((tmp_path / "run" / "run.json").read_text())
        assert record["stages"]["generate"]["state"] == "failed"

    def test_a_shortfall_is_said(self, potstill, write_config, tmp_path):
        config = write_config(generate={"sources": [{"source": "files", "paths": ["mine.extxyz"], "count": 50}]})
        frames = ase.io.read(tmp_path / "mine.extxyz", index=":")
        ase.io.write(tmp_path / "mine.extxyz", [*frames, frames[0]])
        answer = potstill("generate", config, "--out", tmp_path / "run")
        assert answer.code == 0
        assert "source files gave 6 of 7 structures: 1 duplicate" in answer.err  # the file holds no more than seven
        assert len(open_dataset(tmp_path / "run" / "structures" / "structures.h5")) == 6

    def test_plan_writes_nothing(self, potstill, write_config, tmp_path):
        config = write_config()
        before = sorted(tmp_path.iterdir())
        answer = potstill("plan", config)
        assert answer.code == 0
        for word in ("generate", "label", "train", "total", "46"):
            assert word in answer.out
        assert sorted(tmp_path.iterdir()) == before


def test_a_dataset_of_refusals_only_is_no_success(tmp_path):
    from potstill.cli.common import refuse_nothing_labelled
    from potstill.core.errors import PotstillError
    from potstill.core.types import Refused
    from potstill.dataset import merge, write_part
    from potstill.run.folder import RunFolder

    run = RunFolder(tmp_path)
    write_part(tmp_path / "p.h5", [], [Refused("force_limit", id="x", source="s", stage="label")], labelled=True)
    merge([tmp_path / "p.h5"], run.dataset, attributes={})
    with pytest.raises(PotstillError, match="holds no labelled structure: the teacher refused all of them") as error:
        refuse_nothing_labelled(run)
    assert error.value.exit_code == 1


def test_a_latin_1_terminal(tmp_path):
    path = tmp_path / "größe → 二.yaml"
    path.write_text("generate: {}\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    for arguments, code in ((["template", "my_system"], 0), (["--help"], 0), (["check", str(path)], 2)):
        command = [sys.executable, "-m", "potstill", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=120)
        assert done.returncode == code, done.stderr
        assert b"Traceback" not in done.stderr
        assert b"UnicodeEncodeError" not in done.stderr
    assert "größe \\u2192".encode("latin-1") in done.stderr


def test_help_lists_commands_in_the_order_of_their_use(potstill):
    told = potstill("--help").out
    names = ("template", "check", "plan", "run", "status", "generate", "label", "audit", "doctor", "convert", "dataset")
    places = [re.search(rf"^\W+{name}\s", told, flags=re.MULTILINE).start() for name in names]
    assert places == sorted(places)
    assert all(told.count(title) == 1 for title in ("A run", "One stage of a run", "This machine", "Files and students"))


def test_a_folder_is_not_one_file(potstill, tmp_path):
    (tmp_path / "outcars").mkdir()
    answer = potstill("convert", tmp_path / "outcars", tmp_path / "data.h5")
    assert answer.code == 2
    assert "is a folder, and one file was expected" in answer.err
    assert "paths: [" in answer.err


class TestFaultsOfPotstill:
    def test_one_line_and_the_traceback_in_a_file(self, potstill, write_config, monkeypatch, tmp_path):
        def broken(*_: object) -> None:
            raise TypeError("no such\nthing")

        monkeypatch.setattr("potstill.run.plan.missing_pieces", broken)
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        answer = potstill("check", write_config())
        assert answer.code == 1
        first, second = answer.err.splitlines()
        assert first == "potstill: unexpected TypeError: no such thing"
        (log,) = tmp_path.glob("potstill-*.log")
        assert second.endswith(f"please report it with the traceback in {log}")
        assert "missing_pieces" in log.read_text() or "broken" in log.read_text()

    def test_a_full_temporary_folder_hides_nothing(self, potstill, write_config, monkeypatch, tmp_path):
        monkeypatch.setattr("potstill.run.plan.missing_pieces", lambda *_: 1 / 0)
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
        answer = potstill("check", write_config())
        assert (answer.code, answer.err) == (1, "potstill: unexpected ZeroDivisionError: division by zero\n")


def test_an_unknown_last_stage_makes_no_folder(potstill, write_config, tmp_path):
    answer = potstill("run", write_config(), "--out", tmp_path / "run", "--yes", "--last", "Audit")
    assert (answer.code, "did you mean 'audit'" in answer.err) == (2, True)
    assert not (tmp_path / "run").exists()


def test_label_exits_with_1_where_all_were_refused(potstill, write_config, tmp_path):
    config = write_config(label={"max_force_ev_per_angstrom": 1e-9})
    run = tmp_path / "run"
    answer = potstill("run", config, "--out", run, "--yes", "--last", "label")
    assert answer.code == 1
    assert "dataset.h5 holds no labelled structure: the teacher refused all of them" in answer.err
    answer = potstill("label", run)
    assert answer.code == 1
    assert f"see why with:  potstill status {run}" in answer.err
    assert "force_limit" in potstill("status", run).out


def test_a_current_folder_that_was_removed(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    code = f"import os; from potstill.cli.main import main; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r}); main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("potstill: the current folder does not exist any more")


def test_the_next_command_can_be_pasted_for_a_folder_with_blanks(potstill, write_config, tmp_path):
    run = tmp_path / "run - Kopie für Ü"
    first = potstill("run", write_config(), "--out", run, "--yes", "--last", "generate")
    assert first.code == 0, first.err
    following = next(line for line in first.out.splitlines() if line.startswith("next: "))
    command = shlex.split(following.removeprefix("next: "))
    assert command == ["potstill", "run", str(run / "config.yaml"), "--out", str(run), "--resume"]
