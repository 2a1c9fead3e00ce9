"""Chemistry: missing hydrogens, too many bonds, molecules in pieces, charges, and elements in the wrong source."""

from __future__ import annotations

from typing import Any

import numpy as np

from potstill.audit import mend
from potstill.audit.asked import generate_section, name_of
from potstill.audit.evidence import Evidence, largest_first
from potstill.audit.needs import CONFIG, MOLECULES, SMILES
from potstill.audit.registry import check
from potstill.core.counts import several
from potstill.core.types import Array
from potstill.core.verdict import Finding, at_least, at_most
from potstill.stats.bonds import deficit_is_lack


@check(
    "chemistry",
    unit="fraction",
    needs=(MOLECULES,),
    gates=("max_hydrogen_deficit",),
    mend="molecules{of} were read without their hydrogens: add them, with coordinates, and label again",
)
def hydrogens(evidence: Evidence) -> Finding:
    """Measure the share of molecules without their hydrogens: by SMILES, or by bond lengths where none is known.

    Bond lengths are judged over all geometries of one family and composition, because displacements stretch them. Two atoms
    of the source ``dimers`` are no molecule, as their metadata state.
    """
    stats = evidence.stats
    molecules = np.flatnonzero(stats.molecule & ~stats.atom_pair).tolist()
    accused: dict[tuple[str, str], bool] = {}
    for k in molecules:
        kind = (stats.families[k], stats.formulas[k])
        accused[kind] = accused.get(kind, True) and deficit_is_lack(kind[1], float(stats.carbon_deficit[k]))
    lacking = [k for k in molecules if stats.missing_hydrogens[k] > 0 or accused[stats.families[k], stats.formulas[k]]]
    why = f"{len(lacking)} of {len(molecules)} molecules have fewer hydrogens than their valences need"
    limit = evidence.gates.max_hydrogen_deficit
    return at_most("hydrogens", len(lacking) / len(molecules), limit, "fraction", why, [stats.ids[k] for k in lacking])


@check(
    "chemistry",
    unit="fraction",
    needs=(MOLECULES,),
    gates=("max_overbonded_fraction",),
    mend="molecules{of} have atoms with too many bonds: check how they were read or made",
)
def valences(evidence: Evidence) -> Finding:
    """Measure the share of molecules with an H, C, N, O or F that has more bonds to such atoms than its valence allows."""
    limit = evidence.gates.max_overbonded_fraction
    return _share(evidence, "valences", evidence.stats.overbonded, limit, "molecules have an atom with too many bonds")


@check(
    "chemistry",
    unit="fraction",
    needs=(
        MOLECULES,
        SMILES,
    ),
    gates=("max_fragmented_fraction",),
    mend="molecules{of} are in pieces: use smaller displacements, or leave these molecules out",
)
def fragments(evidence: Evidence) -> Finding:
    """Measure the share of molecules that are in more pieces than their SMILES."""
    limit = evidence.gates.max_fragmented_fraction
    return _share(evidence, "fragments", evidence.stats.pieces, limit, "molecules are in more pieces than their SMILES")


@check(
    "chemistry",
    unit="structures",
    needs=(
        MOLECULES,
        SMILES,
    ),
    mend="atoms of molecules{of} differ from their SMILES: check how they were read",
)
def composition(evidence: Evidence) -> Finding:
    """Count molecules whose atoms are not those of their SMILES; ``hydrogens`` counts those with too few hydrogens."""
    bad = np.flatnonzero(evidence.stats.foreign_atoms)
    worst = largest_first(evidence.stats, evidence.stats.foreign_atoms, above=0)
    return at_most("composition", len(bad), 0, "structures", "molecules whose atoms are not those of their SMILES", worst)


@check(
    "chemistry",
    unit="structures",
    needs=(
        MOLECULES,
        SMILES,
    ),
    gates=("max_charged",),
    mend="leave out the ions{of}, or use a teacher that accepts charges",
)
def charge_balance(evidence: Evidence) -> Finding:
    """Count molecules whose SMILES has a net charge: teachers label neutral atoms."""
    charge = np.abs(evidence.stats.charge)
    why = "molecules whose SMILES has a net charge, which the teacher ignores"
    worst = largest_first(evidence.stats, charge, above=0)
    return at_most("charge_balance", int((charge > 0).sum()), evidence.gates.max_charged, "structures", why, worst)


@check("chemistry", unit="structures", gates=("min_structures_per_element",), mend=mend.more_of_the_rarest)
def element_support(evidence: Evidence) -> Finding:
    """Find the smallest number of structures with an element: a rare one is an error, or cannot be learned."""
    from ase.data import chemical_symbols

    holders = (evidence.stats.composition > 0).sum(axis=0)
    present = np.flatnonzero(holders)
    rarest = present[np.argsort(holders[present], kind="stable")]
    limit = evidence.gates.min_structures_per_element
    why = "structures with the rarest elements: " + ", ".join(f"{chemical_symbols[z]} {holders[z]}" for z in rarest[:4])
    rare = rarest[holders[rarest] < limit]
    holding = np.flatnonzero((evidence.stats.composition[:, rare] > 0).any(axis=1))
    measured = int(holders[rarest[0]]) if len(rarest) else 0
    return at_least("element_support", measured, limit, "structures", why, [evidence.stats.ids[k] for k in holding])


@check(
    "chemistry",
    unit="structures",
    needs=(CONFIG,),
    mend="structures{of} have elements that the source cannot make: check how they were read",
)
def elements_per_source(evidence: Evidence) -> Finding:
    """Count structures with an element that their source was not allowed to use."""
    allowed = allowed_elements(evidence.dataset.attributes)
    bad = np.zeros(len(evidence.stats), bool)
    for name in evidence.stats.elements:
        if name in allowed:
            rows = evidence.stats.of_source(name)
            foreign = np.ones(evidence.stats.composition.shape[1], bool)
            foreign[allowed[name]] = False
            bad[rows] = (evidence.stats.composition[rows][:, foreign] > 0).any(axis=1)
    unknown = sorted(set(evidence.stats.elements) - set(allowed))
    why = f"structures with an element that their source may not use; {several(len(allowed), 'source')} with such a list"
    why += f"; {', '.join(unknown)}: any element" if unknown else ""
    worst = [evidence.stats.ids[k] for k in np.flatnonzero(bad)]
    return at_most("elements_per_source", int(bad.sum()), 0, "structures", why, worst)


def allowed_elements(attributes: dict[str, Any]) -> dict[str, list[int]]:
    """Return the atomic numbers that the config in a file allows, by name of the source."""
    from ase.data import atomic_numbers

    generate = generate_section(attributes)
    found = {}
    for source in generate.get("sources", []):
        symbols = source.get("elements") or generate.get("elements") or []
        if symbols:
            found[name_of(source)] = [atomic_numbers[s] for s in symbols if s in atomic_numbers]
    return found


def _share(evidence: Evidence, check: str, count: Array, limit: float, what: str) -> Finding:
    molecules = int(evidence.stats.molecule.sum())
    bad = int((count > 0).sum())
    worst = largest_first(evidence.stats, count, above=0)
    return at_most(check, bad / molecules if molecules else 0.0, limit, "fraction", f"{bad} of {molecules} {what}", worst)
