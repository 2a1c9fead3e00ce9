"""Outputs of electronic-structure programs: their charge and spin, and energies and forces of one calculation only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from outputs_kit import (
    AIMS,
    AIMS_CHARGED,
    AIMS_NEUTRAL,
    CASTEP,
    ORCA_GRADIENT,
    ORCA_STEP,
    gamess,
    gaussian,
    nwchem,
    nwchem_scf,
    orca,
)
from potstill.dataset.inputs import Frame, ReadOptions, UnusableError, open_frames
from potstill.dataset.inputs.converged import on_convergence
from potstill.dataset.inputs.foreign import facts_of_program
from potstill.dataset.inputs.mixed import refuse_mixed
from potstill.dataset.inputs.unusable import COMPRESSED, text_of


def read(path: Path, content: str, **options) -> list[Frame]:
    path.write_text(content)
    frames = open_frames(path, ReadOptions(**options))
    return [frames.frame(k) for k in range(len(frames))]


def reason(path: Path, content: str, **options) -> str:
    try:
        read(path, content, **options)
    except UnusableError as error:
        return error.reason
    return "read"


MOLECULES = {"orca.out": orca, "a.nwo": nwchem, "scf.nwo": nwchem_scf, "gamess.out": gamess, "gaussian.log": gaussian}


@pytest.mark.parametrize("name", MOLECULES)
class TestMolecules:
    @pytest.mark.parametrize(
        ("charge", "multiplicity", "says"), [(0, 1, "read"), (1, 1, "charged"), (-1, 1, "charged"), (0, 3, "radical")]
    )
    def test_charge_and_multiplicity(self, tmp_path, name, charge, multiplicity, says):
        assert reason(tmp_path / name, MOLECULES[name](charge, multiplicity)) == says

    def test_labels_of_the_neutral_one(self, tmp_path, name):
        (frame,) = read(tmp_path / name, MOLECULES[name]())
        assert frame.structure.labels is not None
        sign = 1 if name == "gaussian.log" else -1  # Gaussian writes forces, the others gradients
        np.testing.assert_allclose(frame.structure.labels.forces[0], [0, 0, sign * 0.036559 * 51.422], rtol=1e-4)


@pytest.mark.parametrize(("charge", "says"), [(" 0.000", "read"), (" 1.000", "charged"), ("-1.000", "charged")])
def test_charge_of_castep(tmp_path, charge, says):
    assert reason(tmp_path / "a.castep", CASTEP.format(charge=charge)) == says


@pytest.mark.parametrize(("charge", "says"), [("", "read"), (AIMS_NEUTRAL, "read"), (AIMS_CHARGED, "charged")])
def test_charge_of_aims(tmp_path, charge, says):
    assert reason(tmp_path / "aims.out", AIMS.format(charge=charge)) == says


@pytest.mark.parametrize(
    ("format_name", "text", "facts"),
    [
        ("nwchem-in", "geometry\nO 0 0 0\nend\ncharge -1\ndft\n mult 2\nend\n", {"charge": -1, "multiplicity": 2}),
        ("nwchem-in", "scf\n nopen 1\nend\n", {"unpaired_electrons": 1}),
        ("abinit-in", "znucl 14\n cellcharge 1.0\n", {"charge": 1}),
        ("dftb", "Hamiltonian = DFTB {\n  Charge = -1.0\n}\n", {"charge": -1}),
        ("octopus-in", "ExcessCharge = 1\n", {"charge": 1}),
        ("gaussian-out",
         " Charge =  0 Multiplicity = 1 in supermolecule\n Charge =  1 Multiplicity = 2 in fragment      1.\n",
         {"charge": 0, "multiplicity": 1}),
        ("gaussian-out", " Charge =  0 Multiplicity = 1\n Charge = -1 Multiplicity = 2\n",
         {"charge": -1, "multiplicity": 2}),
    ],
)  # fmt: skip
def test_facts_of_others(tmp_path, format_name, text, facts):
    (tmp_path / "a.txt").write_text(text)
    assert facts_of_program(text_of(tmp_path / "a.txt"), format_name)[0] == facts


@pytest.mark.parametrize(("electrons", "charge"), [(8.0, 0.0), (7.0, 1.0), (9.0, -1.0)])
def test_electrons_of_espresso_are_a_charge(tmp_path, electrons, charge):
    (tmp_path / "pw.out").write_text(
        f"     number of electrons       =  {electrons:11.2f}\n"
        "     atomic species   valence    mass     pseudopotential\n"
        "        Si1            4.00    28.08550     Si( 1.00)\n"
        "        Si2            4.00    28.08550     Si( 1.00)\n\n"
        "     site n.     atom                  positions (alat units)\n"
        "         1           Si1 tau(   1) = (   0.0000000   0.0000000   0.0000000  )\n"
        "         2           Si2 tau(   2) = (   0.2500000   0.2500000   0.2500000  )\n"
        "     number of k points=     1\n"
    )
    assert facts_of_program(text_of(tmp_path / "pw.out"), "espresso-out")[0] == {"charge": charge}


@pytest.mark.parametrize(("extrapolated", "said"), [(-10.1234, False), (-10.1200, True)])
def test_an_extrapolated_energy_of_gpaw_is_said(tmp_path, extrapolated, said):
    (tmp_path / "a.txt").write_text(f"Free energy:    -10.123400\nExtrapolated:   {extrapolated:.6f}\n")
    remarks = facts_of_program(text_of(tmp_path / "a.txt"), "gpaw-out")[1]
    assert remarks == (
        ["the energy is extrapolated to no smearing, and forces are the slope of the free energy"] if said else []
    )


@pytest.mark.parametrize(
    "says",
    [
        " SCF IS UNCONVERGED, TOO MANY ITERATIONS",
        " scprqt:  WARNING -\n  nstep=   30 was not enough SCF cycles to converge;",
        " >>>>>>>>>> Convergence criterion not met.",
        "SCC is NOT converged, maximal SCC iterations exceeded",
        "WARNING: electronic minimization has not been converged",
        "self-consistency was not reached",
        "SCF failed to converge",
        "did not converge within 100 cycles",
    ],
)
def test_an_output_that_did_not_converge_is_said(tmp_path, says):
    (tmp_path / "a.txt").write_text(says)
    assert "did not converge" in on_convergence(tmp_path / "a.txt", "gamess-us-out")[0]


@pytest.mark.parametrize(
    "says",
    [
        "Self-consistency cycle not yet converged",
        "SCF converged after 12 cycles",
        "the geometry has not converged",
        "density ok",
    ],
)
def test_an_output_that_converged_is_silent(tmp_path, says):
    (tmp_path / "a.txt").write_text(says)
    assert on_convergence(tmp_path / "a.txt", "gamess-us-out") == []


def test_the_largest_charge_of_several_runs_of_espresso(tmp_path):
    run = (
        "     Program PWSCF v.7.2 starts\n     number of electrons       =  {:11.2f}\n"
        "     atomic species   valence    mass     pseudopotential\n"
        "        Si             4.00    28.08550     Si( 1.00)\n\n"
        "         1           Si  tau(   1) = (   0.0000000   0.0000000   0.0000000  )\n     number of k points=     1\n"
    )
    (tmp_path / "pw.out").write_text(run.format(4.0) + run.format(3.0))
    assert facts_of_program(text_of(tmp_path / "pw.out"), "espresso-out")[0] == {"charge": 1.0}


class TestOneCalculation:
    """Energy, forces and positions that ASE's readers would take from different calculations are refused."""

    def step(self, energy: float) -> str:
        return ORCA_STEP.format(charge=0, multiplicity=1, energy=energy)

    def test_two_jobs_of_orca(self, tmp_path):
        text = orca(0, 1, self.step(-76.4), ORCA_GRADIENT, self.step(-76.3))
        assert reason(tmp_path / "a.out", text) == "mixed_labels"
        assert reason(tmp_path / "a.out", text, labels=False) == "read"

    def test_steps_of_an_optimization_of_orca_are_read(self, tmp_path):
        relaxation = "                    ORCA GEOMETRY RELAXATION STEP\n"
        head = "ORCA SCF GRADIENT CALCULATION\n"
        atoms = "Number of atoms                             ...      3\n"
        text = orca(0, 1, head, self.step(-76.4), ORCA_GRADIENT, relaxation, atoms, self.step(-76.5), ORCA_GRADIENT)
        energies = [frame.structure.labels.energy for frame in read(tmp_path / "a.out", text)]
        np.testing.assert_allclose(energies, [-76.4 * 27.2114, -76.5 * 27.2114], rtol=1e-5)

    def test_an_optimization_of_gamess(self, tmp_path):
        assert reason(tmp_path / "a.out", gamess(steps=2)) == "mixed_labels"

    @pytest.mark.parametrize(
        ("orientation", "says"), [("Input", "read"), ("Z-Matrix", "read"), ("Standard", "mixed_labels")]
    )
    def test_the_orientation_of_gaussian(self, tmp_path, orientation, says):
        assert reason(tmp_path / "a.log", gaussian(orientation=orientation)) == says

    @pytest.mark.parametrize(
        "more",
        [
            " Total Energy, E(TD-HF/TD-DFT) =  -76.1234567890",
            " Total Energy, E(TD-HF/TD-KS) =  -76.1234567890",
            " Total Energy, E(CIS) =  -76.1234567890",
            " ONIOM: extrapolated energy =     -76.123456789",
            " Counterpoise corrected energy =     -76.123456789",
        ],
    )
    def test_another_energy_of_gaussian(self, tmp_path, more):
        assert reason(tmp_path / "a.log", gaussian(more=more)) == "mixed_labels"

    def test_the_refusal_says_what_to_do(self):
        with pytest.raises(UnusableError, match=r"2 gradients and 1 geometry .* write the wanted steps as extended XYZ"):
            refuse_mixed(gamess(steps=2), "gamess-us-out")


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz"])
def test_a_compressed_output_of_a_reader_that_wants_a_file_name(tmp_path, ending):
    with COMPRESSED[ending](tmp_path / f"orca.out{ending}", "wb") as file:
        file.write(orca().encode())
    assert open_frames(tmp_path / f"orca.out{ending}").frame(0).structure.formula == "H2O"


