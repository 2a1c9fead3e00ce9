"""One message-passing layer: densities of the neighbors' features, their invariants, a network per atom."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from potstill.student.options import StudentArchitecture

NEIGHBORS_AT_START = 8.0  # effective number of neighbors that the initial weights are scaled for
LARGEST_INVARIANTS = 10.0  # bound of the root mean square of the inputs of an atom's network; usually it is about 1
COEFFICIENTS_AT_START = 0.05  # of all experts but the first: larger ones separate elements, and generalise worse
INVARIANTS_AT_START = 0.1  # gain of invariants, whose sums of squares are about ten
FILTERS_OF_VECTORS = 3  # l = 0, 1, 2 of the edge; with them a sent vector makes l = 1, 0, 2


@dataclass(frozen=True, slots=True, eq=False)
class AtomicEnvironments:
    """Inputs that all layers share, for a batch of N atoms with up to M neighbors each.

    Parameters
    ----------
    species
        (N,) index of each atom's element among those of the student.
    neighbor
        (N, M) index of the sender in each slot; any atom where the slot is empty.
    edges
        (N, L, B, M) spherical harmonics (L = (l_max + 1)^2) times radial functions; zero in empty slots.
    groups
        Atoms by element, for linear maps that differ between elements; None where they do not.
    """

    species: torch.Tensor
    neighbor: torch.Tensor
    edges: torch.Tensor
    groups: Groups | None


class Groups(Protocol):
    """Atoms of a batch by element."""

    @property
    def present(self) -> torch.Tensor:
        """Return (Z,) species in the batch."""
        ...

    def product(self, x: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
        """Return (N, outputs): each row of (N, inputs) times its element's of the (Z, inputs, outputs) matrices."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ElementGroups:
    """Atoms in the order of their elements.

    Parameters
    ----------
    present
        (Z,) species in the batch, ascending.
    ends
        (Z,) int32, the end of each element's atoms in the new order.
    order, inverse
        (N,) maps from the given order to the order by element, and back.
    """

    present: torch.Tensor
    ends: torch.Tensor
    order: torch.Tensor
    inverse: torch.Tensor

    @classmethod
    def of(cls, species: torch.Tensor) -> ElementGroups:
        """Group (N,) species."""
        order = torch.argsort(species, stable=True)
        present, counts = torch.unique_consecutive(species[order], return_counts=True)
        return cls(present, counts.cumsum(0).to(torch.int32), order, torch.argsort(order))

    def product(self, x: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
        """Return (N, outputs): each row of (N, inputs) times its element's of the (Z, inputs, outputs) matrices."""
        return grouped_product(x.index_select(0, self.order), matrices, self.ends).index_select(0, self.inverse)


class ElementLinear(nn.Module):
    """Linear map whose matrix is, for every element, its own mixture of a few expert matrices.

    ``y_i = x_i W(z_i) + b`` with ``W(z) = sum_k a(z, k) W_k``. The experts cost no arithmetic per atom: a matrix is mixed
    once per element and batch, and only once where weights are frozen. With one expert it is a plain linear map. Mixtures of
    linear experts are those of UMA (Wood et al., arXiv:2506.23971), which mixes them per system. Mixed per element, energies
    stay local.

    Parameters
    ----------
    n_elements
        Number of elements.
    inputs, outputs
        Widths of input and output.
    experts
        Number of matrices K.
    """

    def __init__(self, n_elements: int, inputs: int, outputs: int, experts: int) -> None:
        super().__init__()
        self.shape = (inputs, outputs)
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(experts, inputs * outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))
        if experts > 1:  # at the start all elements share the first; the others differ between elements
            self.coefficients = nn.Parameter(COEFFICIENTS_AT_START * torch.randn(n_elements, experts))
            with torch.no_grad():
                self.coefficients[:, 0] = 1.0
        self._frozen: tuple[object, torch.Tensor] | None = None

    def matrices(self, present: torch.Tensor) -> torch.Tensor:
        """Return (Z, inputs, outputs) matrices of ``present`` species."""
        if len(self.weight) == 1:
            return self.weight.view(1, *self.shape).expand(len(present), -1, -1)
        if self.weight.requires_grad or self.coefficients.requires_grad:
            return self._mixed(present)
        state = (tuple(present.tolist()), self.weight.data_ptr(), self.weight._version, self.coefficients._version)
        frozen = self._frozen  # read once, because another Python thread may replace it
        if frozen is None or frozen[0] != state:
            with torch.inference_mode(mode=False):  # kept, and a later call may differentiate through it
                frozen = self._frozen = (state, self._mixed(present.clone()))
        return frozen[1]

    def _mixed(self, present: torch.Tensor) -> torch.Tensor:
        return (self.coefficients.index_select(0, present) @ self.weight).view(-1, *self.shape)

    def forward(self, x: torch.Tensor, groups: Groups | None) -> torch.Tensor:
        """Return (N, outputs) from (N, inputs)."""
        if groups is None or len(self.weight) == 1:
            return torch.addmm(self.bias, x, self.weight.view(self.shape))
        return groups.product(x, self.matrices(groups.present)) + self.bias


