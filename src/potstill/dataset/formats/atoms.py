"""Names and metadata of a structure as they are written into foreign formats."""

from __future__ import annotations

import json

from potstill.core.types import Structure


def record_of(structure: Structure) -> str:
    """Return JSON of a structure's names and metadata, in ASCII, for formats that could misread a text."""
    names = {
        "id": structure.id,
        "source": structure.source,
        "family": structure.family,
        "generator_metadata": dict(structure.generator_metadata),
    }
    return json.dumps(names, sort_keys=True)


def names_of(structure: Structure) -> dict[str, str]:
    """Return the names under which a user finds them in a foreign file; empty names are left out."""
    names = {"structure_id": structure.id, "source": structure.source, "family": structure.family}
    return {key: text for key, text in names.items() if text}
