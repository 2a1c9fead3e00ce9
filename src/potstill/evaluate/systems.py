"""The crystals and molecules that go through the physics checks.

Enter held-out structures with the reference's labels, leave a few of them at minima of the reference: small, typical of the
data, and of distinct chemistry. The same structures give the same choice.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from potstill.core.types import Array, Structure
from potstill.evaluate import molecules, phonons, solids
from potstill.evaluate.measured import of

log = logging.getLogger(__name__)

CALM = 0.25  # share of the structures, by their largest force, that are near equilibrium
TRIES = 5  # structures that are relaxed for each that is wanted
SETTLED_EV_PER_ANGSTROM = 0.1
MOST_RELAXATION_STEPS = 200
LOWEST_THZ = -0.5  # of the reference's phonons: below, the crystal is no minimum; imaginary frequencies count as negative
MOST_DISPLACEMENTS = 12  # to find that out; crystals of less symmetry come after the others


def choose(
    reference: Any,
    structures: Sequence[Structure],
    wanted: int,
    *,
    periodic: bool,
    on_step: Callable[[str], None] = lambda step: None,
) -> tuple[list[tuple[str, Any]], int]:
    """Relax candidates by the reference until as many as are wanted have settled.

    Those that share elements with one that was chosen come after those that do not. A crystal that the reference's phonons
    do not call stable is taken only where there are too few others.

    Parameters
    ----------
    reference
        ASE calculator.
    structures
        Labelled by it.
    wanted
        Systems.
    periodic
        Crystals, or molecules.
    on_step
        Told what comes next.

    Returns
    -------
    systems, missing
        Names and ASE ``Atoms``; and how many more were to be had.
    """
    found: list[tuple[str, Any]] = []
    doubtful: list[tuple[str, Any]] = []
    left = candidates(structures, periodic=periodic)
    tries = min(TRIES * wanted, len(left))
    for _ in range(tries):
        if len(found) == wanted:
            break
        taken = {int(z) for _, atoms in found for z in atoms.numbers}
        structure = min(left, key=lambda s: (_dull(s), len(taken & set(s.atomic_numbers.tolist()))))  # the first of them
        left.remove(structure)
        name = f"{structure.id} ({structure.formula})"
        on_step(f"relaxation of {name}")
        try:
            atoms = solids.relax(structure.to_ase(), reference, cell=periodic, steps=MOST_RELAXATION_STEPS)
            force = float(np.abs(of(atoms, reference).get_forces()).max())
            if not force < SETTLED_EV_PER_ANGSTROM:
                continue
            lowest = phonons.lowest_frequency(reference, atoms, MOST_DISPLACEMENTS) if periodic else None
        except Exception as error:  # noqa: BLE001 - the next structure may do
            log.info("%s was not relaxed: %s", name, error)
            continue
        if lowest is None or lowest >= LOWEST_THZ:
            found.append((name, atoms))
        else:
            log.info("%s: the reference's lowest phonon is at %.1f THz, others are looked for", name, lowest)
            doubtful.append((name, atoms))
    found += doubtful[: wanted - len(found)]
    return found, max(0, min(wanted, tries) - len(found))


def candidates(structures: Sequence[Structure], *, periodic: bool) -> list[Structure]:
    """Structures to choose systems from, the most representative first, one of each family.

    They are small and near equilibrium. Crystals with one atom in the cell, whose forces vanish by symmetry, come after
    others; molecules with a bond to turn come first, and those in more than one piece last. Then come the ordinary ones: no
    element among theirs is rarer than the rarest of half the structures, they are compounds where most are, and they are
    bound better than half. Among these, those that are bound best come first, by their energy per atom less what their
    composition makes of it.
    """
    largest = molecules.MOST_ATOMS_VIBRATED
    kind = [s for s in structures if s.labels is not None and (s.pbc.all() if periodic else not s.pbc.any())]
    small = [k for k, s in enumerate(kind) if len(s) <= largest and (len(s) > 1 or periodic)]
    if not small:
        return []
    force = np.array([float(np.abs(s.labels.forces).max()) for s in kind if s.labels is not None])
    calm = [k for k in small if force[k] <= np.quantile(force[small], CALM)]
    bound = _bound(kind)
    ordinary = _ordinary(kind) & (bound <= np.median(bound))

    def place(k: int) -> tuple[int, bool, float, str]:
        return _dull(kind[k]), not ordinary[k], round(float(bound[k]), 6), kind[k].id

    seen: set[str] = set()
    order = [kind[k] for k in sorted(calm, key=place)]
    return [s for s in order if not (s.family in seen or seen.add(s.family))]  # type: ignore[func-returns-value]


def _dull(structure: Structure) -> int:
    """0 where all checks have something to find."""
    if structure.pbc.all():
        return int(len(structure) == 1)
    atoms = structure.to_ase()
    return 2 if not molecules.in_one_piece(atoms) else int(not molecules.rotatable_bonds(atoms))


def _ordinary(kind: Sequence[Structure]) -> Array:
    """(s,) bool: no rare element, and no element alone where most are compounds."""
    elements = [set(s.atomic_numbers.tolist()) for s in kind]
    having = Counter(z for found in elements for z in found)
    rarest = np.array([min(having[z] for z in found) for found in elements])
    compound = np.array([len(found) > 1 for found in elements])
    return np.asarray((rarest >= np.median(rarest)) & (compound | (np.median(compound) < 1)))


def _bound(kind: Sequence[Structure]) -> Array:
    """(s,) energy per atom in eV, less what a fit to the composition says."""
    elements = sorted({int(z) for s in kind for z in s.atomic_numbers})
    shares = np.array([[np.mean(s.atomic_numbers == z) for z in elements] for s in kind])
    energy = np.array([s.labels.energy / len(s) for s in kind if s.labels is not None])
    return np.asarray(energy - shares @ np.linalg.lstsq(shares, energy, rcond=None)[0])
