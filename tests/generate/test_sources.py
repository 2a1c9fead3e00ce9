"""What each source makes is right by the judgement of another program, and the same every time."""

from __future__ import annotations

import importlib.util

import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule

from potstill.core.errors import InputError, MissingExtraError
from potstill.core.geometry import smallest_scaled_distance
from potstill.core.types import Refused, Structure
from potstill.generate.benchmark import Benchmark
from potstill.generate.compositions import draw_composition
from potstill.generate.crystals import Crystals
from potstill.generate.files import Files
from potstill.generate.molecules import Molecules
from potstill.generate.options import SOURCES
from potstill.generate.perturb import Perturb

ELEMENTS = ("H", "C", "N", "O", "F", "Na", "Mg", "Al", "Si", "S", "Cl", "Ti")


def made(answers) -> list[Structure]:
    return [a for a in answers if isinstance(a, Structure)]


def reasons(answers) -> list[str]:
    return [a.reason for a in answers if isinstance(a, Refused)]


def assert_equal(first, second) -> None:
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert type(a) is type(b)
        if isinstance(a, Structure):
            np.testing.assert_array_equal(a.positions, b.positions)
            np.testing.assert_array_equal(a.cell, b.cell)
            np.testing.assert_array_equal(a.atomic_numbers, b.atomic_numbers)
            assert a.generator_metadata == b.generator_metadata
        else:
            assert a == b


def assert_function_of_index(source, parents=()) -> None:
    """The same from one call, from many, in another order, and different for another seed."""
    together = source.propose(range(6), 5, parents)
    assert_equal(together, source.propose(range(6), 5, parents))
    assert_equal(together[::-1], [source.propose([k], 5, parents)[0] for k in reversed(range(6))])
    other = source.propose(range(6), 6, parents)
    assert any(
        type(a) is not type(b)
        or (isinstance(a, Structure) and len(a) != len(b))
        or not np.allclose(a.positions, b.positions)
        for a, b in zip(together, other, strict=True)
        if isinstance(a, Structure)
    )


@pytest.mark.parametrize("name", ["molecules", "crystals", "surfaces", "melts", "liquids", "mutants", "torsions"])
def test_a_missing_package_is_named_with_its_command_and_is_no_refusal(name, monkeypatch):
    source = SOURCES[name](count=1, elements=ELEMENTS)
    find = importlib.util.find_spec
    for package, extra in source.packages:
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, *a, gone=package: None if name == gone else find(name, *a)
        )
        with pytest.raises(MissingExtraError, match=rf"'{package}'(.|\n)*potstill\[{extra}\]"):
            source.propose([0], 1, ())


class TestMolecules:
    def test_hydrogens_are_those_of_rdkit(self):
        from rdkit import Chem

        structures = made(Molecules(count=40, max_atoms=30).propose(range(60), 2, ()))
        assert len(structures) > 20
        for structure in structures:
            reference = Chem.AddHs(Chem.MolFromSmiles(structure.generator_metadata["smiles"]))
            expected = sorted(atom.GetAtomicNum() for atom in reference.GetAtoms())
            assert sorted(structure.atomic_numbers.tolist()) == expected
            assert not structure.pbc.any()
            assert len(structure) <= 30
            assert smallest_scaled_distance(structure)[0] > 0.7

    def test_deterministic(self):
        assert_function_of_index(Molecules(count=6, max_atoms=25))

    def test_whitelist(self):
        answers = Molecules(count=5, elements=("H", "C"), max_atoms=60).propose(range(40), 1, ())
        assert "element_not_allowed" in reasons(answers)
        assert all(set(s.atomic_numbers) <= {1, 6} for s in made(answers))

    def test_bad_lines_are_refused_by_name(self, tmp_path):
        lines = ["C(", "CC.O", "[NH4+]", "[CH3]", "C" * 30, "CCO ethanol"]
        (tmp_path / "my.smi").write_text("\n".join(lines) + "\n\n")
        answers = Molecules(count=6, smiles_file=tmp_path / "my.smi").propose(range(6), 1, ())
        expected = ["charged", "fragments", "radical", "smiles_invalid", "too_many_atoms"]
        assert sorted(reasons(answers)) == expected
        (ethanol,) = made(answers)
        assert ethanol.formula == "C2H6O"
        assert all(a.detail for a in answers if isinstance(a, Refused))

    def test_an_empty_or_missing_list(self, tmp_path):
        (tmp_path / "empty.smi").write_text("\n \n")
        with pytest.raises(InputError, match="is empty"):
            Molecules(count=1, smiles_file=tmp_path / "empty.smi").propose([0], 1, ())
        with pytest.raises(InputError, match="no SMILES file"):
            Molecules(count=1, smiles_file=tmp_path / "no.smi").propose([0], 1, ())


