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

from potstill.core.lattice import has_lattice
from potstill.core.types import Array, Structure
from potstill.evaluate import molecules, phonons, solids
from potstill.evaluate.contents import is_hollow
from potstill.evaluate.measured import of

log = logging.getLogger(__name__)

CALM = 0.25  # share of the structures, by their largest force, that are near equilibrium
TRIES = 5  # number of structures relaxed per system wanted
MOST_TRIES = 15  # the same while no crystal is stable and none is a liquid
SAME_EV, SAME_VOLUME = 2e-3, 5e-3  # two minima are one below these differences of energy per atom and relative volume
SETTLED_EV_PER_ANGSTROM = 0.1
MOST_RELAXATION_STEPS = 200
SHOWN = 5  # number of reasons that a message holds
SMALL_ATOMS = 16  # number of atoms; larger structures are tried later
SYMMETRY_ANGSTROM = 0.1  # tolerance for atoms that were relaxed from a snapshot
LATTICE_ANGSTROM = (0.1, 0.2, 0.3, 0.4)  # tolerances for the lattice of displaced atoms
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
        Structures that did not settle, are not stable, or are no crystals, as many as are lacking, for checks that need no
        minimum.
    missing
        Number of wanted systems that were not found; none where every structure was tried and one at least was found, or
        where as many structures as wanted relaxed to a system that was found before.
    disordered
        Names of those among the others that are a liquid or a glass, relaxed in the cell that they came in. No crystal is
        missing there.
    hollow
        Names of those among the others with vacuum in their cell, where all structures are such: slabs, or molecules in a
        box, relaxed in the cell that they came in. No crystal is missing there.
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
    disordered: frozenset[str] = frozenset()
    hollow: frozenset[str] = frozenset()

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

    A crystal is reduced to its primitive cell where spglib is installed. Candidates of a composition that was chosen
    before, or that share elements with a chosen one, come later. Structures far from equilibrium are tried where those
    near it do not suffice. A crystal with unstable phonons in the reference is not taken. One of unknown stability is
    taken where there are too few others. A liquid or a glass (:func:`disordered`) has no minimum to compare at and is
    not missed. Slabs and molecules in a periodic box are no crystals. They serve checks that need none where the data
    contain nothing else. A minimum that was found before is not taken again: the structures of one system often relax to
    one crystal.

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
    liquids: set[str] = set()  # and slabs, and molecules in a box
    reasons: list[str] = []
    left = candidates(structures, periodic=periodic)
    later = wilder(structures, left, periodic=periodic)
    tries = again = 0
    while len(found) < wanted and again < wanted and (left or (later and not liquids)):
        if tries >= (TRIES if found or liquids else MOST_TRIES) * wanted:
            break
        left, later = (left, later) if left else (later, [])
        tries += 1
        structure = left.pop(_next(left, found))
        name = f"{structure.id} ({structure.formula})"
        on_step(f"relaxation of {name}")
        try:
            atoms, force, lowest = _at_rest(reference, structure, periodic=periodic)
            if periodic and (is_hollow(structure) or disordered(atoms)):
                if len(liquids) == wanted:
                    continue
                liquids.add(name)
                others.append((name, solids.relax(structure.to_ase(), reference, cell=False, steps=MOST_RELAXATION_STEPS)))
                continue
            settled = force < SETTLED_EV_PER_ANGSTROM
        except Exception as error:  # noqa: BLE001 - the next structure may do
            log.info("%s was not relaxed: %s", name, error)
            reasons.append(f"{name}: {error}")
            continue
        if not settled:
            reasons.append(f"{name} has forces of {force:.2f} eV/Å after {MOST_RELAXATION_STEPS} steps")
            others.append((name, atoms))
        elif any(_same(reference, atoms, other) for _, other in found):
            again += 1
        elif lowest is None or lowest >= phonons.LOWEST_THZ:  # a molecule, or phonopy is missing
            found.append((name, atoms))
        elif np.isnan(lowest):
            unknown.append((name, atoms))
        else:
            log.info("%s: the reference's lowest phonon is at %.1f THz, others are looked for", name, lowest)
            reasons.append(f"{name} is not stable in the reference, with a mode at {lowest:.1f} THz")
            others.append((name, atoms))
    found += unknown[: wanted - len(found)]
    lacking = max(0, min(wanted, tries - again) - len(found))
    others = others[:lacking]
    liquids &= {name for name, _ in others}
    hollow = frozenset(name for name, atoms in others if name in liquids and is_hollow(Structure.from_ase(atoms)))
    every_one = (not left and not later) or again == wanted
    missing = 0 if found and every_one else lacking - len(liquids)
    return Choice(
        found, others, missing, tries, _in_short(reasons) if missing else "", frozenset(liquids - hollow), frozenset(hollow)
    )


