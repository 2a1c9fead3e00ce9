"""What a call of each model costs beyond time: arithmetic, memory traffic and number of operations, per atom.

    python -m benchmarks.student.student_cost [--models NAME ...] [--system Si216]

Counted while PyTorch runs energy, forces and stress of one structure. Traffic is the bytes of all arguments and results of
every operation that moves data: an upper bound, since caches keep some. The number of operations is that of kernel launches
on a GPU, about. The student runs in PyTorch here.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any, ClassVar

import torch
from benchmarks.lib.common import write_results
from benchmarks.lib.peers import Model
from benchmarks.lib.students import MODELS
from benchmarks.lib.systems import all_systems
from rich.console import Console
from rich.table import Table
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, shape_wrapper

from potstill.deploy.size import grouped_flops

DEFAULT = ("student nano, PyTorch", "student base, PyTorch", "student xl, PyTorch", "orb-v2", "orb-v3-conservative-20")
OTHERS = ("CHGNet 0.3.0", "SevenNet-0", "schnetpack PaiNN", "graph-pes PaiNN", "graph-pes TensorNet")


class Cost(TorchDispatchMode):
    """Counts operations that move data, the bytes of their arguments and results, and the arithmetic of matrix products."""

    formulas: ClassVar[dict[Any, Any]] = {**flop_registry, torch.ops.aten._grouped_mm: shape_wrapper(grouped_flops)}

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.operations = self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        made = [x for x in tree_leaves(result) if isinstance(x, torch.Tensor)]
        storages = {x.untyped_storage().data_ptr() for x in given}
        written = [x for x in made if x.untyped_storage().data_ptr() not in storages]
        if written or func._schema.is_mutable:  # views move nothing
            self.operations += 1
            self.bytes += sum(x.numel() * x.element_size() for x in (*given, *written))
        if formula := self.formulas.get(func._overloadpacket):
            self.flops += formula(*args, **(kwargs or {}), out_val=result)
        return result


def measure(model: Model, structure: Any) -> dict[str, Any]:
    """One row."""
    model.evaluate([structure])
    with Cost() as cost:
        model.evaluate([structure])
    return {
        "model": model.name,
        "package": model.package,
        "parameters": model.parameters,
        "mflop_per_atom": cost.flops / len(structure) / 1e6,
        "megabytes_per_atom": cost.bytes / len(structure) / 1e6,
        "operations": cost.operations,
    }


def print_rows(rows: Sequence[dict[str, Any]], system: str) -> None:
    """A table for the terminal."""
    table = Table("model", "parameters", "MFLOP per atom", "MB per atom", "operations", title=system)
    for row in rows:
        table.add_row(
            row["model"],
            f"{row['parameters'] / 1e6:.2f} M",
            f"{row['mflop_per_atom']:.1f}",
            f"{row['megabytes_per_atom']:.2f}",
            f"{row['operations']:,}",
        )
    Console(width=120).print(table)


def main() -> None:
    """Count, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=[*DEFAULT, *OTHERS], metavar="NAME")
    parser.add_argument("--system", default="Si216")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of many packages
    (structure,) = all_systems()[options.system]
    with redirect_stdout(sys.stderr):  # some packages print
        rows = [{"system": options.system, **measure(MODELS[name](), structure)} for name in options.models]
    print_rows(rows, options.system)
    print(write_results("student_cost", rows))


if __name__ == "__main__":
    main()
