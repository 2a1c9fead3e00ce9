"""CHGNet as a teacher (Deng et al., Nat. Mach. Intell. 5, 1031 (2023)), batched; its package contains its weights.

It accepts crystals only. Molecules, wires and slabs are put into a cell with vacuum and get no stress. An atom without
neighbors is refused, as by the package itself. Its energy surface is not smooth: forces and differences of the energy
disagree by some 0.01 eV/Å.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from potstill.core.checksums import sha256_of_file
from potstill.core.registry import borrow
from potstill.core.section import NameOrPath
from potstill.core.types import PROPERTIES, Labels, Structure, Teacher
from potstill.core.units import GPA_PER_EV_PER_CUBIC_ANGSTROM
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

SHIPPED = ("0.3.0", "r2scan", "0.2.0")
HINT = f"give label.teacher.weights one of {', '.join(SHIPPED)} (inside chgnet), or the path of a CHGNet checkpoint"


class CHGNet(TeacherOptions):
    """CHGNet with pretrained weights: ``0.3.0`` or ``r2scan`` from the package, or a checkpoint of the user's own."""

    name: Literal["chgnet"] = "chgnet"
    weights: Annotated[
        NameOrPath,
        Field(description="name of CHGNet weights inside the package (0.3.0, r2scan, 0.2.0), or the path of a checkpoint"),
    ] = "0.3.0"
    device: Device = "auto"
    atoms_per_batch: AtomsPerBatch = 64

    def requires(self) -> tuple[str, str] | None:
        return "chgnet", "chgnet"

    def check_weights(self) -> None:
        self._checkpoint()

    def load(self) -> Teacher:
        return _CHGNet(self._checkpoint(), self)

    def _checkpoint(self) -> Path:
        package = borrow("chgnet", "chgnet", "the teacher 'chgnet'")
        if self.weights not in SHIPPED:
            return file_of_weights(self.weights, self.name, HINT)
        folder = Path(str(package.__file__)).parent / "pretrained" / self.weights
        return file_of_weights(str(next(folder.glob("*.tar"), folder)), self.name, HINT)


class _CHGNet(BatchedTeacher):
    def __init__(self, checkpoint: Path, options: CHGNet) -> None:
        import torch
        from chgnet.model.model import CHGNet as Model

        name = options.weights
        self._device = pick_device(options.device)
        at_once = atoms_at_once(options, self._device)
        with weights_at(checkpoint, "chgnet", HINT), redirect_stdout(io.StringIO()):
            saved = torch.load(checkpoint, map_location="cpu", weights_only=True)["model"]
            # only the first has a bias in its last layer; CHGNet.load states it and the file does not
            model = Model.from_dict(saved, mlp_out_bias=name == "0.2.0")
        self._model = model.to(self._device).eval().requires_grad_(requires_grad=False)
        self._model.graph_converter.set_isolated_atom_response("error")
        fingerprint = {
            "name": f"chgnet {name if name in SHIPPED else checkpoint.name}",
            "version": f"chgnet {metadata.version('chgnet')}",
            "weights": sha256_of_file(checkpoint),
            "dtype": "float32",
        }
        super().__init__(fingerprint, MATERIALS_ELEMENTS, at_once, PROPERTIES | {"node_embeddings"})

    def _graph(self, structure: Structure) -> Any:
        from pymatgen.core import Structure as Crystal

        crystal = boxed(structure, 2.0 * self._model.graph_converter.atom_graph_cutoff)
        return self._model.graph_converter(
            Crystal(crystal.cell, crystal.atomic_numbers.tolist(), crystal.positions, coords_are_cartesian=True)
        )

    def _evaluate(self, graphs: Sequence[Any], structures: Sequence[Structure]) -> list[Labels]:
        answers = self._model.predict_graph(list(graphs), task="efs", return_atom_feas=True, batch_size=len(graphs))
        answers = [answers] if isinstance(answers, dict) else answers
        energy = np.array([float(a["e"]) * len(s) for a, s in zip(answers, structures, strict=True)])  # "e" is per atom
        # CHGNet's volume has the sign of the determinant, and so has its stress
        handedness = np.sign([np.linalg.det(s.cell) for s in structures])[:, None, None]
        stress = handedness * np.array([a["s"] for a in answers], dtype=np.float64) / GPA_PER_EV_PER_CUBIC_ANGSTROM
        forces, features = (np.concatenate([a[key] for a in answers]) for key in ("f", "atom_fea"))
        return labels_of(structures, energy, forces, stress, node_embeddings=features)
