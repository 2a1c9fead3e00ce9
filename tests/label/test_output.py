"""The output of a teacher goes to a file, and its umask stays with it."""

from __future__ import annotations

import os

from potstill.label.output import output_in


def test_output_goes_to_the_file_and_back(tmp_path, capfd):
    with output_in(tmp_path / "teacher.log"):
        os.write(1, b"from C")
    os.write(1, b"afterwards")
    assert (tmp_path / "teacher.log").read_text() == "from C"
    assert capfd.readouterr().out == "afterwards"


def test_a_umask_of_the_teacher_does_not_stay(tmp_path):
    before = os.umask(0o022)
    try:
        with output_in(tmp_path / "teacher.log"):
            os.umask(0o777)
        (tmp_path / "labels").touch()
        assert (tmp_path / "labels").stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(before)
