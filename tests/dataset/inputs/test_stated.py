"""Facts that a file states in the way of some program, and that a reader would drop: each is read, refused or said."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import ase.io
import pytest
from ase.build import bulk

from potstill.dataset.inputs import Frame, ReadOptions, UnusableError, open_frames
from potstill.dataset.inputs.unusable import text_of

MARK = b"\xef\xbb\xbf"
WATER = (
    "CRYST1   10.000   10.000   10.000  90.00  90.00  90.00 P 1           1\n"
    "HETATM    1  O   HOH A   1       1.000   1.000   1.000  1.00  0.00           O  \n"
    "HETATM    2  H1  HOH A   1       1.960   1.000   1.000  1.00  0.00           H  \n"
    "HETATM    3  H2  HOH A   1       0.760   1.930   1.000  1.00  0.00           H  \nEND\n"
)
MODEL = WATER.replace("END", "ENDMDL")
TWO_MODELS = f"MODEL        1\n{MODEL}MODEL        2\n{MODEL.split(chr(10), 1)[1]}END\n"
DUMP = (
    "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp ff\n0 4\n0 4\n0 4\n"
    "ITEM: ATOMS id type element x y z\n1 1 Cu 0 0 0\n2 2 Au 2 2 0\n"
)
DATA = (
    "LAMMPS data file\n\n2 atoms\n2 atom types\n0 4 xlo xhi\n0 4 ylo yhi\n0 4 zlo zhi\n\n"
    "Masses\n\n1 {}\n2 {}\n\nAtoms # atomic\n\n1 1 0 0 0\n2 2 2 2 0\n"
)
LATTICE = 'Lattice="4 0 0 0 4 0 0 0 4"'
CELL = "A 4 0 0\nB 0 4 0\nC 0 0 4"
CP2K = f"&FORCE_EVAL\n{{}}\n&SUBSYS\n&CELL\n{CELL}\n&END CELL\n&COORD\nH 0 0 0\nX1 0 0 0.74\n&END COORD\n{{}}\n&END SUBSYS\n"
KIND = "&KIND X1\nELEMENT H\n{}\n&END KIND"
MM = "&MM\n&CHARGE\nATOM H\nCHARGE 1.0\n&END CHARGE\n&END MM"
VASP_XML = (
    '<modeling><incar></incar><parameters><i name="NELECT">{}</i></parameters><atominfo><array name="atomtypes" >'
    "<set><rc><c>   2</c><c>C </c><c> 12.011</c><c> 4.0</c><c> PAW C </c></rc></set></array></atominfo>"
)

SHELX = "TITL x\nCELL 0.7 5 6 7 90 100 90\n{}\nSFAC C\nC 1 0.1 0.1 0.1 1.0\nEND\n"
CASTEP = (
    "%BLOCK LATTICE_CART\n4 0 0\n0 4 0\n0 0 4\n%ENDBLOCK LATTICE_CART\n%BLOCK POSITIONS_FRAC\n"
    "Si 0 0 0 MIXTURE:( 1 0.5)\nGe 0 0 0 MIXTURE:( 1 0.5)\n%ENDBLOCK POSITIONS_FRAC\n"
)
ESPRESSO = (
    "&control\n/\n&system\n ibrav=0, nat=1, ntyp=1, tot_charge=+1.0\n/\n&electrons\n/\nATOMIC_SPECIES\nCu 63.5 x.upf\n"
    "CELL_PARAMETERS angstrom\n4 0 0\n0 4 0\n0 0 4\nATOMIC_POSITIONS crystal\nCu 0 0 0\n"
)


def frames(path: Path, content: str | bytes, **options) -> list[Frame | str]:
    """Frames of a file, or the reason of the refusal of each."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        opened = open_frames(path, ReadOptions(**options))
    except UnusableError as error:
        return [error.reason]
    found: list[Frame | str] = []
    for k in range(len(opened)):
        try:
            found.append(opened.frame(k))
        except UnusableError as error:
            found.append(error.reason)
    return found


