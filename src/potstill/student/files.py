"""A student on disk: ``weights.safetensors`` and ``config.json``, never a pickled class."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from potstill.core.errors import InputError
from potstill.core.files import sealed
from potstill.core.units import UNITS
from potstill.student.model import Student
from potstill.student.options import StudentArchitecture

FORMAT_VERSION = 2


def save_student(student: Student, folder: Path, provenance: Mapping[str, Any]) -> None:
    """Write a student, each of its two files whole or not at all.

    Parameters
    ----------
    student
        Its weights are stored as they are.
    folder
        Made if needed.
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
    with sealed(folder / "weights.safetensors") as temporary:
        save_file({name: tensor.contiguous() for name, tensor in student.state_dict().items()}, temporary)
    with sealed(folder / "config.json") as temporary:
        temporary.write_text(json.dumps(config, indent=2, ensure_ascii=False), encoding="utf-8")


def read_student(folder: Path) -> tuple[Student, dict[str, Any]]:
    """A student and its ``config.json``.

    Raises
    ------
    InputError
        If the folder holds no student, a damaged one, or one of a format that this version does not read.
    """
    for name in ("config.json", "weights.safetensors"):
        if not (folder / name).is_file():
            raise InputError(f"{folder} holds no student: {name} is missing\n  train one with:  potstill train RUN")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{folder / 'config.json'} is not JSON (damaged or cut short): {error}") from error
    if config.get("format_version") != FORMAT_VERSION:
        raise InputError(f"{folder} has student format {config.get('format_version')}, this potstill reads {FORMAT_VERSION}")
    if config.get("units") != UNITS:
        raise InputError(f"{folder} states units {config.get('units')}, expected {UNITS}")
    student = Student(StudentArchitecture.model_validate(config["architecture"]))
    try:
        student.load_state_dict(load_file(folder / "weights.safetensors"))
    except (SafetensorError, RuntimeError) as error:
        path = folder / "weights.safetensors"
        raise InputError(f"{path} is damaged, or not of the architecture in config.json: {error}") from error
    return student.eval().requires_grad_(requires_grad=False), config


def count_parameters(student: torch.nn.Module) -> int:
    """Number of trainable numbers."""
    return sum(parameter.numel() for parameter in student.parameters())
