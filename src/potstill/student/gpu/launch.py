"""One evaluation as a sequence of kernel launches, in memory of the size of a bucket.

The host states sizes of buckets only. The actual numbers of atoms, edges and tiles are in the memory of the GPU. A captured
CUDA graph therefore works for every batch that fits into its bucket.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
import triton

from potstill.student.gpu import cells, edges, geometry, pointwise, products, search
from potstill.student.gpu.buffers import Bucket, Inputs, Outputs
from potstill.student.gpu.weights import GpuWeights, LayerWeights, Matrices
from potstill.student.options import StudentArchitecture

PARTS = 8  # number of partial sums of a structure
EDGES_AT_ONCE, CHANNELS_AT_ONCE, VECTORS_AT_ONCE = 8, 64, 32
ATOMS_AT_ONCE, PAIRS_AT_ONCE = 64, 256
BINS_FROM, IN_A_BIN = 2048, 32  # atoms of one structure from which its search uses bins; atoms of a bin at once
Precision = Literal["ieee", "tf32x3"]


class Program:
    """A student with the memory of one bucket.

    Parameters
    ----------
    weights
        Weights of the student.
    architecture
        Sizes of the student.
    bucket
        Largest numbers of atoms, edges and structures.
    precision
        Precision of the products: ``"ieee"`` float32, or ``"tf32x3"``, which sums three products of TF32 on tensor cores.
    radius_angstrom
        Radius of the candidate search in Å.
    """

    def __init__(
        self,
        weights: GpuWeights,
        architecture: StudentArchitecture,
        bucket: Bucket,
        precision: Precision = "ieee",
        radius_angstrom: float | None = None,
    ) -> None:
        self.weights, self.a, self.bucket, self.precision = weights, architecture, bucket, precision
        self.cutoff = architecture.cutoff_angstrom
        self.radius = self.cutoff if radius_angstrom is None else radius_angstrom
        device = weights.embedding.device
        self.inputs, self.outputs = Inputs(bucket, device), Outputs(bucket, device)
        n, e, a, orders = bucket.atoms, bucket.edges, architecture, architecture.l_max + 1
        self._orders, self._components = orders, orders**2
        blocks = -(-a.hidden // self.bucket.tile["BN"])

        def floats(*shape: int) -> torch.Tensor:
            return torch.empty(shape, dtype=torch.float32, device=device)

        def integers(*shape: int) -> torch.Tensor:
            return torch.zeros(shape, dtype=torch.int32, device=device)

        def doubles(*shape: int) -> torch.Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        # neighbor list
        self.known, self.old_lattice = doubles(n, 3), doubles(bucket.structures, 3, 3)
        self.old_reciprocal = doubles(bucket.structures, 3, 3)
        self.wraps, self.counts, self.first = integers(n, 3), integers(n), integers(n + 1)
        self.sender, self.shift = integers(e), integers(e)
        self.wrapped, self.by_given = doubles(n, 3), doubles(n, 3)
        # edges and atoms
        self.near, self.last, self.edges = integers(e), integers(n), floats(4 + 2 * a.radial, e)
        self.local, self.force, self.virial = floats(n), floats(n, 3), floats(n, 6)
        self.partial = floats(blocks, n)
        self.features = floats(n, a.hidden)  # local energies are linear in these
        self.energies, self.virials, self.part_sums = doubles(n), floats(n, 6), doubles(bucket.structures, PARTS, 7)
        widest = max(_pitch(layer, a) for layer in weights.layers)
        deepest = max(layer.mix.shape[2] for layer in weights.layers)
        most = max(len(layer.gain) for layer in weights.layers)
        pitch = self.pitch = a.features + max((layer.makes for layer in weights.layers), default=0)
        self.state = [floats(n, pitch) for _ in weights.layers]
        self.vectors = [floats(n, 3, layer.makes) if layer.makes else floats(1) for layer in weights.layers]
        self.sent = [weights.first_sent, *(floats(n, a.channels) for _ in weights.layers[1:])]
        self.parts = [floats(n, _pitch(layer, a)) for layer in weights.layers]
        self.mixed = [floats(n, self._components, layer.mix.shape[2]) for layer in weights.layers]
        self.norm = [floats(n) for _ in weights.layers]
        self.hidden = [floats(n, a.hidden) for _ in weights.layers]
        self.inputs_of_network, self.active = floats(n, most + a.features), floats(n, a.hidden)
        self.by_state, self.by_hidden = floats(n, pitch), floats(n, a.hidden)
        self.by_inputs, self.by_mixed, self.by_parts = (
            floats(n, most),
            floats(n, self._components * deepest),
            floats(n, widest),
        )
        self.by_sent, self.by_vectors = floats(n, a.channels), floats(n, 3 * max(a.vectors, 1))

    def search(self) -> None:
        """Find the candidates of every atom and store the positions of the search."""
        x, b = self.inputs, self.bucket
        self.old_lattice.copy_(x.lattice)
        self.old_reciprocal.copy_(x.reciprocal)
        self.outputs.status.zero_()
        grid = (triton.cdiv(b.atoms, ATOMS_AT_ONCE),)
        search.remember[grid](
            x.sizes, x.order, x.structure, x.positions, x.reciprocal, self.wraps, self.known, BA=ATOMS_AT_ONCE
        )
        self._prepare()
        pairs = self._pairs_in_bins() if b.structures == 1 and b.atoms >= BINS_FROM else self._pairs
        pairs(False)
        self._offsets()
        pairs(True)

    def _pairs(self, fill: bool) -> None:
        x, b = self.inputs, self.bucket
        search.pairs[(b.atoms,)](
            *(x.sizes, x.ptr, x.order, x.place, x.structure, self.wrapped, self.by_given, x.lattice, x.reciprocal),
            *(self.counts, self.first, self.sender, self.shift, self.outputs.status, self.radius, b.edges),
            FILL=fill,
            BJ=PAIRS_AT_ONCE,
            num_warps=4,
        )

    def _pairs_in_bins(self) -> Callable[[bool], None]:
        """Sort the atoms of the only structure into bins, and return what counts or writes their candidates."""
        x, b = self.inputs, self.bucket
        bins = cells.binned(self.wrapped, x.sizes[0], x.lattice[0], x.reciprocal[0], self.radius)

        def launch(fill: bool) -> None:
            search.pairs_in_bins[(b.atoms,)](
                *(x.sizes, self.wrapped, x.lattice, bins.grid, bins.reach, bins.periodic, bins.own, bins.first, bins.atom),
                *(bins.positions, self.counts, self.first, self.sender, self.shift, self.outputs.status),
                *(self.radius**2, b.edges),
                FILL=fill,
                BJ=IN_A_BIN,
                num_warps=1,
            )

        return launch

    def _offsets(self) -> None:
        """Compute the start of each row of the list, limited to the memory; the status receives the number wanted."""
        torch.cumsum(self.counts, 0, dtype=torch.int32, out=self.first[1:])
        self.outputs.status[1:2].copy_(self.first[-1:])
        self.first.clamp_(max=self.bucket.edges)

    def _prepare(self) -> None:
        x = self.inputs
        search.prepare[(triton.cdiv(self.bucket.atoms, ATOMS_AT_ONCE),)](
            *(x.sizes, x.order, x.structure, x.positions, x.lattice, self.wraps, self.known, self.old_lattice),
            *(self.old_reciprocal, self.wrapped, self.by_given, self.outputs.status, self.radius, self.cutoff),
            BA=ATOMS_AT_ONCE,
        )

    def evaluate(self) -> None:
        """Compute energies, forces and virials of the current positions, with the candidates of the last search."""
        w, a, x, b = self.weights, self.a, self.inputs, self.bucket
        self._prepare()
        geometry.geometry[(b.atoms,)](
            *(x.sizes, self.wrapped, self.first, self.sender, self.shift, x.lattice, x.structure, x.species),
            *(w.radius, w.charge, w.power, self.edges, self.near, self.last, self.local, self.force, self.virial),
            *(b.edges, self.cutoff, a.bond_share),
            RELATIVE=a.bond_share > 0,
            B=a.radial,
            BE=32,
            num_warps=1,
        )
        for t in range(len(w.layers)):
            self._forward(t)
        self._readout()
        for t in reversed(range(len(w.layers))):
            self._backward(t)
        pointwise.finish[(triton.cdiv(b.atoms, ATOMS_AT_ONCE),)](
            *(x.sizes, x.order, x.species, w.references, self.partial, self.local, self.force, self.virial),
            *(self.energies, self.virials, self.outputs.forces, self.outputs.local),
            *(len(self.partial), b.atoms, w.last_bias),
            BA=ATOMS_AT_ONCE,
        )
        pointwise.sums[(b.structures, PARTS)](
            x.sizes, x.ptr, self.energies, self.virials, self.part_sums, PARTS=PARTS, BA=128
        )
        torch.sum(self.part_sums, 1, out=self.outputs.found)

    def neighbor_means(self, values: torch.Tensor) -> torch.Tensor:
        """Return the means of (N,) values of atoms over each atom and its neighbors in the last evaluation."""
        x, b = self.inputs, self.bucket
        means = torch.empty_like(values)
        geometry.neighbor_means[(len(values),)](
            *(x.sizes, self.first, self.last, self.near, self.edges, values.contiguous(), means, b.edges, self.cutoff),
            BE=32,
            num_warps=1,
        )
        return means

    def _forward(self, t: int) -> None:
        layer, a, x, b = self.weights.layers[t], self.a, self.inputs, self.bucket
        edges.density[(b.atoms,)](
            *(x.sizes, self.first, self.last, self.near, self.edges, x.species, self.sent[t], self.vectors[t - 1]),
            *(layer.radial, layer.vector_radial, layer.gains, self.parts[t], b.edges),
            **self._edge_sizes(layer, t),
        )
        tile = self.bucket.tile
        q = layer.mix.shape[2]
        products.mixing[(triton.cdiv(b.atoms, tile["BM"]), self._components, triton.cdiv(q, tile["BN"]))](
            *(x.sizes, self.parts[t], layer.mix, self.mixed[t]),
            **(tile | {"C": a.channels, "V": layer.receives, "NL": self._orders, "Q": q, "P2": 2 * a.products}),
            PRECISION=self.precision,
        )
        pointwise.invariants[(b.atoms,)](
            *(x.sizes, self.parts[t], self.mixed[t], layer.gain, self.weights.embedding if t == 0 else self.state[t - 1]),
            *(x.species, self.inputs_of_network, self.norm[t], layer.bound),
            **self._invariant_sizes(layer),
            D=a.features,
            D_PITCH=a.features if t == 0 else self.pitch,
            FIRST=t == 0,
            BD=triton.next_power_of_2(a.features),
        )
        width = len(layer.gain) + a.features
        self._network(
            products.HIDDEN, self.inputs_of_network, width, layer.hidden, self.hidden[t], a.hidden, second=self.active
        )
        # the features of the previous layer are the last inputs of the network
        features = self.inputs_of_network.view(-1)[len(layer.gain) :]
        self._network(
            *(products.OUT, self.active, a.hidden, layer.out, self.state[t], self.pitch),
            aid=features, aid_pitch=width, split=a.features, adds=True,
        )  # fmt: skip
        if layer.makes:
            pointwise.make_vectors[(b.atoms,)](
                *(x.sizes, self.mixed[t], self.state[t].view(-1)[a.features :], self.vectors[t - 1], self.vectors[t]),
                **self._vector_sizes(layer),
                ADDS=layer.receives > 0,
            )
        if t + 1 < len(self.weights.layers):
            send = self.weights.layers[t + 1].send
            self._network(products.PLAIN, self.state[t], self.pitch, send, self.sent[t + 1], a.channels)

    def _readout(self) -> None:
        w, a = self.weights, self.a
        self._network(
            products.READOUT, self.state[-1], self.pitch, w.readout, self.by_hidden, a.hidden, second=self.features
        )
        self._network(products.PLAIN, self.by_hidden, a.hidden, w.readout, self.by_state, self.pitch, turned=True)

    def _backward(self, t: int) -> None:
        layer, a, x, b = self.weights.layers[t], self.a, self.inputs, self.bucket
        if layer.makes:
            pointwise.by_vectors_made[(b.atoms,)](
                *(x.sizes, self.mixed[t], self.state[t].view(-1)[a.features :], self.by_vectors, self.by_mixed),
                self.by_state.view(-1)[a.features :],
                **self._vector_sizes(layer),
            )
        self._network(
            *(products.BY_HIDDEN, self.by_state, self.pitch, layer.out, self.by_hidden, a.hidden),
            aid=self.hidden[t], aid_pitch=a.hidden, turned=True,
        )  # fmt: skip
        width = len(layer.gain)
        self._network(
            *(products.BY_INPUTS, self.by_hidden, a.hidden, layer.hidden, self.by_inputs, width),
            aid=self.by_state, aid_pitch=self.pitch, split=width, turned=True, columns=width if t == 0 else None,
        )  # fmt: skip
        pointwise.by_invariants[(b.atoms,)](
            *(x.sizes, self.parts[t], self.mixed[t], layer.gain, self.norm[t], self.by_inputs, self.by_mixed, layer.bound),
            **self._invariant_sizes(layer),
        )
        tile, q, c0 = self.bucket.tile, layer.mix.shape[2], a.channels + layer.receives
        products.by_mixing[(triton.cdiv(b.atoms, tile["BM"]), self._components, triton.cdiv(c0, tile["BN"]))](
            *(x.sizes, self.by_mixed, layer.mix, self.by_inputs, layer.gains, x.species, self.by_parts),
            **(tile | {"C": a.channels, "V": layer.receives, "NL": self._orders, "Q": q, "P2": 2 * a.products, "K": width}),
            PRECISION=self.precision,
        )
        edges.edge_backward[(b.atoms,)](
            *(x.sizes, self.first, self.last, self.near, self.edges, x.species, self.sent[t], self.vectors[t - 1]),
            *(layer.radial, layer.vector_radial, self.by_parts, self.force, self.virial, self.by_sent, self.by_vectors),
            b.edges,
            **self._edge_sizes(layer, t),
            PASSED=layer.receives > 0 and layer.makes > 0,
        )
        if t > 0:
            self._network(
                products.PLAIN, self.by_sent, a.channels, layer.send, self.by_state, self.pitch, turned=True, adds=True
            )

    def _network(  # noqa: PLR0913 - one launch for all kinds of products
        self,
        kind: Any,
        rows: torch.Tensor,
        pitch: int,
        matrices: Matrices,
        out: torch.Tensor,
        out_pitch: int,
        *,
        second: torch.Tensor | None = None,
        aid: torch.Tensor | None = None,
        aid_pitch: int = 0,
        split: int = 0,
        turned: bool = False,
        adds: bool = False,
        columns: int | None = None,
    ) -> None:
        depth, width = (matrices.outputs, matrices.inputs) if turned else (matrices.inputs, matrices.outputs)
        x, tile = self.inputs, self.bucket.tile
        step, bias_step = matrices.steps
        grid = (self.bucket.tiles, triton.cdiv(width if columns is None else columns, tile["BN"]))
        products.network[grid](
            *(x.tile_first, x.tile_count, x.tile_species, rows, matrices.weight, matrices.bias),
            *(out if aid is None else aid, out, out if second is None else second, self.weights.last, self.partial),
            *(self.weights.scale, depth, width, step, bias_step, pitch, out_pitch, aid_pitch, split, self.bucket.atoms),
            KIND=kind,
            TURNED=turned,
            ADDS=adds,
            PRECISION=self.precision,
            **tile,
        )

    def _edge_sizes(self, layer: LayerWeights, t: int) -> dict[str, Any]:
        a = self.a
        return {
            "C": a.channels,
            "V": layer.receives,
            "B": a.radial,
            "NL": self._orders,
            "FIRST": t == 0,
            "BC": min(CHANNELS_AT_ONCE, max(16, triton.next_power_of_2(a.channels))),
            "BV": min(VECTORS_AT_ONCE, max(16, triton.next_power_of_2(max(layer.receives, 1)))),
            "BE": EDGES_AT_ONCE,
            "num_warps": 4,
        }

    def _invariant_sizes(self, layer: LayerWeights) -> dict[str, Any]:
        a, c0 = self.a, self.a.channels + layer.receives
        return {
            "C0": c0,
            "PITCH": _pitch(layer, a),
            "NL": self._orders,
            "P": a.products,
            "Q": layer.mix.shape[2],
            "BC": triton.next_power_of_2(c0),
            "BP": triton.next_power_of_2(a.products),
            "num_warps": 2,
        }

    def _vector_sizes(self, layer: LayerWeights) -> dict[str, Any]:
        return {
            "NH": self._components,
            "Q": layer.mix.shape[2],
            "P2": 2 * self.a.products,
            "V": layer.makes,
            "G_PITCH": self.pitch,
            "BV": triton.next_power_of_2(layer.makes),
            "num_warps": 1,
        }


def _pitch(layer: LayerWeights, a: StudentArchitecture) -> int:
    """Return the number of an atom's densities."""
    return 9 * (a.channels + layer.receives) + ((a.l_max + 1) ** 2 - 9) * a.channels
