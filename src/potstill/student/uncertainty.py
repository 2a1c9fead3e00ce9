"""Expected error of a student's forces: the last features and the force of each atom in, eV/Å and a flag out.

Two quantities are computed from the features in which the local energies are linear. The first is the distance of an atom
from the training atoms, as in a linear model with these features (last-layer prediction rigidity: Bigi, Chong, Ceriotti and
Grasselli, "A prediction rigidity formalism for low-cost uncertainties in trained neural networks", Mach. Learn.: Sci.
Technol. 5, 045018 (2024)). A force is a derivative of the energies of all atoms around, so the squared distance is averaged
over the atom and its neighbors. The second is the size of errors among similar atoms. The third quantity is the length of
the predicted force, because large forces have large errors. All are scaled to the errors of structures outside the training
set. Errors of a linear model are proportional to the distance. So are the expected errors beyond the distances of these
structures. The cost is one small matrix product per atom, so it can run at every step of molecular dynamics.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from potstill.core.checksums import sha256_of_file
from potstill.core.errors import InputError
from potstill.core.files import file_error, sealed
from potstill.core.types import Array
from potstill.student.files import REMEDY, read_tensors

log = logging.getLogger(__name__)

FILE = "uncertainty.safetensors"
LARGEST_LOG = 20.0  # e^20 eV/Å: larger expectations are cut to this
BINS = 10
LARGE = 3.0  # an error is large above this times the median
COVERAGE = 0.9  # of the bound
TINY = 1e-12  # eV/Å
FARTHEST = 1e6  # logarithm beyond those of all distances
SQUARES = (1e-24, 1e30)  # limits of squared distances, so that no sum overflows in float32
Means = Callable[[torch.Tensor], torch.Tensor]  # (N,) values of atoms in, (N,) means over each atom and its neighbors out


@dataclass(frozen=True, slots=True, eq=False)
class Neighborhood:
    """Neighbors of N atoms and their weights in means: 1 at no distance, 0 at the cutoff.

    Parameters
    ----------
    edge_index
        (2, E) receivers and senders.
    weight
        (E,) weights; that of the atom itself is 1.
    """

    edge_index: torch.Tensor
    weight: torch.Tensor

    @classmethod
    def of(cls, edge_index: torch.Tensor, edge_vectors: torch.Tensor, cutoff_angstrom: float) -> Neighborhood:
        """Weigh (2, E) edges by the cosine of their (E, 3) vectors' lengths, which ends at the cutoff in Å."""
        part = (edge_vectors.norm(dim=1) / cutoff_angstrom).clamp(max=1.0)
        return cls(edge_index, 0.5 + 0.5 * (math.pi * part).cos())

    def means(self, values: torch.Tensor) -> torch.Tensor:
        """Return (N,) weighted means over each atom and its neighbors, from (N,) values."""
        receiver, sender = self.edge_index
        weight = self.weight.to(values)
        total = values.index_add(0, receiver, weight * values[sender])
        return total / torch.ones_like(values).index_add(0, receiver, weight)


