"""Files as other programs write them: nothing of what they state is dropped in silence."""

from __future__ import annotations

import bz2
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from potstill.dataset.inputs import Frame, ReadOptions, UnusableError, open_frames

IPI = "# CELL(abcABC): 4.05 4.05 5.0 90.0 90.0 120.0 Step: 0 Bead: 0 positions{angstrom} cell{angstrom}"
DUMP = """ITEM: TIMESTEP
0
ITEM: NUMBER OF ATOMS
2
ITEM: BOX BOUNDS pp pp pp
0 4
0 4
0 4
ITEM: ATOMS id element x y z
1 Al 0 0 0
2 Al 2 2 0
"""
DATA = """LAMMPS data

2 atoms
1 atom types

0 4 xlo xhi
0 4 ylo yhi
0 4 zlo zhi

Masses

1 26.98

Atoms # atomic

1 1 0 0 0
2 1 2 2 0
"""
RESTART = "&SUBSYS\n&CELL\nA 4 0 0\nB 0 4 0\nC 0 0 4\n&END CELL\n&COORD\nAl 0 0 0\nAl 2 2 0\n&END COORD\n&END SUBSYS\n"
CELL = "".join(f"_cell_length_{axis} 6\n" for axis in "abc") + "".join(
    f"_cell_angle_{name} 90\n" for name in ("alpha", "beta", "gamma")
)


def read(path: Path, content: str | bytes, **options) -> Frame:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return open_frames(path, ReadOptions(**options)).frame(0)


def refused(path: Path, content: str | bytes, reason: str, says: str) -> None:
    with pytest.raises(UnusableError, match=says) as refusal:
        read(path, content)
    assert refusal.value.reason == reason


def aluminium(comment: str) -> str:
    return f"2\n{comment}\nAl 0 0 0\nAl 2 2 0\n"


def cif(columns: str, rows: str, head: str = CELL) -> str:
    names = "_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"
    return f"data_x\n{head}loop_\n{names}{columns}{rows}"


class TestInputOfCp2k:
    @pytest.mark.parametrize(
        "content",
        [
            RESTART.replace("&CELL\n", "&CELL # of the crystal\n"),
            RESTART.replace("&END CELL", "&END").replace("&END COORD", "&END"),
            RESTART.replace("A 4 0 0\n", "A 4 0 0 ! Å\n"),
            RESTART.replace("&COORD\n", "&COORD\n# O 1 1 1\n"),
        ],
        ids=["comment behind the section", "ends without names", "comment behind a vector", "row in a comment"],
    )
    def test_cell_and_atoms(self, tmp_path, content):
        structure = read(tmp_path / "a.restart", content).structure
        assert structure.pbc.all()
        assert structure.cell[0, 0] == 4.0
        assert structure.atomic_numbers.tolist() == [13, 13]

    @pytest.mark.parametrize(("end", "scf"), [("&END DFT", ""), ("&END", "&SCF\nMAX_SCF 9\n&END\n")])
    def test_charge_below_a_section_that_ends_without_a_name(self, tmp_path, end, scf):
        refused(tmp_path / "a.restart", f"&DFT\n{scf}CHARGE 1\n{end}\n{RESTART}", "charged", "net charge of 1")

    def test_ghost_of_a_kind_that_ends_without_a_name(self, tmp_path):
        refused(tmp_path / "a.restart", f"&KIND Al\nGHOST\n&END\n{RESTART}", "unknown_element", "ghost")


class TestCellOfAComment:
    def test_that_of_ipi_is_read(self, tmp_path):
        structure = read(tmp_path / "a.xyz", aluminium(IPI)).structure
        assert structure.pbc.all()
        np.testing.assert_allclose(structure.cell[1], [-4.05 / 2, 4.05 * np.sqrt(0.75), 0], atol=1e-6)

    @pytest.mark.parametrize(
        ("comment", "reason", "says"),
        [
            (IPI.replace("angstrom", "atomic_unit"), "units", "i-PI wrote atomic_unit"),
            (IPI.replace("cell{angstrom}", "cell{atomic_unit}"), "units", "angstrom and atomic_unit"),
            (IPI.partition(" positions")[0], "units", "atomic_unit"),
            (IPI.replace("positions{angstrom}", "forces{atomic_unit}"), "no_coordinates", "wrote forces"),
            ("# CELL(GENH): 4 0 0 0 4 0 0 0 4 positions{angstrom} cell{angstrom}", "no_cell", r"CELL\(GENH\)"),
            ("cell 4.05 4.05 4.05 90 90 90", "no_cell", "the comment states 'cell 4.05 4.05 4.05"),
            ("frame 3, box: 10 x 10 x 12", "no_cell", "the comment states 'box: 10 x 10 x 12'"),
            ("Unitcell [4.0, 4.0, 4.0]", "no_cell", "which is not read; write Lattice="),
        ],
    )
    def test_another_is_refused(self, tmp_path, comment, reason, says):
        refused(tmp_path / "a.xyz", aluminium(comment), reason, says)

    @pytest.mark.parametrize("comment", ["cell 4 of the battery", "supercell 2 2 2 was relaxed", "box office", ""])
    def test_words_alone_are_no_cell(self, tmp_path, comment):
        assert not read(tmp_path / "a.xyz", aluminium(comment)).structure.pbc.any()

    @pytest.mark.parametrize("lattice", ["4 4 4", "4 4 4 90 90 90", "[[4,0,0],[0,4,0],[0,0,4]]"])
    def test_a_lattice_of_other_numbers_is_refused_in_our_words(self, tmp_path, lattice):
        refused(tmp_path / "a.xyz", aluminium(f'Lattice="{lattice}"'), "no_cell", "'Lattice' is not made of nine numbers")


