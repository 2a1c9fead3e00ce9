"""MatterGen: crystals from the diffusion model of Zeni et al., Nature 639, 624 (2025), run in an environment of its own.

Reads ``generated_crystals.extxyz``, which ``mattergen-generate`` writes. Its CIF files are not read: MatterGen stages them
at a fixed path, where two runs overwrite each other's files.
"""

from __future__ import annotations

import fcntl
import io
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from potstill.core.errors import InputError
from potstill.core.section import ExistingPath
from potstill.core.types import Refused, Structure
from potstill.environments import ENVIRONMENTS, Installed, installed, weights_fault
from potstill.environments.weights import MATTERGEN_MODELS, MatterGenModel
from potstill.execute.program import run_program
from potstill.generate.program import LAUNCHERS, Chunk, Made, ProgramSource

log = logging.getLogger(__name__)

MASK_TOKEN = 101  # atomic number of an atom without a decided element, written as Md
MOST_ATOMS = 20  # largest number in MatterGen's distribution of the number of atoms
OUTPUT = "generated_crystals.extxyz"


class MatterGen(ProgramSource):
    """Crystals of up to 20 atoms from MatterGen, optionally with wanted properties."""

    source: Literal["mattergen"] = "mattergen"
    max_atoms: Annotated[
        int, Field(gt=0, description="largest number of atoms in a cell; MatterGen makes none above 20")
    ] = MOST_ATOMS
    min_atoms: Annotated[int, Field(ge=1, le=MOST_ATOMS, description="smallest number of atoms in a cell")] = 1
    pretrained_name: Annotated[
        MatterGenModel, Field(description="name of a released model that 'potstill setup mattergen' has installed")
    ] = "mattergen_base"
    model_path: Annotated[
        ExistingPath | None,
        Field(
            description="folder of another model, with config.yaml and checkpoints/last.ckpt; the released one where null"
        ),
    ] = None
    properties: Annotated[
        dict[str, float | int | str],
        Field(description="wanted properties and their values, among those that the model was trained for"),
    ] = {}  # noqa: RUF012 - pydantic copies it
    guidance_factor: Annotated[
        float,
        Field(ge=0, description="scale of the guidance towards wanted properties; without effect where none is wanted"),
    ] = 2.0
    sampling_config_overrides: Annotated[tuple[str, ...], Field(description="overrides of MatterGen's sampling config")] = ()
    config_overrides: Annotated[tuple[str, ...], Field(description="overrides of MatterGen's model config")] = ()

    @field_validator("properties")
    @classmethod
    def _plain_names(cls, properties: dict[str, float | int | str]) -> dict[str, float | int | str]:
        odd = [name for name in properties if not name.isidentifier()]
        if odd:
            raise ValueError(f"no name of a property: {', '.join(odd)}")
        return properties

    @model_validator(mode="after")
    def _sizes(self) -> MatterGen:
        if self.min_atoms > self.max_atoms:
            raise ValueError(f"min_atoms: found {self.min_atoms}, expected at most max_atoms ({self.max_atoms})")
        return self

    @classmethod
    def with_weights_of(cls, place: Installed) -> MatterGen:
        there = [name for name in MATTERGEN_MODELS if (place.weights / name).is_dir()]
        return cls.model_validate({"count": 1, **({"pretrained_name": there[0]} if there else {})})

    def _model(self) -> Path:
        return self.model_path or installed("mattergen").weights / self.pretrained_name

    def _weights_missing(self, place: Installed) -> str | None:
        model = self._model()
        mend = "\n  give the folder of a complete model by 'model_path'"
        if self.model_path is None:
            mend = (
                f"\n  install it with:  potstill setup mattergen --checkpoint {self.pretrained_name}\n"
                "  or --weights PATH of "
                f"{ENVIRONMENTS['mattergen'].weights_from}"
            )
        if not (model / "config.yaml").is_file():
            return f"no model at {model}: there is no config.yaml{mend}"
        checkpoints = sorted(model.rglob("last.ckpt"))
        if not checkpoints:
            return f"no model at {model}: there is no checkpoints/last.ckpt{mend}"
        fault = weights_fault(checkpoints[0])
        return f"{fault}{mend}" if fault else None

    def command(self, chunk: Chunk) -> list[str]:
        """Return the arguments of ``mattergen-generate``."""
        arguments = [
            str(chunk.folder / "out"),
            f"--model_path={self._model()}",
            f"--batch_size={chunk.count}",
            "--num_batches=1",
            "--record_trajectories=False",
        ]
        if self.properties:
            arguments += [
                f"--properties_to_condition_on={self.properties!r}",
                f"--diffusion_guidance_factor={self.guidance_factor}",
            ]
        if self.sampling_config_overrides:
            arguments.append(f"--sampling_config_overrides={json.dumps(self.sampling_config_overrides)}")
        if self.config_overrides:
            arguments.append(f"--config_overrides={json.dumps(self.config_overrides)}")
        return arguments

    def _run(self, chunk: Chunk) -> Made:
        order = {
            "repository": str(self.checkout),
            "seed": chunk.seed,
            "atoms": [self.min_atoms, min(self.max_atoms, MOST_ATOMS)],
        }
        launcher: list[str | Path] = [self.interpreter, LAUNCHERS / "mattergen.py", json.dumps(order)]
        with _alone():
            ended = run_program(
                [*launcher, *self.command(chunk)],
                chunk.log,
                timeout_seconds=chunk.timeout_seconds,
                folder=chunk.folder,
                environment=visible_devices(self.device),
            )
        answers, broken = read_crystals(chunk.folder / "out" / OUTPUT)
        weights = None if self.model_path else f"{self.pretrained_name}/checkpoints/last.ckpt"
        facts: dict[str, Any] = {"model": self._model().name, "batch_seed": chunk.seed, **self.provenance(weights)}
        if self.properties:
            facts["properties"] = self.properties
        made = [
            a.with_(generator_metadata={**facts, **a.generator_metadata}) if isinstance(a, Structure) else a for a in answers
        ]
        return Made(made, ended, broken)


