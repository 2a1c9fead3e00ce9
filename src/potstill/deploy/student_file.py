"""The file ``student.potstill``, which the C++ of ``pair_style potstill`` reads without Python and PyTorch.

It has three lines of text, a header of text that ends with ``end``, then numbers in double precision, least byte first. The
experts of each requested element are mixed already, in double precision. The reader is ``plugin/student_file.cpp``.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import ase.data
import numpy as np
import torch

from potstill import __version__
from potstill.core.elements import covalent_radii
from potstill.core.errors import InputError
from potstill.core.files import sealed
from potstill.core.types import Array
from potstill.deploy.student import DeployedStudent, load_student
from potstill.student.layer import Layer
from potstill.student.uncertainty import Uncertainty

FORMAT_VERSION = 2  # 2: expected errors depend on forces
WITH_RELATIVE_DISTANCES, WITH_NEIGHBORS = 3, 4  # refused by plugins that do not know them
NOT_IN_DATA = 0.0  # stands for a missing closest distance


def write_student_file(student: Path | str, path: Path | str, elements: Sequence[str] | None = None) -> Path:
    """Write the student of a folder as one file.

    Parameters
    ----------
    student
        Folder of the student, or the name of one that comes with the package, such as ``"general"``.
    path
        File to write.
    elements
        Chemical symbols to include; all that it supports where None. A file of 89 elements takes some 200 MB, one of three a
        few MB.

    Raises
    ------
    InputError
        If the student does not support one of the elements.
    """
    path = Path(path)
    deployed = load_student(student, dtype="float64", backend="torch")
    chosen = list(dict.fromkeys(elements)) if elements else deployed.elements
    if unknown := [symbol for symbol in chosen if symbol not in deployed.elements]:
        raise InputError(f"this student was not trained on {', '.join(unknown)}; it supports {', '.join(deployed.elements)}")
    tensors = _tensors(deployed, chosen)
    version = WITH_RELATIVE_DISTANCES if deployed.model.architecture.bond_share else FORMAT_VERSION
    if deployed.uncertainty is not None and deployed.uncertainty.neighbors > 0:
        version = WITH_NEIGHBORS
    body = _header(deployed, chosen, tensors).encode() + b"".join(x.astype("<f8").tobytes() for x in tensors.values())
    with sealed(path) as temporary:
        temporary.write_bytes(
            f"potstill student {version}\ncrc32 {zlib.crc32(body):08x} bytes {len(body)}\n".encode() + body
        )
    return path


def _header(deployed: DeployedStudent, elements: list[str], tensors: dict[str, Array]) -> str:
    a = deployed.model.architecture
    lines = [f"made_by potstill {__version__}", "units eV angstrom", f"elements {' '.join(elements)}"]
    sizes = ("layers", "features", "channels", "vectors", "products", "radial", "hidden", "l_max")
    lines += [f"{name} {getattr(a, name)}" for name in sizes]
    lines.append(f"cutoff {a.cutoff_angstrom:.17g}")
    if a.bond_share:
        lines.append(f"bond_share {a.bond_share:.17g}")
    if deployed.domain is not None:
        lines.append(f"most_neighbors {deployed.domain.most_neighbors}")
        lines.append(f"fewest_neighbors {deployed.domain.fewest_neighbors}")
    lines += [f"tensor {name} {x.size}" for name, x in tensors.items()]
    return "\n".join([*lines, "end"]) + "\n"


def _tensors(deployed: DeployedStudent, elements: list[str]) -> dict[str, Array]:
    model = deployed.model
    numbers = torch.tensor([ase.data.atomic_numbers[symbol] for symbol in elements])
    species = model.species_of[numbers]
    found = {
        "numbers": numbers,
        "radii": torch.from_numpy(covalent_radii())[numbers],
        "masses": torch.from_numpy(ase.data.atomic_masses)[numbers],
        "references": model.reference_energies[species],
        "scale": model.scale,
        "embedding": model.embedding.weight[species],
        "last": model.last.weight,
        "last_bias": model.last.bias,
        "readout_bias": model.readout.bias,
        **_each("readout", model.readout.matrices(species)),
    }
    for place, layer in enumerate(model.layers):
        if isinstance(layer, Layer):  # nn.ModuleList loses the type
            found |= {f"{place}.{name}": x for name, x in _layer(layer, species).items()}
    if deployed.uncertainty is not None:
        found |= _uncertainty(deployed.uncertainty)
    tensors = {name: x.detach().double().numpy() for name, x in found.items()}
    if deployed.domain is not None:
        tensors["closest"] = _closest(deployed.domain.closest_angstrom, elements)
    return tensors


def _layer(layer: Layer, species: torch.Tensor) -> dict[str, torch.Tensor]:
    found = {
        "send": layer.send.weight.T,
        "gain": layer.gain,
        "hidden_bias": layer.hidden.bias,
        "out_bias": layer.out.bias,
        **{f"mix.{order}": mix for order, mix in enumerate(layer.mix)},
        **_each("table", layer.radial.tables(species)),
        **_each("hidden", layer.hidden.matrices(species)),
        **_each("out", layer.out.matrices(species)),
    }
    if layer.vectors:
        found |= _each("vector_table", layer.vector_radial.tables(species))
    if layer.makes:
        found |= {"vector_mix": layer.vector_mix, "gate": layer.gate.weight.T, "gate_bias": layer.gate.bias}
    return found


def _each(name: str, stack: torch.Tensor) -> dict[str, torch.Tensor]:
    return {f"{name}.{z}": x for z, x in enumerate(stack)}


def _uncertainty(uncertainty: Uncertainty) -> dict[str, torch.Tensor]:
    names = ("factor", "noise", "noise_range", "coefficients", "threshold", "curve", "force", "neighbors", "reach")
    return {f"uncertainty.{name}": getattr(uncertainty, name) for name in names}


def _closest(known: Mapping[str, float], elements: list[str]) -> Array:
    """Return (Z, Z) closest distances of each pair in Å; :data:`NOT_IN_DATA` for pairs that the data do not contain."""
    numbers = [ase.data.atomic_numbers[symbol] for symbol in elements]
    found = np.full((len(elements), len(elements)), NOT_IN_DATA)
    for i, a in enumerate(numbers):
        for j, b in enumerate(numbers):
            name = "-".join(ase.data.chemical_symbols[z] for z in sorted((a, b)))
            found[i, j] = known.get(name, NOT_IN_DATA)
    return found
