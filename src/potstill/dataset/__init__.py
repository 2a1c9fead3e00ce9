"""The labelled dataset: written in immutable parts, merged into one HDF5 file of schema 1, read by memory map."""

from potstill.dataset.merging import merge
from potstill.dataset.read import Dataset, open_file
from potstill.dataset.records import Records, RecordSource
from potstill.dataset.sequence import Selection
from potstill.dataset.shards import Shards, open_dataset
from potstill.dataset.split import split_by_family
from potstill.dataset.write import write_part

__all__ = [
    "Dataset",
    "RecordSource",
    "Records",
    "Selection",
    "Shards",
    "merge",
    "open_dataset",
    "open_file",
    "split_by_family",
    "write_part",
]
