"""Molecules: vibrations, a turn about each kind of bond, the candidate's own minimum, and pairs of atoms pulled apart.

Takes candidate and reference as ASE calculators and a molecule at the minimum of the reference, or atomic numbers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np

from potstill.core.elements import covalent_radii, symbols_of
from potstill.core.types import Array
from potstill.core.units import MILLI
from potstill.evaluate.measured import Curve, Row, of
from potstill.evaluate.solids import relax

DISPLACEMENT_ANGSTROM = 0.01
MOST_ATOMS_VIBRATED = 40  # six calls per atom
RIGID_MODES = 6
BONDED = 1.25  # times the sum of covalent radii
TURNS_DEGREES = np.arange(0.0, 360.0, 20.0)
CLASH = 1.5  # times the sum of covalent radii: closer atoms without a bond clash
MOST_BONDS_TURNED = 2
DEEP_WELL_EV, LEAST_OF_WELL = 1.0, 0.1  # a bond of the reference, and the share of it that the candidate must have
PULLED = np.linspace(0.7, 2.5, 25)  # distances over the sum of covalent radii


def vibrations(candidate: Any, reference: Any, molecule: Any) -> list[Row]:
    """Compare harmonic frequencies by finite displacements (ASE): the mean absolute gap over the mean of the reference."""
    if len(molecule) > MOST_ATOMS_VIBRATED:
        return [Row("vibrations", None, why=f"{len(molecule)} atoms are more than {MOST_ATOMS_VIBRATED}")]
    mine, theirs = (_frequencies(of(molecule, c)) for c in (candidate, reference))
    measured = 100 * float(np.abs(mine - theirs).mean() / np.abs(theirs).mean())
    modes = np.arange(1, len(mine) + 1)
    figures = [{"lowest, 1/cm": f[0], "highest, 1/cm": f[-1]} for f in (mine, theirs)]
    curve = Curve("mode", "wave number, 1/cm", modes, mine, theirs)
    return [Row("vibrations", measured, figures[0], figures[1], curves={"vibrations": curve})]


def torsions(candidate: Any, reference: Any, molecule: Any) -> list[Row]:
    """Turn parts of the molecule about a bond, all else rigid, and compare the energies (root mean square).

    Angles at which atoms clash are left out. A molecule without a bond to turn has no figure.
    """
    bonds = rotatable_bonds(molecule)[:MOST_BONDS_TURNED]
    if not bonds:
        return [Row("torsions", None, why="no bond can be turned", applies=False)]
    curves, gaps = {}, []
    for dihedral, turned in bonds:
        atoms, angles, energies = molecule.copy(), [], []
        start = atoms.get_dihedral(*dihedral)
        for turn in TURNS_DEGREES:
            atoms.set_dihedral(*dihedral, start + turn, indices=turned)
            if turn and _clashes(atoms, turned):
                continue
            angles.append(turn)
            energies.append([of(atoms, c).get_potential_energy() for c in (candidate, reference)])
        mine, theirs = MILLI * (np.array(energies) - np.mean(energies, axis=0)).T
        gaps.append(float(np.sqrt(np.mean((mine - theirs) ** 2))))
        name = "-".join(f"{molecule.symbols[k]}{k}" for k in dihedral)
        curves[name] = Curve("turn from the minimum, degrees", "energy from its mean, meV", np.array(angles), mine, theirs)
    return [Row("torsions", max(gaps), curves=curves, why=f"{len(bonds)} bonds, rigid turns")]


def relaxed_molecule(candidate: Any, reference: Any, molecule: Any) -> list[Row]:
    """Relax the molecule by both from the reference's minimum, and measure the distance between the results."""
    from ase.build import minimize_rotation_and_translation

    mine, theirs = (relax(molecule, c, cell=False) for c in (candidate, reference))
    if len(molecule) > 2:
        minimize_rotation_and_translation(theirs, mine)
        away = mine.positions - theirs.positions
    else:
        away = np.full((2, 1), (mine.get_distance(0, 1) - theirs.get_distance(0, 1)) / 2)
    displacement = float(np.sqrt((away**2).sum(axis=1).mean()))
    return [Row("relaxed_positions", displacement, {"displacement, Å": displacement}, why="root mean square over the atoms")]


