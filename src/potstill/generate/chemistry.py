"""Chemistry that the sources of molecules share."""

from __future__ import annotations

from typing import Any

from potstill.types import Refused


def unwanted(molecule: Any, smiles: str) -> Refused | None:
    """Why an RDKit molecule is nothing for a teacher without charges and spins, or None."""
    from rdkit import Chem

    if len(Chem.GetMolFrags(molecule)) > 1:
        return Refused("fragments", f"{smiles} is more than one molecule")
    if Chem.GetFormalCharge(molecule) != 0:
        return Refused("charged", f"{smiles} has a net charge, which the teacher cannot know")
    if any(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms()):
        return Refused("radical", f"{smiles} has unpaired electrons")
    return None
