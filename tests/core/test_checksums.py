"""Checksums of files and of data that name files."""

from __future__ import annotations

import hashlib

from potstill.core.checksums import sha256_of_file, sha256_of_json, with_contents


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
