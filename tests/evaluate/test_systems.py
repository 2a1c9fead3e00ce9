"""Systems of the physics checks: typical of the data, at stable minima of the reference, of distinct chemistry."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT

from potstill.core.types import Labels, Structure
from potstill.evaluate import physics
from potstill.evaluate.gates import asked_of, judge
from potstill.evaluate.options import EvaluateConfig
from potstill.evaluate.systems import candidates, choose, disordered
from potstill.testing import rattled

BARE = {"forces": {"mae": 0.1, "zero_baseline_mae": 1.0, "ratio_to_zero_baseline": 0.1}, "per_source": {}, "nve": []}


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


def names(systems) -> list[str]:
    return [name.split()[0] for name, _ in systems]


def test_the_second_crystal_is_of_another_chemistry():
    structures = [labelled(_ordered("Cu", "Au"), f"cuau-{k}") for k in range(3)] + [labelled(_ordered("Ni", "Pt"), "nipt")]
    choice = choose(EMT(), structures, 2, periodic=True)
    assert names(choice.systems) == ["cuau-0", "nipt"]
    assert choice.missing == 0


def test_structures_of_one_crystal_are_one_system():
    """One system, many displaced copies: none is missing, and no check is made twice."""
    copies = [labelled(_ordered("Cu", "Au"), f"copy-{k}") for k in range(6)]
    for k, copy in enumerate(copies):
        copy.positions[:] += np.random.default_rng(k).normal(0, 0.02, copy.positions.shape)
    choice = choose(EMT(), copies, 2, periodic=True)
    assert (names(choice.systems), choice.missing, choice.tried, choice.others) == (["copy-0"], 0, 3, [])
    another = labelled(_ordered("Ni", "Pt"), "nipt")
    assert names(choose(EMT(), [*copies, another], 2, periodic=True).systems) == ["copy-0", "nipt"]


def test_another_molecule_comes_before_the_same_one_again():
    copies = [labelled(molecule("CH3CH2OH"), f"ethanol-{k}") for k in range(3)]
    choice = choose(EMT(), [*copies, labelled(molecule("H2O"), "water")], 2, periodic=False)
    assert (names(choice.systems), choice.missing, choice.tried) == (["ethanol-0", "water"], 0, 2)
    choice = choose(EMT(), copies, 2, periodic=False)
    assert (names(choice.systems), choice.missing, choice.tried) == (["ethanol-0"], 0, 3)


def test_a_crystal_that_is_not_stable_in_the_reference_is_no_judge():
    pytest.importorskip("phonopy")
    unstable = labelled(bulk("Cu", "sc", a=2.4).repeat([1, 1, 2]), "cubic")  # held in place by its symmetry
    stable = labelled(bulk("Cu", cubic=True), "fcc", 0.0, 1.0)
    choice = choose(EMT(), [unstable, stable], 1, periodic=True)
    assert (names(choice.systems), choice.missing, choice.others) == (["fcc"], 0, [])
    choice = choose(EMT(), [unstable], 1, periodic=True)
    assert (choice.systems, choice.missing, names(choice.others)) == ([], 1, ["cubic"])
    assert "cubic (Cu) is not stable in the reference" in choice.why


def _cubic(k: int) -> Structure:
    """Copper held at a saddle by its symmetry, of another family for each number."""
    return labelled(bulk("Cu", "sc", a=2.4 + 0.002 * k).repeat([1, 1, 2]), f"cubic-{k}")


def test_the_one_stable_crystal_is_found_beyond_the_calm_ones():
    """The calm quarter of four crystals is one, which is unstable."""
    pytest.importorskip("phonopy")
    stable = labelled(bulk("Cu", cubic=True), "fcc", 3.0)
    structures = [
        _cubic(0),
        *(s.with_(labels=Labels(0.0, np.ones((2, 3)), np.zeros((3, 3)))) for s in (_cubic(1), _cubic(2))),
    ]
    assert [s.id for s in candidates([*structures, stable], periodic=True)] == ["cubic-0"]
    choice = choose(EMT(), [*structures, stable], 2, periodic=True)
    assert (names(choice.systems), choice.missing, choice.tried) == (["fcc"], 0, 4)
    assert choose(EMT(), structures, 2, periodic=True).missing == 2


def test_the_number_of_tries_is_bounded(monkeypatch):
    tried = []

    def unstable(_, structure, **__):
        tried.append(structure.id)
        return structure.to_ase(), 0.0, -3.0

    monkeypatch.setattr("potstill.evaluate.systems._at_rest", unstable)
    choice = choose(EMT(), [_cubic(k) for k in range(40)], 1, periodic=True)
    assert (len(tried), len(set(tried)), choice.missing) == (15, 15, 1)
    assert choice.why.endswith("; and 10 more")


def test_what_does_not_settle_is_missing():
    (structure,) = ONE_ATOM
    unknown = labelled(bulk("Si"), "silicon")  # which EMT refuses
    choice = choose(EMT(), [unknown], 1, periodic=True)
    assert (choice.systems, choice.missing) == ([], 1)
    choice = choose(EMT(), [unknown, rattled(structure).with_(labels=structure.labels)], 1, periodic=True)
    assert (len(choice.systems), choice.missing) == (1, 0)


def test_a_large_cell_is_reduced_to_its_primitive_one():
    pytest.importorskip("spglib")
    atoms = bulk("Cu", cubic=True).repeat(2)
    atoms.rattle(0.02, seed=1)
    choice = choose(EMT(), [labelled(atoms, "large")], 1, periodic=True)
    assert [(name, len(a)) for name, a in choice.systems] == [("large (Cu)", 1)]


class CountingEMT(EMT):
    """EMT with the number of atoms of each calculation."""

    def __init__(self) -> None:
        super().__init__()
        self.atoms_of_calls: list[int] = []

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        self.atoms_of_calls.append(len(atoms))
        super().calculate(atoms, properties, system_changes)


def test_a_hot_supercell_is_relaxed_in_its_primitive_cell():
    pytest.importorskip("spglib")
    atoms = bulk("Cu", cubic=True).repeat(3)
    atoms.set_cell(atoms.cell * 1.02, scale_atoms=True)
    atoms.rattle(0.06, seed=2)
    reference = CountingEMT()
    choice = choose(reference, [labelled(atoms, "hot")], 1, periodic=True)
    ((_, relaxed),) = choice.systems
    assert len(relaxed) == 1
    assert relaxed.get_volume() == pytest.approx(bulk("Cu", a=3.59).get_volume(), rel=0.01)  # EMT's lattice constant
    assert max(n for n in reference.atoms_of_calls[:5]) == 1


def test_an_unstable_lattice_of_displaced_atoms_is_left_for_the_cell_as_it_is():
    pytest.importorskip("phonopy")
    pytest.importorskip("spglib")
    cubic = bulk("Cu", "sc", a=2.4).repeat(3)
    energy = _energy_per_atom(cubic)
    cubic.rattle(0.05, seed=3)
    choice = choose(EMT(), [labelled(cubic, "cubic")], 1, periodic=True)
    ((_, atoms),) = [*choice.systems, *choice.others]
    assert _energy_per_atom(atoms) < energy - 0.1


def _energy_per_atom(atoms) -> float:
    copied = atoms.copy()
    copied.calc = EMT()
    return copied.get_potential_energy() / len(copied)


def test_crystals_that_dispersion_holds_come_last():
    oxygen = Atoms("O2", [[0, 0, 0], [0, 0, 1.2]], cell=[3.3, 3.3, 4.2], pbc=True)
    made = [labelled(oxygen, "oxygen", 0.0, -9.0), labelled(alloy("Cu", "Au"), "cuau")]
    assert [s.id for s in candidates(made, periodic=True)] == ["cuau", "oxygen"]


def test_a_crystal_above_sixteen_atoms_is_put_through_every_gate():
    pytest.importorskip("spglib")
    atoms = bulk("Cu", cubic=True).repeat(2)
    atoms.rattle(0.02, seed=1)
    config = EvaluateConfig(physics_crystals=1, physics_molecules=0, physics_pairs=0, physics_ps=0.02, stability_ps=0.02)
    rows = physics.measure(EMT(), EMT(), [labelled(atoms, "large")], config)
    assert {row.check for row in rows if row.measured is not None} >= set(asked_of("crystals", config)) - {"phonons"}


def test_what_is_at_no_minimum_still_serves_checks_that_need_none(monkeypatch):
    monkeypatch.setattr("potstill.evaluate.systems.MOST_RELAXATION_STEPS", 0)
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    config = EvaluateConfig(physics_crystals=1, physics_molecules=0, physics_pairs=0, physics_ps=0, stability_ps=0)
    rows = physics.measure(EMT(), EMT(), [labelled(atoms, "hot")], config)
    found = {row.check: row for row in rows}
    assert found["systems"].measured == 1
    assert "hot (Cu) has forces of" in found["systems"].why
    assert {"force_slope", "stress_slope", "endurance"} < {*found}
    assert not {"bulk_modulus", "phonons", "relaxed_cell"} & {*found}
    report = {**BARE, "kinds": {"crystals": True, "molecules": False}, "physics": [row.report() for row in rows]}
    verdicts = {f.check: f.verdict for f in judge(report, config)}
    assert verdicts["bulk_modulus"] == verdicts["phonons"] == "NOT_RUN"
    assert verdicts["force_slope"] == "GO"


def melt(seed: int) -> Atoms:
    atoms = bulk("Cu", a=3.8, cubic=True).repeat([3, 2, 1])
    atoms.rattle(1.0, seed=seed)
    return atoms


def test_a_liquid_is_no_missing_crystal_and_needs_no_minimum(monkeypatch):
    pytest.importorskip("spglib")
    monkeypatch.setattr("potstill.evaluate.systems.MOST_RELAXATION_STEPS", 12)
    config = EvaluateConfig(physics_crystals=1, physics_molecules=0, physics_pairs=0, physics_ps=0.02, stability_ps=0.02)
    rows = physics.measure(EMT(), EMT(), [labelled(melt(k), f"melt-{k}") for k in range(2)], config)
    report = {**BARE, "kinds": {"crystals": True, "molecules": False}, "physics": [row.report() for row in rows]}
    verdicts = {f.check: f.verdict for f in judge(report, config)}
    assert verdicts["systems"] == "GO"
    for check in ("bulk_modulus", "elastic_constants", "phonons", "relaxed_cell", "relaxed_positions", "npt"):
        assert verdicts[check] == "DOES_NOT_APPLY", check
    assert verdicts["force_slope"] == verdicts["stress_slope"] == verdicts["rdf"] == verdicts["pressure"] == "GO"
    assert "NOT_RUN" not in {verdicts[check] for check in asked_of("crystals", config)}


def test_a_crystal_beside_liquids_is_the_judge(monkeypatch):
    pytest.importorskip("spglib")
    monkeypatch.setattr("potstill.evaluate.systems.MOST_RELAXATION_STEPS", 12)
    crystal = bulk("Cu", cubic=True).repeat([3, 2, 1])
    crystal.rattle(0.01, seed=1)
    choice = choose(EMT(), [labelled(melt(1), "melt", 0.0, -1.0), labelled(crystal, "fcc")], 1, periodic=True)
    assert names(choice.systems) == ["fcc"]
    assert (choice.missing, choice.others, choice.disordered) == (0, [], frozenset())


def boxed(name: str, energy: float = 0.0) -> Structure:
    made = molecule(name, cell=[8.0] * 3, pbc=True)
    made.center()
    return labelled(made, name, 0.0, energy)


def slab() -> Structure:
    made = fcc111("Cu", (1, 1, 4), vacuum=6.0)
    made.pbc = True
    made.rattle(0.02, seed=1)
    return labelled(made, "slab")


@pytest.mark.parametrize("structure", [boxed("N2"), slab()], ids=["molecule in a box", "slab"])
def test_a_cell_with_vacuum_has_no_bulk(structure):
    config = EvaluateConfig(physics_crystals=1, physics_molecules=0, physics_pairs=0, physics_ps=0.02, stability_ps=0.02)
    rows = physics.measure(EMT(), EMT(), [structure], config)
    report = {**BARE, "kinds": {"crystals": True, "molecules": False}, "physics": [row.report() for row in rows]}
    found = {f.check: f for f in judge(report, config)}
    for check in ("bulk_modulus", "elastic_constants", "vacancies", "surfaces", "phonons", "relaxed_cell", "npt"):
        assert found[check].verdict == "DOES_NOT_APPLY", check
        assert "contains vacuum" in found[check].why
    for check in ("systems", "force_slope", "stress_slope", "rdf", "relaxed_positions"):
        assert found[check].verdict == "GO", check


def test_a_slab_and_a_molecule_in_a_box_leave_the_judgement_to_a_crystal():
    crystal = bulk("Cu", cubic=True)
    crystal.rattle(0.01, seed=1)
    structures = [boxed("N2", -9.0), slab(), labelled(crystal, "fcc", 1.0)]
    choice = choose(EMT(), structures, 1, periodic=True)
    assert names(choice.systems) == ["fcc"]
    assert (choice.missing, choice.others, choice.hollow) == (0, [], frozenset())


def test_alloys_and_defects_are_no_liquids():
    pytest.importorskip("spglib")
    atoms = bulk("Cu", cubic=True).repeat([3, 2, 1])
    atoms.symbols = np.random.default_rng(0).choice(["Cu", "Au"], len(atoms))
    del atoms[3]
    atoms.rattle(0.1, seed=1)
    assert not disordered(atoms)
    assert disordered(melt(1))
    assert not disordered(melt(1)[:16])  # a small cell may be a crystal without symmetry


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
