"""Text files of many structures, cut into pieces of one structure each: SDF here; XYZ, CIF and PDB beside.

Takes a file and returns the start and end of its pieces. A frame is parsed at its use, and none is kept in memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from potstill.core.registry import borrow
from potstill.dataset.inputs.charge import CHARGE_KEY, SPIN_KEY, facts_on_charge, refuse_charge
from potstill.dataset.inputs.known import HARMLESS_FACT, unknown
from potstill.dataset.inputs.labels import LOOKS_LIKE_A_LABEL
from potstill.dataset.inputs.options import ReadOptions
from potstill.dataset.inputs.unusable import Frame, UnusableError

Spans = list[tuple[int, int]]
SDF_END = re.compile(rb"^\$\$\$\$.*\n?", re.MULTILINE)
SDF_PROPERTY = re.compile(r"^>[^<\n]*<([^>\n]+)>[^\n]*\n([^\n]*)", re.MULTILINE)
HARMLESS = re.compile(
    rf"({HARMLESS_FACT.pattern}|pubchem_\w+|[rsi]_\w+|_?molfile\w*|chembl\w*|mmff\w*)", HARMLESS_FACT.flags
)
DRAWING = (
    "a drawing in two dimensions has no positions; if the molecule is planar, write '3D' into columns 21 and 22 of the "
    "second line of the record"
)
OPEN_VALENCES = "an ion or a radical states 'M  CHG' or 'M  RAD'"
PLACED_ANGSTROM = 0.5  # no hydrogen is nearer to another atom


@dataclass(frozen=True, slots=True)
class TextKind:
    """One kind of text file: endings, how it is cut, how a piece is parsed, and its encoding."""

    endings: tuple[str, ...]
    spans: Callable[[BinaryIO], Spans]
    parse: Callable[[str, ReadOptions], Frame]
    encoding: str = "utf-8"


def sdf_spans(file: BinaryIO) -> Spans:
    """Cut a file into records between lines of four dollars."""
    content = file.read()
    ends = [found.span() for found in SDF_END.finditer(content)]
    starts = [0, *(stop for _, stop in ends)]
    spans = list(zip(starts, [*(start for start, _ in ends), len(content)], strict=True))
    return [(a, b) for a, b in spans if content[a:b].strip()] or [(0, len(content))]


def parse_sdf(text: str, options: ReadOptions) -> Frame:
    """Parse one record of an SDF, or a MOL file; hydrogens that it leaves implicit are added with coordinates."""
    borrow("rdkit", "molecules", "a file of molecules")
    from rdkit import Chem, RDLogger

    from potstill.dataset.inputs.chemistry import structure_of, unwanted, why_not, with_hydrogens

    RDLogger.DisableLog("rdApp.*")
    molecule = Chem.MolFromMolBlock(text, removeHs=False)
    if molecule is None:
        raise UnusableError("unreadable", f"RDKit cannot read this mol block{why_not(text)}")
    if molecule.GetNumAtoms() == 0:
        raise UnusableError("no_atoms", "there are no atoms")
    positions = np.array(molecule.GetConformer().GetPositions())
    if len(positions) > 1 and (np.ptp(positions, axis=0) == 0).all():
        raise UnusableError("no_coordinates", "all atoms are at one place")
    if len(positions) > 1 and not molecule.GetConformer().Is3D():
        raise UnusableError("no_coordinates", DRAWING)
    if any(atom.GetAtomicNum() == 0 for atom in molecule.GetAtoms()):
        raise UnusableError("unknown_element", "an atom of the mol block is no element")
    smiles = Chem.MolToSmiles(Chem.RemoveHs(molecule))
    charge = Chem.GetFormalCharge(molecule)
    metadata: dict[str, Any] = {"smiles": smiles, **({"stated_charge": charge} if charge else {})}
    refusal = unwanted(molecule, smiles)
    if refusal is not None and not (options.ignore_charge and refusal.reason in ("charged", "radical")):
        raise UnusableError(refusal.reason, refusal.detail)
    remarks = _on_properties(dict(SDF_PROPERTY.findall(text)), molecule, options)
    added = Chem.AddHs(molecule).GetNumAtoms() - molecule.GetNumAtoms()
    if not added:
        return Frame(structure_of(molecule, {**metadata, "hydrogens_added": 0}), remarks)
    stated = sum(atom.GetAtomicNum() == 1 for atom in molecule.GetAtoms())
    if stated:
        remarks = (*remarks, f"hydrogens are added: {added} beside {stated} of the record; {OPEN_VALENCES}")
    else:
        remarks = (*remarks, f"hydrogens are added by valence, since the record has none; {OPEN_VALENCES}")
    whole, placed_by = with_hydrogens(molecule)
    _refuse_unplaced(whole, added)
    return Frame(structure_of(whole, {**metadata, "hydrogens_added": added, "hydrogens": placed_by}), remarks)


def _refuse_unplaced(molecule: Any, added: int) -> None:
    """Refuse a molecule whose last atoms, the added hydrogens, lie on others: RDKit places none around a crowded atom.

    Raises
    ------
    UnusableError
        ``hydrogens`` with the distance.
    """
    positions = np.array(molecule.GetConformer().GetPositions())
    distances = np.linalg.norm(positions[-added:, None] - positions, axis=-1)
    distances[np.arange(added), np.arange(len(positions) - added, len(positions))] = np.inf
    nearest = float(distances.min(initial=np.inf))
    if nearest < PLACED_ANGSTROM:
        raise UnusableError(
            "hydrogens",
            f"hydrogens are to be added by valence, and one would be {nearest:.2f} Å from another atom; write the record "
            "with all its hydrogens",
        )


def _on_properties(properties: dict[str, str], molecule: Any, options: ReadOptions) -> tuple[str, ...]:
    """Return remarks about the properties of a record; refuse a net charge or spin that they state.

    Raises
    ------
    UnusableError
        ``charged`` or ``radical``; ``unreadable`` where charge or spin is no number.
    """
    numbers = np.array([atom.GetAtomicNum() + atom.GetTotalNumHs() for atom in molecule.GetAtoms()])
    facts = facts_on_charge(properties, {})
    if not options.ignore_charge:
        refuse_charge(facts, numbers, periodic=False)
    read = {name for name in properties if CHARGE_KEY.fullmatch(name.lower()) or SPIN_KEY.fullmatch(name.lower())}
    labels = [name for name in properties if LOOKS_LIKE_A_LABEL.search(name) and name not in read]
    remarks = unknown((name for name in properties if name not in {*labels, *read}), HARMLESS)
    if labels and options.labels:
        remarks.append(f"no labels are read from SDF, and these look like some: {', '.join(labels)}")
    return tuple(remarks)
