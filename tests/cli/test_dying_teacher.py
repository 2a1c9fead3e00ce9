"""A teacher whose process ends while a finished training is evaluated: a verdict, a warning, and no result is lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

MORTAL = """
import ctypes, os
from pathlib import Path
from ase.calculators.emt import EMT

class Mortal(EMT):
    calls = 0

    def calculate(self, *args, **kwargs):
        Mortal.calls += 1
        how = Path(os.environ["POTSTILL_TEST_FOLDER"]) / "how"
        if how.exists():
            kind, after = how.read_text().split()
            if Mortal.calls > int(after):
                os._exit(0) if kind == "exit" else ctypes.string_at(0)
        super().calculate(*args, **kwargs)
"""


@pytest.fixture
def run(finished, potstill, tmp_path, monkeypatch) -> Path:
    """A run as far as its student, whose teacher ends as the file ``how`` says."""
    monkeypatch.setenv("POTSTILL_TEST_FOLDER", str(tmp_path))
    (tmp_path / "mortal.py").write_text(MORTAL)
    config = yaml.safe_load((finished / "config.yaml").read_text())
    config["label"]["teacher"] = {"name": "ase", "calculator": "mortal:Mortal"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    answer = potstill("run", tmp_path / "config.yaml", "--out", tmp_path / "run", "--yes", "--last", "train")
    assert answer.code == 0, answer.err
    return tmp_path / "run"


def test_whole_evaluations(run, potstill, tmp_path):
    def evaluated(how: str, name: str) -> tuple[dict, str]:
        copy = Path(shutil.copytree(run, tmp_path / name))
        (tmp_path / "how").write_text(how)
        answer = potstill("evaluate", copy)
        (tmp_path / "how").unlink()
        assert answer.code == 3, answer.err
        assert "Traceback" not in answer.err
        assert answer.out.startswith("NO-GO: ")
        return json.loads((copy / "evaluate.json").read_text()), answer.err

    sound, said = evaluated("exit 1000000", "sound")
    assert "process of the teacher ended" not in said
    always, said = evaluated("exit 0", "always")
    assert "the process of the teacher ended: exit code 0" in said
    later, said = evaluated("segv 30", "later")
    assert "the process of the teacher ended: killed by SIGSEGV" in said
    for report in (always, later):  # the stored labels are those of the sound teacher
        assert report["forces"] == sound["forces"]
        assert {f["check"] for f in report["findings"]} == {f["check"] for f in sound["findings"]}
    assert always["speed"] == []
    assert [row["system"] for row in later["speed"]] == [row["system"] for row in sound["speed"]]


def test_a_source_whose_teacher_ends_its_process_is_told(potstill, tmp_path, monkeypatch):
    """It ended the whole run, without a line and with the exit code of the teacher."""
    monkeypatch.setenv("POTSTILL_TEST_FOLDER", str(tmp_path))
    (tmp_path / "mortal_of_a_source.py").write_text(MORTAL)
    (tmp_path / "how").write_text("exit 0")
    mortal = {"name": "ase", "calculator": "mortal_of_a_source:Mortal"}
    sources = [
        {"source": "prototypes", "count": 2, "max_atoms": 4},
        {"source": "perturb", "count": 2, "temperatures_kelvin": [300, 600], "teacher": mortal},
    ]
    config = {"generate": {"elements": ["Cu"], "sources": sources}, "label": {"teacher": {"name": "emt"}}, "workers": 1}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    answer = potstill("generate", tmp_path / "config.yaml", "--out", tmp_path / "dead")
    assert answer.code == 1, answer.err
    assert "worker processes died 3 times over one task" in answer.err
