"""Facts that files of other programs state and ASE's readers drop: charge, multiplicity, units, symmetry, pressure."""

from __future__ import annotations

import re
from pathlib import Path

from potstill.dataset.inputs.species import symbol_of_mass
from potstill.dataset.inputs.unusable import UnusableError, text_of

LINES = re.MULTILINE | re.IGNORECASE
NUMBER = r"([-+]?\d+\.?\d*(?:[eEdD][-+]?\d+)?)"
MISREAD = {
    "turbomole": (r"^\$coord\s+(angs|frac)", "units", "$coord is not in Bohr, which its reader takes it for"),
    "res": (r"^(SYMM\b|LATT\s+(?!-1\b))", "asymmetric_unit", "LATT or SYMM state copies that are not listed"),
    "castep-cell": (r"\bMIXTURE\s*[:(]", "disordered", "a MIXTURE occupies sites in part"),
    "espresso-in": (r"^\s*ATOMIC_POSITIONS\W+crystal_sg", "asymmetric_unit", "crystal_sg lists an asymmetric unit"),
}
CHARGES = {
    "gaussian-in": rf"^[ \t]*{NUMBER}[ \t,]+\d+[ \t]*$",
    "gaussian-out": rf"^\s*Charge\s*=\s*{NUMBER}\s+Multiplicity(?!.*fragment)",
    "orca-output": rf"^\s*Total Charge\s+Charge\s+\.+\s+{NUMBER}",
    "nwchem-in": rf"^\s*charge\s+{NUMBER}",
    "nwchem-out": rf"^\s*Charge\s*[:=]\s*{NUMBER}",
    "espresso-in": rf"^[^!\n]*\btot_charge\s*=\s*{NUMBER}",
    "castep-castep": rf"^\s*net charge of system\s*:\s*{NUMBER}",
    "aims-output": rf"^\s*(?:Charged system requested:\s*)?Charge\s*=\s*{NUMBER}",
    "gamess-us-out": rf"^\s*CHARGE OF MOLECULE\s*=\s*{NUMBER}",
    "abinit-in": rf"^\s*(?:cell)?charge\s+{NUMBER}",
    "abinit-out": rf"^\s*(?:cell)?charge\s+{NUMBER}",
    "dftb": rf"^\s*Charge\s*=\s*{NUMBER}",
    "octopus-in": rf"^\s*ExcessCharge\s*=\s*{NUMBER}",
    "onetep-in": rf"^\s*charge\s*:?\s+{NUMBER}",
    "onetep-out": rf"^\s*charge\s*:?\s+{NUMBER}",
}
MULTIPLICITIES = {
    "gaussian-in": r"^[ \t]*[-+]?\d+[ \t,]+(\d+)[ \t]*$",
    "gaussian-out": r"^\s*Charge\s*=\s*[-+]?\d+\s+Multiplicity\s*=\s*(\d+)(?!.*fragment)",
    "orca-output": r"^\s*Multiplicity\s+Mult\s+\.+\s+(\d+)",
    "nwchem-in": r"^\s*mult\s+(\d+)",
    "nwchem-out": r"^\s*Spin multiplicity\s*:\s*(\d+)",
    "gamess-us-out": r"^\s*(?:SPIN|STATE) MULTIPLICITY\s*=\s*(\d+)",
}
UNPAIRED = {
    "nwchem-in": r"^\s*nopen\s+(\d+)",
    "nwchem-out": r"^\s*open shells\s*=\s*(\d+)",
}
FIRST_ONLY = frozenset({"gaussian-in"})  # two integers in a line also state a bond
ROUNDING = 1e-6  # eV
VASP_XML_TYPE = re.compile(r"<rc><c>\s*(\d+)\s*</c><c>[^<]*</c><c>[^<]*</c><c>\s*([\d.]+)\s*</c><c>[^<]*</c></rc>")
EXTRAPOLATED = rf"^\s*Free energy:\s*{NUMBER}\s*^\s*Extrapolated:\s*{NUMBER}"  # of GPAW
OF_VASP = {
    "ML_LMLFF": "ML_LMLFF is on: labels of steps without electronic steps are those of VASP's own force field",
    "IMAGES": "IMAGES is set: forces along an elastic band may contain those of its springs",
}
PRESSURE = {"vasp-xml": r'<i name="PSTRESS">\s*' + NUMBER, "vasp-out": r"^\s*PSTRESS\s*=\s*" + NUMBER}


