"""MACE as a teacher (Batatia et al., NeurIPS 2022): any checkpoint that its package can open, batched.

A MACE checkpoint is a pickled Python object, which can run any code while it is opened. Its file is opened only where the
config allows it. ``mace-torch`` pins an old e3nn that sevenn cannot use. The teacher runs in a process of its own
environment where mace-torch is not installed here.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from potstill.core.checksums import sha256_of_file
from potstill.core.errors import InputError
from potstill.core.registry import borrow, nearest
from potstill.core.section import NameOrPath
from potstill.core.types import PROPERTIES, Labels, Structure, Teacher
from potstill.teacher.batching import BatchedTeacher, atoms_at_once, labels_of, pick_device
from potstill.teacher.box import boxed
from potstill.teacher.extras import GIVEN
from potstill.teacher.options import AtomsPerBatch, Device, TeacherOptions, file_of_weights, weights_at

UNSAFE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"  # the import of mace sets it for the whole process
HINT = (
    "give label.teacher.weights the path of a MACE checkpoint (.model); those of the foundation models are at\n"
    "  https://github.com/ACEsuit/mace-foundations/releases"
)


class MACE(TeacherOptions):
    """MACE with a checkpoint of the user's own or of the foundation models."""

    own_environment: ClassVar[str] = "mace"

    name: Literal["mace"] = "mace"
    weights: Annotated[NameOrPath, Field(description="path of the MACE checkpoint (.model); the package contains none")] = ""
    allow_pickle: Annotated[
        bool,
        Field(
            description="true: open the checkpoint, which can run any code (only for files from people you trust); "
            "false: refuse it"
        ),
    ] = False
    head: Annotated[
        str, Field(description="name of the output head of a model with several; where empty, the only one or 'default'")
    ] = ""
    precision: Annotated[
        Literal["model", "float32", "float64"],
        Field(description="floating-point precision of the model; model: that of the checkpoint"),
    ] = "model"
    device: Device = "auto"
    atoms_per_batch: AtomsPerBatch = 128

    def lives_here(self) -> bool:
        return importlib.util.find_spec("mace") is not None

    def check(self) -> None:
        self.interpreter()
        self._checkpoint()  # the package must not be imported elsewhere, see _safe_loading_stays

    def load(self) -> Teacher:
        checkpoint = self._checkpoint()
        with _safe_loading_stays():
            borrow("mace", "mace", "the teacher 'mace'")
            return _MACE(checkpoint, self)

    def _checkpoint(self) -> Path:
        if not self.weights:
            raise InputError(f"the teacher 'mace' needs its weights, which do not come with mace-torch\n  {HINT}")
        path = file_of_weights(self.weights, self.name, HINT)
        if not self.allow_pickle:
            digest = sha256_of_file(path).removeprefix("sha256:")
            raise InputError(
                f"{path} is a pickled object, which can run any code while it is opened\n"
                f"  if you trust where it came from (SHA-256 {digest}), set label.teacher.allow_pickle: true"
            )
        return path


class _MACE(BatchedTeacher):
    def __init__(self, checkpoint: Path, options: MACE) -> None:
        import torch
        from mace import data
        from mace.tools import AtomicNumberTable, torch_geometric, torch_tools

        self._data, self._collate = data, torch_geometric.Batch.from_data_list
        self._default_dtype = torch_tools.default_dtype
        self._device = pick_device(options.device)
        at_once = atoms_at_once(options, self._device)
        with weights_at(checkpoint, "mace", HINT):
            model = torch.load(checkpoint, map_location="cpu", weights_only=False)
            self._cutoff = float(model.r_max)
            self._table = AtomicNumberTable([int(z) for z in model.atomic_numbers])
            saved = str(next(model.parameters()).dtype).removeprefix("torch.")
        self._dtype = saved if options.precision == "model" else options.precision
        model = (model.double() if self._dtype == "float64" else model.float()).to(self._device).eval()
        self._model = model.requires_grad_(requires_grad=False)
        self._heads = list(getattr(model, "heads", None) or ["Default"])
        self._head = _pick_head(options.head, self._heads)
        fingerprint = {
            "name": f"mace {checkpoint.name}" + (f" head {self._head}" if len(self._heads) > 1 else ""),
            "version": f"mace-torch {metadata.version('mace-torch')}",
            "weights": sha256_of_file(checkpoint),
            "dtype": self._dtype,
        }
        self._scalars = _scalars_of(model)
        super().__init__(fingerprint, self._table.zs, at_once, PROPERTIES | set(GIVEN))

    def _graph(self, structure: Structure) -> Any:
        if structure.pbc.any():
            atoms = boxed(structure, 2.0 * self._cutoff).to_ase()
        else:  # mace itself puts molecules into a cell that grows with the distance from the origin
            centred = structure.positions - structure.positions.mean(axis=0)
            atoms = structure.with_(positions=centred, cell=np.zeros((3, 3))).to_ase()
        configuration = self._data.config_from_atoms(atoms, head_name=self._head)
        with self._default_dtype(self._dtype):
            return self._data.AtomicData.from_config(
                configuration, z_table=self._table, cutoff=self._cutoff, heads=self._heads
            )

    def _evaluate(self, graphs: Sequence[Any], structures: Sequence[Structure]) -> list[Labels]:
        batch = self._collate(list(graphs)).to(self._device)
        with self._default_dtype(self._dtype):
            output = self._model(batch.to_dict(), compute_stress=True, training=False)
        energy, forces, stress = (output[k].detach().double().cpu().numpy() for k in ("energy", "forces", "stress"))
        local, features = (output[k].detach().cpu().numpy() for k in ("node_energy", "node_feats"))
        scalars = features[:, self._scalars]
        return labels_of(structures, energy, forces, stress, local_energies=local.astype(float), node_embeddings=scalars)


def _scalars_of(model: Any) -> list[int]:
    """Return the columns of the node features that are invariant to rotation, of all layers."""
    columns: list[int] = []
    start = 0
    for product in model.products:
        irreps = product.linear.irreps_out
        for (_, irrep), at in zip(irreps, irreps.slices(), strict=True):
            columns += range(start + at.start, start + at.stop) if irrep.l == 0 and irrep.p == 1 else ()
        start += irreps.dim
    return columns


def _pick_head(wanted: str, heads: Sequence[str]) -> str:
    if wanted in heads:
        return wanted
    if not wanted and len(heads) == 1:
        return heads[0]
    default = next((head for head in heads if head.lower() == "default"), None)
    if not wanted and default is not None:
        return default
    raise InputError(f"label.teacher.head: the model has several heads; {nearest(wanted, heads)}")


@contextmanager
def _safe_loading_stays() -> Iterator[None]:
    """Allow unsafe loading while mace and its e3nn import their own files, and forbid it again afterwards."""
    before = os.environ.get(UNSAFE)
    os.environ[UNSAFE] = "1"
    try:
        yield
    finally:
        os.environ.pop(UNSAFE, None)
        if before is not None:
            os.environ[UNSAFE] = before