def _next(left: Sequence[Structure], found: Sequence[tuple[str, Any]]) -> int:
    """Return the place of the first structure of another composition, of those the first with the fewest elements shared."""
    taken = {int(z) for _, atoms in found for z in atoms.numbers}
    compositions = [_composition(atoms.numbers) for _, atoms in found]

    def place(k: int) -> tuple[bool, bool, int, int]:
        numbers = left[k].atomic_numbers
        again = bool(compositions) and _composition(numbers) in compositions
        return again, *_order(left[k]), len(taken & set(numbers.tolist()))

    return min(range(len(left)), key=place)


def _composition(numbers: Array) -> dict[int, float]:
    return {int(z): float(np.mean(numbers == z)) for z in np.unique(numbers)}


def _same(reference: Any, atoms: Any, other: Any) -> bool:
    """Return whether two systems at rest are one: equal atoms, energies and, where periodic, volumes."""
    if sorted(atoms.numbers) != sorted(other.numbers):
        return False
    volume = atoms.get_volume() / other.get_volume() if atoms.pbc.all() else 1.0
    gap = np.subtract(*(of(a, reference).get_potential_energy() for a in (atoms, other))) / len(atoms)
    return bool(abs(volume - 1) < SAME_VOLUME and abs(gap) < SAME_EV)


def _in_short(reasons: Sequence[str]) -> str:
    more = len(reasons) - SHOWN
    return "; ".join([*reasons[:SHOWN], *([f"and {more} more"] if more > 0 else [])])


def disordered(atoms: Any) -> bool:
    """Return whether a relaxed cell is a liquid's or a glass's: large, no symmetry, and no lattice that most atoms share.

    Hydrogens do not count beside heavier atoms. Elements are not told apart, so that a random alloy and a crystal with a
    vacancy are crystals. Without spglib nothing is disordered.
    """
    try:
        import spglib
    except ImportError:
        return False
    if len(atoms) <= SMALL_ATOMS:
        return False
    heavy = atoms[atoms.numbers > 1] if (atoms.numbers > 1).any() else atoms
    cell = (heavy.cell.tolist(), heavy.get_scaled_positions().tolist(), [1] * len(heavy))
    try:
        symmetry = spglib.get_symmetry(cell, symprec=SYMMETRY_ANGSTROM)
    except Exception:  # noqa: BLE001 - whatever it does with a strange cell: no liquid is claimed
        return False
    asymmetric = symmetry is not None and len(symmetry["rotations"]) == 1
    return asymmetric and not has_lattice(heavy.numbers, heavy.positions, np.array(heavy.cell))


def _at_rest(reference: Any, structure: Structure, *, periodic: bool) -> tuple[Any, float, float | None]:
    """Return the relaxed atoms, the largest remaining component of a force, and the lowest phonon in THz or None.

    Displaced atoms are first taken for their lattice, of which a few atoms are relaxed. They are relaxed as they are where
    they have no lattice, or where that lattice is no stable minimum. A slab keeps its cell.
    """
    atoms = structure.to_ase()
    if not periodic or is_hollow(structure):
        return *_settled(reference, atoms, periodic=False), None
    lattice = _lattice(atoms)
    if len(lattice) < len(atoms):
        relaxed, force = _settled(reference, lattice, periodic=True)
        lowest = _lowest_phonon(reference, relaxed, force)
        if force < SETTLED_EV_PER_ANGSTROM and (lowest is None or not lowest < phonons.LOWEST_THZ):
            return relaxed, force, lowest
    relaxed, force = _settled(reference, atoms, periodic=True)
    return relaxed, force, _lowest_phonon(reference, relaxed, force)


