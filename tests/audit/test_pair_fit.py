"""Units and signs of independent frames, which have no near siblings, by a pair potential fitted to the forces."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import units

from frames_kit import COUNT, frames
from potstill.audit.files import audit_file
from potstill.audit.options import AuditConfig
from potstill.audit.pair_fit import FEWEST, slopes_of
from potstill.core.types import Labels, Structure

PER_BOHR = units.Bohr


@pytest.fixture(scope="module", params=["one cell", "alloys", "molecules"])
def right(request) -> list[Structure]:
    return frames(request.param)


def changed(structures, change) -> list[Structure]:
    return [s.with_(labels=change(s.labels)) for s in structures]


def found(structures) -> dict:
    return {slope.what: slope for slope in slopes_of(structures, np.arange(len(structures)))}


def test_right_labels_have_a_slope_of_one(right):
    slopes = found(right)
    assert set(slopes) == ({"energies", "stresses"} if right[0].pbc.all() else {"energies"})
    assert all(slope.apart < 0.1 for slope in slopes.values()), slopes


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda a: replace(a, forces=a.forces * PER_BOHR), id="forces per bohr"),
        pytest.param(lambda a: replace(a, forces=-a.forces), id="gradients"),
        pytest.param(lambda a: replace(a, energy=a.energy / units.Hartree), id="energies in hartree"),
    ],
)
def test_a_wrong_unit_or_sign_is_found(right, change):
    slopes = found(changed(right, change))
    assert slopes["energies"].apart > AuditConfig().max_pair_fit_slope


@pytest.mark.parametrize("factor", [10.0, 0.6, -1.0])
def test_a_wrong_stress_is_found_in_frames_of_one_cell(factor):
    wrong = changed(frames("one cell"), lambda a: replace(a, stress=factor * a.stress))
    slopes = found(wrong)
    assert slopes["energies"].apart < 0.1
    assert slopes["stresses"].apart > AuditConfig().max_pair_fit_slope


def test_an_origin_of_the_energies_is_no_fault(right):
    moved = [s.with_(labels=replace(s.labels, energy=s.labels.energy - 500.0 * len(s))) for s in right]
    assert found(moved)["energies"].apart < 0.1


def test_it_does_not_tell_where_there_is_too_little_or_the_fit_is_poor(right):
    rng = np.random.default_rng(0)
    assert found(right[: FEWEST - 1]) == {}
    noise = changed(right, lambda a: replace(a, forces=rng.normal(0, 1, a.forces.shape)))
    assert found(noise) == {}
    others = changed(right, lambda a: replace(a, energy=float(rng.normal())))
    assert "energies" not in found(others)


def test_the_audit_says_which_labels_do_not_follow_the_fit_and_counts_stresses(tmp_path, build):
    rng, structures = np.random.default_rng(0), frames("one cell")
    others = changed(structures, lambda a: replace(a, energy=float(rng.normal())))
    for k, (given, told) in enumerate([(structures, False), (others, True)]):
        report = audit_file(build(given), tmp_path / f"out{k}", "", AuditConfig())
        (finding,) = [f for f in report["findings"] if f["check"] == "pair_fit_slope"]
        assert ("energies of 30 of Cu do not follow the fit" in finding["why"]) == told
        assert (finding["covered"], finding["covered_stresses"]) == (0 if told else COUNT, COUNT)


def test_numbers_that_are_not_finite_are_left_out(right):
    holes = [s.with_(labels=Labels(np.nan, s.labels.forces)) if k < 3 else s for k, s in enumerate(right)]
    assert found(holes)["energies"].structures == COUNT - 3


def test_the_audit_of_a_file_names_them(tmp_path, build):
    path = build(changed(frames("one cell"), lambda a: replace(a, forces=a.forces * PER_BOHR)))
    report = audit_file(path, tmp_path / "out", "", AuditConfig())
    (finding,) = [f for f in report["findings"] if f["check"] == "pair_fit_slope"]
    assert finding["verdict"] == "NO_GO"
    assert finding["why"].startswith("slopes on those of a pair potential fitted to the forces: energies of 30 of Cu 1.8")