def cif(rows: str, facts: str = "", types: str = "_atom_site_type_symbol\n") -> str:
    cell = "".join(f"_cell_length_{x} 4\n" for x in "abc") + "".join(
        f"_cell_angle_{x} 90\n" for x in ("alpha", "beta", "gamma")
    )
    sites = f"loop_\n_atom_site_label\n{types}_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"
    return f"data_x\n{cell}_symmetry_space_group_name_H-M 'P 1'\n{facts}{sites}{rows}"


CIF = cif("Cu1 Cu 0 0 0\nO1 O 0.5 0.5 0.5\n")
POSCAR = "Cu O\n1.0\n4 0 0\n0 4 0\n0 0 4\n1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n"
PYMATGEN = json.dumps({
    "@module": "pymatgen.core.structure", "@class": "Structure", "charge": 0,
    "lattice": {"matrix": [[4, 0, 0], [0, 4, 0], [0, 0, 4]]},
    "sites": [{"species": [{"element": "Cu", "occu": 1}], "abc": [0, 0, 0]}],
})  # fmt: skip


class TestMarksAndLines:
    @pytest.mark.parametrize(
        "change",
        [
            lambda text: MARK + text.encode(),
            lambda text: text.replace("\n", "\r\n").encode(),
            lambda text: text.replace("\n", "\r").encode(),
        ],
        ids=["byte order mark", "Windows", "old Mac"],
    )
    @pytest.mark.parametrize(
        ("name", "text", "count"),
        [
            ("a.pdb", TWO_MODELS, 2),
            ("a.lammpstrj", DUMP + DUMP, 2),
            ("a.data", DATA.format(63.55, 197.0), 1),
            ("a.cif", CIF + CIF.replace("data_x", "data_y"), 2),
            ("a.vasp", POSCAR, 1),
            ("a.restart", CP2K.format("", KIND.format("")), 1),
            ("a.json", PYMATGEN, 1),
        ],
    )
    def test_every_frame_is_read_with_its_cell(self, tmp_path, name, text, count, change):
        found = frames(tmp_path / name, change(text))
        plain = frames(tmp_path / f"plain{name}", text)
        assert len(found) == len(plain) == count
        for one, other in zip(found, plain, strict=True):
            assert one.structure.pbc.any()
            assert one.structure.pbc.tolist() == other.structure.pbc.tolist()
            assert one.structure.formula == other.structure.formula

    def test_json_is_read_compressed(self, tmp_path):
        pymatgen = frames(tmp_path / "a.json.gz", gzip.compress(PYMATGEN.encode()))
        ase.io.write(tmp_path / "rows.json", bulk("Cu"))
        rows = frames(tmp_path / "b.json.gz", gzip.compress((tmp_path / "rows.json").read_bytes()))
        assert [f.structure.formula for f in (*pymatgen, *rows)] == ["Cu", "Cu"]


class TestPdb:
    @pytest.mark.parametrize(
        ("old", "new", "reason"),
        [
            ("           O  ", "           O+1", "charged"),
            ("           O  ", "           O-1", "charged"),
            ("           O  ", "           O- ", "charged"),
            ("           O  ", "           O2+", "charged"),
            ("           O  ", "           Ox ", "unreadable"),
            ("HETATM    3", "ATOM 100003", "unreadable"),
            ("HETATM    3", " HETATM   3", "unreadable"),
            ("HETATM    1", f"MTRIX1   2 -1.000000  0.000000  0.000000        5.00000\n{'HETATM    1'}", "asymmetric_unit"),
        ],
    )
    def test_refused_by_name(self, tmp_path, old, new, reason):
        assert frames(tmp_path / "a.pdb", WATER.replace(old, new)) == [reason]

    def test_copies_that_the_file_holds_are_taken(self, tmp_path):
        held = "MTRIX1   1  1.000000  0.000000  0.000000        0.00000    1\n"
        assert frames(tmp_path / "a.pdb", WATER.replace("HETATM    1", f"{held}HETATM    1"))[0].structure.formula == "H2O"


