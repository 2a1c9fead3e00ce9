"""Pictures of structures: shaded spheres, bonds of molecules and the edges of cells, as SVG without a script.

The input is a ``Structure``, the output markup. The view is orthographic: molecules lie along their principal
axes, crystals are turned a little so that all three lattice vectors are seen.
"""

from __future__ import annotations

import hashlib
from itertools import product

import numpy as np
from markupsafe import Markup, escape

from potstill.core.lattice import completed_cell
from potstill.core.types import Array, Structure

BOND_SCALE = 1.2  # of the sum of covalent radii
RADIUS_IN_MOLECULE, RADIUS_IN_CRYSTAL = 0.45, 0.62  # of the covalent radius
BOUNDARY = 0.03  # of a lattice vector: atoms this near to a face are drawn on the opposite face too
LARGEST_WITH_IMAGES = 200
EDGE_PIECES = 8
MARGIN = 6.0
TURN_DEGREES, TILT_DEGREES = -28.0, 14.0


def draw_structure(structure: Structure, width: int = 220, height: int = 180) -> Markup:
    """Draw one structure.

    Parameters
    ----------
    structure
        Molecule, or periodic along one to three axes.
    width, height
        Size in the picture's own coordinates; the picture scales with its box.
    """
    from ase.data import covalent_radii

    numbers, positions = structure.atomic_numbers.astype(int), structure.positions
    periodic = bool(structure.pbc.any())
    edges = np.zeros((0, 2, 3))
    view = view_of(structure)
    if periodic:
        cell = completed_cell(structure.cell, structure.pbc)
        numbers, positions = _with_images(numbers, positions, cell, structure.pbc)
        edges = _cell_edges(cell, structure.pbc)
    radii = covalent_radii[numbers] * (RADIUS_IN_CRYSTAL if periodic else RADIUS_IN_MOLECULE)
    points, lines = positions @ view.T, edges @ view.T
    place, scale = _fit(points, radii, lines, width, height)
    key = "s" + hashlib.sha256(f"{structure.id}/{positions.tobytes().hex()}".encode()).hexdigest()[:8]
    items = _atoms(points, radii, numbers, place, scale, key) + _edge_lines(lines, place)
    if not periodic:
        items += _bonds(positions, points, numbers, place, scale)
    drawn = "".join(text for _, text in sorted(items, key=lambda item: item[0]))
    kind = "periodic structure" if periodic else "molecule"
    label = escape(f"{structure.formula}, {kind}, {len(structure)} atoms")
    return Markup(  # noqa: S704 - made of numbers, and of a label that was escaped
        f'<svg class="structure" role="img" aria-label="{label}" viewBox="0 0 {width} {height}">'
        f"<defs>{_shades(numbers, key)}</defs>{drawn}</svg>"
    )


def as_viewed(structure: Structure) -> tuple[Array, Array | None]:
    """Return (n, 3) positions and (3, 3) cell in Å, rotated as the picture shows them: right, up, to the viewer.

    Atoms are wrapped into the cell; along an axis that is not periodic they begin at zero. The cell of a molecule is None.
    """
    view = view_of(structure)
    if structure.pbc.any():
        cell, pbc = completed_cell(structure.cell, structure.pbc), structure.pbc
        scaled = structure.positions @ np.linalg.inv(cell)
        scaled = np.where(pbc, scaled % 1.0, scaled - scaled.min(axis=0))
        return np.asarray(scaled @ cell @ view.T), np.asarray(cell @ view.T)
    return np.asarray((structure.positions - structure.positions.mean(axis=0)) @ view.T), None


def element_colour(z: int) -> str:
    """Return the color of an element as ``#rrggbb``."""
    return _hex(_colour(z))


def view_of(structure: Structure) -> Array:
    """Return the (3, 3) axes of the picture as rows: right, up, to the viewer."""
    if structure.pbc.any():
        return _tilted(_crystal_axes(completed_cell(structure.cell, structure.pbc)))
    return _tilted(_principal_axes(structure.positions), turn=-12.0, tilt=8.0)


def cell_edges(structure: Structure) -> Array:
    """Return (k, 2, 3) ends of the pieces of the cell's edges in Å; none for a molecule."""
    if not structure.pbc.any():
        return np.zeros((0, 2, 3))
    return _cell_edges(completed_cell(structure.cell, structure.pbc), structure.pbc)


def _with_images(numbers: Array, positions: Array, cell: Array, pbc: Array) -> tuple[Array, Array]:
    """Return atoms wrapped into the cell, with copies on the opposite faces for atoms on a face."""
    scaled = positions @ np.linalg.inv(cell)
    scaled = np.where(pbc, (scaled + BOUNDARY) % 1.0 - BOUNDARY, scaled)
    found = [(numbers, scaled)]
    if len(numbers) <= LARGEST_WITH_IMAGES:
        for shift in product((0, 1), repeat=3):
            moved = np.array(shift, bool)
            if not moved.any() or (moved & ~pbc).any():
                continue
            near = (np.abs(scaled[:, moved]) <= BOUNDARY).all(axis=1)
            found.append((numbers[near], scaled[near] + np.array(shift)))
    return np.concatenate([n for n, _ in found]), np.concatenate([s for _, s in found]) @ cell


