"""Chemistry of molecules that RDKit reads: what is refused, and hydrogens with coordinates."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

import numpy as np

from potstill.core.types import Refused, Structure

RELAX_STEPS = 500

HydrogensBy = Literal["mmff94", "uff", "ideal"]


def unwanted(molecule: Any, smiles: str) -> Refused | None:
    """Return a refusal of fragments, a net charge or unpaired electrons, which a teacher cannot label; else None."""
    from rdkit import Chem

    if len(Chem.GetMolFrags(molecule)) > 1:
        return Refused("fragments", f"{smiles} is more than one molecule")
    if Chem.GetFormalCharge(molecule) != 0:
        return Refused("charged", f"{smiles} has a net charge, which the teacher ignores")
    if any(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms()):
        return Refused("radical", f"{smiles} has unpaired electrons")
    return None


def read_mol_block(block: str, what: str) -> Any:
    """Return an RDKit molecule of right valences, or a refusal in which ``what`` names it."""
    from rdkit import Chem, RDLogger

    RDLogger.DisableLog("rdApp.*")
    molecule = Chem.MolFromMolBlock(block, sanitize=False, removeHs=False)
    if molecule is None or molecule.GetNumAtoms() == 0:
        return Refused("program_output_broken", f"{what} is an incomplete MOL block")
    try:
        Chem.SanitizeMol(molecule)
    except Chem.AtomValenceException as error:
        return Refused("valence", f"{what}: {error}")
    except (Chem.AtomKekulizeException, Chem.KekulizeException) as error:
        return Refused("aromaticity", f"{what}: {error}")
    except Chem.MolSanitizeException as error:
        return Refused("not_sanitizable", f"{what}: {error}")
    return molecule


def why_not(block: str) -> str:
    """Return why RDKit refuses a mol block, and the remedy, as the end of a sentence; nothing where it is no mol block."""
    from rdkit import Chem

    molecule = Chem.MolFromMolBlock(block, sanitize=False, removeHs=False)
    problem = None if molecule is None else next(iter(Chem.DetectChemistryProblems(molecule)), None)
    if problem is None:
        return ""
    return f": {problem.Message()}" + ("; an ion states 'M  CHG'" if "Valence" in problem.GetType() else "")


def with_hydrogens(molecule: Any) -> tuple[Any, HydrogensBy]:
    """Return the molecule with every hydrogen as an atom; atoms that it has stay, hydrogens are relaxed around them.

    Returns
    -------
    molecule, relaxed_by
        The force field: MMFF94, UFF where MMFF94 lacks parameters, or none (ideal bond lengths and angles) where both do.
    """
    from rdkit import Chem
    from rdkit.Chem import AllChem

    whole = Chem.AddHs(molecule, addCoords=True)
    by: HydrogensBy
    if AllChem.MMFFHasAllMoleculeParams(whole):
        field, by = AllChem.MMFFGetMoleculeForceField(whole, AllChem.MMFFGetMoleculeProperties(whole)), "mmff94"
    elif AllChem.UFFHasAllMoleculeParams(whole):
        field, by = AllChem.UFFGetMoleculeForceField(whole), "uff"
    else:
        return whole, "ideal"
    if whole.GetNumAtoms() == molecule.GetNumAtoms():
        return whole, by
    field.Initialize()
    for index in range(molecule.GetNumAtoms()):  # the added ones come behind
        field.AddFixedPoint(index)
    ideal = Chem.Mol(whole)
    try:
        field.Minimize(maxIts=RELAX_STEPS)
    except RuntimeError:  # RDKit's line search ends so where atoms lie on each other
        return ideal, "ideal"
    return whole, by


def hydrogens_missing(molecule: Any, smiles: str) -> Refused | None:
    """Return None where the atoms are those that RDKit's valence model gives to the SMILES."""
    from rdkit import Chem

    model = Chem.MolFromSmiles(smiles)
    if model is None:
        return Refused("smiles_invalid", f"RDKit cannot parse {smiles}, which it wrote")
    expected = Counter(atom.GetSymbol() for atom in Chem.AddHs(model).GetAtoms())
    found = Counter(atom.GetSymbol() for atom in molecule.GetAtoms())
    if found != expected:
        return Refused("hydrogens", f"{smiles} has {found['H']} hydrogens, expected {expected['H']} by its valences")
    return None


def structure_of(molecule: Any, metadata: dict[str, Any]) -> Structure:
    """Return atoms and coordinates of an RDKit molecule."""
    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()])
    positions = np.array(molecule.GetConformer().GetPositions())
    return Structure(numbers, positions, generator_metadata=metadata)