class TestLammps:
    def test_a_dump_cut_in_front_says_so_and_keeps_its_frames(self, tmp_path):
        cut = "\n".join((DUMP + DUMP).split("\n")[5:])
        first, second = frames(tmp_path / "a.lammpstrj", cut)
        assert first == "unreadable"
        assert second.structure.formula == "AuCu"

    def test_units_and_time_before_a_frame_are_no_fault(self, tmp_path):
        assert len(frames(tmp_path / "a.lammpstrj", f"ITEM: UNITS\nmetal\nITEM: TIME\n0.0\n{DUMP}")) == 1

    def test_a_box_without_boundaries_is_refused(self, tmp_path):
        assert frames(tmp_path / "a.lammpstrj", DUMP.replace(" pp pp ff", "")) == ["no_cell"]

    def test_carbon_alone_is_said(self, tmp_path):
        carbon = DUMP.replace(" Cu ", " C ").replace(" Au ", " C ")
        assert any("dump_modify element" in remark for remark in frames(tmp_path / "a.lammpstrj", carbon)[0].remarks)
        assert frames(tmp_path / "b.lammpstrj", DUMP)[0].remarks == ()

    @pytest.mark.parametrize("masses", [(1.0, 1.0), (14.027, 12.011), (14.02, 12.011), (16.043, 12.011)])
    def test_masses_of_no_element(self, tmp_path, masses):
        assert frames(tmp_path / "a.data", DATA.format(*masses)) == ["no_elements"]

    @pytest.mark.parametrize(("masses", "formula"), [((1.0, 12.0), "CH"), ((14.01, 16.0), "NO"), ((14.0067, 15.9994), "NO")])
    def test_masses_of_elements(self, tmp_path, masses, formula):
        assert frames(tmp_path / "a.data", DATA.format(*masses))[0].structure.formula == formula


class TestCif:
    @pytest.mark.parametrize("word", ["H2O", "T", "Ph", "O-H", "Wat"])
    def test_types_that_are_no_element(self, tmp_path, word):
        assert frames(tmp_path / "a.cif", cif(f"Cu1 Cu 0 0 0\nX1 {word} 0.5 0.5 0.5\n")) == ["no_elements"]

    @pytest.mark.parametrize("word", ["O2-", "O-2", "O", "O1.5-", "O0+"])
    def test_types_with_an_oxidation_number(self, tmp_path, word):
        assert frames(tmp_path / "a.cif", cif(f"Cu1 Cu 0 0 0\nX1 {word} 0.5 0.5 0.5\n"))[0].structure.formula == "CuO"

    @pytest.mark.parametrize("word", ["Wat1", "WAT1", "T1", "Ph1", "Me2"])
    def test_labels_that_are_no_element(self, tmp_path, word):
        assert frames(tmp_path / "a.cif", cif(f"Cu1 0 0 0\n{word} 0.5 0.5 0.5\n", types="")) == ["no_elements"]

    @pytest.mark.parametrize("facts", ["_cell_modulation_dimension 1\n", "loop_\n_cell_wave_vector_x\n0.31\n"])
    def test_a_modulated_structure_is_refused(self, tmp_path, facts):
        assert frames(tmp_path / "a.cif", cif("Cu1 Cu 0 0 0\n", facts)) == ["modulated"]