def facts_of_program(path: Path, format_name: str) -> tuple[dict[str, float], list[str]]:
    """Return the charge and multiplicity that a file states, as facts about its frames, and remarks about its labels.

    Parameters
    ----------
    path
        File of another program, compressed or not.
    format_name
        Name of its format in ASE.

    Raises
    ------
    UnusableError
        If the file states units, symmetry, mixed sites or elements that its reader ignores.
    """
    text = text_of(path)
    _refuse_misread(text, format_name)
    facts = {}
    for name, patterns in (("charge", CHARGES), ("multiplicity", MULTIPLICITIES), ("unpaired_electrons", UNPAIRED)):
        found = re.findall(patterns[format_name], text, LINES) if format_name in patterns else []
        if found:
            values = [_number(word) for word in found[: 1 if format_name in FIRST_ONLY else None]]
            facts[name] = max(values, key=abs)  # of several calculations in one file
    if format_name in ("vasp-xml", "vasp-out"):
        facts.update(_charge_of_vasp(text, format_name))
    if format_name == "espresso-out":
        facts.update(_charge_of_espresso(text))
    pressure = re.search(PRESSURE[format_name], text, LINES) if format_name in PRESSURE else None
    remarks = []
    if pressure is not None and _number(pressure[1]):
        remarks.append(f"PSTRESS is {_number(pressure[1]):g} kbar: check that the stress does not contain it")
    if format_name in ("vasp-xml", "vasp-out"):
        remarks += [said for tag, said in OF_VASP.items() if _vasp_tag(text, tag) not in ("", "F", ".FALSE.", "0", "1")]
    if format_name == "gpaw-out":
        pairs = re.findall(EXTRAPOLATED, text, LINES)
        if any(abs(_number(free) - _number(energy)) > ROUNDING for free, energy in pairs):
            remarks.append("the energy is extrapolated to no smearing, and forces are the slope of the free energy")
    return facts, remarks


def _refuse_misread(text: str, format_name: str) -> None:
    """Refuse a file that states units, symmetry, mixed sites or elements that its reader ignores.

    Raises
    ------
    UnusableError
        With the reason of each kind.
    """
    pattern, reason, detail = MISREAD.get(format_name, ("", "", ""))
    if pattern and re.search(pattern, text, LINES):
        raise UnusableError(reason, f"{detail}; write all atoms as extended XYZ in Å")
    if format_name == "espresso-in":
        _refuse_other_masses(text)


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
        label, mass = row.split()[0], _number(row.split()[1])
        symbol, other = str(label_to_symbol(label)), symbol_of_mass(mass)
        if other not in ("", symbol) and symbol != "H" and abs(mass / atomic_masses[atomic_numbers[symbol]] - 1) > 0.3:
            raise UnusableError(
                "no_elements",
                f"the label {label} stands for {symbol}, and its mass {mass:g} is that of {other}; rename it",
            )


def _vasp_tag(text: str, tag: str) -> str:
    """Return the first word of a tag of INCAR as vasprun.xml or OUTCAR states it; empty where it does not."""
    found = re.search(rf"""^\s*(?:<i\b[^>]*name="{tag}"[^>]*>|{tag}\s*=)\s*([^\s<]+)""", text, re.MULTILINE)
    return found[1].upper() if found else ""


def _charge_of_vasp(text: str, format_name: str) -> dict[str, float]:
    """Return the charge by the number of electrons and the valences of the ions; nothing where either is not stated."""
    if format_name == "vasp-xml":
        electrons = re.search(rf'<i name="NELECT">\s*{NUMBER}', text)
        types = re.search(r'<array name="atomtypes"\s*>.*?</array>', text, re.DOTALL)
        kinds = VASP_XML_TYPE.findall(types[0]) if types else []
    else:
        electrons = re.search(rf"^\s*NELECT\s*=\s*{NUMBER}", text, re.MULTILINE)
        counts = re.search(r"^\s*ions per type\s*=((?:\s+\d+)+)\s*$", text, re.MULTILINE)
        valences = re.search(r"^\s*ZVAL\s*=((?:\s+\d+\.\d*)+)\s*$", text, re.MULTILINE)
        kinds = list(zip(counts[1].split(), valences[1].split(), strict=False)) if counts and valences else []
    if electrons is None or not kinds:
        return {}
    return {"charge": round(sum(int(count) * float(valence) for count, valence in kinds) - _number(electrons[1]), 3)}


def _charge_of_espresso(text: str) -> dict[str, float]:
    """Return the largest charge of the runs of an output, by their electrons and valences; none where not stated."""
    charges = [charge for run in re.split(r"^\s*Program PWSCF\b", text, flags=LINES) if (charge := _of_run(run)) is not None]
    return {"charge": max(charges, key=abs)} if charges else {}


def _of_run(text: str) -> float | None:
    electrons = re.search(rf"^\s*number of electrons\s*=\s*{NUMBER}", text, LINES)
    table = re.search(r"^\s*atomic species\s+valence\s+mass[^\n]*\n((?:\s*\S+\s+[\d.]+\s+[\d.]+\s[^\n]*\n)+)", text, LINES)
    valences = {row.split()[0]: float(row.split()[1]) for row in table[1].splitlines()} if table else {}
    cell, _, _ = text.partition("number of k points")
    names = re.findall(r"^\s*\d+\s+(\S+)\s+tau\(\s*\d+\s*\)\s*=", cell, LINES)
    if electrons is None or not names or not set(names) <= set(valences):
        return None
    return round(sum(valences[name] for name in names) - _number(electrons[1]), 3)


def _number(word: str) -> float:
    return float(word.replace("D", "e").replace("d", "e"))
