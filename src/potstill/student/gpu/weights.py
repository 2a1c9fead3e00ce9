"""A student's weights as the GPU kernels take them: each element's matrices mixed once, on the GPU."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from potstill.core.elements import covalent_radii
from potstill.core.precision import float32_products
from potstill.student.layer import LARGEST_INVARIANTS, ElementLinear, Layer
from potstill.student.model import Student
from potstill.student.zbl import SCREENING_EXPONENT


@dataclass(frozen=True, slots=True, eq=False)
class Matrices:
    """Linear map of each of Z elements.

    Parameters
    ----------
    weight
        (Z, inputs, outputs), or (1, inputs, outputs) where the elements share it.
    bias
        (Z, outputs) or (1, outputs).
    """

    weight: torch.Tensor
    bias: torch.Tensor

    @property
    def inputs(self) -> int:
        """Return the width of an input row."""
        return self.weight.shape[1]

    @property
    def outputs(self) -> int:
        """Return the width of an output row."""
        return self.weight.shape[2]

    @property
    def steps(self) -> tuple[int, int]:
        """Return the strides between elements of matrices and biases; 0 where all elements share one."""
        matrix, bias = self.weight[0].numel(), self.bias.shape[1]
        return (matrix if len(self.weight) > 1 else 0, bias if len(self.bias) > 1 else 0)


@dataclass(frozen=True, slots=True, eq=False)
class LayerWeights:
    """Weights of one layer, for NL orders, C channels, V vectors received, P products and Q = 2 P + vectors made.

    Parameters
    ----------
    receives, makes
        Numbers of vectors that neighbors send and that are made; 0 where there are none.
    send
        (1, D, C) map of the features to the sent channels.
    radial, vector_radial
        (NL, B, C) and (3, B, V) weights of the radial functions.
    gains
        (Z, NL, C + V) gains of the radial functions, by the receiver's element.
    mix
        (NL, C + V, Q) mixtures, padded with zeros.
    gain
        (K,) gains of the invariants.
    bound
        Bound of their sum of squares.
    hidden, out
        Networks per atom; the last columns of ``out`` are the gates of vectors.
    """

    receives: int
    makes: int
    send: Matrices
    radial: torch.Tensor
    vector_radial: torch.Tensor
    gains: torch.Tensor
    mix: torch.Tensor
    gain: torch.Tensor
    bound: float
    hidden: Matrices
    out: Matrices


@dataclass(frozen=True, slots=True, eq=False)
class GpuWeights:
    """Weights of a whole student in float32.

    Parameters
    ----------
    embedding, first_sent
        (Z, D) features before the first layer, and (Z, C) channels that atoms send from them.
    layers, readout
        Layers, and the network that reads out the energy.
    last, last_bias, scale
        (H,) and two numbers: ``local energy = scale (last . features + last_bias)``.
    radius, charge, power
        (Z,) parameters of the nuclear repulsion.
    references
        (Z,) reference energies in eV, float64.
    """

    embedding: torch.Tensor
    first_sent: torch.Tensor
    layers: tuple[LayerWeights, ...]
    readout: Matrices
    last: torch.Tensor
    last_bias: float
    scale: float
    radius: torch.Tensor
    charge: torch.Tensor
    power: torch.Tensor
    references: torch.Tensor


def gpu_weights(student: Student) -> GpuWeights:
    """Copy the current weights of a student, on its device."""
    with torch.inference_mode(mode=False), torch.no_grad(), float32_products():
        layers = [layer for layer in student.layers if isinstance(layer, Layer)]  # nn.ModuleList loses the type
        embedding = student.embedding.weight.detach().float().clone()
        charges = student.charges
        device = embedding.device
        return GpuWeights(
            embedding=embedding,
            first_sent=(embedding @ layers[0].send.weight.T.float()).contiguous(),
            layers=tuple(_layer(layer, student) for layer in layers),
            readout=_matrices(student.readout),
            last=_kept(student.last.weight.flatten()),
            last_bias=float(student.scale) * float(student.last.bias),
            scale=float(student.scale),
            radius=_kept(torch.from_numpy(covalent_radii()).to(device)[charges]),
            charge=charges.float(),
            power=charges.double().pow(SCREENING_EXPONENT).float(),
            references=student.reference_energies.double().clone(),
        )


def _layer(layer: Layer, student: Student) -> LayerWeights:
    a, n_elements = student.architecture, len(student.charges)
    v, c, orders, p2 = layer.vectors, a.channels, layer.orders, 2 * a.products
    makes = a.vectors if layer.makes else 0
    mix = layer.mix[0].new_zeros(orders, c + v, p2 + makes)
    for order, matrix in enumerate(layer.mix):
        mix[order, : len(matrix), :p2] = matrix
    gains = mix.new_ones(n_elements, orders, c + v)
    gains[:, :, :c] = layer.radial.element_gain[:, :, 0]
    vector_radial = mix.new_zeros(1)
    if v:  # filters l = 0, 1, 2 of the edge make the densities l = 1, 0, 2
        gains[:, :3, c:] = layer.vector_radial.element_gain[:, [1, 0, 2], 0]
        vector_radial = layer.vector_radial.weight
    out = _matrices(layer.out)
    if layer.makes:
        mix[1, :, p2:] = layer.vector_mix
        gate = layer.gate.weight.T.expand(len(out.weight), -1, -1)
        bias = layer.gate.bias.expand(len(out.bias), -1)
        out = Matrices(_kept(torch.cat([out.weight, gate], 2)), _kept(torch.cat([out.bias, bias], 1)))
    return LayerWeights(
        receives=v,
        makes=makes,
        send=Matrices(_kept(layer.send.weight.T[None]), mix.new_zeros(1, c)),
        radial=_kept(layer.radial.weight),
        vector_radial=_kept(vector_radial),
        gains=_kept(gains),
        mix=_kept(mix),
        gain=_kept(layer.gain),
        bound=len(layer.gain) * LARGEST_INVARIANTS**2,
        hidden=_matrices(layer.hidden),
        out=out,
    )


def _matrices(linear: ElementLinear) -> Matrices:
    mixed = linear.coefficients @ linear.weight if len(linear.weight) > 1 else linear.weight
    return Matrices(_kept(mixed.view(-1, *linear.shape)), _kept(linear.bias[None]))


def _kept(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().float().clone(memory_format=torch.contiguous_format)
