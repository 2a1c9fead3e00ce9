"""Formats of other programs that ASE's readers give and that potstill takes.

A name stands here if a test compares elements, positions, cell and pbc of a file, as its program writes it, with what the
format means. Readers of other formats may drop a cell or take Bohr for Å without a word, so their files are refused.
"""

from __future__ import annotations

from pathlib import Path

from potstill.core.files import quoted
from potstill.dataset.inputs.misread import MISREAD, refuse_misread
from potstill.dataset.inputs.unusable import NOT_THAT, UnusableError, text_of

COMPARED = frozenset(
    {
        "abinit-in",
        "aims",
        "aims-output",
        "castep-castep",
        "castep-cell",
        "castep-geom",
        "castep-md",
        "cfg",
        "cjson",
        "crystal",
        "cube",
        "dftb",
        "dmol-arc",
        "dmol-car",
        "elk",
        "eon",
        "espresso-in",
        "espresso-out",
        "gamess-us-out",
        "gaussian-in",
        "gaussian-out",
        "gen",
        "gpaw-out",
        "magres",
        "nwchem-in",
        "nwchem-out",
        "octopus-in",
        "onetep-in",
        "orca-output",
        "res",
        "siesta-xv",
        "struct",
        "struct_out",
        "turbomole",
        "v-sim",
        "vasp-out",
        "vasp-xdatcar",
        "vasp-xml",
        "xsf",
    }
)


def refuse_unchecked(path: Path, format_name: str) -> None:
    """Refuse a file of a format that nobody has compared.

    Raises
    ------
    UnusableError
        ``unchecked_format`` with the remedy, or the reason of a fault that is known.
    """
    if format_name in COMPARED:
        return
    if format_name in MISREAD:
        refuse_misread(text_of(path), format_name)
    raise UnusableError(
        "unchecked_format",
        f"nobody has compared ASE's reader of '{format_name}' with the format; convert it by  "
        f"ase convert -i {format_name} {quoted(path.name)} out.extxyz  and look at elements, positions, cell, pbc and units "
        f"of the result{NOT_THAT}",
    )
