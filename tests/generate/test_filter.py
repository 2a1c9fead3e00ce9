"""What the filter lets in, and the reason for what it does not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from ase.build import bulk, molecule

from potstill.config import parse_config
from potstill.core.section import parse_yaml
from potstill.core.types import Labels, Refused, Structure
from potstill.generate.filter import DuplicateFilter, FilterOptions
from potstill.templates import read_template

COPPER = Structure.from_ase(bulk("Cu", a=3.6, cubic=True), id="copper", source="s")


def test_good_geometry_passes_unchanged():
    for structure in (COPPER, Structure.from_ase(molecule("C6H6")), Structure([2], [[0, 0, 0]])):
        assert FilterOptions().screen(structure) is structure


def test_too_close():
    squeezed = COPPER.with_(cell=COPPER.cell * 0.5, positions=COPPER.positions * 0.5)
    refusal = FilterOptions().screen(squeezed)
    assert isinstance(refusal, Refused)
    assert refusal.reason == "too_close"
    assert "0.48" in refusal.detail
    assert FilterOptions(min_scaled_distance=0.4).screen(squeezed) is squeezed


def test_too_empty():
    blown = COPPER.with_(cell=COPPER.cell * 2, positions=COPPER.positions * 2)
    refusal = FilterOptions().screen(blown)
    assert isinstance(refusal, Refused)
    assert refusal.reason == "too_empty"
    assert FilterOptions().screen(blown.with_(pbc=[True, True, False])) is not None  # a slab's vacuum is no emptiness


@pytest.mark.parametrize(("limit", "pbc", "passes"), [(None, True, True), (15.0, True, False), (15.0, (1, 1, 0), True)])
def test_vacuum_across_a_periodic_axis(limit, pbc, passes):
    atoms = bulk("Cu", a=3.6, cubic=True)
    atoms.center(vacuum=8.0, axis=2)
    slab = Structure.from_ase(atoms, id="slab", source="s").with_(pbc=np.broadcast_to(pbc, 3).astype(bool))
    answer = FilterOptions(max_vacuum_angstrom=limit).screen(slab)
    assert (answer is slab) if passes else (answer.reason, "16.0 Å" in answer.detail) == ("vacuum", True)


def test_the_production_run_turns_away_the_vacuum_that_its_audit_refuses():
    config = parse_config(parse_yaml(read_template("production_120k")))
    assert config.generate.filter.max_vacuum_angstrom == config.audit.max_vacuum_angstrom


def test_copies_are_refused_with_the_name_of_the_first():
    door = DuplicateFilter()
    assert door.admit(COPPER) is None
    again = door.admit(COPPER.with_(id="again"))
    assert (again.reason, again.id, again.source, again.stage) == ("duplicate", "again", "s", "generate")
    assert "copper" in again.detail
    supercell = Structure.from_ase(COPPER.to_ase() * (1, 2, 1), id="super", source="s")
    assert door.admit(supercell).reason == "near_duplicate"
    turned = COPPER.with_(cell=COPPER.cell[[1, 2, 0]] + 0.0, positions=COPPER.positions + 0.4, id="moved")
    assert door.admit(turned).reason == "near_duplicate"


@pytest.mark.parametrize(("apart", "reason"), [(0.0, "duplicate"), (0.001, "duplicate"), (-0.7, "contradictory_labels")])
def test_copies_with_other_labels_are_no_mere_copies(apart, reason):
    door = DuplicateFilter()
    labels = Labels(-4.0, np.zeros((4, 3)))
    assert door.admit(COPPER.with_(labels=labels)) is None
    other = COPPER.with_(id="other", labels=Labels(-4.0 + 4 * apart, np.zeros((4, 3))))
    refusal = door.admit(other)
    assert refusal.reason == reason
    supercell = other.to_ase() * (1, 2, 1)
    twice = Structure.from_ase(supercell, id="super", source="s", labels=Labels(-8.0 + 8 * apart, np.zeros((8, 3))))
    assert door.admit(twice).reason == ("near_duplicate" if reason == "duplicate" else reason)
    assert door.admit(other.with_(labels=None)).reason == "duplicate"


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("part", ["forces", "stress"])
def test_the_same_atoms_with_other_forces_or_stress_are_no_mere_copies(part, sign):
    labels = Labels(-4.0, np.arange(12.0).reshape(4, 3), np.diag([0.1, 0.2, 0.3]))
    door = DuplicateFilter()
    assert door.admit(COPPER.with_(labels=labels)) is None
    other = dataclasses.replace(labels, **{part: sign * getattr(labels, part)})
    refusal = door.admit(COPPER.with_(id="other", labels=other))
    assert refusal.reason == ("duplicate" if sign > 0 else "contradictory_labels")
    assert (part in refusal.detail) == (sign < 0)


def test_near_ones_come_in():
    door = DuplicateFilter()
    assert door.admit(COPPER) is None
    assert door.admit(COPPER.with_(cell=COPPER.cell * 1.01, positions=COPPER.positions * 1.01, id="b")) is None
    silver = COPPER.with_(atomic_numbers=np.full(4, 47), id="c")
    assert door.admit(silver) is None


def test_the_refused_are_not_remembered_as_admitted():
    door = DuplicateFilter()
    door.admit(COPPER)
    shifted = COPPER.with_(positions=COPPER.positions + 0.2, id="shifted")
    assert door.admit(shifted).reason == "near_duplicate"
    assert door.admit(shifted.with_(id="x")).detail.endswith("copper")
