"""Every bad file is refused by its name with a reason; the good one beside it comes in, and nothing else does."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import ase.io
import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from potstill.core.errors import InputError, PotstillError
from potstill.core.types import Refused, Structure
from potstill.dataset import open_dataset, write_part
from potstill.generate.files import Files
from potstill.generate.options import GenerateConfig
from potstill.generate.stage import generate

CIF = """data_salt
_chemical_formula_sum 'Na4 Cl4'
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Na1 Na 0 0 0 1
Cl1 Cl 0.5 0.5 0.5 1
"""
UNIT = CIF.replace("Na4 Cl4", "Na1 Cl1")
POSCAR = """bad counts
1.0
4 0 0
0 4 0
0 0 4
Na Cl
{counts}
Direct
0 0 0
0.5 0.5 0.5
"""
MOL_HEADER = "\n     RDKit          3D\n\n"
PNG = (
    b"\x89PNG\r\n\x1a\n"
    + struct.pack(">I", 13)
    + b"IHDR"
    + struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    + zlib.compress(b"x")
)


def mol_block(smiles: str, *, flat: bool = False) -> str:
    """A mol block with a conformer, or with a drawing."""
    from rdkit import Chem
    from rdkit.Chem import AllChem

    whole = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(whole, randomSeed=1)
    if flat:
        AllChem.Compute2DCoords(whole)
    return Chem.MolToMolBlock(whole)


def mol(smiles: str, *, flat: bool = False, stop: int | None = None) -> Callable[[Path], None]:
    return lambda path: path.write_text(mol_block(smiles, flat=flat)[:stop]) and None


def extxyz(rows: str, *, count: int | None = None, comment: str = 'Properties=species:S:1:pos:R:3 pbc="F F F"') -> str:
    lines = rows.strip().splitlines()
    return f"{len(lines) if count is None else count}\n{comment}\n" + "\n".join(lines) + "\n"


def cell(a: float) -> str:
    return f'Lattice="{a} 0 0 0 {a} 0 0 0 {a}" Properties=species:S:1:pos:R:3 pbc="T T T"'


def text(content: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(content) and None


def raw(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


def dataset(path: Path, schema: int = 1) -> None:
    write_part(path, [Structure.from_ase(molecule("CH4"), id="a", source="s", family="CH4")], [])
    with h5py.File(path, "r+") as file:
        file.attrs["schema_version"] = schema


def foreign_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["somebody/elses"] = np.zeros(3)


def truncated_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(CIF.encode())[:-40])


def trajectory(atoms: Atoms) -> Callable[[Path], None]:
    return lambda path: ase.io.write(path, atoms, format="traj")


def beyond_the_table(path: Path) -> None:
    path.write_text(extxyz("119 0 0 0", comment='Properties=Z:I:1:pos:R:3 pbc="F F F"'))


def link_loop(path: Path) -> None:
    path.symlink_to(path.with_name("other"))
    path.with_name("other").symlink_to(path)


def link_to_own_folder(path: Path) -> None:
    path.symlink_to(path.parent, target_is_directory=True)


def ten_thousand_atoms(path: Path) -> None:
    ase.io.write(path, bulk("Cu", cubic=True) * (10, 10, 25))


def flat_crystal() -> Atoms:
    atoms = bulk("Cu")
    atoms.cell[2] = atoms.cell[1]
    return atoms


BAD: dict[str, tuple[str, Callable[[Path], None], str]] = {
    # CIF
    "CIF cut within a row": ("cut.cif", text(CIF[:-12]), "unreadable"),
    "CIF cut between rows": ("rows.cif", text(CIF[: CIF.index("Cl1 Cl")]), "wrong_count"),
    "CIF cut before its atoms": ("head.cif", text(CIF[: CIF.index("loop_")]), "no_atoms"),
    "CIF row with a word too many": ("words.cif", text(CIF.replace("0.5 0.5 0.5 1", "0.5 0.5 0.5 1 7")), "unreadable"),
    "CIF with partial occupancy": ("partial.cif", text(CIF.replace("0.5 0.5 0.5 1", "0.5 0.5 0.5 0.5")), "disordered"),
    "CIF with a shared site": (
        "shared.cif",
        text(CIF.replace("Cl1 Cl 0.5 0.5 0.5 1", "Cl1 Cl 0.5 0.5 0.5 1\nBr1 Br 0.5 0.5 0.5 1")),
        "disordered",
    ),
    "CIF with an unknown symbol": ("symbol.cif", text(CIF.replace("Cl1 Cl", "Xq1 Xq")), "no_elements"),
    "CIF with unknown coordinates": ("unknown.cif", text(CIF.replace("0.5 0.5 0.5", "? ? ?")), "no_coordinates"),
    "CIF whose symmetry does not exist": (
        "group.cif",
        text(CIF.replace("'F m -3 m'", "'Q 9 9 9'")),
        "unreadable",
    ),
    "CIF with fewer atoms than Z says": ("z.cif", text(f"{UNIT}_cell_formula_units_Z 8\n"), "wrong_count"),
    "CIF without volume": (
        "flat.cif",
        text(CIF.replace("_c 5.64", "_c 0.0")),
        "unreadable|no_volume",
    ),
    "PNG named CIF": ("picture.cif", raw(PNG), "no_atoms|unreadable"),
    "gzip cut short": ("cut.cif.gz", truncated_gzip, "unreadable"),
    # SDF
    "SDF with all atoms at the origin": (
        "origin.sdf",
        text(
            MOL_HEADER + "  2  1  0  0  0  0  0  0  0  0999 V2000\n"
            "    0.0000    0.0000    0.0000 C   0  0\n    0.0000    0.0000    0.0000 O   0  0\n  1  2  1  0\nM  END\n"
        ),
        "no_coordinates",
    ),
    "SDF of a drawing": (
        "drawing.sdf",
        mol("CCO", flat=True),
        "no_coordinates",
    ),
    "SDF cut short": ("cut.sdf", mol("CCO", stop=300), "unreadable"),
    "SDF of an ion": ("ion.sdf", mol("C[NH3+]"), "charged"),
    "SDF of a radical": ("radical.sdf", mol("C[CH2]"), "radical"),
    "SDF of two molecules": ("two.sdf", mol("CO.CO"), "fragments"),
    "SDF without atoms": (
        "none.sdf",
        text(MOL_HEADER + "  0  0  0  0  0  0  0  0  0  0999 V2000\nM  END\n"),
        "no_atoms",
    ),
    "SDF with an attachment point": ("star.sdf", mol("*CO"), "unknown_element"),
    # XYZ
    "NaN position": ("nan.extxyz", text(extxyz("C 0 0 0\nO nan 0 1.1")), "not_finite"),
    "infinite position": ("inf.extxyz", text(extxyz("C 0 0 0\nO 0 0 inf")), "not_finite"),
    "NaN cell": ("nancell.extxyz", text(extxyz("Cu 0 0 0", comment=cell(float("nan")))), "not_finite"),
    "element X": ("x.xyz", text(extxyz("X 0 0 0\nO 0 0 1.1")), "unknown_element"),
    "atomic number 0": (
        "zero.extxyz",
        text(extxyz("0 0 0 0", comment='Properties=Z:I:1:pos:R:3 pbc="F F F"')),
        "unknown_element",
    ),
    "atomic number 119": ("heavy.extxyz", beyond_the_table, "unknown_element|unreadable"),
    "symbol of no element": ("qq.xyz", text(extxyz("Qq 0 0 0\nO 0 0 1.1")), "unreadable"),
    "periodic without a cell": (
        "open.extxyz",
        text(extxyz("Cu 0 0 0", comment='Properties=species:S:1:pos:R:3 pbc="T T T"')),
        "no_cell",
    ),
    "cell of no length": ("nothing.extxyz", text(extxyz("Cu 0 0 0", comment=cell(0))), "no_cell"),
    "cell of eight numbers": ("eight.extxyz", text(extxyz("Cu 0 0 0", comment='Lattice="4 0 0 0 4 0 0 0"')), "no_cell"),
    "fewer atoms than stated": ("few.xyz", text(extxyz("C 0 0 0\nO 0 0 1.1", count=3)), "wrong_count"),
    "more atoms than stated": ("many.xyz", text(extxyz("C 0 0 0\nO 0 0 1.1\nH 0 0 2.2", count=2)), "wrong_count"),
    "absurd number of atoms": ("absurd.xyz", text(extxyz("C 0 0 0", count=10**15)), "wrong_count"),
    "no atoms": ("none.xyz", text("0\n\n"), "no_atoms"),
    "negative number of atoms": ("minus.xyz", text("-2\n\n"), "no_atoms"),
    "row without coordinates": ("row.xyz", text(extxyz("C 0 0 0\nO 0")), "wrong_count"),
    "XYZ cut within a number": ("digits.xyz", text("2\n\nC 0.000 0.000 0.000\nO 0.000 0.000 1.1"), "unreadable"),
    "CIF named XYZ": ("cif.xyz", text(CIF), "unreadable"),
    "garbage that is no text": ("garbage.extxyz", raw(bytes(range(128, 256)) * 9), "unreadable"),
    "letters of another alphabet": ("letters.xyz", text("два\nатома\nКислород 0 0 0\n"), "unreadable"),
    "10,000 atoms": (
        "large.extxyz",
        lambda path: ase.io.write(path, bulk("Cu", cubic=True) * (10, 10, 25)),
        "too_many_atoms",
    ),
    # geometry
    "cell without volume": ("flat.traj", trajectory(flat_crystal()), "no_volume"),
    "overlapping atoms": ("overlap.xyz", text(extxyz("C 0 0 0\nO 0 0 1.1\nH 0 0 1.15")), "too_close"),
    "atoms at one place": ("same.xyz", text(extxyz("C 0 0 0\nC 0 0 0")), "too_close"),
    "one place through the border": ("image.extxyz", text(extxyz("Cu 0 0 0\nCu 4 0 0", comment=cell(4))), "too_close"),
    "cell of a million Å^3": ("empty.extxyz", text(extxyz("Cu 0 0 0", comment=cell(100))), "too_empty"),
    # other files
    "POSCAR with a negative count": ("POSCAR", text(POSCAR.format(counts="-1 1")), "unreadable|no_atoms|wrong_count"),
    "POSCAR with too few rows": ("CONTCAR", text(POSCAR.format(counts="3 4")), "wrong_count"),
    "POSCAR with a short row": ("short.vasp", text(POSCAR.format(counts="1 1")[:-9]), "wrong_count"),
    "POSCAR without counts": ("none.vasp", text(POSCAR.format(counts="one")), "unreadable"),
    "empty file": ("empty.cif", raw(b""), "empty_file"),
    "white space": ("blank.xyz", text(" \n\n"), "empty_file"),
    "SMILES": ("list.smi", text("CCO\nCCC\n"), "unknown_format"),
    "prose": ("my_structures.rst", text("# My structures\n"), "unknown_format|no_atoms"),
    "binary without an ending": ("core", raw(bytes(range(256)) * 9), "unknown_format|unreadable"),
    "JSON of something else": ("other.json", text('{"a": 1}'), "unreadable|no_atoms|unknown_format"),
    "JSON that names a class": (
        "class.json",
        text('{"@module": "subprocess", "@class": "Popen", "args": ["true"]}'),
        "unreadable|no_atoms|unknown_format",
    ),
    "HDF5 of another program": ("theirs.h5", foreign_hdf5, "unreadable"),
    "dataset of schema 99": ("future.h5", lambda path: dataset(path, 99), "unreadable"),
    "text named HDF5": ("text.h5", text("not HDF5"), "unreadable"),
    "SQLite of another program": ("theirs.db", raw(b"SQLite format 3\0" + bytes(100)), "unreadable"),
    "text named trajectory": ("text.traj", text("not a trajectory"), "unreadable|unknown_format"),
    "empty folder": ("folder", Path.mkdir, "empty_folder"),
    "folder of empty folders": ("outer", lambda path: (path / "inner").mkdir(parents=True), "empty_folder"),
    "folder named like a file": ("folder.cif", Path.mkdir, "empty_folder"),
    "links in a circle": ("circle.cif", link_loop, "not_a_file"),
    "link to nowhere": ("nowhere.cif", lambda path: path.symlink_to("gone.cif"), "not_a_file"),
    "link to its own folder": ("again", link_to_own_folder, "link_to_folder"),
    "pipe": ("pipe.xyz", os.mkfifo, "not_a_file"),
}


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "mine").mkdir()
    ase.io.write(tmp_path / "mine" / "good.extxyz", molecule("CH3CHO"))
    return tmp_path / "mine"


def run(paths: tuple[Path, ...], out: Path) -> tuple[list[Structure], list[Refused]]:
    generate(GenerateConfig(sources=[Files(count=99, paths=paths)]), out, seed=1, workers=1)
    made = open_dataset(out / "structures.h5")
    assert made.verify() == []
    return list(made), made.refused


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_by_name(case, folder, tmp_path):
    name, make, reason = BAD[case]
    make(folder / name)
    structures, refused = run((folder,), tmp_path / "out")
    assert [s.formula for s in structures] == ["C2H4O"]
    assert {r.reason for r in refused} <= set(reason.split("|"))
    assert refused
    assert any(name in r.detail for r in refused), refused
    assert all(r.source == "files" and r.stage == "generate" and r.id for r in refused)
    assert all("\n" not in r.detail and len(r.detail) < 500 for r in refused)


def test_there_are_more_than_thirty():
    assert len(BAD) > 30


def test_all_of_them_together(folder, tmp_path):
    for name, make, _ in BAD.values():
        make(folder / name)
    structures, refused = run((folder,), tmp_path / "out")
    assert [s.formula for s in structures] == ["C2H4O"]
    for name, _, _ in BAD.values():
        assert any(name in r.detail for r in refused), name


def test_a_file_without_permission(folder, tmp_path):
    path = folder / "secret.cif"
    path.write_text(CIF)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root may read everything")
    structures, refused = run((folder,), tmp_path / "out")
    assert len(structures) == 1
    assert [r.reason for r in refused] == ["unreadable"]


@pytest.mark.parametrize("case", ["CIF cut within a row", "empty folder", "NaN position", "dataset of schema 99"])
def test_nothing_but_a_bad_file_is_an_error_with_its_name(case, tmp_path):
    name, make, reason = BAD[case]
    make(tmp_path / name)
    with pytest.raises(InputError, match=rf"(?s)cannot read any structure:.*{reason}: {name}"):
        run((tmp_path / name,), tmp_path / "out")


def test_nothing_but_a_file_that_is_too_large_is_an_error(tmp_path):
    name, make, _ = BAD["10,000 atoms"]
    make(tmp_path / name)
    with pytest.raises(PotstillError, match="no source made any structure"):
        run((tmp_path / name,), tmp_path / "out")


def test_bad_frames_between_good_ones(folder, tmp_path):
    frames = [molecule("CH4"), molecule("H2O"), molecule("NH3"), molecule("C2H6")]
    ase.io.write(folder / "some.extxyz", frames)
    content = (folder / "some.extxyz").read_text().splitlines()
    water = next(k for k, line in enumerate(content) if line.startswith("O "))
    content[water] = "X" + content[water][1:]
    (folder / "some.extxyz").write_text("\n".join(content) + "\n")
    structures, refused = run((folder,), tmp_path / "out")
    assert sorted(s.formula for s in structures) == ["C2H4O", "C2H6", "CH4", "H3N"]
    assert [(r.reason, "some.extxyz, frame 1" in r.detail) for r in refused] == [("unknown_element", True)]
