"""Outputs of other programs whose reader joins the energy of one calculation with the forces of another.

ASE's readers take the last energy, the last geometry or the first forces of a section. That is right for one calculation
a section. Other outputs are refused, since nothing in the labels shows the mistake.
"""

from __future__ import annotations

import re

from potstill.dataset.inputs.unusable import UnusableError

LINES = re.MULTILINE | re.IGNORECASE
ORCA_END = re.compile(r"ORCA TERMINATED NORMALLY|ORCA GEOMETRY RELAXATION STEP")
OTHER_ENERGY = (  # of Gaussian
    r"^\s*(Total Energy, E\((?:TD-\S+|CIS\S*)\)|ONIOM: extrapolated energy|Counterpoise corrected energy)\s*="
)
REMEDY = "write the wanted steps as extended XYZ, each with its own energy and forces in eV and eV/Å"


def refuse_mixed(text: str, format_name: str) -> None:
    """Refuse an output whose energy, forces and positions ASE's reader would take from different calculations.

    Parameters
    ----------
    text
        Output of another program.
    format_name
        Name of its format in ASE.

    Raises
    ------
    UnusableError
        ``mixed_labels`` with the numbers that disagree.
    """
    if format_name == "orca-output":
        _orca(text)
    elif format_name == "espresso-out":
        if _count(r"^!!\s+total energy", text):
            _refuse("energies of a hybrid functional, marked '!!', and the reader takes those without exact exchange")
    elif format_name == "gamess-us-out":
        geometries = _count(r"^\s*ATOM\s+ATOMIC\s+COORDINATES", text)
        gradients = _count(r"^\s*GRADIENT OF THE ENERGY\s*$", text)
        if gradients > geometries:
            _refuse(f"{gradients} gradients and {geometries} geometry in Bohr: the reader takes the first geometry")
    elif format_name == "gaussian-out":
        forces = _count(r"^\s*Center\s+Atomic\s+Forces \(Hartrees/Bohr\)", text)
        if forces and not _count(r"^\s*(Input|Z-Matrix) orientation:", text):
            _refuse("forces in the orientation of the input and positions in the standard orientation alone")
        other = re.search(OTHER_ENERGY, text, LINES)
        if forces and other is not None:
            _refuse(f"forces of '{other[1]}', whose energy the reader does not take")


def _orca(text: str) -> None:
    """Refuse a section between two ends with several energies, as of molecular dynamics or of several jobs in one file."""
    for section in ORCA_END.split(text):
        energies = _count(r"^\s*FINAL SINGLE POINT ENERGY", section)
        if energies > 1 and _count(r"^\s*CARTESIAN GRADIENT", section):
            _refuse(f"{energies} energies in one section: the reader takes the last of them and the first forces")


def _count(pattern: str, text: str) -> int:
    return len(re.findall(pattern, text, LINES))


def _refuse(fact: str) -> None:
    raise UnusableError("mixed_labels", f"the output states {fact}; {REMEDY}")