@dataclass(frozen=True, slots=True, eq=False)
class Uncertainty:
    """Expected errors of H last features f and a force F.

    They are ``exp(curve(a noise + b log(distance) + g log(|F| + floor) + c))``, and b is at least 1 beyond the reach.

    Parameters
    ----------
    factor
        (H, H) inverse Cholesky factor of the features' covariance over the training atoms: distance = |factor f|.
    noise
        (H + 1,) weights and constant of the linear model of the logarithm of training errors.
    noise_range
        (2,) range that the model is clipped to; beyond the training values, only the distance counts.
    coefficients
        (3,) coefficients a, b and c.
    threshold
        () threshold in eV/Å, above which an atom is flagged.
    curve
        (2, k) ascending logarithms of raw expectations and of the errors found, linear between these and of slope 1 beyond.
        k is 0 where there were too few errors.
    bound
        () factor from an expected error to the bound that 90 % of the errors do not exceed; 0 where it is not known.
    force
        (2,) exponent g, and floor in eV/Å below which the length of a force makes no difference. g is 0 in students of
        earlier versions.
    neighbors
        () 1 where squared distances are averaged over neighbors; 0 in students of earlier versions.
    reach
        () logarithm of the distance beyond which the exponent b is at least 1; beyond all distances in students of earlier
        versions.
    """

    factor: torch.Tensor
    noise: torch.Tensor
    noise_range: torch.Tensor
    coefficients: torch.Tensor
    threshold: torch.Tensor
    curve: torch.Tensor = field(default_factory=lambda: torch.zeros(2, 0))
    bound: torch.Tensor = field(default_factory=lambda: torch.zeros(()))
    force: torch.Tensor = field(default_factory=lambda: torch.tensor([0.0, 1.0]))
    neighbors: torch.Tensor = field(default_factory=lambda: torch.zeros(()))
    reach: torch.Tensor = field(default_factory=lambda: torch.tensor(FARTHEST))

    def expected_errors(self, features: torch.Tensor, forces: torch.Tensor, means: Means) -> torch.Tensor:
        """Return (N,) expected lengths of the force's error in eV/Å.

        Parameters
        ----------
        features
            (N, H) last features.
        forces
            (N, 3) forces in eV/Å.
        means
            Function that takes means over neighbors, such as :meth:`Neighborhood.means`.
        """
        distance = self.log_distance(features, means)
        score = self.log_score(self.log_noise(features), distance, self.log_force(forces))
        return self.along_curve(score).clamp(max=LARGEST_LOG).exp()

    def bounds(self, expected: Array) -> Array:
        """Return (N,) bounds in eV/Å that 90 % of the errors shall not exceed, from (N,) expected errors; NaN if unknown."""
        factor = float(self.bound)
        return expected * factor if factor > 0 else np.full_like(expected, np.nan)

    def log_score(self, noise: torch.Tensor, distance: torch.Tensor, force: torch.Tensor) -> torch.Tensor:
        """Return (N,) logarithms of the expectation before the curve, from (N,) logarithms of what it is made of."""
        a, b, c = self.coefficients.unbind()
        beyond = (distance - self.reach).clamp(min=0.0)
        known = a * noise + b * torch.minimum(distance, self.reach) + b.clamp(min=1.0) * beyond + c
        return known + self.force[0] * force

    def along_curve(self, score: torch.Tensor) -> torch.Tensor:
        """Return (N,) logarithms of expected errors, from those before the curve."""
        x, y = self.curve
        if len(x) == 0:
            return score
        within = score.clamp(x[0], x[-1])
        right = torch.searchsorted(x, within.contiguous()).clamp(1, len(x) - 1)
        slope = (y[right] - y[right - 1]) / (x[right] - x[right - 1])
        return y[right - 1] + slope * (within - x[right - 1]) + (score - within)

    def log_distance(self, features: torch.Tensor, means: Means) -> torch.Tensor:
        """Return (N,) logarithms of the distance from the training atoms, whose root mean square is sqrt(H)."""
        square = (features @ self.factor.T).square().sum(dim=1).clamp(*SQUARES)
        return 0.5 * (means(square) if self.neighbors > 0 else square).log()

    def log_noise(self, features: torch.Tensor) -> torch.Tensor:
        """Return (N,) logarithms of the error that similar atoms had in training."""
        lowest, highest = self.noise_range.unbind()
        return (features @ self.noise[:-1] + self.noise[-1]).clamp(lowest, highest)

    def log_force(self, forces: torch.Tensor) -> torch.Tensor:
        """Return (N,) logarithms of the lengths of forces in eV/Å, which end at the floor."""
        return (forces.norm(dim=1) + self.force[1]).log()

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Uncertainty:
        """Copy to another device and precision."""
        return Uncertainty(**{field.name: getattr(self, field.name).to(device, dtype) for field in fields(self)})


def save_uncertainty(uncertainty: Uncertainty, folder: Path) -> dict[str, str]:
    """Write ``uncertainty.safetensors`` beside a student's weights; return its ``checksum`` for ``config.json``."""
    tensors = {field.name: getattr(uncertainty, field.name).contiguous() for field in fields(uncertainty)}
    with sealed(folder / FILE) as temporary:
        temporary.write_bytes(save(tensors))  # by this process, so that its umask holds
    return {"checksum": sha256_of_file(folder / FILE)}


