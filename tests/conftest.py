"""Tiny structures and datasets that many tests start from; no test here asks a network for anything."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

from potstill.core.types import Labels, Refused, Structure, Teacher
from potstill.dataset import merge, split_by_family, write_part
from potstill.generate.perturb import Perturb
from potstill.teacher import load_teacher
from potstill.testing.faults import config_asking_for

pytest_plugins = ("pages_kit",)
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # before Triton is imported: its kernels run on the CPU
os.environ.setdefault("OMP_NUM_THREADS", "1")  # worker processes of the tests share the cores

CRYSTALS = (("Cu", "fcc", 3.6), ("Al", "fcc", 4.05), ("Ni", "fcc", 3.52), ("Ag", "fcc", 4.09))
MOLECULES = ("CH4", "C2H6", "CH3OH", "H2O", "NH3", "C6H6", "CH3CHO", "C3H8")


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny matrices: two threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def cards(tmp_path, monkeypatch):
    """Function that puts an ``nvidia-smi`` with this output on PATH, and nothing else; None: no such program."""

    def put(output: str | None, code: int = 0) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        program = tmp_path / "nvidia-smi"
        program.unlink(missing_ok=True)
        if output is not None:
            program.write_text(f"#!/bin/sh\nprintf '{output}'\nexit {code}\n")
            program.chmod(0o755)

    return put


def labelled_by(teacher: Teacher, structures: Sequence[Structure]) -> list[Structure]:
    """Structures with a teacher's labels; none may be refused."""
    answers = teacher.label(structures)
    assert all(isinstance(answer, Labels) for answer in answers), answers
    return [s.with_(labels=a) for s, a in zip(structures, answers, strict=True) if isinstance(a, Labels)]


@pytest.fixture(scope="session")
def lj() -> Teacher:
    """A Lennard-Jones teacher small enough for C-H bonds."""
    return load_teacher("lennard-jones", sigma_angstrom=0.9)


@pytest.fixture(scope="session")
def parents() -> list[Structure]:
    """Metals in cells of four sizes, and molecules with all their hydrogens."""
    found = []
    for k, (symbol, kind, a) in enumerate(CRYSTALS):
        cell = bulk(symbol, kind, a=a, cubic=True) * (1, 1, 1 + k % 2)
        found.append(Structure.from_ase(cell, id=f"metals-{k:06d}", source="metals", family=symbol))
    for k, name in enumerate(MOLECULES):
        found.append(Structure.from_ase(molecule(name), id=f"organic-{k:06d}", source="organic", family=name))
    return found


@pytest.fixture(scope="session")
def labelled(parents: list[Structure], lj: Teacher) -> list[Structure]:
    """Three rattled copies of every parent, labelled; a copy has the family of its parent."""
    source = Perturb(count=36, rattle_angstrom=(0.03, 0.06))
    copies = [
        s.with_(id=f"{s.source}-{k:06d}", positions=s.positions.astype(np.float32))
        for k, s in enumerate(source.propose(range(36), 7, parents))
        if isinstance(s, Structure)
    ]
    return labelled_by(lj, copies)


@pytest.fixture
def build(tmp_path: Path, lj: Teacher) -> Callable[..., Path]:
    """Write labelled structures as a whole dataset.h5: ``build(structures)``, and what should differ from a good one."""

    def write(
        structures: Sequence[Structure], *, splits: object = None, refused: Sequence[object] = (), **attributes
    ) -> Path:
        part, path = tmp_path / "part.h5", tmp_path / "dataset.h5"
        write_part(part, structures, refused, labelled=True)
        if splits is None:
            elements = [frozenset(s.atomic_numbers.tolist()) for s in structures]
            families = [s.family for s in structures]
            splits = split_by_family(families, elements, valid_fraction=0.1, test_fraction=0.2, seed=1)
        good = {
            "teacher": dict(lj.fingerprint),
            "label_seconds": 1.0,
            "workers": 1,
            "config": config_asking_for(structures),
        }
        merge([part], path, attributes={**good, **attributes}, splits=splits)
        part.unlink()
        return path

    return write


@pytest.fixture
def structures(tmp_path: Path, labelled: list[Structure]) -> Path:
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
