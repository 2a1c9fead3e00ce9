"""Facts beside the numbers of a file: charge in words, weights of zero, units of a database, tags of VASP."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from ase.db import connect

from potstill.dataset.inputs import Frame, ReadOptions, UnusableError, open_frames
from potstill.dataset.inputs.foreign import facts_of_program
from potstill.dataset.inputs.unusable import text_of

ROWS = "O 0 0 0.119 {f}\nH 0 0.763 -0.477 {f}\nH 0 -0.763 -0.477 {f}\n"
LABELLED = (
    'Lattice="8 0 0 0 8 0 0 0 8" Properties=species:S:1:pos:R:3:REF_forces:R:3 REF_energy=-14.2 REF_stress="{s}" {more}'
)


def read(path: Path, content: str, **options) -> Frame:
    path.write_text(content)
    return open_frames(path, ReadOptions(**options)).frame(0)


def water(comment: str) -> str:
    return f"3\n{comment}\n{ROWS.format(f='')}"


def labelled(more: str, stress: str = "0.1 0 0 0 0.1 0 0 0 0.1") -> str:
    return f"3\n{LABELLED.format(s=stress, more=more)}\n{ROWS.format(f='0.1 0 0')}"


@pytest.mark.parametrize(
    ("comment", "reason"),
    [
        ("Charge: -1", "charged"),
        ("total charge = 1, water", "charged"),
        ("water charge +1", "charged"),
        ("charge: 0 multiplicity: 3", "radical"),
        ("mult = 2", "radical"),
        ("CSD_code = WIXKOE | q = 1 | S = 0 | Stoichiometry = H2O | MND = 7", "charged"),  # tmQM
        ("--chrg 1", "charged"),
        ("--chrg 0 --uhf 2", "radical"),
        ("chrg=1 uhf=0", "charged"),
        ("Q: -1, mult: 1", "charged"),
        ("mol_charge=1", "charged"),
        ("molecular_charge=-1 molecular_spin=0", "charged"),
        ("formal_charge=1", "charged"),
        ("molecular_spin=2", "radical"),
    ],
)
def test_a_charge_in_words(tmp_path, comment, reason):
    with pytest.raises(UnusableError) as refusal:
        read(tmp_path / "a.xyz", water(comment))
    assert refusal.value.reason == reason
    assert read(tmp_path / "a.xyz", water(comment), ignore_charge=True).structure.generator_metadata


@pytest.mark.parametrize(
    "comment",
    [
        "Charge: 0",
        "charge 2 of the battery",
        "multiplicity: 1",
        "charges by Mulliken: 4",
        "0 1",
        "CSD_code = WIXKOE | q = 0 | S = 0 | MND = 7",
        "charge_model=DDEC mol_charge=0",
    ],
)
def test_words_that_state_no_charge(tmp_path, comment):
    assert read(tmp_path / "a.xyz", water(comment)).remarks == ()


@pytest.mark.parametrize("column", ["formal_charge", "formal_charges", "partial_charges", "q"])
@pytest.mark.parametrize(("charge", "neutral"), [(-2.0, True), (-1.0, False)])
def test_charges_of_atoms_by_other_names(tmp_path, column, charge, neutral):
    content = f"2\nProperties=species:S:1:pos:R:3:{column}:R:1\nMg 0 0 0 2.0\nO 0 0 1.8 {charge}\n"
    if neutral:
        assert len(read(tmp_path / "a.xyz", content).structure) == 2
        return
    with pytest.raises(UnusableError, match="a net charge of 1"):
        read(tmp_path / "a.xyz", content)


@pytest.mark.parametrize(
    ("stated", "says"),
    [
        ("converged=F", "the frame states converged=False"),
        ("scf_converged=False", "compute it again"),
        ("is_converged=0", "is_converged=0"),
        ('electric_field="0 0 0.1"', "a student has no external field"),
        ("efield=0.05", "'efield'"),
        ("converged=T", ""),
        ('electric_field="0 0 0"', ""),
    ],
)
def test_the_state_of_a_calculation_is_said(tmp_path, stated, says):
    remarks = read(tmp_path / "a.xyz", labelled(stated)).remarks
    assert any(says in remark for remark in remarks) if says else remarks == ()


@pytest.mark.parametrize(("force", "taken"), [("0 0.3 0.1", False), ("0.2 0.3 0.1", True)])
def test_forces_of_an_atom_that_is_fixed_along_one_axis(tmp_path, force, taken):
    columns = "Properties=species:S:1:pos:R:3:move_mask:L:3:forces:R:3"
    content = f"2\n{columns} energy=-1\nMg 0 0 0 F T T {force}\nO 0 0 1.8 T T T 0 -0.3 -0.1\n"
    if taken:
        assert read(tmp_path / "a.xyz", content).remarks == ("constraints (FixCartesian) are not kept",)
        return
    with pytest.raises(UnusableError, match="on all 1 atoms, along their fixed axes, are exactly zero"):
        read(tmp_path / "a.xyz", content)


@pytest.mark.parametrize(
    ("label", "mass", "says"),
    [
        ("Ho1", "1.008", "the label Ho1 stands for Ho, and its mass 1.008 is that of H"),
        ("Co", "12.0107d0", "that of C"),
        ("H", "4.0026", ""),  # hydrogen made heavy
        ("Fe1", "55.845", ""),
        ("C-h", "12.011", ""),
    ],
)
def test_a_label_of_espresso_with_the_mass_of_another_element(tmp_path, label, mass, says):
    content = (
        f"&system\n ibrav=0, nat=2, ntyp=2\n/\nATOMIC_SPECIES\n{label} {mass} x.upf\n O 15.999 o.upf\n"
        f"ATOMIC_POSITIONS crystal\n{label} 0 0 0\nO 0 0 0.5\n"
    )
    (tmp_path / "a.pwi").write_text(content)
    if not says:
        assert facts_of_program(text_of(tmp_path / "a.pwi"), "espresso-in") == ({}, [])
        return
    with pytest.raises(UnusableError, match=says):
        facts_of_program(text_of(tmp_path / "a.pwi"), "espresso-in")


@pytest.mark.parametrize(
    ("comment", "says"),
    [
        ("1 2", "the comment '1 2' is not read"),
        ("0 2 water", "the comment '0 2'"),
        ("-1 1", "write charge="),
        ("-76.34 Eh", "the number -76.34 Eh"),
    ],
)
def test_bare_numbers_are_said(tmp_path, comment, says):
    assert says in read(tmp_path / "a.xyz", water(comment)).remarks[0]


@pytest.mark.parametrize(
    "comment",
    ["OH-", "NH4+ in water", "sulfate SO4 2-", "SO4(2-)", "[Fe(CN)6]4-", "HCO3^-", "Na+1", "an anion", "protonated"],
)
def test_an_ion_in_a_title_is_said(tmp_path, comment):
    (remark,) = read(tmp_path / "a.xyz", water(comment)).remarks
    assert "is taken as neutral" in remark
    assert not read(tmp_path / "a.xyz", water(comment), ignore_charge=True).remarks


@pytest.mark.parametrize(
    "title", ["PBE-D3BJ step 4", "NaCl-water", "Ala-Gly", "CAM-B3LYP", "MP2/aug-cc-pVTZ", "Au slab - 2"]
)
def test_a_title_that_is_no_ion(tmp_path, title):
    assert not read(tmp_path / "a.xyz", water(title)).remarks


class TestUnitsOfPositionsInWords:
    @pytest.mark.parametrize(
        "comment",
        [
            "unit: au",
            "geometry in AU",
            "au",
            "positions in nm",
            "B3LYP geometry, coordinates in pm",
            "Geometry (a.u.)",
            "Properties=species:S:1:pos:R:3 geometry in atomic units",
            "in atomic units",
            "xyz [nm]",
            "unit Bohr",
            "water in nm",
        ],
    )
    def test_are_said(self, tmp_path, comment):
        (remark,) = read(tmp_path / "a.xyz", water(comment)).remarks
        assert "positions are taken in Å" in remark

    @pytest.mark.parametrize(
        "title",
        [
            "au slab",
            "Au",
            "Au units",
            "gold au",
            "united atoms",
            "unit cell of au",
            "geometry: Au55",
            "optimized at PM6",
            "cluster size in nm: 2",
            "dipole in au",
            "time in pm",
            "coordinates from job-pm3",
            "units Angstrom",
            "positions in Angstrom",
        ],
    )
    def test_other_titles(self, tmp_path, title):
        assert not read(tmp_path / "a.xyz", water(title)).remarks

    def test_gold_in_capitals(self, tmp_path):
        assert not read(tmp_path / "a.xyz", "1\nGEOMETRY OF AU\nAu 0 0 0\n").remarks
        assert not read(tmp_path / "a.xyz", "1\nAU\nAu 0 0 0\n").remarks


class TestStressOfAnotherCalculation:
    @pytest.mark.parametrize("beside", ["energy=-14.2", "free_energy=-14.2 energy=-14.3"])
    def test_it_is_not_taken_and_said(self, tmp_path, beside):
        found = read(
            tmp_path / "a.xyz", labelled(f'{beside} stress="0.2 0 0 0 0.2 0 0 0 0.2"').replace("REF_stress", "my_stress")
        )
        assert found.structure.labels.energy == -14.2
        assert found.structure.labels.stress is None
        assert any("'stress' is not taken" in remark for remark in found.remarks)

    def test_one_without_an_energy_beside_it_is_taken(self, tmp_path):
        found = read(tmp_path / "a.xyz", labelled("").replace("REF_stress", "stress"))
        assert found.structure.labels.stress is not None

    def test_a_named_one_is_taken(self, tmp_path):
        content = labelled("energy=-3.0").replace("REF_stress", "stress")
        keys = {"energy_key": "REF_energy", "forces_key": "REF_forces"}
        assert read(tmp_path / "a.xyz", content, **keys).structure.labels.stress is None
        assert read(tmp_path / "a.xyz", content, **keys, stress_key="stress").structure.labels.stress is not None


@pytest.mark.parametrize("name", ["hirshfeld_charges", "bader_charge", "mulliken_q", "mmcharges"])
def test_charges_of_any_scheme_add_up_to_the_net_charge(tmp_path, name):
    rows = "O 0 0 0 -1.2\nH 0 0 0.97 0.2\n"
    with pytest.raises(UnusableError, match="net charge of -1"):
        read(tmp_path / "a.xyz", f"2\nProperties=species:S:1:pos:R:3:{name}:R:1\n{rows}")


def test_an_energy_without_dispersion_is_not_joined_with_forces_that_have_it(tmp_path):
    content = labelled("energy=-3.0 energy_with_dispersion_correlation=-3.2").replace("REF_forces", "forces")
    content = content.replace("REF_energy", "other")
    with pytest.raises(UnusableError, match="name energy_key: energy_with_dispersion_correlation") as refusal:
        read(tmp_path / "a.xyz", content)
    assert refusal.value.reason == "mixed_labels"
    frame = read(tmp_path / "a.xyz", content, energy_key="energy_with_dispersion_correlation")
    assert frame.structure.labels.energy == -3.2


def test_magnetic_moments_are_said(tmp_path):
    rows = "O 0 0 0 {m}\nO 0 0 1.2 {m}\n"
    text = "2\nProperties=species:S:1:pos:R:3:initial_magmoms:R:1\n" + rows
    assert "magnetic moments are not kept" in read(tmp_path / "a.xyz", text.format(m=1.0)).remarks[0]
    assert not read(tmp_path / "b.xyz", text.format(m=0.0)).remarks


class TestUnitsBehindNumbers:
    @pytest.mark.parametrize("unit", ["Ha", "Eh", "hartree", "(Ha)", "[au]", "Ry", "kcal/mol", "kJ/mol", "meV"])
    @pytest.mark.parametrize("key", ["energy", "REF_energy"])
    def test_another_unit_is_refused(self, tmp_path, key, unit):
        comment = f"Properties=species:S:1:pos:R:3:{'REF_' * (key != 'energy')}forces:R:3 {key}=-76.3 {unit} step=4"
        with pytest.raises(UnusableError, match="convert it first") as refusal:
            read(tmp_path / "a.xyz", f"3\n{comment}\n{ROWS.format(f='0 0 0')}")
        assert refusal.value.reason == "units"
        assert read(tmp_path / "a.xyz", f"3\n{comment}\n{ROWS.format(f='0 0 0')}", labels=False).structure.labels is None

    @pytest.mark.parametrize(("word", "remarks"), [("eV", 0), ("relaxed", 0), ("E_h", 1)])
    def test_other_words(self, tmp_path, word, remarks):
        comment = f"Properties=species:S:1:pos:R:3:forces:R:3 energy=-14.2 {word}"
        found = read(tmp_path / "a.xyz", f"3\n{comment}\n{ROWS.format(f='0 0 0')}")
        assert found.structure.labels.energy == -14.2
        assert len(found.remarks) == remarks

    def test_a_unit_behind_another_key_is_that_key_s(self, tmp_path):
        comment = "Properties=species:S:1:pos:R:3:forces:R:3 energy=-14.2 time=3 pm"
        assert read(tmp_path / "a.xyz", f"3\n{comment}\n{ROWS.format(f='0 0 0')}").structure.labels is not None


def test_a_later_frame_without_the_cell_of_the_first(tmp_path):
    cell = 'Lattice="8 0 0 0 8 0 0 0 8" Properties=species:S:1:pos:R:3'
    path = tmp_path / "a.xyz"
    path.write_text(water(cell) + water("later") + water(cell) + "1\nanother\nAr 0 0 0\n")
    opened = open_frames(path)
    found = [opened.frame(k) for k in range(4)]
    assert ["no cell" in " ".join(frame.remarks) for frame in found] == [False, True, False, False]


def test_later_frames_with_a_cell_that_the_first_lacks(tmp_path):
    cell = 'Lattice="8 0 0 0 8 0 0 0 8" Properties=species:S:1:pos:R:3'
    path = tmp_path / "a.xyz"
    path.write_text(water("first") + water(cell) + f"1\n{cell}\nAr 0 0 0\n" + water("later"))
    opened = open_frames(path)
    found = [opened.frame(k) for k in range(4)]
    assert ["same atoms in none" in " ".join(frame.remarks) for frame in found] == [False, True, False, False]


def test_an_isolated_atom_before_its_crystal(tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text("1\nan atom\nAr 0 0 0\n" + '1\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3\nAr 0 0 0\n')
    assert open_frames(path).frame(1).remarks == ()


@pytest.mark.parametrize(("moment", "said"), [("2.0", True), ("0.0", False), ("-1", True)])
def test_a_total_magnetic_moment_of_a_molecule(tmp_path, moment, said):
    comment = f"Properties=species:S:1:pos:R:3:forces:R:3 energy=-9.8 magmom={moment}"
    content = f"2\n{comment}\nO 0 0 0 0 0 0\nO 0 0 1.2 0 0 0\n"
    assert ("magnetic moment" in " ".join(read(tmp_path / "a.xyz", content).remarks)) == said
    assert not read(tmp_path / "a.xyz", content, ignore_charge=True).remarks
    crystal = content.replace("Properties", 'Lattice="4 0 0 0 4 0 0 0 4" Properties')
    assert not read(tmp_path / "a.xyz", crystal).remarks


@pytest.mark.parametrize("quantity", ["frc", "vel"])
def test_forces_of_cp2k_in_the_place_of_positions(tmp_path, quantity):
    content = water(" i =        0, time =        0.000, E =       -17.1643447089")
    with pytest.raises(UnusableError, match="-pos-") as refusal:
        read(tmp_path / f"water-{quantity}-1.xyz", content)
    assert refusal.value.reason == "no_coordinates"
    assert read(tmp_path / "water-pos-1.xyz", content).structure.formula == "H2O"
    assert read(tmp_path / f"water-{quantity}.xyz", water("a title")).structure.formula == "H2O"


class TestUnitsInNamesOfKeys:
    @pytest.mark.parametrize(
        "keys",
        [
            ("energy_Ha", "REF_forces", "REF_stress"),
            ("energy_kcal_mol", "REF_forces", "REF_stress"),
            ("energy_per_atom", "REF_forces", "REF_stress"),
            ("REF_energy", "forces_kcal", "REF_stress"),
            ("REF_energy", "REF_forces", "stress_GPa"),
        ],
    )
    def test_other_units_are_refused(self, tmp_path, keys):
        content = labelled("")
        for old, new in zip(("REF_energy", "REF_forces", "REF_stress"), keys, strict=True):
            content = content.replace(old, new)
        options = dict(zip(("energy_key", "forces_key", "stress_key"), keys, strict=True))
        with pytest.raises(UnusableError) as refusal:
            read(tmp_path / "a.xyz", content, **options)
        assert refusal.value.reason == "units"

    @pytest.mark.parametrize("key", ["energy_eV", "dft_energy", "energy_hartree_fock", "atomic_energy_sum", "energy_Si"])
    def test_other_names(self, tmp_path, key):
        content = labelled("").replace("REF_energy", key)
        found = read(tmp_path / "a.xyz", content, energy_key=key, forces_key="REF_forces", stress_key="REF_stress")
        assert found.structure.labels.energy == -14.2


class TestSpeciesBesideElements:
    DUMP = (
        "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp pp\n0 6\n0 6\n0 6\n"
        "ITEM: ATOMS id type element x y z\n1 1 Si 0 0 0\n2 2 O 1.6 0 0\n"
    )

    @pytest.mark.parametrize(("first", "said"), [("Si", False), ("C", True)])
    def test_of_a_dump(self, tmp_path, first, said):
        found = read(tmp_path / "a.lammpstrj", self.DUMP, species=(("1", first), ("2", "O")))
        assert found.structure.formula == "OSi"
        assert ("the option species is not used" in " ".join(found.remarks)) == said

    @pytest.mark.parametrize(("stated", "said"), [("C", True), ("Ca", False)])
    def test_of_a_pdb(self, tmp_path, stated, said):
        row = "HETATM    1 CA    CA A   1       0.000   0.000   0.000  1.00  0.00          CA  \n"
        found = read(tmp_path / "a.pdb", row, species=(("CA", stated),))
        assert found.structure.formula == "Ca"
        assert ("the option species is not used" in " ".join(found.remarks)) == said


class TestMolBlocks:
    HEAD = "x\n  program{code}\n\n{n:3d}{bonds:3d}  0  0  0  0  0  0  0  0999 V2000\n"

    def block(self, symbols: str, places: str, code: str = "           3D") -> str:
        rows = "".join(f"{p} {s:<3}0  0\n" for p, s in zip(places.split("|"), symbols, strict=True))
        bonds = "".join(f"  1{k:3d}  1  0\n" for k in range(2, len(symbols) + 1))
        return f"{self.HEAD.format(code=code, n=len(symbols), bonds=len(symbols) - 1)}{rows}{bonds}M  END\n$$$$\n"

    PLANAR = "    0.0000    0.0000    0.0000|    0.7570    0.5860    0.0000|   -0.7570    0.5860    0.0000"
    TILTED = PLANAR.replace("0.0000|", "0.1000|", 1)

    def test_hydrogens_of_a_record_without_any(self, tmp_path):
        pytest.importorskip("rdkit")
        (remark,) = read(tmp_path / "a.sdf", self.block("SOO", self.TILTED)).remarks
        assert "added by valence, since the record has none" in remark

    def test_the_remedy_of_a_planar_molecule(self, tmp_path):
        pytest.importorskip("rdkit")
        with pytest.raises(UnusableError, match="write '3D' into columns 21 and 22"):
            read(tmp_path / "a.sdf", self.block("OHH", self.PLANAR, code=""))
        assert read(tmp_path / "a.sdf", self.block("OHH", self.PLANAR)).structure.formula == "H2O"

    def test_why_rdkit_refuses_it(self, tmp_path):
        pytest.importorskip("rdkit")
        with pytest.raises(UnusableError, match="F, 2, is greater than permitted; an ion states 'M  CHG'"):
            read(tmp_path / "a.sdf", self.block("FHH", self.TILTED))


@pytest.mark.parametrize("first", ["1", "O1"])
def test_a_number_before_the_symbol(tmp_path, first):
    with pytest.raises(UnusableError, match="the row of atom 0 has 'O' where a number of 'pos' is expected"):
        read(tmp_path / "a.xyz", f"1\nx\n{first} O 0 0 0.119\n")


def test_a_column_stated_twice(tmp_path):
    with pytest.raises(UnusableError, match="the column 'forces' twice"):
        read(tmp_path / "a.xyz", "1\nProperties=species:S:1:pos:R:3:forces:R:3:forces:R:3 energy=-1\nO 0 0 0 0 0 0 1 1 1\n")


def test_a_hydrogen_that_a_record_lacks_beside_one_that_it_has(tmp_path):
    pytest.importorskip("rdkit")
    atoms = "    0.0000    0.0000    0.0000 O   0  0\n    0.0000    0.0000    0.9700 H   0  0\n  1  2  1  0\n"
    found = read(tmp_path / "a.sdf", f"x\n\n\n  2  1  0  0  0  0  0  0  0  0999 V2000\n{atoms}M  END\n$$$$\n")
    assert found.structure.formula == "H2O"
    assert "hydrogens are added: 1 beside 1" in found.remarks[0]


def test_the_project_of_vesta(tmp_path):
    with pytest.raises(UnusableError, match="CIF or POSCAR"):
        read(tmp_path / "a.vesta", "#VESTA_FORMAT_VERSION 3.5.4\n\nCRYSTAL\n\nTITLE\nx\n\nCELLP\n 4 4 4 90 90 90\n")


class TestWeightsOfZero:
    @pytest.mark.parametrize("key", ["config_energy_weight", "energy_weight", "config_forces_weight", "config_weight"])
    def test_no_labels(self, tmp_path, key):
        frame = read(tmp_path / "a.xyz", labelled(f"{key}=0.0"))
        assert frame.structure.labels is None
        assert any(f"'{key}' is 0, as of a placeholder" in remark for remark in frame.remarks)

    def test_no_stress(self, tmp_path):
        frame = read(tmp_path / "a.xyz", labelled("config_stress_weight=0.0", "0 0 0 0 0 0 0 0 0"))
        assert frame.structure.labels.energy == -14.2
        assert frame.structure.labels.stress is None

    @pytest.mark.parametrize(
        "more", ["", "config_weight=1.0 config_energy_weight=10 config_stress_weight=1.0", "energy_weight=5"]
    )
    def test_other_weights_change_nothing_and_are_no_labels(self, tmp_path, more):
        frame = read(tmp_path / "a.xyz", labelled(more))
        assert frame.structure.labels.stress is not None
        assert frame.remarks == ()


class TestUnitsOfADatabase:
    """As SchNetPack writes them into the metadata."""

    def database(self, path: Path, **metadata) -> ReadOptions:
        with connect(path) as database:
            database.write(molecule("H2O"), data={"energy": np.array([-2078.0]), "forces": np.full((3, 3), 0.1)})
            database.metadata = metadata
        return ReadOptions(energy_key="energy", forces_key="forces")

    @pytest.mark.parametrize(
        "metadata",
        [
            {"_property_unit_dict": {"energy": "Hartree"}, "_distance_unit": "Ang"},
            {"_property_unit_dict": {"energy": "eV", "forces": "eV/Bohr"}, "_distance_unit": "Ang"},
            {"_property_unit_dict": {"energy": "kcal/mol"}, "_distance_unit": "Ang"},
            {"_property_unit_dict": {"energy": "meV"}, "_distance_unit": "Ang"},
            {"_property_unit_dict": {}, "_distance_unit": "Bohr"},
        ],
    )
    @pytest.mark.parametrize("ending", [".db", ".json"])
    def test_others_are_refused(self, tmp_path, metadata, ending):
        options = self.database(tmp_path / f"a{ending}", **metadata)
        with pytest.raises(UnusableError, match="expected eV, Å") as refusal:
            open_frames(tmp_path / f"a{ending}", options).frame(0)
        assert refusal.value.reason == "units"

    @pytest.mark.parametrize(
        "metadata",
        [
            {},
            {"_property_unit_dict": {"energy": "eV", "forces": "eV/Ang", "dipole": "Debye"}, "_distance_unit": "Ang"},
            {"_property_unit_dict": {"forces": "eV / Angstrom"}, "_distance_unit": "Angstrom"},
        ],
    )
    def test_ours_are_read(self, tmp_path, metadata):
        options = self.database(tmp_path / "a.db", **metadata)
        assert open_frames(tmp_path / "a.db", options).frame(0).structure.labels.energy == -2078.0


@pytest.mark.parametrize(
    ("format_name", "text", "says"),
    [
        ("vasp-xml", '<incar>\n  <i type="logical" name="ML_LMLFF">  T  </i>\n', "VASP's own force field"),
        ("vasp-xml", '<incar>\n  <i type="int" name="IMAGES">     5</i>\n', "elastic band"),
        ("vasp-out", "   ML_LMLFF =     T    machine learning\n", "VASP's own force field"),
        ("vasp-out", "   IMAGES =   5\n", "elastic band"),
        ("vasp-xml", '<incar>\n <i name="ENCUT"> 500</i>\n <i name="EFIELD"> 0.1</i>\n</incar>', "ignored: INCAR EFIELD"),
        (
            "vasp-out",
            " INCAR:\n   ENCUT = 500\n   LSOL = .TRUE.\n   NUPDOWN = 2\n POTCAR:\n",
            "ignored: INCAR LSOL, INCAR NUPDOWN",
        ),
        ("vasp-xml", '<incar>\n <i name="ENCUT"> 500</i>\n <v name="MAGMOM"> 1 1</v>\n</incar>\n<i name="EFIELD">0</i>', ""),
        ("vasp-xml", '<i type="logical" name="ML_LMLFF">  F  </i>\n<i type="int" name="IMAGES">     0</i>\n', ""),
        ("vasp-xml", '<i type="int" name="ICHARG">    11</i>\n', "not made self-consistent"),
        ("vasp-out", "   ICHARG =     11    charge: 1-file 2-atom 10-const\n", "not made self-consistent"),
        ("vasp-out", "   ICHARG =      2    charge: 1-file 2-atom 10-const\n", ""),
        ("espresso-out", "     E field amplitude [Ha a.u.]:   1.0000E-02\n", "an electric field acts"),
        ("vasp-out", "   ML_LMLFF =     F\n   IMAGES =      0\n", ""),
    ],
)
def test_tags_of_vasp_that_change_forces(tmp_path, format_name, text, says):
    (tmp_path / "a").write_text(text)
    remarks = facts_of_program(text_of(tmp_path / "a"), format_name)[1]
    assert says in remarks[0] if says else remarks == []


@pytest.mark.parametrize(
    ("mass", "comment", "read_as"),
    [("1.0", "Cu", ""), ("4.0", "H heavy", ""), ("63.546", "Cu", "Cu"), ("12.011", "CT", "C"), ("1.008", "", "H")],
)
def test_a_mass_of_lammps_beside_the_name_of_another_element(tmp_path, mass, comment, read_as):
    data = (
        "made by hand\n\n2 atoms\n2 atom types\n\n0 4 xlo xhi\n0 4 ylo yhi\n0 4 zlo zhi\n\n"
        f"Masses\n\n1 {mass}  # {comment}\n2 15.9994 # O\n\nAtoms # atomic\n\n1 1 0 0 0\n2 2 0 0 1.8\n"
    )
    if read_as:
        assert read(tmp_path / "a.data", data).structure.to_ase().symbols[0] == read_as
        return
    with pytest.raises(UnusableError, match=f"type 1 has the mass of (H|He) and the comment '{comment[:2].strip()}'"):
        read(tmp_path / "a.data", data)


def test_a_style_of_lammps_that_is_not_stated(tmp_path):
    data = (
        "made by hand\n\n1 atoms\n1 atom types\n0 4 xlo xhi\n0 4 ylo yhi\n0 4 zlo zhi\n\nMasses\n\n1 28.0855\n\n"
        "Atoms\n\n1 1 0.5 0 0 0\n"
    )
    with pytest.raises(UnusableError, match="the style of atoms is not stated; write it, such as 'Atoms # charge'"):
        read(tmp_path / "a.data", data)


def test_models_of_a_pdb_that_share_a_cell_are_said(tmp_path):
    def model(k: int, size: str) -> str:
        row = f"HETATM    1 AL   AL  A   1    {0:8.3f}{0:8.3f}{0.1 * k:8.3f}  1.00  0.00          AL\n"
        return (
            f"CRYST1{size:>9}{size:>9}{size:>9}  90.00  90.00  90.00 P 1\n" if size else ""
        ) + f"MODEL {k}\n{row}ENDMDL\n"

    (tmp_path / "shared.pdb").write_text(model(1, "4.000") + model(2, ""))
    (tmp_path / "own.pdb").write_text(model(1, "4.000") + model(2, "4.100"))
    shared, own = (open_frames(tmp_path / f"{name}.pdb") for name in ("shared", "own"))
    assert shared.frame(0).remarks == own.frame(0).remarks == own.frame(1).remarks == ()
    assert "right at constant volume only" in shared.frame(1).remarks[0]
    assert own.frame(1).structure.cell[0, 0] == 4.1


def test_hydrogens_that_would_lie_on_a_metal(tmp_path):
    pytest.importorskip("rdkit")
    places = [(1, 1, 1), (-1, -1, 1), (-1, 1, -1), (1, -1, -1)]
    rows = "".join(
        f"{r * x:10.4f}{r * y:10.4f}{r * z:10.4f} {e}   0  0\n" for x, y, z in places for e, r in (("C", 1.06), ("O", 1.7))
    )
    bonds = "".join(f"  1{2 * k + 2:3d}  1  0\n{2 * k + 2:3d}{2 * k + 3:3d}  2  0\n" for k in range(4))
    head = "x\n\n\n  9  8  0  0  0  0  0  0  0  0999 V2000\n    0.0000    0.0000    0.0000 Ni  0  0\n"
    with pytest.raises(UnusableError, match="write the record with all its hydrogens") as refusal:
        read(tmp_path / "a.sdf", f"{head}{rows}{bonds}M  END\n$$$$\n")
    assert refusal.value.reason == "hydrogens"


@pytest.mark.parametrize(("row", "what"), [("H 1.0 0.0 0.0 0.7", "an atomic number"), ("H 0 0.0 0.0 0.7", "a flag")])
def test_a_column_between_symbol_and_positions(tmp_path, row, what):
    other = row.replace("0.7", "0.0")
    with pytest.raises(UnusableError, match=f"the second column is {what}"):
        read(tmp_path / "a.xyz", f"2\nx\n{row}\n{other}\n")
    assert read(tmp_path / "a.xyz", "1\nx\nHe 1.0 0.0 0.7 0.5\n").structure.formula == "He"


@pytest.mark.parametrize(("unit", "reason"), [("angstrom", ""), ("atomic_unit", "units")])
def test_units_of_i_pi_in_a_title_of_pdb(tmp_path, unit, reason):
    atom = "ATOM      1    O   1     1       0.000   0.000   0.225  0.00  0.00           O 0\n"
    content = f"TITLE   Step: 0  Bead: 0 positions{{{unit}}}  cell{{{unit}}}\n{atom}END\n"
    if not reason:
        assert read(tmp_path / "a.pdb", content).structure.formula == "O"
        return
    with pytest.raises(UnusableError, match="i-PI wrote atomic_unit"):
        read(tmp_path / "a.pdb", content)


def test_a_dump_of_lammps_without_its_box(tmp_path):
    (remark,) = read(tmp_path / "a.xyz", "1\nAtoms. Timestep: 100\nCu 0 0 0\n").remarks
    assert "no box" in remark