class TestCrystals:
    def test_charges_balance(self):
        from itertools import product

        from pymatgen.core import Element

        rng = np.random.default_rng(0)
        for _ in range(200):
            symbols, amounts = draw_composition(ELEMENTS[2:], 3, rng)
            states = [Element(s).common_oxidation_states for s in symbols]
            assert any(sum(n * q for n, q in zip(amounts, choice, strict=True)) == 0 for choice in product(*states))
            assert np.gcd.reduce(amounts) == 1
            assert len(set(symbols)) == len(symbols)

    def test_no_composition(self):
        rng = np.random.default_rng(0)
        assert draw_composition(("Na", "Mg"), 2, rng) is None
        assert draw_composition(("O", "Cl"), 2, rng) is None
        assert reasons(Crystals(count=1, elements=("Na",)).propose([0], 1, ())) == ["no_composition"]

    def test_crystals(self):
        source = Crystals(count=12, elements=ELEMENTS[2:], max_atoms=10)
        answers = source.propose(range(16), 1, ())
        structures = made(answers)
        assert len(structures) >= 8
        for structure in structures:
            assert structure.pbc.all()
            assert len(structure) <= 10
            assert smallest_scaled_distance(structure)[0] >= source.shortest_scaled_distance[0] - 1e-9
            assert 2 <= structure.generator_metadata["space_group"] <= 230
            assert structure.volume / len(structure) < 80

    def test_all_elements_where_none_are_named(self):
        structures = made(Crystals(count=1, max_atoms=6).propose(range(12), 1, ()))
        assert len({int(z) for s in structures for z in s.atomic_numbers}) > 8

    def test_deterministic(self):
        assert_function_of_index(Crystals(count=6, elements=("Na", "Cl", "Mg", "O"), max_atoms=8))


class TestBenchmark:
    def test_published_geometries_come_first(self):
        source = Benchmark(count=1000, snapshots=1, max_atoms=500)
        half = source.available() // 2
        (first,) = source.propose([0], 1, ())
        (snapshot,) = source.propose([half], 1, ())
        assert first.generator_metadata["title"] == snapshot.generator_metadata["title"]
        assert 0 < np.abs(first.positions - snapshot.positions).max() < 0.5
        np.testing.assert_array_equal(first.cell, snapshot.cell)

    def test_molecules_are_those_of_ase(self):
        source = Benchmark(count=1000, snapshots=0, max_atoms=500)
        structures = {s.generator_metadata["title"]: s for s in made(source.propose(range(source.available()), 1, ()))}
        np.testing.assert_array_equal(structures["C6H6"].positions, molecule("C6H6").positions)
        assert "OH" not in structures  # a radical
        assert "H" not in structures

    def test_sets_follow_each_other_and_the_first_two_are_the_default(self):
        def titles(*sets):
            source = Benchmark(count=1, snapshots=0, max_atoms=500, **({"sets": sets} if sets else {}))
            return [s.generator_metadata["title"] for s in made(source.propose(range(source.available()), 1, ()))]

        aflow, g2, elements, dimers = (titles(name) for name in ("aflow", "g2", "dcdft", "s22"))
        assert (len(aflow), len(elements), len(dimers)) == (288, 71, 22)
        assert titles() == aflow + g2
        assert titles("s22", "dcdft") == dimers + elements

    def test_every_structure_states_its_licence(self):
        source = Benchmark(count=1, sets=("aflow", "g2", "dcdft", "s22"), max_atoms=500)
        licences = {
            (s.generator_metadata["reference"], s.generator_metadata["licence"])
            for s in made(source.propose(range(source.available()), 1, ()))
        }
        assert len(licences) == 4
        assert all("MIT" in licence or "LGPL" in licence for _, licence in licences)

    def test_dimers_are_bound_and_apart(self):
        dimers = made(Benchmark(count=1, sets=("s22",), snapshots=0).propose(range(22), 1, ()))
        assert len(dimers) == 22
        assert all(smallest_scaled_distance(s)[0] > 0.75 for s in dimers)  # triple bonds are at 0.79

    def test_limits(self):
        source = Benchmark(count=1000, elements=("Si", "O"), max_atoms=6)
        answers = source.propose(range(source.available()), 1, ())
        assert {"too_many_atoms", "element_not_allowed"} == set(reasons(answers))
        assert all(set(s.atomic_numbers) <= {8, 14} and len(s) <= 6 for s in made(answers))
        assert made(answers)

    def test_deterministic(self):
        source = Benchmark(count=1000)
        start = source.available() - 10
        first, second = (source.propose(range(start, start + 8), 3, ()) for _ in range(2))
        assert_equal(first, second)


