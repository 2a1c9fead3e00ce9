"""The fused CPU kernel: ``fused.cpp``, compiled once on the user's machine, as a :data:`~potstill.student.model.Kernel`.

Enters a student in float32 on a CPU; leaves the same numbers as its own PyTorch code, several times faster. Where there is
no C++ compiler, :func:`fused_kernel` says why and the student runs in PyTorch.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import torch

from potstill.errors import PotstillError
from potstill.generate.geometry import covalent_radii
from potstill.student.layer import LARGEST_INVARIANTS, ElementLinear, Layer
from potstill.student.model import Student
from potstill.types import Batch

log = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("fused.cpp")
FLAGS = ("-std=c++17", "-O3", "-fno-math-errno", "-ffp-contract=fast", "-shared", "-fPIC")
OPTIONAL_FLAGS = (("-march=native", "-fopenmp"), ("-mcpu=native", "-fopenmp"), ("-fopenmp",), ())  # the first that compiles
COMPILE_SECONDS = 300
POINTER = ctypes.c_void_p
FAILURES = {1: "the fused kernel has no code for these sizes", 2: "the fused kernel got too little memory for this batch"}


class KernelError(PotstillError):
    """The fused kernel cannot be used here; the message says why."""


def fused_kernel(student: Student) -> FusedKernel:
    """The kernel of a student, compiled if that was not done before.

    Raises
    ------
    KernelError
        If the student is not in float32 on a CPU, or the kernel cannot be compiled here.
    """
    weight = student.embedding.weight
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        raise KernelError(f"the fused kernel is for float32 on a CPU, found {weight.dtype} on {weight.device}")
    return FusedKernel(student)


class FusedKernel:
    """Local energies and their derivative by the edge vectors, for a student whose weights stay as they are now.

    Parameters
    ----------
    student
        In float32 on the CPU.
    """

    def __init__(self, student: Student) -> None:
        self._library = load_library()
        self._lanes: int = self._library.student_lanes()
        self._student = student
        self._tensors: list[torch.Tensor] = []  # what C++ points to
        n_layers, n_elements = len(student.layers), len(student.architecture.atomic_numbers)
        self._elements = [(_ElementWeights * n_elements)() for _ in range(n_layers)]
        self._readouts = (_ElementReadout * n_elements)()
        self._layers = (_LayerWeights * n_layers)()
        self._ready: set[int] = set()
        self._model = self._whole(student)

    def __call__(self, vectors: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """(N,) local energies in eV and (e, 3) derivatives in eV/Å of their sum by the (e, 3) edge vectors."""
        if vectors.dtype != torch.float32 or vectors.device.type != "cpu":
            raise KernelError(f"the fused kernel is for float32 on a CPU, found {vectors.dtype} on {vectors.device}")
        n_atoms, n_edges = len(batch.atomic_numbers), len(vectors)
        species = self._student.species_of[batch.atomic_numbers]
        present = set(species.unique().tolist())
        self._refuse(present, n_atoms, batch.edge_index)
        for element in present - self._ready:
            self._merge(element)
        first = species.new_zeros(n_atoms + 1)
        torch.cumsum(torch.bincount(batch.edge_index[0], minlength=n_atoms), 0, out=first[1:])
        vectors, sender = vectors.detach().contiguous(), batch.edge_index[1].to(torch.int64).contiguous()
        local, gradient = vectors.new_empty(n_atoms), vectors.new_empty(n_edges, 3)
        pointers = (tensor.data_ptr() for tensor in (species, first, sender, vectors, local, gradient))
        atoms = _Atoms(n_atoms, n_edges, *pointers)
        failed = self._library.student_energy_gradient(
            ctypes.byref(self._model), ctypes.byref(atoms), ctypes.c_int(torch.get_num_threads())
        )
        if failed:
            raise KernelError(FAILURES[failed])
        return local, gradient

    def __reduce__(self) -> tuple[object, ...]:
        """Copies and pickles are made anew from the student."""
        return FusedKernel, (self._student,)

    @staticmethod
    def _refuse(present: set[int], n_atoms: int, edge_index: torch.Tensor) -> None:
        """Raise where C++ would read what is not there."""
        if -1 in present:
            raise KernelError("the batch holds an element that the student does not know")
        if edge_index.numel():
            least, most = torch.aminmax(edge_index)
            if int(least) < 0 or int(most) >= n_atoms:
                raise KernelError("the batch has edges to atoms that are not in it")

    def _whole(self, student: Student) -> _Model:
        a = student.architecture
        for place, layer in enumerate(student.layers):
            assert isinstance(layer, Layer)  # noqa: S101 - nn.ModuleList forgets its type
            self._layers[place] = self._layer(layer, self._elements[place])
        sizes = [self._padded(n) for n in (a.features, a.channels, a.vectors, a.products)]
        charges = student.charges
        return _Model(
            *(a.layers, len(charges), *sizes, a.radial, self._padded(a.hidden), a.l_max),
            *(a.cutoff_angstrom, float(student.scale), float(student.last.bias.detach()), a.vectors),
            embedding=self._keep(student.embedding.weight, None, [a.features]),
            layer=ctypes.cast(self._layers, POINTER),
            readout=ctypes.cast(self._readouts, POINTER),
            last=self._keep(student.last.weight, None, [a.hidden]),
            charge=self._keep(charges),
            radius=self._keep(torch.from_numpy(covalent_radii())[charges]),
        )

    def _layer(self, layer: Layer, elements: ctypes.Array[_ElementWeights]) -> _LayerWeights:
        a = self._student.architecture
        found = _LayerWeights(
            element=ctypes.cast(elements, POINTER),
            receives=int(layer.vectors > 0),
            makes=int(layer.makes),
            bound=len(layer.gain) * LARGEST_INVARIANTS**2,
        )
        found.send, found.send_t = self._both(layer.send.weight.T, [a.features], [a.channels])
        for order, mix in enumerate(layer.mix):
            rows = self._density(layer, order)
            found.mix[order], found.mix_t[order] = self._both(mix, rows, [a.products] * 2)
        found.gain = self._keep(layer.gain, None, self._invariants(layer))
        if layer.makes:
            found.vector_mix, found.vector_mix_t = self._both(layer.vector_mix, self._density(layer, 1), [a.vectors])
            found.gate, found.gate_t = self._both(layer.gate.weight.T, [a.hidden], [a.vectors])
            found.gate_bias = self._keep(layer.gate.bias, None, [a.vectors])
        return found

    def _density(self, layer: Layer, order: int) -> list[int]:
        """Parts of a density's width: what is padded by itself."""
        a = self._student.architecture
        return [a.channels, layer.vectors] if layer.vectors and order < 3 else [a.channels]

    def _invariants(self, layer: Layer) -> list[int]:
        return [*self._density(layer, 0), *[self._student.architecture.products] * (layer.orders + 1)]

    def _merge(self, element: int) -> None:
        """Mix the matrices of an element and hand them over."""
        a = self._student.architecture
        for layer, elements in zip(self._student.layers, self._elements, strict=True):
            assert isinstance(layer, Layer)  # noqa: S101
            to = elements[element]
            to.table = self._keep(layer.radial.tables(torch.tensor(element, device="cpu")), None, [a.channels])
            if layer.vectors:
                to.vector_table = self._keep(
                    layer.vector_radial.tables(torch.tensor(element, device="cpu")), None, [a.vectors]
                )
            inputs = [*self._invariants(layer), a.features]
            to.hidden, to.hidden_t, to.hidden_bias = self._linear(layer.hidden, element, inputs, [a.hidden])
            to.out, to.out_t, to.out_bias = self._linear(layer.out, element, [a.hidden], [a.features])
        readout = self._readouts[element]
        readout.hidden, readout.hidden_t, readout.bias = self._linear(
            self._student.readout, element, [a.features], [a.hidden]
        )
        self._ready.add(element)

    def _linear(self, linear: ElementLinear, element: int, rows: list[int], columns: list[int]) -> tuple[int, int, int]:
        (matrix,) = linear.matrices(torch.tensor([element], device="cpu"))
        return *self._both(matrix, rows, columns), self._keep(linear.bias, None, columns)

    def _both(self, matrix: torch.Tensor, rows: list[int], columns: list[int]) -> tuple[int, int]:
        """Addresses of a matrix and of its transpose."""
        return self._keep(matrix, rows, columns), self._keep(matrix.T, columns, rows)

    def _keep(self, tensor: torch.Tensor, rows: list[int] | None = None, columns: list[int] | None = None) -> int:
        """Address of a copy whose parts are padded with zeros to whole vectors."""
        tensor = tensor.detach().float()
        if rows is not None:
            tensor = torch.cat([self._pad(part.T).T for part in tensor.split(rows, dim=0)])
        if columns is not None:
            tensor = torch.cat([self._pad(part) for part in tensor.split(columns, dim=-1)], dim=-1)
        tensor = tensor.contiguous()
        self._tensors.append(tensor)
        return tensor.data_ptr()

    def _pad(self, tensor: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(tensor, (0, self._padded(tensor.shape[-1]) - tensor.shape[-1]))

    def _padded(self, size: int) -> int:
        return -(-size // self._lanes) * self._lanes


@cache
def load_library() -> ctypes.CDLL:
    """The compiled kernel, from the cache or compiled now.

    Raises
    ------
    KernelError
        If there is no compiler, or it fails.
    """
    compiler = _compiler()
    library = _cache_folder() / f"fused-{_key(compiler)}.so"
    if not _whole(library):
        _compile(compiler, library)
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise KernelError(f"the compiled kernel {library} cannot be loaded: {error}") from error


def _whole(library: Path) -> bool:
    """Whether a library is there as it was compiled: loading a damaged one would end the process."""
    seal = library.with_suffix(".sha256")
    try:
        return seal.read_text(encoding="ascii") == hashlib.sha256(library.read_bytes()).hexdigest()
    except (OSError, UnicodeDecodeError):
        return False


def _compiler() -> list[str]:
    """Command of the compiler, with the options that ``CXX`` may hold."""
    wanted = shlex.split(os.environ.get("CXX", ""))
    for command in [wanted] if wanted else [["c++"], ["g++"], ["clang++"]]:
        if found := shutil.which(command[0]):
            return [found, *command[1:]]
    name = wanted[0] if wanted else "c++, g++ or clang++"
    raise KernelError(f"no C++ compiler {name} was found; install one (for example g++) for the fused kernel")


def _key(compiler: list[str]) -> str:
    """Changes with the source, the flags, the compiler and the processor, for which it was compiled."""
    try:
        version = subprocess.run([*compiler, "--version"], capture_output=True, check=False, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KernelError(f"the C++ compiler {shlex.join(compiler)} does not run: {error}") from error
    parts = (SOURCE.read_bytes(), repr((FLAGS, OPTIONAL_FLAGS, compiler)).encode(), version, _processor().encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        wanted = ("model name", "flags", "Features", "CPU part")
        lines = {line for line in information.read_text(encoding="utf-8").splitlines() if line.startswith(wanted)}
        return "\n".join(sorted(lines))
    return f"{sys.platform} {platform.machine()} {platform.processor()}"


def _cache_folder() -> Path:
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "potstill"
    except RuntimeError as error:
        raise KernelError(f"no folder to keep the compiled kernel in ({error}); set XDG_CACHE_HOME") from error


def _compile(compiler: list[str], library: Path) -> None:
    """Compile under a temporary name, then rename: two processes that start together do not disturb each other."""
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            made = Path(folder) / library.name
            for flags in OPTIONAL_FLAGS:
                command = [*compiler, *FLAGS, *flags, str(SOURCE), "-o", str(made)]
                done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMPILE_SECONDS)
                if done.returncode == 0:
                    seal = made.with_suffix(".sha256")
                    seal.write_text(hashlib.sha256(made.read_bytes()).hexdigest(), encoding="ascii")
                    made.replace(library)
                    seal.replace(library.with_suffix(".sha256"))
                    return
        raise KernelError(f"{shlex.join(compiler)} could not compile {SOURCE.name}:\n{done.stderr.strip()[-2000:]}")
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KernelError(f"the fused kernel cannot be compiled into {library.parent}: {error}") from error


class _ElementWeights(ctypes.Structure):
    _fields_ = [
        (n, POINTER) for n in ("table", "vector_table", "hidden", "hidden_t", "hidden_bias", "out", "out_t", "out_bias")
    ]


class _LayerWeights(ctypes.Structure):
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


class _ElementReadout(ctypes.Structure):
    _fields_ = [(n, POINTER) for n in ("hidden", "hidden_t", "bias")]


class _Model(ctypes.Structure):
    _fields_ = [
        *(
            (n, ctypes.c_int32)
            for n in ("n_layers", "n_elements", "features", "channels", "vectors", "products", "radial", "hidden", "l_max")
        ),
        *((n, ctypes.c_float) for n in ("cutoff", "scale", "last_bias", "n_vectors")),
        *((n, POINTER) for n in ("embedding", "layer", "readout", "last", "charge", "radius")),
    ]


class _Atoms(ctypes.Structure):
    _fields_ = [
        ("n_atoms", ctypes.c_int64),
        ("n_edges", ctypes.c_int64),
        *((n, POINTER) for n in ("species", "first_edge", "sender", "vectors", "local", "gradient")),
    ]
