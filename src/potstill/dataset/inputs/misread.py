"""Input files of programs that state units, symmetry, a cell or kinds of atoms which ASE's readers drop or read as others.

Where the keywords of a format are few, those that are neither read nor harmless are named.
"""

from __future__ import annotations

import re

from potstill.dataset.inputs.fractional import refuse_fractional
from potstill.dataset.inputs.known import unknown
from potstill.dataset.inputs.numbers import NUMBER, number_of
from potstill.dataset.inputs.species import symbol_of_mass
from potstill.dataset.inputs.unusable import UnusableError

LINES = re.MULTILINE | re.IGNORECASE
OBLIQUE = r"^PBC[ \t]+(?:[\d.]+[ \t]+){3}(?![ \t]*(?:90(?:\.0*)?(?:[ \t]+|$)){3})[^\n]*\n"
OBLIQUE_SAID = "the cell has other angles than 90°, and the format does not state how it is turned"
MISREAD = {  # pattern, reason, detail
    "turbomole": (
        (r"^\$coord\s+(angs|frac)", "units", "$coord is not in Bohr, which its reader takes it for"),
        (
            r"^\$(periodic\s+[1-3]|lattice|cell)\b",
            "no_cell",
            "$periodic, $lattice or $cell state a cell that its reader drops",
        ),
    ),
    "res": (
        (r"^(SYMM\b|LATT\s+(?!-1\b))", "asymmetric_unit", "LATT or SYMM state copies that are not listed"),
        (
            r"^(?-i:(?![A-Z][a-z]?[ \t]|[A-Z]{4}\b))[A-Z]\w*[ \t]+\d+(?:[ \t]+-?\d*\.\d+){3}",
            "no_elements",
            "rows have labels of sites, such as C1, as SHELXL writes them, and its reader takes them for elements",
        ),
    ),
    "castep-cell": (
        (r"\bMIXTURE\s*[:(]", "disordered", "a MIXTURE occupies sites in part"),
        (r"^\s*[A-Z][a-z]?\w*\s*:\s*ghost", "unknown_element", "a ghost atom is read as an atom"),
    ),
    "espresso-in": (
        (r"^\s*ATOMIC_POSITIONS\W+crystal_sg", "asymmetric_unit", "crystal_sg lists an asymmetric unit"),
        (
            r"^(?:[^!'\n]*[\s,])?ibrav\s*=\s*-?[1-9]",
            "no_cell",
            "ibrav states the cell in a way that its reader does not know: write ibrav = 0 and CELL_PARAMETERS",
        ),
    ),
    "abinit-in": (
        (
            rf"^\s*scalecart\s+(?!1(\.0*)?(d0)?\s+1(\.0*)?(d0)?\s+1(\.0*)?(d0)?\s*$){NUMBER}",
            "units",
            "scalecart is not read",
        ),
        (r"\bxcart\b(?:\s+[-+.\d][-+.\d*/ed]*)+\s+ang", "units", "xcart is not in Bohr, which its reader takes it for"),
        (r"^\s*angdeg\b", "no_cell", "angdeg states the cell by angles, and its reader knows rprim only"),
        (r"^\s*ntypalch\s+[1-9]", "disordered", "ntypalch mixes elements on sites"),
        (r"^\s*(spgroup\s+(?!1\s*$)\d+|natrd\s+\d+|nobj\s+[12])", "asymmetric_unit", "spgroup, natrd or nobj add atoms"),
    ),
    "gaussian-in": (
        (r"^\s*#[^\n]*\bunits?\s*[=(]+\s*\(?(au|bohr)", "units", "'units' are not Å, which its reader takes them for"),
        (r"^\s*--Link1--", "mixed_labels", "it has several jobs, whose atoms its reader joins"),
        (r"^[ \t]*[A-Z][a-z]?[ \t]+\d+[ \t]+[A-Za-z]", "no_coordinates", "a Z-matrix with variables is not read"),
        (r"^\s*[A-Z][a-z]?-Bq\b", "unknown_element", "its ghost atoms (-Bq) are no atoms; delete their rows"),
    ),
    "cfg": (
        (r"^\s*A\s*=(?!\s*1(?:\.0*)?(?:[\s(]|$))", "units", "A is not 1 Å, and its reader takes lengths for Å"),
        (
            r"^(?!\s*12(?:\.\d*)?\s*$)\s*\d+(?:\.\d+)?\s*\n\s*C\s*$",
            "no_elements",
            "masses are not those of C, which LAMMPS writes for every type where 'dump_modify element' is missing",
        ),
    ),
    "cjson": ((r'"unit ?cell"', "no_cell", "its reader turns a cell and leaves the positions where they are"),),
    "dmol-car": (
        (r"^PBC\b[^\n]*\((?!P\s*1\s*\))[^)\n]+\)", "asymmetric_unit", "a space group other than P1 is not read"),
        (OBLIQUE, "no_cell", OBLIQUE_SAID),
    ),
    "dmol-arc": ((OBLIQUE, "no_cell", OBLIQUE_SAID),),
    "elk": (
        (r"^\s*molecule\s*\n\s*\.?t", "units", "a molecule has Cartesian positions, which its reader takes for fractions"),
    ),
    "struct": (
        (r"\A[^\n]*\n(?!P[ \t])", "no_cell", "the lattice is not P, and nobody has compared how its reader takes others"),
    ),
    "v-sim": (
        (
            r"\A(?![\s\S]*^\s*[#!]\s*keyword:[^\n]*\b(?:angstroem|bohr|atomic))",
            "units",
            "neither '#keyword: angstroem' nor bohr states the unit, and programs take different ones then",
        ),
    ),
    "qbox": ((r"<", "units", "Qbox writes Bohr and Hartree, and its reader takes them for Å and eV"),),
    "abinit-out": ((r"ABINIT", "units", "the cell is in Bohr times acell, and its reader takes it for Å without acell"),),
    "vasp-xdatcar": (
        (r"\A[^\n]*\n\s*-", "no_cell", "a negative scale is a volume, and its reader takes it for a factor"),
        (r"^\s*[ck]\w*\s+configuration\s*=", "units", "positions are Cartesian, and its reader takes fractions"),
    ),
    "nwchem-in": (
        (r"^\s*geometry\b[^\n]*\bunits\s+(?!an)\w+", "units", "'geometry units' are not Å, which its reader takes them for"),
        (r"^\s*symmetry\s+(?:group\s+)?(?!c1\b|group\b)\w+", "asymmetric_unit", "'symmetry' adds atoms that are not listed"),
    ),
    "cube": (
        (
            r"\A[^\n]*\n[^\n]*\n\s*-?\d+(?!(?:\s+[-+]?0+\.?0*(?:[eEdD][-+]?\d+)?){3})",
            "no_cell",
            "the grid begins beside the origin, as around a molecule, and its reader takes the grid for a periodic cell",
        ),
        (r"\A(?:[^\n]*\n){3,5}\s*-\d", "units", "a negative number of voxels states Å, and its reader takes Bohr"),
    ),
    "dftb": (
        (
            r"^[^#\n]*\b(TypesAndCoordinates|LatticeVectors)\b(?!\s*\[\s*angstrom\s*\])",
            "units",
            "lengths without [Angstrom] are in Bohr or relative, and its reader takes them for Å",
        ),
        (
            r"^[^#\n]*\b(?!(?-i:Periodic\s*=\s*(?:Yes|No)\b))periodic\s*=",
            "no_cell",
            "'Periodic' is spelled in a way that its reader ignores; it knows 'Periodic = Yes'",
        ),
    ),
    "eon": (
        (
            r"\A(?:[^\n]*\n){3}[ \t]*([-+\d.]+)[ \t]+\S+[ \t]+(?!\1[ \t]*$)\S",
            "no_cell",
            "eOn and ASE write the angles of a cell in opposite orders, and the first and the third differ",
        ),
    ),
    "runnerdata": (
        (
            r"^begin",
            "units",
            "no unit is stated: RuNNer takes Bohr and hartree, n2p2 those of the user; its reader takes the former",
        ),
    ),
    "octopus-in": ((r"^\s*Units(Input)?\s*=\s*\W*\w*ang", "units", "lengths are in Å, and its reader takes them for Bohr"),),
}
KEYWORDS = {  # pattern that finds them, and those that are read or harmless
    "turbomole": (r"^\$([\w-]+)", r"coord|end|user-defined|redundant|intdef|internal|title|symmetry|natoms|operating|eht"),
    "aims": (
        r"^[ \t]*([a-z]\w*)",
        r"lattice_vector|atom|atom_frac|constrain_relaxation|initial_(moment|charge)|velocity|hessian_\w+|symmetry_\w+|trust_radius",
    ),
    "castep-cell": (
        r"^[ \t]*(?:%BLOCK[ \t]+)?(\w+)",
        r"(LATTICE|POSITIONS|SPECIES|SYMMETRY|FIX)_\w+|\w*(KPOINT|PHONON|CONSTRAINTS)\w*|SNAP_TO_SYMMETRY|IONIC_VELOCITIES",
    ),
    "xsf": (
        r"^[ \t]*([A-Z_]{4,})",
        r"CRYSTAL|SLAB|POLYMER|MOLECULE|ATOMS|ANIMSTEPS|(PRIM|CONV)(VEC|COORD)|DIM_GROUP|(BEGIN_|END_)?(INFO|(BLOCK_?)?DATAGRID\w*)",
    ),
    "res": (
        r"^([A-Z][A-Z.]{2,3})\b",
        r"TITL|CELL|ZERR|LATT|SYMM|SFAC|UNIT|TEMP|SIZE|L\.S\.|BOND|CONF|FMAP|PLAN|WGHT|FVAR|HKLF|ACTA|LIST|MORE|REM|END",
    ),
}
TAKEN = {"cube": "the grid of the cube is taken for a periodic cell"}
BLOCK = re.compile(r"(^[ \t]*%BLOCK[^\n]*\n).*?^[ \t]*%ENDBLOCK[^\n]*", LINES | re.DOTALL)


