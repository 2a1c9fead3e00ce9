"""Files of every schema version that was ever released: they open for ever, and read the same."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from potstill.core.units import UNITS
from potstill.dataset import Dataset
from potstill.dataset.schema import (
    ARRAY_COLUMNS,
    EXTRA,
    EXTRA_UNITS,
    PARTS,
    REFUSED_COLUMNS,
    SCHEMA_VERSION,
    TEXT_COLUMNS,
)

STORED = Path(__file__).parent / "stored"
DIGESTS = {1: "f6ad49ec402341fc"}
"""Digest of the schema of each version."""


def test_a_change_of_the_schema_needs_a_new_version():
    columns = [repr(column) for column in (*ARRAY_COLUMNS, *TEXT_COLUMNS, *REFUSED_COLUMNS)]
    schema = json.dumps([columns, EXTRA, EXTRA_UNITS, PARTS, UNITS], sort_keys=True)
    digest = hashlib.sha256(schema.encode()).hexdigest()[:16]
    assert DIGESTS.get(SCHEMA_VERSION) == digest, (
        "the schema of dataset.h5 has changed: raise SCHEMA_VERSION, read the old version too, store a file of the new "
        f"version in {STORED}, and add its digest {digest} here"
    )


def test_there_is_a_file_of_every_version():
    assert sorted(STORED.glob("schema_*.h5")) == [STORED / f"schema_{version}.h5" for version in sorted(DIGESTS)]


@pytest.mark.parametrize("version", sorted(DIGESTS))
def test_a_stored_file_reads_the_same(version):
    expected = json.loads((STORED / f"schema_{version}.json").read_text())
    data = Dataset(STORED / f"schema_{version}.h5")
    assert data.verify() == []
    assert [s.id for s in data] == expected["ids"]
    assert [s.family for s in data] == expected["family"]
    assert len(data) == expected["structures"]
    assert np.concatenate([s.atomic_numbers for s in data]).tolist() == expected["atomic_numbers"]
    assert [s.labels.energy for s in data] == expected["energy"]
    assert np.concatenate([s.positions for s in data]).ravel().tolist() == expected["positions"]
    assert np.concatenate([s.labels.forces for s in data]).ravel().tolist() == expected["forces"]
    assert np.stack([s.cell for s in data]).ravel().tolist() == expected["cell"]
    assert np.stack([s.pbc for s in data]).tolist() == expected["pbc"]
    assert [s.labels.stress is not None for s in data] == expected["has_stress"]
    stress = np.stack([np.zeros((3, 3)) if s.labels.stress is None else s.labels.stress for s in data])
    assert stress.ravel().tolist() == expected["stress"]
    assert data.splits.tolist() == expected["part"]
    assert [refusal.reason for refusal in data.refused] == expected["refused"]
