"""Memory of the size of a bucket: the sizes themselves, the input of an evaluation, and its output."""

from __future__ import annotations

from dataclasses import dataclass

import torch

SHORT = {"BM": 16, "BN": 32, "BK": 32, "num_warps": 4, "num_stages": 3}  # small tiles of products, for few atoms
TALL = {"BM": 64, "BN": 64, "BK": 32, "num_warps": 4, "num_stages": 3}
TALL_FROM = 2048  # number of atoms from which larger tiles are used


@dataclass(frozen=True, slots=True)
class Bucket:
    """Sizes that memory is allocated for.

    Parameters
    ----------
    atoms, edges, structures, elements
        Largest numbers; ``elements`` is the largest number in one batch.
    """

    atoms: int
    edges: int
    structures: int
    elements: int

    @property
    def tile(self) -> dict[str, int]:
        """Return the sizes of the tiles of a product: small ones for few atoms."""
        return TALL if self.atoms >= TALL_FROM else SHORT

    @property
    def rows(self) -> int:
        """Return the number of rows of a tile."""
        return self.tile["BM"]

    @property
    def tiles(self) -> int:
        """Return the largest number of tiles with rows of one element each: one per element may be partly filled."""
        return -(-self.atoms // self.rows) + min(self.elements, self.atoms)


class Inputs:
    """Input of a bucket, in one piece of memory, so that one copy moves it from the host to the GPU.

    ``positions`` (N, 3) and ``lattice``, ``reciprocal`` (S, 3, 3), in float64, come first: they change from step to step.
    The rest changes with the atoms. ``order`` and ``place`` map by element -> given, and back. ``structure`` and ``species``
    are by element, ``ptr`` of the structures in the given order. Tiles and ``sizes`` (atoms, structures, tiles) follow.

    Parameters
    ----------
    bucket
        Sizes of the bucket.
    device
        Device of the memory.
    pinned
        Whether the memory is page-locked host memory, for asynchronous copies to a GPU.
    """

    def __init__(self, bucket: Bucket, device: torch.device | str, *, pinned: bool = False) -> None:
        n, s, t = bucket.atoms, bucket.structures, bucket.tiles
        plan: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {
            "positions": (torch.float64, (n, 3)),
            "lattice": (torch.float64, (s, 3, 3)),
            "reciprocal": (torch.float64, (s, 3, 3)),
            "sizes": (torch.int32, (4,)),
            "ptr": (torch.int32, (s + 1,)),
            "order": (torch.int32, (n,)),
            "place": (torch.int32, (n,)),
            "structure": (torch.int32, (n,)),
            "species": (torch.int32, (n,)),
            "tile_first": (torch.int32, (t,)),
            "tile_count": (torch.int32, (t,)),
            "tile_species": (torch.int32, (t,)),
        }
        self.memory, self._views = _cut(plan, device, pinned=pinned)
        self.step_bytes = self._views["sizes"].storage_offset() * 4  # bytes of positions and cells

    def __getattr__(self, name: str) -> torch.Tensor:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._views[name]


class Outputs:
    """Output of the GPU in one piece of memory: energies and virials of structures, forces and energies of atoms.

    ``found`` (S, 7) float64 eV: energy and the virial xx, yy, zz, yz, xz, xy. ``status`` (2,) int32: flags, and the number
    of candidates that the search found. ``forces`` (N, 3) eV/Å and ``local`` (N,) eV in float32, in the given order.

    Parameters
    ----------
    bucket, device, pinned
        As in :class:`Inputs`.
    """

    def __init__(self, bucket: Bucket, device: torch.device | str, *, pinned: bool = False) -> None:
        plan: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {
            "found": (torch.float64, (bucket.structures, 7)),
            "status": (torch.int32, (2,)),
            "forces": (torch.float32, (bucket.atoms, 3)),
            "local": (torch.float32, (bucket.atoms,)),
        }
        self.memory, self._views = _cut(plan, device, pinned=pinned)

    def __getattr__(self, name: str) -> torch.Tensor:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._views[name]


def _cut(
    plan: dict[str, tuple[torch.dtype, tuple[int, ...]]], device: torch.device | str, *, pinned: bool
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return one piece of zeros, and tensors that are parts of it, each at a multiple of 64 bytes."""
    starts, end = {}, 0
    for name, (dtype, shape) in plan.items():
        starts[name] = end
        end += -(-torch.Size(shape).numel() * dtype.itemsize // 64) * 64
    memory = torch.zeros(max(end, 64), dtype=torch.uint8, device=device, pin_memory=pinned)
    views = {}
    for name, (dtype, shape) in plan.items():
        count = torch.Size(shape).numel() * dtype.itemsize
        views[name] = memory[starts[name] : starts[name] + count].view(dtype).view(shape)
    return memory, views
