"""Surfaces: slabs cut from crystals, bare or with an adsorbate.

Takes metals, rocksalt and zinc-blende compounds of balanced charges, and decorated prototypes. Makes slabs with vacuum on
both sides, periodic along the surface only (pbc is true, true, false). A slab's family is the composition of its crystal.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from potstill.core.elements import atomic_numbers_of, covalent_radii
from potstill.core.geometry import random_rotation
from potstill.core.registry import borrow
from potstill.core.section import Range
from potstill.core.types import Array, Refused, Structure, hill_formula
from potstill.generate.compositions import draw_composition
from potstill.generate.elements import allowed, metal_packing, metal_volume, metals
from potstill.generate.prototypes import MAX_ELECTRONEGATIVITY_DIFFERENCE, decorate, prototypes
from potstill.generate.source import SourceOptions, propose_each

if TYPE_CHECKING:
    import ase

Bulk = Literal["metals", "rocksalt", "zincblende", "prototypes"]
ATTEMPTS = 40
LARGEST_PROTOTYPE = 16  # number of atoms
BOND_FACTOR = {"rocksalt": 1.05, "zincblende": 1.02}  # bond length over the sum of covalent radii
ADSORBATES = ("H", "C", "N", "O", "F", "S", "Cl", "N2", "O2", "CO", "OH", "CO2", "H2O", "NH3", "CH4", "CH3OH", "C2H4")
MAX_REPEATS = 3  # along the surface


class Surfaces(SourceOptions):
    """Slabs of metals, binary compounds and prototypes with low Miller indices, some with an adsorbate."""

    packages: ClassVar[tuple[tuple[str, str], ...]] = (("pymatgen", "crystals"),)

    source: Literal["surfaces"] = "surfaces"
    max_atoms: Annotated[int, Field(gt=0, description="largest number of atoms in a slab with its adsorbate")] = 64
    crystals: Annotated[
        tuple[Bulk, ...],
        Field(min_length=1, description="kinds of crystals that slabs are cut from, drawn with equal probability"),
    ] = ("metals", "rocksalt", "zincblende", "prototypes")
    max_miller_index: Annotated[int, Field(ge=1, le=3, description="largest Miller index of a surface")] = 2
    thickness_angstrom: Annotated[
        Range,
        Field(description="range of the thickness of a slab in Å; a slab with too many atoms is made thinner"),
    ] = (4.0, 12.0)
    vacuum_angstrom: Annotated[
        float, Field(gt=0, description="thickness of the vacuum on each side of the slab in the stored cell, in Å")
    ] = 10.0
    adsorbate_fraction: Annotated[float, Field(ge=0, le=1, description="share of the slabs with an adsorbate, 0 to 1")] = 0.4
    max_lattice_strain: Annotated[
        float, Field(ge=0, lt=0.3, description="largest relative change of the lattice constants, drawn uniformly")
    ] = 0.04

    def propose(self, indices: Sequence[int], seed: int, parents: Sequence[Structure]) -> list[Structure | Refused]:
        borrow("pymatgen", "crystals", "the source 'surfaces'")
        return propose_each(self.name, indices, seed, lambda _, rng: self._surface(rng))

    def _surface(self, rng: np.random.Generator) -> Structure | Refused:
        for _ in range(ATTEMPTS):
            kind = self.crystals[int(rng.integers(len(self.crystals)))]
            crystal, title = self._crystal(kind, rng)
            if crystal is None:
                continue
            strain = 1 + float(rng.uniform(-self.max_lattice_strain, self.max_lattice_strain))
            crystal.set_cell(crystal.cell * strain, scale_atoms=True)
            adsorbate = self._adsorbate(rng) if rng.random() < self.adsorbate_fraction else None
            slab, metadata = self._cut(crystal, self.max_atoms - (len(adsorbate) if adsorbate else 0), rng)
            if slab is None:
                continue
            metadata = {"crystal": title, "cut_from": kind, **metadata}
            if adsorbate is not None:
                slab = _adsorb(slab, adsorbate, rng)
                metadata["adsorbate"] = adsorbate.get_chemical_formula()
            slab.center(vacuum=self.vacuum_angstrom, axis=2)
            family = hill_formula(crystal.numbers, reduced=True)
            return Structure.from_ase(slab, generator_metadata=metadata, family=family)
        wanted = f"{', '.join(self.crystals)} of {', '.join(self.elements) or 'any element'}"
        return Refused("no_slab", f"no slab of at most {self.max_atoms} atoms after {ATTEMPTS} crystals: {wanted}")

    def _crystal(self, kind: Bulk, rng: np.random.Generator) -> tuple[ase.Atoms | None, str]:
        """Return a conventional cell and its name; None where the elements drawn make none of this kind."""
        from ase.build import bulk

        if kind == "metals":
            symbols = metals(self.elements)
            return metal_crystal(str(rng.choice(symbols))) if symbols else (None, "")
        if kind == "prototypes":
            known = prototypes(min(LARGEST_PROTOTYPE, self.max_atoms))
            if not known:
                return None, ""
            drawn = known[int(rng.integers(len(known)))]
            decorated = decorate(drawn, self.elements, MAX_ELECTRONEGATIVITY_DIFFERENCE, rng)
            return (None, "") if decorated is None else (decorated.to_ase(), str(decorated.generator_metadata["prototype"]))
        composition = draw_composition(allowed(self.elements), 1, rng)
        if composition is None or composition[1] != (1, 1):
            return None, ""
        cation, anion = composition[0]
        radii = covalent_radii()
        bond = BOND_FACTOR[kind] * float(radii[atomic_numbers_of([cation, anion])].sum())
        edge = 2 * bond if kind == "rocksalt" else 4 * bond / 3**0.5
        return bulk(cation + anion, kind, a=edge, cubic=True), f"{cation}{anion} ({kind})"

    def _cut(self, crystal: ase.Atoms, max_atoms: int, rng: np.random.Generator) -> tuple[Any, dict[str, Any]]:
        """Return a slab along random Miller indices with a random termination, or None where it has too many atoms."""
        from ase.build import surface

        indices = _miller(self.max_miller_index, rng)
        thickness = float(rng.uniform(*self.thickness_angstrom))
        crystal = crystal.copy()
        crystal.set_scaled_positions((crystal.get_scaled_positions() + rng.random(3)) % 1.0)
        spacing = 1 / float(np.linalg.norm(np.array(indices) @ crystal.cell.reciprocal()))
        layers = min(max(1, round(thickness / spacing)), max_atoms // len(crystal))
        if layers == 0 or layers * spacing < self.thickness_angstrom[0] / 2:
            return None, {}
        slab = surface(crystal, indices, layers, vacuum=self.vacuum_angstrom)
        sizes = [(i, j, 1) for i in range(1, MAX_REPEATS + 1) for j in range(1, MAX_REPEATS + 1)]
        fitting = [size for size in sizes if len(slab) * size[0] * size[1] <= max_atoms]
        repeats = fitting[int(rng.integers(len(fitting)))]
        slab = slab.repeat(repeats)
        slab.pbc = (True, True, False)
        return slab, {"miller_indices": list(indices), "layers": layers, "repeats": list(repeats[:2])}

    def _adsorbate(self, rng: np.random.Generator) -> Any:
        """Return one of the adsorbates that the elements allow and that leave atoms for a slab, or None."""
        import ase
        from ase.build import molecule

        made = [ase.Atoms(name) if name in ase.data.atomic_numbers else molecule(name) for name in ADSORBATES]
        usable = [m for m in made if self.refuse_composition(m.get_chemical_symbols(), 2 * len(m), "adsorbate") is None]
        return usable[int(rng.integers(len(usable)))] if usable else None


def metal_crystal(symbol: str) -> tuple[ase.Atoms, str]:
    """Return the conventional cell of a metal in its structure (fcc, bcc or hcp), and its name."""
    from ase.build import bulk

    packing, ratio = metal_packing(symbol)
    if ratio is not None:
        edge = (metal_volume(symbol) * 4 / (3**0.5 * ratio)) ** (1 / 3)
        return bulk(symbol, "hcp", a=edge, c=ratio * edge), f"{symbol} (hcp)"
    edge = (metal_volume(symbol) * {"fcc": 4, "bcc": 2}[packing]) ** (1 / 3)
    return bulk(symbol, packing, a=edge, cubic=True), f"{symbol} ({packing})"


def _miller(largest: int, rng: np.random.Generator) -> tuple[int, int, int]:
    """Draw Miller indices without a common divisor."""
    while True:
        h, k, l = (int(i) for i in rng.integers(-largest, largest + 1, size=3))  # noqa: E741 - crystallographers' letters
        if gcd(h, k, l) == 1:
            return h, k, l


def _adsorb(slab: ase.Atoms, adsorbate: ase.Atoms, rng: np.random.Generator) -> ase.Atoms:
    """Return the slab with a randomly turned adsorbate above a random point of it, at contact."""
    molecule = adsorbate.copy()
    turned = molecule.positions @ random_rotation(rng).T
    corner = float(rng.random()) * slab.cell[0] + float(rng.random()) * slab.cell[1]
    molecule.positions = turned - turned.mean(axis=0) + corner * np.array([1.0, 1.0, 0.0])
    molecule.positions[:, 2] += _contact_height(slab, molecule, float(rng.uniform(0.95, 1.3)))
    combined = slab.copy()
    combined.extend(molecule)
    return combined


def _contact_height(slab: ase.Atoms, molecule: ase.Atoms, wanted: float) -> float:
    """Return the height at which the shortest distance to the slab is ``wanted`` times the sum of the covalent radii."""
    radii = covalent_radii()
    reach = wanted * (radii[molecule.numbers][:, None] + radii[slab.numbers][None])
    edge = max(float(reach.max()), 1.0)
    heights = 1 / np.linalg.norm(slab.cell.reciprocal()[:2], axis=1)  # heights of the cell over its two edges in the surface
    span = [int(np.ceil(2 * edge / h)) + 1 for h in heights]
    best = -np.inf
    for i in range(-span[0], span[0] + 1):
        for j in range(-span[1], span[1] + 1):
            image = slab.positions + i * slab.cell[0] + j * slab.cell[1]
            delta = image[None] - molecule.positions[:, None]
            squared: Array = reach**2 - delta[..., 0] ** 2 - delta[..., 1] ** 2
            lift = delta[..., 2] + np.sqrt(np.maximum(squared, 0.0))
            if (squared > 0).any():
                best = max(best, float(lift[squared > 0].max()))
    return best if np.isfinite(best) else float(slab.positions[:, 2].max())