OUTCAR = """   NELM   =     4;   NELMIN=  2; NELMDL= -5     # of ELM steps
{}"""
STEP = "--- Iteration {0:6}({1:4})  ---\n"
REACHED = "------------------------ aborting loop because EDIFF is reached ----\n"


@pytest.mark.parametrize(
    ("steps", "count"), [(((3, True), (4, False)), 1), (((4, True), (2, True)), 0), (((4, False), (4, False)), 2)]
)
def test_an_outcar_whose_electronic_steps_are_used_up(tmp_path, steps, count):
    """VASP 5 says nothing but that the last step is the last that is allowed."""
    text = ""
    for ionic, (electronic, reached) in enumerate(steps, 1):
        text += "".join(STEP.format(ionic, k + 1) for k in range(electronic)) + (REACHED if reached else "")
    (tmp_path / "OUTCAR").write_text(OUTCAR.format(text))
    remarks = on_convergence(tmp_path / "OUTCAR", "vasp-out")
    assert len(remarks) == bool(count)
    assert not count or f"{count} of 2 took all NELM = 4 steps" in remarks[0]


def test_the_energy_of_a_hybrid_functional_is_not_joined_with_its_forces():
    energies = "!    total energy              =     -15.75 Ry\n!!   total energy              =     -15.8612 Ry\n"
    with pytest.raises(UnusableError, match="without exact exchange"):
        refuse_mixed(energies, "espresso-out")
    refuse_mixed(energies.partition("!!")[0], "espresso-out")