def refuse_misread(text: str, format_name: str) -> None:
    """Refuse a file that states units, symmetry, a cell, mixed sites or elements that its reader ignores.

    Raises
    ------
    UnusableError
        With the reason of each kind.
    """
    for pattern, reason, detail in MISREAD.get(format_name, ()):
        if re.search(pattern, text, LINES):
            raise UnusableError(reason, f"{detail}; write all atoms as extended XYZ in Å")
    refuse_fractional(text, format_name)
    if format_name == "espresso-in":
        _refuse_other_masses(text)


def on_keywords(text: str, format_name: str) -> list[str]:
    """Return a remark with the keywords of an input file that are neither read nor harmless, or with what is assumed."""
    if format_name not in KEYWORDS:
        return [TAKEN[format_name]] if format_name in TAKEN else []
    pattern, harmless = KEYWORDS[format_name]
    found = re.findall(pattern, BLOCK.sub(r"\1", re.sub(r"[#!][^\n]*", "", text)), LINES)
    return unknown((word for word in found), re.compile(harmless, re.IGNORECASE))


def _refuse_other_masses(text: str) -> None:
    """Refuse an input of Quantum ESPRESSO with a label that is read as one element and has the mass of another.

    ``Ho1`` may be holmium or an outer hydrogen, ``Co`` cobalt or a carbon of CO. Hydrogen may have any mass.

    Raises
    ------
    UnusableError
        ``no_elements`` with the label.
    """
    from ase.data import atomic_masses, atomic_numbers
    from ase.io.espresso import label_to_symbol

    species = re.search(rf"^\s*ATOMIC_SPECIES[^\n]*\n((?:[ \t]*[A-Za-z]\S*[ \t]+{NUMBER}[ \t]+\S[^\n]*\n)+)", text, LINES)
    for row in species[1].splitlines() if species else []:
        label, mass = row.split()[0], number_of(row.split()[1])
        symbol, other = str(label_to_symbol(label)), symbol_of_mass(mass)
        if other not in ("", symbol) and symbol != "H" and abs(mass / atomic_masses[atomic_numbers[symbol]] - 1) > 0.3:
            raise UnusableError(
                "no_elements",
                f"the label {label} stands for {symbol}, and its mass {mass:g} is that of {other}; rename it",
            )
