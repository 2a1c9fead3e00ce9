"""Hints: in training, a linear map of the student's last features predicts the teacher's features of each atom.

The student is saved without the map. Node features as a target are those of Kelvinius,
Georgiev, Toshev and Gasteiger, "Accelerating molecular graph neural networks via knowledge distillation", NeurIPS (2023).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from potstill.dataset import RecordSource

EMBEDDINGS = "node_embeddings"
STRUCTURES_AT_ONCE = 4096


class Hints(nn.Module):
    """A linear map from a student's last features to a teacher's, in units of their spread.

    Parameters
    ----------
    width
        Number of the student's last features.
    mean, spread
        (D,) mean and standard deviation of the teacher's features over the training atoms.
    """

    mean: torch.Tensor
    spread: torch.Tensor

    def __init__(self, width: int, mean: torch.Tensor, spread: torch.Tensor) -> None:
        super().__init__()
        self.head = nn.Linear(width, len(mean))
        self.register_buffer("mean", mean)
        self.register_buffer("spread", spread)

    def forward(self, features: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        """Return the (N,) mean absolute error of each atom's embedding, from (N, width) and (N, D)."""
        return (self.head(features) - (embeddings - self.mean) / self.spread).abs().mean(dim=1)


def hints_for(training: RecordSource, width: int, *, seed: int) -> Hints:
    """Return a map with random weights, with the mean and spread of the embeddings in the records."""
    count, total, squares = 0, np.zeros(()), np.zeros(())
    for start in range(0, len(training), STRUCTURES_AT_ONCE):
        some = np.arange(start, min(start + STRUCTURES_AT_ONCE, len(training)))
        rows = np.asarray(training.gather(some).extra[EMBEDDINGS], dtype=np.float64)
        count, total, squares = count + len(rows), total + rows.sum(axis=0), squares + (rows**2).sum(axis=0)
    mean = total / count
    spread = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Hints(width, torch.from_numpy(mean).float(), torch.from_numpy(np.where(spread > 0, spread, 1.0)).float())
