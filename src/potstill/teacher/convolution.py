"""The convolutions of SevenNet on a CPU, by a C++ kernel in the place of e3nn's code.

e3nn writes the message of every edge to memory, and the radial weights that it is made with. The kernel adds the messages up
while they are in the cache, for some atoms at once. Labels are those of e3nn but for rounding, several times faster. Where
there is no C++ compiler, or a model has other convolutions, :class:`~potstill.core.cpp.KernelError` says why, and the
model stays as it is.
"""

from __future__ import annotations

import ctypes
from bisect import bisect_right
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from potstill.core.cpp import KernelError, compiled, demand
from potstill.core.threads import survive_fork, threads

if TYPE_CHECKING:
    from e3nn.o3 import Irreps, TensorProduct

SOURCE = Path(__file__).with_suffix(".cpp")
SYMBOLS = (
    "convolution_lanes",
    "convolution_turn",
    "convolution_forward",
    "convolution_backward",
)
L_MAX = 3
EDGES_PER_THREAD = 512  # edges whose weights are in memory at once
TOLERANCE = 1e-4  # of the largest number, between e3nn's code and the kernel


def replace_convolutions(model: nn.Sequential) -> None:
    """Let the kernel compute the convolutions of a SevenNet model, in place.

    Each is compared with e3nn's code first, on random numbers.

    Raises
    ------
    KernelError
        If the kernel cannot be compiled, has no code for a convolution, or differs from e3nn; the model is then unchanged.
    """
    from sevenn.nn.convolution import IrrepsConvolution

    found = {name: module for name, module in model.named_children() if isinstance(module, IrrepsConvolution)}
    if not found:
        raise KernelError("the model has no convolutions that the kernel knows")
    try:
        replaced = {name: Convolution(module) for name, module in found.items()}
        for name, module in replaced.items():
            _compare(name, found[name], module)
    except (AttributeError, IndexError, RuntimeError, TypeError) as error:  # of another version of the packages
        if isinstance(error, KernelError):
            raise
        raise KernelError(f"the model is built in another way: {error}") from error
    for name, module in replaced.items():
        model._modules[name] = module


class Convolution(nn.Module):
    """A convolution of SevenNet, with the weights and the results of the module that it takes the place of.

    Parameters
    ----------
    module
        SevenNet's ``IrrepsConvolution``.

    Raises
    ------
    KernelError
        If the kernel cannot be compiled or has no code for the convolution.
    """

    def __init__(self, module: Any) -> None:
        super().__init__()
        radial = list(module.weight_nn)
        if getattr(radial[-1], "act", None) is not None:
            raise KernelError("the radial network of the model ends in an activation")
        self._paths = _Paths(module.convolution)
        self._hidden = nn.Sequential(*radial[:-1])
        self.keys = module.key_x, module.key_filter, module.key_weight_input, module.key_edge_idx
        inputs = radial[-1].weight.shape[0]
        self.register_buffer("_matrix", radial[-1](torch.eye(inputs)).detach().contiguous())  # it is linear
        self.register_buffer("_denominator", module.denominator.detach().clone())

    def forward(self, data: Any) -> Any:
        """Replace the features of the atoms in a graph by the sum of their messages."""
        x, angular, radial, edge_index = (data[key] for key in self.keys)
        if "by_atom" not in data:  # the same for all layers
            receivers, senders = edge_index
            data["by_atom"] = _ByAtom(receivers, senders, len(x)), _ByAtom(senders, receivers, len(x))
        hidden = self._hidden(radial)
        if {x.dtype, angular.dtype, hidden.dtype} != {torch.float32} or edge_index.dtype != torch.int64:
            raise KernelError(f"the kernel needs float32 and int64, found {x.dtype}, {angular.dtype} and {edge_index.dtype}")
        summed = _Sum.apply(self._paths, *data["by_atom"], self._matrix, x, angular, hidden)  # type: ignore[no-untyped-call]
        data[self.keys[0]] = summed / self._denominator
        return data


