"""The configs that come with potstill."""

from __future__ import annotations

from importlib import resources


def read_template(name: str) -> str:
    """Return the text of a commented config."""
    return resources.files("potstill.templates").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
