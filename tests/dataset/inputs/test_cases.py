"""Inputs that went wrong at users of other tools: the right answer to each, in ``convert`` and in the source ``files``."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import ase.io
import numpy as np
import pytest
import typer
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator

from potstill.audit.files import audit_file
from potstill.core.errors import InputError
from potstill.core.types import Refused
from potstill.dataset import open_dataset
from potstill.dataset.convert import convert, read_structures
from potstill.dataset.inputs import ReadOptions, UnusableError, open_frames
from potstill.dataset.inputs.species import parse_species
from potstill.generate.files import Files
from potstill.generate.molecules import Molecules
from potstill.generate.options import GenerateConfig
from potstill.generate.stage import generate

LATIN1 = os.fsdecode("größe.xyz".encode("latin1"))  # a name that is no UTF-8
HEADER = 'Lattice="4 0 0 0 4 0 0 0 5" Properties=species:S:1:pos:R:3:forces:R:3'
ATOM = "Cu 0 0 0 0.1 0.2 0.3\nCu 2 2 2.5 -0.1 -0.2 -0.3\n"


def crystal(facts: str) -> str:
    return f"2\n{HEADER} {facts}\n{ATOM}"


def labelled(path: Path, *facts: str) -> Path:
    path.write_text("".join(map(crystal, facts)))
    return path


def from_files(*paths: Path, **options) -> list:
    source = Files(count=99, paths=paths, **options)
    return source.propose(range(source.available()), 1, ())


class TestVirials:
    @pytest.mark.parametrize("key", ["virial", "virials", "REF_virial", "REF_virials"])
    def test_a_virial_is_a_stress(self, tmp_path, key):
        path = labelled(tmp_path / "a.extxyz", f'energy=-7.0 {key}="8 0 0 0 16 0 0 0 24"')
        (found,) = read_structures(path)
        np.testing.assert_allclose(found.labels.stress, -np.diag([8.0, 16.0, 24.0]) / 80.0)

    def test_a_stress_beside_a_virial_that_disagrees_is_said(self, tmp_path, caplog):
        facts = 'energy=-7.0 stress="0.1 0 0 0 0.1 0 0 0 0.1" virial="8 0 0 0 8 0 0 0 8"'
        (found,) = read_structures(labelled(tmp_path / "a.extxyz", facts))
        np.testing.assert_allclose(found.labels.stress, 0.1 * np.eye(3))
        assert "disagree" in caplog.text

    def test_six_numbers_of_a_virial_have_no_known_order(self, tmp_path, caplog):
        (found,) = read_structures(labelled(tmp_path / "a.extxyz", 'energy=-7.0 virials="1 2 3 4 5 6"'))
        assert found.labels.stress is None
        assert "'virials'" in caplog.text


class TestKeys:
    @pytest.mark.parametrize("facts", ["dft_energy=-7", "Energy=-7", "energy_DFT=-7", "free_energy=-7", "E0=-7"])
    def test_a_key_that_looks_like_a_label_is_named(self, tmp_path, facts, caplog):
        path = labelled(tmp_path / "a.extxyz", facts)
        with caplog.at_level(logging.WARNING):
            (found,) = read_structures(path)
        assert found.labels is None
        assert f"'{facts.split('=')[0]}'" in caplog.text
        assert "a.extxyz, frame 0" in caplog.text

    def test_keys_by_option(self, tmp_path):
        path = labelled(tmp_path / "a.extxyz", "dft_energy=-7.25")
        (found,) = read_structures(path, ReadOptions(energy_key="dft_energy"))
        assert found.labels.energy == -7.25
        with pytest.raises(
            InputError, match=r"a\.extxyz, frame 0: no_label_key: .*'dft_enrgy'.*the frame has dft_energy, forces"
        ):
            list(read_structures(path, ReadOptions(energy_key="dft_enrgy")))

    def test_a_free_energy_that_differs_is_said(self, tmp_path, caplog):
        (found,) = read_structures(labelled(tmp_path / "a.extxyz", "energy=-7.0 free_energy=-7.1"))
        assert found.labels.energy == -7.0
        assert "differs from 'free_energy'" in caplog.text

    def test_a_free_energy_that_is_chosen_is_of_the_calculation_of_the_forces(self, tmp_path, caplog):
        path = labelled(tmp_path / "a.extxyz", "energy=-7.0 free_energy=-7.1")
        (found,) = read_structures(path, ReadOptions(energy_key="free_energy"))
        assert found.labels.energy == -7.1
        assert "two calculations" not in caplog.text

    def test_nothing_is_said_of_a_file_that_is_whole(self, tmp_path, caplog):
        list(read_structures(labelled(tmp_path / "a.extxyz", "energy=-7.0 free_energy=-7.0")))
        assert caplog.text == ""


class TestNotFinite:
    def test_convert_names_the_frame(self, tmp_path):
        path = labelled(tmp_path / "a.extxyz", "energy=-7", "energy=nan", "energy=-7")
        with pytest.raises(InputError, match=r"a\.extxyz, frame 1: not_finite: energy is nan"):
            convert(path, tmp_path / "a.h5")
        assert not (tmp_path / "a.h5").exists()

    def test_the_audit_finds_it(self, tmp_path):
        path = labelled(tmp_path / "a.extxyz", "energy=-7", "energy=nan", "energy=-7")
        report = audit_file(path, tmp_path, "")
        finding = next(f for f in report["findings"] if f["check"] == "finite")
        assert (report["verdict"], finding["verdict"], list(finding["worst"])) == ("NO_GO", "NO_GO", ["a-000001"])


class TestIsolatedAtoms:
    def test_a_stated_isolated_atom_needs_no_cell(self, tmp_path, caplog):
        atom = (
            '1\nProperties=species:S:1:pos:R:3:forces:R:3 config_type=IsolatedAtom energy=-3.5 pbc="T T T"\nCu 0 0 0 0 0 0\n'
        )
        path = tmp_path / "train.extxyz"
        path.write_text(atom + crystal("energy=-7"))
        first, second = read_structures(path)
        assert (first.pbc.any(), first.labels.energy, len(second)) == (False, -3.5, 2)
        assert "isolated Cu atom with an energy of -3.500000 eV: a reference energy" in caplog.text
        assert convert(path, tmp_path / "train.h5") == 2

    def test_any_other_is_named(self, tmp_path):
        path = tmp_path / "train.extxyz"
        path.write_text(crystal("energy=-7") + '1\nenergy=-3.5 pbc="T T T"\nCu 0 0 0\n')
        with pytest.raises(InputError, match=r"train\.extxyz, frame 1: no_cell: .*config_type=IsolatedAtom"):
            convert(path, tmp_path / "train.h5")


class TestConstraints:
    def test_forces_after_constraints_are_no_labels(self, tmp_path):
        header = HEADER.replace("forces:R:3", "forces:R:3:move_mask:L:1")
        (tmp_path / "a.extxyz").write_text(f"2\n{header} energy=-7\nCu 0 0 0 0 0 0 F\nCu 2 2 2.5 -0.1 -0.2 -0.3 T\n")
        with pytest.raises(InputError, match="constrained_forces"):
            list(read_structures(tmp_path / "a.extxyz"))


class TestEncodings:
    def test_smiles_with_a_name_in_latin1(self, tmp_path):
        path = tmp_path / "list.smi"
        path.write_bytes("CCO Äthanol\nCCN Éthylamine\n".encode("latin1"))
        found = Molecules(count=2, smiles_file=path).propose(range(2), 1, ())
        assert sorted(s.formula for s in found) == ["C2H6O", "C2H7N"]

    def test_a_file_whose_name_is_latin1(self, tmp_path):
        ase.io.write(tmp_path / "good.xyz", molecule("CH4"))
        (tmp_path / LATIN1).write_bytes("2\nÅ\nC 0 0 0\n".encode("latin1"))
        found = from_files(tmp_path)
        assert [s.formula for s in found if not isinstance(s, Refused)] == ["CH4"]
        (refused,) = (s for s in found if isinstance(s, Refused))
        refused.detail.encode()
        assert refused.reason == "wrong_count"

    def test_convert_from_and_to_such_names(self, tmp_path):
        source = tmp_path / LATIN1
        source.write_text(crystal("energy=-7"))
        assert convert(source, tmp_path / "a.h5") == 1
        assert open_dataset(tmp_path / "a.h5").ids.tolist() == ["gr��e-000000"]


class TestSettings:
    GROUP = """data_x
