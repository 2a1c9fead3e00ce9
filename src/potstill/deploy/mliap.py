"""The student as a model of LAMMPS's ML-IAP package, "unified" interface, for builds that have it with Python and Kokkos.

LAMMPS supplies neighbors and ghost atoms. It passes the features of ghosts from process to process after each layer, and
their gradients back. ``pair_style potstill`` does that without Python. In an input script::

    pair_style mliap unified student.mliap.pt 0
    pair_coeff * * Si O

Ghosts pass through the networks like atoms without neighbors before their features are replaced by those of owners. That is
correct, and more work than needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ase.data
import torch

from potstill.core.errors import InputError
from potstill.deploy.student import DeployedStudent
from potstill.student.basis import slots_by_receiver, spherical_harmonics
from potstill.student.layer import AtomicEnvironments, ElementGroups
from potstill.student.zbl import zbl_energy


class MliapStudent:
    """Model that LAMMPS calls in every step; attributes are those of ``lammps.mliap.mliap_unified_abc.MLIAPUnified``.

    Parameters
    ----------
    student
        Student of :func:`potstill.load_student`.
    elements
        Chemical symbol of each atom type, in their order.

    Raises
    ------
    InputError
        If the student does not support an element.
    """

    def __init__(self, student: DeployedStudent, elements: Sequence[str]) -> None:
        unknown = sorted(set(elements) - set(student.elements))
        if unknown:
            raise InputError(
                f"this student was not trained on {', '.join(unknown)}; it supports {', '.join(student.elements)}"
            )
        self.interface: Any = None
        self.element_types = list(elements)
        self.ndescriptors, self.nparams = 1, 1
        self.rcutfac = 0.5 * student.cutoff_angstrom  # LAMMPS's cutoff is twice this
        self.model, self.dtype, self.device = student.model, student.dtype, student.device
        numbers = torch.tensor([ase.data.atomic_numbers[symbol] for symbol in elements])
        self.species = student.model.species_of[numbers.to(student.device)]

    def compute_descriptors(self, data: Any) -> None:
        """Do nothing; part of LAMMPS's interface."""

    def compute_gradients(self, data: Any) -> None:
        """Do nothing; part of LAMMPS's interface."""

    def compute_forces(self, data: Any) -> None:
        """Set energies of the atoms and forces of the pairs, in eV and Å.

        Parameters
        ----------
        data
            Data of LAMMPS: ``nlocal``, ``ntotal``, ``elems`` of all atoms, ``pair_i``, ``pair_j``, ``rij`` of the pairs.
            Also the methods ``forward_exchange``, ``reverse_exchange`` and ``update_pair_forces_gpu`` of its Kokkos variant.
        """
        if len(self.model.layers) > 1 and not hasattr(data, "forward_exchange"):
            raise InputError("a student of more than one layer needs ML-IAP with Kokkos: run LAMMPS with '-k on -sf kk'")
        n_local = int(data.nlocal)
        species = self.species[self._integers(data.elems)[: int(data.ntotal)]]
        index = torch.stack([self._integers(data.pair_i), self._integers(data.pair_j)])
        order = torch.argsort(index[0], stable=True)
        vectors = torch.as_tensor(data.rij).to(self.device, self.dtype).clone().requires_grad_()
        with torch.enable_grad():
            local = self._local_energies(vectors[order], index[:, order], species, n_local, data)
            (gradient,) = torch.autograd.grad(local.sum(), vectors)
        energies = local.detach().double() + self.model.reference_energies[species[:n_local]]
        data.energy = energies.sum().item()
        torch.as_tensor(data.eatoms)[:n_local] = energies.cpu().to(torch.as_tensor(data.eatoms).dtype)
        update = getattr(data, "update_pair_forces_gpu", None) or data.update_pair_forces
        update(gradient.double())

    def _integers(self, values: Any) -> torch.Tensor:
        return torch.as_tensor(values).to(self.device, torch.int64)

    def _local_energies(
        self, vectors: torch.Tensor, index: torch.Tensor, species: torch.Tensor, n_local: int, data: Any
    ) -> torch.Tensor:
        """Compute :meth:`potstill.student.model.Student.local_energies` of local atoms, with exchanges between layers."""
        model, a = self.model, self.model.architecture
        n_total = len(species)
        slot, n_slots = slots_by_receiver(index, n_total)
        empty = vectors.new_full((n_total * n_slots, 3), 2.0 * a.cutoff_angstrom)
        padded = empty.index_copy(0, slot, vectors).view(n_total, n_slots, 3).transpose(1, 2)
        neighbor = index.new_zeros(n_total * n_slots).index_copy_(0, slot, index[1]).view(n_total, n_slots)
        distance = padded.square().sum(1).clamp(min=1e-12).sqrt()
        radial = model.radial_functions(distance, neighbor, species)
        edges = spherical_harmonics(padded / distance[:, None], a.l_max)[:, :, None] * radial[:, None]
        groups = ElementGroups.of(species) if a.experts > 1 else None
        around = AtomicEnvironments(species, neighbor, edges, groups)
        features, sent = model.embedding(species), None
        for k, layer in enumerate(model.layers):
            features, sent = layer(features, sent, around)
            if k + 1 < len(model.layers):
                features = _exchanged(features, n_local, data)
                sent = None if sent is None else _exchanged(sent.flatten(1), n_local, data).view_as(sent)
        hidden = torch.nn.functional.silu(model.readout(features, groups))
        local = (model.scale * model.last(hidden).squeeze(-1))[:n_local]
        charges = model.charges[species]
        pairs = zbl_energy(charges[:, None], charges[neighbor], distance, a.cutoff_angstrom, model.radii)
        return local + 0.5 * pairs.sum(1)[:n_local]


def _exchanged(x: torch.Tensor, n_local: int, data: Any) -> torch.Tensor:
    """Return (N, K) rows of atoms; rows of ghosts are copied from the atoms that they are images of."""
    return torch.cat([x[:n_local], _Exchange.apply(x[:n_local], x.shape[0], data)], dim=0)  # type: ignore[no-untyped-call]


class _Exchange(torch.autograd.Function):
    """Copies rows of owners to ghosts, and adds gradients of ghosts to those of their owners."""

    @staticmethod
    def forward(ctx: Any, local: torch.Tensor, n_total: int, data: Any) -> torch.Tensor:
        ctx.data, ctx.n_total, ctx.n_local = data, n_total, len(local)
        given = local.new_zeros(n_total, local.shape[1])
        given[: len(local)] = local
        taken = torch.empty_like(given)
        data.forward_exchange(given, taken, local.shape[1])
        return taken[len(local) :]

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (gradient,) = gradients
        given = gradient.new_zeros(ctx.n_total, gradient.shape[1])
        given[ctx.n_local :] = gradient
        taken = torch.zeros_like(given)
        ctx.data.reverse_exchange(given, taken, gradient.shape[1])
        return taken[: ctx.n_local], None, None


def save_mliap(student: DeployedStudent, elements: Sequence[str], path: Any) -> None:
    """Write the file of ``pair_style mliap unified``: a pickle, as LAMMPS requires; load only files that you trust."""
    torch.save(MliapStudent(student, elements), path)
