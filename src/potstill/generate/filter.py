"""The geometry filter: refuses structures before a teacher labels them, with a reason."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from potstill.core.geometry import content_hash, distance_fingerprint, smallest_scaled_distance, widest_gap
from potstill.core.section import Section
from potstill.core.types import Array, Labels, Refused, Structure

NEAR_DUPLICATE_ANGSTROM = 0.005
SAME_ENERGY = {"duplicate": 0.002, "near_duplicate": 0.05}  # eV/atom
SAME_FORCE = 0.1  # eV/Å, of the same atoms at the same places
SAME_STRESS = 0.005  # eV/Å^3
SAME_SHARE = 0.05  # of the largest component, more than that


class FilterOptions(Section):
    """Limits on the geometry of a structure."""

    min_scaled_distance: Annotated[
        float, Field(gt=0, le=1, description="smallest distance of two atoms over the sum of their covalent radii")
    ] = 0.7
    max_volume_per_atom_cubic_angstrom: Annotated[
        float, Field(gt=0, description="largest cell volume per atom of a crystal, in Å^3")
    ] = 80.0
    max_vacuum_angstrom: Annotated[
        float | None,
        Field(
            gt=0,
            description="widest layer without atoms in a structure periodic in three directions, in Å; no limit where null",
        ),
    ] = None

    def screen(self, structure: Structure) -> Structure | Refused:
        """Return the structure, or its refusal."""
        scaled, pair = smallest_scaled_distance(structure)
        if scaled < self.min_scaled_distance:
            return Refused("too_close", f"atoms {pair} at {scaled:.2f} of the sum of their covalent radii")
        if structure.volume / len(structure) > self.max_volume_per_atom_cubic_angstrom:
            return Refused("too_empty", f"{structure.volume / len(structure):.0f} Å^3 per atom")
        if self.max_vacuum_angstrom is not None and structure.pbc.all():
            gap = widest_gap(structure.positions, structure.cell)
            if gap > self.max_vacuum_angstrom:
                return Refused("vacuum", f"a layer of {gap:.1f} Å without atoms across a periodic axis")
        return structure


class DuplicateFilter:
    """Refuses copies of accepted structures: same content, or same composition and same distances.

    Copies that bring another energy with them, and the same atoms with other forces or another stress, are refused as
    ``contradictory_labels``.
    """

    def __init__(self) -> None:
        self._labels: dict[str, tuple[int, Labels]] = {}  # number of atoms and labels, of labelled ones
        self._hashes: dict[str, str] = {}
        self._known: dict[str, _Fingerprints] = {}

    def admit(self, structure: Structure) -> Refused | None:
        """Return None and remember the structure where it is new, else its refusal."""
        content = content_hash(structure)
        copy_of = self._hashes.get(content)
        if copy_of is not None:
            return self._refuse("duplicate", structure, f"the same atoms as {copy_of}", copy_of)
        fingerprint = distance_fingerprint(structure)
        same_composition = self._known.setdefault(structure.formula, _Fingerprints(len(fingerprint)))
        other = same_composition.near(fingerprint)
        if other is not None:
            return self._refuse("near_duplicate", structure, f"the same distances as {other}", other)
        self._hashes[content] = structure.id
        if structure.labels is not None:
            self._labels[structure.id] = len(structure), structure.labels
        same_composition.add(fingerprint, structure.id)
        return None

    def knows(self, structure: Structure) -> bool:
        """Return whether a structure is a copy of an admitted one, also in another order, place or cell."""
        if content_hash(structure) in self._hashes:
            return True
        same_composition = self._known.get(structure.formula)
        return same_composition is not None and same_composition.near(distance_fingerprint(structure)) is not None

    def _refuse(self, reason: str, structure: Structure, detail: str, copy_of: str) -> Refused:
        if structure.labels is not None and copy_of in self._labels:
            atoms, other = self._labels[copy_of]
            apart = abs(structure.labels.energy / len(structure) - other.energy / atoms)
            found = [] if apart <= SAME_ENERGY[reason] else [f"an energy {apart:.3f} eV/atom away from its"]
            if reason == "duplicate":
                found += _differences(structure.labels, other)
            if found:
                reason, detail = "contradictory_labels", f"{detail}, with {' and '.join(found)}"
        return Refused(reason, detail, id=structure.id, source=structure.source, stage="generate")


def _differences(mine: Labels, other: Labels) -> list[str]:
    """Return one phrase each for forces and stress of the same atoms that are not the same."""
    pairs = [("forces", mine.forces, other.forces, SAME_FORCE, "eV/Å")]
    if mine.stress is not None and other.stress is not None:
        pairs.append(("a stress", mine.stress, other.stress, SAME_STRESS, "eV/Å^3"))
    found = []
    for name, a, b, limit, unit in pairs:
        apart = float(np.abs(a - b).max())
        if not apart <= limit + SAME_SHARE * float(np.abs(b).max()):
            found.append(f"{name} {apart:.3f} {unit} away from its")
    return found


class _Fingerprints:
    """Fingerprints of structures of one composition, in one growing array."""

    def __init__(self, length: int) -> None:
        self._rows = np.zeros((1, length), np.float32)
        self._ids: list[str] = []

    def near(self, fingerprint: Array) -> str | None:
        """Return the id of a structure with nearly the same fingerprint, or None."""
        gaps = np.abs(self._rows[: len(self._ids)] - fingerprint).max(axis=1)
        close = np.flatnonzero(gaps < NEAR_DUPLICATE_ANGSTROM)
        return self._ids[close[0]] if len(close) else None

    def add(self, fingerprint: Array, name: str) -> None:
        """Add one fingerprint and the id of its structure."""
        if len(self._ids) == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        self._rows[len(self._ids)] = fingerprint
        self._ids.append(name)