class TestXyz:
    def test_columns_without_elements_are_refused(self, tmp_path):
        content = "1\nProperties=element:S:1:pos:R:3\nAl 0 0 0\n"
        refused(tmp_path / "a.xyz", content, "no_elements", "the columns element, pos have no 'species'")

    @pytest.mark.parametrize("comment", ["-5.07054", "        -76.32  "])
    def test_a_comment_of_one_number_is_said(self, tmp_path, comment):
        assert f"the comment is the number {comment.strip()}" in read(tmp_path / "a.xyz", aluminium(comment)).remarks[0]
        assert read(tmp_path / "a.xyz", aluminium(comment), labels=False).remarks == ()
        assert read(tmp_path / "a.xyz", aluminium("17")).remarks == ()


class TestCif:
    @pytest.mark.parametrize(
        ("content", "reason", "says"),
        [
            (cif("_atom_site_attached_hydrogens\n", "O1 O 0 0 0 2\n"), "wrong_count", "states 2 H atoms without"),
            (cif("_atom_site_calc_flag\n", "C1 C 0 0 0 d\nX1 C .5 0 0 dum\n"), "unknown_element", "a dummy atom"),
            (
                cif("_atom_site_disorder_group\n", "O1 O 0 0 0 .\nC1 C .5 .5 .5 1\nC2 C .6 .5 .5 2\n"),
                "disordered",
                "marks 2 sites as alternatives",
            ),
            (
                cif("", "O1 O 0 0 0\n", CELL.replace("_cell_angle_beta 90\n", "")),
                "no_cell",
                "the cell lacks _cell_angle_beta",
            ),
            (
                cif("", "Fe1 Fe 0 0 0\n", f"{CELL}loop_\n_space_group_symop_magn_operation.id\n"
                    "_space_group_symop_magn_operation.xyz\n1 x,y,z,+1\n2 x+1/2,y+1/2,z,-1\n"),
                "wrong_operations",
                "lists 1 magnetic operations",
            ),
        ],
    )  # fmt: skip
    def test_refused_by_name(self, tmp_path, content, reason, says):
        refused(tmp_path / "a.cif", content, reason, says)

    @pytest.mark.parametrize(
        "content",
        [
            cif("_atom_site_attached_hydrogens\n", "O1 O 0 0 0 0\n"),
            cif("_atom_site_disorder_group\n", "O1 O 0 0 0 .\n"),
            cif("", "O1 O 0 0 0\n", f"{CELL}loop_\n_space_group_symop_magn_operation.id\n"
                "_space_group_symop_magn_operation.xyz\n1 x,y,z,+1\n"),
        ],
        ids=["no hydrogens", "no groups", "magnetic identity"],
    )  # fmt: skip
    def test_columns_that_state_nothing_are_taken(self, tmp_path, content):
        assert len(read(tmp_path / "a.cif", content).structure) == 1


class TestCompressed:
    @pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
    @pytest.mark.parametrize(
        ("name", "content"), [("a.lammpstrj", DUMP), ("a.dump", DUMP), ("data.al", DATA), ("a.restart", RESTART)]
    )
    def test_as_the_file_itself(self, tmp_path, name, content, pack):
        plain = read(tmp_path / name, content).structure
        ending = ".gz" if pack is gzip.compress else ".bz2"
        packed = read(tmp_path / f"{name}{ending}", pack(content.encode())).structure
        np.testing.assert_array_equal(packed.positions, plain.positions)
        np.testing.assert_array_equal(packed.cell, plain.cell)

    def test_a_wrong_ending_is_named(self, tmp_path):
        content = aluminium("")
        refused(tmp_path / "a.xyz", gzip.compress(content.encode()), "unreadable", r"name it a\.xyz\.gz")
        refused(tmp_path / "b.xyz.gz", content, "unreadable", r"name it b\.xyz$")
        refused(tmp_path / "c.xyz.gz", bz2.compress(content.encode()), "unreadable", r"name it c\.xyz\.bz2")


class TestJson:
    @pytest.mark.parametrize("wrap", [lambda s: [s, s], lambda s: {"structure": s, "energy": -27.0}, lambda s: {"a": 1}])
    def test_another_object_is_refused_in_our_words(self, tmp_path, wrap):
        core = pytest.importorskip("pymatgen.core")
        structure = core.Structure(core.Lattice.cubic(4.0), ["Al"], [[0, 0, 0]]).as_dict()
        refused(
            tmp_path / "a.json", json.dumps(wrap(structure)), "unknown_format", "neither a database of ASE nor one Structure"
        )


