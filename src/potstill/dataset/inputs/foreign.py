"""Facts that files of other programs state and ASE's readers drop: charge, multiplicity, units, symmetry, pressure."""

from __future__ import annotations

import re

from potstill.dataset.inputs.known import ignored
from potstill.dataset.inputs.misread import LINES, refuse_misread
from potstill.dataset.inputs.numbers import NUMBER as ANY_NUMBER
from potstill.dataset.inputs.numbers import number_of

NUMBER = f"({ANY_NUMBER})"
OF_FRAGMENTS = r"(?:[ \t,]+[-+]?\d+[ \t,]+\d+)*"  # charge and multiplicity of each, behind those of the whole
CHARGES = {
    "gaussian-in": rf"^[ \t]*{NUMBER}[ \t,]+\d+{OF_FRAGMENTS}[ \t]*$",
    "gaussian-out": rf"^\s*Charge\s*=\s*{NUMBER}\s+Multiplicity(?!.*fragment)",
    "orca-output": rf"^\s*Total Charge\s+Charge\s+\.+\s+{NUMBER}",
    "nwchem-in": rf"^\s*(?:set\s+)?charge\s+{NUMBER}",
    "nwchem-out": rf"^\s*Charge\s*[:=]\s*{NUMBER}",
    "espresso-in": rf"^[^!\n]*\btot_charge\s*=\s*{NUMBER}",
    "castep-castep": rf"^\s*net charge of system\s*:\s*{NUMBER}",
    "aims-output": rf"^\s*(?:Charged system requested:\s*)?Charge\s*=\s*{NUMBER}",
    "gamess-us-out": rf"^\s*CHARGE OF MOLECULE\s*=\s*{NUMBER}",
    "abinit-in": rf"^\s*(?:cell)?charge\s+{NUMBER}",
    "dftb": rf"\bCharge\s*=\s*{NUMBER}",
    "turbomole": rf"^\$eht\b[^\n]*\bcharge\s*=\s*{NUMBER}",
    "cjson": rf'"totalCharge"\s*:\s*{NUMBER}',
    "elk": rf"^\s*chgexs\s+{NUMBER}",
    "octopus-in": rf"^\s*ExcessCharge\s*=\s*{NUMBER}",
    "onetep-in": rf"^\s*charge\s*:?\s+{NUMBER}",
}
MULTIPLICITIES = {
    "gaussian-in": rf"^[ \t]*[-+]?\d+[ \t,]+(\d+){OF_FRAGMENTS}[ \t]*$",
    "gaussian-out": r"^\s*Charge\s*=\s*[-+]?\d+\s+Multiplicity\s*=\s*(\d+)(?!.*fragment)",
    "orca-output": r"^\s*Multiplicity\s+Mult\s+\.+\s+(\d+)",
    "nwchem-in": r"^\s*mult\s+(\d+)",
    "nwchem-out": r"^\s*Spin multiplicity\s*:\s*(\d+)",
    "cjson": r'"totalSpinMultiplicity"\s*:\s*(\d+)',
    "gamess-us-out": r"^\s*(?:SPIN|STATE) MULTIPLICITY\s*=\s*(\d+)",
}
UNPAIRED = {
    "nwchem-in": r"^\s*nopen\s+(\d+)",
    "nwchem-out": r"^\s*open shells\s*=\s*(\d+)",
    "dftb": rf"\bUnpairedElectrons\s*=\s*{NUMBER}",
    "turbomole": r"^\$eht\b[^\n]*\bunpaired\s*=\s*(\d+)",
}
ANY_CHARGE = (  # of a format whose charge is not read
    rf"""^[ \t]*["'<$]?((?:set[ \t]+)?(?:(?:net|tot|total|system|molecular|mol|excess|cell)[ _-]?)?charge|chgexs|q_?tot)"""
    rf"""\b["']?[ \t]*[=:>]?[ \t]*{NUMBER}[ \t]*[,;]?[ \t]*(?:[!#<][^\n]*)?$"""
)
FIRST_ONLY = frozenset({"gaussian-in"})  # two integers in a line also state a bond
ROUNDING = 1e-6  # eV
VASP_XML_TYPE = re.compile(r"<rc><c>\s*(\d+)\s*</c><c>[^<]*</c><c>[^<]*</c><c>\s*([\d.]+)\s*</c><c>[^<]*</c></rc>")
EXTRAPOLATED = rf"^\s*Free energy:\s*{NUMBER}\s*^\s*Extrapolated:\s*{NUMBER}"  # of GPAW
OF_VASP = {
    "ML_LMLFF": "ML_LMLFF is on: labels of steps without electronic steps are those of VASP's own force field",
    "IMAGES": "IMAGES is set: forces along an elastic band may contain those of its springs",
}
INCAR = {  # tags that the user set, as each output repeats them
    "vasp-xml": (r"<incar>(.*?)</incar>", r"""<[iv]\b[^>]*name="([A-Z]\w*)"""),
    "vasp-out": (r"^ INCAR:[ \t]*\n(.*?)^ POTCAR:", r"^[ \t]+([A-Z]\w*)[ \t]*="),
}
HARMLESS_TAG = re.compile(  # settings of the electronic steps, of motion, of output and of the machine; others are named
    r"SYSTEM|PREC\w*|EN(CUT|AUG|INI|MAX)\w*|EDIFFG?|ALGO|IALGO|LDIAG|LSUBROT|ISMEAR|SIGMA|E?FERMI|NELM\w*|NSW|IBRION|POTIM|ISIF|NFREE|"
    r"LREAL|ROPT|ADDGRID|L(WAVE|CHARG|ELF|VTOT|VHAR|AECHG|ORBIT|PARD|DOWNSAMPLE|H5|OPTICS)|NWRITE|LMAX\w*|LASPH|ISPIN|MAGMOM|ISYM|"
    r"SYMPREC|GGA\w*|METAGGA|VOSKOWN|XC\w*|LDAU\w*|IVDW|LUSE_VDW|VDW_\w+|PARAM\d|[ABC]PARAM|Zab_VDW|ZAB_VDW|LVDW\w*|AGGAC|ALDAC|"
    r"NPAR|KPAR|NCORE\w*|NSIM|LPLANE|LSCAL\w*|NTARGET\w*|KSPACING|KGAMMA|TEBEG|TEEND|SMASS|MDALGO|LANGEVIN_\w+|PMASS|ANDERSEN_\w+|"
    r"CSVR_\w+|RANDOM_SEED|NHC_\w+|[NK]BLOCK|NEDOS|E(MIN|MAX)|ISTART|ICHARG|INIWAV|NBANDS\w*|LSORBIT|LNONCOLLINEAR|SAXIS|LHFCALC|HFSCREEN|"
    r"HFLMAX|AEXX|AMGGA[XC]|LTHOMAS|TIME|NELECT|[AB](MIX|MIN)(_MAG)?|IMIX|MAXMIX|WC|MIXPRE|INIMIX|NG[XYZ]F?|APACO|NPACO|RWIGS|POMASS|"
    r"ML_\w+|IMAGES|PSTRESS|SPRING|LCLIMB|LASYNC|LNEBCELL|ICHAIN|IOPT|I?DIPOL|LDIPOL|LMONO|LCORR|LEPSILON|LRPA|LSEPK|LSEPB|LATTICE_CONSTRAINTS"
)
PRESSURE = {"vasp-xml": r'<i name="PSTRESS">\s*' + NUMBER, "vasp-out": r"^\s*PSTRESS\s*=\s*" + NUMBER}


