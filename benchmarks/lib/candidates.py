"""Shapes of the student and public networks, all of them as a ``Student`` that the same loop can train.

A public network keeps its own unmodified layers; reference energies, the repulsion of nuclei, forces and stress are the
student's, so that nothing but the network differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.utils.data
from torch import nn

from potstill.core.types import Batch
from potstill.student.model import Student
from potstill.student.options import StudentArchitecture
from potstill.student.zbl import zbl_energy


@dataclass(frozen=True, slots=True)
class Candidate:
    """A network to train and to time.

    Parameters
    ----------
    make
        Student with initial weights, of a sequence of atomic numbers and a cutoff in Å.
    learning_rate
        Highest; for public networks the best of 1e-3, 3e-3, 6e-3 and 12e-3 in short runs.
    ours
        Whether it is a shape of the student.
    seed
        Of initial weights and the order of batches: the same network with another one tells how much chance there is.
    """

    make: Callable[[Sequence[int], float], Student]
    learning_rate: float
    ours: bool
    seed: int = 0


class IndexSelect(torch.overrides.TorchFunctionMode):
    """``x[i]`` with a vector of indices as ``index_select``: on a CPU its derivative is much faster, and the same."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.__getitem__:
            x, index = args
            if isinstance(index, torch.Tensor) and index.dim() == 1 and index.dtype == torch.int64:
                return torch.index_select(x, 0, index)
        return func(*args, **(kwargs or {}))


class Peer(Student):
    """A student whose local energies come from another network.

    Parameters
    ----------
    architecture
        Elements and cutoff; sizes are not used.
    network
        Parameters of the other network.
    energies
        (N,) local energies in units of ``scale``, from (e, 3) edge vectors and the batch.
    """

    def __init__(
        self, architecture: StudentArchitecture, network: nn.Module, energies: Callable[[torch.Tensor, Batch], torch.Tensor]
    ) -> None:
        super().__init__(architecture)
        del self.embedding, self.layers, self.readout, self.last
        self.network = network
        self._energies = energies

    def __deepcopy__(self, memo: dict[int, Any]) -> Peer:
        raise NotImplementedError("make it again and load its state")

    def differentiate(self, vectors: torch.Tensor, batch: Batch, *, training: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """(N,) local energies and the (e, 3) derivative of their sum by the edge vectors."""
        receiver, sender = batch.edge_index
        with torch.enable_grad(), IndexSelect():
            leaf = vectors.detach().requires_grad_()
            distance = leaf.square().sum(1).clamp(min=1e-12).sqrt()
            z = batch.atomic_numbers
            repulsion = 0.5 * zbl_energy(z[receiver], z[sender], distance, self.architecture.cutoff_angstrom)
            local = (self.scale * self._energies(leaf, batch).reshape(-1)).index_add(0, receiver, repulsion)
            (gradient,) = torch.autograd.grad(local.sum(), leaf, create_graph=training)
        return local, gradient


def painn(elements: Sequence[int], cutoff: float, *, features: int, layers: int) -> Student:
    """PaiNN of schnetpack."""
    # schnetpack 2.0.4 takes this type variable from a module of PyTorch that has renamed it
    torch.utils.data.dataloader.T_co = TypeVar("T_co", covariant=True)
    import schnetpack as spk

    network = nn.Sequential(
        spk.representation.PaiNN(
            n_atom_basis=features,
            n_interactions=layers,
            radial_basis=spk.nn.GaussianRBF(n_rbf=20, cutoff=cutoff),
            cutoff_fn=spk.nn.CosineCutoff(cutoff),
            max_z=max(elements) + 1,
        ),
        spk.atomistic.Atomwise(n_in=features, aggregation_mode=None, output_key="y", per_atom_output_key="local"),
    )

    def energies(vectors: torch.Tensor, batch: Batch) -> torch.Tensor:
        keys = spk.properties
        given = {
            keys.Z: batch.atomic_numbers,
            keys.Rij: vectors,
            keys.idx_i: batch.edge_index[0],
            keys.idx_j: batch.edge_index[1],
        }
        return network(given)["local"]

    return Peer(_architecture(elements, cutoff), network, energies)


def tensornet(elements: Sequence[int], cutoff: float, *, channels: int, layers: int) -> Student:
    """TensorNet of graph-pes."""
    import graph_pes.models.tensornet as package
    from graph_pes.atomic_graph import AtomicGraph

    def sum_over_neighbours(values: torch.Tensor, graph: AtomicGraph) -> torch.Tensor:
        # the package's own sum spreads the index over all components first; the same numbers, only slower to differentiate
        return values.new_zeros((len(graph.Z), *values.shape[1:])).index_add(0, graph.neighbour_list[0], values)

    package.sum_over_neighbours = sum_over_neighbours
    network = package.TensorNet(cutoff=cutoff, channels=channels, layers=layers)
    for parameter in network.parameters():
        if hasattr(parameter, "register_elements"):
            parameter.register_elements(list(elements))

    def energies(vectors: torch.Tensor, batch: Batch) -> torch.Tensor:
        z = batch.atomic_numbers
        graph = AtomicGraph(  # vectors are R[j] - R[i] + offsets @ cell: with no positions and a unit cell, the offsets
            Z=z,
            R=vectors.new_zeros(len(z), 3),
            cell=torch.eye(3, dtype=vectors.dtype),
            neighbour_list=batch.edge_index,
            neighbour_cell_offsets=vectors,
            properties={},
            cutoff=cutoff,
            other={},
        )
        return network(graph)["local_energies"]

    return Peer(_architecture(elements, cutoff), network, energies)


def _architecture(elements: Sequence[int], cutoff: float, **sizes: Any) -> StudentArchitecture:
    return StudentArchitecture(atomic_numbers=tuple(elements), cutoff_angstrom=cutoff, **sizes)


def _ours(seed: int = 0, **sizes: Any) -> Candidate:
    return Candidate(lambda elements, cutoff: Student(_architecture(elements, cutoff, **sizes)), 2e-3, ours=True, seed=seed)


def _peer(make: Callable[..., Student], learning_rate: float, **sizes: int) -> Candidate:
    return Candidate(lambda elements, cutoff: make(elements, cutoff, **sizes), learning_rate, ours=False)


CANDIDATES: dict[str, Candidate] = {
    "nano": _ours(tier="nano"),
    "nano, seed 1": _ours(tier="nano", seed=1),
    "nano, seed 2": _ours(tier="nano", seed=2),
    "nano, no vectors": _ours(tier="nano", vectors=0),
    "nano, l = 3": _ours(tier="nano", l_max=3),
    "nano, 3 layers": _ours(tier="nano", layers=3),
    "nano, 1 layer": _ours(tier="nano", layers=1),
    "base, no experts": _ours(tier="base", experts=1),
    "small": _ours(tier="small"),
    "base": _ours(tier="base"),
    "xl": _ours(tier="xl"),
    "PaiNN 64": _peer(painn, 3e-3, features=64, layers=3),
    "PaiNN 96": _peer(painn, 3e-3, features=96, layers=3),
    "TensorNet 32": _peer(tensornet, 6e-3, channels=32, layers=2),
}