def read_uncertainty(folder: Path, hidden: int, stated: Mapping[str, Any] | None = None) -> Uncertainty | None:
    """Read the uncertainty of a student's folder; None where it has none.

    Parameters
    ----------
    folder
        Folder of the student.
    hidden
        Number of its features.
    stated
        Entry ``uncertainty`` of its ``config.json``. The log says where the file that it describes is missing.

    Raises
    ------
    InputError
        If the file is damaged, or of another student.
    """
    path = folder / FILE
    if not path.is_file():
        if stated:
            log.warning("%s is missing: the student gives no expected errors, and marks no atom as uncertain", path)
        return None
    checksum = stated.get("checksum") if isinstance(stated, Mapping) else None
    if checksum is not None and sha256_of_file(path) != checksum:
        raise InputError(
            f"{path} is not that of config.json beside it (the checksum differs): "
            f"one of them was edited, or is from another student\n  {REMEDY}"
        )
    try:
        found = Uncertainty(**read_tensors(path, path.read_bytes()))
    except OSError as error:
        raise file_error(error) from error
    except TypeError as error:
        raise InputError(
            f"{path} is damaged, or of another version: {error}\n  remove it to use the student without uncertainties"
        ) from error
    shapes = [x.shape for x in (found.coefficients, found.force, found.neighbors, found.reach)]
    if shapes != [(3,), (2,), (), ()]:
        raise InputError(
            f"{path} is damaged: its coefficients have other shapes\n  remove it to use the student without uncertainties"
        )
    if found.factor.shape != (hidden, hidden) or found.noise.shape != (hidden + 1,):
        raise InputError(f"{path} belongs to another student: it has {len(found.factor)} features, expected {hidden}")
    return found


def auroc(score: Array, positive: Array) -> float | None:
    """Return the probability that a positive has a higher score than a negative; None where one side is empty.

    >>> auroc(np.array([0.1, 0.2, 0.9]), np.array([False, False, True]))
    1.0
    """
    from scipy.stats import rankdata

    ahead, behind = int(positive.sum()), int((~positive).sum())
    if ahead == 0 or behind == 0:
        return None
    ranks = rankdata(score)[positive].sum()
    return float((ranks - ahead * (ahead + 1) / 2) / (ahead * behind))


def conformal_factor(expected: Array, error: Array, coverage: float = COVERAGE) -> float:
    """Return the factor on (N,) expected errors that (N,) new errors do not exceed with a probability of ``coverage``.

    It is the quantile of error over expectation of split conformal prediction (Lei, G'Sell, Rinaldo, Tibshirani and
    Wasserman, J. Am. Stat. Assoc. 113, 1094 (2018)), and holds for atoms like those that it was measured on.

    >>> float(conformal_factor(np.ones(999), np.arange(999.0)))
    899.0
    """
    ratio = np.sort(error / np.maximum(expected, TINY))
    place = min(len(ratio), int(np.ceil((len(ratio) + 1) * coverage))) - 1
    return float(ratio[place])


def judge(expected: Array, error: Array, threshold: float, bound: float = 0.0) -> dict[str, Any]:
    """Measure how well (N,) expected errors predict (N,) true ones, both in eV/Å.

    ``auroc`` is for finding the tenth of the atoms with the largest error, ``auroc_large`` for finding errors above three
    times the median. ``bins`` are tenths of the atoms by expectation. ``within_bound`` is the share of errors that do not
    exceed ``bound`` times the expectation, which is to be 0.9; None for a student without a bound.
    """
    from scipy.stats import spearmanr

    flagged = expected > threshold
    order = np.array_split(np.argsort(expected, kind="stable"), min(BINS, len(expected)))
    varied = len(error) > 2 and np.ptp(expected) > 0 and np.ptp(error) > 0
    return {
        "atoms": len(error),
        "auroc": auroc(expected, error > np.quantile(error, 0.9)),
        "auroc_large": auroc(expected, error > LARGE * np.median(error)),
        "spearman": float(spearmanr(expected, error)[0]) if varied else None,
        "mean_error": float(error.mean()),
        "threshold": threshold,
        "bound": bound or None,
        "within_bound": float((error <= bound * expected).mean()) if bound > 0 else None,
        "flagged": float(flagged.mean()),
        "mean_error_flagged": float(error[flagged].mean()) if flagged.any() else None,
        "mean_error_not_flagged": float(error[~flagged].mean()) if not flagged.all() else None,
        "bins": [{"expected": float(expected[k].mean()), "error": float(error[k].mean())} for k in order],
        "unit": "eV/Å",
    }
