"""What the language model writes is a molecule by RDKit, the same every time, and leaves no trace in global state."""

from __future__ import annotations

import logging
from importlib.util import find_spec

import pytest
import torch
from rdkit import Chem

from potstill.core.errors import InputError
from potstill.core.types import Structure
from potstill.generate.chempleter import INSTALL, Chempleter
from potstill.testing import check_source

needs_chempleter = pytest.mark.skipif(
    find_spec("chempleter") is None or find_spec("selfies") is None, reason="chempleter is not installed"
)


@needs_chempleter
def test_it_is_a_source():
    check_source(Chempleter(count=8, max_symbols=20))


@needs_chempleter
def test_molecules():
    structures = [s for s in Chempleter(count=1).propose(range(30), 1, ()) if isinstance(s, Structure)]
    assert len(structures) > 10
    for structure in structures:
        molecule = Chem.AddHs(Chem.MolFromSmiles(structure.generator_metadata["smiles"]))
        assert sorted(structure.atomic_numbers.tolist()) == sorted(a.GetAtomicNum() for a in molecule.GetAtoms())
        assert Chem.GetFormalCharge(molecule) == 0
    assert len({s.generator_metadata["smiles"] for s in structures}) > 0.9 * len(structures)


@needs_chempleter
def test_global_state_is_left_alone():
    root = logging.getLogger()
    handlers, level, torch_state = list(root.handlers), root.level, torch.get_rng_state()
    Chempleter(count=1).propose([0], 1, ())
    assert root.handlers == handlers
    assert root.level == level
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr("potstill.generate.chempleter.find_spec", lambda _name: None)
    with pytest.raises(InputError, match="needs the package 'chempleter'") as caught:
        Chempleter(count=1).propose([0], 1, ())
    assert INSTALL in str(caught.value)