def grouped_product(x: torch.Tensor, matrices: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    """Return (N, outputs): each group of rows of (N, inputs) times its own of the (Z, inputs, outputs) matrices.

    Calls ``torch.nn.functional.grouped_mm`` where possible. That function has no float64, not every version has float32 on a
    GPU, and rows must be multiples of 16 bytes. Older PyTorch does not have it.
    """
    suits = x.dtype == torch.float32 and x.device.type == "cpu" and x.shape[1] % 4 == 0 and matrices.shape[2] % 4 == 0
    if suits and hasattr(nn.functional, "grouped_mm"):
        return nn.functional.grouped_mm(x, matrices, offs=ends)
    sizes = torch.diff(ends, prepend=ends.new_zeros(1)).tolist()
    return torch.cat([part @ matrix for part, matrix in zip(x.split(sizes), matrices.unbind(0), strict=True)])


class RadialWeights(nn.Module):
    """Weights of the radial functions for each order and channel: shared, times a gain of the receiver's element.

    Weights that are independent for each element fit the training set better and new structures worse.

    Parameters
    ----------
    n_elements
        Number of elements.
    orders, radial, channels
        L, B and C of the (L, B, C) weights.
    """

    def __init__(self, n_elements: int, orders: int, radial: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(orders, radial, channels) * (radial * NEIGHBORS_AT_START) ** -0.5)
        self.element_gain = nn.Parameter(torch.ones(n_elements, orders, 1, channels))

    def tables(self, species: torch.Tensor) -> torch.Tensor:
        """Return the (N, L, B, C) weights of each atom."""
        return self.weight * self.element_gain.index_select(0, species)


class Layer(nn.Module):
    """Density of the neighbors' features, its invariants, and a residual network per atom.

    Scalars of the neighbors are summed with radial functions and harmonics into densities of l = 0 to l_max. Vectors of the
    previous layer, if it makes any, are summed too, into l = 0, 1 and 2. Two linear mixtures of each density are multiplied
    into invariants.

    Parameters
    ----------
    architecture
        Sizes of the student.
    n_elements
        Number of elements.
    receives, makes
        Whether neighbors send vectors, and whether this layer makes vectors for the next one.
    """

    def __init__(self, architecture: StudentArchitecture, n_elements: int, *, receives: bool, makes: bool) -> None:
        super().__init__()
        a = architecture
        self.vectors = a.vectors if receives else 0
        self.orders = a.l_max + 1
        self.send = nn.Linear(a.features, a.channels, bias=False)
        self.radial = RadialWeights(n_elements, self.orders, a.radial, a.channels)
        if receives:
            self.vector_radial = RadialWeights(n_elements, FILTERS_OF_VECTORS, a.radial, a.vectors)
        widths = [a.channels + (self.vectors if order < FILTERS_OF_VECTORS else 0) for order in range(self.orders)]
        self.mix = nn.ParameterList(nn.Parameter(torch.randn(w, 2 * a.products) * w**-0.5) for w in widths)
        invariants = widths[0] + (self.orders + 1) * a.products
        self.gain = nn.Parameter(torch.full((invariants,), INVARIANTS_AT_START))
        self.hidden = ElementLinear(n_elements, invariants + a.features, a.hidden, a.experts)
        self.out = ElementLinear(n_elements, a.hidden, a.features, a.experts)
        self.makes = makes
        if makes:
            self.vector_mix = nn.Parameter(torch.randn(widths[1], a.vectors) * widths[1] ** -0.5)
            self.gate = nn.Linear(a.hidden, a.vectors)

    def forward(
        self, features: torch.Tensor, vectors: torch.Tensor | None, around: AtomicEnvironments
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return new (N, D) features and (N, 3, V) vectors, the latter None where none are made."""
        densities = self._densities(features, around)
        if self.vectors and vectors is not None:
            extra = self._vector_densities(vectors, around)
            densities = [torch.cat(pair, dim=2) for pair in zip(densities, extra, strict=False)] + densities[len(extra) :]
        mixed = [density @ mix for density, mix in zip(densities, self.mix, strict=True)]
        left, right = zip(*(m.chunk(2, dim=2) for m in mixed), strict=True)
        invariants = torch.cat(
            [
                densities[0].squeeze(1),
                *((a * b).sum(1) for a, b in zip(left, right, strict=True)),
                quadratic_form(left[1], right[1], right[2]),
            ],
            dim=1,
        )
        inputs = torch.cat([bounded(self.gain * invariants), features], dim=1)
        hidden = nn.functional.silu(self.hidden(inputs, around.groups))
        if self.makes:
            made = self.gate(hidden)[:, None] * soft_norm(densities[1] @ self.vector_mix)
            vectors = made if vectors is None else vectors + made
        return features + self.out(hidden, around.groups), vectors if self.makes else None

    def _densities(self, features: torch.Tensor, around: AtomicEnvironments) -> list[torch.Tensor]:
        """Return (N, 2 l + 1, C) densities for every l."""
        n_atoms, n_harmonics, n_radial, n_slots = around.edges.shape
        sent = self.send(features).index_select(0, around.neighbor.reshape(-1)).view(n_atoms, n_slots, -1)
        density = torch.bmm(around.edges.flatten(1, 2), sent).view(n_atoms, n_harmonics, n_radial, -1)
        tables = self.radial.tables(around.species)[:, :, None].unbind(1)
        parts = density.split([2 * order + 1 for order in range(self.orders)], dim=1)
        return [(part * table).sum(2) for part, table in zip(parts, tables, strict=True)]

    def _vector_densities(self, vectors: torch.Tensor, around: AtomicEnvironments) -> list[torch.Tensor]:
        """Return (N, 1, V), (N, 3, V), (N, 5, V) densities: sent vectors times harmonics l = 1, 0, 1 of the edge.

        Each product is coupled to l = 0, 1 and 2.
        """
        n_atoms, _, n_radial, n_slots = around.edges.shape
        sent = vectors.flatten(1).index_select(0, around.neighbor.reshape(-1)).view(n_atoms, n_slots, -1)
        density = torch.bmm(around.edges[:, :4].flatten(1, 2), sent).view(n_atoms, 4, n_radial, 3, self.vectors)
        tables = self.vector_radial.tables(around.species).unbind(1)
        same = (density[:, 0] * tables[0][:, :, None]).sum(1)
        outer = density[:, 1:]
        trace = outer[:, 0, :, 0] + outer[:, 1, :, 1] + outer[:, 2, :, 2]
        along = (trace * tables[1]).sum(1, keepdim=True)
        return [along, same, traceless((outer * tables[2][:, None, :, None]).sum(2))]


def bounded(x: torch.Tensor) -> torch.Tensor:
    """Return (N, K) x / sqrt(1 + mean of x^2 / c^2), with c far beyond the values of datasets.

    Products of densities grow with the square of the density, and again in every layer. Unbounded, they could exceed the
    nuclear repulsion at short distances, and atoms would fuse.
    """
    return x * torch.rsqrt(1.0 + x.square().mean(dim=1, keepdim=True) / LARGEST_INVARIANTS**2)


def soft_norm(x: torch.Tensor) -> torch.Tensor:
    """Return (N, 3, V) x / sqrt(1 + mean of |x|^2 over the V vectors), which bounds long vectors and keeps short ones.

    A plain normalisation diverges for an atom whose last neighbor leaves the cutoff, and its energy would jump.
    """
    return x * torch.rsqrt(1.0 + x.square().sum(dim=1, keepdim=True).mean(dim=2, keepdim=True))


def quadratic_form(u: torch.Tensor, v: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Return the (N, C) invariant u . Q v of two vectors and a traceless symmetric tensor of five components."""
    ux, uy, uz = u.unbind(1)
    vx, vy, vz = v.unbind(1)
    xy, yz, z2, xz, x2y2 = q.unbind(1)
    diagonal = x2y2 * (ux * vx - uy * vy) + z2 / math.sqrt(3.0) * (2 * uz * vz - ux * vx - uy * vy)
    return diagonal + xy * (ux * vy + uy * vx) + yz * (uy * vz + uz * vy) + xz * (ux * vz + uz * vx)


def traceless(matrix: torch.Tensor) -> torch.Tensor:
    """Return (N, 5, V) components xy, yz, z2, xz, x2-y2 of the traceless symmetric part of (N, 3, 3, V)."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = (row.unbind(1) for row in matrix.unbind(1))
    return torch.stack([xy + yx, yz + zy, (2 * zz - xx - yy) / math.sqrt(3.0), xz + zx, xx - yy], dim=1)