def facts_of_program(text: str, format_name: str) -> tuple[dict[str, float], list[str]]:
    """Return the charge and multiplicity that a file states, as facts about its frames, and remarks about its labels.

    Parameters
    ----------
    text
        Text of a file of another program.
    format_name
        Name of its format in ASE.

    Raises
    ------
    UnusableError
        If the file states units, symmetry, mixed sites or elements that its reader ignores.
    """
    refuse_misread(text, format_name)
    facts = {}
    for name, patterns in (("charge", CHARGES), ("multiplicity", MULTIPLICITIES), ("unpaired_electrons", UNPAIRED)):
        found = re.findall(patterns[format_name], text, LINES) if format_name in patterns else []
        if found:
            values = [number_of(word) for word in found[: 1 if format_name in FIRST_ONLY else None]]
            facts[name] = max(values, key=abs)  # of several calculations in one file
    if format_name in ("vasp-xml", "vasp-out"):
        facts.update(_charge_of_vasp(text, format_name))
    if format_name == "espresso-out":
        facts.update(_charge_of_espresso(text))
    return facts, _on_labels(text, format_name)


def _on_labels(text: str, format_name: str) -> list[str]:
    """Return remarks about settings under which labels are not those of the structure alone."""
    pressure = re.search(PRESSURE[format_name], text, LINES) if format_name in PRESSURE else None
    remarks = []
    if pressure is not None and number_of(pressure[1]):
        remarks.append(f"PSTRESS is {number_of(pressure[1]):g} kbar: check that the stress does not contain it")
    if format_name in ("vasp-xml", "vasp-out"):
        remarks += ignored(f"INCAR {tag}" for tag in _tags(text, format_name) if not HARMLESS_TAG.fullmatch(tag))
        remarks += [said for tag, said in OF_VASP.items() if _vasp_tag(text, tag) not in ("", "F", ".FALSE.", "0", "1")]
        if re.fullmatch(r"1[0-9]", density := _vasp_tag(text, "ICHARG")):
            remarks.append(f"ICHARG is {density}: the density was not made self-consistent, and forces are not its slope")
    if format_name == "espresso-out" and re.search(r"^\s*E field amplitude", text, LINES):
        remarks.append("an electric field acts ('E field amplitude'), which a structure does not hold")
    if format_name == "gpaw-out":
        pairs = re.findall(EXTRAPOLATED, text, LINES)
        if any(abs(number_of(free) - number_of(energy)) > ROUNDING for free, energy in pairs):
            remarks.append("the energy is extrapolated to no smearing, and forces are the slope of the free energy")
    return remarks


def on_charge(text: str, format_name: str) -> list[str]:
    """Return a remark where a file of a format whose charge is not read states one that is not zero."""
    if format_name in CHARGES or format_name in ("vasp-xml", "vasp-out", "espresso-out", "gpaw-out"):
        return []
    found = [(key, value) for key, value in re.findall(ANY_CHARGE, text, LINES) if number_of(value)]
    return [f"the file says '{found[0][0]} {found[0][1]}', which is not read"] if found else []


def _tags(text: str, format_name: str) -> list[str]:
    """Return the tags of INCAR that the user set; none where the output does not repeat them."""
    block, tag = INCAR[format_name]
    found = re.search(block, text, re.MULTILINE | re.DOTALL)
    return re.findall(tag, found[1], re.MULTILINE) if found else []


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
    return {"charge": round(sum(int(count) * float(valence) for count, valence in kinds) - number_of(electrons[1]), 3)}


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
    return round(sum(valences[name] for name in names) - number_of(electrons[1]), 3)
