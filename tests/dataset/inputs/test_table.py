"""The table of docs/inputs.md, cell by cell: its text stands here, and each cell has a check that writes and reads files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from potstill.core.types import Labels, Structure
from potstill.dataset import write_part
from potstill.dataset.inputs import Frame, ReadOptions, UnusableError, open_frames

DOCS = Path(__file__).parents[3] / "docs" / "inputs.md"
COLUMNS = ("elements", "cell and pbc", "charge, spin", "labels", "constraints")
STRESS = np.array([[0.01, 0.002, 0.003], [0.002, 0.02, 0.004], [0.003, 0.004, 0.03]])
VOIGT = np.array([0.01, 0.02, 0.03, 0.004, 0.003, 0.002])


def read(path: Path, **options) -> list[Frame]:
    frames = open_frames(path, ReadOptions(**options))
    return [frames.frame(k) for k in range(len(frames))]


def reason(path: Path, **options) -> str:
    try:
        read(path, **options)
    except UnusableError as error:
        return error.reason
    return "read"


def salt(*, labels: bool = False, fixed: bool = False) -> Atoms:
    """A triclinic crystal of known labels."""
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    atoms.rattle(0.05, seed=1)
    if labels:
        forces = np.array([[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]])
        atoms.calc = SinglePointCalculator(atoms, energy=-7.5, forces=forces, stress=VOIGT)
    if fixed:
        atoms.set_constraint(FixAtoms([0]))
    return atoms


def hydroxide(**info) -> Atoms:
    atoms = Atoms("OH", [[0, 0, 0], [0, 0, 0.97]])
    atoms.info.update(info)
    return atoms


def same_crystal(found: Structure, meant: Atoms, *, error: float = 1e-4) -> None:
    assert found.pbc.all()
    np.testing.assert_array_equal(np.sort(found.atomic_numbers), np.sort(meant.numbers))
    assert found.volume == pytest.approx(meant.cell.volume, rel=1e-4)
    distance = Structure.from_ase(found.to_ase()).to_ase().get_distance(0, 1, mic=True)
    assert distance == pytest.approx(meant.get_distance(0, 1, mic=True), abs=error)


def known_labels(found: Structure) -> None:
    assert found.labels is not None
    assert found.labels.energy == pytest.approx(-7.5)
    np.testing.assert_allclose(found.labels.forces[0], [0.1, 0.2, 0.3], atol=1e-7)
    np.testing.assert_allclose(found.labels.stress, STRESS, atol=1e-7)


def write_db(path: Path, atoms: Atoms, data: dict | None = None, **pairs) -> Path:
    with ase.db.connect(path, use_lock_file=False) as database:
        database.write(atoms, data=data or {}, key_value_pairs=pairs)
    return path


def written(path: Path, atoms: Atoms, **options) -> Path:
    ase.io.write(path, atoms, **options)
    return path


def text(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


# ------------------------------------------------------------------ extended XYZ


def xyz_elements(tmp: Path) -> None:
    assert read(text(tmp / "a.xyz", "2\n\nC 0 0 0\nO 0 0 1.1\n"))[0].structure.formula == "CO"
    assert reason(text(tmp / "b.xyz", "1\n\nOW 0 0 0\n")) != "read"
    assert read(tmp / "b.xyz", species=(("OW", "O"),))[0].structure.formula == "O"
    both = "1\nProperties=Z:I:1:species:S:1:pos:R:3\n{} Cl 0 0 0\n"
    assert read(text(tmp / "c.xyz", both.format(17)))[0].structure.formula == "Cl"
    assert reason(text(tmp / "d.xyz", both.format(11))) == "no_elements"


def xyz_cell(tmp: Path) -> None:
    same_crystal(read(written(tmp / "a.extxyz", salt()))[0].structure, salt(), error=1e-6)
    slab = salt()
    slab.pbc = (True, True, False)
    assert read(written(tmp / "b.extxyz", slab))[0].structure.pbc.tolist() == [True, True, False]
    assert not read(written(tmp / "c.xyz", molecule("H2O"), format="xyz"))[0].structure.pbc.any()


def charge_in_info(ending: str) -> Callable[[Path], None]:
    def check(tmp: Path) -> None:
        for key in ("charge", "total_charge"):
            assert reason(written(tmp / f"{key}{ending}", hydroxide(**{key: -1}))) == "charged"
        assert reason(written(tmp / f"radical{ending}", hydroxide(charge=0, spin=2))) == "radical"
        # 9 electrons: 1 is one unpaired electron; 10 electrons: 1 is a multiplicity
        assert reason(written(tmp / f"odd{ending}", hydroxide(spin=1))) == "radical"
        water = molecule("H2O")
        water.info.update(charge=0, spin=1)
        assert reason(written(tmp / f"water{ending}", water)) == "read"
        (kept,) = read(tmp / f"charge{ending}", ignore_charge=True)
        assert kept.structure.generator_metadata["stated_charge"] == -1

    return check


def xyz_labels(tmp: Path) -> None:
    path = written(tmp / "a.extxyz", salt(labels=True))
    known_labels(read(path)[0].structure)
    ref = (
        path.read_text()
        .replace("forces:R", "REF_forces:R")
        .replace(" energy=", " REF_energy=")
        .replace("stress=", "REF_stress=")
    )
    known_labels(read(text(tmp / "ref.extxyz", ref))[0].structure)
    mine = (
        ref.replace("REF_forces:R", "forces_DFT:R").replace("REF_energy", "energy_DFT").replace("REF_stress", "stress_DFT")
    )
    (unread,) = read(text(tmp / "mine.extxyz", mine))
    assert unread.structure.labels is None
    assert "'energy_DFT', 'forces_DFT', 'stress_DFT'" in " ".join(unread.remarks)
    keys = {"energy_key": "energy_DFT", "forces_key": "forces_DFT", "stress_key": "stress_DFT"}
    known_labels(read(tmp / "mine.extxyz", **keys)[0].structure)


def move_mask(ending: str, **options) -> Callable[[Path], None]:
    def check(tmp: Path) -> None:
        (frame,) = read(written(tmp / f"a{ending}", salt(fixed=True), **options))
        assert "constraints (FixAtoms) are not kept" in " ".join(frame.remarks)

    return check


# ------------------------------------------------------------------ CIF

CIF = """data_silicon
_cell_length_a 5.431
_cell_length_b 5.431
_cell_length_c 5.431
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt '{symbol}'
_space_group_IT_number 227
{code}
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Si1 {element} {x} {x} {x}
"""


def silicon(path: Path, *, symbol: str = "F d -3 m :2", code: str = "", x: float = 0.125, element: str = "Si") -> Path:
    return text(path, CIF.format(symbol=symbol, code=code, x=x, element=element))


def shortest(found: Structure) -> float:
    distances = found.to_ase().get_all_distances(mic=True)
    return float(distances[distances > 0].min())


def cif_elements(tmp: Path) -> None:
    assert read(silicon(tmp / "a.cif"))[0].structure.formula == "Si"
    assert reason(silicon(tmp / "b.cif", element="Q1")) == "no_elements"
    only_labels = silicon(tmp / "c.cif").read_text().replace("_atom_site_type_symbol", "_atom_site_note")
    assert read(text(tmp / "d.cif", only_labels))[0].structure.formula == "Si"
    assert reason(text(tmp / "e.cif", only_labels.replace("Si1", "CA1"))) == "no_elements"


def cif_settings(tmp: Path) -> None:
    code = "_space_group_IT_coordinate_system_code 2"
    for k, path in enumerate(
        (
            silicon(tmp / "a.cif"),
            silicon(tmp / "b.cif", symbol="F d -3 m", code=code),
            silicon(tmp / "c.cif", symbol="F d -3 m :1", x=0.0),
            silicon(tmp / "d.cif", symbol="F d -3 m Z"),
            silicon(tmp / "e.cif", symbol="F d -3 m", code="_space_group_name_Hall '-F 4vw 2vw 3'"),
        )
    ):
        found = read(path)[0].structure
        assert len(found) == 8, k
        assert shortest(found) == pytest.approx(5.431 * 3**0.5 / 4, abs=1e-3)
    assert reason(silicon(tmp / "f.cif", symbol="F d -3 m")) == "ambiguous_setting"
    assert reason(silicon(tmp / "g.cif", symbol="F d -3 m :7")) == "ambiguous_setting"
    same_crystal(read(written(tmp / "h.cif", salt()))[0].structure, salt())


def nothing_stated(path_of: Callable[[Path], Path], **options) -> Callable[[Path], None]:
    """No charge, labels or constraints have a place in the format: none are made up."""

    def check(tmp: Path) -> None:
        (frame,) = read(path_of(tmp), **options)
        assert frame.structure.labels is None
        assert not {"stated_charge", "stated_spin"} & set(frame.structure.generator_metadata)
        assert not any("constraint" in remark for remark in frame.remarks)

    return check


# ------------------------------------------------------------------ VASP

POSCAR4 = "slab of run 12, relaxed\n1.0\n5 0 0\n0 5 0\n0 0 5\n1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n"


def poscar_elements(tmp: Path) -> None:
    assert reason(text(tmp / "POSCAR", POSCAR4)) == "no_elements"
    assert read(tmp / "POSCAR", species=(("1", "Na"), ("2", "Cl")))[0].structure.formula == "ClNa"
    assert read(text(tmp / "CONTCAR", POSCAR4.replace("slab of run 12, relaxed", "Na Cl")))[0].structure.formula == "ClNa"
    assert read(text(tmp / "b.vasp", POSCAR4.replace("\n1 1\n", "\nNa Cl\n1 1\n")))[0].structure.formula == "ClNa"


def poscar(tmp: Path) -> Path:
    return written(tmp / "POSCAR", salt(), format="vasp")


# ------------------------------------------------------------------ molecules

PDB = "CRYST1   10.000   10.000   10.000  90.00  90.00  90.00 {group}\n{rows}END\n"
PDB_ROW = "HETATM{k:5d} {name:<4s} LIG A   1    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00          {symbol:>2s}{charge:2s}\n"


def pdb(
    path: Path, *, symbols: tuple[str, ...] = ("CA", "O"), charges: tuple[str, ...] = ("", ""), group: str = "P 1"
) -> Path:
    rows = "".join(
        PDB_ROW.format(k=k + 1, name=name, x=0.0, y=0.0, z=1.2 * k, symbol=symbol, charge=charge)
        for k, (name, symbol, charge) in enumerate(zip(("CA", "O1"), symbols, charges, strict=True))
    )
    return text(path, PDB.format(group=group, rows=rows))


def pdb_elements(tmp: Path) -> None:
    assert read(pdb(tmp / "a.pdb", symbols=("C", "O")))[0].structure.to_ase().get_chemical_formula() == "CO"
    assert read(pdb(tmp / "b.pdb", symbols=("CA", "O")))[0].structure.to_ase().get_chemical_formula() == "CaO"
    assert reason(pdb(tmp / "c.pdb", symbols=("", ""))) == "no_elements"
    assert read(tmp / "c.pdb", species=(("CA", "C"), ("O1", "O")))[0].structure.to_ase().get_chemical_formula() == "CO"


def pdb_cell(tmp: Path) -> None:
    assert read(pdb(tmp / "a.pdb"))[0].structure.volume == pytest.approx(1000)
    assert reason(pdb(tmp / "b.pdb", group="P 21 21 21")) == "asymmetric_unit"
    unit = pdb(tmp / "c.pdb").read_text().replace("10.000", " 1.000")
    assert not read(text(tmp / "d.pdb", unit))[0].structure.pbc.any()
    two = pdb(tmp / "e.pdb").read_text().replace("END\n", "ENDMDL\n")
    assert len(read(text(tmp / "f.pdb", f"MODEL 1\n{two}MODEL 2\n{two}END\n"))) == 2


def pdb_charge(tmp: Path) -> None:
    assert reason(pdb(tmp / "a.pdb", charges=("", "1-"))) == "charged"
    assert reason(pdb(tmp / "b.pdb", charges=("1+", "1-"))) == "read"


def mol_block(smiles: str) -> str:
    from rdkit import Chem
    from rdkit.Chem import AllChem

    whole = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(whole, randomSeed=1)
    return Chem.MolToMolBlock(whole)


def sdf_elements(tmp: Path) -> None:
    assert read(text(tmp / "a.sdf", mol_block("CO")))[0].structure.formula == "CH4O"
    assert reason(text(tmp / "b.sdf", mol_block("*CO"))) == "unknown_element"


def sdf_charge(tmp: Path) -> None:
    assert reason(text(tmp / "a.sdf", mol_block("C[NH3+]"))) == "charged"
    assert reason(text(tmp / "b.sdf", mol_block("C[CH2]"))) == "radical"
    (kept,) = read(tmp / "a.sdf", ignore_charge=True)
    assert kept.structure.generator_metadata["stated_charge"] == 1


def sdf_labels(tmp: Path) -> None:
    (frame,) = read(text(tmp / "a.sdf", mol_block("CO") + "> <energy>\n-7.5\n\n$$$$\n"))
    assert frame.structure.labels is None
    assert "energy" in " ".join(frame.remarks)


def no_cell(tmp: Path) -> None:
    assert not read(text(tmp / "a.sdf", mol_block("CO")))[0].structure.pbc.any()


# ------------------------------------------------------------------ LAMMPS, GROMACS, CP2K

DUMP = "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp ff\n0 5\n0 6\n0 7\nITEM: ATOMS {columns}\n{rows}"
DATA = "a file\n\n2 atoms\n2 atom types\n\n0 5 xlo xhi\n0 6 ylo yhi\n0 7 zlo zhi\n\n{masses}Atoms # {style}\n\n{rows}"
GRO_ROWS = "    1SOL     OW    1   0.000   0.000   0.000\n    1SOL    HW1    2   0.000   0.000   0.096\n"
GRO = f"title\n2\n{GRO_ROWS}   1.0 1.0 1.0\n"
OW = (("OW", "O"), ("HW1", "H"))
TYPES = (("1", "Na"), ("2", "Cl"))


def dump(path: Path, columns: str = "id type x y z", rows: str = "1 1 0 0 0\n2 2 0 0 2\n", head: str = "") -> Path:
    return text(path, head + DUMP.format(columns=columns, rows=rows))


def dump_elements(tmp: Path) -> None:
    assert reason(dump(tmp / "a.lammpstrj")) == "no_elements"
    assert read(tmp / "a.lammpstrj", species=TYPES)[0].structure.formula == "ClNa"
    named = dump(tmp / "b.lammpstrj", "id element x y z", "1 Na 0 0 0\n2 Cl 0 0 2\n")
    assert read(named)[0].structure.formula == "ClNa"


def dump_cell(tmp: Path) -> None:
    found = read(dump(tmp / "a.lammpstrj"), species=TYPES)[0].structure
    assert found.pbc.tolist() == [True, True, False]
    np.testing.assert_allclose(np.diag(found.cell), [5, 6, 7])
    assert reason(dump(tmp / "b.lammpstrj", head="ITEM: UNITS\nlj\n"), species=TYPES) == "units"


def dump_charge(tmp: Path) -> None:
    assert reason(dump(tmp / "a.lammpstrj", "id type q x y z", "1 1 1 0 0 0\n2 2 0 0 0 2\n"), species=TYPES) == "charged"
    assert reason(dump(tmp / "b.lammpstrj", "id type q x y z", "1 1 1 0 0 0\n2 2 -1 0 0 2\n"), species=TYPES) == "read"


def dump_labels(tmp: Path) -> None:
    path = dump(tmp / "a.lammpstrj", "id type x y z fx fy fz", "1 1 0 0 0 1 2 3\n2 2 0 0 2 4 5 6\n")
    (frame,) = read(path, species=TYPES)
    assert frame.structure.labels is None  # ASE makes up an energy of zero
    assert "forces of a dump" in " ".join(frame.remarks)


def data(path: Path, masses: str = "", style: str = "atomic", rows: str = "1 1 0 0 0\n2 2 0 0 2\n") -> Path:
    return text(path, DATA.format(masses=masses, style=style, rows=rows))


MASSES = "Masses\n\n1 22.9898\n2 35.45\n\n"


def data_elements(tmp: Path) -> None:
    assert reason(data(tmp / "a.lmp")) == "no_elements"
    assert read(tmp / "a.lmp", species=TYPES)[0].structure.formula == "ClNa"
    assert read(data(tmp / "b.lmp", MASSES))[0].structure.formula == "ClNa"
    assert reason(data(tmp / "c.lmp", MASSES.replace("22.9898", "15.035"))) == "no_elements"  # a united atom CH3
    labels = "Atom Type Labels\n\n1 Na\n2 Cl\n\n"
    assert read(data(tmp / "d.lmp", labels))[0].structure.formula == "ClNa"


def data_cell(tmp: Path) -> None:
    found = read(data(tmp / "a.lmp", MASSES))[0].structure
    assert found.pbc.all()
    np.testing.assert_allclose(np.diag(found.cell), [5, 6, 7])
    content = data(tmp / "b.lmp", MASSES).read_text().replace("a file", "LAMMPS data file, units = lj")
    assert reason(text(tmp / "c.lmp", content)) == "units"


def data_charge(tmp: Path) -> None:
    assert reason(data(tmp / "a.lmp", MASSES, "charge", "1 1 1 0 0 0\n2 2 0 0 0 2\n")) == "charged"


def gro_elements(tmp: Path) -> None:
    assert reason(text(tmp / "a.gro", GRO)) == "no_elements"
    (frame,) = read(tmp / "a.gro", species=OW)
    assert frame.structure.atomic_numbers.tolist() == [8, 1]


def gro_cell(tmp: Path) -> None:
    options = {"species": OW}
    found = read(text(tmp / "a.gro", GRO), **options)[0].structure
    assert found.volume == pytest.approx(1000)
    assert found.positions[1, 2] == pytest.approx(0.96)
    open_box = read(text(tmp / "b.gro", GRO.replace("1.0 1.0 1.0", "0.0 0.0 0.0")), **options)[0].structure
    assert not open_box.pbc.any()


CP2K = """&FORCE_EVAL
  &DFT
    CHARGE {charge}
    MULTIPLICITY 1
  &END DFT
  &SUBSYS
    &CELL
      A 10.0 0.0 0.0
      B 0.0 10.0 0.0
      C 0.0 0.0 10.0
      PERIODIC {periodic}
    &END CELL
    &COORD
{rows}
    &END COORD
    &KIND OA
      ELEMENT O
    &END KIND
  &END SUBSYS
