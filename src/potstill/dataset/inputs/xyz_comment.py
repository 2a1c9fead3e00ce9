"""The comment of an XYZ frame in words, beside its keys: charge, multiplicity, an ion, a bare number, units."""

from __future__ import annotations

import re

from potstill.dataset.inputs.options import ReadOptions
from potstill.dataset.inputs.species import is_symbol
from potstill.dataset.inputs.units import refuse_units_behind
from potstill.dataset.inputs.xyz_cell import NUMBER

QUOTED = re.compile(r"""\\.|"[^"]*"|'[^']*'|\{[^}]*\}|\[[^\]]*\]""")
KEY = re.compile(r"(?<!\S)([^\s=]+)\s*=")
IN_WORDS = {  # of a comment; KEY=VALUE without spaces is read by ASE
    "charge": re.compile(
        r"(?:(?:\bcharge|--chrg)(?:\s*[:=]\s*|\s+(?=[-+]))|--chrg\s+|\bq\s*:\s*|\|\s*q\s*=\s*)([-+]?\d+(?:\.\d+)?)(?![\w.])",
        re.IGNORECASE,  # '| q = 1 |' is how tmQM states it, --chrg how xtb takes it
    ),
    "unpaired_electrons": re.compile(r"--uhf\s+(\d+)(?![\w.])"),
    "multiplicity": re.compile(r"\bmult(?:iplicity)?\s*[:=]\s*(\d+)(?![\w.])", re.IGNORECASE),
}
ION = re.compile(  # OH-, NH4+, SO4(2-), [Fe(CN)6]4-, HCO3^-, Na+1
    r"""(?<![\w.:/=-])\[?(?:\(|[A-Z][a-z]?\d*|\)\d*)+\]?(?:\^?[({]?\d?[+-]\d?[)}]?|[+-]{2}|\s\d[+-])(?![\w.]|-)"""
    r"|\b(?:di|tri|zwitter)?(?:an|cat)ion(?:ic)?\b|\bde?protonated\b|\bprotonated\b",
)
SYMBOL = re.compile(r"[A-Z][a-z]?")
TWO_INTEGERS = re.compile(r"([-+]?\d\s+\d{1,2})(?:\s+[A-Za-z][^=]*)?")  # and a title, as Psi4 writes them


def charge_of_comment(facts: str) -> dict[str, float]:
    """Return charge and multiplicity that a comment states in words, such as ``Charge: -1``."""
    found = {name: pattern.search(QUOTED.sub('""', facts)) for name, pattern in IN_WORDS.items()}
    return {name: float(match[1]) for name, match in found.items() if match}


def on_comment(facts: str, options: ReadOptions) -> list[str]:
    """Return a remark about a comment of LAMMPS, or of bare numbers: an energy, or charge and multiplicity."""
    comment = facts.strip()
    if comment.startswith("Atoms. Timestep:"):
        return ["LAMMPS writes no box into a dump of style xyz, so the frame has no cell; a dump of style custom has one"]
    integers = TWO_INTEGERS.fullmatch(comment)
    if integers is not None and integers[1].split() != ["0", "1"]:
        return [
            f"the comment '{integers[1]}' is not read; where it is charge and multiplicity, write charge= and multiplicity="
        ]
    ion = None if KEY.search(comment) or options.ignore_charge else ION.search(comment)
    if ion is not None and all(map(is_symbol, SYMBOL.findall(ion[0]))) and not charge_of_comment(comment):
        return [f"the comment says '{ion[0]}', and the structure is taken as neutral; where it has a charge, write charge="]
    if options.labels and re.fullmatch(rf"{NUMBER}(\s+[A-Za-z/]+)?", comment) and "." in comment:
        return [f"the comment is the number {comment}; where it is an energy, it is not taken"]
    return []


def on_units(facts: str, options: ReadOptions) -> list[str]:
    """Return a remark about words behind the numbers of labels; refuse units other than eV.

    Raises
    ------
    UnusableError
        ``units`` with the key and the unit.
    """
    return refuse_units_behind(facts, options.keys or ("energy", "REF_energy")) if options.labels else []
