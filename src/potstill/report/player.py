"""Trajectories that one can play in a page: data for its script, and a picture for a browser without it.

The input is trajectories with frames, the output facts of the template.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from potstill.core.types import Array, Structure
from potstill.evaluate.dynamics import FRAME_EVERY, Trajectory
from potstill.report.explorer import FARTHEST_ANGSTROM, QUANTUM_ANGSTROM, pack
from potstill.report.structure import (
    BOND_SCALE,
    RADIUS_IN_CRYSTAL,
    RADIUS_IN_MOLECULE,
    cell_edges,
    draw_structure,
    element_colour,
    view_of,
)

SCRIPT = "page.js"
WRAPPED_BELOW = 0.03  # of a lattice vector: atoms this near below a face stay there
MOST_NUMBERS = 60_000  # coordinates of all frames: about 0.1 MB of the page


@dataclass(frozen=True, slots=True)
class Player:
    """One trajectory: its packed data, a still picture, a label for screen readers, and a caption."""

    data: str
    still: Markup
    label: str
    caption: str


def players(trajectories: Sequence[Trajectory]) -> list[Player]:
    """Return the trajectories whose frames were kept, are finite and are not too large for a page."""
    found = []
    for run in trajectories:
        frames, times = _frames(run)
        if len(frames) > 1:
            frames = frames + _into_the_cell(run.final.with_(positions=frames[0], labels=None))
            start = run.final.with_(positions=frames[0], labels=None)
            length = run.steps * run.timestep_fs / 1e3
            what = f"{start.formula}, {run.kind} of {run.atoms} atoms"
            caption = f"{what}: {length:g} ps of constant-energy dynamics by the student, from {run.system}. Drag to turn."
            found.append(Player(_packed(start, frames, times), draw_structure(start), f"Trajectory of {what}", caption))
    return found


def _frames(run: Trajectory) -> tuple[Array, Array]:
    """Return (F, n, 3) frames up to the first that is not finite, without the drift of the center, and (F,) times in ps.

    Frames are left out in between where there are too many for a page. Both are empty where one frame is too large.
    """
    nothing = np.zeros((0, 0, 3)), np.zeros(0)
    if run.frames is None or not len(run.frames):
        return nothing
    broken = np.flatnonzero(~np.isfinite(run.frames).all(axis=(1, 2)))
    frames: Array = run.frames[: int(broken[0]) if len(broken) else None].astype(np.float64)
    if not len(frames) or frames[0].size > MOST_NUMBERS // 2:
        return nothing
    frames = frames - (frames - frames[:1]).mean(axis=1, keepdims=True)
    every = -(-len(frames) // (MOST_NUMBERS // frames[0].size))
    kept, times = frames[::every], run.time_ps[::FRAME_EVERY][: len(frames) : every]
    return (kept, times) if np.abs(kept).max() < FARTHEST_ANGSTROM else nothing


def _into_the_cell(start: Structure) -> Array:
    """Return (n, 3) lattice vectors in Å that move each atom of a start into its cell; zero for a molecule."""
    if not start.pbc.all():
        return np.zeros((len(start), 3))
    cells = np.floor(start.positions @ np.linalg.inv(start.cell) + WRAPPED_BELOW)
    return -cells @ start.cell


def _packed(start: Structure, frames: Array, times: Array) -> str:
    from ase.data import chemical_symbols, covalent_radii

    view, numbers = view_of(start), start.atomic_numbers.astype(int)
    elements = {
        int(z): [chemical_symbols[z], element_colour(z), round(float(covalent_radii[z]), 2)] for z in np.unique(numbers)
    }
    periodic = bool(start.pbc.any())
    header = {
        "elements": elements,
        "times": [round(float(t), 4) for t in times],
        "quantum": QUANTUM_ANGSTROM,
        "radius": RADIUS_IN_CRYSTAL if periodic else RADIUS_IN_MOLECULE,
    }
    arrays = {
        "numbers": numbers.astype(np.uint8),
        "xyz": np.round(frames @ view.T / QUANTUM_ANGSTROM).clip(-32767, 32767).astype("<i2"),
        "bonds": _bonds(start).astype("<u2"),
        "edges": (cell_edges(start) @ view.T).astype("<f4"),
    }
    return pack(header, arrays)


def _bonds(molecule: Structure) -> Array:
    """Return (k, 2) pairs of atoms that touch in a molecule; none in a crystal."""
    from ase.data import covalent_radii

    if molecule.pbc.any():
        return np.zeros((0, 2), int)
    radii = covalent_radii[molecule.atomic_numbers.astype(int)]
    distance = np.linalg.norm(molecule.positions[:, None] - molecule.positions[None], axis=2)
    return np.argwhere(np.triu(distance < BOND_SCALE * (radii[:, None] + radii[None]), k=1))
