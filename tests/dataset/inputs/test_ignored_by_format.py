"""Columns, sections, records and keywords of formats of their own that no reader takes: each is stated in a remark."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from potstill.dataset.inputs import Frame, ReadOptions, UnusableError, open_frames

DATA = """title {title}

2 atoms
1 atom types

0 4.05 xlo xhi
0 4.05 ylo yhi
0 4.05 zlo zhi

Masses

1 26.98

Atoms  # atomic

1 1 0 0 0
2 1 {x} 2.0 0
"""
DUMP = """ITEM: TIMESTEP
0
ITEM: NUMBER OF ATOMS
2
ITEM: BOX BOUNDS pp pp pp
0 4.05
0 4.05
0 4.05
ITEM: ATOMS id type element x y z {columns}
1 1 Al 0 0 0 1 2
2 1 Al {x} 2.0 0 1 2
"""
POSCAR = "Al\n1.0\n{a} 0 0\n0 4.05 0\n0 0 4.05\nAl\n2\nDirect\n0 0 0\n{x} 0.5 0\n"
CIF = """data_a
{more}
_cell_length_a 4.05
_cell_length_b 4.05
_cell_length_c 4.05
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
{column}
Al1 Al 0 0 0 1
Al2 Al 0.5 0.5 0 1
"""
PDB = (
    "CRYST1   10.000   10.000   10.000  90.00  90.00  90.00 P 1           1\n"
    "ATOM      1  O   HOH A   1       0.000   0.000   0.119  1.00  0.00           O  \n"
    "ATOM      2  H1  HOH A   1       0.000   0.763  -0.477  1.00  0.00           H  \n"
    "ATOM      3  H2  HOH A   1       0.000  -0.763  -0.477  1.00  0.00           H  \n"
)
CP2K = """&FORCE_EVAL
  &DFT
    CHARGE {charge}
  &END DFT
  &SUBSYS
    &CELL
      A {a} 0 0
      B 0 8 0
      C 0 0 8
      PERIODIC XYZ
    &END CELL
    &COORD
O 0 0 0.119
H 0 0.763 -0.477
H 0 -0.763 -0.477
    &END COORD
    &KIND O
      BASIS_SET DZVP
      POTENTIAL GTH-PBE-q6
      {kind}
    &END KIND
    {more}
    &TOPOLOGY
      NUMBER_OF_ATOMS 3
      MULTIPLE_UNIT_CELL {copies} 1 1
    &END TOPOLOGY
  &END SUBSYS
