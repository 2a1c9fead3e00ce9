"""Kinds of structures that decide which gates apply."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from potstill.core.types import Structure
from potstill.evaluate.contents import BROKEN, LACKING, kinds_of, lacking_neighbors

HOT_ANGSTROM = 0.12  # of copper near 1000 K, each coordinate


def of(*structures: Atoms) -> dict[str, bool]:
    return kinds_of(Structure.from_ase(atoms) for atoms in structures)


def crystal(name: str) -> Atoms:
    known = {
        "copper": lambda: bulk("Cu", cubic=True).repeat(3),
        "iron": lambda: bulk("Fe", cubic=True).repeat(3),
        "magnesium": lambda: bulk("Mg").repeat(4),
        "silicon": lambda: bulk("Si", cubic=True).repeat(2),
        "carbide": lambda: bulk("SiC", "zincblende", a=4.36, cubic=True).repeat(2),
        "salt": lambda: bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat(2),
    }
    return known[name]()


def without(atoms: Atoms, index: int) -> Atoms:
    vacancy = atoms.copy()
    del vacancy[index]
    return vacancy


@pytest.mark.parametrize("name", ["copper", "iron", "magnesium", "silicon", "carbide", "salt"])
def test_a_vacancy_is_told_from_the_perfect_crystal(name):
    perfect = crystal(name)
    assert lacking_neighbors(Structure.from_ase(perfect)) == pytest.approx(0, abs=1e-9)
    assert lacking_neighbors(Structure.from_ase(without(perfect, 0))) > LACKING
    assert of(perfect) == {"crystals": True, "molecules": False, **dict.fromkeys(BROKEN, False)}
    assert of(perfect, without(perfect, 0))["vacancies"]


@pytest.mark.parametrize("name", ["copper", "silicon", "carbide"])
def test_thermal_motion_and_strain_are_no_vacancy(name):
    hot = crystal(name)
    hot.positions += np.random.default_rng(1).normal(0, HOT_ANGSTROM if name == "copper" else 0.09, hot.positions.shape)
    hot.set_cell(hot.cell * 1.03, scale_atoms=True)
    assert not of(hot)["vacancies"]


def test_slabs_and_molecules_have_surfaces():
    slab = fcc111("Cu", (2, 2, 3), vacuum=6.0)
    found = of(slab)
    assert (found["surfaces"], found["vacancies"], found["pairs"]) == (True, True, False)
    slab.pbc = True
    assert of(slab) == found | {"crystals": True}
    water = of(molecule("H2O"))
    assert (water["molecules"], water["surfaces"], water["pairs"]) == (True, True, False)


def test_the_gap_between_layers_is_no_surface():
    assert not of(bulk("C", "hcp", a=2.46, c=6.7).repeat((2, 2, 1)))["surfaces"]


@pytest.mark.parametrize("pbc", [False, True, (True, True, False)])
def test_two_atoms_alone_are_a_pair(pbc):
    boxed = Atoms("N2", [[0, 0, 0], [0, 0, 1.1]], cell=[9.0] * 3, pbc=pbc)
    assert of(boxed)["pairs"]
    other = boxed.copy()
    other.positions += [0.0, 6.0, 4.0]
    gas = boxed + other
    gas.set_cell([13.0] * 3)
    assert of(gas)["pairs"]
    for none in (bulk("Si"), molecule("H2O"), Atoms("Cu", cell=[9.0] * 3, pbc=True), fcc111("Cu", (2, 2, 3), vacuum=6.0)):
        none.pbc = True
        none.cell = none.cell if none.cell.rank == 3 else np.eye(3) * 9.0
        assert not of(none)["pairs"]


@pytest.mark.parametrize(
    "perfect",
    [bulk("Cu").repeat(2), bulk("NaCl", "rocksalt", a=5.64, cubic=True), bulk("NaCl", "rocksalt", a=5.64).repeat(2)],
    ids=["copper of 7", "salt of 7", "salt of 15"],
)
def test_a_vacancy_next_to_most_atoms_of_a_small_cell(perfect):
    assert not of(perfect)["vacancies"]
    assert of(without(perfect, 0))["vacancies"]