class _Path(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("mul", "d_x", "d_y", "d_out", "x", "y", "out", "w")),
        ("coupling", ctypes.c_void_p),
    ]


class _Block(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in ("first", "mul", "d")]


class _PathsOfC(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("n_paths", "x_width", "y_width", "out_width", "w_width")),
        ("path", ctypes.c_void_p),
    ]


class _EdgesOfC(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in ("first_atom", "last_atom", "first_row")),
        *((name, ctypes.c_void_p) for name in ("first", "edge", "other")),
    ]


class _Paths:
    """Paths of a tensor product, as C++ takes them."""

    def __init__(self, product: TensorProduct) -> None:
        from e3nn.o3 import wigner_3j

        self.library, self._product = _library(), product
        lanes = self.library.convolution_lanes()
        x, y, out = product.irreps_in1, product.irreps_in2, product.irreps_out
        self._alive, paths, width = [], [], 0
        for path in product.instructions:
            mul, of_x = x[path.i_in1]
            filters, of_y = y[path.i_in2]
            channels, of_out = out[path.i_out]
            if path.connection_mode != "uvu" or filters != 1 or channels != mul:
                raise KernelError("the model mixes channels along its edges")
            highest = max(of_x.l, of_y.l, of_out.l)
            if mul % lanes or highest > L_MAX:
                wanted = f"multiples of {lanes} channels and l of {L_MAX} at most"
                raise KernelError(f"the kernel needs {wanted}, found {mul} channels and l of {highest}")
            coupling = (wigner_3j(of_x.l, of_y.l, of_out.l, dtype=torch.float64) * path.path_weight).float().contiguous()
            self._alive.append(coupling)
            first = x.slices()[path.i_in1].start, y.slices()[path.i_in2].start, out.slices()[path.i_out].start
            paths.append(_Path(mul, of_x.dim, of_y.dim, of_out.dim, *first, width, coupling.data_ptr()))
            width += mul
        self._paths = (_Path * len(paths))(*paths)
        self.sizes = _PathsOfC(len(paths), x.dim, y.dim, out.dim, width, ctypes.addressof(self._paths))
        self.x, self.out = _Turn(self.library, x), _Turn(self.library, out)

    def __reduce__(self) -> tuple[object, ...]:
        """Make copies and pickles anew from the tensor product, for these would hold addresses of others' memory."""
        return _Paths, (self._product,)


class _Turn:
    """Rows of some irreps with the channels of a component side by side, as C++ takes them, and back."""

    def __init__(self, library: ctypes.CDLL, irreps: Irreps) -> None:
        blocks = [(place.start, mul, kind.dim) for place, (mul, kind) in zip(irreps.slices(), irreps, strict=True)]
        self._library = library
        self._there = (_Block * len(blocks))(*(_Block(first, mul, d) for first, mul, d in blocks))
        self._back = (_Block * len(blocks))(*(_Block(first, d, mul) for first, mul, d in blocks))

    def there(self, rows: torch.Tensor) -> torch.Tensor:
        """Return rows as C++ takes them."""
        return self._turned(rows, self._there)

    def back(self, rows: torch.Tensor) -> torch.Tensor:
        """Return rows as e3nn stores them."""
        return self._turned(rows, self._back)

    def _turned(self, rows: torch.Tensor, blocks: ctypes.Array[_Block]) -> torch.Tensor:
        rows = rows.contiguous()
        turned = torch.empty_like(rows)
        size = ctypes.c_int64(len(rows)), rows.shape[1]
        self._library.convolution_turn(blocks, len(blocks), _at(rows), _at(turned), *size, threads())
        return turned


