"""Run folders of every format that was ever written: they open, can be judged again, and go on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from potstill.config import RENAMED, load_config, parse_config
from potstill.core.errors import InputError
from potstill.run.folder import RunFolder
from potstill.run.record import FORMAT
from potstill.run.upgrade import STEPS

STORED = Path(__file__).parent.parent / "run" / "stored"
STAGES = ("generate", "label", "audit", "train", "evaluate", "deploy")


@pytest.fixture
def old(tmp_path) -> Path:
    """A run of format 1: Cu, Al and Ni by EMT, two epochs, one round of active learning."""
    return Path(shutil.copytree(STORED / "format_1", tmp_path / "run"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_there_is_a_step_from_every_format():
    assert sorted(STEPS) == list(range(1, FORMAT))
    assert [path.name for path in sorted(STORED.glob("format_*"))] == [f"format_{n}" for n in range(1, FORMAT)]


def test_status_reads_it_and_changes_nothing(potstill, old):
    before = contents(old)
    answer = potstill("status", old)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.count("done") == len(STAGES)
    for word in ("24 of 24 structures", "GO: 44 of 44 checks", "epoch 2 of 2", "ase"):
        assert word in answer.out
    assert contents(old) == before


def test_it_is_resumed_with_its_own_config(potstill, old):
    weights = (old / "student" / "weights.safetensors").read_bytes()
    answer = potstill("run", old / "config.yaml", "--out", old, "--resume", "--yes")
    assert answer.code == 0, answer.err
    assert answer.err.count("done before") == len(STAGES)
    record = json.loads((old / "run.json").read_text())
    assert record["format"] == FORMAT
    assert all(record["stages"][name]["made_from"] and record["stages"][name]["files"] for name in STAGES)
    assert (old / "active_learning" / "01" / "round.json").is_file()
    assert not (old / "rounds").exists()
    config = load_config(old / "config.yaml")
    assert (config.active_learning.max_rounds, config.execute.executor) == (1, "local")
    assert config.generate.filter.min_scaled_distance == 0.6
    assert (old / "student" / "weights.safetensors").read_bytes() == weights


def test_it_is_judged_again_and_the_student_stays(potstill, old):
    answer = potstill("audit", old)
    assert answer.code in (0, 3), answer.err  # by the checks of today
    assert json.loads((old / "audit.json").read_text())["labelled"] == 24
    assert json.loads((old / "run.json").read_text())["stages"]["train"]["state"] == "done"


def test_its_student_is_deployed_again(potstill, old):
    (old / "deploy" / "ase" / "student" / "weights.safetensors").unlink()
    assert potstill("deploy", old).code == 0
    exported = old / "deploy" / "ase" / "student" / "weights.safetensors"
    assert exported.read_bytes() == (old / "student" / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("option", RENAMED, ids=lambda option: option.old)
def test_a_config_with_an_old_name_is_refused_with_the_new_one(option):
    config = yaml.safe_load((STORED / "format_1" / "config.yaml").read_text())
    section = config
    for other in RENAMED:
        *path, key = other.old.split(".")
        section = config
        for name in path:
            section = section[name]
        if other != option:
            section.pop(key)
    with pytest.raises(InputError, match=f"'{option.old}' is called '{option.new}' since {option.since}"):
        parse_config(config)


def test_a_folder_of_a_later_version_is_refused(potstill, old):
    record = json.loads((old / "run.json").read_text())
    (old / "run.json").write_text(json.dumps({**record, "format": FORMAT + 1}))
    before = contents(old)
    for command in (("status", old), ("audit", old)):
        answer = potstill(*command)
        assert answer.code == 2
        assert f"format {FORMAT + 1}" in answer.err
        assert "pip install --upgrade potstill" in answer.err
    before.pop(".lock", None)
    after = contents(old)
    after.pop(".lock", None)
    assert after == before


def test_a_batch_of_an_earlier_format_counts_as_passed(old, tmp_path):
    whole = tmp_path / "whole" / "batches"
    whole.mkdir(parents=True)
    old.rename(whole / "01")
    assert RunFolder(whole.parent).subrun(1).passed()
