"""SevenNet as a teacher (Park, Kim, Hwang and Han, J. Chem. Theory Comput. 20, 4857 (2024)), batched.

The weights of 7net-0 come inside its package, so that this teacher works offline; it is the embedded default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from potstill.errors import InputError
from potstill.label.teacher import TeacherOptions, sha256_of
from potstill.neighbors import structure_neighbors
from potstill.registry import borrow
from potstill.types import Labels, Refused, Structure, Teacher

SHIPPED = {"7net-0": "SEVENNET_0_11Jul2024", "7net-l3i5": "SEVENNET_l3i5"}


class SevenNet(TeacherOptions):
    """SevenNet with pretrained weights: ``7net-0`` or ``7net-l3i5`` from the package, or a checkpoint of one's own."""

    name: Literal["sevennet"] = "sevennet"
    weights: Annotated[str, Field(description="7net-0, 7net-l3i5, or the path of a checkpoint")] = "7net-0"
    device: Annotated[str, Field(description="torch device", pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    atoms_per_batch: Annotated[int, Field(gt=0, description="atoms in one call of the model")] = 64

    def requires(self) -> tuple[str, str] | None:
        return "sevenn", "sevennet"

    def check_weights(self) -> None:
        self._checkpoint()

    def load(self) -> Teacher:
        return _SevenNet(self._checkpoint(), self.weights, self.device, self.atoms_per_batch)

    def _checkpoint(self) -> Path:
        borrow("sevenn", "sevennet", "the teacher 'sevennet'")
        from sevenn import _const

        shipped = SHIPPED.get(self.weights)
        path = Path(getattr(_const, shipped)) if shipped else Path(self.weights).expanduser()
        if not path.is_file():
            raise InputError(
                f"no SevenNet checkpoint at {path}\n"
                f"  give label.teacher.weights one of {', '.join(SHIPPED)} (shipped with sevenn), or a file that exists"
            )
        return path


class _SevenNet:
    def __init__(self, checkpoint: Path, name: str, device: str, atoms_per_batch: int) -> None:
        import torch
        from sevenn import _keys
        from sevenn.util import load_checkpoint

        loaded = load_checkpoint(str(checkpoint))
        self._keys: Any = _keys
        self._device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        self._model = loaded.build_model().to(self._device).eval()
        self._model.set_is_batch_data(True)
        self._elements = set(loaded.config[_keys.TYPE_MAP])
        self._cutoff = float(loaded.config[_keys.CUTOFF])
        self._atoms_per_batch = atoms_per_batch
        self._fingerprint = {
            "name": f"sevennet {name if name in SHIPPED else checkpoint.name}",
            "version": f"sevenn {metadata.version('sevenn')}",
            "weights": f"sha256:{sha256_of(checkpoint)}",
            "dtype": "float32",
        }

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return self._fingerprint

    def label(self, structures: Sequence[Structure]) -> list[Labels | Refused]:
        results: dict[int, Labels | Refused] = {}
        known = []
        for k, structure in enumerate(structures):
            foreign = set(structure.atomic_numbers.tolist()) - self._elements
            if foreign:
                results[k] = Refused("unsupported_element", f"atomic numbers {sorted(foreign)}")
            else:
                known.append(k)
        for batch in self._batches(known, structures):
            answers = self._label_or_halve([structures[k] for k in batch])
            results.update(zip(batch, answers, strict=True))
        return [results[k] for k in range(len(structures))]

    def _batches(self, indices: Sequence[int], structures: Sequence[Structure]) -> Iterator[list[int]]:
        """Neighbours in size share a batch; the order is the same in every run."""
        batch: list[int] = []
        atoms = 0
        for k in sorted(indices, key=lambda k: (len(structures[k]), k)):
            if batch and atoms + len(structures[k]) > self._atoms_per_batch:
                yield batch
                batch, atoms = [], 0
            batch.append(k)
            atoms += len(structures[k])
        if batch:
            yield batch

    def _label_or_halve(self, structures: Sequence[Structure]) -> list[Labels | Refused]:
        """A batch that fails is halved, until the structure that fails stands alone and is refused."""
        try:
            return list(self._label_batch(structures))
        except Exception as error:  # noqa: BLE001 - whatever the model raises concerns this batch only
            if len(structures) == 1:
                return [Refused("teacher_error", f"{type(error).__name__}: {error}")]
            half = len(structures) // 2
            return self._label_or_halve(structures[:half]) + self._label_or_halve(structures[half:])

    def _label_batch(self, structures: Sequence[Structure]) -> list[Labels]:
        from torch_geometric.data import Batch

        key = self._keys
        output = self._model(Batch.from_data_list([self._graph(s) for s in structures]).to(self._device))
        energy = output[key.PRED_TOTAL_ENERGY].detach().double().cpu().numpy().reshape(-1)
        forces = output[key.PRED_FORCE].detach().double().cpu().numpy()
        # SevenNet's order is xx, yy, zz, xy, yz, zx and its sign is the opposite of ASE's
        voigt = -output[key.PRED_STRESS].detach().double().cpu().numpy().reshape(-1, 6)
        ptr = np.cumsum([0, *(len(s) for s in structures)])
        return [
            Labels(
                energy=float(energy[k]),
                forces=forces[ptr[k] : ptr[k + 1]].copy(),
                stress=voigt[k][[[0, 3, 5], [3, 1, 4], [5, 4, 2]]] if s.pbc.all() else None,
            )
            for k, s in enumerate(structures)
        ]

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
