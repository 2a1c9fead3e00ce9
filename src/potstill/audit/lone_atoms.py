"""Energies of lone atoms beside those of bonded structures: what the bonds add must be that of bonds."""

from __future__ import annotations

import numpy as np

from potstill.audit.evidence import Evidence
from potstill.audit.needs import LABELS
from potstill.audit.registry import check
from potstill.core.elements import symbols_of
from potstill.core.verdict import Finding, at_most, does_not_apply, warned

LEAST, MOST = -2.0, 15.0  # eV/atom: squeezed structures, and tungsten's 8.9 with an atom that is not spin-polarized


@check(
    "labels",
    unit="lone atoms",
    needs=(LABELS,),
    gates=("max_wrong_lone_atoms",),
    mend="energies of lone atoms are of another code, setting or unit than the others: label them again, or leave them out",
)
def lone_atoms(evidence: Evidence) -> Finding:
    """Count lone atoms whose energy does not fit structures of their elements. The check only warns.

    Their energies less that of a structure is its atomization energy, of which 0 to 9 eV/atom are known.
    """
    stats = evidence.stats
    known = np.isfinite(stats.energy_per_atom)
    lone = known & (stats.atoms == 1) & (stats.molecule | (stats.neighbors == 0))
    if not lone.any():
        return does_not_apply("lone_atoms", "lone atoms", "there are no lone atoms")
    of = {
        int(z): np.flatnonzero(lone & (stats.composition[:, z] > 0)) for z in np.flatnonzero(stats.composition[lone].any(0))
    }
    elements = list(of)
    others = stats.composition.copy()
    others[:, elements] = 0
    bonded = np.flatnonzero(known & ~lone & ~others.any(axis=1))
    if not len(bonded):
        why = f"no other structure consists of the elements of the lone atoms alone ({_names(elements)})"
        return does_not_apply("lone_atoms", "lone atoms", why)
    share = stats.composition[bonded][:, elements] / stats.atoms[bonded, None]
    energy = np.array([np.median(stats.energy_per_atom[rows]) for rows in of.values()])
    bonds = share @ energy - stats.energy_per_atom[bonded]
    middle = {z: float(np.median(bonds[share[:, k] > 0])) for k, z in enumerate(elements) if share[:, k].any()}
    ours = np.linalg.lstsq(share, bonds, rcond=1e-2)[0]  # of each element, where the structures tell them apart
    odd = [z for z in middle if not LEAST <= middle[z] <= MOST]
    wrong = [z for k, z in enumerate(elements) if z in odd and not LEAST <= ours[k] <= MOST] or odd
    rows = [int(k) for z in wrong for k in of[z]]
    ranges = ", ".join(f"{symbols_of(np.array([z]))[0]} {middle[z]:.3g}" for z in middle)
    why = (
        f"{len(rows)} of {lone.sum()} lone atoms do not fit: their energies less those of structures with the element are "
        f"{ranges} eV/atom in the median, {LEAST:g} to {MOST:g} expected"
    )
    worst = [stats.ids[k] for k in rows]
    return warned(at_most("lone_atoms", len(rows), evidence.gates.max_wrong_lone_atoms, "lone atoms", why, worst))


def _names(elements: list[int]) -> str:
    return ", ".join(symbols_of(np.array(elements)))