class TestOutputs:
    @staticmethod
    def vasprun(limit: int, *, cut: bool = False) -> str:
        """Return an output of two ionic steps, of two and three electronic steps."""
        vectors = "".join(f"<v>{row}</v>" for row in ("4 0 0", "0 4 0", "0 0 4"))
        places = "<v>0 0 0</v><v>.5 .5 .02</v>"
        crystal = f"<crystal><varray name='basis'>{vectors}</varray></crystal><varray name='positions'>{places}</varray>"
        energy = "".join(f"<i name='{name}'>-3.7</i>" for name in ("e_fr_energy", "e_wo_entrp", "e_0_energy"))
        labels = "<varray name='forces'><v>.1 0 0</v><v>-.1 0 0</v></varray>"
        labels += "<varray name='stress'><v>10 0 0</v><v>0 10 0</v><v>0 0 10</v></varray>"
        steps = [
            f"<calculation>{f'<scstep><energy>{energy}</energy></scstep>' * n}<structure>{crystal}</structure>{labels}"
            f"<energy>{energy}</energy></calculation>"
            for n in (2, 3)
        ]
        atoms = "<rc><c>Al</c><c>1</c></rc>" * 2
        head = (
            "<?xml version='1.0'?><modeling><generator><i name='program' type='string'>vasp</i></generator>"
            "<kpoints><generation param='Gamma'><v type='int' name='divisions'>1 1 1</v></generation>"
            "<varray name='kpointlist'><v>0 0 0</v></varray><varray name='weights'><v>1</v></varray></kpoints>"
            f"<parameters><i type='int' name='NELM'>{limit}</i></parameters>"
            f"<atominfo><atoms>2</atoms><types>1</types><array name='atoms'><set>{atoms}</set></array></atominfo>"
            f"<structure name='initialpos'>{crystal}</structure>"
        )
        if cut:
            return head + steps[0] + steps[1][:300]
        return f"{head}{''.join(steps)}<structure name='finalpos'>{crystal}</structure></modeling>"

    def test_electronic_steps_that_did_not_converge_are_said(self, tmp_path):
        frame = read(tmp_path / "vasprun.xml", self.vasprun(3))
        assert frame.structure.labels.energy == pytest.approx(-3.7)
        assert any("1 electronic minimization did not converge (1 of 2 took all NELM = 3 steps)" in r for r in frame.remarks)
        packed = read(tmp_path / "vasprun.xml.gz", gzip.compress(self.vasprun(3).encode()))
        assert packed.remarks == frame.remarks

    def test_a_converged_output_has_no_such_remark(self, tmp_path):
        remarks = read(tmp_path / "vasprun.xml", self.vasprun(60)).remarks
        assert not any("converge" in remark or "has no end" in remark for remark in remarks)

    def test_an_output_without_its_end_is_said(self, tmp_path):
        assert any("has no end" in remark for remark in read(tmp_path / "vasprun.xml", self.vasprun(60, cut=True)).remarks)


class TestGromacs:
    HEAD = "water t= {t}\n    2\n"
    SPECIES = (("OW", "O"), ("HW1", "H"))

    def frame(self, t: int, decimals: int = 3) -> str:
        width, rows = decimals + 5, ""
        for k, name in enumerate(("OW", "HW1")):
            rows += f"    1SOL  {name:>5}{k + 1:5d}" + "".join(f"{x:{width}.{decimals}f}" for x in (0.1, 0.2, 0.3 + 0.1 * k))
            rows += "".join(f"{v:{width + 1}.{decimals + 1}f}" for v in (0.1, -0.2, 0.3)) + "\n"
        return self.HEAD.format(t=t) + rows + f"   {1 + 0.1 * t:.5f}   1.00000   1.00000\n"

    def test_all_frames(self, tmp_path):
        path = tmp_path / "a.gro"
        path.write_text(self.frame(0) + self.frame(1))
        opened = open_frames(path, ReadOptions(species=self.SPECIES))
        assert [opened.frame(k).structure.cell[0, 0] for k in range(len(opened))] == pytest.approx([10, 11])

    @pytest.mark.parametrize("decimals", [2, 3, 6])
    def test_any_precision(self, tmp_path, decimals):
        found = read(tmp_path / "a.gro", self.frame(0, decimals), species=self.SPECIES).structure
        np.testing.assert_allclose(found.positions, [[1, 2, 3], [1, 2, 4]])

    @pytest.mark.parametrize("cut", [5, 20, 70, 140])
    def test_a_last_frame_that_is_cut(self, tmp_path, cut):
        path = tmp_path / "a.gro"
        path.write_text((self.frame(0) + self.frame(1))[:-cut])
        opened = open_frames(path, ReadOptions(species=self.SPECIES))
        assert len(opened.frame(0).structure) == 2
        with pytest.raises(UnusableError):
            opened.frame(1)
