"""The lock: whose folder it is is looked at first, and nothing of anybody else is touched."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import shutil
from pathlib import Path

import pytest

from potstill.core.errors import RunFolderError
from potstill.run.figures import driver_alive
from potstill.run.folder import RunFolder
from potstill.run.lock import locked


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}


FOREIGN = {
    "thesis": {"chapter.tex": "a", ".chapter.tex.17.tmp": "precious", "data/.cache.1.tmp": "precious"},
    "a project with a config": {"config.yaml": "generate: 1", ".notes.4711.tmp": "precious"},
    "another tool's run": {"config.yaml": "lr: 1", "run.json": '{"id": 3}', "log.txt": "", ".x.1.tmp": "precious"},
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_folder_stays_as_it_is(tmp_path, name):
    for file, text in FOREIGN[name].items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text)
    before = contents(tmp_path)
    with pytest.raises(RunFolderError, match="contains files that are no run"), locked(tmp_path):
        pass
    assert contents(tmp_path) == before


def test_the_lock_of_a_copied_folder_names_no_process(tmp_path):
    run, copy = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "copy")
    with run.locked():
        shutil.copytree(run.path, copy.path)
        assert driver_alive(run)
        assert not driver_alive(copy)
    (copy.path / ".lock").write_text(f"process {os.getpid()} on {platform.node()}")  # as earlier versions wrote it
    assert driver_alive(copy)


def test_leftovers_of_ours_go_and_others_stay(tmp_path):
    run = RunFolder(tmp_path / "run")
    with run.locked():
        run.begin("a: 1\n", 5, resume=False)
    ours = [run.path / ".dataset.h5.12.tmp", run.path / "label" / ".0-8.h5.12.tmp"]
    theirs = [run.path / "my analysis" / ".figure.12.tmp", run.path / "label" / ".notes.tmp", run.path / ".tmp"]
    for file in (*ours, *theirs):
        file.parent.mkdir(exist_ok=True)
        file.touch()
    with run.locked():
        assert [file.exists() for file in ours] == [False, False]
    assert all(file.exists() for file in theirs)


@pytest.mark.parametrize("where", ["file", "nothing"])
def test_a_lock_that_is_a_link_is_not_followed(tmp_path, where):
    precious = tmp_path / "precious"
    if where == "file":
        precious.write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(precious)
    with pytest.raises(RunFolderError, match="symbolic link"), locked(tmp_path / "run"):
        pass
    assert precious.exists() == (where == "file")
    assert where == "nothing" or precious.read_text() == "mine"


def test_a_lock_of_somebody_else_is_not_overwritten(tmp_path):
    (tmp_path / ".lock").write_text("pid 17 of another program")
    with pytest.raises(RunFolderError, match="is no lock of potstill"), locked(tmp_path):
        pass
    assert (tmp_path / ".lock").read_text() == "pid 17 of another program"


def test_a_fifo_as_lock_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(RunFolderError, match="is no lock of potstill"), locked(tmp_path):
        pass


def test_a_file_as_run_folder(tmp_path):
    (tmp_path / "run").write_text("text")
    with pytest.raises(RunFolderError, match="is no folder"), locked(tmp_path / "run"):
        pass


def test_a_file_system_without_locks(tmp_path, monkeypatch, caplog):
    def no_locks(*_arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    monkeypatch.delenv("HDF5_USE_FILE_LOCKING", raising=False)
    with pytest.raises(RunFolderError, match=r"(?s)without locks.*export HDF5_USE_FILE_LOCKING=FALSE"), locked(tmp_path):
        pass
    monkeypatch.setenv("HDF5_USE_FILE_LOCKING", "FALSE")
    with locked(tmp_path):
        assert (tmp_path / ".lock").read_text().startswith("process ")
    assert "do not start a second process" in caplog.text


@pytest.mark.parametrize("name", ["log.txt", "error.log", "metrics.jsonl", "label/teacher.log"])
def test_a_text_that_is_a_link_is_not_written_to(tmp_path, name):
    precious = tmp_path / "precious"
    precious.write_text("of another run")
    link = tmp_path / "run" / name
    link.parent.mkdir(parents=True)
    (tmp_path / "run" / ".lock").touch()
    link.symlink_to(precious)
    with pytest.raises(RunFolderError, match=r"is a symbolic link.*\n.*remove the link"), locked(tmp_path / "run"):
        pass
    assert precious.read_text() == "of another run"


OF_A_COPY = ["log.txt", "error.log", "metrics.jsonl", "label/teacher.log", "deploy/ase/student/config.json"]


@pytest.mark.parametrize("name", OF_A_COPY)
def test_a_copy_of_hard_links_leaves_the_first_run_as_it_is(tmp_path, name):
    first, copy = tmp_path / "run" / name, tmp_path / "copy" / name
    for path in (first, copy):
        path.parent.mkdir(parents=True)
    first.write_text("before\n")
    copy.hardlink_to(first)
    (tmp_path / "copy" / ".lock").touch()
    with locked(tmp_path / "copy"), copy.open("a") as log:
        log.write("after\n")
    assert first.read_text() == "before\n"
    assert copy.read_text() == "before\nafter\n"


def test_an_export_that_is_a_link_becomes_a_copy(tmp_path):
    first, link = tmp_path / "first", tmp_path / "run" / "deploy" / "ase" / "run_md.py"
    first.write_text("before\n")
    link.parent.mkdir(parents=True)
    link.symlink_to(first)
    (tmp_path / "run" / ".lock").touch()
    with locked(tmp_path / "run"):
        link.write_text("after\n")
    assert (first.read_text(), link.is_symlink()) == ("before\n", False)


def test_a_log_that_is_a_pipe_does_not_hang(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").touch()
    os.mkfifo(tmp_path / "run" / "log.txt")
    with pytest.raises(RunFolderError, match="no plain file"), locked(tmp_path / "run"):
        pass
