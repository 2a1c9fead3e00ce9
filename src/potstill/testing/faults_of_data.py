"""Faults of structures: copies, geometry, chemistry, splits, process and the file itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from potstill.core.geometry import random_rotation
from potstill.core.types import Array, Labels, Refused, Structure
from potstill.generate.mix import Mix, as_json
from potstill.testing.faults import (
    Case,
    Rng,
    added,
    each,
    fault,
    is_crystal,
    is_molecule,
    one,
    pick,
)


def without(structure: Structure, keep: Array) -> Structure:
    """Return the structure without some atoms and their forces."""
    assert structure.labels is not None  # noqa: S101 - for the type checker; a Case has labels
    labels = Labels(structure.labels.energy, structure.labels.forces[keep], structure.labels.stress)
    return replace(
        structure,
        atomic_numbers=structure.atomic_numbers[keep],
        positions=structure.positions[keep],
        labels=labels,
    )


def copied(case: Case, k: int, **changes: object) -> Case:
    """Add a changed copy of a structure to the same part of the split."""
    original = case.structures[k]
    return added(case, replace(original, id=f"{original.id}-copy", **changes), split=int(case.splits[k]))  # type: ignore[arg-type]


def _organic(s: Structure) -> bool:
    return is_molecule(s) and 6 in s.atomic_numbers and 1 in s.atomic_numbers and 8 not in s.atomic_numbers


@fault("hydrogens", "one family")
def hydrogens_lost(case: Case, rng: Rng) -> Case:
    def strip(s: Structure) -> Structure:
        return without(s, s.atomic_numbers != 1) if _organic(s) else s

    return each(case, strip)


@fault("hydrogens", "one hydrogen, where a SMILES is stated")
def one_hydrogen_short_of_smiles(case: Case, rng: Rng) -> Case:
    def shorten(s: Structure) -> Structure:
        short = without(s, np.arange(len(s)) != np.flatnonzero(s.atomic_numbers == 1)[0])
        return replace(short, generator_metadata={"smiles": "C" * int((s.atomic_numbers == 6).sum())})

    return one(case, pick(case, rng, _alkane), shorten)


@fault("composition", "one atom, where a SMILES is stated")
def holmium_from_a_misread_molecule(case: Case, rng: Rng) -> Case:
    def misread(s: Structure) -> Structure:
        numbers = s.atomic_numbers.copy()
        carbon = np.flatnonzero(numbers == 6)[0]
        numbers[carbon] = 67
        smiles = "C" * int((s.atomic_numbers == 6).sum())
        return replace(s, atomic_numbers=numbers, generator_metadata={"smiles": smiles})

    return one(case, pick(case, rng, _alkane), misread)


@fault("elements_per_source", "one atom")
def element_that_no_source_has(case: Case, rng: Rng) -> Case:
    def misread(s: Structure) -> Structure:
        numbers = s.atomic_numbers.copy()
        numbers[0] = 67
        return replace(s, atomic_numbers=numbers)

    return one(case, pick(case, rng, is_molecule), misread)


@fault("element_support", "one structure, of an element that fewer than three have")
def element_in_one_structure(case: Case, rng: Rng) -> Case:
    return element_that_no_source_has(case, rng)


@fault("charge_balance", "one molecule, where a SMILES is stated")
def ion_among_molecules(case: Case, rng: Rng) -> Case:
    return one(case, pick(case, rng, is_molecule), lambda s: replace(s, generator_metadata={"smiles": "[NH4+]"}))


@fault("fragments", "2 % of the molecules, where a SMILES is stated")
def molecules_pulled_apart(case: Case, rng: Rng) -> Case:
    def pull(s: Structure) -> Structure:
        if not _alkane(s):
            return s
        positions = s.positions.copy()
        positions[s.atomic_numbers.argmin()] += 4.0
        smiles = "C" * int((s.atomic_numbers == 6).sum())
        return replace(s, positions=positions, generator_metadata={"smiles": smiles})

    return each(case, pull)


@fault("valences", "1 % of the molecules")
def hydrogens_glued_on(case: Case, rng: Rng) -> Case:
    def glue(s: Structure) -> Structure:
        if not _organic(s):
            return s
        heavy = s.positions[np.flatnonzero(s.atomic_numbers == 6)[0]]
        place = s.positions.copy()
        place[np.flatnonzero(s.atomic_numbers == 1)[-1]] = heavy + (s.positions[s.atomic_numbers == 1][0] - heavy) * 0.5
        return replace(s, positions=place)

    return each(case, glue)


@fault("duplicates", "one structure")
def exact_copy(case: Case, rng: Rng) -> Case:
    return copied(case, pick(case, rng, is_crystal))


@fault("near_duplicates", "one structure, its distances within 0.005 Å")
def rotated_copy(case: Case, rng: Rng) -> Case:
    k = pick(case, rng, is_molecule)
    return copied(case, k, positions=case.structures[k].positions @ random_rotation(rng).T)


@fault("near_duplicates", "one structure")
def mirrored_copy(case: Case, rng: Rng) -> Case:
    k = pick(case, rng, is_crystal)
    mirror = np.diag([1.0, 1.0, -1.0])
    s = case.structures[k]
    return copied(case, k, positions=s.positions @ mirror, cell=s.cell @ mirror)


@fault("near_duplicates", "one structure")
def permuted_copy(case: Case, rng: Rng) -> Case:
    k = pick(case, rng, lambda s: is_molecule(s) and len(s) > 3)
    s = case.structures[k]
    order = np.roll(np.arange(len(s)), 1)
    return copied(case, k, atomic_numbers=s.atomic_numbers[order], positions=s.positions[order])


@fault("near_duplicates", "one structure")
def supercell_copy(case: Case, rng: Rng) -> Case:
    k = pick(case, rng, is_crystal)
    s = case.structures[k]
    positions = np.concatenate([s.positions, s.positions + s.cell[0]])
    cell = s.cell * np.array([[2.0], [1.0], [1.0]])
    assert s.labels is not None  # noqa: S101
    labels = Labels(2 * s.labels.energy, np.tile(s.labels.forces, (2, 1)), s.labels.stress)
    return copied(case, k, atomic_numbers=np.tile(s.atomic_numbers, 2), positions=positions, cell=cell, labels=labels)


@fault("near_duplicates", "one structure, its distances within 0.005 Å")
def copy_with_tiny_noise(case: Case, rng: Rng) -> Case:
    k = pick(case, rng, is_crystal)
    s = case.structures[k]
    return copied(case, k, positions=s.positions + rng.normal(0, 2e-4, s.positions.shape))


@fault("distances", "one pair closer than the limit")
def two_atoms_fused(case: Case, rng: Rng) -> Case:
    def fuse(s: Structure) -> Structure:
        positions = s.positions.copy()
        positions[1] = positions[0] + [0.0, 0.0, 0.5]
        return replace(s, positions=positions)

    return one(case, pick(case, rng, is_crystal), fuse)


@fault("net_torque", "0.3 Å of one atom of a molecule, across a force of 0.004 eV/Å for each of its atoms")
def one_atom_moved(case: Case, rng: Rng) -> Case:
    def move(s: Structure) -> Structure:
        assert s.labels is not None  # noqa: S101
        k = int(np.linalg.norm(s.labels.forces, axis=1).argmax())
        across = np.cross(s.labels.forces[k], rng.normal(size=3))
        positions = s.positions.copy()
        positions[k] += 0.3 * across / np.linalg.norm(across)
        return replace(s, positions=positions)

    return one(case, pick(case, rng, lambda s: is_molecule(s) and _pulled(s)), move)


@fault("label_replay", "0.3 Å of one atom, in a share x of the crystals with a chance of 1 - (1 - x)^m, m drawn")
def atoms_moved_in_crystals(case: Case, rng: Rng) -> Case:
    def move(s: Structure) -> Structure:
        return replace(s, positions=s.positions + 0.3 * np.eye(len(s), 3)) if is_crystal(s) else s

    return each(case, move)


@fault("volume", "one cell above the limit")
def cell_in_the_wrong_unit(case: Case, rng: Rng) -> Case:
    return one(case, pick(case, rng, is_crystal), lambda s: _stretched(s, np.full(3, 10.0)))


@fault("packing", "one cell above the limit")
def cell_compressed(case: Case, rng: Rng) -> Case:
    return one(case, pick(case, rng, is_crystal), lambda s: _stretched(s, np.full(3, 0.529177)))


@fault("vacuum", "one layer wider than the limit")
def slab_called_periodic(case: Case, rng: Rng) -> Case:
    return one(case, pick(case, rng, is_crystal), lambda s: replace(s, cell=s.cell + np.diag([0.0, 0.0, 20.0])))


@fault("cell_shape", "one cell flatter than the limit")
def cell_vectors_almost_parallel(case: Case, rng: Rng) -> Case:
    def shear(s: Structure) -> Structure:
        cell = s.cell.copy()
        cell[0] += 100 * cell[1]
        return replace(s, cell=cell)

    return one(case, pick(case, rng, is_crystal), shear)


@fault("split_leakage", "one family")
def family_on_two_sides(case: Case, rng: Rng) -> Case:
    splits = np.array(case.splits)
    k = pick(case, rng, lambda s: sum(o.family == s.family for o in case.structures) > 1)
    splits[k] = (splits[k] + 1) % 3
    return replace(case, splits=splits)


@fault("near_leakage", "one structure")
def rotated_copy_in_the_test_part(case: Case, rng: Rng) -> Case:
    k = pick(case, rng, is_molecule)
    s = case.structures[k]
    copy = replace(s, id="copy", family="of its own", positions=s.positions @ random_rotation(rng).T)
    return added(case, copy, split=(int(case.splits[k]) + 1) % 3)


@fault("element_entropy", "below the gate")
def one_element_only(case: Case, rng: Rng) -> Case:
    return _only(case, lambda s: set(s.atomic_numbers.tolist()) == {29})


@fault("element_coverage", "one element fewer than the gate")
def few_elements(case: Case, rng: Rng) -> Case:
    return _only(case, lambda s: len(set(s.atomic_numbers.tolist())) == 1)


@fault("size_cv", "below the gate")
def one_size_only(case: Case, rng: Rng) -> Case:
    return _only(case, lambda s: len(s) == 4)


@fault("structural_entropy", "atomic environments alike to 0.015 / Å, below the gate")
def one_environment_only(case: Case, rng: Rng) -> Case:
    s = case.structures[pick(case, rng, is_crystal)]
    moved = [replace(s, id=f"{s.id}-{k}", positions=s.positions + rng.normal(0, 1e-4, s.positions.shape)) for k in range(40)]
    return replace(case, structures=tuple(moved), splits=np.zeros(40, np.uint8))


@fault("source_novelty", "98 % of the atomic environments of a source")
def source_that_repeats_another(case: Case, rng: Rng) -> Case:
    moved = [
        replace(s, id=f"{s.id}-2", source=f"{s.source}-2", positions=s.positions + rng.normal(0, 1e-3, s.positions.shape))
        for s in case.structures
    ]
    return replace(case, structures=(*case.structures, *moved), splits=np.tile(case.splits, 2))


@fault("teacher_success", "below the gate")
def many_refused(case: Case, rng: Rng) -> Case:
    refused = [
        Refused("teacher_error", id=f"r{k}", source="metals", stage="label") for k in range(len(case.structures) // 4)
    ]
    return replace(case, refused=(*case.refused, *refused))


@fault("within_limits", "below the gate")
def many_violent_structures(case: Case, rng: Rng) -> Case:
    refused = [Refused("force_limit", id=f"v{k}", source="metals", stage="label") for k in range(len(case.structures) // 3)]
    return replace(case, refused=(*case.refused, *refused))


@fault("refusals", "above the gate")
def sieve_that_lets_nothing_through(case: Case, rng: Rng) -> Case:
    made = sum(s.source == case.structures[0].source for s in case.structures)
    refused = [Refused("too_close", source=case.structures[0].source, stage="generate")] * (40 * made)
    return replace(case, refused=(*case.refused, *refused))


@fault("shares", "below the gate")
def source_that_gave_too_little(case: Case, rng: Rng) -> Case:
    config = json.loads(str(case.attributes["config"]))
    config["generate"]["sources"][0]["count"] *= 3
    return replace(case, attributes={**case.attributes, "config": json.dumps(config)})


@fault("stand_ins", "one source")
def source_that_another_stands_in_for(case: Case, rng: Rng) -> Case:
    counts = {str(name): 1 for name in {s.source for s in case.structures}}
    mix = Mix(counts, {"mattergen": "no interpreter"})
    return replace(case, attributes={**case.attributes, "mix": as_json(mix)})


@fault("throughput", "below the gate")
def slow_labels(case: Case, rng: Rng) -> Case:
    return replace(case, attributes={**case.attributes, "label_seconds": 3600.0 * len(case.structures)})


@fault("integrity", "one bit")
def one_bit_flipped(case: Case, rng: Rng) -> Case:
    return replace(case, on_file=_flip)


@fault("schema", "one id")
def id_used_twice(case: Case, rng: Rng) -> Case:
    return one(case, 1, lambda s: replace(s, id=case.structures[0].id))


@fault("schema", "one structure")
def source_not_named(case: Case, rng: Rng) -> Case:
    return one(case, pick(case, rng, is_molecule), lambda s: replace(s, source=""))


@fault("finite", "one number")
def lost_positions(case: Case, rng: Rng) -> Case:
    return replace(case, on_file=_lose_positions)


def _pulled(s: Structure) -> bool:
    assert s.labels is not None  # noqa: S101
    return float(np.abs(s.labels.forces).max()) > 0.1


def _alkane(s: Structure) -> bool:
    return (
        is_molecule(s)
        and set(s.atomic_numbers.tolist()) == {1, 6}
        and (s.atomic_numbers == 1).sum() == (2 * (s.atomic_numbers == 6).sum() + 2)
    )


def _stretched(s: Structure, factor: Array) -> Structure:
    return replace(s, positions=s.positions * factor, cell=s.cell * factor)


def _only(case: Case, wanted: object) -> Case:
    keep = [k for k, s in enumerate(case.structures) if wanted(s)]  # type: ignore[operator]
    return replace(case, structures=tuple(case.structures[k] for k in keep), splits=case.splits[keep])


def _flip(path: Path) -> None:
    import h5py

    with h5py.File(path, "r") as file:
        offset = file["atoms/forces"].id.get_offset()
    whole = bytearray(path.read_bytes())
    whole[offset + 1] ^= 1
    path.write_bytes(whole)


def _lose_positions(path: Path) -> None:
    import h5py

    with h5py.File(path, "r+") as file:
        file["atoms/positions"][0] = np.nan
