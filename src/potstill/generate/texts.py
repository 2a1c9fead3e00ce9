"""Text files of many structures, cut into pieces of one structure each: extended XYZ, CIF, SDF.

Enters a file, leaves where its pieces start and end, so that a frame is parsed when it is asked for and nothing is held.
"""

from __future__ import annotations

import io
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from potstill.core.registry import borrow
from potstill.core.types import Structure
from potstill.generate.unusable import UnusableError, structure_from

Spans = list[tuple[int, int]]
SHARED_SITE = 1e-3  # of a lattice vector
FORMULA_ROUNDING = 0.01
CIF_BLOCK = re.compile(rb"^[ \t]*data_", re.IGNORECASE | re.MULTILINE)
SDF_END = re.compile(rb"^\$\$\$\$.*\n?", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class TextKind:
    """One kind of text file: endings, how it is cut, how a piece is parsed, and its encoding."""

    endings: tuple[str, ...]
    spans: Callable[[BinaryIO], Spans]
    parse: Callable[[str], Structure]
    encoding: str = "utf-8"


def xyz_spans(file: BinaryIO) -> Spans:
    """Frames by their counts of atoms; what follows where a count should be belongs to the frame before it."""
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


def parse_xyz(text: str) -> Structure:
    """One frame of (extended) XYZ; its family where potstill wrote it."""
    from ase.io.extxyz import read_xyz

    first, *rest = text.rstrip().splitlines()
    if not first.strip().lstrip("-").isdigit():
        raise UnusableError("unreadable", f"a number of atoms was expected, found {first[:40]!r}")
    stated, found = int(first), max(0, len(rest) - 1)
    if stated <= 0:
        raise UnusableError("no_atoms", f"{stated} atoms are stated")
    if stated != found:
        raise UnusableError("wrong_count", f"{stated} atoms are stated, {found} lines follow")
    if not text.endswith("\n") and _last_number_is_cut(rest[1:]):
        raise UnusableError("unreadable", "the file ends within its last number")
    atoms = next(iter(read_xyz(io.StringIO(text.rstrip() + "\n"), 0)))
    record = atoms.info.get("record_hex")
    if record is None:
        return structure_from(atoms)
    known = json.loads(bytes.fromhex(str(record)[1:]))
    return structure_from(atoms, family=known["family"], generator_metadata=known["generator_metadata"])


def _last_number_is_cut(rows: list[str]) -> bool:
    """Whether all numbers of a table have the same number of decimals, and the very last has fewer."""
    *decimals, last = [len(word.partition(".")[2]) for row in rows for word in row.split()[1:]] or [0]
    return bool(decimals) and len(set(decimals)) == 1 and last < decimals[0]


def check_poscar(text: str) -> None:
    """Compare the rows of a POSCAR with its counts: ASE takes a row of one number for three times that number.

    Raises
    ------
    UnusableError
        If a row is missing or is no position.
    """
    lines = text.splitlines()
    at = next((k for k in (5, 6) if k < len(lines) and lines[k].split()[:1] and lines[k].split()[0].isdigit()), None)
    if at is None:
        raise UnusableError("unreadable", "there are no counts of atoms in its sixth or seventh line")
    stated = sum(int(word) for word in itertools.takewhile(str.isdigit, lines[at].split()))
    selective = len(lines) > at + 1 and lines[at + 1].strip()[:1] in ("S", "s")
    rows = lines[at + 2 + selective :][:stated]
    found = sum(_is_position(row.split()[:3]) for row in rows)
    if stated != found:
        raise UnusableError("wrong_count", f"{stated} atoms are stated, {found} positions follow")
    if len(rows) == stated and not text.endswith("\n") and rows[-1] is lines[-1]:
        words = [f"X {' '.join(row.split()[:3])}" for row in rows]
        if len(rows[-1].split()) == 3 and _last_number_is_cut(words):
            raise UnusableError("unreadable", "the file ends within its last number")


def _is_position(words: list[str]) -> bool:
    try:
        return len([float(word) for word in words]) == 3
    except ValueError:
        return False


def cif_spans(file: BinaryIO) -> Spans:
    """Data blocks that list atoms; the whole file where there is none."""
    content = file.read()
    starts = [found.start() for found in CIF_BLOCK.finditer(content)]
    blocks = zip(starts, [*starts[1:], len(content)], strict=True)
    return [(a, b) for a, b in blocks if b"_atom_site_" in content[a:b].lower()] or [(0, len(content))]


def parse_cif(text: str) -> Structure:
    """One data block of a CIF, by ASE, or by pymatgen where ASE fails."""
    try:
        atoms = _cif_by_ase(text)
    except UnusableError:
        raise
    except Exception as error:  # noqa: BLE001 - ASE's parser raises anything on what it does not expect
        atoms = _cif_by_pymatgen(text, error)
    structure = structure_from(atoms)
    _compare_formula(text, structure)
    return structure


def _cif_by_ase(text: str) -> Any:
    from ase.io.cif import parse_cif as blocks_of

    block = next(iter(blocks_of(io.BytesIO(text.encode("latin1", "replace")))), None)
    if block is None or not block.has_structure():
        raise UnusableError("no_atoms", "no data block lists atoms")
    occupancies = [x for x in block.get("_atom_site_occupancy") or [] if isinstance(x, int | float)]
    if any(x < 1 for x in occupancies):
        raise UnusableError("disordered", f"a site is occupied by {min(occupancies):g}")
    scaled = block.get_unsymmetrized_structure().get_scaled_positions()
    apart = scaled[:, None] - scaled[None]
    apart = np.abs(apart - np.round(apart)).max(axis=-1) + np.eye(len(scaled))
    if apart.min() < SHARED_SITE:
        raise UnusableError("disordered", "two atoms share a site")
    return block.get_atoms()


def _cif_by_pymatgen(text: str, cause: Exception) -> Any:
    borrow("pymatgen", "crystals", "a CIF that ASE cannot read")
    from pymatgen.io.cif import CifParser

    try:
        crystal = CifParser(io.StringIO(text)).parse_structures(primitive=False, on_error="raise")[0]
    except Exception as error:
        raise UnusableError("unreadable", f"ASE: {_short(cause)}; pymatgen: {_short(error)}") from error
    if not crystal.is_ordered:
        raise UnusableError("disordered", "sites are occupied in part")
    return crystal.to_ase_atoms()


def _compare_formula(text: str, structure: Structure) -> None:
    """A CIF that says what it holds must hold it: a table that was cut between two rows looks whole."""
    stated = re.search(r"^_chemical_formula_sum\s+(?:'([^']+)'|\"([^\"]+)\"|(\S+))", text, re.MULTILINE)
    tokens = re.findall(r"([A-Z][a-z]?)([\d.]*)", next(filter(None, stated.groups()))) if stated else []
    amounts = {symbol: float(number or 1) for symbol, number in tokens if symbol != "D"}
    if not amounts or len(amounts) < len(tokens):
        return
    found = dict(zip(*np.unique(structure.to_ase().get_chemical_symbols(), return_counts=True), strict=True))
    units = re.search(r"^_cell_formula_units_Z\s+(\d+)\s*$", text, re.MULTILINE)
    # with Z the formula is that of a unit, or, as pymatgen writes it, that of the cell; without it only ratios are known
    scales = (1.0, float(units[1])) if units else (len(structure) / sum(amounts.values()),)
    if set(found) != set(amounts) or not any(_same(found, amounts, scale) for scale in scales):
        stated_formula = (f"{units[1]} x " if units else "") + " ".join(map("".join, tokens))
        formula = " ".join(f"{symbol}{number}" for symbol, number in found.items())
        raise UnusableError("wrong_count", f"it states {stated_formula} and holds {formula}")


def _same(found: dict[str, int], amounts: dict[str, float], scale: float) -> bool:
    return all(abs(found[symbol] - scale * amounts[symbol]) <= FORMULA_ROUNDING * found[symbol] for symbol in found)


def sdf_spans(file: BinaryIO) -> Spans:
    """Records between lines of four dollars."""
    content = file.read()
    ends = [found.span() for found in SDF_END.finditer(content)]
    starts = [0, *(stop for _, stop in ends)]
    spans = list(zip(starts, [*(start for start, _ in ends), len(content)], strict=True))
    return [(a, b) for a, b in spans if content[a:b].strip()] or [(0, len(content))]


def parse_sdf(text: str) -> Structure:
    """One record of an SDF, or a MOL file; hydrogens that it leaves implicit are added with coordinates."""
    borrow("rdkit", "molecules", "a file of molecules")
    from rdkit import Chem, RDLogger

    from potstill.generate.chemistry import structure_of, unwanted, with_hydrogens

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
    refusal = unwanted(molecule, smiles)
    if refusal is not None:
        raise UnusableError(refusal.reason, refusal.detail)
    added = Chem.AddHs(molecule).GetNumAtoms() - molecule.GetNumAtoms()
    if not added:
        return structure_of(molecule, {"smiles": smiles, "hydrogens_added": 0})
    whole, placed_by = with_hydrogens(molecule)
    return structure_of(whole, {"smiles": smiles, "hydrogens_added": added, "hydrogens": placed_by})


TEXT_KINDS = (
    TextKind((".xyz", ".extxyz"), xyz_spans, parse_xyz),
    TextKind((".cif", ".mcif"), cif_spans, parse_cif, "latin1"),
    TextKind((".sdf", ".sd", ".mol"), sdf_spans, parse_sdf),
)


def _short(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]
