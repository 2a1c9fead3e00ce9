"""``potstill deploy`` of what is no run: the message names the command that exports it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

COPPER = Path(__file__).parents[1] / "deploy" / "copper_student"


@pytest.mark.parametrize("name", ["general", "copied"])
def test_a_student_without_its_run_is_exported_by_python(potstill, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(COPPER, tmp_path / "copied")
    answer = potstill("deploy", name, "--to", "lammps")
    assert answer.code == 2
    assert f'write_student_file("{name}", "{name}.potstill", ' in answer.err
    assert "potstill run" not in answer.err


def test_a_student_within_its_run_names_the_run(potstill, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(COPPER, tmp_path / "my" / "student")
    (tmp_path / "my" / "config.yaml").touch()
    answer = potstill("deploy", "my/student")
    assert answer.code == 2
    assert answer.err.rstrip().endswith("potstill deploy my")
