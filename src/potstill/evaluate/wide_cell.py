"""Errors in a wide cell: a crystal moves in the cell of the data, and in one where no atom is near to its own images.

In a narrow cell an atom and its images move together. A student that learned from such cells alone has never seen them
apart, and no held-out structure of them shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from potstill.core.supercells import image_distance, with_distant_images
from potstill.core.types import Structure
from potstill.evaluate.contents import is_hollow
from potstill.evaluate.liquid import Sampled, langevin
from potstill.evaluate.measured import Row, of
from potstill.evaluate.systems import near_equilibrium

CHECK = "wide_cell"
REACH = 2.0  # cutoffs: at that distance of its images, no atom has both an atom and its image near
USUAL_ANGSTROM = 5.0 * REACH  # for models whose cutoff is not known
MOST_ATOMS = 500  # of the wide cell
LENGTH_PS, FRAMES = 0.4, 4
SMALL = 0.05  # of the mean force: smaller errors count as this, for their growth harms nobody


def typical(structures: Sequence[Structure]) -> Structure | None:
    """Return the crystal near equilibrium with the median distance of an atom to its images; None where there is none.

    Cells with vacuum are left out, as by the other checks of crystals.
    """
    full = [s for s in structures if s.pbc.all() and not is_hollow(s)]
    order = sorted(near_equilibrium(full, periodic=True), key=lambda s: (image_distance(s), s.id))
    return order[(len(order) - 1) // 2] if order else None


def wide_cell(
    candidate: Any, reference: Any, structure: Structure, *, image_angstrom: float, temperature_kelvin: float, seed: int
) -> list[Row]:
    """Compare the candidate's force error in its own dynamics in the cell of a structure with that in a wide cell.

    Parameters
    ----------
    candidate, reference
        ASE calculators.
    structure
        Crystal of the data.
    image_angstrom
        Distance of an atom to its images in the wide cell in Å: twice the cutoff, so that an atom and its image are never
        neighbors of one atom.
    temperature_kelvin, seed
        Temperature in K, and seed of velocities and thermostat.
    """
    near = image_distance(structure)
    if near >= image_angstrom:
        return [Row(CHECK, None, why=f"atoms of the data are {near:.1f} Å from their images", applies=False)]
    wide = with_distant_images(structure, image_angstrom, MOST_ATOMS)
    if len(wide) == len(structure):
        why = f"images farther than {near:.1f} Å would need more than {MOST_ATOMS:,} atoms"
        return [Row(CHECK, None, why=why, applies=False)]
    errors = []
    for cell in (structure, wide):
        atoms = cell.to_ase()
        run = langevin(of(atoms, candidate), length_ps=LENGTH_PS, temperature_kelvin=temperature_kelvin, seed=seed)
        errors.append(_relative_error(run, candidate, reference))
    figures = {f"force error over mean force, {len(s)} atoms": e for s, e in zip((structure, wide), errors, strict=True)}
    far = image_distance(wide)
    why = f"{len(structure)} atoms with images at {near:.1f} Å against {len(wide)} with images at {far:.1f} Å"
    if not np.isfinite(errors).all():
        return [Row(CHECK, float("inf"), figures, why=why)]
    if errors[0] >= 1.0:
        return [Row(CHECK, None, figures, why=f"errors are as large as the forces in the cell of the data already; {why}")]
    measured = errors[1] / max(errors[0], SMALL)
    return [Row(CHECK, measured, figures, why=why)]


def _relative_error(run: Sampled, candidate: Any, reference: Any) -> float:
    """Return the force MAE over the mean force component of the reference, in frames of the second half of a run."""
    if not np.isfinite(run.positions[-1]).all():
        return float("inf")
    last = len(run.positions) - 1
    error = size = 0.0
    for k in np.linspace(last / 2, last, FRAMES).astype(int):
        frame = run.atoms.copy()
        frame.set_constraint()
        frame.positions = run.positions[k]
        predicted, true = (of(frame, model).get_forces() for model in (candidate, reference))
        error += float(np.abs(predicted - true).mean())
        size += float(np.abs(true).mean())
    return error / size if size else float(error > 0)
