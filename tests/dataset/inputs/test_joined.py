"""Files that users join: several structures in a format of one, labels of two calculators, and cells in a comment."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator

from outputs_kit import gaussian, orca
from potstill.dataset.inputs import Frame, ReadOptions, UnusableError, open_frames
from potstill.dataset.inputs.first_labels import FirstLabels
from potstill.dataset.inputs.several import refuse_several

LABELLED = ReadOptions(labels=True)
COPPER_ATOM = "1\nProperties=species:S:1:pos:R:3:{}forces:R:3 {}energy=-1.0\nCu 0 0 0 0 0 0\n"
OF_ONE = {  # formats whose readers take one structure, and the name of a file
    "abinit-in": "salt.abi",
    "castep-cell": "salt.cell",
    "crystal": "fort.34",
    "dmol-car": "salt.car",
    "gen": "salt.gen",
    "lammps-data": "salt.lmp",
    "nwchem-in": "salt.nwi",
    "onetep-in": "salt.dat",
    "res": "salt.res",
    "struct": "salt.struct",
    "turbomole": "coord",
    "vasp": "salt.vasp",
    "xsf": "salt.xsf",
}
TWO_ATOMS = "2\n{comment}\nAr 1.0 2.0 3.0\nAr 4.0 5.0 6.0\n"
PDB = "ATOM      1 CU                  0.000   0.000   {z}  {occupancy}  0.00          CU  \n"


def text_of(path: Path, format_name: str, lengths: tuple[float, ...]) -> str:
    options = {"masses": True} if format_name == "lammps-data" else {}
    parts = []
    for length in lengths:
        ase.io.write(str(path), bulk("NaCl", "rocksalt", length, cubic=True), format=format_name, **options)
        parts.append(path.read_text(encoding="utf-8"))
    return "".join(parts)


def frames(path: Path, options: ReadOptions = LABELLED) -> list[Frame]:
    opened = open_frames(path, options)
    return [opened.frame(k) for k in range(len(opened))]


def why_not(path: Path) -> tuple[str, str]:
    with pytest.raises(UnusableError) as refused:
        frames(path)
    return refused.value.reason, str(refused.value)


@pytest.mark.parametrize("bar", ["\\", "|"])
@pytest.mark.parametrize(
    ("jobs", "count"), [(("Force",), 1), (("FOpt", "Freq"), 1), (("Force", "Force"), 2), (("Freq", "SP", "FOpt"), 3)]
)
def test_jobs_in_one_output_of_gaussian(tmp_path, bar, jobs, count):
    archives = "".join(f" 1{bar}1{bar}GINC-NODE{bar}{kind}{bar}RB3LYP{bar}6-31G(d){bar}H2O1\n\n" for kind in jobs)
    path = tmp_path / "a.log"
    path.write_text(f" Entering Gaussian System, Link 0=g16\n{archives}", encoding="utf-8")
    if count == 1:
        refuse_several(path, "gaussian-out")
        return
    with pytest.raises(UnusableError, match=f"{count} jobs of 'gaussian-out'"):
        refuse_several(path, "gaussian-out")


@pytest.mark.filterwarnings("ignore")  # of ASE's writers
class TestSeveralStructures:
    @pytest.mark.parametrize(("format_name", "name"), OF_ONE.items())
    def test_are_refused_with_their_number(self, tmp_path, format_name, name):
        path = tmp_path / name
        path.write_text(text_of(path, format_name, (5.5, 5.6, 5.7)), encoding="utf-8")
        reason, said = why_not(path)
        assert reason == "several_structures"
        assert f"holds 3 structures of '{format_name}'" in said

    @pytest.mark.parametrize(("format_name", "name"), OF_ONE.items())
    def test_one_is_read(self, tmp_path, format_name, name):
        path = tmp_path / name
        path.write_text(text_of(path, format_name, (5.6,)), encoding="utf-8")
        assert len(frames(path)[0].structure.atomic_numbers) == 8

    def test_atoms_on_integers_are_no_structure(self, tmp_path):
        rows = "".join(f"{x} {y} {z}\n" for x in (0, 1) for y in (0, 1) for z in (0, 1))
        path = tmp_path / "POSCAR"
        path.write_text(f"as drawn\n1.0\n 4 0 0\n 0 4 0\n 0 0 4\nCs Cl\n8 1\nDirect\n{rows}0.5 0.5 0.5\n", encoding="utf-8")
        assert len(frames(path)[0].structure.atomic_numbers) == 9

    def test_velocities_of_a_contcar_are_no_structure(self, tmp_path):
        path = tmp_path / "CONTCAR"
        rows = "  0.10000000E-02  0.20000000E-02  0.30000000E-02\n" * 8
        lattice = "Lattice velocities and vectors\n  1\n" + "  0.0 0.0 0.0\n" * 3 + "  5.6 0.0 0.0\n" * 3
        predictor = f"\n           1\n  0.50000000E+00\n 0.1 0.2 0.3 0.4\n{rows}{rows}{rows}"
        path.write_text(text_of(path, "vasp", (5.6,)) + lattice + "\n" + rows + predictor, encoding="utf-8")
        assert len(frames(path)[0].structure.atomic_numbers) == 8

    def test_an_animated_xsf_has_its_frames(self, tmp_path):
        path = tmp_path / "salt.xsf"
        ase.io.write(str(path), [bulk("NaCl", "rocksalt", a, cubic=True) for a in (5.5, 5.6)], format="xsf")
        assert len(frames(path)) == 2


def labelled(calculator: object, seed: int) -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=seed)
    atoms.calc = calculator
    atoms.get_forces()
    return atoms


def said_of_two(found: list[Frame]) -> list[str]:
    """Return the remark on each frame whose labels are of another calculation than the first ones."""
    first = FirstLabels()
    return ["; ".join(r for r in first.compared(frame).remarks if "two calculations" in r) for frame in found]


class TestTwoCalculators:
    @pytest.mark.parametrize("name", ["mixed.db", "mixed.traj", "mixed.json"])
    def test_frames_of_the_second_are_said(self, tmp_path, name):
        ase.io.write(str(tmp_path / name), [labelled(EMT(), 1), labelled(LennardJones(sigma=2.3), 2), labelled(EMT(), 3)])
        said = said_of_two(frames(tmp_path / name))
        assert [bool(remark) for remark in said] == [False, True, False]
        assert "'emt' first, then 'lennardjones'" in said[1]

    @pytest.mark.parametrize("options", [LABELLED, ReadOptions()])
    def test_one_calculator_gives_no_remark(self, tmp_path, options):
        ase.io.write(str(tmp_path / "one.traj"), [labelled(EMT(), 1), labelled(EMT(), 2)])
        assert not any(said_of_two(frames(tmp_path / "one.traj", options)))

    def test_a_calculator_without_a_name_gives_no_remark(self, tmp_path):
        bare = bulk("Cu", cubic=True)
        bare.calc = SinglePointCalculator(bare, energy=-1.0, forces=np.zeros((4, 3)))
        ase.io.write(str(tmp_path / "some.traj"), [labelled(EMT(), 1), bare])
        assert not any(said_of_two(frames(tmp_path / "some.traj")))


class TestTwoKeysOfLabels:
    @pytest.mark.parametrize(("keys", "said"), [("rrp", [0, 0, 1]), ("pr", [0, 1]), ("rr", [0, 0]), ("pp", [0, 0])])
    def test_frames_of_the_other_key_are_said(self, tmp_path, keys, said):
        text = "".join(COPPER_ATOM.format(*((2 * ["REF_"]) if key == "r" else ["", ""])) for key in keys)
        (tmp_path / "joined.extxyz").write_text(text, encoding="utf-8")
        found = frames(tmp_path / "joined.extxyz", LABELLED)
        assert all(frame.structure.labels is not None for frame in found)
        assert [bool(remark) for remark in said_of_two(found)] == [bool(n) for n in said]

    def test_frames_without_labels_are_none_of_another(self, tmp_path):
        text = "1\nProperties=species:S:1:pos:R:3\nCu 0 0 0\n" + COPPER_ATOM.format("REF_", "REF_")
        (tmp_path / "joined.extxyz").write_text(text, encoding="utf-8")
        assert not any(said_of_two(frames(tmp_path / "joined.extxyz", LABELLED)))


class TestNumbersAloneInAComment:
    @pytest.mark.parametrize(
        "comment", ["10.0 10.0 10.0", " 10 0 0 0 10 0 0 0 10", "10.0 10.0 10.0 90.0 90.0 120.0", "10.0, 10.0, 12.5"]
    )
    def test_a_cell_is_refused(self, tmp_path, comment):
        (tmp_path / "a.xyz").write_text(TWO_ATOMS.format(comment=comment), encoding="utf-8")
        reason, said = why_not(tmp_path / "a.xyz")
        assert reason == "no_cell"
        assert "numbers alone" in said

    @pytest.mark.parametrize(
        "comment", ["", "-76.3", "0 1", "0.0 0.0 0.0", "-76.3 0.1 0.2", "10.0 10.0", "step 10.0 10.0 10.0", "1 2 3 4 5 6"]
    )
    def test_others_are_read(self, tmp_path, comment):
        (tmp_path / "a.xyz").write_text(TWO_ATOMS.format(comment=comment), encoding="utf-8")
        assert not frames(tmp_path / "a.xyz")[0].structure.pbc.any()


class TestOccupancyOfAPdb:
    def test_zero_everywhere_is_not_stated(self, tmp_path):
        text = "".join(PDB.format(z=z, occupancy=" 0.00") for z in ("0.000", "2.500"))
        (tmp_path / "vmd.pdb").write_text(text, encoding="utf-8")
        (frame,) = frames(tmp_path / "vmd.pdb")
        assert len(frame.structure.atomic_numbers) == 2
        assert any("every occupancy is 0" in remark for remark in frame.remarks)

    def test_zero_beside_one_is_disorder(self, tmp_path):
        rows = PDB.format(z="0.000", occupancy=" 1.00") + PDB.format(z="2.500", occupancy=" 0.00")
        (tmp_path / "site.pdb").write_text(rows, encoding="utf-8")
        assert why_not(tmp_path / "site.pdb")[0] == "disordered"


def test_outputs_of_two_programs_in_one_folder_are_said(tmp_path):
    first = FirstLabels()
    found = {}
    for name, text in (("a.log", gaussian()), ("b.log", gaussian()), ("orca.out", orca())):
        path = tmp_path / name
        path.write_text(text)
        found[name] = first.compared(frames(path)[0])
        assert found[name].structure.labels is not None
    said = [any(remark.startswith("labels of two calculations?") for remark in frame.remarks) for frame in found.values()]
    assert said == [False, False, True]


def test_two_heads_are_two_calculations(tmp_path):
    path = tmp_path / "heads.extxyz"
    path.write_text("".join(COPPER_ATOM.format("", f"head={head} ") for head in ("pbe_d3", "pbe_d3", "r2scan")))
    first = FirstLabels()
    said = [first.compared(frame).remarks for frame in frames(path)]
    told = [[r for r in remarks if r.startswith("labels of two calculations?")] for remarks in said]
    assert [len(remarks) for remarks in told] == [0, 0, 1]
    assert "'energy of head pbe_d3' first, then 'energy of head r2scan'" in told[2][0]
