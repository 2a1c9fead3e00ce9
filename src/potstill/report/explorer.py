"""The map of structures on ``audit.html``: data from which its script draws the points and each structure in 3D.

The input is statistics and dataset. The output is one compressed block of text, and the facts of the template. The
block holds a JSON header and arrays of numbers, their bytes sorted by significance, which compresses better.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from potstill.audit.outliers import energy_residuals
from potstill.core.types import Array
from potstill.core.units import GPA_PER_EV_PER_CUBIC_ANGSTROM
from potstill.core.verdict import is_failure
from potstill.dataset import Dataset
from potstill.report.plots import PALETTE
from potstill.report.scripts import script
from potstill.report.similarity import similarity
from potstill.report.structure import BOND_SCALE, RADIUS_IN_CRYSTAL, RADIUS_IN_MOLECULE, as_viewed, element_colour
from potstill.stats import Statistics

MOST_STRUCTURES = 12_000
MOST_ATOMS = 240_000  # about 1.3 MB of the page
MOST_ATOMS_OF_ONE = 2000
QUANTUM_ANGSTROM = 0.01
FARTHEST_ANGSTROM = 300.0  # 16 bits reach 327 Å
MANTISSA = np.uint32(0xFFFFF000)  # 11 bits: figures are printed with three digits
SHAPES = ("circle", "square", "triangle", "diamond")
SCRIPT = "explorer.js"


def explorer(report: Mapping[str, Any], stats: Statistics, dataset: Dataset) -> dict[str, Any] | None:
    """Return the facts for the template; None if there is nothing to show.

    Parameters
    ----------
    report, stats
        Results of :func:`potstill.audit.stage.audit`.
    dataset
        Dataset that the audit judged.
    """
    pointed_at = _pointed_at(report["findings"], stats)
    shown = chosen(stats, dataset, [k for rows in pointed_at.values() for k in rows])
    if not len(shown):
        return None
    places = similarity(stats)
    sources = sorted(stats.elements)
    header, arrays = _structures(stats, dataset, shown)
    where = {int(k): n for n, k in enumerate(shown)}
    number = {name: k for k, name in enumerate(sources)}
    values = columns(stats)
    header |= {
        "sources": sources,
        "marks": [mark(k) for k in range(len(sources))],
        "ids": [stats.ids[k] for k in shown],
        "formulas": [stats.formulas[k] for k in shown],
        "columns": [{"key": key, "name": name, "unit": unit, "log": log} for key, name, unit, log, _ in values],
        "checks": {check: [where[k] for k in rows if k in where] for check, rows in pointed_at.items()},
        "quantum": QUANTUM_ANGSTROM,
        "bond": BOND_SCALE,
        "radius": [RADIUS_IN_MOLECULE, RADIUS_IN_CRYSTAL],
    }
    arrays |= {
        "place": np.round(32767 * places.points[shown]).astype("<i2"),
        "source": np.array([number[stats.sources[k]] for k in shown], np.uint8 if len(sources) < 256 else "<u2"),
        **{key: _rounded(column[shown]) for key, _, _, _, column in values},
    }
    counts = {name: len(stats.of_source(name)) for name in sources}
    return {
        "data": pack(header, arrays),
        "script": script(SCRIPT),
        "caption": _caption(len(shown), len(stats), places.explained),
        "sources": [(name, counts[name], mark(k)) for k, name in enumerate(sources)],
        "columns": [(key, f"{name}, {unit}") for key, name, unit, _, _ in values],
    }


def columns(stats: Statistics) -> list[tuple[str, str, str, bool, Array]]:
    """Return key, name, unit, whether the scale is logarithmic, and values of each figure that can color the points."""
    return [
        ("force", "Largest force", "eV/Å", True, stats.largest_force),
        ("distance", "Smallest distance", "of radii sum", False, stats.scaled_distance),
        ("energy", "Energy", "eV/atom", False, stats.energy_per_atom),
        ("residual", "Energy beyond its elements", "eV/atom", False, energy_residuals(stats)),
        ("stress", "Largest stress", "GPa", True, GPA_PER_EV_PER_CUBIC_ANGSTROM * stats.largest_stress),
        ("volume", "Volume", "Å³/atom", False, stats.volume_per_atom),
        ("atoms", "Size", "atoms", True, stats.atoms.astype(float)),
    ]


def mark(k: int) -> dict[str, str]:
    """Return color and shape of the points of the k-th source."""
    return {"colour": PALETTE[k % len(PALETTE)], "shape": SHAPES[k // len(PALETTE) % len(SHAPES)]}


def chosen(stats: Statistics, dataset: Dataset, first: Sequence[int]) -> Array:
    """Return the sorted rows to show: all if they fit, else those that checks name and a random share of each source."""
    rng = np.random.default_rng(0)
    rank = np.zeros(len(stats))
    for name in stats.elements:
        rows = rng.permutation(stats.of_source(name))
        rank[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    rank[np.array(first, np.int64)] = -1.0
    order = np.argsort(rank, kind="stable")
    order = order[_drawable(stats, dataset)[order]]
    fits = np.cumsum(stats.atoms[order]) <= MOST_ATOMS
    return np.sort(order[fits][:MOST_STRUCTURES])


def pack(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> str:
    """Return the base64 of the deflated bytes: length of the header in four bytes, header, arrays one after the other."""
    layout = [[name, array.dtype.str.lstrip("<|"), int(array.size)] for name, array in arrays.items()]
    text = json.dumps({**header, "arrays": layout}, ensure_ascii=False, separators=(",", ":")).encode()
    parts = [len(text).to_bytes(4, "little"), text]
    for array in arrays.values():
        flat = np.ascontiguousarray(array).ravel()
        parts.append(flat.view(np.uint8).reshape(flat.size, flat.itemsize).T.tobytes())
    return base64.b64encode(zlib.compress(b"".join(parts), 9)).decode()


def _pointed_at(findings: Sequence[Mapping[str, Any]], stats: Statistics) -> dict[str, list[int]]:
    """Return the rows of the structures that checks name; checks that did not pass come first."""
    where = {name: k for k, name in enumerate(stats.ids)}
    order = sorted(findings, key=lambda f: not is_failure(f["verdict"]))
    return {f["check"]: found for f in order if (found := [where[name] for name in f["worst"] if name in where])}


def _drawable(stats: Statistics, dataset: Dataset) -> Array:
    """Return (S,) bool, true for structures with finite positions that 16 bits can hold."""
    positions, ptr = np.asarray(dataset.column("atoms/positions"), float), dataset.ptr
    if not len(stats):
        return np.zeros(0, bool)
    low, high = (reduce.reduceat(positions, ptr[:-1]) for reduce in (np.minimum, np.maximum))
    cell = dataset.column("structures/cell")
    size = np.linalg.norm(high - low, axis=1) + np.abs(cell).sum(axis=(1, 2))
    known = stats.composition.sum(axis=1) == stats.atoms
    return np.asarray((size < FARTHEST_ANGSTROM) & (stats.atoms <= MOST_ATOMS_OF_ONE) & known)  # NaN is not below


def _structures(stats: Statistics, dataset: Dataset, shown: Array) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the elements, and the arrays of atoms and cells."""
    from ase.data import chemical_symbols, covalent_radii

    numbers, places, cells, periodic = [], [], [], []
    for k in shown.tolist():
        structure = dataset[k]
        place, cell = as_viewed(structure)
        numbers.append(structure.atomic_numbers)
        places.append(place)
        periodic.append(int(structure.pbc @ (1, 2, 4)))
        if cell is not None:
            cells.append(cell)
    flat = np.concatenate(numbers).astype(np.uint8)
    elements = {
        int(z): [chemical_symbols[z], element_colour(z), round(float(covalent_radii[z]), 2)] for z in np.unique(flat)
    }
    arrays = {
        "sizes": stats.atoms[shown].astype("<u2"),
        "periodic": np.array(periodic, np.uint8),
        "numbers": flat,
        "xyz": np.round(np.concatenate(places) / QUANTUM_ANGSTROM).clip(-32767, 32767).astype("<i2"),
        "cells": np.array(cells, "<f4").reshape(-1, 9),
    }
    return {"elements": elements}, arrays


def _rounded(values: Array) -> Array:
    single = np.asarray(values, "<f4")
    return np.where(np.isfinite(single), (single.view("<u4") & MANTISSA).view("<f4"), np.float32(np.nan))


def _caption(shown: int, count: int, explained: tuple[float, float]) -> str:
    what = (
        f"Each of the {count:,} structures is a point"
        if shown == count
        else f"{shown:,} of {count:,} structures are points: those that a check names and a random share of each source, as "
        f"many as keep the page light"
    )
    return (
        f"{what}. Like ones lie near to each other: the axes are the two principal components of composition and distances, "
        f"with {explained[0]:.0%} and {explained[1]:.0%} of their variance."
    )
