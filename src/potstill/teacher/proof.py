"""Proof of a teacher's environment: a model with random weights is saved, opened and evaluated in it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from potstill.core.errors import PotstillError
from potstill.core.types import Labels, Structure
from potstill.environments import installed
from potstill.execute.program import run_program
from potstill.teacher.mace import MACE
from potstill.teacher.opening import open_teacher

RANDOM_MACE = """\
import sys, numpy, torch
from mace.modules import RealAgnosticInteractionBlock as Block, ScaleShiftMACE  # first: it lets e3nn read its own files
from e3nn import o3
torch.manual_seed(0)
model = ScaleShiftMACE(
    r_max=4.0, num_bessel=4, num_polynomial_cutoff=5, max_ell=2, interaction_cls=Block, interaction_cls_first=Block,
    num_interactions=2, num_elements=2, hidden_irreps=o3.Irreps("8x0e + 8x1o"), MLP_irreps=o3.Irreps("4x0e"),
    atomic_energies=numpy.array([-1.0, -2.0]), avg_num_neighbors=8.0, atomic_numbers=[1, 29], correlation=2,
    gate=torch.nn.functional.silu, atomic_inter_scale=1.0, atomic_inter_shift=0.0,
)
torch.save(model, sys.argv[1])
"""
TIMEOUT_SECONDS = 600.0


def prove_mace() -> list[str]:
    """Return one line about each structure that a random MACE has labelled in its environment.

    Raises
    ------
    PotstillError
        If the model cannot be made or does not label. The message names the log of the setup.
    """
    place = installed("mace")
    log = place.folder / "setup.log"
    copper = Structure(np.array([29]), np.zeros((1, 3)), cell=1.8 * (1.0 - np.eye(3)), pbc=np.ones(3, bool))
    hydrogen = Structure(np.array([1, 1]), np.diag([0.74, 0.0, 0.0])[:2])
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "random.model"
        ended = run_program([place.python, "-c", RANDOM_MACE, weights], log, timeout_seconds=TIMEOUT_SECONDS)
        if not weights.is_file():
            raise PotstillError(f"mace made no model ({ended.how}): {ended.last_line}\n  all of its output is in {log}")
        teacher = open_teacher(MACE(weights=str(weights), allow_pickle=True, device="cpu", environment="mace"))
        answers = teacher.label([copper, hydrogen])
    refused = [answer for answer in answers if not isinstance(answer, Labels)]
    if refused:
        raise PotstillError(f"mace refused a structure: {refused[0].reason}: {refused[0].detail}")
    return [f"labels of {structure.formula} (random weights)" for structure in (copper, hydrogen)]
