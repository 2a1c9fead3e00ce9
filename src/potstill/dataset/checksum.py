"""One checksum for the content of a dataset file, from the checksums of its blocks."""

from __future__ import annotations

from potstill.core.checksums import sha256_of_file, sha256_of_text
from potstill.dataset.read import Dataset


def checksum_of(dataset: Dataset) -> str:
    """Return one checksum of a dataset: of its stated checksums, or of the whole file if it states none."""
    stated = dataset.attributes.get("checksums", "")
    if stated:
        return sha256_of_text(stated)
    return sha256_of_file(dataset.path)
