"""Checkouts whose programs write what MatterGen and MolDiff write, with faults on demand."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).with_name("programs")
SMILES = (
    "CC(=O)Oc1ccccc1C(=O)O",
    "CN1C=NC2=C1C(=O)N(C(=O)N2C)C",
    "c1ccc2[nH]ccc2c1",
    "CS(=O)(=O)c1ccc(F)cc1",
    "ClCCOP(=O)(O)O",
)
DISTRIBUTION = "NUM_ATOMS_DISTRIBUTIONS = {'ALEX_MP_20': {n: 0.05 for n in range(1, 21)}}\n"
PLACEHOLDER = """\
import numpy as np

def make_data_placeholder(n_graphs, device=None, max_size=None):
    return np.random.normal(24.923464980477522, 5.516291901819105, size=n_graphs).astype('int64')
"""
TORCH = """\
__version__ = '1.10.1+cu113'

class cuda:
    @staticmethod
    def is_available():
        return False
"""


@dataclass(frozen=True)
class Checkout:
    """A checkout of a program, and what it was called with."""

    path: Path
    weights: Path

    def fault(self, name: str) -> Checkout:
        (self.path / "fault.txt").write_text(name)
        return self

    @property
    def calls(self) -> list[dict]:
        record = self.path / "calls.jsonl"
        return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_weights(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"PK" + bytes(1_100_000))
    return path


def mol_block(smiles: str) -> str:
    """Heavy atoms of a conformer, as RDKit's MolToMolFile writes them for MolDiff."""
    from rdkit import Chem
    from rdkit.Chem import AllChem

    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert AllChem.EmbedMolecule(molecule, randomSeed=7) == 0
    return Chem.MolToMolBlock(Chem.RemoveHs(molecule))


@pytest.fixture
def home(tmp_path_factory, monkeypatch) -> Path:
    """Where environments, logs and the lock of the machine are in these tests."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("POTSTILL_HOME", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def mattergen_checkout(tmp_path, home) -> Checkout:  # noqa: ARG001 - a fixture that needs that one
    path = tmp_path / "mattergen-checkout"
    write(path / "sampling_conf" / "default.yaml", "sampler_partial: {}\n")
    write(path / "mattergen" / "common" / "gemnet" / "gemnet-dT.json", "{}")
    write(path / "mattergen" / "common" / "data" / "num_atoms_distribution.py", DISTRIBUTION)
    (path / "mattergen" / "scripts").mkdir()
    shutil.copyfile(PROGRAMS / "mattergen_generate.py", path / "mattergen" / "scripts" / "generate.py")
    model = tmp_path / "model"
    write_weights(model / "checkpoints" / "last.ckpt")
    write(model / "config.yaml", "lightning_module: {}\n")
    return Checkout(path, model).fault("none")


@pytest.fixture
def moldiff_checkout(tmp_path, home) -> Checkout:  # noqa: ARG001 - the same
    path = tmp_path / "moldiff-checkout"
    write(path / "models" / "model.py")
    write(path / "utils" / "transforms.py", PLACEHOLDER)
    write(path / "torch.py", TORCH)
    (path / "scripts").mkdir()
    shutil.copyfile(PROGRAMS / "moldiff_sample.py", path / "scripts" / "sample_drug3d.py")
    for k, smiles in enumerate(SMILES):
        write(path / "pool" / f"{k}.mol", mol_block(smiles))
    return Checkout(path, write_weights(tmp_path / "MolDiff_simple.pt")).fault("none")


@pytest.fixture
def mol_block_of() -> Callable[[str], str]:
    return mol_block
