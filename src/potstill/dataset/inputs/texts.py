"""Text files of many structures, cut into pieces of one structure each: extended XYZ and SDF here, CIF and PDB beside.

Takes a file and returns the start and end of its pieces. A frame is parsed at its use, and none is kept in memory.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from potstill.core.registry import borrow
from potstill.dataset.inputs.atoms import frame_from, stated_names
from potstill.dataset.inputs.labels import LOOKS_LIKE_A_LABEL
from potstill.dataset.inputs.options import ReadOptions
from potstill.dataset.inputs.unusable import Frame, UnusableError

Spans = list[tuple[int, int]]
SDF_END = re.compile(rb"^\$\$\$\$.*\n?", re.MULTILINE)
SDF_PROPERTY = re.compile(r"^>[^<]*<([^>]+)>", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class TextKind:
    """One kind of text file: endings, how it is cut, how a piece is parsed, and its encoding."""

    endings: tuple[str, ...]
    spans: Callable[[BinaryIO], Spans]
    parse: Callable[[str, ReadOptions], Frame]
    encoding: str = "utf-8"


def xyz_spans(file: BinaryIO) -> Spans:
    """Cut a file by its counts of atoms; text in the place of a count belongs to the frame before it."""
    starts: list[int] = []
    at = 0
    while line := file.readline():
        if line.strip():
            try:
                count = int(line)
            except ValueError:
                at = file.seek(0, io.SEEK_END)
                starts = starts or [0]
                break
            starts.append(at)
            at += len(line)
            for _ in range(count + 1):
                line = file.readline()
                at += len(line)
                if not line:
                    break
        else:
            at += len(line)
    return list(zip(starts, [*starts[1:], at], strict=True)) if starts else []


def parse_xyz(text: str, options: ReadOptions) -> Frame:
    """Parse one frame of (extended) XYZ, with its names and metadata where potstill wrote it."""
    from ase.io.extxyz import read_xyz

    first, *rest = text.rstrip().splitlines()
    if not first.strip().lstrip("-").isdigit():
        raise UnusableError("unreadable", f"a number of atoms was expected, found {first[:40]!r}")
    stated, found = int(first), max(0, len(rest) - 1)
    if stated <= 0:
        raise UnusableError("no_atoms", f"{stated} atoms are stated")
    if stated != found:
        raise UnusableError("wrong_count", f"{stated} atoms are stated, {found} lines follow")
    if not text.endswith("\n") and last_number_is_cut(rest[1:]):
        raise UnusableError("unreadable", "the file ends within its last number")
    try:
        atoms = next(iter(read_xyz(io.StringIO(text.rstrip() + "\n"), 0)))
    except KeyError as error:
        raise UnusableError("unreadable", f"{error} is neither a chemical symbol nor a column of the file") from error
    record = atoms.info.pop("record_hex", None)
    if record is None:
        return frame_from(atoms, options, names=stated_names(atoms.info))
    if not text.endswith("\n"):
        raise UnusableError("unreadable", "the file was cut short: its last line has no end")
    return frame_from(atoms, options, ours=True, names=json.loads(bytes.fromhex(str(record)[1:])))


def last_number_is_cut(rows: list[str]) -> bool:
    """Return whether all numbers of a table have the same number of decimals, and the very last has fewer."""
    *decimals, last = [len(word.partition(".")[2]) for row in rows for word in row.split()[1:]] or [0]
    return bool(decimals) and len(set(decimals)) == 1 and last < decimals[0]


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

    from potstill.dataset.inputs.chemistry import structure_of, unwanted, with_hydrogens

    RDLogger.DisableLog("rdApp.*")
    molecule = Chem.MolFromMolBlock(text, removeHs=False)
    if molecule is None:
        raise UnusableError("unreadable", "RDKit cannot read this mol block")
    if molecule.GetNumAtoms() == 0:
        raise UnusableError("no_atoms", "there are no atoms")
    positions = np.array(molecule.GetConformer().GetPositions())
    if len(positions) > 1 and (np.ptp(positions, axis=0) == 0).all():
        raise UnusableError("no_coordinates", "all atoms are at one place")
    if len(positions) > 1 and not molecule.GetConformer().Is3D():
        raise UnusableError("no_coordinates", "a drawing in two dimensions has no positions")
    if any(atom.GetAtomicNum() == 0 for atom in molecule.GetAtoms()):
        raise UnusableError("unknown_element", "an atom of the mol block is no element")
    smiles = Chem.MolToSmiles(Chem.RemoveHs(molecule))
    charge = Chem.GetFormalCharge(molecule)
    metadata: dict[str, Any] = {"smiles": smiles, **({"stated_charge": charge} if charge else {})}
    refusal = unwanted(molecule, smiles)
    if refusal is not None and not (options.ignore_charge and refusal.reason in ("charged", "radical")):
        raise UnusableError(refusal.reason, refusal.detail)
    properties = [name for name in SDF_PROPERTY.findall(text) if options.labels and LOOKS_LIKE_A_LABEL.search(name)]
    remarks = (f"no labels are read from SDF, and these look like some: {', '.join(properties)}",) if properties else ()
    added = Chem.AddHs(molecule).GetNumAtoms() - molecule.GetNumAtoms()
    if not added:
        return Frame(structure_of(molecule, {**metadata, "hydrogens_added": 0}), remarks)
    whole, placed_by = with_hydrogens(molecule)
    return Frame(structure_of(whole, {**metadata, "hydrogens_added": added, "hydrogens": placed_by}), remarks)
