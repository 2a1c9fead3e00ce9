"""Rattles keep their floor, strains are what they say, trees and dynamics do not depend on who asks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.io import write

from potstill.config import parse_config
from potstill.core.dynamics import repeat_crystal
from potstill.core.errors import InputError, PotstillError
from potstill.core.geometry import smallest_scaled_distance
from potstill.core.types import Labels, Refused, Structure, Teacher
from potstill.dataset import Dataset, open_dataset, write_part
from potstill.generate.distort import draw_strain, monte_carlo_rattle
from potstill.generate.md import MD
from potstill.generate.options import GenerateConfig
from potstill.generate.parents import open_parents
from potstill.generate.perturb import Perturb
from potstill.generate.stage import generate
from potstill.generate.trajectories import correlation
from potstill.generate.trees import Trees
from potstill.teacher.ase import AseCalculator
from potstill.teacher.classical import EMT, LennardJones
from potstill.testing import all_structures, check_source, copper, water

COPPER = Structure.from_ase(bulk("Cu", a=3.61, cubic=True) * (2, 2, 2), id="metals-000000", source="metals", family="Cu")
SOFT = LennardJones(sigma_angstrom=0.9)
SHORT = {Trees: {"max_relax_steps": 3}, MD: {"equilibration_fs": 20, "min_interval_fs": 5}}


def made(answers) -> list[Structure]:
    return [a for a in answers if isinstance(a, Structure)]


class TestRattle:
    @pytest.mark.parametrize("structure", all_structures(), ids=lambda s: s.id)
    def test_no_pair_comes_below_the_floor(self, structure):
        before, _ = smallest_scaled_distance(structure)
        for floor in (0.7, 0.95):
            positions = monte_carlo_rattle(structure, 0.5, floor, np.random.default_rng(1))
            after, _ = smallest_scaled_distance(structure.with_(positions=positions))
            assert after >= min(floor, before) - 2e-9

    def test_the_floor_is_what_makes_the_difference(self):
        free = COPPER.positions + np.random.default_rng(1).normal(0, 0.5, COPPER.positions.shape)
        assert smallest_scaled_distance(COPPER.with_(positions=free))[0] < 0.6

    def test_without_rejections_it_is_gaussian(self):
        far = COPPER.with_(positions=4 * COPPER.positions, cell=4 * COPPER.cell)
        moved = [monte_carlo_rattle(far, 0.2, 0.8, np.random.default_rng(k)) - far.positions for k in range(40)]
        assert np.std(moved) == pytest.approx(0.2, rel=0.03)
        assert abs(np.mean(moved)) < 0.01

    def test_it_moves_where_the_floor_is_tight(self):
        scaled, _ = smallest_scaled_distance(COPPER)
        positions = monte_carlo_rattle(COPPER, 0.3, 0.9 * scaled, np.random.default_rng(1))
        assert np.std(positions - COPPER.positions) > 0.08
        fixed = monte_carlo_rattle(COPPER, 0.3, scaled, np.random.default_rng(1))
        np.testing.assert_array_equal(fixed, COPPER.positions)  # any step would bring an atom closer to one of its twelve

    def test_as_an_option(self, parents):
        source = Perturb(count=9, rattle="monte_carlo", rattle_angstrom=(0.4, 0.6), floor_scaled_distance=0.8)
        for copy in made(source.propose(range(24), 1, parents)):
            assert smallest_scaled_distance(copy)[0] >= 0.8 - 1e-6
            assert copy.generator_metadata["floor_scaled_distance"] == 0.8
        loose = source.model_copy(update={"rattle": "gaussian"}).propose(range(24), 1, parents)
        assert min(smallest_scaled_distance(copy)[0] for copy in made(loose)) < 0.8


class TestStrain:
    def test_shear_is_off_the_diagonal(self):
        strain = draw_strain("shear", 0.2, np.random.default_rng(0))
        np.testing.assert_array_equal(np.diag(strain), 0)
        np.testing.assert_array_equal(strain, strain.T)
        assert 0 < np.abs(strain).max() <= 0.2
        assert np.count_nonzero(strain) == 6

    def test_volume_is_one_number(self):
        drawn = [draw_strain("volume", 0.3, np.random.default_rng(k)) for k in range(50)]
        for strain in drawn:
            np.testing.assert_array_equal(strain, strain[0, 0] * np.eye(3))
        entries = [strain[0, 0] for strain in drawn]
        assert -0.3 <= min(entries) < -0.2 < 0.2 < max(entries) <= 0.3

    @pytest.mark.parametrize("kind", ["symmetric", "shear", "volume"])
    def test_the_cell_is_strained_as_stated(self, parents, kind):
        for copy in made(Perturb(count=9, strain=kind, max_strain=0.3).propose(range(24), 1, parents)):
            parent = next(p for p in parents if p.id == copy.generator_metadata["parent"])
            strain = np.array(copy.generator_metadata["strain"])
            np.testing.assert_allclose(copy.cell, parent.cell @ (np.eye(3) + strain))
            assert strain.any() == parent.pbc.all()


class TestParents:
    def test_a_file_of_parents_gives_the_same_as_a_list(self, parents, tmp_path):
        write_part(tmp_path / "parents.h5", parents, [])
        file = open_parents(tmp_path / "parents.h5")
        for names in ((), ("organic",)):
            source = Perturb(count=9, parents=names)
            for a, b in zip(source.propose(range(20), 3, file), source.propose(range(20), 3, list(file)), strict=True):
                np.testing.assert_array_equal(a.positions, b.positions)
                assert a.generator_metadata == b.generator_metadata

    def test_only_the_parents_asked_for_are_read(self, parents, tmp_path, monkeypatch):
        write_part(tmp_path / "parents.h5", parents * 20, [])
        file = open_parents(tmp_path / "parents.h5")
        read = []
        original = Dataset.__getitem__
        monkeypatch.setattr(Dataset, "__getitem__", lambda self, k: read.append(k) or original(self, k))
        source = Perturb(count=9, parents=("metals",))
        source.propose(range(5), 1, file)
        assert len(read) == 5
        assert all(file.sources[k] == "metals" for k in read)

    def test_a_file_is_opened_once_until_it_changes(self, parents, tmp_path):
        path = tmp_path / "parents.h5"
        write_part(path, parents, [])
        assert open_parents(path) is open_parents(path)
        path.unlink()
        write_part(path, parents[:3], [])
        assert len(open_parents(path)) == 3


@pytest.mark.parametrize(
    "source",
    [
        Perturb(count=8, rattle="monte_carlo", strain="shear", max_strain=0.2),
        Perturb(count=8, strain="volume", max_strain=0.3),
        Trees(count=8, teacher=SOFT, frames=3, max_relax_steps=3),
        MD(count=8, teacher=SOFT, frames=2, equilibration_fs=10, min_interval_fs=0, min_crystal_atoms=4),
    ],
    ids=lambda s: f"{s.source}-{getattr(s, 'strain', '')}",
)
def test_the_kit_for_sources(source):
    check_source(source, count=5, parents=[copper(), water()])


@pytest.mark.parametrize(
    "source",
    [
        Perturb(count=30, temperatures_kelvin=(300.0, 300.0)),
        Trees(count=30, **SHORT[Trees]),
        MD(count=30, **SHORT[MD]),
    ],
    ids=lambda s: s.source,
)
@pytest.mark.parametrize(
    ("fault", "says"),
    [("missing", "nonexistent_package"), ("assertion", "AssertionError: assertion")],
)
def test_a_teacher_that_cannot_be_opened_ends_the_source_at_once(source, fault, says, faulty):
    teacher = faulty.AtLoading(fault=fault)
    with pytest.raises(PotstillError, match=f"(?s)teacher of the source '{source.name}' cannot be opened:.*{says}"):
        source.model_copy(update={"teacher": teacher}).propose(range(30), 1, [COPPER])


@pytest.mark.parametrize("source", [Trees, MD])
class TestTrajectories:
    def test_family_atoms_and_smiles_are_those_of_the_parent(self, source):
        known = [water().with_(generator_metadata={"smiles": "O", "seed": 3}), copper()]
        answers = made(source(count=8, teacher=EMT(), frames=2, **SHORT[source]).propose(range(8), 1, known))
        assert len(answers) >= 6
        for frame in answers:
            parent = next(p for p in known if p.id == frame.generator_metadata["parent"])
            assert frame.family == parent.family
            assert set(frame.atomic_numbers) == set(parent.atomic_numbers)
            assert frame.generator_metadata.get("smiles") == parent.generator_metadata.get("smiles")
            assert "seed" not in frame.generator_metadata

    def test_a_task_holds_whole_trajectories(self, source):
        for frames in (1, 5, 8, 100):
            assert source(count=1, teacher=SOFT, frames=frames).candidates_per_task % frames == 0

    def test_limits_and_no_parents(self, source):
        small = source(count=4, teacher=EMT(), frames=2, max_atoms=3, elements=("H", "O"))
        assert {a.reason for a in small.propose(range(8), 1, [COPPER])} == {"element_not_allowed"}
        assert {a.reason for a in source(count=4, teacher=EMT()).propose(range(3), 1, ())} == {"no_parent"}

    def test_a_teacher_that_fails_refuses_its_frames_and_no_others(self, source):
        iron = Structure.from_ase(bulk("Fe", cubic=True), id="iron", source="metals", family="Fe")
        answers = source(count=4, teacher=EMT(), frames=3, **SHORT[source]).propose(range(12), 1, [iron, copper()])
        refused = [a for a in answers if isinstance(a, Refused)]
        assert made(answers)
        assert {s.family for s in made(answers)} <= {"copper", "Fe"}  # an unrelaxed iron was never shown to the teacher
        assert {r.reason for r in refused} <= {"relaxation_failed", "dynamics_failed"}
        assert all("iron" in r.detail for r in refused)
        assert refused

    def test_the_teacher_of_the_labels_is_taken_where_none_is_stated(self, source):
        name = source.model_fields["source"].default
        data = {"generate": {"sources": [{"source": "benchmark", "count": 1}, {"source": name, "count": 2}]}}
        config = parse_config({**data, "label": {"teacher": {"name": "emt"}}})
        assert config.generate.resolved_sources(config.label.teacher)[1].teacher == EMT()
        data["generate"]["sources"][1]["teacher"] = {"name": "lennard-jones", "sigma_angstrom": 2.0}
        config = parse_config({**data, "label": {"teacher": {"name": "emt"}}})
        assert config.generate.resolved_sources(config.label.teacher)[1].teacher == LennardJones(sigma_angstrom=2.0)
        data["generate"]["sources"][1]["teacher"] = {"name": "lennard-jones", "sigma": 2.0}
        with pytest.raises(InputError, match=r"(?s)sources\.1\.teacher.*did you mean 'sigma_angstrom'"):
            parse_config(data)

    def test_without_any_teacher(self, source):
        with pytest.raises(InputError, match="needs a teacher"):
            source(count=1).propose([0], 1, [COPPER])

    def test_through_the_stage(self, source, tmp_path):
        write(tmp_path / "a.extxyz", [copper().to_ase(), bulk("Al", cubic=True)])
        files = {"source": "files", "count": 2, "paths": [tmp_path / "a.extxyz"]}
        children = {"source": source.model_fields["source"].default, "count": 10, "frames": 3, **SHORT[source]}
        config = GenerateConfig(sources=[files, children])
        counts = generate(config, tmp_path, seed=1, workers=1, teacher=EMT())
        dataset = open_dataset(tmp_path / "structures.h5")
        assert counts[1].accepted == 10
        families = {s.id: s.family for s in dataset if s.source == "files"}
        assert all(s.family == families[s.generator_metadata["parent"]] for s in dataset if s.source != "files")


class TestTrees:
    def test_members_grow_from_members(self):
        frames = made(Trees(count=12, teacher=EMT(), frames=12, max_relax_steps=4).propose(range(12), 1, [COPPER]))
        depths = [f.generator_metadata["depth"] for f in frames]
        assert depths[0] == 1
        assert max(depths) > 2
        assert {f.generator_metadata["tree"] for f in frames} == {0}

    def test_relaxing_lowers_the_forces(self):
        def largest(steps: int) -> float:
            source = Trees(count=8, teacher=EMT(), frames=1, max_relax_steps=steps, rattle_angstrom=(0.2, 0.2), max_strain=0)
            answers = EMT().load().label(made(source.propose(range(8), 1, [COPPER])))
            return float(np.mean([np.linalg.norm(a.forces, axis=1).max() for a in answers]))

        assert largest(30) < 0.5 * largest(0)

    def test_the_cell_relaxes_where_asked(self):
        stretched = COPPER.with_(positions=1.04 * COPPER.positions, cell=1.04 * COPPER.cell)
        options = {"count": 6, "teacher": EMT(), "frames": 1, "max_relax_steps": 60, "max_strain": 0}

        def largest_stress(*, relax_cell: bool) -> float:
            answers = EMT().load().label(made(Trees(**options, relax_cell=relax_cell).propose(range(6), 1, [stretched])))
            return float(np.mean([np.abs(a.stress).max() for a in answers]))

        assert largest_stress(relax_cell=True) < 0.5 * largest_stress(relax_cell=False)
        (molecule,) = made(Trees(**options, relax_cell=True).propose([0], 1, [water()]))
        assert not molecule.pbc.any()

    def test_a_teacher_without_stress_is_refused_before_anything_is_made(self, tmp_path):
        write(tmp_path / "a.extxyz", [copper().to_ase()])
        files = {"source": "files", "count": 1, "paths": [tmp_path / "a.extxyz"]}
        teacher = {"name": "ase", "calculator": "ase.calculators.emt:EMT", "stress": False}
        trees = {"source": "trees", "count": 4, "relax_cell": True, "teacher": teacher}
        with pytest.raises(
            InputError, match=r"'trees' needs stress, which its teacher 'ase ase\.calculators\.emt:EMT' does"
        ):
            generate(GenerateConfig(sources=[files, trees]), tmp_path / "run", seed=1, workers=1)
        assert not list((tmp_path / "run").rglob("*.h5"))
        fixed = GenerateConfig(sources=[files, {**trees, "relax_cell": False}])
        assert generate(fixed, tmp_path / "run", seed=1, workers=1)[1].accepted == 4

    def test_no_member_is_below_the_floor(self):
        source = Trees(count=9, teacher=SOFT, frames=8, rattle_angstrom=(0.6, 0.9), min_scaled_distance=0.8)
        answers = source.propose(range(16), 1, [COPPER])
        assert all(smallest_scaled_distance(s)[0] >= 0.8 - 1e-6 for s in made(answers))
        assert {a.reason for a in answers if isinstance(a, Refused)} <= {"too_close"}


class Recorder:
    """A teacher that remembers what it was asked, and may go wrong after a while."""

    def __init__(self, teacher: Teacher, wrong_after: int = 10**9, wrong: object = None) -> None:
        self.teacher, self.asked, self.wrong_after, self.wrong = teacher, [], wrong_after, wrong
        self.fingerprint = teacher.fingerprint

    def label(self, structures: Sequence[Structure]):
        self.asked += structures
        if len(self.asked) > self.wrong_after:
            (answer,) = self.teacher.label(structures)
            return [self.wrong(answer)]
        return self.teacher.label(structures)


def dynamics(source: MD, teacher: Teacher, parent: Structure = COPPER, seed: int = 0):
    return source.trajectory(parent, 0, teacher, np.random.default_rng(seed))


class TestMD:
    def test_the_temperature_is_that_of_the_bath(self):
        """From the spread of the positions between steps: what the dynamics did, not what it says of itself."""
        teacher = Recorder(EMT().load())
        source = MD(count=1, temperatures_kelvin=(400.0,), frames=12, equilibration_fs=300.0, friction_per_ps=20)
        frames = dynamics(source, teacher)
        for _ in range(12):
            next(frames)
        path = np.array([s.positions for s in teacher.asked[300:]])
        velocity = np.diff(path, axis=0)[::5] / units.fs  # Å per ASE time, timestep 1 fs
        kinetic = 0.5 * 63.546 * (velocity**2).sum(axis=(1, 2)).mean()
        assert 2 * kinetic / (3 * 32 * units.kB) == pytest.approx(400, rel=0.15)

    def test_frames_are_no_longer_correlated(self):
        source = MD(count=1, temperatures_kelvin=(300.0,), frames=6, max_force_correlation=0.3)
        frames = [f for f, _ in zip(dynamics(source, EMT().load()), range(6), strict=False)]
        forces = [a.forces for a in EMT().load().label(frames)]
        assert max(correlation(a, b) for a, b in pairwise(forces)) <= 0.3 + 1e-3
        times = [f.generator_metadata["time_fs"] for f in frames]
        assert times[0] == 200
        assert min(np.diff(times)) >= 25

    def test_a_hotter_bath_moves_atoms_further(self):
        def spread(kelvin: float) -> float:
            source = MD(count=1, temperatures_kelvin=(kelvin,), frames=4, min_interval_fs=5)
            frames = [f for f, _ in zip(dynamics(source, EMT().load()), range(4), strict=False)]
            return float(np.std([f.positions - COPPER.positions for f in frames]))

        assert spread(900) > 1.3 * spread(200) > 0.05

    def test_a_hole_in_the_teacher_ends_the_trajectory(self):
        source = MD(count=4, teacher=LennardJones(epsilon_ev=9, sigma_angstrom=0.4), frames=9)
        answers = source.propose(range(9), 1, [water()])
        refused = [a for a in answers if isinstance(a, Refused)]
        assert {r.reason for r in refused} <= {"too_close", "exploded"}
        assert "trajectory" in refused[-1].detail
        assert refused

    @pytest.mark.parametrize(
        ("wrong", "reason"),
        [
            (lambda a: Labels(a.energy, 1e4 * a.forces), "exploded|too_close|dynamics_failed"),
            (lambda a: Labels(a.energy, np.full_like(a.forces, np.nan)), "dynamics_failed"),
            (lambda a: Refused("strange", "no"), "dynamics_failed"),
        ],
    )
    def test_a_teacher_that_goes_wrong(self, wrong, reason, monkeypatch):
        import re

        import potstill.generate.trajectories as module

        teacher = Recorder(EMT().load(), wrong_after=80, wrong=wrong)
        monkeypatch.setattr(module, "teacher_of", lambda source: teacher)
        answers = MD(count=20, teacher=EMT(), frames=20, **SHORT[MD]).propose(range(20), 1, [COPPER])
        kinds = [isinstance(a, Structure) for a in answers]
        assert kinds == sorted(kinds, reverse=True)
        assert kinds[0]
        assert not kinds[-1]
        assert re.fullmatch(reason, answers[-1].reason)

    @pytest.mark.parametrize("kind", [MD, Trees])
    def test_a_student_moves_the_atoms(self, kind):
        of_copper = str(Path(__file__).parents[1] / "deploy" / "copper_student")
        student = AseCalculator(calculator="potstill.deploy:student_calculator", options={"path": of_copper})
        frames = made(kind(count=2, teacher=student, frames=2, **SHORT[kind]).propose(range(2), 1, [COPPER]))
        others = made(kind(count=2, teacher=EMT(), frames=2, **SHORT[kind]).propose(range(2), 1, [COPPER]))
        assert len(frames) == len(others) == 2
        assert np.abs(frames[1].positions - COPPER.positions).max() > 1e-3
        assert np.abs(frames[1].positions - others[1].positions).max() > 1e-6

    def test_a_trajectory_ends_where_nothing_new_comes(self):
        source = MD(count=4, teacher=EMT(), frames=5, max_force_correlation=-0.99, max_interval_fs=20, equilibration_fs=0)
        answers = source.propose(range(5), 1, [COPPER])
        assert isinstance(answers[0], Structure)
        assert {a.reason for a in answers[1:]} == {"correlated"}

    def test_crystals_are_repeated_within_the_limits(self):
        primitive = Structure.from_ase(bulk("Cu"), id="cu", source="s", family="Cu")
        assert len(repeat_crystal(primitive, 8, 100)) == 8
        assert len(repeat_crystal(primitive, 8, 5)) == 4
        assert len(repeat_crystal(primitive, 1, 100)) == 1
        assert repeat_crystal(water(), 8, 100) is not None
        assert len(repeat_crystal(water(), 8, 100)) == 3
        large = repeat_crystal(primitive, 8, 100)
        assert (large.id, large.family, large.formula) == ("cu", "Cu", "Cu")
        assert large.volume == pytest.approx(8 * primitive.volume)
