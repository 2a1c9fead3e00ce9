"""Orb as a teacher: orb-v2 (Neumann et al., arXiv:2410.22570) and orb-v3 (Rhodes et al., arXiv:2504.06231), batched.

The package ``orb-models`` contains no weights: they are a file that the user downloads once. orb-v2 and the direct models of
orb-v3 predict forces directly, so that some part of them belongs to no potential (see :mod:`potstill.teacher.floor`). No
model is equivariant by construction; all were trained on rotated structures.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from potstill.core.checksums import sha256_of_file
from potstill.core.errors import InputError
from potstill.core.precision import float32_name
from potstill.core.registry import borrow
from potstill.core.section import NameOrPath
from potstill.core.stress import from_voigt
from potstill.core.types import Labels, Structure, Teacher
from potstill.teacher.batching import BatchedTeacher, atoms_at_once, labels_of, pick_device
from potstill.teacher.box import boxed
from potstill.teacher.options import (
    MATERIALS_ELEMENTS,
    AtomsPerBatch,
    Device,
    TeacherOptions,
    file_of_weights,
    weights_at,
)

if TYPE_CHECKING:
    import torch

Precision = Literal["float32-high", "float32-highest", "float64"]
OLD_HEADS = {"node_head.": "heads.forces.", "graph_head.": "heads.energy.", "stress_head.": "heads.stress."}


class _Orb(TeacherOptions):
    weights: Annotated[NameOrPath, Field(description="path of the Orb checkpoint; the package contains none")] = ""
    precision: Annotated[
        Precision,
        Field(description="precision of matrix products; float32-high: TF32 on GPUs that support it, as the authors use"),
    ] = "float32-highest"
    compiled: Annotated[
        bool,
        Field(
            description="true: compile the model first, which takes minutes and pays on a GPU only; false: run it as it is"
        ),
    ] = False
    device: Device = "auto"
    atoms_per_batch: AtomsPerBatch = 256

    def requires(self) -> tuple[str, str] | None:
        return "orb_models", "orb"

    @property
    def equivariant(self) -> bool:
        return False

    def check_weights(self) -> None:
        self._checkpoint()

    def _checkpoint(self) -> Path:
        borrow("orb_models", "orb", f"the teacher '{self._title()}'")
        if not self.weights:
            raise InputError(
                f"the teacher '{self._title()}' needs its weights, which do not come with orb-models\n  {self._hint()}"
            )
        return file_of_weights(self.weights, self._title(), self._hint())

    def _hint(self) -> str:
        """Return the file to download and its address, as stated by the installed package."""
        url = str(inspect.signature(_maker(self._title())).parameters["weights_path"].default)
        name = url.rsplit("/", 1)[-1]
        return f"download them once with:  curl -LO {url}\n  then give label.teacher.weights: {name} (the path of that file)"

    def _title(self) -> str:
        return str(getattr(self, "model", ""))

    def load(self) -> Teacher:
        return _OrbTeacher(self._checkpoint(), self._title(), self._hint(), self)


class OrbV2(_Orb):
    """Orb of the second generation: 25 million parameters, forces predicted directly, 20 neighbors within 6 Å."""

    name: Literal["orb-v2"] = "orb-v2"
    model: Annotated[
        Literal["orb-v2", "orb-d3-v2", "orb-d3-sm-v2", "orb-d3-xs-v2", "orb-mptraj-only-v2"],
        Field(description="model that the weights belong to; d3: with dispersion"),
    ] = "orb-v2"

    @property
    def conservative(self) -> bool:
        return False


class OrbV3(_Orb):
    """Orb of the third generation, with forces as the negative gradient of the energy (conservative) or direct."""

    name: Literal["orb-v3"] = "orb-v3"
    model: Annotated[
        Literal[
            "orb-v3-conservative-20-omat",
            "orb-v3-conservative-inf-omat",
            "orb-v3-direct-20-omat",
            "orb-v3-direct-inf-omat",
            "orb-v3-conservative-20-mpa",
            "orb-v3-conservative-inf-mpa",
            "orb-v3-direct-20-mpa",
            "orb-v3-direct-inf-mpa",
        ],
        Field(
            description="model that the weights belong to; its name states the neighbors within 6 Å (20 or all) and "
            "the training data"
        ),
    ] = "orb-v3-conservative-20-omat"
    atoms_per_batch: AtomsPerBatch = 128

    @property
    def conservative(self) -> bool:
        return "conservative" in self.model


class _OrbTeacher(BatchedTeacher):
    def __init__(self, checkpoint: Path, title: str, hint: str, options: _Orb) -> None:
        import torch
        from orb_models.forcefield import atomic_system, base

        self._make_graph = atomic_system.ase_atoms_to_atom_graphs
        self._batch_graphs = base.batch_graphs
        self._precision = options.precision
        self._dtype = torch.float64 if options.precision == "float64" else torch.float32
        self._device = pick_device(options.device)
        at_once = atoms_at_once(options, self._device)
        hint = f"expected the file of {title}.\n  {hint}"
        with weights_at(checkpoint, title, hint), self._settings():
            self._model = _maker(title)(
                weights_path=str(checkpoint), device=self._device, precision=options.precision, compile=options.compiled
            )
            _refuse_untrained_heads(self._model, checkpoint)
        conservative = hasattr(self._model, "grad_forces_name")
        self._forces = self._model.grad_forces_name if conservative else "forces"
        self._stress = self._model.grad_stress_name if conservative else "stress"
        self._system = self._model.system_config
        fingerprint = {
            "name": title,
            "version": f"orb-models {metadata.version('orb-models')}",
            "weights": sha256_of_file(checkpoint),
            "dtype": _dtype_name(options.precision, self._device.type),
        }
        super().__init__(fingerprint, MATERIALS_ELEMENTS, at_once)

    def _graph(self, structure: Structure) -> Any:
        if not structure.pbc.any():
            atoms = structure.with_(cell=0.0 * structure.cell).to_ase()  # orb takes any cell as that of a crystal
        else:
            atoms = boxed(structure, 2.0 * self._system.radius).to_ase()
        return self._make_graph(
            atoms,
            system_config=self._system,
            device=self._device,
            output_dtype=self._dtype,
            graph_construction_dtype=self._dtype,
        )

    def _evaluate(self, graphs: Sequence[Any], structures: Sequence[Structure]) -> list[Labels]:
        output = self._model.predict(self._batch_graphs(list(graphs)).to(self._device))
        energy, forces, voigt = (
            output[name].detach().double().cpu().numpy() for name in ("energy", self._forces, self._stress)
        )
        stress = from_voigt(voigt.reshape(-1, 6))
        return labels_of(structures, energy.reshape(-1), forces, stress)

    @contextmanager
    def _settings(self) -> Iterator[None]:
        """Set PyTorch's global precision as orb-models expects it, and restore it afterwards."""
        import torch

        dtype, products = torch.get_default_dtype(), torch.get_float32_matmul_precision()
        try:
            torch.set_default_dtype(self._dtype)
            if self._precision != "float64":
                torch.set_float32_matmul_precision(self._precision.removeprefix("float32-"))
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Setting global torch default dtype")
                warnings.filterwarnings("ignore", message="Consider passing 'precision=")
                yield
        finally:
            torch.set_default_dtype(dtype)
            torch.set_float32_matmul_precision(products)


def _dtype_name(precision: Precision, device_type: str) -> str:
    """Return the precision of the labels: ``float64``, ``float32``, or ``tf32`` where the GPU supports it."""
    if precision == "float64":
        return precision
    return float32_name("high" if precision == "float32-high" else "highest", device_type)


def _maker(title: str) -> Any:
    from orb_models.forcefield import pretrained

    return pretrained.ORB_PRETRAINED_MODELS[title]


def _refuse_untrained_heads(model: torch.nn.Module, checkpoint: Path) -> None:
    """Raise KeyError where the file lacks weights of a head, which orb-models would leave at random."""
    import torch

    found = set()
    for key in torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True):
        old = next((prefix for prefix in OLD_HEADS if key.startswith(prefix)), None)
        found.add(OLD_HEADS[old] + key.removeprefix(old) if old else key)
    lacking = sorted(name for name, _ in model.named_parameters() if name.startswith("heads.") and name not in found)
    if lacking:
        raise KeyError(f"no weights for {', '.join(lacking[:3])} ({len(lacking)} tensors)")
