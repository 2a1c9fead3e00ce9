"""Names for what is kept and not used any more."""

from __future__ import annotations

from potstill.core.files import name_aside


def test_the_first_free_name(tmp_path):
    part = tmp_path / "00000000-00000032.h5"
    assert name_aside(part).name == "00000000-00000032.aside-1"
    name_aside(part).touch()
    assert name_aside(part).name == "00000000-00000032.aside-2"
    assert name_aside(part, ".h5").name == "00000000-00000032.aside-1.h5"
    assert name_aside(tmp_path / "student").name == "student.aside-1"
