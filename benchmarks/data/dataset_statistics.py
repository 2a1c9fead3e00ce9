"""Time and memory of the statistics of a large dataset.

    python -m benchmarks.data.dataset_statistics [--structures 120000] [--workers N] [--folder DIR]

Structures have 2 to 200 atoms of ten elements at random places of cubic periodic cells, 18 Å^3 an atom, with labels.
That is 29 neighbours within 5 Å. Peak memory is resident memory as Linux counts it, of this process, which also makes the
file, and of the largest worker; it includes the mapped pages of the file, and 190 MB of PyTorch, which vesin imports.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.lib.common import write_results

from potstill.dataset import merge, open_dataset
from potstill.dataset.schema import open_for_writing
from potstill.dataset.statistics import dataset_statistics
from potstill.dataset.write import Writer
from potstill.execute import available_cores

ELEMENTS = (1, 6, 7, 8, 11, 13, 14, 17, 29, 79)
VOLUME_PER_ATOM = 18.0
STRUCTURES_PER_PART = 4096


def write_random_part(path: Path, first: int, count: int, rng: np.random.Generator) -> None:
    """A part file as potstill writes it, from arrays."""
    sizes = rng.integers(2, 201, size=count)
    atoms = int(sizes.sum())
    edge = np.cbrt(VOLUME_PER_ATOM * sizes)
    columns: dict[str, Any] = {
        "atoms/atomic_numbers": rng.choice(np.array(ELEMENTS, np.uint8), atoms),
        "atoms/positions": (rng.random((atoms, 3)) * np.repeat(edge, sizes)[:, None]).astype(np.float32),
        "atoms/forces": rng.normal(size=(atoms, 3)).astype(np.float32),
        "structures/cell": edge[:, None, None] * np.eye(3),
        "structures/pbc": np.ones((count, 3), bool),
        "structures/energy": rng.normal(-5, 1, count) * sizes,
        "structures/stress": rng.normal(0, 0.01, (count, 3, 3)).astype(np.float32),
        "structures/has_stress": np.ones(count, bool),
        "structures/id": [f"random-{k:06d}" for k in range(first, first + count)],
        "structures/source": [("metals", "oxides", "organic")[k % 3] for k in range(count)],
        "structures/family": [f"family-{k // 10}" for k in range(first, first + count)],
        "structures/generator_metadata": ["{}"] * count,
    }
    with open_for_writing(path, 64 * atoms + 600 * count) as file:
        writer = Writer(file, count, atoms, labelled=True)
        writer.append(sizes, columns)
        writer.finish(attributes={})


def cpu_seconds() -> float:
    """Of this process and of those that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    """Make the file, read it, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--structures", type=int, default=120_000)
    parser.add_argument("--workers", type=int, default=available_cores())
    parser.add_argument("--folder", type=Path, help="where the file is made; a temporary folder if not given")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "dataset.h5"
        rng = np.random.default_rng(0)
        parts = []
        for first in range(0, options.structures, STRUCTURES_PER_PART):
            parts.append(Path(folder) / f"{first}.h5")
            write_random_part(parts[-1], first, min(STRUCTURES_PER_PART, options.structures - first), rng)
        merge(parts, path, attributes={"teacher": {"name": "random"}})
        begin = time.perf_counter()
        dataset = open_dataset(path)
        opened, cpu = time.perf_counter(), cpu_seconds()
        stats = dataset_statistics(dataset, workers=options.workers)
        end, cpu = time.perf_counter(), cpu_seconds() - cpu
        size = path.stat().st_size
    row = {
        "structures": stats.structures,
        "atoms": stats.atoms,
        "file_bytes": size,
        "workers": options.workers,
        "open_seconds": round(opened - begin, 3),
        "seconds": round(end - opened, 3),
        "cpu_seconds": round(cpu, 3),  # of all processes: what a busy machine does not change much
        "neighbors_per_atom": stats.neighbors.mean if stats.neighbors else 0.0,
        "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "worker_peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
    }
    print(row)
    print(write_results("dataset_statistics", [row]))


if __name__ == "__main__":
    main()
