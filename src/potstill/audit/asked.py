"""Facts about the run that wrote a dataset: its config, its sources, and the mix that it used."""

from __future__ import annotations

import json
from typing import Any

import yaml

from potstill.dataset import Dataset
from potstill.generate.mix import Mix


def config_in(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return the config written into a file; empty where there is none."""
    try:
        config = yaml.safe_load(attributes.get("config", "") or "{}")
    except yaml.YAMLError:
        return {}
    return config if isinstance(config, dict) else {}


def generate_section(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return the section ``generate`` of the config written into a file; empty where there is none."""
    section = config_in(attributes).get("generate", {})
    return section if isinstance(section, dict) else {}


def mix_of(dataset: Dataset) -> Mix | None:
    """Return the mix of sources that a run used, or None where it is that of its config."""
    written = dataset.attributes.get("mix", "")
    try:
        return Mix(**json.loads(written)) if written else None
    except (ValueError, TypeError):
        return None


def asked_of(dataset: Dataset) -> dict[str, int]:
    """Return the number of structures requested of each source: by the mix that was used, else by the config."""
    mix = mix_of(dataset)
    return dict(mix.counts) if mix else asked_by_config(dataset)


def asked_by_config(dataset: Dataset) -> dict[str, int]:
    """Return the number of structures that the config in a file requests of each source."""
    return {
        name_of(source): int(source["count"])
        for source in generate_section(dataset.attributes).get("sources", [])
        if source.get("count")
    }


def name_of(source: dict[str, Any]) -> str:
    """Return the name of a source of a config."""
    return str(source.get("label") or source.get("source", ""))
