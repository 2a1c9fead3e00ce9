"""Names for what is kept and not used any more, and errors of the operating system as one line."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from potstill.core.files import file_error, name_aside


def test_the_first_free_name(tmp_path):
    part = tmp_path / "00000000-00000032.h5"
    assert name_aside(part).name == "00000000-00000032.aside-1"
    name_aside(part).touch()
    assert name_aside(part).name == "00000000-00000032.aside-2"
    assert name_aside(part, ".h5").name == "00000000-00000032.aside-1.h5"
    assert name_aside(tmp_path / "student").name == "student.aside-1"


@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.ENOSPC, "make room on the disk"), (errno.EFBIG, "ulimit -f unlimited")]
)
def test_an_error_without_a_file_names_the_folder(number, remedy):
    told = str(file_error(OSError(number, os.strerror(number)), Path("runs/größe")))
    assert told.startswith(f"a file in runs/größe: {os.strerror(number)}\n")
    assert remedy in told


def test_an_error_with_a_file_names_the_file():
    told = str(file_error(PermissionError(errno.EACCES, "Permission denied", "a.json"), Path("runs")))
    assert told.splitlines()[0] == "a.json: Permission denied"