def _cell_edges(cell: Array, pbc: Array) -> Array:
    """Return (edges * pieces, 2, 3) ends of the pieces of the cell's edges, along the periodic axes, in Å."""
    pieces = []
    steps = np.linspace(0, 1, EDGE_PIECES + 1)
    for axis in np.flatnonzero(pbc):
        others = [k for k in range(3) if k != axis]
        for corner in product(*((0, 1) if pbc[k] else (0,) for k in others)):
            start = sum((c * cell[k] for c, k in zip(corner, others, strict=True)), np.zeros(3))
            points = start + steps[:, None] * cell[axis]
            pieces.append(np.stack([points[:-1], points[1:]], axis=1))
    return np.concatenate(pieces)


def _crystal_axes(cell: Array) -> Array:
    """Return axes as rows: right, up, towards the viewer; a goes right and c goes up."""
    right = cell[0] / np.linalg.norm(cell[0])
    up = np.cross(cell[0], cell[1])
    up *= np.sign(up @ cell[2]) / np.linalg.norm(up)
    return np.stack([right, up, np.cross(right, up)])


def _principal_axes(positions: Array) -> Array:
    """Return axes as rows: longest, second and shortest extent, without a mirror image."""
    centred = positions - positions.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    first, second = vectors[:, 2], vectors[:, 1]
    first, second = (v * np.sign(v[np.argmax(np.abs(v))]) for v in (first, second))
    return np.stack([first, second, np.cross(first, second)])


def _tilted(axes: Array, turn: float = TURN_DEGREES, tilt: float = TILT_DEGREES) -> Array:
    a, b = np.radians(turn), np.radians(tilt)
    about_up = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    about_right = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return np.asarray(about_right @ about_up @ axes)


class _Place:
    """Map from projected Å to coordinates of the picture."""

    def __init__(self, scale: float, offset: Array) -> None:
        self.scale, self.offset = scale, offset

    def __call__(self, point: Array) -> tuple[float, float]:
        x, y = self.offset + self.scale * point[:2] * (1, -1)
        return float(x), float(y)


def _fit(points: Array, radii: Array, lines: Array, width: int, height: int) -> tuple[_Place, float]:
    ends = lines.reshape(-1, 3)[:, :2]
    low = np.vstack([points[:, :2] - radii[:, None], ends]).min(axis=0)
    high = np.vstack([points[:, :2] + radii[:, None], ends]).max(axis=0)
    box = np.array([width - 2 * MARGIN, height - 2 * MARGIN])
    scale = float(min(*(box / np.maximum(high - low, 1e-6)), 42.0))
    middle = (low + high) / 2
    return _Place(scale, np.array([width, height]) / 2 - scale * middle * (1, -1)), scale


def _atoms(points: Array, radii: Array, numbers: Array, place: _Place, scale: float, key: str) -> list[tuple[float, str]]:
    items = []
    for point, radius, z in zip(points, radii, numbers, strict=True):
        x, y = place(point)
        circle = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius * scale:.1f}" fill="url(#{key}-{z})"/>'
        items.append((float(point[2]), circle))
    return items


def _edge_lines(lines: Array, place: _Place) -> list[tuple[float, str]]:
    items = []
    for start, end in lines:
        (x1, y1), (x2, y2) = place(start), place(end)
        text = f'<line class="edge" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
        items.append((float((start[2] + end[2]) / 2), text))
    return items


def _bonds(positions: Array, points: Array, numbers: Array, place: _Place, scale: float) -> list[tuple[float, str]]:
    """Draw two half lines for each pair of atoms that touch, each in the color of its atom."""
    from ase.data import covalent_radii

    radii = covalent_radii[numbers]
    distance = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    i, j = np.nonzero(np.triu(distance < BOND_SCALE * (radii[:, None] + radii[None]), k=1))
    items = []
    for a, b in [*zip(i, j, strict=True), *zip(j, i, strict=True)]:
        middle = (points[a] + points[b]) / 2
        (x1, y1), (x2, y2) = place(points[a]), place(middle)
        text = (
            f'<line class="bond" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
            f'stroke="{_hex(_colour(numbers[a]) * 0.78)}" stroke-width="{0.2 * scale:.1f}"/>'
        )
        items.append((float((points[a][2] + middle[2]) / 2) - 0.05, text))
    return items


def _shades(numbers: Array, key: str) -> str:
    """Return one radial gradient for each element, with light from the upper left."""
    parts = []
    for z in sorted({int(z) for z in numbers}):
        colour = _colour(z)
        parts.append(
            f'<radialGradient id="{key}-{z}" cx="0.36" cy="0.32" r="0.72">'
            f'<stop offset="0" stop-color="{_hex(1 - 0.35 * (1 - colour))}"/>'
            f'<stop offset="0.45" stop-color="{_hex(colour)}"/>'
            f'<stop offset="1" stop-color="{_hex(colour * 0.5)}"/></radialGradient>'
        )
    return "".join(parts)


def _colour(z: int) -> Array:
    from ase.data.colors import jmol_colors

    return np.asarray(jmol_colors[z] if z < len(jmol_colors) else (0.6, 0.6, 0.6))


def _hex(colour: Array) -> str:
    return "#" + "".join(f"{round(255 * float(c)):02x}" for c in np.clip(colour, 0, 1))
