"""Offsets of a part of the energies, which a pair potential fitted to the forces tells from phases and isomers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk, molecule

from frames_kit import frames
from potstill.audit.files import audit_file
from potstill.audit.options import AuditConfig
from potstill.core.types import Structure
from potstill.teacher import load_teacher


@pytest.fixture
def outliers(build, tmp_path) -> Callable[[list[Structure]], dict]:
    """Return the finding on the energies of some structures."""
    folders = (tmp_path / f"out{k}" for k in itertools.count())

    def found(structures: list[Structure]) -> dict:
        report = audit_file(build(structures), next(folders), "", AuditConfig())
        return next(f for f in report["findings"] if f["check"] == "energy_outliers")

    return found


def shifted(structures, which, by: float) -> list[Structure]:
    """Return structures of which some have labels whose energy is higher by ``by`` eV/atom."""
    return [
        s.with_(labels=replace(s.labels, energy=s.labels.energy + by * len(s))) if some else s
        for s, some in zip(structures, which, strict=True)
    ]


@pytest.mark.parametrize("kind", ["one cell", "molecules"])
def test_an_offset_of_a_part_is_found_though_it_is_smaller_than_the_spread(kind, outliers):
    right = frames(kind)
    energies = np.array([s.labels.energy / len(s) for s in right])
    offset = 0.8 * energies.std()
    assert outliers(right)["verdict"] == "GO"
    for which in (np.arange(len(right)) % 2 == 0, np.arange(len(right)) >= 18):
        found = outliers(shifted(right, which, offset))
        assert found["verdict"] == "NO_GO"
        assert "energies on two levels" in found["why"]
        named = {bool(some) for s, some in zip(right, which, strict=True) if s.id in found["worst"]}
        assert len(named) == 1
        assert named == {True} or which.sum() == 15


def test_isomers_phases_and_vacancies_are_no_two_codes(outliers):
    """Two kinds have the same composition, and the fit leaves them different energies."""
    rng = np.random.default_rng(5)

    def moved(atoms, width: float, k: int) -> Structure:
        atoms.positions += rng.normal(0, width, atoms.positions.shape)
        return Structure.from_ase(atoms, id=f"s-{k}", source="s", family=f"f{k}")

    isomers = [moved(molecule(("CH3CH2OH", "CH3OCH3")[k % 2]), 0.05, k) for k in range(40)]
    cubic = [bulk("Cu", cubic=True) * (2, 2, 1), bulk("Cu", "bcc", a=2.9, cubic=True) * (2, 2, 2)]
    phases = [moved(cubic[k % 2].copy(), 0.05, k) for k in range(40)]
    cells = [bulk("Cu", cubic=True) * 2, (bulk("Cu", cubic=True) * 2)[1:]]
    vacancies = [moved(cells[k % 2].copy(), 0.15, k) for k in range(40)]
    for made in (isomers, phases, vacancies):
        labelled = [s.with_(labels=a) for s, a in zip(made, load_teacher("emt").label(made), strict=True)]
        split = shifted(labelled, np.arange(40) % 2 == 0, 0.3)  # as of bonds that no pair potential knows
        assert "two levels" not in outliers(split)["why"]
