"""SevenNet as a teacher (Park, Kim, Hwang and Han, J. Chem. Theory Comput. 20, 4857 (2024)), batched.

Its package contains the weights of 7net-0, so this teacher works offline. It is the default teacher. On a CPU a kernel of
ours computes its convolutions (:mod:`~potstill.teacher.convolution`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from potstill.core.checksums import sha256_of_file
from potstill.core.cpp import KernelError, LibraryError
from potstill.core.neighbors import structure_neighbors
from potstill.core.registry import borrow
from potstill.core.section import NameOrPath
from potstill.core.stress import from_voigt
from potstill.core.types import PROPERTIES, Labels, Structure, Teacher
from potstill.teacher.batching import BatchedTeacher, atoms_at_once, labels_of, pick_device
from potstill.teacher.extras import GIVEN
from potstill.teacher.options import (
    AtomsPerBatch,
    Device,
    TeacherOptions,
    file_of_weights,
    weights_at,
)

log = logging.getLogger(__name__)
_warned: set[str] = set()

SHIPPED = {"7net-0": "SEVENNET_0_11Jul2024", "7net-l3i5": "SEVENNET_l3i5"}
SEVENNET_ORDER = ("xx", "yy", "zz", "xy", "yz", "zx")
HINT = f"give label.teacher.weights one of {', '.join(SHIPPED)} (inside sevenn), or the path of a SevenNet checkpoint"


class SevenNet(TeacherOptions):
    """SevenNet with pretrained weights: ``7net-0`` or ``7net-l3i5`` from the package, or a checkpoint of the user's own."""

    name: Literal["sevennet"] = "sevennet"
    weights: Annotated[
        NameOrPath,
        Field(description="name of SevenNet weights inside the package (7net-0, 7net-l3i5), or the path of a checkpoint"),
    ] = "7net-0"
    device: Device = "auto"
    atoms_per_batch: AtomsPerBatch = 64

    def requires(self) -> tuple[str, str] | None:
        return "sevenn", "sevennet"

    def check_weights(self) -> None:
        self._checkpoint()

    def load(self) -> Teacher:
        return _SevenNet(self._checkpoint(), self)

    def _checkpoint(self) -> Path:
        borrow("sevenn", "sevennet", "the teacher 'sevennet'")
        from sevenn import _const

        shipped = SHIPPED.get(self.weights)
        return file_of_weights(getattr(_const, shipped) if shipped else self.weights, self.name, HINT)


def _quicken(model: Any) -> None:
    """Let the C++ kernel compute the convolutions of a model; where it cannot, say so in the log ``potstill``.

    It is a warning, once in a process, where the user can do something about it.
    """
    from potstill.teacher.convolution import replace_convolutions

    try:
        replace_convolutions(model)
    except KernelError as error:
        if isinstance(error, LibraryError) and str(error) not in _warned:
            _warned.add(str(error))
            log.warning("SevenNet runs in the code of e3nn, several times slower than with the kernel: %s", error)
        else:
            log.info("SevenNet runs in the code of e3nn: %s", error)


class _SevenNet(BatchedTeacher):
    def __init__(self, checkpoint: Path, options: SevenNet) -> None:
        from sevenn import _keys
        from sevenn.util import load_checkpoint

        self._keys: Any = _keys
        name = options.weights
        self._device = pick_device(options.device)
        at_once = atoms_at_once(options, self._device)
        with weights_at(checkpoint, "sevennet", HINT):
            loaded = load_checkpoint(str(checkpoint))
            self._model = loaded.build_model().to(self._device).eval().requires_grad_(requires_grad=False)
        self._model.set_is_batch_data(True)
        if self._device.type == "cpu":
            _quicken(self._model)
        self._cutoff = float(loaded.config[_keys.CUTOFF])
        fingerprint = {
            "name": f"sevennet {name if name in SHIPPED else checkpoint.name}",
            "version": f"sevenn {metadata.version('sevenn')}",
            "weights": sha256_of_file(checkpoint),
            "dtype": "float32",
        }
        super().__init__(fingerprint, loaded.config[_keys.TYPE_MAP], at_once, PROPERTIES | set(GIVEN))

    def _evaluate(self, graphs: Sequence[Any], structures: Sequence[Structure]) -> list[Labels]:
        from torch_geometric.data import Batch

        key = self._keys
        output = self._model(Batch.from_data_list(list(graphs)).to(self._device))
        energy = output[key.PRED_TOTAL_ENERGY].detach().double().cpu().numpy().reshape(-1)
        forces = output[key.PRED_FORCE].detach().double().cpu().numpy()
        # SevenNet's sign is the opposite of ASE's
        voigt = -output[key.PRED_STRESS].detach().double().cpu().numpy().reshape(-1, 6)
        local = output[key.ATOMIC_ENERGY].detach().double().cpu().numpy().reshape(-1)
        stress = from_voigt(voigt, SEVENNET_ORDER)
        hidden = (
            output[key.NODE_FEATURE].detach().cpu().numpy()
        )  # scalars of the last layer, from which the energy is computed
        return labels_of(structures, energy, forces, stress, local_energies=local, node_embeddings=hidden)

    def _graph(self, structure: Structure) -> Any:
        from sevenn.atom_graph_data import AtomGraphData

        key = self._keys
        neighbors = structure_neighbors(structure, self._cutoff)
        i, j = neighbors.edge_index
        vectors = structure.positions[j] + neighbors.edge_shift @ structure.cell - structure.positions[i]
        numbers = structure.atomic_numbers.astype(np.int64)
        return AtomGraphData.from_numpy_dict(
            {
                key.NODE_FEATURE: numbers,
                key.ATOMIC_NUMBERS: numbers,
                key.POS: structure.positions,
                key.EDGE_IDX: neighbors.edge_index,
                key.EDGE_VEC: vectors,
                key.CELL_VOLUME: np.array(structure.volume or 1.0),
                key.NUM_ATOMS: np.array(len(structure)),
                key.INFO: {},
            }
        )