def dimers(candidate: Any, reference: Any, elements: Sequence[int], most: int) -> list[Row]:
    """Pull pairs of atoms apart with both, and count the pairs whose curve has another form than the reference's.

    Such a pair has forces that change sign more often, or no well where the reference has a deep one. Pairs in vacuum are
    far from most data, so the depth of a well is shown and not judged.
    """
    curves, mine_turns, their_turns, names = {}, 0, 0, []
    unbound: list[str] = []
    for pair in list(combinations_with_replacement(sorted({int(z) for z in elements}), 2))[:most]:
        distance = PULLED * float(covalent_radii()[list(pair)].sum())
        (mine, my_force), (theirs, their_force) = (pulled(c, pair, distance) for c in (candidate, reference))
        name = "-".join(symbols_of([z])[0] for z in pair)
        shown = [e - e[-1] for e in (mine, theirs)]
        curves[name] = Curve("distance, Å", "energy from that at the end, eV", distance, *shown)
        turns = [_turns(f) for f in (my_force, their_force)]
        mine_turns, their_turns = mine_turns + turns[0], their_turns + turns[1]
        names += [name] * (turns[0] > turns[1] + 1)
        depths = [-float(np.min(e)) for e in shown]
        unbound += [f"{name} ({depths[1]:.1f} eV)"] * (depths[1] > DEEP_WELL_EV and depths[0] < LEAST_OF_WELL * depths[1])
    figures = [{"wells and barriers": float(n)} for n in (mine_turns, their_turns)]
    why = f"{len(curves)} pairs" + (f"; bumpy: {', '.join(names)}" if names else "")
    why += f"; no well where the reference has one: {', '.join(unbound)}" if unbound else ""
    bad = {*names, *(text.split(" ")[0] for text in unbound)}
    return [Row("dimers", len(bad), figures[0], figures[1], curves=curves, why=why)]


def pulled(calculator: Any, numbers: Sequence[int], distance: Array) -> tuple[Array, Array]:
    """Return the energy and the repulsive force of two atoms at each distance."""
    from ase import Atoms

    pair = Atoms(numbers, np.zeros((2, 3)))
    pair.calc = calculator
    energy, force = [], []
    for r in distance:
        pair.set_positions([[0, 0, 0], [0, 0, r]])
        energy.append(pair.get_potential_energy())
        force.append(pair.get_forces()[1, 2])
    return np.array(energy), np.array(force)


def rotatable_bonds(molecule: Any) -> list[tuple[tuple[int, int, int, int], list[int]]]:
    """Return bonds outside rings between atoms with further neighbors: four atoms of the dihedral, and those that turn.

    Bonds are sorted by the size of the smaller part, largest first.
    """
    graph = _bonds(molecule)
    found = []
    for j, k in np.argwhere(np.triu(graph)):
        turned = _part(graph, j, k)
        others = [np.flatnonzero(graph[end] & (np.arange(len(molecule)) != other)) for end, other in ((j, k), (k, j))]
        if turned is None or not all(len(o) for o in others):
            continue
        dihedral = (int(others[0][0]), int(j), int(k), int(others[1][0]))
        if all(abs(np.cos(np.radians(molecule.get_angle(*dihedral[a : a + 3])))) < 0.98 for a in (0, 1)):
            found.append((dihedral, turned))
    return sorted(found, key=lambda bond: -min(len(bond[1]), len(molecule) - len(bond[1])))


def in_one_piece(molecule: Any) -> bool:
    """Return whether bonds connect all atoms."""
    from scipy.sparse.csgraph import connected_components

    return int(connected_components(_bonds(molecule), directed=False)[0]) == 1


def _bonds(molecule: Any) -> Array:
    radii = covalent_radii()[molecule.numbers]
    near = molecule.get_all_distances() < BONDED * (radii[:, None] + radii[None])
    np.fill_diagonal(near, val=False)
    return near


def _part(graph: Array, j: int, k: int) -> list[int] | None:
    """Return the atoms on k's side when the bond from j is cut; None where j is among them, by a ring."""
    seen, ahead = {int(k)}, [int(k)]
    while ahead:
        at = ahead.pop()
        for other in np.flatnonzero(graph[at]).tolist():
            if at == k and other == j:
                continue
            if other == j:
                return None
            if other not in seen:
                seen.add(other)
                ahead.append(other)
    return sorted(seen)


def _clashes(atoms: Any, turned: Sequence[int]) -> bool:
    """Return whether the turned part comes close to the rest, other than along its bond."""
    graph = _bonds(atoms)
    still = np.setdiff1d(np.arange(len(atoms)), turned)
    radii = covalent_radii()[atoms.numbers]
    scaled = atoms.get_all_distances() / (radii[:, None] + radii[None])
    far = ~(graph | (graph @ graph) | (graph @ graph @ graph))
    places = np.ix_(np.asarray(turned), still)
    return bool((scaled[places][far[places]] < CLASH).any())


def _frequencies(atoms: Any) -> Array:
    """Return wave numbers in 1/cm without those of rigid motion, imaginary ones as negative, sorted."""
    from ase.vibrations import Vibrations

    with tempfile.TemporaryDirectory() as folder:
        modes = Vibrations(atoms, name=str(Path(folder) / "vibrations"), delta=DISPLACEMENT_ANGSTROM)
        modes.run()
        found = np.asarray(modes.get_frequencies())
    signed = np.where(np.abs(found.imag) > found.real, -np.abs(found.imag), found.real)
    rigid = RIGID_MODES - (len(atoms) == 2)
    return np.sort(signed[np.argsort(np.abs(signed))][rigid:])


def _turns(force: Array) -> int:
    """Count the sign changes of the force, without those of rounding."""
    signs = np.sign(force[np.abs(force) > 1e-2])
    return int((signs[1:] != signs[:-1]).sum())
