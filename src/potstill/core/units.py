"""Units: energies in eV, lengths in Å, forces in eV/Å, stress in eV/Å^3 (+ is tension), time in fs, mass in amu.

Other units appear only where numbers are printed, through the factors below (CODATA 2018).
"""

GPA_PER_EV_PER_CUBIC_ANGSTROM = 160.21766208
MILLI = 1e3
COULOMB_EV_ANGSTROM = 14.3996454784936  # e^2 / (4 pi eps0) in eV Å
BOHR_ANGSTROM = 0.529177210903
G_PER_CUBIC_CM_PER_AMU_PER_CUBIC_ANGSTROM = 1.66053906660
HARTREE_EV = 27.211386245988

UNITS = {
    "positions": "Å",
    "cell": "Å",
    "energy": "eV",
    "forces": "eV/Å",
    "stress": "eV/Å^3, + is tension",
}


def duration(seconds: float) -> str:
    """Return a time in seconds as short text.

    >>> duration(42), duration(3900), duration(200000)
    ('42 s', '1 h 05 min', '2 d 7 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