class TestPerturb:
    def test_a_copy_keeps_its_family_and_atoms(self, parents):
        copies = made(Perturb(count=50).propose(range(50), 1, parents))
        by_id = {p.id: p for p in parents}
        assert len(copies) == 50
        for copy in copies:
            parent = by_id[copy.generator_metadata["parent"]]
            assert copy.family == parent.family
            np.testing.assert_array_equal(copy.atomic_numbers, parent.atomic_numbers)
            np.testing.assert_array_equal(copy.pbc, parent.pbc)
            assert 0.03 <= copy.generator_metadata["rattle_angstrom"] <= 0.15

    def test_strain_is_what_it_says(self, parents):
        for copy in made(Perturb(count=20, max_strain=0.1).propose(range(20), 1, parents)):
            parent = next(p for p in parents if p.id == copy.generator_metadata["parent"])
            strain = np.array(copy.generator_metadata["strain"])
            np.testing.assert_allclose(strain, strain.T)
            assert np.abs(strain).max() <= 0.1
            np.testing.assert_allclose(copy.cell, parent.cell @ (np.eye(3) + strain))
            if not parent.pbc.all():
                assert not strain.any()

    def test_every_parent_is_copied_before_one_is_copied_twice(self, parents):
        copies = made(Perturb(count=12).propose(range(len(parents)), 1, parents))
        assert {c.generator_metadata["parent"] for c in copies} == {p.id for p in parents}

    def test_parents_by_source(self, parents):
        copies = made(Perturb(count=9, parents=("metals",)).propose(range(9), 1, parents))
        assert {c.generator_metadata["parent"].split("-")[0] for c in copies} == {"metals"}

    def test_its_own_limits(self, parents):
        copies = made(Perturb(count=30, max_atoms=4).propose(range(30), 1, parents))
        assert copies
        assert max(len(c) for c in copies) == 4
        copies = made(Perturb(count=30, elements=("H", "O", "Cu")).propose(range(30), 1, parents))
        assert {int(z) for c in copies for z in c.atomic_numbers} <= {1, 8, 29}
        assert copies

    def test_no_parents(self):
        assert reasons(Perturb(count=2).propose(range(2), 1, ())) == ["no_parent"] * 2

    def test_deterministic_and_parents_untouched(self, parents):
        before = [p.positions.copy() for p in parents]
        assert_function_of_index(Perturb(count=6), parents)
        for parent, positions in zip(parents, before, strict=True):
            np.testing.assert_array_equal(parent.positions, positions)

    def test_smiles_are_inherited(self, parents):
        known = [p.with_(generator_metadata={"smiles": "C", "seed": 1}) for p in parents[-1:]]
        (copy,) = made(Perturb(count=1).propose([0], 1, known))
        assert copy.generator_metadata["smiles"] == "C"


class TestFiles:
    def test_every_frame_of_every_file(self, tmp_path):
        ase.io.write(tmp_path / "a.extxyz", [bulk("Cu"), bulk("Al")])
        ase.io.write(tmp_path / "b.cif", bulk("Si", a=5.43))
        source = Files(count=9, paths=(tmp_path / "a.extxyz", tmp_path / "b.cif"))
        assert source.available() == 3
        answers = source.propose(range(3), 1, ())
        assert [a.formula for a in answers] == ["Cu", "Al", "Si"]
        assert answers[1].generator_metadata == {"file": "a.extxyz", "frame": 1}

    def test_a_bad_frame_is_refused_by_name(self, tmp_path):
        flat = bulk("Cu")
        flat.cell[2] = flat.cell[1]
        far = bulk("Al")
        far.positions[0, 0] = np.nan
        ase.io.write(tmp_path / "a.traj", [bulk("Cu"), flat, far, bulk("Ni")])
        answers = Files(count=9, paths=(tmp_path / "a.traj",)).propose(range(4), 1, ())
        assert reasons(answers) == ["no_volume", "not_finite"]
        assert "a.traj, frame 1: " in answers[1].detail
        assert "a.traj, frame 2: " in answers[2].detail
        assert [s.formula for s in made(answers)] == ["Cu", "Ni"]

    def test_limits(self, tmp_path):
        ase.io.write(tmp_path / "a.extxyz", [bulk("Cu"), bulk("Al"), bulk("Cu") * 3])
        source = Files(count=9, paths=(tmp_path / "a.extxyz",), elements=("Cu",), max_atoms=20)
        assert reasons(source.propose(range(3), 1, ())) == ["element_not_allowed", "too_many_atoms"]

    def test_unreadable(self, tmp_path):
        (tmp_path / "a.extxyz").write_text("no atoms here\n")
        with pytest.raises(InputError, match=r"(?s)cannot read any structure.*unreadable: a\.extxyz"):
            Files(count=1, paths=(tmp_path / "a.extxyz",)).available()
        with pytest.raises(InputError, match="no structure file or folder"):
            Files(count=1, paths=(tmp_path / "b.extxyz",)).available()
