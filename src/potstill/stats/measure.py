"""Measurements of each structure by itself: one neighbor search gives its distances, fingerprint and bonds.

The input is a range of a dataset file. The output is arrays by the name of a field of
:class:`~potstill.stats.table.Statistics`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from potstill.core.elements import covalent_radii
from potstill.core.geometry import (
    FINGERPRINT_NEIGHBORS,
    FINGERPRINT_ROW,
    FINGERPRINT_START_ANGSTROM,
    like_neighbors,
    neighbor_distances,
    widest_gap,
)
from potstill.core.neighbors import find_neighbors
from potstill.core.types import SMALLEST_VOLUME, Array, hill_formula
from potstill.dataset import Dataset
from potstill.stats.bonds import HYDROGEN, carbon_valence_deficit, count_overbonded, count_pieces, facts_of, find_bonds
from potstill.stats.table import count_of_pairs

HASH_BYTES = 16
NEAR_ANGSTROM = 5.0
FORCE_NOISE = 1e-3  # eV/Å: below it a teacher's forces may be few multiples of its last digit
FEWEST_COARSE = 6  # forces that 16 bits hold by chance are rare; so many in one structure do not occur
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Range:
    """Range of structures of a file, from ``start`` to ``stop``."""

    path: Path
    start: int
    stop: int


def measure(task: Range) -> dict[str, Array]:
    """Measure each structure of a range."""
    dataset = Dataset(task.path, compare_blocks=False)
    dataset.check(np.arange(task.start, task.stop))
    ptr = dataset.ptr
    numbers, positions = dataset.column("atoms/atomic_numbers"), dataset.column("atoms/positions")
    cell, pbc = dataset.column("structures/cell"), dataset.column("structures/pbc")
    metadata = dataset.text("structures/generator_metadata")[task.start : task.stop]
    rows: list[Row] = []
    for k in range(task.start, task.stop):
        atoms = slice(int(ptr[k]), int(ptr[k + 1]))
        geometry = (numbers[atoms], positions[atoms].astype(np.float64), cell[k], pbc[k])
        row = measure_structure(*geometry, _facts(metadata[k - task.start]))
        row |= _labels(dataset, k, atoms, geometry[1], pbc[k]) if dataset.labelled else {}
        rows.append(row)
    return _columns(rows)


def measure_structure(numbers: Array, positions: Array, cell: Array, pbc: Array, metadata: dict[str, Any]) -> Row:
    """Measure geometry and chemistry of one structure; values are NaN where its numbers are not finite."""
    composition = np.bincount(numbers, minlength=256)[:119].astype(np.uint16)
    row: Row = {
        "atoms": len(numbers),
        "formulas": hill_formula(numbers, reduced=bool(pbc.any())),
        "composition": composition,
        "hashes": _hash(numbers, np.round(positions * 1e4), np.round(cell * 1e4), pbc),
        "molecule": not pbc.any(),
        "atom_pair": "atom_pair" in metadata,
        "scaled_distance": np.nan,
        "closest_pair": (0, 0),
        **dict.fromkeys(("volume_per_atom", "packing", "vacuum", "cell_ratio", "carbon_deficit"), np.nan),
        **dict.fromkeys(("overbonded", "missing_hydrogens", "foreign_atoms", "charge", "pieces"), 0),
        "neighbors": np.nan,
        "pair_distances": np.full(count_of_pairs(int(np.count_nonzero(composition))), np.nan, np.float32),
        "fingerprints": np.full(len(np.unique(numbers)) * FINGERPRINT_ROW, np.nan, np.float32),
    }
    if not (
        np.isfinite(positions).all() and np.isfinite(cell).all() and numbers.min() > 0 and numbers.max() < len(_radii())
    ):
        return row
    if pbc.all():
        if abs(np.linalg.det(cell)) < SMALLEST_VOLUME:
            return row
        row |= _cell(numbers, positions, cell)
    row |= _distances(numbers, positions, cell, pbc)
    if not pbc.any():
        row |= _chemistry(numbers, positions, metadata)
    return row


def _distances(numbers: Array, positions: Array, cell: Array, pbc: Array) -> Row:
    """Return the smallest scaled distance with its pair, and the fingerprint, from one neighbor search."""
    n, k = len(numbers), FINGERPRINT_NEIGHBORS
    radii = _radii()[numbers]
    within = 2.0 * float(radii.max())
    cutoff = max(FINGERPRINT_START_ANGSTROM, within)
    if not pbc.any():
        cutoff = max(cutoff, 1.01 * float(np.linalg.norm(np.ptp(positions, axis=0))))
    while True:
        found = find_neighbors(positions, cell, pbc, cutoff)
        receiver, sender, distance = found.edge_index[0], found.edge_index[1], found.distance
        count = np.bincount(receiver, minlength=n)
        if not pbc.any() or count.min() >= k:
            break
        cutoff *= 1.5
    column = np.arange(len(receiver)) - np.repeat(np.cumsum(count) - count, count)
    nearest = np.full((n, max(k, int(count.max(initial=0)))), np.inf)
    nearest[receiver, column] = distance
    if nearest.shape[1] > k:
        nearest.partition(k - 1, axis=1)
    nearest = np.sort(nearest[:, :k], axis=1)
    nearest[~np.isfinite(nearest)] = 0.0  # a molecule has fewer
    elements, which = np.unique(numbers, return_inverse=True)
    row: Row = {
        "fingerprints": np.hstack(
            [neighbor_distances(numbers, nearest), like_neighbors(numbers, receiver, sender, distance)]
        )
        .astype(np.float32)
        .ravel(),
        "scaled_distance": np.inf,
        **_near(len(elements), n, which[receiver], which[sender], distance),
    }
    scaled = np.where(distance <= within, distance / (radii[receiver] + radii[sender]), np.inf)
    if scaled.size and np.isfinite(scaled.min()):
        at = int(scaled.argmin())
        row["scaled_distance"] = float(scaled[at])
        row["closest_pair"] = tuple(sorted((int(numbers[receiver[at]]), int(numbers[sender[at]]))))
    return row


def _near(elements: int, atoms: int, receiver: Array, sender: Array, distance: Array) -> Row:
    """Return the mean number of neighbors within 5 Å, and the shortest distance of each pair of elements within it."""
    near = np.flatnonzero(distance < NEAR_ANGSTROM)
    shortest = np.full(elements * elements, np.inf)
    np.minimum.at(shortest, receiver[near] * elements + sender[near], distance[near])
    pairs = np.triu_indices(elements)
    return {
        "neighbors": len(near) / atoms,
        "pair_distances": shortest.reshape(elements, elements)[pairs].astype(np.float32),
    }


def _cell(numbers: Array, positions: Array, cell: Array) -> Row:
    volume = abs(float(np.linalg.det(cell)))
    return {
        "volume_per_atom": volume / len(numbers),
        "packing": float((4 / 3 * np.pi * _radii()[numbers] ** 3).sum()) / volume,
        "vacuum": widest_gap(positions, cell),
        "cell_ratio": float(np.linalg.norm(cell, axis=1).prod()) / volume,
    }


def _chemistry(numbers: Array, positions: Array, metadata: dict[str, Any]) -> Row:
    bonds = find_bonds(numbers, positions)
    row: Row = {"carbon_deficit": carbon_valence_deficit(numbers, bonds)}
    if "atom_pair" not in metadata:
        row["overbonded"] = count_overbonded(numbers, bonds)
    smiles = metadata.get("smiles")
    facts = facts_of(str(smiles)) if smiles else None
    if facts is not None:
        found = np.bincount(numbers, minlength=256)
        stated = np.bincount(np.array(facts.heavy, np.int64), minlength=256)
        differ = np.abs(found - stated)
        differ[HYDROGEN] = max(0, int(found[HYDROGEN]) - facts.hydrogens)
        if not facts.unpaired:  # such a SMILES gives the hydrogens better than bond lengths do (CO2 has none)
            row["carbon_deficit"] = np.nan
        row["missing_hydrogens"] = max(0, facts.hydrogens - int(found[HYDROGEN]))
        row["foreign_atoms"] = int(differ.sum())
        row["charge"] = facts.charge
        row["pieces"] = max(0, count_pieces(len(numbers), bonds) - facts.pieces)
    return row


def _labels(dataset: Dataset, k: int, atoms: slice, positions: Array, pbc: Array) -> Row:
    stored = dataset.column("atoms/forces")[atoms]
    forces = stored.astype(np.float64)
    norms = np.sqrt(np.einsum("ij,ij->i", forces, forces))
    n = len(norms)
    finite = bool(np.isfinite(norms).all() and np.isfinite(positions).all())
    row: Row = {
        "energy_per_atom": float(dataset.column("structures/energy")[k]) / n,
        "largest_force": float(norms.max()),
        "mean_force": float(norms.mean()),
        "net_force": _length(forces.sum(axis=0)) / n if finite else np.nan,
        "net_torque": np.nan,
        "force_hashes": _hash(stored) if norms.max() > 1e-4 else b"",
        "coarse": finite and _is_coarse(stored),
        **dict.fromkeys(("pressure", "largest_stress", "stress_asymmetry"), np.nan),
    }
    if finite and not pbc.any():
        row["net_torque"] = _length(np.cross(positions - positions.mean(axis=0), forces).sum(axis=0)) / n
    if dataset.column("structures/has_stress")[k]:
        stress = dataset.column("structures/stress")[k].astype(np.float64)
        row["pressure"] = -float(np.trace(stress)) / 3
        row["largest_stress"] = float(np.abs(stress).max())
        if np.isfinite(stress).all():
            row["stress_asymmetry"] = float(np.abs(stress - stress.T).max())
    return row


def _is_coarse(forces: Array) -> bool:
    """Return whether forces were rounded to the 10 bits of float16, or to the 7 of bfloat16, which those 10 include."""
    values = forces[np.abs(forces) > FORCE_NOISE].astype(np.float32)
    if len(np.unique(np.abs(values))) < FEWEST_COARSE:
        return False
    return not bool((values.view(np.uint32) & 0x1FFF).any())  # 23 - 10 bits that float16 lacks


def _hash(*arrays: Array) -> bytes:
    digest = hashlib.blake2b(digest_size=HASH_BYTES)
    for array in arrays:
        digest.update((np.nan_to_num(array) + 0.0 if array.dtype.kind == "f" else array).tobytes())  # no negative zero
    return digest.digest()


def _length(vector: Array) -> float:
    return float(np.sqrt(vector @ vector))


def _facts(text: str) -> dict[str, Any]:
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError):
        return {}


def _columns(rows: list[Row]) -> dict[str, Array]:
    if not rows:
        return {}
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    lengths = np.array([len(x) for x in columns["fingerprints"]], np.int64)
    texts: dict[str, Array] = {
        name: np.array(columns.pop(name), dtype=f"S{HASH_BYTES}") for name in ("hashes", "force_hashes") if name in columns
    }
    flat = np.concatenate(columns.pop("fingerprints"))
    texts["pair_distances"] = np.concatenate(columns.pop("pair_distances"))
    return {**{k: np.array(v) for k, v in columns.items()}, **texts, "fingerprints": flat, "fingerprint_lengths": lengths}


@cache
def _radii() -> Array:
    return covalent_radii()
