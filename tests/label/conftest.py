"""Structures to label, and teachers that worker processes can import too."""

from __future__ import annotations

import sys
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


@pytest.fixture(scope="session")
def interpreter(tmp_path_factory) -> str:
    """A script that is an interpreter which also finds the faulty teachers, for a teacher in a process of its own."""
    path = tmp_path_factory.mktemp("environment") / "python"
    path.write_text(f'#!/bin/sh\nPYTHONPATH="{Path(__file__).parent}" exec "{sys.executable}" "$@"\n')
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def faulty(monkeypatch, tmp_path):
    """The module of faulty teachers, which workers find as well."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setenv("POTSTILL_TEST_FOLDER", str(tmp_path))
    import faulty_teachers

    return faulty_teachers