class TestSitesThatAreNoWholeAtoms:
    @pytest.mark.parametrize("name", ["a.extxyz", "a.traj"])
    def test_a_disordered_cif_that_ase_converted(self, tmp_path, name):
        rows = "Cu1 Cu 0 0 0 0.6\nAu1 Au 0 0 0 0.4\nO1 O 0.5 0.5 0.5 1\n"
        text = cif(rows).replace("_fract_z\n", "_fract_z\n_atom_site_occupancy\n")
        (tmp_path / "a.cif").write_text(text)
        ase.io.write(tmp_path / name, ase.io.read(tmp_path / "a.cif"))
        assert frames(tmp_path / name, (tmp_path / name).read_bytes()) == ["disordered"]

    def test_an_ordered_cif_that_ase_converted(self, tmp_path):
        (tmp_path / "a.cif").write_text(
            cif("Cu1 Cu 0 0 0 1\nO1 O 0.5 0.5 0.5 1\n").replace("_fract_z\n", "_fract_z\n_atom_site_occupancy\n")
        )
        ase.io.write(tmp_path / "a.extxyz", ase.io.read(tmp_path / "a.cif"))
        assert frames(tmp_path / "a.extxyz", (tmp_path / "a.extxyz").read_bytes())[0].structure.formula == "CuO"

    @pytest.mark.parametrize(
        ("column", "second", "reason"),
        [
            ("occupancy:R:1", "0.0", "disordered"),
            ("ghost:L:1", "T", "unknown_element"),
            ("is_dummy:L:1", "T", "unknown_element"),
        ],
    )
    def test_columns_of_extended_xyz(self, tmp_path, column, second, reason):
        first = "1.0" if column.startswith("occ") else "F"
        text = f"2\n{LATTICE} Properties=species:S:1:pos:R:3:{column}\nCu 0 0 0 {first}\nCu 2 2 2 {{}}\n"
        assert frames(tmp_path / "a.extxyz", text.format(second)) == [reason]
        assert len(frames(tmp_path / "b.extxyz", text.format(first))[0].structure) == 2

    @pytest.mark.parametrize("ghost", ["GHOST", "GHOST T", "ghost .TRUE."])
    def test_ghosts_of_cp2k(self, tmp_path, ghost):
        assert frames(tmp_path / "a.restart", CP2K.format("", KIND.format(ghost))) == ["unknown_element"]
        assert len(frames(tmp_path / "b.restart", CP2K.format("", KIND.format("GHOST F")))[0].structure) == 2


class TestCp2k:
    @pytest.mark.parametrize("charge", ["CHARGE +1", "charge -1"])
    def test_charge_of_the_electrons(self, tmp_path, charge):
        assert frames(tmp_path / "a.restart", CP2K.format(f"&DFT\n{charge}\n&END DFT", KIND.format(""))) == ["charged"]

    def test_charges_of_a_force_field_are_none(self, tmp_path):
        assert frames(tmp_path / "a.restart", CP2K.format(MM, KIND.format("")))[0].structure.pbc.all()

    def test_sections_in_small_letters(self, tmp_path):
        found = frames(tmp_path / "a.restart", CP2K.format("", KIND.format("")).replace("CELL", "cell"))
        assert found[0].structure.pbc.all()