&END FORCE_EVAL
"""
WATER = "OA 0.0 0.0 0.0\nH 0.0 0.0 0.96\nH 0.0 0.93 -0.24"


def cp2k(path: Path, *, rows: str = WATER, charge: int = 0, periodic: str = "XYZ") -> Path:
    return text(path, CP2K.format(rows=rows, charge=charge, periodic=periodic))


def cp2k_elements(tmp: Path) -> None:
    assert read(cp2k(tmp / "a.restart"))[0].structure.atomic_numbers.tolist() == [8, 1, 1]
    assert reason(cp2k(tmp / "b.restart", rows=WATER.replace("OA", "Q7"))) == "no_elements"


def cp2k_cell(tmp: Path) -> None:
    for periodic, pbc in (("XYZ", [True] * 3), ("NONE", [False] * 3), ("XY", [True, True, False])):
        found = read(cp2k(tmp / f"{periodic}.restart", periodic=periodic))[0].structure
        assert found.pbc.tolist() == pbc
    assert reason(cp2k(tmp / "scaled.restart", rows="SCALED T\n" + WATER)) == "units"
    other = re.sub(r"\n\s*A .*\n", "\n", cp2k(tmp / "whole.restart").read_text())
    assert reason(text(tmp / "other.restart", other)) == "no_cell"


def cp2k_charge(tmp: Path) -> None:
    assert reason(cp2k(tmp / "a.restart", charge=1)) == "charged"


# ------------------------------------------------------------------ ASE and pymatgen


def from_ase(ending: str) -> Callable[[Path], None]:
    def check(tmp: Path) -> None:
        same_crystal(read(written(tmp / f"a{ending}", salt()))[0].structure, salt(), error=1e-6)
        slab = salt()
        slab.pbc = (True, True, False)
        assert read(written(tmp / f"b{ending}", slab))[0].structure.pbc.tolist() == [True, True, False]

    return check


def labels_of_ase(ending: str) -> Callable[[Path], None]:
    def check(tmp: Path) -> None:
        known_labels(read(written(tmp / f"a{ending}", salt(labels=True)))[0].structure)

    return check


def charge_in_rows(ending: str) -> Callable[[Path], None]:
    def check(tmp: Path) -> None:
        assert reason(write_db(tmp / f"a{ending}", hydroxide(), data={"charge": -1})) == "charged"
        assert reason(write_db(tmp / f"b{ending}", hydroxide(), charge=-1)) == "charged"
        assert reason(write_db(tmp / f"c{ending}", hydroxide(), multiplicity=2)) == "radical"
        ion = hydroxide()
        ion.set_initial_charges([-1.2, 0.2])
        assert reason(write_db(tmp / f"d{ending}", ion)) == "charged"
        (kept,) = read(tmp / f"a{ending}", ignore_charge=True)
        assert kept.structure.generator_metadata["stated_charge"] == -1

    return check


def pymatgen_json(tmp: Path, **changes) -> Path:
    from pymatgen.core import Lattice
    from pymatgen.core import Structure as Crystal

    crystal = Crystal.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    return text(tmp / "salt.json", json.dumps({**crystal.as_dict(), **changes}))


def pymatgen_cell(tmp: Path) -> None:
    found = read(pymatgen_json(tmp))[0].structure
    assert (found.formula, len(found), found.pbc.all()) == ("ClNa", 8, True)


def pymatgen_charge(tmp: Path) -> None:
    assert reason(pymatgen_json(tmp, charge=2)) == "charged"


def h5_labels(tmp: Path) -> None:
    structure = Structure.from_ase(salt(), id="a", source="s", family="f", labels=Labels(-7.5, np.ones((2, 3)), STRESS))
    write_part(tmp / "a.h5", [structure], [], labelled=True)
    (frame,) = read(tmp / "a.h5")
    assert frame.structure.labels.energy == -7.5
    np.testing.assert_allclose(frame.structure.labels.stress, STRESS, atol=1e-8)


def h5_cell(tmp: Path) -> None:
    write_part(tmp / "a.h5", [Structure.from_ase(salt(), id="a", source="s", family="f")], [])
    same_crystal(read(tmp / "a.h5")[0].structure, salt(), error=1e-5)


@dataclass(frozen=True)
class Row:
    """One format: the text and the check of each cell."""

    name: str
    cells: tuple[tuple[str, Callable[[Path], None]], ...]


SYMBOLS = "symbols or atomic numbers"
ALL_KEYS = "energy, forces, stress of its calculator; other keys by options"
INFO = "`charge`, `spin`, … of the frame; the sum of its charges"
NONE = "no place for any"
DROPPED = "dropped, said"
ROWS = (
    Row(
        "XYZ, extended XYZ",
        (
            ("symbols; `Z`; two that disagree are refused; types and names by `species`", xyz_elements),
            ("`Lattice`, `pbc`; without both a molecule", xyz_cell),
            (INFO, charge_in_info(".extxyz")),
            ("`REF_energy` …, else `energy`, `forces`, `stress`; other keys by options; virials", xyz_labels),
            (f"`move_mask`: {DROPPED}", move_mask(".extxyz", columns=["symbols", "positions", "move_mask"])),
        ),
    ),
    Row(
        "CIF",
        (
            ("type symbols; else labels, refused where `CA1` may be two elements", cif_elements),
            ("operations that are listed, else the stated setting; refused where several remain", cif_settings),
            (NONE, nothing_stated(lambda tmp: silicon(tmp / "a.cif"))),
            (NONE, nothing_stated(lambda tmp: silicon(tmp / "a.cif"))),
            (NONE, nothing_stated(lambda tmp: silicon(tmp / "a.cif"))),
        ),
    ),
    Row(
        "POSCAR, CONTCAR",
        (
            ("the line of symbols; in VASP 4 files the first line if it is symbols only, or `species`", poscar_elements),
            ("its three vectors, all periodic", lambda tmp: same_crystal(read(poscar(tmp))[0].structure, salt())),
            (NONE, nothing_stated(poscar)),
            (NONE, nothing_stated(poscar)),
            (f"selective dynamics: {DROPPED}", move_mask(".vasp", format="vasp")),
        ),
    ),
    Row(
        "PDB",
        (
            ("columns 77 and 78, or `species` by atom names", pdb_elements),
            ("CRYST1 of group P 1; its unit cube is no cell; others are refused", pdb_cell),
            ("columns 79 and 80", pdb_charge),
            (NONE, nothing_stated(lambda tmp: pdb(tmp / "a.pdb"))),
            (NONE, nothing_stated(lambda tmp: pdb(tmp / "a.pdb"))),
        ),
    ),
    Row(
        "SDF, MOL",
        (
            ("symbols; implicit hydrogens are added", sdf_elements),
            ("none", no_cell),
            ("formal charges and radicals", sdf_charge),
            ("none; properties that look like some are named", sdf_labels),
            (NONE, nothing_stated(lambda tmp: text(tmp / "a.sdf", mol_block("CO")))),
        ),
    ),
    Row(
        "LAMMPS dump",
        (
            ("column `element`, type labels that are symbols, or `species` by type or label", dump_elements),
            ("box and boundaries; Å (units metal, real or none stated)", dump_cell),
            ("sum of `q`", dump_charge),
            ("none: forces have no energy beside them, said", dump_labels),
            (NONE, nothing_stated(lambda tmp: dump(tmp / "a.lammpstrj", "id element x y z", "1 Na 0 0 0\n2 Cl 0 0 2\n"))),
        ),
    ),
    Row(
        "LAMMPS data",
        (
            ("type labels, masses that one element has, or `species` by type or label", data_elements),
            ("box, all periodic; Å (units metal, real or none stated)", data_cell),
            ("sum of the charges", data_charge),
            (NONE, nothing_stated(lambda tmp: data(tmp / "a.lmp", MASSES))),
            (NONE, nothing_stated(lambda tmp: data(tmp / "a.lmp", MASSES))),
        ),
    ),
    Row(
        "GROMACS `.gro`",
        (
            ("`species` by atom names only", gro_elements),
            ("box, nm to Å; without one a molecule", gro_cell),
            (NONE, nothing_stated(lambda tmp: text(tmp / "a.gro", GRO), species=OW)),
            (NONE, nothing_stated(lambda tmp: text(tmp / "a.gro", GRO), species=OW)),
            (NONE, nothing_stated(lambda tmp: text(tmp / "a.gro", GRO), species=OW)),
        ),
    ),
    Row(
        "CP2K restart",
        (
            ("`ELEMENT` of the kind, kinds that are symbols, or `species`", cp2k_elements),
            ("vectors and `PERIODIC` of its cell in Å; other ways to state it are refused", cp2k_cell),
            ("`CHARGE`, `MULTIPLICITY`", cp2k_charge),
            (NONE, nothing_stated(lambda tmp: cp2k(tmp / "a.restart"))),
            (NONE, nothing_stated(lambda tmp: cp2k(tmp / "a.restart"))),
        ),
    ),
    Row(
        "ASE `.traj`",
        (
            (SYMBOLS, from_ase(".traj")),
            ("as stated", from_ase(".traj")),
            (INFO, charge_in_info(".traj")),
            (ALL_KEYS, labels_of_ase(".traj")),
            (DROPPED, move_mask(".traj")),
        ),
    ),
    Row(
        "ASE `.json`",
        (
            (SYMBOLS, from_ase(".json")),
            ("as stated", from_ase(".json")),
            ("of the row: key-value pairs, `data`, charges", charge_in_rows(".json")),
            (ALL_KEYS, labels_of_ase(".json")),
            (DROPPED, move_mask(".json")),
        ),
    ),
    Row(
        "ASE `.db`",
        (
            (SYMBOLS, from_ase(".db")),
            ("as stated", from_ase(".db")),
            ("of the row: key-value pairs, `data`, charges", charge_in_rows(".db")),
            (ALL_KEYS, labels_of_ase(".db")),
            (DROPPED, move_mask(".db")),
        ),
    ),
    Row(
        "LMDB `.aselmdb`",
        (
            (SYMBOLS, from_ase(".aselmdb")),
            ("as stated", from_ase(".aselmdb")),
            ("of the row: key-value pairs, `data`, charges", charge_in_rows(".aselmdb")),
            (ALL_KEYS, labels_of_ase(".aselmdb")),
            (DROPPED, move_mask(".aselmdb")),
        ),
    ),
    Row(
        "pymatgen `.json`",
        (
            ("species of ordered sites", pymatgen_cell),
            ("lattice, all periodic", pymatgen_cell),
            ("`charge`", pymatgen_charge),
            (NONE, nothing_stated(pymatgen_json)),
            (NONE, nothing_stated(pymatgen_json)),
        ),
    ),
    Row(
        "dataset `.h5`",
        (
            ("atomic numbers", h5_cell),
            ("as stated", h5_cell),
            (NONE, h5_cell),
            ("its own", h5_labels),
            (NONE, h5_cell),
        ),
    ),
)
CELLS = [(row.name, column, check) for row in ROWS for column, (_, check) in zip(COLUMNS, row.cells, strict=True)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "column", "check"), CELLS, ids=[f"{name}: {column}" for name, column, _ in CELLS])
def test_each_cell_of_the_table(name, column, check, tmp_path):  # noqa: ARG001 - they name the test
    if "LMDB" in name:
        pytest.importorskip("ase_db_backends")
    check(tmp_path)


def table() -> str:
    lines = [f"| format | {' | '.join(COLUMNS)} |", f"|{'---|' * (len(COLUMNS) + 1)}"]
    lines += [f"| {row.name} | {' | '.join(cell for cell, _ in row.cells)} |" for row in ROWS]
    return "\n".join(lines)


def test_the_table_of_the_docs_is_this_one():
    assert table() in DOCS.read_text(encoding="utf-8"), table()
