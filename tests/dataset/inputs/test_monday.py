"""Files as programs leave them: a charge among parameters of the calculator, a virial under the key of a stress."""

from __future__ import annotations

from pathlib import Path

import ase.io
import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.db import connect

from potstill.core.errors import DatasetError, InputError
from potstill.dataset import Dataset
from potstill.dataset.inputs import Frame, ReadOptions, UnusableError, open_frames

LABELLED = ReadOptions(labels=True)
LAMMPS = (
    "by write_data, units = metal\n\n2 atoms\n1 atom types\n\n0 3.6 xlo xhi\n0 3.6 ylo yhi\n0 7.2 zlo zhi\n\n"
    "Atom Type Labels\n\n1 Cu\n\nMasses\n\n{cu} 63.546\n\nAtoms # atomic\n\n1 {cu} 0.0 0.0 0.0\n2 {cu} 0.0 1.8 1.8\n"
)
WATER_OF_AMBER = "ATOM      1  O   WAT     1       0.000   0.000   0.000  1.00  0.00\n"


class Stating(Calculator):
    """A calculator that keeps the options of its program as ASE's do."""

    implemented_properties = ("energy", "forces")
    name = "stating"

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": -1.0, "forces": np.zeros((len(self.atoms), 3))}


def stating(**parameters) -> Atoms:
    atoms = molecule("CH3OH")
    atoms.calc = Stating(**parameters)
    atoms.get_forces()
    return atoms


def one(path: Path, options: ReadOptions = LABELLED) -> Frame:
    return open_frames(path, options).frame(0)


def why_not(path: Path, options: ReadOptions = LABELLED) -> tuple[str, str]:
    with pytest.raises(UnusableError) as refused:
        one(path, options)
    return refused.value.reason, str(refused.value)


class TestChargeOfTheCalculator:
    @pytest.mark.parametrize("name", ["ion.traj", "ion.db", "ion.json"])
    @pytest.mark.parametrize(
        ("parameters", "reason"),
        [
            ({"charge": 1}, "charged"),
            ({"method": "GFN2-xTB", "charge": 0, "multiplicity": 3}, "radical"),
            ({"input_data": {"system": {"tot_charge": -1.0}}}, "charged"),
            ({"Hamiltonian_Charge": 1}, "charged"),
        ],
    )
    def test_an_ion_is_refused(self, tmp_path, name, parameters, reason):
        ase.io.write(tmp_path / name, stating(**parameters))
        assert why_not(tmp_path / name)[0] == reason

    @pytest.mark.parametrize("name", ["neutral.traj", "neutral.db", "neutral.json"])
    def test_options_of_a_neutral_molecule_are_read(self, tmp_path, name):
        parameters = {"charge": 0, "multiplicity": 1, "spin": "collinear", "spinpol": True, "dft": {"mult": None}}
        ase.io.write(tmp_path / name, stating(**parameters))
        assert one(tmp_path / name).structure.labels.energy == -1.0

    def test_what_the_frame_states_goes_before(self, tmp_path):
        with connect(tmp_path / "neutral.db") as database:
            database.write(stating(charge=1), data={"charge": 0})
        assert one(tmp_path / "neutral.db").structure.labels is not None


class TestVirialAsStress:
    @pytest.fixture
    def path(self, tmp_path):
        atoms = bulk("Cu", cubic=True)
        atoms.info = {"my_energy": -1.0, "my_virial": np.diag([1.0, 2.0, 3.0]), "six_virial": np.ones(6)}
        atoms.arrays["my_forces"] = np.zeros((4, 3))
        ase.io.write(tmp_path / "a.extxyz", atoms)
        return tmp_path / "a.extxyz"

    def test_it_is_taken_as_the_virial_that_its_name_says(self, path):
        frame = one(path, ReadOptions(energy_key="my_energy", forces_key="my_forces", stress_key="my_virial"))
        np.testing.assert_allclose(frame.structure.labels.stress, -np.diag([1.0, 2.0, 3.0]) / 3.61**3)
        assert any("'my_virial' is taken as a virial in eV" in remark for remark in frame.remarks)

    def test_six_numbers_are_refused(self, path):
        reason, why = why_not(path, ReadOptions(energy_key="my_energy", forces_key="my_forces", stress_key="six_virial"))
        assert reason == "wrong_label"
        assert "expected nine of a virial" in why


class TestRefusalsSayWhatIsSo:
    @pytest.mark.parametrize(("cell", "words"), [([20.0] * 3, "with a cell"), (None, "without a cell")])
    def test_isolated_atoms_keep_their_cell(self, tmp_path, cell, words):
        atoms = Atoms("Cu", cell=cell, pbc=True, info={"config_type": "IsolatedAtom", "REF_energy": -1.2})
        atoms.arrays["REF_forces"] = np.zeros((1, 3))
        ase.io.write(tmp_path / "a.extxyz", atoms)
        frame = one(tmp_path / "a.extxyz")
        assert frame.structure.pbc.all() == (cell is not None)
        assert any(f"taken as a structure {words} like" in remark for remark in frame.remarks)

    def test_no_element_is_proposed_for_an_atom_without_one(self, tmp_path):
        (tmp_path / "water.pdb").write_text(WATER_OF_AMBER)
        assert why_not(tmp_path / "water.pdb")[1].endswith("species: {O: ELEMENT, …}, --species O=ELEMENT")

    def test_labels_of_types_in_rows_of_lammps(self, tmp_path):
        (tmp_path / "a.data").write_text(LAMMPS.format(cu=1))
        assert one(tmp_path / "a.data").structure.formula == "Cu"
        (tmp_path / "a.data").write_text(LAMMPS.format(cu="Cu"))
        assert one(tmp_path / "a.data").structure.formula == "Cu"
        (tmp_path / "a.data").write_text(LAMMPS.format(cu="Cv"))
        assert "write_data FILE types numeric" in why_not(tmp_path / "a.data")[1]

    def test_a_cif_that_is_none(self, tmp_path):
        ase.io.write(tmp_path / "a.cif", bulk("Cu"), format="vasp")
        assert "no line begins with 'data_'" in why_not(tmp_path / "a.cif")[1]

    def test_a_format_whose_name_is_not_the_usual_one(self, tmp_path):
        (tmp_path / "geometry.in.next_step").write_text("atom 0 0 0 Cu\n")
        assert "recognises the format by name and content" in why_not(tmp_path / "geometry.in.next_step")[1]

    def test_a_name_by_which_ase_takes_it_for_another_format(self, tmp_path):
        ase.io.write(tmp_path / "md.dat", bulk("Cu"), format="extxyz")
        assert "give it the ending of that one" in why_not(tmp_path / "md.dat")[1]

    def test_hdf5_of_another_program(self, tmp_path):
        with h5py.File(tmp_path / "spice.hdf5", "w") as file:
            file["atomic_numbers"] = [6, 1]
        with pytest.raises(DatasetError, match="another program wrote or edited it"):
            Dataset(tmp_path / "spice.hdf5")

    def test_a_text_where_a_dataset_is_expected(self, tmp_path):
        (tmp_path / "my a.extxyz").write_text("1\n\nH 0 0 0\n")
        with pytest.raises(InputError, match=r"potstill convert '\S*my a.extxyz' '\S*my a.h5'"):
            Dataset(tmp_path / "my a.extxyz")