_cell_length_a {a}
_cell_length_b {b}
_cell_length_c {c}
_cell_angle_alpha {alpha}
_cell_angle_beta {beta}
_cell_angle_gamma {gamma}
{names}
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Si1 Si 0.11 0.2 0.34
"""

    def reason(self, tmp_path: Path, names: str, *angles: float, lengths: tuple = (7, 8, 9)) -> int | str:
        a, b, c = lengths
        alpha, beta, gamma = angles or (90, 90, 90)
        text = self.GROUP.format(a=a, b=b, c=c, alpha=alpha, beta=beta, gamma=gamma, names=names)
        (tmp_path / "a.cif").write_text(text)
        try:
            return len(open_frames(tmp_path / "a.cif").frame(0).structure)
        except UnusableError as error:
            return error.reason

    def test_permuted_axes_are_those_of_the_symbol(self, tmp_path):
        """P b n m is group 62 with other axes than P n m a: a site on its mirror stays one."""
        text = self.GROUP.replace("0.11 0.2 0.34", "0.1 0.2 0.25")
        counts = {}
        for symbol in ("P n m a", "P b n m"):
            names = f"_symmetry_space_group_name_H-M '{symbol}'\n_symmetry_Int_Tables_number 62"
            content = text.format(a=7, b=8, c=9, alpha=90, beta=90, gamma=90, names=names)
            (tmp_path / "a.cif").write_text(content)
            counts[symbol] = len(open_frames(tmp_path / "a.cif").frame(0).structure)
        assert counts == {"P n m a": 8, "P b n m": 4}

    def test_axes_of_a_rhombohedral_group_follow_from_the_cell(self, tmp_path):
        name = "_symmetry_space_group_name_H-M 'R -3'"
        assert self.reason(tmp_path, name, 90, 90, 120, lengths=(7, 7, 9)) == 18
        assert self.reason(tmp_path, name, 80, 80, 80, lengths=(7, 7, 7)) == 6

    def test_monoclinic_symbols(self, tmp_path):
        name = "_symmetry_space_group_name_H-M 'P 21/c'"
        assert self.reason(tmp_path, name, 90, 100, 90) == 4
        assert self.reason(tmp_path, "_symmetry_space_group_name_H-M 'P 21/n'", 90, 100, 90) == 4
        assert self.reason(tmp_path, "_symmetry_space_group_name_H-M 'C 2/c'", 90, 100, 90) == 8

    def test_a_number_alone_names_no_setting(self, tmp_path):
        assert self.reason(tmp_path, "_symmetry_Int_Tables_number 62") == "ambiguous_setting"
        assert self.reason(tmp_path, "_symmetry_Int_Tables_number 225", lengths=(9, 9, 9)) == 192

    def test_names_that_disagree(self, tmp_path):
        names = "_symmetry_space_group_name_H-M 'P n m a'\n_symmetry_Int_Tables_number 63"
        assert self.reason(tmp_path, names) == "unreadable"


def test_species_of_the_source_and_of_the_command(tmp_path):
    (tmp_path / "POSCAR").write_text("slab, relaxed\n1.0\n5 0 0\n0 5 0\n0 0 5\n1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n")
    with pytest.raises(InputError, match=r"no_elements: POSCAR.*--species 1=Si"):
        from_files(tmp_path / "POSCAR")
    (found,) = from_files(tmp_path / "POSCAR", species={1: "Na", "2": "Cl"})
    assert found.formula == "ClNa"
    convert(tmp_path / "POSCAR", tmp_path / "a.h5", options=ReadOptions(parse_species(["1=Na", "2=Cl"])))
    assert open_dataset(tmp_path / "a.h5")[0].formula == "ClNa"
    with pytest.raises(InputError, match="--species 1=Sx: expected"):
        parse_species(["1=Sx"])


def test_a_remark_stays_with_the_structure(tmp_path, caplog):
    from ase.constraints import FixAtoms

    atoms = bulk("Cu")
    atoms.set_constraint(FixAtoms([0]))
    ase.io.write(tmp_path / "a.traj", atoms)
    (found,) = from_files(tmp_path / "a.traj")
    assert found.generator_metadata["remarks"] == ["constraints (FixAtoms) are not kept"]
    generate(GenerateConfig(sources=[Files(count=9, paths=(tmp_path / "a.traj",))]), tmp_path / "out", seed=1, workers=1)
    assert "source files, 1 structures: constraints (FixAtoms) are not kept" in caplog.text


@pytest.mark.parametrize("ending", ["h5", "extxyz", "db"])
def test_a_remark_stays_with_the_structure_that_is_converted(tmp_path, ending):
    """As ``generate`` keeps it, and through a second conversion."""
    content = crystal('energy=-1 electronic_temperature=300 pbc="T T T"') + crystal('energy=-2 pbc="T T T"')
    (tmp_path / "a.xyz").write_text(content)
    convert(tmp_path / "a.xyz", tmp_path / f"a.{ending}")
    convert(tmp_path / f"a.{ending}", tmp_path / "b.h5")
    said = [structure.generator_metadata.get("remarks", []) for structure in open_dataset(tmp_path / "b.h5")]
    assert said == [["ignored: electronic_temperature"], []]


DUMP = (
    "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n3\nITEM: BOX BOUNDS pp pp pp\n0 4\n0 4\n0 4\nITEM: ATOMS id element x y z\n"
)
ROWS = ("1 Cu 0 0 0\n", "2 Cu 2 2 2\n", "3 Cu 2 0 2\n", "4 Cu 0 2 2\n")


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (ROWS[:2], "3 atoms are stated, 2 whole rows follow"),
        (ROWS, "3 atoms are stated, 4 whole rows follow"),
        ((*ROWS[:2], "3 Cu 2\n"), "3 atoms are stated, 2 whole rows follow"),
        ((*ROWS[:2], ROWS[1]), "an atom id occurs twice"),
    ],
)
def test_a_dump_that_was_cut_is_refused_with_its_frame(tmp_path, rows, why):
    path = tmp_path / "cut.lammpstrj"
    path.write_text(DUMP + "".join(ROWS[:3]) + DUMP + "".join(rows))
    with pytest.raises(InputError, match=rf"frame 1: wrong_count: {why}"):
        list(read_structures(path))


def test_the_charges_of_atoms_are_a_net_charge(tmp_path):
    header = HEADER + ":charge:R:1"
    path = tmp_path / "ion.extxyz"
    path.write_text(f'2\n{header} energy=-1 pbc="T T T"\nCu 0 0 0 0 0 0 0.5\nCu 2 2 2 0 0 0 0.5\n')
    with pytest.raises(InputError, match="net charge of 1"):
        list(read_structures(path))


@pytest.mark.parametrize(("facts", "lacking"), [("energy=-1", "forces"), ("", "energy")])
def test_half_of_the_labels_is_named(tmp_path, caplog, facts, lacking):
    columns = "" if facts else ":forces:R:3"
    row = "" if facts else " 0 0 0.1"
    path = tmp_path / "half.extxyz"
    path.write_text(
        f'2\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3{columns} {facts} pbc="T T T"\n'
        f"Cu 0 0 0{row}\nCu 2 2 2{row}\n"
    )
    with caplog.at_level(logging.WARNING, logger="potstill"):
        convert(path, tmp_path / "o.h5")
    assert f"has no {lacking} beside it" in caplog.text


def test_a_poscar_with_more_symbols_than_counts(tmp_path):
    path = tmp_path / "POSCAR"
    path.write_text("x\n1.0\n4 0 0\n0 4 0\n0 0 4\nNa Cl K\n1 1\nDirect\n0 0 0\n.5 .5 .5\n")
    with pytest.raises(InputError, match="3 symbols are stated, and 2 counts"):
        list(read_structures(path))


def test_an_absurd_energy_or_name_hides_no_verdict(tmp_path):
    from potstill.cli.audit import audit as command

    path = tmp_path / os.fsdecode(b"f\xe9.extxyz")
    labelled(path, 'energy=1e30 pbc="T T T"')
    with pytest.raises(typer.Exit) as stop:
        command(path, out=tmp_path / "out", teacher="", gates=None)
    assert stop.value.exit_code == 3
    assert {"audit.json", "audit.html", "audit.md"} <= {p.name for p in (tmp_path / "out").iterdir()}


def test_a_stress_of_six_numbers_is_voigt_in_the_order_of_ase(tmp_path):
    path, full = tmp_path / "t.xyz", [[0.1, 0.6, 0.5], [0.6, 0.2, 0.4], [0.5, 0.4, 0.3]]
    six = "0.1 0.2 0.3 0.4 0.5 0.6"
    spellings = (f'stress="{six}"', f"stress=[{six.replace(' ', ', ')}]", f'REF_stress="{six}"')
    for stated in spellings:
        if stated.startswith("REF_"):
            facts = f'REF_energy=-1 {stated} pbc="T T T"'
            path.write_text(crystal(facts).replace("forces:R:3", "REF_forces:R:3"))
        else:
            labelled(path, f'energy=-1 {stated} pbc="T T T"')
        (read,) = read_structures(path)
        np.testing.assert_allclose(read.labels.stress, full, atol=1e-6, err_msg=stated)
    atoms = Atoms("Cu2", [[0, 0, 0], [2, 2, 2.5]], cell=[4, 4, 5], pbc=True)
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.ones((2, 3)), stress=np.array(six.split(), float))
    for name in ("t.traj", "t.db", "t.json"):
        ase.io.write(tmp_path / name, atoms)
        (read,) = read_structures(tmp_path / name)
        np.testing.assert_allclose(read.labels.stress, full, atol=1e-12, err_msg=name)


CIF = """data_x
_cell_length_a 4
_cell_length_b 4
_cell_length_c 4
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Na1 Na 0 0 0
Cl1 Cl 0.5 {x} 0.5
"""
DATA = "made by hand\n\n{n} atoms\n1 atom types\n\n0 4 xlo xhi\n0 4 ylo yhi\n0 4 zlo zhi\n\nMasses\n\n1 28.0855\n\n"
DATA += "Atoms # atomic\n\n1 1 0 0 0\n2 1 2 2 2\n"
POSCAR = "x\n1.0\n4 0 0\n0 4 0\n0 0 4\nNa Cl\n1 1\nDirect\n0 0 0\n.5 .5 .5\n"


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("POSCAR", POSCAR + ".1 .1 .1\n", "2 atoms are stated, 3 positions follow"),
        ("x.cif", CIF.format(x="?"), "_atom_site_fract_y is '[?]' for 1 sites, expected a number"),
        ("x.cif", CIF.format(x="."), "_atom_site_fract_y is '.' for 1 sites, expected a number"),
        ("x.data", DATA.format(n=3), "3 atoms are stated, 2 rows follow below Atoms"),
        ("x.data", DATA.format(n=1), "1 atoms are stated, 2 rows follow below Atoms"),
        ("x.xyz", "1\n\nCu 2e9 0 0\n", "an atom reaches 2e\\+09 Å"),
    ],
)
def test_a_file_that_contradicts_itself_is_named_with_its_fault(tmp_path, name, text, why):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=why) as error:
        list(read_structures(path))
    assert name in str(error.value)
    assert "frame 0" in str(error.value)
    with pytest.raises(InputError, match=why):
        from_files(path)


def test_velocities_of_a_contcar_are_no_positions(tmp_path):
    path = tmp_path / "CONTCAR"
    path.write_text(POSCAR + "\n0.01 0.02 0.03\n0.01 0.02 0.03\n")
    (read,) = read_structures(path)
    assert len(read) == 2
    path = tmp_path / "x.data"
    path.write_text(DATA.format(n=2) + "\nVelocities\n\n1 0 0 0\n2 0 0 0\n")
    (read,) = read_structures(path)
    assert (len(read), read.formula) == (2, "Si")
