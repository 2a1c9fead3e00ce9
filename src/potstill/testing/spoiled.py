"""Spoiled students: a good ASE calculator with one fault, and the checks of the evaluation that must fail for it.

Takes any calculator and returns one with a fault. Use them to find the faults that an evaluation of your own would miss::

    for spoiled in SPOILED:
        candidate = spoiled.make(EMT())
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from potstill.core.neighbors import find_neighbors
from potstill.core.stress import from_voigt, to_voigt
from potstill.core.types import Array

Answer = dict[str, Any]
Spoil = Callable[[Answer, Any, Any], None]

COPPER, GOLD = 29, 79  # the faults that are about one element are about these


class SpoiledCalculator(Calculator):
    """Calculator whose answers are changed before they are returned.

    Parameters
    ----------
    good
        ASE calculator that computes the answers.
    spoil
        Function that changes ``energy``, ``forces`` and ``stress`` ((3, 3), where periodic) of its answer in place, given
        the answer, the atoms and the good calculator.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012 - ASE's own interface

    def __init__(self, good: Any, spoil: Spoil) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.good = good
        self.spoil = spoil

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = tuple(all_changes)) -> None:
        """Compute the answer of the good calculator and spoil it."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        answer = asked(self.good, atoms)
        self.spoil(answer, atoms, self.good)
        self.results = {"energy": answer["energy"], "free_energy": answer["energy"], "forces": answer["forces"]}
        if "stress" in answer:
            self.results["stress"] = to_voigt(answer["stress"])


@dataclass(frozen=True, slots=True)
class Spoiled:
    """One way for a student to be wrong.

    Parameters
    ----------
    name
        Name of the fault.
    says
        Description of the fault, with its size.
    checks
        Names of the checks that must fail, and no others.
    spoil
        Function that changes an answer.
    """

    name: str
    says: str
    checks: frozenset[str]
    spoil: Spoil

    def make(self, good: Any) -> SpoiledCalculator:
        """Return the spoiled calculator of a good one."""
        return SpoiledCalculator(good, self.spoil)


SPOILED: list[Spoiled] = []


def spoiled(says: str, *checks: str) -> Callable[[Spoil], Spoil]:
    """Register a function as the fault of its name."""

    def register(spoil: Spoil) -> Spoil:
        SPOILED.append(Spoiled(spoil.__name__, says, frozenset(checks), spoil))
        return spoil

    return register


def asked(good: Any, atoms: Any) -> Answer:
    """Return energy, forces and, for periodic structures, stress of a good calculator."""
    copy = atoms.copy()
    copy.calc = good
    answer: Answer = {"energy": copy.get_potential_energy(), "forces": np.array(copy.get_forces(), float)}
    if atoms.pbc.all():
        answer["stress"] = from_voigt(copy.get_stress())
    return answer


def add_pair_energy(
    answer: Answer, atoms: Any, cutoff_angstrom: float, slope: Callable[[Array], tuple[Array, Array]]
) -> None:
    """Add a pair potential with its forces and stress; ``slope`` gives its energy and derivative at distances."""
    cell, positions = np.array(atoms.cell), atoms.positions
    near = find_neighbors(positions, cell, atoms.pbc, cutoff_angstrom)
    energy, derivative = slope(near.distance)
    i, j = near.edge_index
    vectors = positions[j] + near.edge_shift @ cell - positions[i]
    pulls = (derivative / near.distance)[:, None] * vectors  # on i, towards j, where the derivative is positive
    np.add.at(answer["forces"], i, pulls)
    answer["energy"] += energy.sum() / 2
    if "stress" in answer:
        answer["stress"] += vectors.T @ pulls / (2 * atoms.get_volume())


@spoiled(
    "Gaussian noise of 0.1 eV/Å on every force, another with every geometry",
    "closed_loop",
    "dimers",
    "force_slope",
    "invariance",
    "locality",
    "phonons",
    "smoothness",
    "vibrations",
)
def noisy(answer: Answer, atoms: Any, _good: Any) -> None:
    answer["forces"] += _noise(atoms).normal(0.0, 0.1, answer["forces"].shape)


@spoiled("energy, forces and stress are 0.9 of what they should be", "softening")
def softened(answer: Answer, _atoms: Any, _good: Any) -> None:
    for name in answer:
        answer[name] = 0.9 * answer[name]


@spoiled("the stress has the sign of a pressure", "elastic_constants", "npt", "pressure", "stress_error", "stress_slope")
def wrong_stress_sign(answer: Answer, _atoms: Any, _good: Any) -> None:
    if "stress" in answer:
        answer["stress"] = -answer["stress"]


@spoiled("the stress is in GPa", "elastic_constants", "pressure", "stress_error", "stress_slope")
def stress_in_gpa(answer: Answer, _atoms: Any, _good: Any) -> None:
    if "stress" in answer:
        answer["stress"] = 160.2 * answer["stress"]


@spoiled("a pair force grows to 0.05 eV/Å between 3.9 and 4.1 Å, where it is cut off", "smoothness")
def kink_at_the_cutoff(answer: Answer, atoms: Any, _good: Any) -> None:
    start, end = 3.9, 4.1

    def tail(r: Array) -> tuple[Array, Array]:
        x = np.maximum(0.0, r - start) / (end - start)
        return 0.05 * (end - start) * (x**2 - 1) / 2, 0.05 * x

    add_pair_energy(answer, atoms, end, tail)


@spoiled("gold pulls its neighbors half as much as they pull it: actio is not reactio", "closed_loop", "force_slope")
def not_conservative(answer: Answer, atoms: Any, _good: Any) -> None:
    near = find_neighbors(atoms.positions, np.array(atoms.cell), atoms.pbc, 3.2)
    i, j = near.edge_index
    vectors = atoms.positions[j] + near.edge_shift @ np.array(atoms.cell) - atoms.positions[i]
    weights = np.maximum(0.0, 1 - (near.distance / 3.2) ** 2) ** 2
    pull = np.zeros_like(answer["forces"])
    np.add.at(pull, i, weights[:, None] * vectors)
    answer["forces"] += 0.3 * pull * np.where(atoms.numbers == GOLD, 2.0, 1.0)[:, None]


@spoiled(
    "gold feels no force",
    "closed_loop",
    "force_direction",
    "force_error_element",
    "force_slope",
    "fused_pairs",
    "nve_molecule",
    "phonons",
    "softening",
)
def blind_to_one_element(answer: Answer, atoms: Any, _good: Any) -> None:
    answer["forces"][atoms.numbers == GOLD] = 0.0


@spoiled(
    "gold is taken for copper",
    "elastic_constants",
    "equilibrium_volume",
    "phonons",
    "pressure",
    "relaxed_cell",
    "softening",
    "stress_error",
    "vibrations",
)
def one_element_for_another(answer: Answer, atoms: Any, good: Any) -> None:
    seen = atoms.copy()
    seen.numbers[seen.numbers == GOLD] = COPPER
    answer.update(asked(good, seen))


@spoiled("energy grows by 1 meV times the square of the number of atoms", "extensivity")
def not_extensive(answer: Answer, atoms: Any, _good: Any) -> None:
    answer["energy"] += 1e-3 * len(atoms) ** 2


@spoiled("energy is 2 eV per atom of gold too high, all derivatives are right", "energy_error", "vacancies")
def shifted_energy(answer: Answer, atoms: Any, _good: Any) -> None:
    answer["energy"] += 2.0 * (atoms.numbers == GOLD).sum()


@spoiled(
    "a wind of 0.1 eV/Å along the third axis, which turns with nothing",
    "force_slope",
    "invariance",
    "nve_crystal",
    "nve_molecule",
)
def wind(answer: Answer, _atoms: Any, _good: Any) -> None:
    answer["forces"] += [0.0, 0.0, 0.1]


@spoiled("below 0.75 of the sum of covalent radii atoms attract each other", "fused_pairs")
def hole_at_short_range(answer: Answer, atoms: Any, _good: Any) -> None:
    reach = 1.9

    def well(r: Array) -> tuple[Array, Array]:
        x = np.maximum(0.0, 1 - r / reach)
        return -4e4 * x**4, 1.6e5 * x**3 / reach

    add_pair_energy(answer, atoms, reach, well)


@spoiled("no finite number for an atom without neighbors within 5 Å", "dimers", "endurance", "smoothness")
def lost_without_neighbors(answer: Answer, atoms: Any, _good: Any) -> None:
    near = find_neighbors(atoms.positions, np.array(atoms.cell), atoms.pbc, 5.0)
    if len(np.unique(near.edge_index[0])) < len(atoms):
        answer["energy"] = np.nan


def _noise(atoms: Any) -> np.random.Generator:
    """Return random numbers that depend only on the atoms and their positions."""
    digest = hashlib.sha256(atoms.positions.tobytes() + np.array(atoms.cell).tobytes() + atoms.numbers.tobytes()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))
