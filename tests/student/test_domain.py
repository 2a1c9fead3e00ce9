"""What lies far outside the training data is said, and what is inside is not."""

import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest

from potstill.core.neighbors import structure_neighbors
from potstill.core.types import Labels, Structure
from potstill.dataset.records import Records
from potstill.deploy.domain_warnings import Watch
from potstill.student.domain import Domain
from potstill.testing import copper, ethanol, random_student, rattled, rocksalt, water

CUTOFF = 4.0


def labelled(structure: Structure) -> Structure:
    return structure.with_(labels=Labels(0.0, np.zeros((len(structure), 3))))


@pytest.fixture(scope="module")
def domain() -> Domain:
    parents = (water(), ethanol(), rocksalt(), copper())
    return Domain.of(Records.of([labelled(rattled(s, k)) for k in range(3) for s in parents]), CUTOFF)


def foreign(domain: Domain, structure: Structure) -> list[str]:
    return domain.foreign(structure, structure_neighbors(structure, CUTOFF))


def test_distances_are_those_of_the_data(domain):
    assert domain.closest_angstrom["H-O"] == pytest.approx(0.9, abs=0.1)
    assert domain.closest_angstrom["C-C"] == pytest.approx(1.5, abs=0.15)
    assert "Cu-O" not in domain.closest_angstrom
    assert domain.most_neighbors >= 18  # copper: twelve and six within 4 Å


@pytest.mark.parametrize("structure", [water(), ethanol(), rocksalt(), copper()], ids=lambda s: s.id)
def test_what_is_like_the_data_is_at_home(domain, structure):
    assert foreign(domain, rattled(structure, 9, 0.02)) == []


def test_atoms_pushed_together(domain):
    squeezed = water().with_(positions=0.7 * water().positions)
    (found,) = [x for x in foreign(domain, squeezed) if x.startswith("H-O")]
    assert "in the training data" in found


def test_a_pair_that_was_never_there(domain):
    oxide = Structure(np.array([29, 8]), np.array([[0, 0, 0], [0, 0, 1.8]]))
    assert foreign(domain, oxide)[:1] == ["O-Cu at 1.80 Å, a pair that the training data do not contain"]
    assert not any("O-Cu" in x for x in foreign(domain, oxide.with_(positions=np.array([[0, 0, 0], [0, 0, 3.5]]))))


def test_a_cell_pressed_together(domain):
    pressed = copper().with_(cell=0.7 * copper().cell, positions=0.7 * copper().positions)
    assert any("neighbors within the cutoff" in x for x in foreign(domain, pressed))


def test_an_atom_alone_is_at_home_only_where_data_contain_one(domain):
    alone = Structure(np.array([29]), np.zeros((1, 3)))
    assert foreign(domain, alone) == ["an atom has 0 neighbors within the cutoff, in the training data at least 2"]
    assert foreign(Domain.of(Records.of([labelled(alone), labelled(copper())]), CUTOFF), alone) == []


def test_a_cluster_or_a_gas_is_not_the_bulk_that_was_trained_on():
    bulk = Domain.of(Records.of([labelled(rattled(copper(), k)) for k in range(3)]), CUTOFF)
    assert bulk.fewest_neighbors >= 12
    assert foreign(bulk, rattled(copper(), 9, 0.02)) == []
    free = copper().with_(pbc=np.zeros(3, bool), cell=np.zeros((3, 3)))
    wide = copper().with_(cell=1.6 * copper().cell, positions=1.6 * copper().positions)
    for structure in (free, wide):
        assert any("in the training data at least" in found for found in foreign(bulk, structure))
    assert foreign(Domain(bulk.closest_angstrom, bulk.most_neighbors), wide) == []  # of an earlier version


def test_many_and_few_neighbors_are_two_warnings(caplog):
    told = [(90, "at most 50"), (91, "at most 50"), (3, "at least 40")]
    found = [f"an atom has {n} neighbors, {x}" for n, x in told]
    watch = Watch(SimpleNamespace(outside_domain=lambda structure, near: found))
    with caplog.at_level(logging.WARNING, logger="potstill"):
        watch(water(), None)
    assert len(caplog.records) == 2


def test_it_travels_in_the_config(domain):
    again = Domain.read(json.loads(json.dumps({"domain": domain.as_dict()})))
    assert (again.most_neighbors, again.fewest_neighbors) == (domain.most_neighbors, domain.fewest_neighbors)
    assert again.closest_angstrom == pytest.approx(dict(domain.closest_angstrom), abs=1e-4)
    assert Domain.read({}) is None


def test_the_calculator_warns_once(domain, caplog):
    student = random_student([1, 8])
    student.domain = domain
    atoms = water().to_ase()
    atoms.calc = student.calculator()
    with caplog.at_level(logging.WARNING, logger="potstill"):
        atoms.get_potential_energy()
        assert caplog.text == ""
        for factor in (0.7, 0.69):
            squeezed = atoms.copy()
            squeezed.positions *= factor
            squeezed.calc = student.calculator() if factor == 0.7 else squeezed.calc or atoms.calc
            squeezed.get_potential_energy()
    assert caplog.text.count("far outside the student's training data: H-O") == 1


def test_the_calculator_looks_at_another_structure_with_the_same_atoms(caplog):
    """A slab of the same atoms after the bulk was one of the next hundred calls, which nobody looked at."""
    student = random_student([29])
    student.domain = Domain.of(Records.of([labelled(rattled(copper(), k)) for k in range(3)]), CUTOFF)
    crystal = copper().to_ase().repeat(2)
    crystal.calc = student.calculator()
    slab = crystal.copy()
    slab.center(vacuum=8.0, axis=2)
    slab.calc = crystal.calc
    with caplog.at_level(logging.WARNING, logger="potstill"):
        crystal.get_potential_energy()
        crystal.positions += 0.02
        crystal.get_potential_energy()
        assert caplog.text == ""
        slab.get_potential_energy()
    assert "in the training data at least" in caplog.text


def test_one_composition_does_not_determine_the_energies_of_others():
    """Copper and nickel one to one: pure nickel was off by 0.8 eV/atom, without a word."""

    def alloy(nickel: int, seed: int) -> Structure:
        atoms = copper().to_ase().repeat(2)
        numbers = np.full(len(atoms), 29)
        numbers[:nickel] = 28
        return rattled(Structure(numbers, atoms.positions, atoms.cell.array, [True] * 3, id=f"{nickel}-{seed}"), seed)

    half = len(copper()) * 4
    one = Domain.of(Records.of([labelled(alloy(half, k)) for k in range(3)]), CUTOFF)
    assert one.compositions == ("CuNi",)
    assert foreign(one, alloy(half, 9)) == []
    (told,) = foreign(one, alloy(half - 1, 9))
    assert told.startswith("composition ")
    assert "CuNi alone" in told
    assert foreign(Domain.of(Records.of([labelled(alloy(half, 1))]), CUTOFF, any_composition=True), alloy(0, 1)) == []
    two = Domain.of(Records.of([labelled(alloy(half, 1)), labelled(alloy(0, 2))]), CUTOFF)
    assert two.compositions == ()
    again = Domain.read(json.loads(json.dumps({"domain": one.as_dict()})))
    assert again is not None
    assert again.compositions == one.compositions


def test_a_student_without_a_domain_says_nothing():
    assert random_student([1, 8]).foreign(water()) == []
