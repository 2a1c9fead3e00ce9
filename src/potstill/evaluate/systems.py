"""Choice of the crystals and molecules for the physics checks.

Takes held-out structures with the reference's labels and returns a few of them at minima of the reference. They are small,
typical of the data, and of distinct chemistry. The same structures give the same choice.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from potstill.core.types import Array, Structure
from potstill.evaluate import molecules, phonons, solids
from potstill.evaluate.measured import of

log = logging.getLogger(__name__)

CALM = 0.25  # share of the structures, by their largest force, that are near equilibrium
TRIES = 5  # number of structures relaxed per system wanted
SETTLED_EV_PER_ANGSTROM = 0.1
MOST_RELAXATION_STEPS = 200
LOWEST_THZ = (
    -0.5
)  # lowest phonon of the reference: below, the crystal is no minimum; imaginary frequencies count as negative
SMALL_ATOMS = 16  # number of atoms; larger structures are tried later
SYMMETRY_ANGSTROM = 0.1  # tolerance for atoms that were relaxed from a snapshot
HELD_BY_DISPERSION = frozenset({1, 2, 7, 8, 9, 10, 17, 18, 35, 36, 53, 54})  # crystals of these elements alone
MOST_DISPLACEMENTS = 12  # to find that lowest phonon; crystals of less symmetry come later


@dataclass(frozen=True, slots=True)
class Choice:
    """Systems of one kind.

    Parameters
    ----------
    systems
        Names and ASE ``Atoms`` at stable minima of the reference.
    others
        Structures that did not settle or are not stable, as many as are lacking, for checks that need no minimum.
    missing
        Number of wanted systems that were not found.
    tried
        Number of structures that were tried.
    why
        Reasons for which tried structures were not taken.
    """

    systems: list[tuple[str, Any]]
    others: list[tuple[str, Any]]
    missing: int
    tried: int
    why: str

    @property
    def names_of_others(self) -> set[str]:
        """Return the names of the systems that are at no stable minimum."""
        return {name for name, _ in self.others}


def choose(
    reference: Any,
    structures: Sequence[Structure],
    wanted: int,
    *,
    periodic: bool,
    on_step: Callable[[str], None] = lambda step: None,
) -> Choice:
    """Relax candidates by the reference until the wanted number has settled.

    A crystal is reduced to its primitive cell where spglib is installed. Candidates that share elements with a chosen one
    come later. A crystal with unstable phonons in the reference is not taken. One of unknown stability is taken where there
    are too few others.

    Parameters
    ----------
    reference
        ASE calculator.
    structures
        Structures labelled by it.
    wanted
        Number of systems wanted.
    periodic
        Whether crystals are wanted, else molecules.
    on_step
        Function called with a text before each relaxation.
    """
    found: list[tuple[str, Any]] = []
    unknown: list[tuple[str, Any]] = []
    others: list[tuple[str, Any]] = []
    reasons: list[str] = []
    left = candidates(structures, periodic=periodic)
    tries = min(TRIES * wanted, len(left))
    for _ in range(tries):
        if len(found) == wanted:
            break
        taken = {int(z) for _, atoms in found for z in atoms.numbers}
        structure = min(left, key=lambda s: (*_order(s), len(taken & set(s.atomic_numbers.tolist()))))  # the first of equals
        left.remove(structure)
        name = f"{structure.id} ({structure.formula})"
        on_step(f"relaxation of {name}")
        try:
            atoms, force = _settled(reference, structure, periodic=periodic)
            settled = force < SETTLED_EV_PER_ANGSTROM
            lowest = phonons.lowest_frequency(reference, atoms, MOST_DISPLACEMENTS) if periodic and settled else None
        except Exception as error:  # noqa: BLE001 - the next structure may do
            log.info("%s was not relaxed: %s", name, error)
            reasons.append(f"{name}: {error}")
            continue
        if not settled:
            reasons.append(f"{name} has forces of {force:.2f} eV/Å after {MOST_RELAXATION_STEPS} steps")
            others.append((name, atoms))
        elif lowest is None or lowest >= LOWEST_THZ:  # a molecule, or phonopy is missing
            found.append((name, atoms))
        elif np.isnan(lowest):
            unknown.append((name, atoms))
        else:
            log.info("%s: the reference's lowest phonon is at %.1f THz, others are looked for", name, lowest)
            reasons.append(f"{name} is not stable in the reference, with a mode at {lowest:.1f} THz")
            others.append((name, atoms))
    found += unknown[: wanted - len(found)]
    missing = max(0, min(wanted, max(tries, 1)) - len(found)) if tries else 0
    return Choice(found, others[:missing], missing, tries, "; ".join(reasons) if missing else "")


def _settled(reference: Any, structure: Structure, *, periodic: bool) -> tuple[Any, float]:
    """Return the relaxed atoms, crystals in their primitive cell, and the largest remaining component of a force."""
    atoms = solids.relax(structure.to_ase(), reference, cell=periodic, steps=MOST_RELAXATION_STEPS)
    smaller = primitive(atoms) if periodic else atoms
    if len(smaller) < len(atoms):
        atoms = solids.relax(smaller, reference, cell=True, steps=MOST_RELAXATION_STEPS)
    return atoms, float(np.abs(of(atoms, reference).get_forces()).max())


def primitive(atoms: Any) -> Any:
    """Return a crystal in its primitive cell, where spglib is installed and finds a smaller one; else unchanged."""
    from ase import Atoms

    try:
        import spglib
    except ImportError:
        return atoms
    cell = (atoms.cell.tolist(), atoms.get_scaled_positions().tolist(), atoms.numbers.tolist())
    try:
        reduced = spglib.find_primitive(cell, symprec=SYMMETRY_ANGSTROM)
    except Exception:  # noqa: BLE001 - whatever it does with a strange cell: the cell as it is will do
        reduced = None
    if reduced is None or len(reduced[2]) >= len(atoms):
        return atoms
    return Atoms(reduced[2], cell=reduced[0], scaled_positions=reduced[1], pbc=True)


def candidates(structures: Sequence[Structure], *, periodic: bool) -> list[Structure]:
    """Return structures to choose systems from, the most representative first, one of each family.

    They are near equilibrium, and small ones come before large ones. Crystals with one atom in the cell, whose forces vanish
    by symmetry, and those that dispersion alone binds come later. Molecules with a bond to turn come first, and those in
    more than one piece last. Ordinary structures come next. None of their elements is rarer than the rarest of half the
    structures, they are compounds where most are, and they are bound better than half. Among these, the best bound come
    first, by their energy per atom less a fit to the composition.
    """
    kind = [s for s in structures if s.labels is not None and (s.pbc.all() if periodic else not s.pbc.any())]
    several = [k for k, s in enumerate(kind) if len(s) > 1 or periodic]
    if not several:
        return []
    force = np.array([float(np.abs(s.labels.forces).max()) for s in kind if s.labels is not None])
    small = [k for k in several if len(kind[k]) <= SMALL_ATOMS]
    large = [k for k in several if len(kind[k]) > SMALL_ATOMS]
    calm = [k for some in (small, large) if some for k in some if force[k] <= np.quantile(force[some], CALM)]
    bound = _bound(kind)
    ordinary = _ordinary(kind) & (bound <= np.median(bound))

    def place(k: int) -> tuple[bool, int, bool, float, str]:
        return *_order(kind[k]), not ordinary[k], round(float(bound[k]), 6), kind[k].id

    seen: set[str] = set()
    order = [kind[k] for k in sorted(calm, key=place)]
    return [s for s in order if not (s.family in seen or seen.add(s.family))]  # type: ignore[func-returns-value]


def _order(structure: Structure) -> tuple[bool, int]:
    """Return a sort key: small before large, and structures for all checks before those for some."""
    return len(structure) > SMALL_ATOMS, _dull(structure)


def _dull(structure: Structure) -> int:
    """Return 0 for a structure that all checks can use, a larger number for others."""
    if structure.pbc.all():
        return 2 if HELD_BY_DISPERSION.issuperset(structure.atomic_numbers.tolist()) else int(len(structure) == 1)
    atoms = structure.to_ase()
    return 2 if not molecules.in_one_piece(atoms) else int(not molecules.rotatable_bonds(atoms))


def _ordinary(kind: Sequence[Structure]) -> Array:
    """Return (s,) bool: no rare element, and no pure element where most are compounds."""
    elements = [set(s.atomic_numbers.tolist()) for s in kind]
    having = Counter(z for found in elements for z in found)
    rarest = np.array([min(having[z] for z in found) for found in elements])
    compound = np.array([len(found) > 1 for found in elements])
    return np.asarray((rarest >= np.median(rarest)) & (compound | (np.median(compound) < 1)))


def _bound(kind: Sequence[Structure]) -> Array:
    """Return (s,) energies per atom in eV, less a fit to the composition."""
    elements = sorted({int(z) for s in kind for z in s.atomic_numbers})
    shares = np.array([[np.mean(s.atomic_numbers == z) for z in elements] for s in kind])
    energy = np.array([s.labels.energy / len(s) for s in kind if s.labels is not None])
    return np.asarray(energy - shares @ np.linalg.lstsq(shares, energy, rcond=None)[0])
