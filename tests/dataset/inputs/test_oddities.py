"""Files as users bring them: each gives what it states, or a refusal by name; nothing is made up or dropped in silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from potstill.dataset.convert import convert
from potstill.dataset.inputs import Frame, ReadOptions, UnusableError, open_frames

LATTICE = 'Lattice="4 0 0 0 4 0 0 0 4"'
COLUMNS = "Properties=species:S:1:pos:R:3:forces:R:3"
ROWS = "Cu 0 0 0 0.1 0 0\nCu 0 2 2 -0.1 0 0\n"


def only(path: Path, content: str | bytes, **options) -> Frame:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return open_frames(path, ReadOptions(**options)).frame(0)


def xyz(facts: str, columns: str = COLUMNS, rows: str = ROWS, lattice: str = LATTICE) -> str:
    return f"2\n{lattice} {columns} {facts}\n{rows}"


def cif(rows: str, facts: str = "", group: str = "P 1", types: str = "_atom_site_type_symbol\n", gamma: int = 90) -> str:
    cell = f"_cell_length_a 4.0(2)\n_cell_length_b 4\n_cell_length_c 4\n_cell_angle_alpha 90\n_cell_angle_beta 90\n{facts}"
    sites = f"loop_\n_atom_site_label\n{types}_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"
    return f"data_x\n{cell}_cell_angle_gamma {gamma}\n_symmetry_space_group_name_H-M '{group}'\n{sites}{rows}"


class TestXyz:
    @pytest.mark.parametrize(
        ("content", "reason", "says"),
        [
            (xyz("", "Properties=species:S:1:frac_pos:R:3", "Cu 0 0 0\nCu 0 0.5 0.5\n"), "no_coordinates", "frac_pos"),
            (xyz("energy=-1", rows="Cu 0 0 0 0.1 0\nCu 0 2 2 0 0 0\n"), "wrong_count", "atom 0 has 6 columns, expected 7"),
            (xyz("energy=-1", lattice='lattice="4 0 0 0 4 0 0 0 4"'), "unreadable", "spell it 'Lattice'"),
            (xyz("energy=-1", lattice='cell="4 0 0 0 4 0 0 0 4"'), "no_cell", "'cell' looks like a cell"),
            (xyz('energy=-1 PBC="T T F"'), "unreadable", "spell it 'pbc'"),
            (xyz("energy=-1", COLUMNS.lower()), "unreadable", "spell it 'Properties'"),
            (xyz("energy=-1 energy=-2"), "unreadable", "'energy' is stated twice"),
            (xyz('energy=-1 stress="1 2 3 4 5 6 7 8 9"'), "wrong_label", "'stress' is no symmetric tensor"),
            (xyz('energy=-1 REF_stress="1 2 3 4 5 6 7 8 9"'), "wrong_label", "'REF_stress' is no symmetric tensor"),
            (xyz('energy=-1 virial="1 2 3 4 5 6 7 8 9"'), "wrong_label", "'virial' is no symmetric tensor"),
            (xyz("", "Properties=Z:I:1:species:S:1:pos:R:3", "11 Cl 0 0 0\n17 Na 0 2 2\n"), "no_elements", "Cl and Z = 11"),
        ],
    )
    def test_refused_by_name(self, tmp_path, content, reason, says):
        with pytest.raises(UnusableError, match=says) as refusal:
            only(tmp_path / "a.extxyz", content)
        assert refusal.value.reason == reason

    @pytest.mark.parametrize(
        "unit",
        ["energy_unit=Hartree", 'energy_units="kcal/mol"', "stress_unit=GPa", "units=bohr", 'units="kJ/mol"', "units=real",
         "forces_unit=Ha/Bohr", "position_units=nm", "virial_unit=kbar", "energy_unit=meV"],
    )  # fmt: skip
    def test_foreign_units_are_refused(self, tmp_path, unit):
        with pytest.raises(UnusableError, match="expected eV, Å") as refusal:
            only(tmp_path / "a.extxyz", xyz(f"energy=-1 {unit}"))
        assert refusal.value.reason == "units"

    @pytest.mark.parametrize(
        "unit", ["energy_unit=eV", 'units="eV, Angstrom"', "units=metal", "dipole_unit=e*bohr", "time_unit=fs"]
    )
    def test_own_units_and_those_of_other_data_are_taken(self, tmp_path, unit):
        assert only(tmp_path / "a.extxyz", xyz(f"energy=-1 {unit}")).structure.labels.energy == -1.0

    def test_foreign_units_in_an_edited_export_of_potstill_are_refused(self, tmp_path):
        data, export = tmp_path / "a.h5", tmp_path / "b.extxyz"
        (tmp_path / "a.extxyz").write_text(xyz("energy=-1"))
        convert(tmp_path / "a.extxyz", data)
        convert(data, export)
        edited = export.read_text().replace("REF_energy=", "energy_unit=Hartree REF_energy=")
        with pytest.raises(UnusableError, match="energy_unit=Hartree, expected eV"):
            only(tmp_path / "c.extxyz", edited)

    def test_bohr_in_a_comment_is_said(self, tmp_path):
        frame = only(tmp_path / "a.xyz", "2\ncoordinates in bohr\nH 0 0 0\nH 0 0 1.4\n")
        assert "the comment says 'bohr', and positions are taken in Å" in frame.remarks[0]

    def test_names_of_atoms_in_capitals_are_said(self, tmp_path):
        frame = only(tmp_path / "a.xyz", "2\nalpha\nCA 0 0 0\nC 0 0 1.5\n")
        assert any("CA as Ca" in remark for remark in frame.remarks)
        assert only(tmp_path / "b.xyz", "2\nalpha\nCa 0 0 0\nC 0 0 1.5\n").remarks == ()

    def test_a_column_of_fixed_atoms_is_a_constraint(self, tmp_path):
        columns = f"{COLUMNS}:fixed:L:1"
        rows = "Cu 0 0 0 {} 0 0 T\nCu 0 2 2 -0.1 0 0 F\n"
        with pytest.raises(UnusableError, match="forces after constraints"):
            only(tmp_path / "a.extxyz", xyz("energy=-1", columns, rows.format(0)))
        frame = only(tmp_path / "b.extxyz", xyz("energy=-1", columns, rows.format(0.1)))
        assert frame.remarks == ("constraints (column 'fixed') are not kept",)

    @pytest.mark.parametrize("key", ["epot=-1", "E=-1", "U0=-1", "TOTEN=-1", "dft_e=-1"])
    def test_names_of_energies_are_known(self, tmp_path, key):
        frame = only(tmp_path / "a.extxyz", xyz(key))
        assert frame.structure.labels is None
        assert any(f"'{key.split('=')[0]}'" in remark for remark in frame.remarks)

    @pytest.mark.parametrize(
        "change",
        [
            lambda text: b"\xef\xbb\xbf" + text,
            lambda text: text.replace(b"\n", b"\r\n"),
            lambda text: text.replace(b"\n", b"\r"),
            lambda text: b"\n\n" + text.replace(b" ", b"\t ") + b"\n\n",
        ],
        ids=["byte order mark", "Windows", "old Mac", "tabs and empty lines"],
    )
    def test_other_ends_of_lines(self, tmp_path, change):
        labels = only(tmp_path / "a.extxyz", change(xyz("energy=-1").encode())).structure.labels
        assert (labels.energy, labels.forces[1, 0]) == (-1.0, -0.1)


class TestCif:
    @pytest.mark.parametrize(
        ("content", "numbers"),
        [
            (cif("CU1 CU 0 0 0\n"), [29]),
            (cif("x CL1- 0 0 0\ny NA+ 0.5 0.5 0.5\n"), [17, 11]),
            (cif("x D 0 0 0\ny Fe3+ 0.5 0.5 0.5\n"), [1, 26]),
            (cif("CU1 CU1+ 0 0 0\nO1 O2- .5 .5 .5\n", "_chemical_formula_sum 'CU1 O1'\n_cell_formula_units_Z 1\n"), [29, 8]),
            (cif("Ca1 0 0 0\nOW1 .5 .5 .5\n", types=""), [20, 8]),
            (cif("CA1 0 0 0\nO1 .5 .5 .5\n", "_chemical_formula_sum 'Ca O'\n", types=""), [20, 8]),
            (cif("CA1 0 0 0\nO1 .5 .5 .5\n", "_chemical_formula_sum 'C O'\n", types=""), [6, 8]),
            (cif("Si1 Si 0 0 0\n", "_symmetry_equiv_pos_as_xyz ?\n", "F m -3 m"), [14] * 4),
        ],
    )
    def test_elements(self, tmp_path, content, numbers):
        assert only(tmp_path / "a.cif", content).structure.atomic_numbers.tolist() == numbers

    @pytest.mark.parametrize(
        ("content", "reason", "says"),
        [
            (cif("CA1 0 0 0\n", types=""), "no_elements", "may be C or Ca"),
            (cif("x NH4 0 0 0\n"), "no_elements", "'NH4'"),
            (cif("x OH 0 0 0\n"), "no_elements", "'OH'"),
            (cif("x Wat 0 0 0\n"), "no_elements", "'Wat'"),
            (
                cif("Si1 Si 0 0 0\n", "_symmetry_equiv_pos_as_xyz 'x,y,z'\n", "F d -3 m"),
                "wrong_operations",
                "lists 1 symmetry operations, and the group F d -3 m has 192",
            ),
            (cif("Cu1 Cu 0.333 0.667 0.25\n", group="P 63/m m c", gamma=120), "too_close", "0.333 in the place of 1/3"),
        ],
    )
    def test_refused_by_name(self, tmp_path, content, reason, says):
        with pytest.raises(UnusableError, match=says) as refusal:
            only(tmp_path / "a.cif", content)
        assert refusal.value.reason == reason

    def test_operations_of_a_file_whose_formula_fits_are_taken(self, tmp_path):
        facts = "_symmetry_equiv_pos_as_xyz 'x,y,z'\n_chemical_formula_sum 'Si'\n_cell_formula_units_Z 1\n"
        assert len(only(tmp_path / "a.cif", cif("Si1 Si 0 0 0\n", facts, "F d -3 m")).structure) == 1


class TestCp2k:
    HEAD = "&FORCE_EVAL\n&DFT\n&POISSON\nPERIODIC NONE\n&END POISSON\n&END DFT\n&SUBSYS\n&CELL\n{}&END CELL\n"
    TAIL = "&COORD\nO 0 0 0\nH 0 0 0.96\nH .9 0 -.3\n&END COORD\n&END SUBSYS\n&END FORCE_EVAL\n"

    @pytest.mark.parametrize(
        "cell", ["ABC 10 10 10\n", "A [bohr] 9 0 0\nB [bohr] 0 9 0\nC [bohr] 0 0 9\n", "CELL_FILE_NAME x\n"]
    )
    def test_another_way_to_state_the_cell_is_refused(self, tmp_path, cell):
        with pytest.raises(UnusableError, match="does not state the vectors") as refusal:
            only(tmp_path / "a.restart", self.HEAD.format(cell) + self.TAIL)
        assert refusal.value.reason == "no_cell"

    @pytest.mark.parametrize(("line", "pbc"), [("", [True] * 3), ("PERIODIC XY\n", [True, True, False])])
    def test_periodic_axes_are_those_of_the_cell(self, tmp_path, line, pbc):
        cell = f"A 10 0 0\nB 0 10 0\nC [angstrom] 0 0 12\n{line}"
        structure = only(tmp_path / "a.restart", self.HEAD.format(cell) + self.TAIL).structure
        np.testing.assert_allclose(np.diag(structure.cell), [10, 10, 12])
        assert structure.pbc.tolist() == pbc


def test_a_column_of_species_that_holds_types_is_no_symbol(tmp_path):
    path = tmp_path / "a.extxyz"
    path.write_text("1\nProperties=id:I:1:species:I:1:pos:R:3\n1 1 0.0 0.0 0.0\n")
    with pytest.raises(UnusableError, match="write chemical symbols, as species:S:1") as caught:
        open_frames(path).frame(0)
    assert caught.value.reason == "no_elements"


def test_a_virtual_site_is_named_as_what_it_may_be(tmp_path):
    path = tmp_path / "tip4p.gro"
    names = ("OW", "HW1", "HW2", "MW")
    rows = "".join(f"    1SOL  {name:>5}{k + 1:5d}{0.1 * k:8.3f}{0.0:8.3f}{0.0:8.3f}\n" for k, name in enumerate(names))
    path.write_text(f"Water\n    4\n{rows}   1.00000   1.00000   1.00000\n")
    with pytest.raises(UnusableError, match="delete the rows of MW, if these are virtual sites"):
        open_frames(path, ReadOptions(species=(("OW", "O"), ("HW1", "H"), ("HW2", "H")))).frame(0)


@pytest.mark.parametrize(
    ("comment", "rows", "species", "symbols", "said"),
    [
        ("Atoms. Timestep: 0", "1 0 0 0\n2 1.6 0 0", {"1": "Si", "2": "O"}, "SiO", ""),
        ("", "OW 0 0 0\nHW1 0.96 0 0\nHW2 0 0.96 0", {"OW": "O", "HW1": "H", "HW2": "H"}, "OHH", ""),
        ("", "CA 0 0 0\nN 1.47 0 0", {"CA": "C"}, "CN", ""),
        ("Properties=id:I:1:species:I:1:pos:R:3", "1 1 0 0 0\n2 2 1.6 0 0", {"1": "Si", "2": "O"}, "SiO", ""),
        ("", "Ca 0 0 0\nN 2.2 0 0", {"Ca": "C"}, "CaN", "elements are those of the file"),
    ],
)
def test_species_of_the_user_name_the_types_of_an_xyz_file(tmp_path, comment, rows, species, symbols, said):
    path = tmp_path / "a.xyz"
    path.write_text(f"{len(rows.splitlines())}\n{comment}\n{rows}\n")
    frame = open_frames(path, ReadOptions(species=tuple(species.items()))).frame(0)
    assert "".join(frame.structure.to_ase().get_chemical_symbols()) == symbols
    assert any(remark.startswith("elements are those of the file") for remark in frame.remarks) == bool(said)


def test_species_that_no_reader_uses_are_said(tmp_path):
    path = tmp_path / "a.gen"
    path.write_text("2 C\nTi O\n1 1 0.0 0.0 0.0\n2 2 1.6 0.0 0.0\n")
    frame = open_frames(path, ReadOptions(species=(("Ti", "Zr"),))).frame(0)
    assert "the file names its elements, and the option species is not used" in frame.remarks
    assert not any("species" in remark for remark in open_frames(path).frame(0).remarks)


@pytest.mark.parametrize("title", ["charge = 1", "total charge: -1", "Cu slab, charge=+2"])
def test_a_charge_in_the_title_of_a_format_without_one_is_said(tmp_path, title):
    files = {
        "POSCAR": f"{title}\n1.0\n3 0 0\n0 3 0\n0 0 3\nCu\n1\nDirect\n0 0 0\n",
        "a.gro": f"{title}\n    1\n    1CU      CU    1   0.000   0.000   0.000\n   1.00000   1.00000   1.00000\n",
        "a.data": f"{title}\n\n1 atoms\n1 atom types\n0 3 xlo xhi\n0 3 ylo yhi\n0 3 zlo zhi\n\n"
        "Masses\n\n1 63.546\n\nAtoms # atomic\n\n1 1 0 0 0\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.write_text(text)
        remarks = open_frames(path, ReadOptions(species=(("CU", "Cu"),))).frame(0).remarks
        assert any(remark.startswith("the title says 'charge") for remark in remarks), (name, remarks)
        path.write_text(text.replace(title, "charge 0, discharge 3 of a battery"))
        assert not any(
            "the title says" in r for r in open_frames(path, ReadOptions(species=(("CU", "Cu"),))).frame(0).remarks
        )


@pytest.mark.parametrize("key", ["gradient", "dft_total_gradient", "grad", "dE_dR", "neg_forces"])
def test_a_gradient_is_no_force(tmp_path, key):
    path = tmp_path / "a.extxyz"
    rows = "O 0 0 -0.5 0 0 -1.0\nH 0.76 0 0.19 0.1 0 0.5\nH -0.76 0 0.19 -0.1 0 0.5\n"
    path.write_text(f"3\nProperties=species:S:1:pos:R:3:{key}:R:3 energy=-2076.2\n{rows}")
    with pytest.raises(UnusableError, match=f"'{key}' is a gradient, minus the forces, by its name"):
        open_frames(path, ReadOptions(forces_key=key)).frame(0)


@pytest.mark.parametrize("key", ["pressure_tensor", "pressure", "total_pressure"])
def test_a_pressure_is_no_stress(tmp_path, key):
    path = tmp_path / "a.extxyz"
    cell = 'Lattice="4 0 0 0 4 0 0 0 4" pbc="T T T" energy=-1.0'
    path.write_text(f'1\n{cell} {key}="1 0 0 0 2 0 0 0 3" Properties=species:S:1:pos:R:3:forces:R:3\nCu 0 0 0 0 0 0\n')
    with pytest.raises(UnusableError, match=f"'{key}' is a pressure, minus the stress, by its name"):
        open_frames(path, ReadOptions(stress_key=key)).frame(0)
