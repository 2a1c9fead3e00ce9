"""Files: the user's own structures, in any format that ASE reads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from potstill.errors import InputError
from potstill.generate.source import Kind, SourceOptions, propose_each
from potstill.types import Refused, Structure


class Files(SourceOptions):
    """Structures from the user's own files, every frame of them."""

    kind: ClassVar[Kind] = "own"

    source: Literal["files"] = "files"
    paths: Annotated[tuple[Path, ...], Field(min_length=1, description="files, each of any format that ASE reads")]
    max_atoms: Annotated[int, Field(gt=0, description="largest structure")] = 500

    def available(self) -> int | None:
        return len(_frames(self.paths))

    def propose(self, indices: Sequence[int], seed: int, parents: Sequence[Structure]) -> list[Structure | Refused]:
        frames = _frames(self.paths)

        def make(index: int, _rng: np.random.Generator) -> Structure | Refused:
            frame = frames[index]
            return frame if isinstance(frame, Refused) else self.refuse(frame) or frame

        return propose_each(self.name, indices, seed, make)


@lru_cache(maxsize=4)
def _frames(paths: tuple[Path, ...]) -> tuple[Structure | Refused, ...]:
    """Every frame of every file; a frame that is no structure is refused, a file that cannot be read is an error."""
    from ase.io import read

    frames: list[Structure | Refused] = []
    for path in paths:
        if not path.is_file():
            raise InputError(f"no structure file at {path}")
        try:
            images = read(path, index=":")
        except Exception as error:
            raise InputError(f"ASE cannot read {path}: {type(error).__name__}: {error}") from error
        for k, atoms in enumerate(images):
            try:
                frames.append(Structure.from_ase(atoms, generator_metadata={"file": path.name, "frame": k}))
            except InputError as error:
                frames.append(Refused("not_a_structure", f"{path.name}, frame {k}: {error}"))
    return tuple(frames)
