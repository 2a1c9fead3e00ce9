"""What takes the place of a generative source that cannot, and that nobody is left in the dark about it."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import pytest

from potstill.core.errors import InputError
from potstill.core.types import Refused, Structure
from potstill.dataset import open_dataset
from potstill.generate.benchmark import Benchmark
from potstill.generate.crystals import Crystals
from potstill.generate.files import Files
from potstill.generate.filter import FilterOptions
from potstill.generate.mix import Contingency, Mix, SourceFailedError, as_asked, contingency, read_mix, together
from potstill.generate.molecules import Molecules
from potstill.generate.options import GenerateConfig
from potstill.generate.perturb import Perturb
from potstill.generate.source import Kind, SourceOptions, propose_each
from potstill.generate.stage import generate


class Dream(SourceOptions):
    """A generative source of which a share of the candidates are structures; absent where that is negative."""

    kind: ClassVar[Kind] = "generative"

    source: Literal["dream"] = "dream"
    success: float = 1.0

    def missing(self) -> str | None:
        return f"{self.name} has no weights\n  potstill setup {self.name}" if self.success < 0 else None

    def propose(self, indices, seed, parents):
        def make(_index, rng):
            if rng.random() > self.success:
                return Refused("nightmare", "no structure")
            n = int(rng.integers(2, 9))
            return Structure(
                rng.choice([3, 8, 14], n), 2.4 * np.arange(n)[:, None] * [1, 0, 0] + rng.uniform(0, 0.3, (n, 3))
            )

        return propose_each(self.name, indices, seed, make)


class Plain(Dream):
    """The same without a network."""

    kind: ClassVar[Kind] = "traditional"

    source: Literal["plain"] = "plain"


SALT = {"elements": ("Na", "Cl"), "max_atoms": 8}


def sources(*, success=1.0, second=1.0):
    return [
        Dream(count=500, success=success),
        Dream(count=400, success=second, label="second"),
        Crystals(count=30, **SALT),
        Molecules(count=20, max_atoms=12),
        Benchmark(count=50, max_atoms=4, snapshots=1),
    ]


class TestContingency:
    def test_shares_and_the_whole(self):
        mix = contingency(sources(), Contingency(), {"dream": "gone"})
        assert mix.counts == {"dream": 0, "second": 100, "crystals": 480, "molecules": 320, "benchmark": 100}

    def test_without_any_generative_source_the_traditional_ones_take_its_share(self):
        mix = contingency(sources(), Contingency(), {"dream": "gone", "second": "gone too"})
        assert sum(mix.counts.values()) == 1000
        assert mix.counts["benchmark"] == 100
        assert mix.counts["crystals"] + mix.counts["molecules"] == 900

    def test_what_benchmarks_do_not_have_is_made_by_the_traditional_ones(self):
        few = [*sources()[:4], Benchmark(count=5000, snapshots=0)]
        mix = contingency(few, Contingency(), {"dream": "gone"})
        assert mix.counts["benchmark"] == few[-1].available() < 595
        assert sum(mix.counts.values()) == 5950

    @pytest.mark.parametrize("total", [7, 101, 999])
    def test_nothing_is_lost_by_rounding(self, total):
        odd = [Dream(count=total), Crystals(count=3, **SALT), Molecules(count=5), Perturb(count=9)]
        assert sum(contingency(odd, Contingency(), {"dream": "gone"}).counts.values()) == total + 17

    def test_the_users_own_files_are_kept(self, tmp_path):
        own = Files(count=77, paths=(tmp_path / "mine.extxyz",))
        mix = contingency([own, *sources()], Contingency(), {"dream": "gone"})
        assert mix.counts["files"] == 77
        assert sum(mix.counts.values()) == 1077

    def test_someone_must_be_able_to_take_over(self):
        with pytest.raises(InputError, match=r"dream: gone(.|\n)*no traditional source"):
            contingency([sources()[0], sources()[4]], Contingency(), {"dream": "gone"})

    def test_shares_are_a_whole(self):
        with pytest.raises(ValueError, match="must be 1"):
            Contingency(traditional=0.8, generative=0.3)

    def test_as_asked_says_nothing(self):
        assert as_asked(sources()).sentence() == ""
        assert [s.count for s in as_asked(sources()).apply(sources())] == [500, 400, 30, 20, 50]

    def test_the_sentence_names_why_and_how_many(self):
        sentence = Mix({"dream": 0, "crystals": 1200}, {"dream": "no weights\n  do this"}).sentence()
        assert sentence == (
            "This is the contingency mix, not the one that the config asks for (dream: no weights): 1,200 crystals."
        )


def config(*, success=1.0, count=100) -> GenerateConfig:
    asked = (Dream(count=count, success=success), Plain(count=6), Perturb(count=14))
    return GenerateConfig.model_construct(
        elements=(), sources=asked, filter=FilterOptions(), contingency=Contingency(), balance=0.0
    )


def run(asked, folder, **options):
    counts = generate(asked, folder, seed=1, workers=1, **options)
    return {count.name: count.accepted for count in counts}


class TestStage:
    def test_a_missing_source_stops_the_run_with_an_offer(self, tmp_path):
        with pytest.raises(SourceFailedError, match=r"potstill setup dream(.|\n)*--fallback: 36 plain, 84 perturb"):
            run(config(success=-1.0), tmp_path)
        assert not (tmp_path / "mix.json").exists()

    def test_the_contingency_mix_is_taken_when_asked_for(self, tmp_path):
        assert run(config(success=-1.0), tmp_path, fallback=True) == {"plain": 36, "perturb": 84}
        assert "dream has no weights" in read_mix(tmp_path / "mix.json").sentence()
        assert len(open_dataset(tmp_path / "structures.h5")) == 120
        assert run(config(success=-1.0), tmp_path) == {"plain": 36, "perturb": 84}  # settled: a resumed run keeps it

    def test_a_source_that_gives_too_little_counts_as_failed(self, tmp_path):
        with pytest.raises(SourceFailedError, match=r"of its first \d+ candidates became structures, expected at least 30%"):
            run(config(success=0.1), tmp_path / "a")
        taken = run(config(success=0.1), tmp_path / "b", fallback=True)
        assert taken == {"plain": 36, "perturb": 84}
        assert set(open_dataset(tmp_path / "b" / "structures.h5").sources) == {"plain", "perturb"}

    def test_a_source_that_works_is_left_alone(self, tmp_path):
        assert run(config(success=0.6, count=40), tmp_path, fallback=True) == {"dream": 40, "plain": 6, "perturb": 14}
        assert not (tmp_path / "mix.json").exists()

    def test_what_a_source_cannot_give_is_made_by_the_next_traditional_one(self, tmp_path):
        known = Benchmark(count=40, snapshots=0, max_atoms=4, elements=("Na", "Cl"))
        asked = (Dream(count=60, success=-1.0), Plain(count=10), known, Perturb(count=10))
        mixed = config().model_copy(update={"sources": asked})
        taken = run(mixed, tmp_path, fallback=True)
        assert 0 < taken["benchmark"] < 12
        assert sum(taken.values()) == 120
        assert taken["perturb"] > taken["plain"]

    def test_copies_of_other_parents_are_not_taken_for_these(self, tmp_path):
        first = run(config(count=20), tmp_path / "a")
        assert first["dream"] == 20
        run(config(success=-1.0, count=20), tmp_path / "a", fallback=True)
        run(config(success=-1.0, count=20), tmp_path / "b", fallback=True)
        assert (tmp_path / "a" / "structures.h5").read_bytes() == (tmp_path / "b" / "structures.h5").read_bytes()


def test_batches_together():
    one, other = Mix({"crystals": 3, "dream": 0}, {"dream": "no weights"}), Mix({"crystals": 2, "dream": 5})
    assert together([one, other]) == Mix({"crystals": 5, "dream": 5}, {"dream": "no weights"})