class _ByAtom:
    """Edges in the order of the atoms at one of their ends, divided into chunks of whole atoms.

    Parameters
    ----------
    atoms, others
        (E,) indices of the atoms at this end of each edge, and at the other.
    n_atoms
        Number of atoms.
    """

    def __init__(self, atoms: torch.Tensor, others: torch.Tensor, n_atoms: int) -> None:
        self._edge = torch.argsort(atoms, stable=True)
        self._other = others[self._edge].contiguous()
        self._first = atoms.new_zeros(n_atoms + 1)
        torch.cumsum(torch.bincount(atoms, minlength=n_atoms), 0, out=self._first[1:])
        self.chunks = list(self._divided(EDGES_PER_THREAD * threads()))

    def _divided(self, most: int) -> Iterator[tuple[_EdgesOfC, torch.Tensor]]:
        """Yield atoms with at most so many edges together, or one atom, for C++, and the indices of their edges."""
        first, start = self._first.tolist(), 0
        pointers = self._first.data_ptr(), self._edge.data_ptr(), self._other.data_ptr()
        while start < len(first) - 1:
            end = max(start + 1, bisect_right(first, first[start] + most) - 1)
            yield _EdgesOfC(start, end, first[start], *pointers), self._edge[first[start] : first[end]]
            start = end


class _Sum(torch.autograd.Function):
    """Sum of the messages to each atom: the weights of an edge are its (H,) hidden radial features times ``matrix``."""

    @staticmethod
    def forward(
        ctx: Any,
        paths: _Paths,
        received: _ByAtom,
        sent: _ByAtom,
        matrix: torch.Tensor,
        x: torch.Tensor,
        angular: torch.Tensor,
        hidden: torch.Tensor,
    ) -> torch.Tensor:
        x, angular = paths.x.there(x), angular.contiguous()
        out = x.new_empty(len(x), paths.sizes.out_width)
        for edges, rows in received.chunks:
            weights = hidden[rows] @ matrix
            paths.library.convolution_forward(
                ctypes.byref(paths.sizes), ctypes.byref(edges), _at(x), _at(angular), _at(weights), _at(out), threads()
            )
        ctx.save_for_backward(matrix, x, angular, hidden)
        ctx.given = paths, sent
        return paths.out.back(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_out: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        matrix, x, angular, hidden = ctx.saved_tensors
        paths, sent = ctx.given
        by_out = paths.out.there(by_out)
        by_x, by_angular, by_hidden = torch.empty_like(x), torch.empty_like(angular), torch.empty_like(hidden)
        for edges, rows in sent.chunks:
            weights = hidden[rows] @ matrix
            by_weights = torch.empty_like(weights)
            given = (_at(tensor) for tensor in (x, angular, weights, by_out, by_x, by_angular, by_weights))
            paths.library.convolution_backward(ctypes.byref(paths.sizes), ctypes.byref(edges), *given, threads())
            by_hidden[rows] = by_weights @ matrix.T
        return None, None, None, None, paths.x.back(by_x), by_angular, by_hidden


def _compare(name: str, module: Any, ours: Convolution) -> None:
    """Raise KernelError where a convolution differs from the module that it is to take the place of."""
    generator = torch.Generator().manual_seed(0)
    n_atoms, n_edges = 3, 12
    edge_index = torch.randint(n_atoms, (2, n_edges), generator=generator)
    x, angular = module.convolution.irreps_in1.dim, module.convolution.irreps_in2.dim
    sizes = (n_atoms, x), (n_edges, angular), (n_edges, module.weight_nn[0].weight.shape[0])
    inputs = [torch.randn(*size, generator=generator).requires_grad_() for size in sizes]
    answers = []
    with torch.enable_grad():
        for convolution in (module, ours):
            out = convolution(dict(zip(ours.keys, [*inputs, edge_index], strict=True)))[ours.keys[0]]
            along = torch.linspace(-1, 1, out.numel()).reshape(out.shape)
            answers.append([out, *torch.autograd.grad((out * along).sum(), inputs)])
    for one, other in zip(*answers, strict=True):
        if not (one - other).abs().max() <= TOLERANCE * one.abs().max():
            raise KernelError(f"{name} of the model does not give the results of e3nn")


def _library() -> ctypes.CDLL:
    return demand(_loaded())


@cache
def _loaded() -> ctypes.CDLL | str:
    """Return the compiled kernel, or why there is none; a failure is not tried again in the same process."""
    survive_fork()
    return compiled(SOURCE, [], SYMBOLS)


def _at(tensor: torch.Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())
