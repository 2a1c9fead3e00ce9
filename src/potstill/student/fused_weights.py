"""A student's weights as ``fused.cpp`` takes them: padded, merged by element, each with its transpose, behind pointers."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable

import torch
from torch import nn

from potstill.core.elements import covalent_radii
from potstill.student.layer import LARGEST_INVARIANTS, ElementLinear, Layer
from potstill.student.model import Student

POINTER = ctypes.c_void_p
FLOAT_BYTES = 4


class ElementWeights(ctypes.Structure):
    """Weights of one element in one layer."""

    _fields_ = [
        (n, POINTER) for n in ("table", "vector_table", "hidden", "hidden_t", "hidden_bias", "out", "out_t", "out_bias")
    ]


class LayerWeights(ctypes.Structure):
    """Weights of one layer, shared by its elements."""

    _fields_ = [
        ("send", POINTER),
        ("send_t", POINTER),
        ("mix", POINTER * 4),
        ("mix_t", POINTER * 4),
        *((n, POINTER) for n in ("gain", "vector_mix", "vector_mix_t", "gate", "gate_t", "gate_bias", "element")),
        ("receives", ctypes.c_int32),
        ("makes", ctypes.c_int32),
        ("bound", ctypes.c_float),
    ]


class ElementReadout(ctypes.Structure):
    """Weights of one element after the last layer."""

    _fields_ = [(n, POINTER) for n in ("hidden", "hidden_t", "bias")]


class Model(ctypes.Structure):
    """Weights of a whole student."""

    _fields_ = [
        *(
            (n, ctypes.c_int32)
            for n in ("n_layers", "n_elements", "features", "channels", "vectors", "products", "radial", "hidden", "l_max")
        ),
        *((n, ctypes.c_float) for n in ("cutoff", "scale", "last_bias", "n_vectors", "bond_share")),
        *((n, POINTER) for n in ("embedding", "layer", "readout", "last", "charge", "radius")),
    ]


class Atoms(ctypes.Structure):
    """Batch of atoms: input arrays and output arrays."""

    _fields_ = [
        ("n_atoms", ctypes.c_int64),
        ("n_edges", ctypes.c_int64),
        *((n, POINTER) for n in ("species", "first_edge", "sender", "vectors", "local", "gradient", "last")),
        ("n_ghosts", ctypes.c_int64),  # 0 here: programs that divide atoms among processes have ghosts
        ("exchange", POINTER),
        ("weight", POINTER),  # null: the gradient is that of the sum of all local energies
    ]


class Learned(ctypes.Structure):
    """Arrays for derivatives by the weights."""

    _fields_ = [("model", POINTER), ("weight", POINTER), ("stride", ctypes.c_int64)]


class FusedWeights:
    """Weights of a student, copied at construction.

    Parameters
    ----------
    student
        Student in float32 on the CPU.
    lanes
        Number of floats in a vector of the processor; widths are padded to multiples.
    learning
        Whether ``tensors`` keeps the path from each tensor back to the student's parameters.

    Attributes
    ----------
    merged
        Elements whose matrices are mixed.
    differentiated
        Whether the path back was taken, which can be done once.
    """

    def __init__(self, student: Student, lanes: int, *, learning: bool = False) -> None:
        self._student = student
        self._lanes = lanes
        self._learning = learning
        self._others: list[torch.Tensor] = []  # tensors that C++ points to and that are not trained
        self._places: dict[int, int] = {}  # address -> place in the list of all trained floats
        self._length = 0
        self.tensors: list[torch.Tensor] = []
        n_layers, n_elements = len(student.layers), len(student.architecture.atomic_numbers)
        self._elements = [(ElementWeights * n_elements)() for _ in range(n_layers)]
        self._readouts = (ElementReadout * n_elements)()
        self._layers = (LayerWeights * n_layers)()
        self.merged: set[int] = set()
        self.differentiated = False
        self.model = self._whole(student)

    def merge(self, species: Iterable[int]) -> None:
        """Mix the matrices of elements that are missing, and pass them to C++."""
        missing = sorted(set(species) - self.merged)
        # one by one, an element rounds as it does alone; all at once is faster, for training that merges at every step
        for chosen in [missing] if self._learning else [[z] for z in missing]:
            self._merge(chosen)

    def _merge(self, missing: list[int]) -> None:
        a, present = self._student.architecture, torch.tensor(missing, device="cpu")
        for layer, elements in zip(self._layers_of_student(), self._elements, strict=True):
            inputs = [*self._invariants(layer), a.features]
            tables = self._each(self._padded(layer.radial.tables(present), None, [a.channels]))
            hidden = self._linear(layer.hidden, present, inputs, [a.hidden])
            out = self._linear(layer.out, present, [a.hidden], [a.features])
            for z, table, own_hidden, own_out in zip(missing, tables, hidden, out, strict=True):
                to = elements[z]
                to.table = table
                to.hidden, to.hidden_t, to.hidden_bias = own_hidden
                to.out, to.out_t, to.out_bias = own_out
            if layer.vectors:
                tables = self._each(self._padded(layer.vector_radial.tables(present), None, [a.vectors]))
                for z, table in zip(missing, tables, strict=True):
                    elements[z].vector_table = table
        readouts = self._linear(self._student.readout, present, [a.features], [a.hidden])
        for z, readout in zip(missing, readouts, strict=True):
            own = self._readouts[z]
            own.hidden, own.hidden_t, own.bias = readout
        self.merged.update(missing)

    def derivatives(self, threads: int) -> tuple[Model, torch.Tensor, object]:
        """Return a model for derivatives: its pointers lead into rows, one per thread, of a tensor of zeros.

        The third value keeps the memory of the model's pointers alive.
        """
        rows = torch.zeros(threads, self._length)
        start = rows.data_ptr()
        layers = (LayerWeights * len(self._layers))()
        elements = [(ElementWeights * len(each))() for each in self._elements]
        readouts = (ElementReadout * len(self._readouts))()
        for z in self.merged:
            self._lead(self._readouts[z], readouts[z], start)
            for each, to in zip(self._elements, elements, strict=True):
                self._lead(each[z], to[z], start)
        for k, to in enumerate(layers):
            self._lead(self._layers[k], to, start)
            to.element = ctypes.cast(elements[k], POINTER)
        model = Model()
        self._lead(self.model, model, start)
        model.layer, model.readout = ctypes.cast(layers, POINTER), ctypes.cast(readouts, POINTER)
        return model, rows, (layers, elements, readouts)

    def split(self, floats: torch.Tensor) -> list[torch.Tensor]:
        """Return the derivative of each of ``tensors`` out of one row of all."""
        parts = floats.split([t.numel() for t in self.tensors])
        return [part.view(tensor.shape) for part, tensor in zip(parts, self.tensors, strict=True)]

    def _lead(self, weights: ctypes.Structure, to: ctypes.Structure, start: int) -> None:
        for name, _ in weights._fields_:  # type: ignore[misc]
            value = getattr(weights, name)
            if isinstance(value, ctypes.Array):
                for k, address in enumerate(value):
                    if address in self._places:
                        getattr(to, name)[k] = start + FLOAT_BYTES * self._places[address]
            elif value in self._places:
                setattr(to, name, start + FLOAT_BYTES * self._places[value])

    def _layers_of_student(self) -> list[Layer]:
        return [layer for layer in self._student.layers if isinstance(layer, Layer)]  # nn.ModuleList loses the type

    def _whole(self, student: Student) -> Model:
        a = student.architecture
        for place, layer in enumerate(self._layers_of_student()):
            self._layers[place] = self._layer(layer, self._elements[place])
        sizes = [self._width(n) for n in (a.features, a.channels, a.vectors, a.products)]
        charges = student.charges
        return Model(
            *(a.layers, len(charges), *sizes, a.radial, self._width(a.hidden), a.l_max),
            *(a.cutoff_angstrom, float(student.scale), float(student.last.bias.detach()), a.vectors),
            a.bond_share,
            embedding=self._address(self._padded(student.embedding.weight, None, [a.features])),
            layer=ctypes.cast(self._layers, POINTER),
            readout=ctypes.cast(self._readouts, POINTER),
            last=self._address(self._padded(student.last.weight, None, [a.hidden])),
            charge=self._address(charges.float()),
            radius=self._address(torch.from_numpy(covalent_radii())[charges].float()),
        )

    def _layer(self, layer: Layer, elements: ctypes.Array[ElementWeights]) -> LayerWeights:
        a = self._student.architecture
        found = LayerWeights(
            element=ctypes.cast(elements, POINTER),
            receives=int(layer.vectors > 0),
            makes=int(layer.makes),
            bound=len(layer.gain) * LARGEST_INVARIANTS**2,
        )
        found.send, found.send_t = self._both(layer.send.weight.T, [a.features], [a.channels])
        for order, mix in enumerate(layer.mix):
            found.mix[order], found.mix_t[order] = self._both(mix, self._density(layer, order), [a.products] * 2)
        found.gain = self._address(self._padded(layer.gain, None, self._invariants(layer)))
        if layer.makes:
            found.vector_mix, found.vector_mix_t = self._both(layer.vector_mix, self._density(layer, 1), [a.vectors])
            found.gate, found.gate_t = self._both(layer.gate.weight.T, [a.hidden], [a.vectors])
            found.gate_bias = self._address(self._padded(layer.gate.bias, None, [a.vectors]))
        return found

    def _density(self, layer: Layer, order: int) -> list[int]:
        """Return the parts of a density's width that are padded separately."""
        a = self._student.architecture
        return [a.channels, layer.vectors] if layer.vectors and order < 3 else [a.channels]

    def _invariants(self, layer: Layer) -> list[int]:
        return [*self._density(layer, 0), *[self._student.architecture.products] * (layer.orders + 1)]

    def _linear(
        self, linear: ElementLinear, present: torch.Tensor, rows: list[int], columns: list[int]
    ) -> list[tuple[int, int, int]]:
        """Return addresses of each element's matrix, its transpose and the bias."""
        matrices = self._padded(linear.matrices(present), rows, columns)
        bias = self._address(self._padded(linear.bias, None, columns))
        turned = self._each(matrices.detach().transpose(1, 2))
        return [(one, other, bias) for one, other in zip(self._each(matrices), turned, strict=True)]

    def _both(self, matrix: torch.Tensor, rows: list[int], columns: list[int]) -> tuple[int, int]:
        """Return addresses of a matrix and of its transpose."""
        padded = self._padded(matrix, rows, columns)
        return self._address(padded), self._address(padded.detach().T)

    def _each(self, stack: torch.Tensor) -> list[int]:
        """Return addresses of the tensors in a stack."""
        first, size = self._address(stack), stack[0].numel()
        if first in self._places:
            self._places |= {first + FLOAT_BYTES * size * k: self._places[first] + size * k for k in range(len(stack))}
        return [first + FLOAT_BYTES * size * k for k in range(len(stack))]

    def _address(self, tensor: torch.Tensor) -> int:
        """Return the address of a tensor, and keep the tensor."""
        if self._learning and tensor.requires_grad:
            kept = tensor.contiguous()
            self.tensors.append(kept)
            self._places[kept.data_ptr()] = self._length
            self._length += kept.numel()
        else:  # a copy, so that later changes of the student have no effect
            kept = tensor.detach().clone(memory_format=torch.contiguous_format)
            self._others.append(kept)
        return kept.data_ptr()

    def _padded(self, tensor: torch.Tensor, rows: list[int] | None, columns: list[int]) -> torch.Tensor:
        """Return a tensor whose parts are padded with zeros to whole vectors."""
        if rows is not None:
            tensor = self._padded(tensor.transpose(-1, -2), None, rows).transpose(-1, -2)
        missing = [self._width(n) - n for n in columns]
        if not any(missing):
            return tensor
        parts = tensor.split(columns, dim=-1)
        return torch.cat([nn.functional.pad(part, (0, n)) for part, n in zip(parts, missing, strict=True)], dim=-1)

    def _width(self, size: int) -> int:
        return -(-size // self._lanes) * self._lanes
