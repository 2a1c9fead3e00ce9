"""Parts of another run, of other structures or of other options are never taken, though ids and names agree."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from potstill.dataset import Dataset, merge, write_part
from potstill.label.asked import asked_of
from potstill.label.options import LabelConfig
from potstill.label.stage import label
from potstill.label.tasks import LabelTask
from potstill.teacher.ase import AseCalculator
from potstill.teacher.classical import LennardJones

SETTINGS = LabelConfig(teacher=LennardJones(sigma_angstrom=0.9), structures_per_task=12)


def energies(parts) -> list[float]:
    return [s.labels.energy for part in parts for s in Dataset(part)]


def moved(structures: Path, target: Path) -> Path:
    """The same ids with other positions: another run of the same sources."""
    others = [s.with_(positions=(s.positions * 1.01).astype(np.float32)) for s in Dataset(structures)]
    write_part(target.with_name("q.h5"), others)
    merge([target.with_name("q.h5")], target, attributes={})
    return target


def test_parts_of_another_run_are_kept_aside_and_labelled_again(structures, tmp_path, caplog):
    folder = tmp_path / "label"
    other = moved(structures, tmp_path / "other.h5")
    quiet = energies(label(SETTINGS, structures, tmp_path / "quiet", workers=1))
    label(SETTINGS, other, folder, workers=1)
    assert energies(label(SETTINGS, structures, folder, workers=1)) == quiet
    assert len(list(folder.glob("*.aside-1"))) == 3
    assert "labelled again" in caplog.text


@pytest.mark.parametrize("damage", ["halved", "emptied"])
def test_a_damaged_part_is_labelled_again(structures, tmp_path, damage):
    parts = label(SETTINGS, structures, tmp_path / "label", workers=1)
    before = energies(parts)
    whole = parts[1].read_bytes()
    parts[1].write_bytes(whole[: len(whole) // 2 if damage == "halved" else 0])
    assert energies(label(SETTINGS, structures, tmp_path / "label", workers=1)) == before


def test_another_content_of_a_folder_is_another_teacher(structures, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_bytes(b"one")
    teacher = AseCalculator(calculator="ase.calculators.emt:EMT", options={"path": str(folder)})
    task = LabelTask(structures, 0, 1, teacher, 30.0, 1.0, tmp_path / "part.h5")
    before = asked_of(task, Dataset(structures))
    assert asked_of(task, Dataset(structures)) == before
    (folder / "weights").write_bytes(b"two")
    assert asked_of(task, Dataset(structures)) != before


def test_time_limits_change_no_label(structures, tmp_path):
    parts = label(SETTINGS, structures, tmp_path / "label", workers=1)
    times = [part.stat().st_mtime_ns for part in parts]
    label(SETTINGS.model_copy(update={"timeout_seconds_per_structure": 7.0}), structures, tmp_path / "label", workers=1)
    assert [part.stat().st_mtime_ns for part in parts] == times


def test_a_teacher_that_changes_the_folder_labels_where_it_was_asked_to(structures, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "walks.py").write_text(
        "import os\nfrom ase.calculators.lj import LennardJones\n\n"
        "def walks():\n    os.chdir('elsewhere') if os.path.isdir('elsewhere') else None\n"
        "    return LennardJones(sigma=0.9)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    teacher = {"name": "ase", "calculator": "walks:walks", "stress": False}
    config = LabelConfig.model_validate({"teacher": teacher, "structures_per_task": 12, "max_force_ev_per_angstrom": 1e9})
    relative = Path(os.path.relpath(structures, tmp_path))
    parts = label(config, relative, Path("label"), workers=1)
    assert all(part.is_file() and part.parent == tmp_path / "label" for part in parts)
    assert not (tmp_path / "elsewhere" / "label").exists()