&END FORCE_EVAL
"""


def read(path: Path, content: str, **options) -> Frame:
    path.write_text(content)
    return open_frames(path, ReadOptions(**options)).frame(0)


def cp2k(charge: str = "0", a: str = "8.0", kind: str = "", more: str = "", copies: str = "1") -> str:
    return CP2K.format(charge=charge, a=a, kind=kind, more=more, copies=copies)


def refusal_of(path: Path, content: str) -> str:
    with pytest.raises(UnusableError) as refusal:
        read(path, content)
    return refusal.value.reason


class TestLammps:
    @pytest.mark.parametrize(
        "title", ["# units: electron", "units electron", "unit style is lj", "units = cgs", "written in units Electron"]
    )
    def test_units_in_the_title_of_a_data_file(self, tmp_path, title):
        assert refusal_of(tmp_path / "a.data", DATA.format(title=title, x="2.0")) == "units"

    @pytest.mark.parametrize("title", ["units: metal", "units real", "unit cell of aluminium", "3 units repeated"])
    def test_other_titles_are_read(self, tmp_path, title):
        assert read(tmp_path / "a.data", DATA.format(title=title, x="2.0")).remarks == ()

    def test_units_in_a_comment_of_the_header(self, tmp_path):
        content = DATA.format(title="", x="2.0").replace("2 atoms", "2 atoms # units electron")
        assert refusal_of(tmp_path / "a.data", content) == "units"

    def test_an_unknown_section_is_named(self, tmp_path):
        content = DATA.format(title="", x="2.0")
        assert read(tmp_path / "a.data", f"{content}\nVelocities\n\n1 0 0 0\n2 0 0 0\n").remarks == ()
        assert read(tmp_path / "b.data", f"{content}\nCharges\n\n1 1.0\n2 0.0\n").remarks == ("ignored: Charges",)

    def test_a_comment_behind_the_style_of_atoms(self, tmp_path):
        content = DATA.format(title="", x="2.0").replace("# atomic", "# atomic # mine")
        assert read(tmp_path / "a.data", content).structure.atomic_numbers.tolist() == [13, 13]

    def test_a_box_of_three_vectors_is_refused_by_name(self, tmp_path):
        content = DATA.format(title="", x="2.0").replace("0 4.05 xlo xhi", "4.05 0 0 avec")
        content = content.replace("0 4.05 ylo yhi", "0 4.05 0 bvec").replace("0 4.05 zlo zhi", "0 0 4.05 cvec")
        assert refusal_of(tmp_path / "a.data", content) == "no_cell"

    def test_columns_and_items_of_a_dump(self, tmp_path):
        assert read(tmp_path / "a.lammpstrj", DUMP.format(columns="vx vy", x="2.0")).remarks == ()
        content = DUMP.format(columns="mux c_pe", x="2.0").replace("ITEM: NUMBER", "ITEM: MINE\n1\nITEM: NUMBER")
        assert read(tmp_path / "b.lammpstrj", content).remarks == ("ignored: c_pe, mux", "ignored: MINE")


class TestFortranNumbers:
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("a.data", lambda x, _: DATA.format(title="", x=x)),
            ("a.lammpstrj", lambda x, _: DUMP.format(columns="vx vy", x=x)),
            ("POSCAR", lambda x, a: POSCAR.format(x=x, a=a)),
            ("a.restart", lambda x, a: cp2k(a=a).replace("0.119", x)),
            (
                "a.xyz",
                lambda x, a: f'2\nLattice="{a} 0 0 0 8 0 0 0 8"\nAl 0 0 0\nAl {x} 0 0\n',
            ),
        ],
    )
    def test_they_are_numbers_in_every_format(self, tmp_path, name: str, content: Callable[[str, str], str]):
        plain = read(tmp_path / name, content("2.0", "8.0")).structure
        (tmp_path / "d").mkdir()
        fortran = read(tmp_path / "d" / name, content("0.2d1", "80.0D-1")).structure
        np.testing.assert_allclose(fortran.positions, plain.positions)
        np.testing.assert_allclose(fortran.cell, plain.cell)

    def test_a_label(self, tmp_path):
        content = "1\nProperties=species:S:1:pos:R:3:forces:R:3 energy=-1.5d1\nAl 0 0 0 0 0 1.d-1\n"
        labels = read(tmp_path / "a.xyz", content).structure.labels
        assert (labels.energy, labels.forces[0, 2]) == (-15.0, 0.1)


class TestCif:
    @pytest.mark.parametrize(
        ("more", "column", "says"),
        [
            ("_total_charge 1", "_atom_site_occupancy", "ignored: _total_charge"),
            ("", "_atom_site_charge", "ignored: _atom_site_charge"),
            ("_space_group_magn.number_BNS 1.1", "_atom_site_occupancy", "ignored: _space_group_magn_number_bns"),
        ],
    )
    def test_an_unknown_data_name_is_named(self, tmp_path, more, column, says):
        assert read(tmp_path / "a.cif", CIF.format(more=more, column=column)).remarks == (says,)

    @pytest.mark.parametrize(
        "more",
        [
            "_journal_name_full 'Acta Cryst.'\n_refine_ls_R_factor_gt 0.02\n_cell_volume 66.4",
            "_publ_section_title\n;\n about _total_charge\n;\n_chemical_name_common 'a _strange name'",
        ],
    )
    def test_names_of_a_paper_are_silent(self, tmp_path, more):
        assert read(tmp_path / "a.cif", CIF.format(more=more, column="_atom_site_occupancy")).remarks == ()

    def test_units_are_compared(self, tmp_path):
        assert (
            refusal_of(tmp_path / "a.cif", CIF.format(more="_cell_length_units nm", column="_atom_site_occupancy"))
            == "units"
        )


class TestPdb:
    def test_an_unknown_record_is_named(self, tmp_path):
        assert read(tmp_path / "a.pdb", f"REMARK mine\n{PDB}TER\nCONECT    1    2\nEND\n").remarks == ()
        assert read(tmp_path / "b.pdb", f"{PDB}QSITE  1\nEND\n").remarks == ("ignored: QSITE",)

    def test_a_cell_in_small_letters_is_refused(self, tmp_path):
        assert refusal_of(tmp_path / "a.pdb", PDB.replace("CRYST1", "cryst1")) == "unreadable"


class TestSdf:
    @pytest.mark.parametrize(
        ("name", "value", "reason"),
        [("charge", "1", "charged"), ("PUBCHEM_TOTAL_CHARGE", "-1", "charged"), ("spin_multiplicity", "3", "radical")],
    )
    def test_a_charge_or_spin_among_the_properties(self, tmp_path, mol_block_of, name, value, reason):
        content = f"{mol_block_of('CCO')}>  <{name}>\n{value}\n\n$$$$\n"
        assert refusal_of(tmp_path / "a.sdf", content) == reason
        assert read(tmp_path / "a.sdf", content, ignore_charge=True).structure.formula == "C2H6O"

    def test_an_unknown_property_is_named(self, tmp_path, mol_block_of):
        content = mol_block_of("CCO") + "".join(
            f">  <{name}>\n1\n\n" for name in ("PUBCHEM_COMPOUND_CID", "SMILES", "multiplicity", "protonation_state")
        )
        assert read(tmp_path / "a.sdf", f"{content}$$$$\n").remarks[0] == "ignored: protonation_state"


class TestPymatgenJson:
    def test_unknown_keys_and_properties_are_named(self, tmp_path):
        pymatgen = pytest.importorskip("pymatgen.core")
        crystal = pymatgen.Structure(pymatgen.Lattice.cubic(4.05), ["Al"], [[0, 0, 0]], site_properties={"layer": [1]})
        assert read(tmp_path / "a.json", json.dumps({**crystal.as_dict(), "nelect": 7})).remarks == (
            "ignored: layer, nelect",
        )
        assert refusal_of(tmp_path / "b.json", json.dumps({**crystal.as_dict(), "units": "bohr"})) == "units"
        crystal.properties = {"total_charge": 1}
        assert refusal_of(tmp_path / "c.json", json.dumps(crystal.as_dict())) == "charged"


class TestCp2k:
    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (cp2k(), ()),
            (cp2k(kind="DFT_PLUS_U_X 3"), ("ignored: &KIND DFT_PLUS_U_X",)),
            (cp2k(more="&SHELL_COORD\n O 1 2 3\n &END SHELL_COORD"), ("ignored: &SHELL_COORD",)),
            (cp2k().replace("PERIODIC XYZ", "PERIODIC XYZ\n SCALE_FACTOR 2"), ("ignored: &CELL SCALE_FACTOR",)),
            (cp2k(copies="2"), ("ignored: MULTIPLE_UNIT_CELL 2 1 1",)),
            (cp2k() * 2, ("2 sections &COORD are there, and the first is taken",)),
        ],
    )
    def test_an_unknown_keyword_is_named(self, tmp_path, content, says):
        assert read(tmp_path / "a.restart", content).remarks == says

    @pytest.mark.parametrize(("charge", "reason"), [("${Q}", "unreadable"), ("= 1", "charged"), ("1.0", "charged")])
    def test_a_charge_that_is_stated_otherwise(self, tmp_path, charge, reason):
        assert refusal_of(tmp_path / "a.restart", cp2k(charge=charge)) == reason
