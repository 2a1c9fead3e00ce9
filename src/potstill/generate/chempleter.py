"""Chempleter: molecules from a small language model, with the weights that its package ships.

A recurrent network over SELFIES (package chempleter) is used as a generative model of molecules where the weights of larger
ones are missing. The source embeds its molecules as conformers. The package declares Python 3.12 and a graphical interface
as requirements. Neither is needed for making molecules, if the package is installed without its dependencies.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib import resources
from importlib.util import find_spec
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from potstill.core.errors import InputError
from potstill.core.registry import borrow
from potstill.core.types import Refused, Structure
from potstill.generate.conformer import conformer
from potstill.generate.source import Kind, SourceOptions, propose_each

INSTALL = "pip install selfies && pip install --no-deps --ignore-requires-python chempleter==0.1.0b10"


class Chempleter(SourceOptions):
    """Conformers of molecules written by chempleter's language model."""

    kind: ClassVar[Kind] = "generative"
    packages: ClassVar[tuple[tuple[str, str], ...]] = (("rdkit", "molecules"),)

    source: Literal["chempleter"] = "chempleter"
    max_symbols: Annotated[int, Field(gt=0, description="largest number of SELFIES symbols of a molecule")] = 50
    temperature: Annotated[float, Field(gt=0, description="sampling temperature of the language model, dimensionless")] = 0.7
    max_mmff_steps: Annotated[
        int,
        Field(
            ge=0,
            description="largest number of MMFF94 minimiser steps after embedding; the number is drawn from 0 up to this",
        ),
    ] = 20

    def missing(self) -> str | None:
        absent = [package for package in ("chempleter", "selfies") if find_spec(package) is None]
        if absent:
            return (
                f"the source '{self.name}' needs the package '{absent[0]}', which is not installed.\n"
                f"  install it with:  {INSTALL}"
            )
        return super().missing()

    def propose(self, indices: Sequence[int], seed: int, parents: Sequence[Structure]) -> list[Structure | Refused]:
        missing = self.missing()
        if missing is not None:
            raise InputError(missing)
        _import_quietly()
        return propose_each(self.name, indices, seed, lambda _, rng: self._molecule(rng))

    def _molecule(self, rng: np.random.Generator) -> Structure | Refused:
        smiles = self._write(int(rng.integers(2**31 - 1)))
        made = conformer(smiles, self, rng, self.max_mmff_steps)
        if isinstance(made, Refused):
            return made
        return made.with_(generator_metadata={**made.generator_metadata, "temperature": self.temperature})

    def _write(self, seed: int) -> str:
        from chempleter.inference import extend

        model = _model()  # its construction draws random numbers
        with reproducible(seed):
            _, smiles, _ = extend(
                model=model, smiles="", max_len=self.max_symbols, temperature=self.temperature, device="cpu"
            )
        return str(smiles)


def _import_quietly() -> None:
    """Import chempleter, and undo its logging setup, which sends the messages of every library to the terminal."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    borrow("chempleter.inference", "molecules", "the source 'chempleter'")
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("chempleter").setLevel(logging.ERROR)


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Seed Python's and torch's global random numbers and use one CPU thread; restore both afterwards."""
    import torch

    state, threads = random.getstate(), torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        torch.set_num_threads(1)  # sums in another order could choose another symbol
        try:
            yield
        finally:
            random.setstate(state)
            torch.set_num_threads(threads)


@lru_cache(maxsize=1)
def _model() -> Any:
    """Return the network with the weights of the package, on the CPU."""
    import torch
    from chempleter.model import ChempleterModel

    data = resources.files("chempleter.data")
    with torch.random.fork_rng(devices=[]):
        model = ChempleterModel(vocab_size=len(json.loads(data.joinpath("stoi.json").read_text(encoding="utf-8"))))
    with resources.as_file(data.joinpath("model.pt")) as path:
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return model.eval()
