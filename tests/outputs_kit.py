"""Outputs of electronic-structure programs, cut down to what their readers need."""

from __future__ import annotations

WATER_ROWS = ("O 0.000000 0.000000 0.119262", "H 0.000000 0.763239 -0.477047", "H 0.000000 -0.763239 -0.477047")

ORCA_HEAD = """
                                 *****************
                                 * O   R   C   A *
                                 *****************

Number of atoms                             ...      3
"""
ORCA_STEP = """
---------------------------------
CARTESIAN COORDINATES (ANGSTROEM)
---------------------------------
  O      0.000000    0.000000    0.119262
  H      0.000000    0.763239   -0.477047
  H      0.000000   -0.763239   -0.477047

General Settings:
 Integral files         IntName         .... water
 Hartree-Fock type      HFTyp           .... RHF
 Total Charge           Charge          ....    {charge}
 Multiplicity           Mult            ....    {multiplicity}
 Number of Electrons    NEL             ....   10

-------------------------   --------------------
FINAL SINGLE POINT ENERGY      {energy}
-------------------------   --------------------
"""
ORCA_GRADIENT = """
------------------
CARTESIAN GRADIENT
------------------

   1   O   :    0.000000000    0.000000000    0.036558632
   2   H   :    0.000000000    0.003968070   -0.018279316
   3   H   :    0.000000000   -0.003968070   -0.018279316

"""
ORCA_END = "                             ****ORCA TERMINATED NORMALLY****\n"

NWCHEM = """
              Northwest Computational Chemistry Package (NWChem) 7.0.2

                             Geometry "geometry" -> ""
                             -------------------------

 Output coordinates in angstroms (scale by  1.889725989 to convert to a.u.)

  No.       Tag          Charge          X              Y              Z
 ---- ---------------- ---------- -------------- -------------- --------------
    1 O                    8.0000     0.00000000     0.00000000     0.11926200
    2 H                    1.0000     0.00000000     0.76323900    -0.47704700
    3 H                    1.0000     0.00000000    -0.76323900    -0.47704700

                                 NWChem {module} Module
                                 -----------------

{general}
         Total {module} energy =    -76.020000000000

                         RHF ENERGY GRADIENTS

    atom               coordinates                        gradient
                 x          y          z           x          y          z
   1 O       0.000000   0.000000   0.225373    0.000000   0.000000   0.036559
   2 H       0.000000   1.442313  -0.901488    0.000000   0.003968  -0.018279
   3 H       0.000000  -1.442313  -0.901488    0.000000  -0.003968  -0.018279

"""
NWCHEM_DFT = """
          General Information
          -------------------
          No. of atoms     :     3
          No. of electrons :    10
          Charge           :    {charge}
          Spin multiplicity:    {multiplicity}
"""
NWCHEM_SCF = """
  ao basis        = "ao basis"
  charge          =   {charge:.2f}
  wavefunction    = ROHF
  atoms           =     3
  closed shells   =     4
  open shells     =     {open_shells}
"""

CASTEP = """
 +-------------------------------------------------+
 | Welcome to Academic Release CASTEP version 23.1 |
 ************************************ Title ************************************

 **************************** Electronic Parameters ****************************

 number of  electrons                           :  8.000
 net charge of system                           : {charge}
 treating system as non-spin-polarized

 *******************************************************************************
                                      Unit Cell
     8.0000000     0.0000000     0.0000000        0.785398163   0.000000000   0.000000000
     0.0000000     8.0000000     0.0000000        0.000000000   0.785398163   0.000000000
     0.0000000     0.0000000     8.0000000        0.000000000   0.000000000   0.785398163
                           -------------------------------
                                     Cell Contents
                         Total number of ions in cell =    2

            x  Element    Atom        Fractional coordinates of atoms  x
            x  Si           1         0.000000   0.000000   0.000000   x
            x  Si           2         0.250000   0.250000   0.250000   x

Final energy, E             =  -337.8000000000     eV
 ************************************** Forces **************************************
 * Si              1     -0.09963              0.10729             -0.00665         *
 * Si              2      0.09963             -0.10729              0.00665         *
Finalisation time   =      0.18 s
"""

