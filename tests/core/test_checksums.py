"""Checksums of files and of data that name files."""

from __future__ import annotations

import hashlib

from potstill.core.checksums import sha256_of_file, sha256_of_folder, sha256_of_json, with_contents


def test_a_file_that_is_written_again_has_another_checksum(tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(b"one")
    assert sha256_of_file(path) == f"sha256:{hashlib.sha256(b'one').hexdigest()}"
    path.write_bytes(b"three")
    assert sha256_of_file(path) == f"sha256:{hashlib.sha256(b'three').hexdigest()}"


def test_a_moved_file_counts_as_the_same(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"weights")
    one, other = ({"weights": str(tmp_path / name), "device": "cpu"} for name in ("a", "b"))
    assert sha256_of_json(one) != sha256_of_json(other)
    assert sha256_of_json(with_contents(one)) == sha256_of_json(with_contents(other))


def test_a_folder_counts_by_the_visible_files_below_it_where_asked(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "weights.bin").write_bytes(b"weights")
    one, other = ({"path": str(tmp_path / name)} for name in ("a", "b"))
    assert with_contents(one) == one
    before = with_contents(one, folders=True)
    assert before == with_contents(other, folders=True) != one
    (tmp_path / "a" / ".hidden").touch()
    (tmp_path / "a" / "__pycache__").mkdir()
    (tmp_path / "a" / "__pycache__" / "x.pyc").touch()
    assert with_contents(one, folders=True) == before
    (tmp_path / "a" / "deep" / "weights.bin").write_bytes(b"WEIGHTS")
    assert with_contents(one, folders=True) != before
    (tmp_path / "b" / "deep" / "weights.bin").rename(tmp_path / "b" / "deep" / "other.bin")
    assert with_contents(other, folders=True) != before


def test_a_folder_that_a_calculator_writes_counts_by_its_name(tmp_path):
    written = {"directory": str(tmp_path), "control": {"outdir": str(tmp_path)}}
    (tmp_path / "out").touch()
    assert with_contents(written, folders=True) == written
    nowhere = {"a": "/", "b": "", "c": ".", "d": "x" * 5000, "e": "\0", "f": "/" + "x" * 300}
    assert with_contents(nowhere, folders=True) == nowhere


def test_a_student_counts_without_what_is_written_beside_it(tmp_path):
    student = tmp_path / "student"
    student.mkdir()
    (student / "config.json").write_text("{}")
    (student / "weights.safetensors").write_bytes(b"one")
    before = sha256_of_folder(tmp_path)
    assert before == sha256_of_folder(student)
    (student / "VERDICT.txt").write_text("GO")
    (tmp_path / "run.json").write_text("{}")
    assert before == sha256_of_folder(tmp_path)
    (student / "weights.safetensors").write_bytes(b"two")
    assert before != sha256_of_folder(tmp_path)


def test_too_many_files_or_bytes_are_not_read(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"one")
    monkeypatch.setattr("potstill.core.checksums.MOST_BYTES", 5)
    before = sha256_of_folder(tmp_path)
    (tmp_path / "a").write_bytes(b"two")
    assert sha256_of_folder(tmp_path) == before
    monkeypatch.setattr("potstill.core.checksums.MOST_FILES", 1)
    assert sha256_of_folder(tmp_path) is None
    assert with_contents({"path": str(tmp_path)}, folders=True) == {"path": str(tmp_path)}
