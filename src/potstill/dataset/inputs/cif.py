"""CIF, block by block, in the setting that it states."""

from __future__ import annotations

import io
import re
from typing import Any, BinaryIO

import numpy as np

from potstill.core.neighbors import find_pairs
from potstill.core.registry import borrow
from potstill.core.types import Structure
from potstill.dataset.inputs.atoms import frame_from
from potstill.dataset.inputs.cif_elements import formula_tokens, name_elements
from potstill.dataset.inputs.cif_names import on_names
from potstill.dataset.inputs.options import ReadOptions
from potstill.dataset.inputs.settings import OPERATIONS, operations, refuse_other_operations
from potstill.dataset.inputs.unusable import Frame, UnusableError

SHARED_SITE = 1e-3  # as a fraction of a lattice vector
TOO_CLOSE = 0.3  # Å; the shortest bond, that of H2, is 0.74
FORMULA_ROUNDING = 0.01
COORDINATES = [f"_atom_site_{kind}_{axis}" for kind in ("fract", "cartn") for axis in "xyz"]
CELL = [f"_cell_{name}" for name in ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")]
TERM = r"[-+xyz0-9/. ]"
MAGNETIC = re.compile(rf"(?<![\w/,+.-])({TERM}*[xyz]{TERM}*,{TERM}+,{TERM}+,\s*[-+]?1)(?![\w.])")
MODULATED = re.compile(
    r"^\s*_(cell_wave_vector|cell_modulation_dimension\s+[1-9]|atom_site_displace_)", re.IGNORECASE | re.MULTILINE
)
CIF_BLOCK = re.compile(rb"^(?:\xef\xbb\xbf)?[ \t]*data_", re.IGNORECASE | re.MULTILINE)
CIF_ITEM = re.compile(r"^[ \t]*(_\S+)[ \t]+('[^'\n]*'|\"[^\"\n]*\"|[^\n#]+)", re.MULTILINE)


def cif_spans(file: BinaryIO) -> list[tuple[int, int]]:
    """Cut a file into data blocks that list atoms; the whole file where none does."""
    content = file.read()
    starts = [found.start() for found in CIF_BLOCK.finditer(content)]
    if not starts:
        raise UnusableError("unreadable", "no line begins with 'data_', as each block of a CIF does; name it as its format")
    blocks = zip(starts, [*starts[1:], len(content)], strict=True)
    return [(a, b) for a, b in blocks if b"_atom_site_" in content[a:b].lower()] or [(0, len(content))]


def parse_cif(text: str, options: ReadOptions) -> Frame:
    """Parse one data block of a CIF, by ASE, or by pymatgen where ASE fails."""
    tags = {found[1].lower(): found[2].strip().strip("'\"") for found in CIF_ITEM.finditer(text)}
    _refuse_magnetic(text)
    _refuse_modulated(text)
    remarks = on_names(text)
    text = _with_operations(text, tags)
    listed = None
    try:
        atoms, listed = _cif_by_ase(text)
    except UnusableError:
        raise
    except KeyError as error:
        raise UnusableError("unreadable", f"{error} is no chemical symbol, or a value that is missing") from error
    except Exception as error:  # noqa: BLE001 - ASE's parser raises anything on what it does not expect
        atoms = _cif_by_pymatgen(text, error)
    frame = frame_from(atoms, options)
    if not _compare_formula(text, frame.structure) and listed:
        refuse_other_operations(tags, listed)
    _refuse_close_copies(frame.structure)
    return frame.with_remarks(*remarks)


def _with_operations(text: str, tags: dict[str, str]) -> str:
    """Return the text with the symmetry operations of its setting, where it names a group and lists none."""
    if any(name in text.lower() and tags.get(name) not in ("?", ".") for name in OPERATIONS):
        return text
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    stated = [tags.get(f"_cell_{name}", tags.get(f"_cell.{name}", "90")) for name in names]
    try:
        cell = [float(re.sub(r"\(.*?\)", "", value)) for value in stated]
    except ValueError:
        raise UnusableError("unreadable", f"the cell is {stated}, expected six numbers") from None
    found = operations(tags, cell)
    return f"{text.rstrip()}\nloop_\n{OPERATIONS[0]}\n" + "".join(f"'{line}'\n" for line in found) if found else text


def _cif_by_ase(text: str) -> tuple[Any, int]:
    """Return the atoms of a data block, and the number of symmetry operations that it lists."""
    from ase.io.cif import parse_cif as blocks_of

    block = next(iter(blocks_of(io.BytesIO(text.encode("latin1", "replace")))), None)
    if block is None or not block.has_structure():
        if "_atom_site." in text:
            raise UnusableError("unknown_format", "mmCIF is not read; write its atoms as PDB, or as extended XYZ")
        raise UnusableError("no_atoms", "no data block lists atoms")
    name_elements(block)
    _refuse_partial(block)
    occupancies = [x for x in block.get("_atom_site_occupancy") or [] if isinstance(x, int | float)]
    if any(x < 1 for x in occupancies):
        raise UnusableError("disordered", f"a site is occupied by {min(occupancies):g}")
    for name in COORDINATES:
        unknown = [x for x in block.get(name) or [] if not isinstance(x, int | float)]
        if unknown:
            raise UnusableError("no_coordinates", f"{name} is {unknown[0]!r} for {len(unknown)} sites, expected a number")
    scaled = block.get_unsymmetrized_structure().get_scaled_positions()
    apart = scaled[:, None] - scaled[None]
    apart = np.abs(apart - np.round(apart)).max(axis=-1) + np.eye(len(scaled))
    if apart.min() < SHARED_SITE:
        raise UnusableError("disordered", "two atoms share a site")
    found: Any = next((block.get(name) for name in OPERATIONS if block.get(name)), [])
    return block.get_atoms(), 1 if isinstance(found, str) else len(found)


def _refuse_partial(block: Any) -> None:
    """Refuse a data block that states half of a cell, hydrogens without places, alternatives of a site, or dummy atoms.

    Raises
    ------
    UnusableError
        ``no_cell``, ``wrong_count`` or ``disordered``.
    """
    missing = [name for name in CELL if block.get(name) is None]
    if missing and len(missing) < len(CELL):
        raise UnusableError("no_cell", f"the cell lacks {', '.join(missing)}")
    hydrogens = sum(n for n in _column(block, "_atom_site_attached_hydrogens") if isinstance(n, int | float))
    if hydrogens:
        raise UnusableError("wrong_count", f"_atom_site_attached_hydrogens states {hydrogens:g} H atoms without coordinates")
    if "dum" in _column(block, "_atom_site_calc_flag"):
        raise UnusableError("unknown_element", "_atom_site_calc_flag marks a dummy atom; delete its row")
    groups = [str(word) for word in _column(block, "_atom_site_disorder_group") if str(word) not in (".", "?", "0")]
    if groups:
        raise UnusableError(
            "disordered",
            f"_atom_site_disorder_group marks {len(groups)} sites as alternatives; keep one, without a mark",
        )


def _column(block: Any, name: str) -> list[Any]:
    """Return the values of a data name, of which a file may state one or a table."""
    value = block.get(name)
    return value if isinstance(value, list) else [] if value is None else [value]


def _refuse_magnetic(text: str) -> None:
    """Refuse magnetic symmetry operations, which no reader applies, unless they leave every atom where it is."""
    found = [line for line in MAGNETIC.findall(text) if not re.fullmatch(r"(\d+\s+)?x,y,z,\s*\+?1", line.strip())]
    if "_space_group_symop_magn" in text.lower() and found:
        raise UnusableError(
            "wrong_operations",
            f"it lists {len(found)} magnetic operations, which are not read; export all atoms in P 1",
        )


def _refuse_modulated(text: str) -> None:
    """Refuse a modulated structure, of which a CIF lists the average beside the waves.

    Raises
    ------
    UnusableError
        ``modulated``.
    """
    if MODULATED.search(text):
        raise UnusableError(
            "modulated", "it states a modulated structure, whose listed sites are an average; export a supercell"
        )


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


def _refuse_close_copies(structure: Structure) -> None:
    """Refuse atoms at nearly one place: symmetry copies of a site on a special position whose digits were cut."""
    _, distances = find_pairs(structure.positions, structure.cell, structure.pbc, TOO_CLOSE)
    if len(distances):
        raise UnusableError(
            "too_close",
            f"two atoms are {distances.min():.4f} Å apart: the file lists a site and its alternative, "
            "or 0.333 in the place of 1/3; write its coordinates with six digits",
        )


def _compare_formula(text: str, structure: Structure) -> bool:
    """Refuse a CIF whose atoms differ from its stated formula: a table cut between two rows looks complete.

    Returns
    -------
    bool
        Whether the formula and the number of its units fix the number of atoms.
    """
    stated = re.search(r"^_chemical_formula_sum\s+(?:'([^']+)'|\"([^\"]+)\"|(\S+))", text, re.MULTILINE)
    tokens = formula_tokens(next(filter(None, stated.groups()))) if stated else []
    amounts = {symbol: float(number or 1) for symbol, number in tokens if symbol != "D"}
    if not amounts or len(amounts) < len(tokens):
        return False
    found = dict(zip(*np.unique(structure.to_ase().get_chemical_symbols(), return_counts=True), strict=True))
    units = re.search(r"^_cell_formula_units_Z\s+(\d+)\s*$", text, re.MULTILINE)
    # with Z the formula is that of a unit, or, as pymatgen writes it, that of the cell; without it only ratios are known
    scales = (1.0, float(units[1])) if units else (len(structure) / sum(amounts.values()),)
    if set(found) != set(amounts) or not any(_same(found, amounts, scale) for scale in scales):
        stated_formula = (f"{units[1]} x " if units else "") + " ".join(map("".join, tokens))
        formula = " ".join(f"{symbol}{number}" for symbol, number in found.items())
        raise UnusableError("wrong_count", f"it states {stated_formula} and holds {formula}")
    return units is not None


def _same(found: dict[str, int], amounts: dict[str, float], scale: float) -> bool:
    return all(abs(found[symbol] - scale * amounts[symbol]) <= FORMULA_ROUNDING * found[symbol] for symbol in found)


def _short(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]