AIMS = """
          Invoking FHI-aims ...
  Reading file control.in.
{charge}
  | Number of atoms                   :        3
  | Number of spin channels           :        1
  The structure contains        3 atoms,  and a total of         10.000 electrons.
  | Atomic structure:
  |       Atom                x [A]            y [A]            z [A]
  |    1: Species O             0.00000000        0.00000000        0.11926200
  |    2: Species H             0.00000000        0.76323900       -0.47704700
  |    3: Species H             0.00000000       -0.76323900       -0.47704700
  | Number of Kohn-Sham states (occupied + empty):        8
Convergence:    q app. |  density  | eigen (eV) | Etot (eV) |             . |       CPU time |     Clock time
  | Total energy corrected        :         -0.207000000000000E+04 eV
  | Electronic free energy        :         -0.207000000000000E+04 eV
          Have a nice day.
"""
AIMS_CHARGED = "  Charged system requested: Charge =   1.000000E+00."
AIMS_NEUTRAL = "  Charge =   0.000000E+00: Neutral system requested explicitly."

GAMESS = """
          *         GAMESS VERSION = 30 JUN 2023 (R1)          *
 ATOM      ATOMIC                      COORDINATES (BOHR)
           CHARGE         X                   Y                   Z
 O           8.0     0.0000000000        0.0000000000        0.2253725007
 H           1.0     0.0000000000        1.4423125731       -0.9014881133
 H           1.0     0.0000000000       -1.4423125731       -0.9014881133

 NUMBER OF ELECTRONS                          =   10
 CHARGE OF MOLECULE                           =   {charge}
 SPIN MULTIPLICITY                            =   {multiplicity}
{steps}"""
GAMESS_STEP = """
 FINAL RHF ENERGY IS      -75.9834173703 AFTER  10 ITERATIONS

                         ----------------------
                         GRADIENT OF THE ENERGY
                         ----------------------

 UNITS ARE HARTREE/BOHR    E'X               E'Y               E'Z
    1 O                0.000000000       0.000000000       0.036558632
    2 H                0.000000000       0.003968070      -0.018279316
    3 H                0.000000000      -0.003968070      -0.018279316

"""

GAUSSIAN = """
 Entering Gaussian System, Link 0=g16
 Charge =  {charge} Multiplicity = {multiplicity}
                          {orientation} orientation:
 ---------------------------------------------------------------------
 Center     Atomic      Atomic             Coordinates (Angstroms)
 Number     Number       Type             X           Y           Z
 ---------------------------------------------------------------------
      1          8           0        0.000000    0.000000    0.119262
      2          1           0        0.000000    0.763239   -0.477047
      3          1           0        0.000000   -0.763239   -0.477047
 ---------------------------------------------------------------------
 SCF Done:  E(RB3LYP) =  -76.4089533236     A.U. after   10 cycles
{more}
 -------------------------------------------------------------------
 Center     Atomic                   Forces (Hartrees/Bohr)
 Number     Number              X              Y              Z
 -------------------------------------------------------------------
      1        8           0.000000000    0.000000000    0.036558632
      2        1           0.000000000    0.003968070   -0.018279316
      3        1           0.000000000   -0.003968070   -0.018279316
 -------------------------------------------------------------------
"""


def orca(charge: int = 0, multiplicity: int = 1, *steps: str) -> str:
    step = ORCA_STEP.format(charge=charge, multiplicity=multiplicity, energy=-76.4)
    return ORCA_HEAD + "".join(steps or (step, ORCA_GRADIENT)) + ORCA_END


def nwchem(charge: int = 0, multiplicity: int = 1) -> str:
    return NWCHEM.format(module="DFT", general=NWCHEM_DFT.format(charge=charge, multiplicity=multiplicity))


def nwchem_scf(charge: int = 0, multiplicity: int = 1) -> str:
    return NWCHEM.format(module="SCF", general=NWCHEM_SCF.format(charge=charge, open_shells=multiplicity - 1))


def gamess(charge: int = 0, multiplicity: int = 1, steps: int = 1) -> str:
    return GAMESS.format(charge=charge, multiplicity=multiplicity, steps=GAMESS_STEP * steps)


def gaussian(charge: int = 0, multiplicity: int = 1, orientation: str = "Input", more: str = "") -> str:
    return GAUSSIAN.format(charge=charge, multiplicity=multiplicity, orientation=orientation, more=more)
