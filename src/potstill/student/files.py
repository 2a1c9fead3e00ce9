"""A student on disk: ``weights.safetensors`` and ``config.json``, without pickled classes.

``config.json`` contains a format version, a checksum, the architecture, the elements and the units. The checksum covers the
weights and these entries. Files of an earlier version are read through one upgrade function per version. The tests keep a
student of each version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save

from potstill.core.checksums import sha256_of_json
from potstill.core.errors import InputError, PotstillError
from potstill.core.files import file_error, read_json, sealed, write_json
from potstill.core.precision import own_defaults
from potstill.core.units import UNITS
from potstill.student.domain import Domain
from potstill.student.model import Student
from potstill.student.options import StudentArchitecture

FORMAT_VERSION = 3
SEALED = ("architecture", "elements", "units")  # entries in the checksum, beside the weights
REMEDY = "train it again, or copy the whole folder again from where it works"


def save_student(student: Student, folder: Path, provenance: Mapping[str, Any]) -> None:
    """Write a student; each of its two files is written completely or not at all.

    Parameters
    ----------
    student
        Student whose weights are stored as they are.
    folder
        Target folder, made if needed.
    provenance
        JSON-serialisable facts: dataset checksum, teacher, potstill version.
    """
    from ase.data import chemical_symbols

    config = {
        "format_version": FORMAT_VERSION,
        "architecture": student.architecture.model_dump(mode="json"),
        "elements": [chemical_symbols[z] for z in student.architecture.atomic_numbers],
        "units": UNITS,
        **provenance,
    }
    weights = save({name: tensor.contiguous() for name, tensor in student.state_dict().items()})
    config["checksum"] = _checksum(config, weights)
    with sealed(folder / "weights.safetensors") as temporary:
        temporary.write_bytes(weights)  # written by this process, so that its umask holds
    write_json(folder / "config.json", config)


def read_student(folder: Path) -> tuple[Student, dict[str, Any]]:
    """Read a student and its ``config.json``.

    Raises
    ------
    InputError
        If the folder contains no student, a damaged or edited one, or one of a format that this version cannot read.
    """
    config, weights = _read_files(folder)
    path = folder / "config.json"
    if config.get("units") != UNITS:
        raise InputError(f"{path} states units {config.get('units')}, expected {UNITS}")
    architecture = _architecture(config, path)
    if config["checksum"] is not None and config["checksum"] != _checksum(config, weights):
        raise InputError(
            f"{folder}: config.json and weights.safetensors do not belong together (the checksum differs): "
            f"one of them was edited, damaged, or is from another student\n  {REMEDY}"
        )
    with own_defaults():
        student = Student(architecture)
        expected = {name: (tuple(x.shape), x.dtype == torch.float64) for name, x in student.state_dict().items()}
        student.load_state_dict(read_tensors(folder / "weights.safetensors", weights, expected))
    return student.eval().requires_grad_(requires_grad=False), config


def read_tensors(
    path: Path, content: bytes, expected: Mapping[str, tuple[tuple[int, ...], bool]] | None = None
) -> dict[str, torch.Tensor]:
    """Return the tensors of a file, of which all numbers are finite and floating-point.

    Parameters
    ----------
    path
        Path of the file, for messages.
    content
        Content of the file.
    expected
        Shape by name, and whether float64 is needed; any names and shapes where None.

    Raises
    ------
    InputError
        If the file is damaged, or a tensor is missing, of another shape or type, or not finite.
    """
    try:
        found = load(content)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(f"{path} is damaged: {error}\n  {REMEDY}") from error
    if expected is not None and found.keys() != expected.keys():
        names = sorted(found.keys() ^ expected.keys())
        raise InputError(
            f"{path} does not contain the weights of the architecture in config.json: {', '.join(names[:4])}\n  {REMEDY}"
        )
    for name, tensor in found.items():
        shape, double = (tuple(tensor.shape), False) if expected is None else expected[name]
        types = (torch.float64,) if double else (torch.float32, torch.float64)
        if tuple(tensor.shape) != shape:
            fault = f"have shape {tuple(tensor.shape)}, expected {shape} by the architecture in config.json"
        elif tensor.dtype not in types:
            fault = f"are {tensor.dtype}, expected {' or '.join(map(str, types))}"
        elif not torch.isfinite(tensor).all():
            fault = "contain a number that is not finite"
        else:
            continue
        raise InputError(f"{path}: the weights '{name}' {fault}\n  {REMEDY}")
    return found


def count_parameters(student: torch.nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in student.parameters())


def _read_files(folder: Path) -> tuple[dict[str, Any], bytes]:
    """Return the config in the current format, and the content of the weights file."""
    if folder.is_file():
        raise InputError(
            f"{folder} is a file, expected the folder of a student\n  unpack an archive first, and name its folder"
        )
    for name in ("config.json", "weights.safetensors"):
        if not (folder / name).is_file():
            raise InputError(f"{folder} contains no student: {name} is missing\n  train one with:  potstill train RUN")
    try:
        config = read_json(folder / "config.json", REMEDY)
        weights = (folder / "weights.safetensors").read_bytes()
    except OSError as error:
        raise file_error(error) from error
    except PotstillError as error:
        raise InputError(str(error)) from error
    return _upgraded(config, folder / "config.json"), weights


def _upgraded(config: dict[str, Any], path: Path) -> dict[str, Any]:
    version = config.get("format_version")
    oldest = min(UPGRADES)
    if type(version) is not int or not oldest <= version <= FORMAT_VERSION:
        raise InputError(
            f"{path} has student format {version!r}, this potstill reads {oldest} to {FORMAT_VERSION}\n"
            "  install the version of potstill that wrote it, or a newer one"
        )
    for step in range(version, FORMAT_VERSION):
        config = UPGRADES[step](config)
    if version == FORMAT_VERSION and not isinstance(config.get("checksum"), str):
        raise InputError(f"{path} has no checksum\n  {REMEDY}")
    return config


def _without_checksum(config: dict[str, Any]) -> dict[str, Any]:
    """Upgrade format 2, which had no checksum."""
    return {**config, "format_version": 3, "checksum": None}


UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {2: _without_checksum}


def _architecture(config: dict[str, Any], path: Path) -> StudentArchitecture:
    """Return the architecture of a config after a check of its elements and domain."""
    from ase.data import chemical_symbols

    try:
        architecture = StudentArchitecture.model_validate(config.get("architecture"))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(["architecture", *map(str, fault["loc"])])
        raise InputError(f"{path}: {where}: found {fault['input']!r}; {fault['msg']}\n  {REMEDY}") from error
    elements = [chemical_symbols[z] for z in architecture.atomic_numbers]
    if config.get("elements") != elements:
        raise InputError(
            f"{path}: elements are {config.get('elements')}, but atomic_numbers of the architecture are those of "
            f"{elements}\n  {REMEDY}"
        )
    try:
        Domain.read(config)
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: the domain is damaged: {error}\n  {REMEDY}") from error
    return architecture


def _checksum(config: Mapping[str, Any], weights: bytes) -> str:
    parts = {name: config.get(name) for name in SEALED}
    return sha256_of_json({**parts, "weights": hashlib.sha256(weights).hexdigest()})
