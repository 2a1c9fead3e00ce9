"""Displacements at a temperature: by the curvature of the energy, as equipartition has it."""

from types import MappingProxyType

import numpy as np
import pytest
from ase.build import bulk
from ase.units import kB

from potstill.core.types import Labels, Refused, Structure
from potstill.generate.options import GenerateConfig
from potstill.generate.perturb import Perturb
from potstill.generate.thermal import NoCurvatureError, displacement_angstrom, mean_curvature
from potstill.teacher.choices import parse_teacher
from potstill.teacher.classical import EMT

COPPER = Structure.from_ase(bulk("Cu", cubic=True).repeat(2), id="copper", source="files", family="Cu")


class Springs:
    """A teacher that holds each coordinate by a spring of its own."""

    fingerprint = MappingProxyType({"name": "springs"})

    def __init__(self, stiffness: np.ndarray, tilt: float = 0.0) -> None:
        self.stiffness, self.tilt = stiffness, tilt

    def label(self, structures):
        off = [s.positions - COPPER.positions for s in structures]
        return [Labels(float((0.5 * self.stiffness * x**2 + self.tilt * x).sum()), 0 * x) for x in off]


def test_the_mean_curvature_is_that_of_the_springs_whatever_the_slope():
    stiffness = np.random.default_rng(1).uniform(2.0, 8.0, COPPER.positions.shape)
    found = mean_curvature(COPPER, Springs(stiffness, tilt=3.0), np.random.default_rng(2))
    assert found == pytest.approx(stiffness.mean(), rel=0.1)


def test_displacements_have_the_energy_of_equipartition():
    sigma = displacement_angstrom(7.0, 600.0)
    assert 0.5 * 7.0 * sigma**2 == pytest.approx(0.5 * kB * 600.0)


def test_what_is_at_no_minimum_moves_by_a_bounded_length():
    assert displacement_angstrom(-1.0, 1000.0) == displacement_angstrom(0.1, 1000.0) < 0.5


def test_a_refusal_says_of_which_structure():
    class Refusing(Springs):
        def label(self, structures):
            return [Refused("teacher_error", "no")] * len(structures)

    with pytest.raises(NoCurvatureError, match=r"copper.*teacher_error: no"):
        mean_curvature(COPPER, Refusing(np.zeros(())), np.random.default_rng(1))


@pytest.mark.parametrize("energy", [np.nan, np.inf, None, np.zeros(2)])
def test_an_energy_that_is_no_number_is_the_teachers_fault(energy):
    class Wrong(Springs):
        def label(self, structures):
            return [Labels(energy, np.zeros_like(s.positions)) for s in structures]

    with pytest.raises(NoCurvatureError, match="the teacher 'springs' gives copper or a displaced copy the energy"):
        mean_curvature(COPPER, Wrong(np.zeros(())), np.random.default_rng(1))


def test_copies_of_a_crystal_have_the_potential_energy_of_their_temperature():
    source = Perturb(count=40, temperatures_kelvin=(100.0, 100.0), max_strain=0.0, teacher=EMT())
    copies = source.propose(range(40), 1, [COPPER])
    teacher = EMT().load()
    rest, *moved = teacher.label([COPPER, *copies])
    energy = np.mean([a.energy for a in moved]) - rest.energy
    assert energy / (0.5 * kB * 100.0 * COPPER.positions.size) == pytest.approx(1.0, abs=0.25)


def test_a_copy_does_not_depend_on_which_others_are_made():
    source = Perturb(count=8, temperatures_kelvin=(300.0, 900.0), teacher=EMT())
    together = source.propose(range(8), 1, [COPPER])
    alone = source.propose(range(5, 6), 1, [COPPER])
    assert np.array_equal(together[5].positions, alone[0].positions)
    assert 300.0 <= alone[0].generator_metadata["temperature_kelvin"] <= 900.0


def test_any_calculator_of_ase_gives_the_curvature():
    teacher = parse_teacher({"name": "ase", "calculator": "ase.calculators.emt:EMT", "options": {"asap_cutoff": False}})
    theirs = Perturb(count=2, temperatures_kelvin=(300.0, 300.0), teacher=teacher).propose(range(2), 1, [COPPER])
    ours = Perturb(count=2, temperatures_kelvin=(300.0, 300.0), teacher=EMT()).propose(range(2), 1, [COPPER])
    for one, other in zip(theirs, ours, strict=True):
        assert one.positions == pytest.approx(other.positions, abs=1e-6)


def test_systems_of_the_same_name_have_curvatures_of_their_own():
    gold = Structure.from_ase(bulk("Au", cubic=True, a=3.61).repeat(2), id="copper", source="files", family="Au")
    source = Perturb(count=1, temperatures_kelvin=(300.0, 300.0), teacher=EMT())
    found = [
        source.propose([0], 1, [parent])[0].generator_metadata["curvature_ev_per_square_angstrom"]
        for parent in (COPPER, gold.with_(positions=COPPER.positions, cell=COPPER.cell))
    ]
    assert found[0] != found[1]


def test_small_crystals_are_repeated_where_asked():
    cell = Structure.from_ase(bulk("Cu"), id="copper", source="files", family="Cu")
    assert len(Perturb(count=1).propose([0], 1, [cell])[0]) == 1
    (copy,) = Perturb(count=1, min_crystal_atoms=8).propose([0], 1, [cell])
    assert len(copy) == 8
    assert np.linalg.norm(EMT().load().label([copy])[0].forces, axis=1).max() > 0.1


def test_the_teacher_of_the_labels_is_asked_only_where_a_temperature_is_given():
    files = {"source": "benchmark", "count": 1}
    plain, thermal = {"source": "perturb", "count": 1}, {"source": "perturb", "count": 1, "label": "hot"}
    config = GenerateConfig.model_validate({"sources": [files, plain, {**thermal, "temperatures_kelvin": [300, 900]}]})
    _, first, second = config.resolved_sources(parse_teacher({"name": "emt"}))
    assert first.teacher is None
    assert second.teacher == EMT()
