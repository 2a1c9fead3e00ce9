"""The command that runs each export, typed in its folder."""

from __future__ import annotations

COMMANDS = {
    "ase": "python run_md.py",
    "lammps": "potstill setup lammps && lmp -in in.potstill",
    "openmm": "python run_openmm.py",
    "torchsim": "python run_torchsim.py",
    "metatomic": "python run_metatomic.py",
    "ipi": "i-pi input.xml",
    "pt2": "python run_pt2.py",
}
