"""Inputs as users of LAMMPS write them: the numbers are those of the ASE calculator, or one line says why not."""

import numpy as np
import pytest
from ase.data import chemical_symbols

from lammps_kit import COPPER, DUMP, MARKS, MEASURE, RUN_0, assert_like_ase, assert_same, warm_copper
from potstill.testing import rattled, triclinic, water

pytestmark = MARKS

WARM = "timestep 0.001\nvelocity all create 600 7 loop geom\n"
MOVE = f"{WARM}fix move all nve\n"
MILD = "timestep 0.0002\nvelocity all create 100 7 loop geom\nfix a all nph tri 0 0 0.1\nrun 30\n"
SCRIPTS = {
    "npt": f"{WARM}fix a all npt temp 600 600 0.1 aniso 0 0 0.5\nrun 60\n",
    "a box that flips": f"change_box all triclinic\n{MOVE}fix d all deform 1 xy erate 5 remap x\nrun 200\nunfix d\n",
    "atoms come and go": f"group g id 3 7\n{MOVE}run 20\ndelete_atoms group g\nrun 20\ncreate_atoms 1 single 0.4 0.4 3\n",
    "rerun": f"{MOVE}dump d all custom 10 all.dump id type x y z\nrun 20\nundump d\nrerun all.dump dump x y z\n",
    "tiled": f"comm_style tiled\nbalance 1.0 rcb\n{MOVE}run 20\n",
    "sorted": f"atom_modify sort 5 3.0\nneigh_modify every 1 delay 0 check yes\n{MOVE}run 30\n",
    "a loop": "fix a all nve\nvariable i loop 3\nlabel top\nset atom 1 x 0.1\nrun 5\nrun 3 pre no\nnext i\njump SELF top\n",
    "a short reach of ghosts": "comm_modify cutoff 2.0\n",  # LAMMPS raises it
    "tail and mix": "pair_modify tail yes mix arithmetic\n",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_gives_the_numbers_of_ase(name, lmp):
    text = lmp.begin(warm_copper(2, 2, 2), COPPER) + SCRIPTS[name] + RUN_0
    assert_like_ase(lmp.run(text, 2), lmp, COPPER, ["Cu"])


def test_a_triclinic_box_under_pressure_gives_the_numbers_of_ase(lmp, organic):
    structure = rattled(triclinic())
    text = (
        lmp.begin(structure, organic)
        + "timestep 0.0002\nvelocity all create 100 7 loop geom\nfix a all nph tri 0 0 0.1\nrun 30\n"
        + RUN_0
    )
    symbols = [chemical_symbols[z] for z in np.unique(structure.atomic_numbers)]
    assert_like_ase(lmp.run(text, 2), lmp, organic, symbols)


def test_a_second_pair_style_changes_the_precision(lmp):
    text = lmp.begin(warm_copper(2, 2, 2), COPPER, "single") + "pair_style potstill double\n" + RUN_0
    assert_like_ase(lmp.run(text), lmp, COPPER, ["Cu"])


NULLS = {
    "atom type 1 is NULL, so no forces would act on it": ("student.potstill Cu", "student.potstill NULL"),
    "every atom type is NULL": (
        "pair_style potstill double\n            pair_coeff * * student.potstill Cu",
        "pair_style hybrid/overlay potstill zero 4.0\npair_coeff * * zero\npair_coeff * * potstill student.potstill NULL",
    ),
}


@pytest.mark.parametrize("message", NULLS)
def test_types_without_any_forces_are_refused(message, lmp):
    begin = lmp.begin(warm_copper(1, 1, 1), COPPER)
    assert NULLS[message][0] in begin
    shown = lmp.run(begin.replace(*NULLS[message]) + "run 0\n", 2)
    assert [message in line for line in shown.splitlines() if "ERROR" in line] == [True], shown
    assert lmp.status != 0


EXTRA = "2 extra bond per atom\n2 extra special per atom"


def bonded_water(lmp, student, special: str) -> str:
    """The input of a water molecule with its two bonds."""
    text = lmp.begin(rattled(water()), student, processors=f"bond_style zero\nspecial_bonds {special}\n")
    data = lmp.folder / "start.data"
    head, atoms = data.read_text(encoding="utf-8").split("Atoms  # atomic\n\n")
    rows = [line.split() for line in atoms.splitlines()]
    oxygen = next(row[0] for row in rows if row[1] == "2")  # types are in the order of atomic numbers
    bonds = [f"{k + 1} 1 {oxygen} {other}" for k, other in enumerate(row[0] for row in rows if row[0] != oxygen)]
    head = head.replace(
        "atom types", "atom types\n2 bonds\n1 bond types\n2 extra bond per atom\n2 extra special per atom", 1
    )
    atoms = "\n".join(" ".join([row[0], "1", *row[1:]]) for row in rows)
    data.write_text(f"{head}Atoms  # bond\n\n{atoms}\n\nBonds\n\n" + "\n".join(bonds) + "\n", encoding="utf-8")
    return text.replace("atom_style atomic", "atom_style bond").replace("pair_style", "bond_coeff *\npair_style", 1)


def test_bonds_that_hide_neighbors_are_refused(lmp, organic):
    shown = lmp.run(bonded_water(lmp, organic, "lj/coul 0 0 1") + "run 0\n")
    found = [line for line in shown.splitlines() if "ERROR" in line]
    assert len(found) == 1, shown
    assert "special_bonds removes bonded atoms" in found[0]


@pytest.mark.parametrize("special", ["lj/coul 1 1 1", "lj/coul 1e-50 1e-50 1e-50", "lj 0 0 0 coul 0.5 0.5 0.5"])
def test_bonds_that_hide_no_neighbors_change_nothing(special, lmp, organic):
    shown = lmp.run(bonded_water(lmp, organic, special) + MEASURE + "run 0\n" + DUMP)
    assert_same(shown, lmp, rattled(water()), organic)


@pytest.mark.parametrize("command", ["exclude group left left", "include left"])
def test_excluded_pairs_are_warned_of(command, lmp):
    group = "atom_modify first left\n" if command.startswith("include") else ""
    text = lmp.begin(warm_copper(2, 2, 2), COPPER) + f"group left id 1:10\n{group}neigh_modify {command}\nrun 0\n"
    shown = lmp.run(text, 2)
    assert lmp.status == 0, shown
    assert shown.count("neigh_modify exclude or include leaves out pairs of atoms") == 1


@pytest.mark.parametrize(("elements", "warnings"), [("H O", 0), ("O H", 2), ("O O", 0)])
def test_elements_in_another_order_than_the_masses_are_warned_of(elements, warnings, lmp, organic):
    text = lmp.begin(rattled(water()), organic).replace("student.potstill H O", f"student.potstill {elements}")
    shown = lmp.run(text + "run 0\nrun 0\n", 2)
    assert shown.count("give the elements in the order of the atom types") == warnings, shown
    assert lmp.status == 0
