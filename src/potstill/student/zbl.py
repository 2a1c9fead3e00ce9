"""The screened nuclear repulsion of Ziegler, Biersack and Littmark, so that atoms never fuse where there were no data.

"The Stopping and Range of Ions in Solids" (1985), eqs. 2-73 to 2-76. It is switched off smoothly at the sum of the covalent
radii, so that it acts inside bonds only.
"""

from __future__ import annotations

import torch

from potstill.generate.geometry import covalent_radii
from potstill.units import BOHR_ANGSTROM, COULOMB_EV_ANGSTROM

AMPLITUDES = (0.18175, 0.50986, 0.28022, 0.02817)
DECAYS = (3.1998, 0.94229, 0.4029, 0.20162)
SCREENING_EXPONENT = 0.23
SCREENING_LENGTH_BOHR = 0.8854


def cutoff_envelope(x: torch.Tensor, p: int = 5) -> torch.Tensor:
    """Polynomial that is 1 at 0 and vanishes with two derivatives at 1 (Gasteiger, Groß and Günnemann, ICLR 2020, eq. 8)."""
    x = x.clamp(max=1.0)
    a, b, c = -(p + 1) * (p + 2) / 2, p * (p + 2), -p * (p + 1) / 2
    return 1.0 + x**p * (a + x * (b + x * c))


def zbl_energy(z_i: torch.Tensor, z_j: torch.Tensor, distance: torch.Tensor) -> torch.Tensor:
    """(e,) repulsion of each pair in eV.

    Parameters
    ----------
    z_i, z_j
        (e,) atomic numbers.
    distance
        (e,) in Å.
    """
    radii = torch.as_tensor(covalent_radii(), dtype=distance.dtype, device=distance.device)
    zi, zj = z_i.to(distance.dtype), z_j.to(distance.dtype)
    length = SCREENING_LENGTH_BOHR * BOHR_ANGSTROM / (zi**SCREENING_EXPONENT + zj**SCREENING_EXPONENT)
    x = distance / length
    screening = torch.zeros_like(x)
    for amplitude, decay in zip(AMPLITUDES, DECAYS, strict=True):
        screening = screening + amplitude * torch.exp(-decay * x)
    envelope = cutoff_envelope(distance / (radii[z_i] + radii[z_j]))
    return COULOMB_EV_ANGSTROM * zi * zj / distance * screening * envelope
