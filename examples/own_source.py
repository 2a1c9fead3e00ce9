"""Write a source of your own, hold it to what potstill relies on, and use what it makes.

    python own_source.py [--count 50] [--out pairs.extxyz]

A config takes the file by the source ``files``. ``examples/plugin`` shows the same class in a package of its own: then a
config names it, and workers make its structures in parallel.
"""

import argparse
from typing import Annotated, Literal

import ase.io
from pydantic import Field

from potstill.core.types import Structure
from potstill.generate.source import SourceOptions, propose_each
from potstill.testing import check_source


class NoblePairs(SourceOptions):
    """Two atoms of one noble gas at random distances."""

    source: Literal["noble-pairs"] = "noble-pairs"
    element: Annotated[int, Field(ge=1, le=118, description="atomic number of both atoms")] = 18
    max_distance_angstrom: Annotated[float, Field(gt=0, description="largest distance in Å")] = 6.0

    def propose(self, indices, seed, parents):
        """Return one structure or refusal for each index; draw random numbers from ``rng`` only."""

        def make(_index, rng):
            distance = rng.uniform(0.5 * self.max_distance_angstrom, self.max_distance_angstrom)
            return Structure([self.element] * 2, [[0, 0, 0], [distance, 0, 0]])

        return propose_each(self.name, indices, seed, make)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--out", default="pairs.extxyz")
    options = parser.parse_args()
    source = NoblePairs(count=options.count)
    check_source(source)  # raises with the figure and its limit if something is wrong
    made = source.propose(range(options.count), 1, [])
    ase.io.write(options.out, [one.to_ase() for one in made if isinstance(one, Structure)])
    print(f"the kit finds nothing wrong; {options.out} holds {options.count} structures")
