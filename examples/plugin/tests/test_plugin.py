"""The kits of potstill hold the plug-in to what a run relies on."""

from __future__ import annotations

from potstill_polyynes.source import Polyynes
from potstill_polyynes.teacher import Morse

from potstill.testing import check_source, check_teacher, rocksalt, water


def test_source():
    check_source(Polyynes(count=8))


def test_teacher():
    check_teacher(Morse().load(), [water(), rocksalt()])


def test_sizes():
    chains = Polyynes(count=20, max_triple_bonds=2, rattle_angstrom=0).propose(range(20), 1, ())
    assert {len(chain) for chain in chains} == {4, 6}
