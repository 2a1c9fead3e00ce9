"""Crystals: volume and bulk modulus, elastic constants, vacancies, surfaces, and the candidate's own minimum.

Takes candidate and reference as ASE calculators and a crystal at the minimum of the reference. Both are evaluated at that
geometry, so that each check is about one property. Only :func:`relaxed_crystal` moves atoms by the candidate.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from potstill.core.stress import to_voigt_matrix
from potstill.core.units import GPA_PER_EV_PER_CUBIC_ANGSTROM, MILLI
from potstill.evaluate.measured import Curve, Row, of, relative

VOLUMES = np.linspace(0.91, 1.09, 9)
STRAIN = 5e-3
SUPERCELL_ATOMS = 27
PLANES = ((1, 0, 0), (1, 1, 0), (1, 1, 1))
SLAB_ANGSTROM, VACUUM_ANGSTROM, MOST_SLAB_ATOMS = 8.0, 7.0, 64
RELAX_FMAX, RELAX_STEPS = 0.02, 150
JOULE_PER_SQUARE_METRE = 16.0217663  # one eV/Å^2


def equation_of_state(candidate: Any, reference: Any, crystal: Any) -> list[Row]:
    """Fit energies of scaled cells by Birch and Murnaghan's equation (ASE)."""
    volumes = VOLUMES * crystal.get_volume() / len(crystal)
    energies = [_energies(c, crystal) for c in (candidate, reference)]
    (v, bulk), (v0, bulk0) = (_fit(volumes, e) for e in energies)
    shown = [MILLI * (e - e[len(e) // 2]) for e in energies]
    curve = Curve("volume, Å^3/atom", "energy from the reference's minimum, meV/atom", volumes, *shown)
    return [
        Row("equilibrium_volume", 100 * relative(v, v0), {"volume, Å^3/atom": v}, {"volume, Å^3/atom": v0}),
        Row(
            "bulk_modulus",
            100 * relative(bulk, bulk0),
            {"bulk modulus, GPa": bulk},
            {"bulk modulus, GPa": bulk0},
            {"equation of state": curve},
        ),
    ]


def elastic_constants(candidate: Any, reference: Any, crystal: Any) -> list[Row]:
    """Strain the cell with its atoms (clamped ions), and measure the distance of the two tensors over the reference's."""
    tensor, tensor0 = (GPA_PER_EV_PER_CUBIC_ANGSTROM * _stiffness(of(crystal, c)) for c in (candidate, reference))
    measured = 100 * float(np.linalg.norm(tensor - tensor0) / np.linalg.norm(tensor0))
    return [Row("elastic_constants", measured, _moduli(tensor), _moduli(tensor0))]


def vacancies(candidate: Any, reference: Any, crystal: Any) -> list[Row]:
    """Measure the energy to take one atom of each element out of a supercell, without relaxation.

    It is relative to the energies of the crystal per atom. In an element this is a formation energy. In a compound it is one
    up to chemical potentials, which cancel in the comparison if the training data determine an energy of each element.
    """
    large = crystal.repeat([_repeats(crystal)] * 3)
    found: list[dict[str, float]] = []
    for calculator in (candidate, reference):
        whole = of(large, calculator).get_potential_energy()
        energies = {}
        for symbol in sorted(set(large.symbols)):
            hollow = large.copy()
            del hollow[int(np.flatnonzero(large.symbols == symbol)[0])]
            left = of(hollow, calculator).get_potential_energy()
            energies[f"{symbol}, eV"] = left - whole * len(hollow) / len(large)
        found.append(energies)
    gap = max(abs(found[0][name] - found[1][name]) for name in found[0])
    return [Row("vacancies", gap, found[0], found[1], why=f"supercell of {len(large)} atoms, not relaxed")]


def surfaces(candidate: Any, reference: Any, crystal: Any) -> list[Row]:
    """Measure the energy of cleaving along low-index planes, over both faces, without relaxation."""
    from ase.build import surface

    cut = {}
    for plane in PLANES:
        slab = surface(crystal, plane, 1, periodic=True)
        layers = max(1, round(SLAB_ANGSTROM / max(np.linalg.det(slab.cell) / _area(slab), 1e-6)))
        slab = surface(crystal, plane, layers, vacuum=VACUUM_ANGSTROM, periodic=True)
        if len(slab) <= MOST_SLAB_ATOMS:
            cut["".join(map(str, plane))] = slab
    if not cut:
        return [Row("surfaces", None, why=f"every slab has more than {MOST_SLAB_ATOMS} atoms")]
    found: list[dict[str, float]] = []
    for calculator in (candidate, reference):
        bulk = of(crystal, calculator).get_potential_energy() / len(crystal)
        found.append(
            {
                f"({plane}), J/m²": JOULE_PER_SQUARE_METRE
                * (of(slab, calculator).get_potential_energy() - len(slab) * bulk)
                / (2 * _area(slab))
                for plane, slab in cut.items()
            }
        )
    (mine, theirs) = (np.array(list(f.values())) for f in found)
    measured = 100 * float(np.abs(mine - theirs).max() / max(np.abs(theirs).max(), 1e-12))
    return [Row("surfaces", measured, found[0], found[1], why="not relaxed; the largest gap over the largest energy")]


def relaxed_crystal(candidate: Any, reference: Any, crystal: Any) -> list[Row]:
    """Relax atoms and cell by both from the minimum of the reference, and measure the distance between the results."""
    mine, theirs = (relax(crystal, c, cell=True) for c in (candidate, reference))
    volume, volume0 = (moved.get_volume() / len(moved) for moved in (mine, theirs))
    away = mine.get_scaled_positions(wrap=False) - theirs.get_scaled_positions(wrap=False)
    away = (away - away.mean(axis=0)) @ np.array(theirs.cell)
    displacement = float(np.sqrt((away**2).sum(axis=1).mean()))
    lengths = np.abs(mine.cell.lengths() / theirs.cell.lengths() - 1).max()
    figures = {"volume, Å^3/atom": volume, "displacement, Å": displacement}
    measured = 100 * max(abs(volume / volume0 - 1), float(lengths))
    return [
        Row("relaxed_cell", measured, figures, {"volume, Å^3/atom": volume0}),
        Row("relaxed_positions", displacement, figures, why="root mean square over the atoms, cell taken out"),
    ]


def relaxed_in_cell(candidate: Any, reference: Any, atoms: Any) -> list[Row]:
    """Relax a slab, or molecules in a box, by both in the cell they have, and measure the distance between the results."""
    mine, theirs = (relax(atoms, c, cell=False) for c in (candidate, reference))
    away = mine.positions - theirs.positions
    away -= away.mean(axis=0)
    displacement = float(np.sqrt((away**2).sum(axis=1).mean()))
    why = "root mean square over the atoms, in a fixed cell"
    return [Row("relaxed_positions", displacement, {"displacement, Å": displacement}, why=why)]


def relax(atoms: Any, calculator: Any, *, cell: bool, steps: int = RELAX_STEPS) -> Any:
    """Return a copy of ASE ``Atoms`` at the nearest minimum, or as near as the number of steps allows."""
    from ase.filters import FrechetCellFilter
    from ase.optimize import FIRE

    moved = of(atoms, calculator)
    with warnings.catch_warnings():  # SciPy tells of errors of 1e-12 in the logarithm of each strain
        warnings.filterwarnings("ignore", "logm result may be inaccurate", RuntimeWarning)
        FIRE(FrechetCellFilter(moved) if cell else moved, logfile=None).run(fmax=RELAX_FMAX, steps=steps)
    moved.calc = None
    return moved


def _energies(calculator: Any, crystal: Any) -> Any:
    scaled = of(crystal, calculator)
    found = []
    for factor in VOLUMES:
        scaled.set_cell(np.array(crystal.cell) * factor ** (1 / 3), scale_atoms=True)
        found.append(scaled.get_potential_energy() / len(crystal))
    return np.array(found)


def _fit(volumes: Any, energies: Any) -> tuple[float, float]:
    """Return volume and bulk modulus in GPa; NaN where the curve has no minimum."""
    from ase.eos import EquationOfState
    from scipy.optimize import OptimizeWarning

    try:
        with np.errstate(invalid="ignore"), warnings.catch_warnings():  # trial volumes of the fit may be negative
            warnings.simplefilter("error", OptimizeWarning)  # a curve that does not determine its parameters
            volume, _, bulk = EquationOfState(volumes, energies, eos="birchmurnaghan").fit(warn=False)
    except (ValueError, RuntimeError, OptimizeWarning):
        return float("nan"), float("nan")
    return float(volume), float(bulk) * GPA_PER_EV_PER_CUBIC_ANGSTROM


def _stiffness(atoms: Any) -> Any:
    """Return the (6, 6) derivative of the stress by strain in eV/Å^3, in Voigt's order."""
    from ase.stress import get_elasticity_tensor

    return to_voigt_matrix(get_elasticity_tensor(atoms, h=STRAIN))


def _moduli(tensor: Any) -> dict[str, float]:
    """Return Voigt's averages of a (6, 6) tensor in GPa."""
    normal, off, shear = np.trace(tensor[:3, :3]), tensor[[0, 0, 1], [1, 2, 2]].sum(), np.trace(tensor[3:, 3:])
    return {"K, GPa": (normal + 2 * off) / 9, "G, GPa": (normal - off + 3 * shear) / 15}


def _repeats(crystal: Any) -> int:
    return max(2 if len(crystal) <= SUPERCELL_ATOMS else 1, round((SUPERCELL_ATOMS / len(crystal)) ** (1 / 3)))


def _area(slab: Any) -> float:
    return float(np.linalg.norm(np.cross(slab.cell[0], slab.cell[1])))


Property = Callable[[Any, Any, Any], list[Row]]
PROPERTIES: tuple[Property, ...] = (equation_of_state, elastic_constants, vacancies, surfaces, relaxed_crystal)
