"""Files that hold several structures one behind the other, of formats whose readers take one: the others would be lost.

Users make them by ``cat``, and programs of structure prediction write them. Some readers take the first structure, some the
last, and some join the atoms of all.
"""

from __future__ import annotations

import re
from pathlib import Path

from potstill.dataset.inputs.numbers import with_plain_numbers
from potstill.dataset.inputs.unusable import UnusableError, text_of

REAL = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
THREE = rf"[ \t]*(?:{REAL}[ \t]+){{2}}{REAL}\b[^\n]*\n"
HEADS = {  # a pattern for each format that is found once in a file of one structure
    "vasp": rf"^[ \t]*(?:{REAL}|(?:{REAL}[ \t]+){{2}}{REAL})[ \t]*\n{THREE}{THREE}{THREE}"
    r"(?:[ \t]*(?!Lattice)[A-Za-z][^\n]*\n)?(?:[ \t]*\d+)+[ \t]*\n(?=[ \t]*[A-Za-z])",
    "lammps-data": r"^[ \t]*\d+[ \t]+atoms\b",
    "res": r"^CELL\b",
    "gen": r"^[ \t]*\d+[ \t]+[CSFH][ \t]*$",
    "dmol-car": r"^!DATE\b",
    "castep-cell": r"^[ \t]*%BLOCK[ \t]+POSITIONS_",
    "onetep-in": r"^[ \t]*%BLOCK[ \t]+POSITIONS_",
    "nwchem-in": r"^[ \t]*geometry\b",
    "turbomole": r"^\$coord\b",
    "crystal": r"^[ \t]*[0-3][ \t]+[1-6][ \t]+[1-6](?=[ \t]|$)",
    "abinit-in": r"^[ \t]*natom\b",
    "struct": r"\bLATTICE,?[ \t]*NONEQUIV",
    "xsf": r"^[ \t]*(?:CRYSTAL|SLAB|POLYMER|MOLECULE)[ \t]*$",
}


ARCHIVE = re.compile(r"^ 1[\\|]1[\\|][^\\|]*[\\|]([^\\|]*)", re.MULTILINE)  # at the end of a Gaussian job; Windows writes |


def refuse_several(path: Path, format_name: str) -> None:
    """Refuse a file of several structures, in a format whose reader takes one.

    Raises
    ------
    UnusableError
        ``several_structures`` with their number.
    """
    if format_name == "gaussian-out":
        found = _jobs_of_gaussian(text_of(path))
    elif format_name in HEADS:
        found = len(re.findall(HEADS[format_name], with_plain_numbers(text_of(path)), re.MULTILINE | re.IGNORECASE))
    else:
        return
    what = "jobs" if format_name == "gaussian-out" else "structures"
    if found > 1:
        raise UnusableError(
            "several_structures",
            f"the file holds {found} {what} of '{format_name}' one behind the other, and its reader takes one; "
            "write each into a file of its own, or all as extended XYZ",
        )


def _jobs_of_gaussian(text: str) -> int:
    """Return the number of jobs whose results differ: the reader takes the first, and frequencies behind it add none."""
    kinds = ["".join(kind.split()) for kind in ARCHIVE.findall(text)]
    return 1 + sum(kind != "Freq" for kind in kinds[1:])
