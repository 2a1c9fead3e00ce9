"""The order in which structures are labelled."""

from __future__ import annotations

from pathlib import Path

import pytest

from potstill.label.options import LabelConfig
from potstill.label.tasks import parts_in, range_of, spread, tasks_of


@pytest.mark.parametrize("parts", [1, 2, 7, 100])
def test_every_stretch_of_the_file_soon_has_its_share(tmp_path, parts):
    tasks = tasks_of(LabelConfig(structures_per_task=10), tmp_path / "none.h5", tmp_path, total=10 * parts)
    ordered = spread(tasks)
    assert sorted(task.start for task in ordered) == [task.start for task in tasks]
    done = 0
    for k, task in enumerate(ordered, 1):
        done += task.start < 5 * parts
        assert abs(done - k / 2) <= 2  # of the first k tasks, half are of the first half of the file


def test_a_part_says_what_it_holds():
    assert range_of(Path("label/00000040-00000048.h5")) == range(40, 48)


def test_copies_under_other_names_are_no_parts(tmp_path):
    names = ["00000000-00000032.h5", "00000032-00000064.h5", "00000000-00000032 (1).h5", "00000000-00000032 - Copy.h5"]
    for name in [*names, "00000000-00000032.sync-conflict-20261129.h5", "._00000000-00000032.h5"]:
        (tmp_path / name).touch()
    assert [path.name for path in parts_in(tmp_path)] == names[:2]
    assert [range_of(path) for path in parts_in(tmp_path)] == [range(32), range(32, 64)]
