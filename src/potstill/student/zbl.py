"""The screened nuclear repulsion of Ziegler, Biersack and Littmark, which keeps atoms apart where there are no data.

"The Stopping and Range of Ions in Solids" (1985), eqs. 2-73 to 2-76. It is switched off smoothly at the sum of the covalent
radii, so that it acts inside bonds only, and at the cutoff where that is shorter.
"""

from __future__ import annotations

import torch

from potstill.core.elements import covalent_radii
from potstill.core.units import BOHR_ANGSTROM, COULOMB_EV_ANGSTROM
from potstill.student.basis import cutoff_envelope

AMPLITUDES = (0.18175, 0.50986, 0.28022, 0.02817)
DECAYS = (3.1998, 0.94229, 0.4029, 0.20162)
SCREENING_EXPONENT = 0.23
SCREENING_LENGTH_BOHR = 0.8854


def zbl_energy(
    z_i: torch.Tensor, z_j: torch.Tensor, distance: torch.Tensor, cutoff: float, radii: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the repulsion of each pair in eV, in the shape of ``distance``.

    Parameters
    ----------
    z_i, z_j
        Atomic numbers, of shapes that broadcast to that of ``distance``.
    distance
        Distances in Å.
    cutoff
        Cutoff in Å; the repulsion ends here for pairs whose covalent radii sum to more.
    radii
        (119,) covalent radii in Å on the device; copied from the host where None.
    """
    radii = (torch.from_numpy(covalent_radii()) if radii is None else radii).to(distance)
    zi, zj = z_i.to(distance.dtype), z_j.to(distance.dtype)
    length = SCREENING_LENGTH_BOHR * BOHR_ANGSTROM / (zi**SCREENING_EXPONENT + zj**SCREENING_EXPONENT)
    x = distance / length
    screening = torch.zeros_like(x)
    for amplitude, decay in zip(AMPLITUDES, DECAYS, strict=True):
        screening = screening + amplitude * torch.exp(-decay * x)
    envelope = cutoff_envelope(distance / (radii[z_i] + radii[z_j]).clamp(max=cutoff))
    return COULOMB_EV_ANGSTROM * zi * zj / distance * screening * envelope