class TestOtherPrograms:
    @pytest.mark.parametrize(
        ("name", "text", "reason"),
        [
            ("tm/coord", "$coord angs\n0 0 0 cu\n2 2 2 cu\n$end\n", "units"),
            ("tm/coord", "$coord frac\n0 0 0 cu\n.5 .5 .5 cu\n$periodic 3\n$cell\n8 8 8 90 90 90\n$end\n", "units"),
            ("a.res", SHELX.format("LATT 1"), "asymmetric_unit"),
            ("a.res", SHELX.format("LATT -1\nSYMM -X,-Y,-Z"), "asymmetric_unit"),
            (
                "a.cell",
                CASTEP,
                "disordered",
            ),
            (
                "a.in",
                ESPRESSO,
                "charged",
            ),
            ("a.com", "%chk=x\n# pbe/def2svp\n\ntitle\n\n1 1\nO 0.0 0.0 0.0\nH 0.0 0.0 0.96\n\n", "charged"),
            ("a.com", "%chk=x\n# pbe/def2svp\n\ntitle\n\n0 2\nO 0.0 0.0 0.0\nH 0.0 0.0 0.96\n\n", "radical"),
            ("a.cfg", "BEGIN_CFG\n Size\n    1\nEND_CFG\n", "unknown_format"),
            ("a.nwi", "geometry\nO 0 0 0\n", "unreadable"),
            ("POSCAR", POSCAR.replace("Cu O", "H D", 1).replace("1 1", "H D\n1 1", 1), "unknown_element"),
        ],
    )  # fmt: skip
    def test_refused_by_name(self, tmp_path, name, text, reason):
        assert frames(tmp_path / name, text) == [reason]

    def test_their_neutral_files_are_taken(self, tmp_path):
        water = "O 0.0 0.0 0.0\nH 0.0 0.0 0.96\nH 0.93 0.0 -0.24\n"
        assert frames(tmp_path / "a.com", f"%chk=x\n# pbe/def2svp\n\ntitle\n\n0 1\n{water}\n")[0].structure.formula == "H2O"
        assert frames(tmp_path / "a.res", SHELX.format("LATT -1"))[0].structure.formula == "C"

    @pytest.mark.parametrize(("electrons", "charge"), [(8.0, 0.0), (7.0, 1.0), (9.0, -1.0)])
    def test_electrons_of_vasp_are_a_charge(self, tmp_path, electrons, charge):
        from potstill.dataset.inputs.foreign import facts_of_program

        (tmp_path / "vasprun.xml").write_text(VASP_XML.format(electrons))
        outcar = f"   ions per type =    2   1\n   ZVAL   =   3.00  2.00\n   NELECT =   {electrons}   total number\n"
        (tmp_path / "OUTCAR").write_text(outcar)
        for name, format_name in (("vasprun.xml", "vasp-xml"), ("OUTCAR", "vasp-out")):
            assert facts_of_program(text_of(tmp_path / name), format_name) == ({"charge": charge}, [])

    def test_an_external_pressure_of_vasp_is_said(self, tmp_path):
        from potstill.dataset.inputs.foreign import facts_of_program

        (tmp_path / "vasprun.xml").write_text('<modeling>\n<i name="PSTRESS">      50.0</i>')
        assert "PSTRESS is 50 kbar" in facts_of_program(text_of(tmp_path / "vasprun.xml"), "vasp-xml")[1][0]


@pytest.mark.parametrize(
    ("energy", "forces", "said"),
    [
        ("energy", "REF_forces", True),
        ("REF_energy", "forces", True),
        ("energy", "forces", False),
        ("REF_energy", "REF_forces", False),
    ],
)
def test_labels_of_two_families_are_said(tmp_path, energy, forces, said):
    text = f"1\n{LATTICE} Properties=species:S:1:pos:R:3:{forces}:R:3 {energy}=-1.0\nCu 0 0 0 0.1 0 0\n"
    found = frames(tmp_path / "a.extxyz", text)[0]
    assert any("two calculations" in remark for remark in found.remarks) == said
    named = frames(tmp_path / "b.extxyz", text, energy_key=energy, forces_key=forces)[0]
    assert not any("two calculations" in remark for remark in named.remarks)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ('"T T F"', [True, True, False]),
        ('"true True FALSE"', [True, True, False]),
        ('".true. .true. .false."', [True, True, False]),
        ("'t,t,f'", [True, True, False]),
        ("[1, 0, 1]", [True, False, True]),
        ("F", [False] * 3),
        ('"yes yes no"', None),
        ('"T T"', None),
        ('"periodic"', None),
    ],
)
def test_flags_of_periodicity_are_read_or_refused(tmp_path, words, expected):
    """ASE's reader takes any word that it does not know for true."""
    text = f'1\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3 pbc={words}\nCu 0 0 0\n'
    [found] = frames(tmp_path / "a.xyz", text)
    if expected is None:
        assert isinstance(found, str)
        assert "no_cell" in found
    else:
        assert isinstance(found, Frame)
        assert found.structure.pbc.tolist() == expected