def _lowest_phonon(reference: Any, atoms: Any, force: float) -> float | None:
    settled = force < SETTLED_EV_PER_ANGSTROM and not disordered(atoms)
    return phonons.lowest_frequency(reference, atoms, MOST_DISPLACEMENTS) if settled else None


def _settled(reference: Any, atoms: Any, *, periodic: bool) -> tuple[Any, float]:
    """Return the relaxed atoms, crystals in their primitive cell, and the largest remaining component of a force."""
    atoms = solids.relax(atoms, reference, cell=periodic, steps=MOST_RELAXATION_STEPS)
    smaller = primitive(atoms) if periodic else atoms
    if len(smaller) < len(atoms):
        atoms = solids.relax(smaller, reference, cell=True, steps=MOST_RELAXATION_STEPS)
    return atoms, float(np.abs(of(atoms, reference).get_forces()).max())


def _lattice(atoms: Any) -> Any:
    """Return the primitive cell of a crystal with displaced atoms, by the smallest tolerance that gives a small one."""
    for tolerance in LATTICE_ANGSTROM:
        smaller = primitive(atoms, tolerance)
        if len(smaller) < len(atoms) and len(smaller) <= SMALL_ATOMS:
            return smaller
    return atoms


def primitive(atoms: Any, tolerance: float = SYMMETRY_ANGSTROM) -> Any:
    """Return a crystal in its primitive cell, where spglib is installed and finds a smaller one; else unchanged."""
    from ase import Atoms

    try:
        import spglib
    except ImportError:
        return atoms
    cell = (atoms.cell.tolist(), atoms.get_scaled_positions().tolist(), atoms.numbers.tolist())
    try:
        reduced = spglib.find_primitive(cell, symprec=tolerance)
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
    kind = _of_kind(structures, periodic=periodic)
    several = [k for k, s in enumerate(kind) if len(s) > 1 or periodic]
    if not several:
        return []
    force = np.array([_largest_force(s) for s in kind])
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


def near_equilibrium(structures: Sequence[Structure], *, periodic: bool) -> list[Structure]:
    """Return the labelled crystals, or other structures, of several atoms whose largest force is in the lowest quarter."""
    kind = [s for s in structures if bool(s.pbc.all()) == periodic and s.labels is not None and len(s) > 1]
    if not kind:
        return []
    force = np.array([np.linalg.norm(s.labels.forces, axis=1).max() for s in kind if s.labels is not None])
    return [s for s, f in zip(kind, force, strict=True) if f <= np.quantile(force, CALM)]


def pick(structures: Sequence[Structure], *, periodic: bool) -> Structure | None:
    """Return the held-out structure at the start of dynamics: the largest of those near equilibrium; None without any."""
    return max(near_equilibrium(structures, periodic=periodic), key=lambda s: (len(s), s.id), default=None)


def wilder(structures: Sequence[Structure], calm: Sequence[Structure], *, periodic: bool) -> list[Structure]:
    """Return the structures of other families than the calm ones, by their largest force, one of each family."""
    seen = {s.family for s in calm}
    several = [s for s in _of_kind(structures, periodic=periodic) if len(s) > 1 or periodic]
    order = sorted(several, key=lambda s: (_largest_force(s), s.id))
    return [s for s in order if not (s.family in seen or seen.add(s.family))]  # type: ignore[func-returns-value]


def _of_kind(structures: Sequence[Structure], *, periodic: bool) -> list[Structure]:
    """Return the labelled molecules, or crystals; slabs and molecules in a periodic box where there are no crystals."""
    kind = [s for s in structures if s.labels is not None and (s.pbc.all() if periodic else not s.pbc.any())]
    return ([s for s in kind if not is_hollow(s)] if periodic else []) or kind


def _largest_force(structure: Structure) -> float:
    return float(np.abs(structure.labels.forces).max()) if structure.labels is not None else np.inf


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
