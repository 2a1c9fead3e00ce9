"""Systems of the physics checks: typical of the data, at stable minima of the reference, of distinct chemistry."""

import logging

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from potstill.core.types import Labels, Structure
from potstill.evaluate import physics
from potstill.evaluate.options import EvaluateConfig
from potstill.evaluate.systems import candidates, choose
from potstill.evaluate.systems import log as systems_log
from potstill.testing import rattled


def labelled(atoms, name: str, force: float = 0.0, energy_per_atom: float = 0.0) -> Structure:
    structure = Structure.from_ase(atoms, id=name, family=name)
    stress = np.zeros((3, 3)) if all(atoms.pbc) else None
    return structure.with_(labels=Labels(energy_per_atom * len(atoms), np.full((len(atoms), 3), force), stress))


def alloy(first: str, second: str, a: float = 3.0):
    return bulk(first + second, "cesiumchloride", a=a)


COMMON = [labelled(alloy("Cu", "Au", 3.0 + 0.05 * k), f"cuau-{k}", 0.3 + k, -0.1 * k) for k in range(4)]
WILD = [labelled(alloy("Cu", "Au"), f"wild-{k}", 50.0, 1.0) for k in range(12)]
RARE = [labelled(alloy("Ni", "Pt"), "nipt", 0.0, -9.0)]
ONE_ATOM = [labelled(bulk("Cu"), "copper")]


def test_ordinary_crystals_come_before_calm_and_strongly_bound_rare_ones():
    order = [s.id for s in candidates([*RARE, *COMMON, *ONE_ATOM, *WILD], periodic=True)]
    assert order == ["cuau-2", "cuau-1", "cuau-0", "nipt", "copper"]  # the calm quarter; one atom in the cell comes last


def test_where_most_are_elements_an_element_is_ordinary():
    metals = [labelled(bulk("Cu", cubic=True), f"cu-{k}", 0.0, -0.1 * k) for k in range(5)]
    assert candidates([*metals, *RARE], periodic=True)[0].id == "cu-4"


def test_one_of_each_family_and_whatever_their_order():
    same = [s.with_(family="cuau") for s in COMMON]
    assert len(candidates(same, periodic=True)) == 1
    every = [*RARE, *COMMON, *ONE_ATOM, *WILD]
    expected = [s.id for s in candidates(every, periodic=True)]
    for seed in range(3):
        shuffled = [every[k] for k in np.random.default_rng(seed).permutation(len(every))]
        assert [s.id for s in candidates(shuffled, periodic=True)] == expected


def test_molecules_that_can_turn_come_first():
    made = [labelled(molecule(name), name, 0.1) for name in ("H2O", "CH4", "CH3CH2OH", "NH3")]
    assert candidates(made, periodic=False)[0].id == "CH3CH2OH"
    assert {s.id for s in candidates(made, periodic=False)} == {"H2O", "CH4", "CH3CH2OH", "NH3"}
    assert candidates(made, periodic=True) == []


def test_molecules_in_more_than_one_piece_come_last():
    pair = molecule("CH3CH2OH") + molecule("H2O")
    pair.positions[-3:] += [0.0, 0.0, 6.0]
    made = [labelled(pair, "pair", 0.1), labelled(molecule("H2O"), "H2O", 0.1)]
    assert [s.id for s in candidates(made, periodic=False)] == ["H2O", "pair"]


def test_the_second_crystal_is_of_another_chemistry():
    structures = [labelled(_ordered("Cu", "Au"), f"cuau-{k}") for k in range(3)] + [labelled(_ordered("Ni", "Pt"), "nipt")]
    systems, missing = choose(EMT(), structures, 2, periodic=True)
    assert [name.split()[0] for name, _ in systems] == ["cuau-0", "nipt"]
    assert missing == 0


def test_a_crystal_that_is_no_minimum_is_taken_only_where_others_are_missing(caplog):
    pytest.importorskip("phonopy")
    caplog.set_level(logging.INFO, systems_log.name)
    unstable = labelled(bulk("Cu", "sc", a=2.4).repeat([1, 1, 2]), "cubic")  # held in place by its symmetry
    stable = labelled(bulk("Cu", cubic=True), "fcc", 0.0, 1.0)
    systems, missing = choose(EMT(), [unstable, stable], 1, periodic=True)
    assert ([name.split()[0] for name, _ in systems], missing) == (["fcc"], 0)
    assert "cubic (Cu): the reference's lowest phonon" in caplog.text
    systems, missing = choose(EMT(), [unstable], 1, periodic=True)
    assert ([name.split()[0] for name, _ in systems], missing) == (["cubic"], 0)


def test_what_does_not_settle_is_missing():
    (structure,) = ONE_ATOM
    unknown = labelled(bulk("Si"), "silicon")  # which EMT refuses
    assert choose(EMT(), [unknown], 1, periodic=True) == ([], 1)
    systems, missing = choose(EMT(), [unknown, rattled(structure).with_(labels=structure.labels)], 1, periodic=True)
    assert (len(systems), missing) == (1, 0)


def test_a_crystal_of_one_atom_is_repeated_where_atoms_must_move(monkeypatch):
    sizes = {}

    def noted(name):
        def check(*arguments):
            sizes[name] = len(arguments[-1])
            return []

        return check

    monkeypatch.setattr(physics, "ALONE", ((noted("alone"), ("force_slope",)),))
    monkeypatch.setattr(physics, "OF_CRYSTALS", ((noted("beside"), ("phonons",)),))
    config = EvaluateConfig(physics_crystals=1, physics_molecules=0, physics_pairs=0, physics_ps=0, stability_ps=0)
    physics.measure(EMT(), EMT(), ONE_ATOM, config)
    assert sizes == {"alone": 8, "beside": 1}


def _ordered(first: str, second: str):
    """L1_0, which EMT holds together."""
    atoms = bulk(first, "fcc", a=3.8, cubic=True)
    atoms.symbols[[2, 3]] = second
    return atoms
