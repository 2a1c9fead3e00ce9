"""The labelled dataset: streamed in as immutable parts, one HDF5 file of schema 1, read by memory map."""

from potstill.dataset.merging import merge
from potstill.dataset.read import Dataset, open_file
from potstill.dataset.records import Records, Source
from potstill.dataset.seal import sealed
from potstill.dataset.sequence import Selection
from potstill.dataset.shards import Shards, open_dataset
from potstill.dataset.split import split_by_family
from potstill.dataset.write import write_part

__all__ = [
    "Dataset",
    "Records",
    "Selection",
    "Shards",
    "Source",
    "merge",
    "open_dataset",
    "open_file",
    "sealed",
    "split_by_family",
    "write_part",
]
