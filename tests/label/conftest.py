"""Structures to label, and teachers that worker processes can import too."""

from __future__ import annotations

from pathlib import Path

import pytest

from potstill.dataset import merge, write_part
from potstill.types import Refused


@pytest.fixture
def structures(tmp_path, labelled) -> Path:
    """A file of 36 unlabelled structures and one refusal."""
    refused = [Refused("too_close", id="x", source="organic", stage="generate")]
    write_part(tmp_path / "p.h5", [s.with_(labels=None) for s in labelled], refused)
    merge([tmp_path / "p.h5"], tmp_path / "structures.h5", attributes={})
    return tmp_path / "structures.h5"


@pytest.fixture
def faulty(monkeypatch, tmp_path):
    """The module of faulty teachers, which workers find as well."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setenv("POTSTILL_TEST_FOLDER", str(tmp_path))
    import faulty_teachers

    return faulty_teachers
