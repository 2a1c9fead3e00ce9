"""Names that no reader takes: each is stated in a remark, and those of ordinary files are silent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import write

from potstill.dataset.inputs import Frame, ReadOptions, UnusableError, open_frames

FORCES = "0.1 0 0"
COLUMNS = "species:S:1:pos:R:3:forces:R:3"


def read(path: Path, content: str, **options) -> Frame:
    path.write_text(content)
    return open_frames(path, ReadOptions(**options)).frame(0)


def water(more: str = "", columns: str = COLUMNS, per_atom: tuple[str, str, str] = ("", "", "")) -> str:
    places = ("O 0 0 0.119", "H 0 0.763 -0.477", "H 0 -0.763 -0.477")
    rows = "".join(f"{place} {FORCES} {last}\n" for place, last in zip(places, per_atom, strict=True))
    return f'3\nLattice="8 0 0 0 8 0 0 0 8" Properties={columns} energy=-14.2 {more}\n{rows}'


class TestXyz:
    @pytest.mark.parametrize(
        ("more", "says"),
        [
            ("excited_state=2", "ignored: excited_state"),
            ("electronic_temperature=5000 temperature=300", "ignored: electronic_temperature"),
            ("dispersion=-0.2 d3=T", "ignored: d3, dispersion"),
            ("nelectrons=9", "ignored: nelectrons"),
            ("q=1", "ignored: q"),
            ("success=F", "ignored: success"),
            ("scf=unconverged", "ignored: scf"),
            ("coordinates=fractional", "ignored: coordinates"),
            ("alat=2.0 epsilon=78", "ignored: alat, epsilon"),
            ("head=other", "ignored: head=other"),
            ("functional=PBE", "ignored: functional=PBE"),  # another one in another frame is another remark
            ("energy_unit=foo", "ignored: energy_unit=foo"),
            (" ".join(f"key{k}=1" for k in range(10)), "ignored: key0, key1, key2, key3, key4, key5, key6, key7 and 2 more"),
        ],
    )
    def test_an_unknown_fact_is_named(self, tmp_path, more, says):
        assert read(tmp_path / "a.xyz", water(more)).remarks == (says,)

    @pytest.mark.parametrize(
        "more",
        [
            "",
            'config_type=bulk name=a step=3 pbc="T T T" dipole="0 0 0.1" free_energy=-14.2 some words',
            "energy_unit=eV time_unit=fs dipole_unit=e*bohr q=0 S=0 Origin='4 4 4'",
            "head=Default cutoff=5.5 i=0",
            "mp_id=mp-30 sid=7 frame=12 time=0.5 temperature=300 volume=512 smiles=O",
        ],
    )
    def test_an_ordinary_frame_has_no_remark(self, tmp_path, more):
        assert read(tmp_path / "a.xyz", water(more)).remarks == ()

    @pytest.mark.parametrize(
        ("column", "values", "says"),
        [
            ("layer:S:1", ("qm", "mm", "mm"), "ignored: layer"),
            ("mask:L:1", ("T", "F", "F"), "ignored: mask"),
            ("fixed:R:1", ("0.5", "1.0", "1.0"), "ignored: fixed"),
            ("real:L:1", ("T", "T", "F"), "ignored: real"),
        ],
    )
    def test_an_unknown_column_is_named(self, tmp_path, column, values, says):
        assert read(tmp_path / "a.xyz", water("", f"{COLUMNS}:{column}", values)).remarks == (says,)

    @pytest.mark.parametrize("column", ["tags:I:1", "magmoms:R:1", "masses:R:1", "id:I:1", "spin:R:1"])
    def test_an_ordinary_column_is_silent(self, tmp_path, column):
        assert read(tmp_path / "a.xyz", water("", f"{COLUMNS}:{column}", ("1", "2", "3"))).remarks == ()

    def test_a_key_that_the_user_named_is_read(self, tmp_path):
        frame = read(tmp_path / "a.xyz", water("mine=-3.0"), energy_key="mine")
        assert frame.structure.labels.energy == -3.0
        assert not any("ignored" in remark for remark in frame.remarks)


class TestFlagsOfIntegers:
    def test_a_column_of_ones_marks_ghost_atoms(self, tmp_path):
        with pytest.raises(UnusableError, match="is_ghost"):
            read(tmp_path / "a.xyz", water("", f"{COLUMNS}:is_ghost:I:1", ("0", "0", "1")))

    def test_forces_of_atoms_that_a_column_of_ones_fixes(self, tmp_path):
        content = water("", f"{COLUMNS}:fixed:I:1", ("0", "1", "1"))
        frame = read(tmp_path / "a.xyz", content)
        assert frame.remarks == ("constraints (column 'fixed') are not kept",)
        with pytest.raises(UnusableError) as refusal:
            read(tmp_path / "b.xyz", content.replace(f"{FORCES} 1", "0 0 0 1"))
        assert refusal.value.reason == "constrained_forces"

    @pytest.mark.parametrize("name", ["forces_weight", "force_weights"])
    def test_forces_of_which_some_are_placeholders_are_not_taken(self, tmp_path, name):
        frame = read(tmp_path / "a.xyz", water("", f"{COLUMNS}:{name}:R:1", ("1", "0", "0")))
        assert frame.structure.labels is None
        assert f"'forces' is not taken: '{name}' is 0 for 2 atoms, as of a placeholder" in frame.remarks
        assert read(tmp_path / "b.xyz", water("", f"{COLUMNS}:{name}:R:1", ("1", "2", "1"))).structure.labels is not None

    @pytest.mark.parametrize("values", [("T", "T", "T"), ("F", "F", "F"), ("T", "F", "F")])
    def test_a_mask_has_two_senses(self, tmp_path, values):
        frame = read(tmp_path / "a.xyz", water("", f"{COLUMNS}:force_mask:L:1", values))
        assert frame.structure.labels is None
        assert any("'force_mask' leaves out atoms" in remark for remark in frame.remarks)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("netcharge=1", "charged"),
        ("totalcharge=1", "charged"),
        ("TotCharge=-1", "charged"),
        ("totchg=1", "charged"),
        ("charge_state=1", "charged"),
        ("nunpaired=2", "radical"),
        ("n_unpaired_electrons=2", "radical"),
        ("unpaired=2", "radical"),
        ("spin_multiplicity=3", "radical"),
        ("2S=2", "radical"),
        ("eunit=Ha funit=Ha/Bohr", "units"),
        ("energy_units=mHa", "units"),
        ("unit_energy=Eh", "units"),
    ],
)
def test_other_words_for_charge_spin_and_units(tmp_path, more, reason):
    with pytest.raises(UnusableError) as refusal:
        read(tmp_path / "a.xyz", water(more))
    assert refusal.value.reason == reason


def test_facts_of_databases_and_trajectories_are_named(tmp_path):
    atoms = bulk("Cu")
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.zeros((1, 3)), stress=np.zeros(6))
    with connect(tmp_path / "a.db") as database:
        database.write(atoms, key_value_pairs={"ecut": 500, "name": "a"}, data={"kpoints": [1, 1, 1]})
    atoms.info = {"ecut": 500, "kpoints": [1, 1, 1]}
    write(tmp_path / "a.traj", atoms)
    for name in ("a.db", "a.traj"):
        assert open_frames(tmp_path / name).frame(0).remarks == ("ignored: ecut, kpoints",), name


@pytest.mark.parametrize(
    ("metadata", "right"),
    [
        ({"units": "Hartree"}, False),
        ({"energy_unit": "kcal/mol"}, False),
        ({"key_descriptions": {"energy": ["Energy", "Total energy", "Hartree"]}}, False),
        (
            {"key_descriptions": {"energy": ["Energy", "Total energy", "eV"], "gap": ["Gap", "HOMO-LUMO gap", "Hartree"]}},
            True,
        ),
        ({"units": "eV", "title": "mine", "default_columns": ["id"]}, True),
    ],
)
def test_units_in_the_metadata_of_a_database(tmp_path, metadata, right):
    atoms = bulk("Cu")
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.zeros((1, 3)))
    with connect(tmp_path / "a.db") as database:
        database.write(atoms)
        database.metadata = metadata
    if right:
        assert open_frames(tmp_path / "a.db").frame(0).structure.labels.energy == -1.0
    else:
        with pytest.raises(UnusableError) as refusal:
            open_frames(tmp_path / "a.db").frame(0)
        assert refusal.value.reason == "units"


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("O 0 0 0\nH 0 0 0.97\n", ()),
        ("O 0 0 0 -0.4\nH 0 0 0.97 0.4\n", ("ignored: column 5",)),
        ("O 0 0 0 0.1 0 0\nH 0 0 0.97 -0.1 0 0\n", ("ignored: columns 5 to 7",)),
        ("O 0 0 0 # fixed\nH 0 0 0.97\n", ("ignored: columns 5 to 6",)),
    ],
)
def test_columns_behind_those_that_are_stated(tmp_path, rows, says):
    assert read(tmp_path / "a.xyz", f"2\nhydroxyl\n{rows}").remarks == says
