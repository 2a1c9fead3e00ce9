"""Calls MatterGen's own command line with seeded random numbers. Runs in MatterGen's environment, from Python 3.10 on.

Arguments: a JSON object (repository, seed, atoms: smallest and largest number), then those of ``mattergen-generate``.
"""

from __future__ import annotations

import importlib
import inspect
import json
import random
import sys


def keep_sizes(smallest: int, largest: int) -> None:
    """Keep only these numbers of atoms in the distributions of MatterGen."""
    module = importlib.import_module("mattergen.common.data.num_atoms_distribution")
    for distribution in module.NUM_ATOMS_DISTRIBUTIONS.values():
        kept = {n: p for n, p in distribution.items() if smallest <= n <= largest}
        total = sum(kept.values())
        if not total > 0:
            sys.exit(f"MatterGen makes no crystals of {smallest} to {largest} atoms")
        distribution.clear()
        distribution.update({n: p / total for n, p in kept.items()})


def main() -> None:
    """Seed the random numbers, then run MatterGen."""
    order = json.loads(sys.argv[1])
    arguments = sys.argv[2:]
    sys.path[0] = order["repository"]
    generate = importlib.import_module("mattergen.scripts.generate")
    keep_sizes(*order["atoms"])
    if "seed" in inspect.signature(generate.main).parameters:  # later versions have it
        arguments.append(f"--seed={order['seed']}")
    random.seed(order["seed"])
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(order["seed"])
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(order["seed"])
    sys.argv = ["mattergen-generate", *arguments]
    generate._main()


if __name__ == "__main__":
    main()
