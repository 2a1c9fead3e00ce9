"""Names for what is kept and not used any more, and errors of the operating system as one line."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from potstill.core.files import file_error, name_aside, sealed


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


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, 1), (errno.EDQUOT, 1), (errno.EFBIG, 1), (errno.EACCES, 2)])
def test_a_full_disk_is_a_run_that_failed(number, code):
    assert file_error(OSError(number, os.strerror(number), "a.json")).exit_code == code


def test_an_error_with_a_file_names_the_file():
    told = str(file_error(PermissionError(errno.EACCES, "Permission denied", "a.json"), Path("runs")))
    assert told.splitlines()[0] == "a.json: Permission denied"


def _fail_at_half(path: Path, error: OSError) -> None:
    with sealed(path) as temporary:
        temporary.write_text("half of it")
        raise error


@pytest.mark.parametrize(
    "raised",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError("Unable to write (file write failed: errno = 28, error message = 'No space left on device', buf = 0x1)"),
    ],
    ids=["of the system", "of HDF5"],
)
def test_a_full_disk_names_the_file_and_the_free_space(raised, tmp_path):
    path = tmp_path / "data" / "dataset.h5"
    path.parent.mkdir()
    path.write_text("the old one")
    with pytest.raises(OSError, match="No space left") as found:
        _fail_at_half(path, raised)
    told = str(file_error(found.value, tmp_path))
    assert re.fullmatch(rf"{path}: No space left on device\n  make room on the disk: [\d,]+\.\d MB are free at {path}", told)
    assert [p.name for p in path.parent.iterdir()] == ["dataset.h5"]
    assert path.read_text() == "the old one"


def test_an_error_of_another_file_within_is_not_blamed_on_this_one(tmp_path):
    for raised in (OSError("truncated file"), PermissionError(errno.EACCES, "Permission denied", "other.h5")):
        with pytest.raises(OSError) as found:  # noqa: PT011 - any text
            _fail_at_half(tmp_path / "a.h5", raised)
        assert found.value is raised
