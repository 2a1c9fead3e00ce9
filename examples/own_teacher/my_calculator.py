"""A calculator of your own: any class or function that gives an ASE calculator. This one is a Morse potential."""

from ase.calculators.morse import MorsePotential


def make(well_depth_ev: float = 0.35, distance_angstrom: float = 2.6) -> MorsePotential:
    """Return the calculator; the options come from ``label.teacher.options`` of the config."""
    return MorsePotential(epsilon=well_depth_ev, r0=distance_angstrom, rho0=3.6, rcut1=4.5, rcut2=5.5)