def read_crystals(path: Path) -> tuple[list[Structure | Refused], str]:
    """Return the whole frames of an output file, and a description of its broken end (empty where it is whole or absent)."""
    if not path.is_file():
        return [], ""
    answers: list[Structure | Refused] = []
    with path.open(encoding="utf-8", errors="replace") as file:
        for header in file:
            frame = [header, *islice(file, _count(header) + 1)]
            if _count(header) < 1 or len(frame) < _count(header) + 2 or not frame[-1].endswith("\n"):
                return answers, f"{path.name} breaks off in frame {len(answers)}"
            answers.append(_crystal("".join(frame), len(answers)))
    return answers, ""


def _count(header: str) -> int:
    return int(header) if header.strip().isdigit() else 0


def _crystal(frame: str, number: int) -> Structure | Refused:
    from ase.io import read

    try:
        atoms: Any = read(io.StringIO(frame), format="extxyz")
    except Exception as error:  # noqa: BLE001 - ASE raises what its parser stumbles over
        return Refused("program_output_broken", f"frame {number}: {type(error).__name__}: {error}")
    if MASK_TOKEN in atoms.numbers:
        return Refused("mask_token", f"frame {number} has an atom without a decided element (written as Md)")
    try:
        crystal = Structure.from_ase(atoms, generator_metadata={"frame": number})
    except InputError as error:
        return Refused("not_a_structure", f"frame {number}: {error}")
    fractional = np.linalg.solve(crystal.cell.T, crystal.positions.T).T
    return crystal.with_(positions=(fractional - np.floor(fractional)) @ crystal.cell)  # some atoms are outside the cell


def visible_devices(device: str) -> dict[str, str]:
    """Return environment variables that restrict a program to its device, where it would take any that it finds."""
    if device == "auto":
        return {}
    if device == "cpu":
        return {"CUDA_VISIBLE_DEVICES": ""}
    number = int(device.removeprefix("cuda:"))
    visible = [d for d in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if d]
    return {"CUDA_VISIBLE_DEVICES": visible[number] if number < len(visible) else str(number)}


@contextmanager
def _alone() -> Iterator[None]:
    """Hold a lock on this machine, so that two runs of MatterGen never overlap, whichever user started them."""
    path = Path(tempfile.gettempdir()) / "potstill-mattergen.lock"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        os.fchmod(descriptor, 0o644)  # other users may lock it, whatever the umask
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for another run of MatterGen on this machine")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
