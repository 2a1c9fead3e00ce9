"""Perturb: strained and rattled copies of the structures of earlier sources.

Takes parents and makes copies off equilibrium. A copy keeps its parent's family.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from potstill.core.dynamics import repeat_crystal
from potstill.core.section import ImageDistance, Range
from potstill.core.types import Refused, Structure, Teacher
from potstill.generate.distort import StrainKind, draw_strain, monte_carlo_rattle
from potstill.generate.parents import NO_PARENT, DerivedOptions, child_of
from potstill.generate.source import propose_each, random_generator
from potstill.generate.teachers import one_thread, teacher_of
from potstill.generate.thermal import displacement_angstrom, mean_curvature
from potstill.teacher.choices import AnyTeacher

_CURVATURES: dict[tuple[object, ...], float] = {}  # of parents that this process has asked about


class Perturb(DerivedOptions):
    """Copies with displaced atoms and, where periodic, a strained cell."""

    source: Literal["perturb"] = "perturb"
    max_atoms: Annotated[int, Field(gt=0, description="largest structure")] = 500
    min_crystal_atoms: Annotated[
        int, Field(gt=0, description="number of atoms up to which crystals are repeated first, as far as max_atoms allows")
    ] = 1
    min_image_angstrom: ImageDistance = 0.0
    rattle: Annotated[
        Literal["gaussian", "monte_carlo"],
        Field(
            description="kind of displacement; gaussian: each coordinate by itself; monte_carlo: the same, without "
            "steps below the floor"
        ),
    ] = "gaussian"
    rattle_angstrom: Annotated[Range, Field(description="range of the standard deviation of each coordinate, in Å")] = (
        0.03,
        0.15,
    )
    temperatures_kelvin: Annotated[
        Range | None,
        Field(
            description="range of temperatures in K that set the displacements of each structure by the curvature of its "
            "teacher's energy, instead of rattle_angstrom"
        ),
    ] = None
    teacher: Annotated[
        AnyTeacher | None,
        Field(description="teacher whose energy gives the curvature for temperatures_kelvin; label.teacher where empty"),
    ] = None
    floor_scaled_distance: Annotated[
        float,
        Field(gt=0, description="floor of monte_carlo: smallest distance of two atoms over the sum of their covalent radii"),
    ] = 0.85
    strain: Annotated[
        StrainKind,
        Field(
            description="kind of strain; symmetric: all entries of the tensor; shear: those off the diagonal; "
            "volume: one for three axes"
        ),
    ] = "symmetric"
    max_strain: Annotated[
        float,
        Field(ge=0, lt=0.5, description="largest entry of the symmetric strain tensor, dimensionless, drawn uniformly"),
    ] = 0.05

    @property
    def needs_teacher(self) -> bool:
        return self.temperatures_kelvin is not None

    def propose(self, indices: Sequence[int], seed: int, parents: Sequence[Structure]) -> list[Structure | Refused]:
        order = self.order(parents, seed)
        teacher = teacher_of(self) if self.needs_teacher and len(order) else None

        def make(index: int, rng: np.random.Generator) -> Structure | Refused:
            if len(order) == 0:
                return NO_PARENT
            parent = parents[int(order[index % len(order)])]
            parent = repeat_crystal(parent, self.min_crystal_atoms, self.max_atoms, self.min_image_angstrom)
            return self.refuse(parent, parent.id) or self._copy(parent, rng, teacher)

        with one_thread():
            return propose_each(self.name, indices, seed, make)

    def _displacement(
        self, parent: Structure, rng: np.random.Generator, teacher: Teacher | None
    ) -> tuple[float, dict[str, Any]]:
        """Return the standard deviation of a coordinate in Å, and the metadata that tell where it is from."""
        if self.temperatures_kelvin is None or teacher is None:
            sigma = float(rng.uniform(*self.rattle_angstrom))
            return sigma, {"rattle_angstrom": sigma}
        kelvin = float(rng.uniform(*self.temperatures_kelvin))
        curvature = self._curvature(parent, teacher)
        sigma = displacement_angstrom(curvature, kelvin)
        return sigma, {"rattle_angstrom": sigma, "temperature_kelvin": kelvin, "curvature_ev_per_square_angstrom": curvature}

    def _curvature(self, parent: Structure, teacher: Teacher) -> float:
        """Return the mean curvature of a parent in eV/Å^2, asked for once in a process; its id gives the directions."""
        atoms = tuple(x.tobytes() for x in (parent.atomic_numbers, parent.positions, parent.cell, parent.pbc))
        options = self.teacher.model_dump_json() if self.teacher else ""  # as text: options may have no hash
        key = (parent.id, *atoms, type(self.teacher), options)
        if key not in _CURVATURES:
            _CURVATURES[key] = mean_curvature(parent, teacher, random_generator(0, parent.id, 0))
        return _CURVATURES[key]

    def _copy(self, parent: Structure, rng: np.random.Generator, teacher: Teacher | None) -> Structure:
        sigma, metadata = self._displacement(parent, rng, teacher)
        strain = draw_strain(self.strain, self.max_strain, rng) if parent.pbc.all() else np.zeros((3, 3))
        metadata["strain"] = strain.tolist()
        deformation = np.eye(3) + strain
        strained = parent.with_(positions=parent.positions @ deformation, cell=parent.cell @ deformation)
        if self.rattle == "monte_carlo":
            positions = monte_carlo_rattle(strained, sigma, self.floor_scaled_distance, rng)
            metadata["floor_scaled_distance"] = self.floor_scaled_distance
        else:
            positions = strained.positions + rng.normal(0.0, sigma, size=parent.positions.shape)
        return child_of(parent, positions, strained.cell, metadata)
