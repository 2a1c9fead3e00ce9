"""Conformers: from a SMILES to a molecule in space with explicit hydrogens, for every source of molecules.

Conformers are embedded by ETKDGv3 (Riniker and Landrum, J. Chem. Inf. Model. 55, 2562 (2015); Wang et al., ibid. 60, 2044
(2020)) and moved some steps towards the MMFF94 minimum, so that they lie near it but not in it.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from potstill.core.errors import InputError
from potstill.core.types import Refused, Structure
from potstill.dataset.inputs.chemistry import structure_of, unwanted
from potstill.generate.source import SourceOptions

MAX_EMBEDDING_ATTEMPTS = 50


def embed(
    smiles: str, source: SourceOptions, rng: np.random.Generator, max_mmff_steps: int
) -> tuple[Any, dict[str, Any]] | Refused:
    """Return an RDKit molecule with hydrogens and one conformer, and how it was made.

    The answer is a refusal if it is no neutral closed-shell molecule, if the source allows neither its elements nor its
    size, or if ETKDGv3 finds no conformer.
    """
    from rdkit import Chem, RDLogger
    from rdkit.Chem import AllChem

    RDLogger.DisableLog("rdApp.*")
    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None:
        return Refused("smiles_invalid", f"RDKit cannot parse {smiles}")
    refusal = unwanted(molecule, smiles)
    if refusal is not None:
        return refusal
    molecule = Chem.AddHs(molecule)
    refusal = source.refuse_composition({a.GetSymbol() for a in molecule.GetAtoms()}, molecule.GetNumAtoms(), smiles)
    if refusal is not None:
        return refusal
    options = AllChem.ETKDGv3()
    seed, steps = int(rng.integers(2**31 - 1)), int(rng.integers(max_mmff_steps + 1))
    options.randomSeed = seed
    options.maxIterations = MAX_EMBEDDING_ATTEMPTS
    if AllChem.EmbedMolecule(molecule, options) != 0:
        return Refused("embedding_failed", f"ETKDGv3 found no conformer of {smiles}")
    if steps and AllChem.MMFFHasAllMoleculeParams(molecule):
        AllChem.MMFFOptimizeMolecule(molecule, maxIters=steps)
    return molecule, {"smiles": Chem.MolToSmiles(Chem.RemoveHs(molecule)), "seed": seed, "mmff_steps": steps}


def conformer(smiles: str, source: SourceOptions, rng: np.random.Generator, max_mmff_steps: int) -> Structure | Refused:
    """Return the molecule of :func:`embed` as a structure."""
    embedded = embed(smiles, source, rng, max_mmff_steps)
    return embedded if isinstance(embedded, Refused) else structure_of(*embedded)


@lru_cache(maxsize=4)
def smiles_lines(path: Path | None) -> tuple[str, ...]:
    """Return the first word of each line of a SMILES file, or RDKit's 5,000 NCI molecules where no file is given."""
    if path is None:
        from rdkit import RDConfig

        path = Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi"
    if not path.is_file():
        raise InputError(f"no SMILES file at {path}")
    lines = tuple(
        line.split()[0] for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()
    )
    if not lines:
        raise InputError(f"the SMILES file {path} is empty")
    return lines
