"""Compute with an exported ``student.potstill``: the parser and the kernel of the pair style, without LAMMPS.

Enter the file and a structure, leave its :class:`~potstill.core.types.Labels` in double precision. Only the file is read.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import ase.data
import numpy as np

from potstill.core.errors import InputError, PotstillError
from potstill.core.neighbors import structure_neighbors
from potstill.core.stress import stress_of
from potstill.core.types import Array, Labels, Structure
from potstill.deploy.native import SOURCES, Native, plain_compiler, student_sources

MESSAGE_BYTES = 1000


def label_with_file(path: Path, structure: Structure) -> Labels:
    """Return energy, forces and stress that an exported ``student.potstill`` gives a structure.

    Raises
    ------
    PotstillError
        If the file is missing or damaged, or the library cannot be compiled; with the reader's own line.
    InputError
        If the file does not hold an element of the structure.
    """
    library = _library()
    message, reader = ctypes.create_string_buffer(MESSAGE_BYTES), ctypes.c_void_p()
    if library.reader_open(str(path).encode(), ctypes.byref(reader), message, MESSAGE_BYTES):
        raise PotstillError(message.value.decode(errors="replace"))
    try:
        return _labels(library, reader, structure, path)
    finally:
        library.reader_close(reader)


def _labels(library: ctypes.CDLL, reader: ctypes.c_void_p, structure: Structure, path: Path) -> Labels:
    symbols = [ase.data.chemical_symbols[z] for z in structure.atomic_numbers]
    places = {symbol: library.reader_place(reader, symbol.encode()) for symbol in set(symbols)}
    if missing := sorted(symbol for symbol, place in places.items() if place < 0):
        raise InputError(f"{path} does not hold {', '.join(missing)}: export the student again for these elements")
    near = structure_neighbors(structure, library.reader_cutoff(reader))
    receiver, sender = near.edge_index
    first = np.concatenate([[0], np.cumsum(np.bincount(receiver, minlength=len(structure)))])
    species = np.array([places[symbol] for symbol in symbols], dtype=np.int64)
    vectors = np.ascontiguousarray(near.vectors, dtype=np.float64)
    local, gradient = np.empty(len(structure)), np.empty_like(vectors)
    given = [species, first.astype(np.int64), np.ascontiguousarray(sender, dtype=np.int64), vectors, local, gradient]
    message = ctypes.create_string_buffer(MESSAGE_BYTES)
    if library.reader_compute(reader, ctypes.c_int64(len(structure)), *map(_address, given), message, MESSAGE_BYTES):
        raise PotstillError(message.value.decode(errors="replace"))
    references = sum(library.reader_reference(reader, place) for place in species.tolist())
    forces = np.zeros((len(structure), 3))
    np.add.at(forces, receiver, gradient)
    np.add.at(forces, sender, -gradient)
    return Labels(float(local.sum()) + references, forces, stress_of(vectors.T @ gradient, structure.cell))


def _address(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _library() -> ctypes.CDLL:
    sources = (*student_sources("double"), SOURCES / "reader.cpp")
    library = ctypes.CDLL(str(Native("reader.so", "reader", sources, plain_compiler()).compiled()))
    library.reader_cutoff.restype = library.reader_reference.restype = ctypes.c_double
    library.reader_cutoff.argtypes = library.reader_close.argtypes = [ctypes.c_void_p]
    library.reader_place.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    library.reader_reference.argtypes = [ctypes.c_void_p, ctypes.c_int]
    return library
