"""Outputs of other programs that say themselves that their electronic steps did not converge.

ASE reads energy and forces of such a step like any other. Their error is unknown, so a remark names it.
"""

from __future__ import annotations

import re
from pathlib import Path

from potstill.dataset.inputs.unusable import content_of

SAYINGS = (
    rb"convergence NOT achieved",  # Quantum ESPRESSO
    rb"EDIFF was not reached",  # VASP, OUTCAR
    rb"SCF run NOT converged",  # CP2K
    rb"Self-consistency cycle not converged",  # FHI-aims
    rb"Convergence failure|Convergence criterion not met",  # Gaussian
    rb"SCF IS UNCONVERGED",  # GAMESS
    rb"was not enough SCF cycles to converge",  # ABINIT
    rb"Calculation failed to converge",  # NWChem
    rb"SCF NOT CONVERGED",  # ORCA
    rb"max\. SCF cycles performed but system has not reached the groundstate",  # CASTEP
)
SUBJECT = rb"\b(?:scf|scc|self.?consisten\w*|electronic|density|wave.?functions?)\b"
ANY_OTHER = (  # but 'not yet converged', which FHI-aims says after each step
    SUBJECT + rb"[^\n.]{0,40}\b(?:un|(?:not|never) (?:be |been )?|fail\w* to )(?:converge|reach)\w*",
    rb"\b(?:did|has|have|could|was|were|is) ?(?:not|n't) (?:be |been )?converged?\b[^\n]{0,20}\b(?:scf|cycles|iterations)\b",
)
SAYS = re.compile(b"|".join((*SAYINGS, *(b"(?i:" + saying + b")" for saying in ANY_OTHER))))
NELM = re.compile(rb"""<i\b[^>]*name=["']NELM["'][^>]*>\s*(\d+)""")
NELM_OF_OUTCAR = re.compile(rb"^\s*NELM\s*=\s*(\d+)", re.MULTILINE)
FIRST_ITERATION = re.compile(rb"Iteration\s+\d+\(\s*1\)")
ITERATION = re.compile(rb"Iteration\s+\d+\(\s*(\d+)\)")
CALCULATION = re.compile(rb"<calculation>.*?(?=<calculation>|\Z)", re.DOTALL)


def on_convergence(path: Path, format_name: str) -> list[str]:
    """Return a remark where the text of an output says that electronic steps did not converge, or that its end is missing.

    Parameters
    ----------
    path
        Output of another program, compressed or not.
    format_name
        Name of its format in ASE.
    """
    content = content_of(path)
    if format_name == "vasp-xml":
        limit = NELM.search(content)
        steps = [piece.count(b"<scstep>") for piece in CALCULATION.findall(content)]
        count = sum(n >= int(limit[1]) for n in steps) if limit else 0
        remarks = (
            [_remark(count, f"{count} of {len(steps)} took all NELM = {int(limit[1])} steps")] if limit and count else []
        )
        if not content.rstrip().endswith(b"</modeling>"):
            remarks.append("the file has no end, as of a run that was stopped: its last step is left out")
        return remarks
    if format_name == "vasp-out" and (remark := _on_outcar(content)):
        return [remark]
    said = SAYS.findall(content)
    return [_remark(len(said), f"the file says '{' '.join(said[0].decode(errors='replace').split())}'")] if said else []


def _on_outcar(content: bytes) -> str:
    """Return a remark where ionic steps of an OUTCAR took all electronic steps and reached no EDIFF, else nothing."""
    limit = NELM_OF_OUTCAR.search(content)
    pieces = FIRST_ITERATION.split(content)[1:]
    if limit is None or not pieces:
        return ""
    count = sum(b"EDIFF is reached" not in piece and _steps(piece) >= int(limit[1]) for piece in pieces)
    return _remark(count, f"{count} of {len(pieces)} took all NELM = {int(limit[1])} steps") if count else ""


def _steps(piece: bytes) -> int:
    """Return the number of electronic steps of a piece of an OUTCAR that begins behind its first."""
    return max(map(int, ITERATION.findall(piece)), default=1)


def _remark(count: int, fact: str) -> str:
    steps = "electronic minimization" if count == 1 else "electronic minimizations"
    return f"{count} {steps} did not converge ({fact}): leave these frames out, or compute them again"
