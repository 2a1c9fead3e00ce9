"""Selection: the chosen cover the pool, the same for the same seed, and a run goes on with them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from potstill.config import parse_config
from potstill.core.errors import InputError
from potstill.core.types import Refused, Structure
from potstill.dataset import Dataset, write_part
from potstill.dataset.options import SplitConfig
from potstill.label.options import LabelConfig, SelectOptions
from potstill.label.select import choose, densities, farthest, fingerprints, write_first, write_selected
from potstill.label.stage import assemble, label
from potstill.teacher.classical import LennardJones
from potstill.testing import all_structures, copper, ethanol, rattled, rocksalt, water


@pytest.fixture
def pool(tmp_path) -> Dataset:
    """Forty all but equal crystals, and one of each of four other things."""
    same = [rattled(copper(), k, 0.01).with_(id=f"same-{k}", source="crystals") for k in range(40)]
    other = [rattled(m(), 7, 0.01).with_(id=m.__name__, source="others") for m in (water, ethanol, rocksalt)]
    squeezed = copper()
    other.append(squeezed.with_(cell=0.8 * squeezed.cell, positions=0.8 * squeezed.positions, id="dense", source="others"))
    refusal = Refused("too_close", "x", id="never", source="crystals", stage="generate")
    write_part(tmp_path / "pool.h5", [*same[:20], *other, *same[20:]], [refusal])
    return Dataset(tmp_path / "pool.h5")


def test_the_farthest_are_taken_in_turn():
    rows = np.array([[0.0, 0.0], [0.1, 0.0], [5.0, 0.0], [0.0, 9.0], [5.0, 0.2]])
    assert farthest(rows, 4).tolist() == [0, 3, 4, 2]
    assert sorted(farthest(rows, 5).tolist()) == list(range(5))


def test_what_differs_is_chosen_before_copies(pool):
    options = SelectOptions(count=5, by="farthest")
    chosen = choose(pool, options, seed=3)
    assert {"water", "ethanol", "rocksalt", "dense"} <= set(pool.ids[chosen])
    assert np.array_equal(chosen, choose(pool, options, seed=3))


def test_a_fingerprint_is_that_of_the_structure_however_it_is_given():
    for structure in (rattled(ethanol()), rattled(copper())):
        n = len(structure)
        base = densities(structure.atomic_numbers, structure.positions, structure.cell, structure.pbc)
        turn = Rotation.random(random_state=1).as_matrix().T
        order = np.random.default_rng(1).permutation(n)
        moved = densities(
            structure.atomic_numbers[order],
            (structure.positions @ turn)[order] + 1.0,
            structure.cell @ turn,
            structure.pbc,
        )
        np.testing.assert_allclose(moved, base[order], atol=1e-9)
    twice = Structure.from_ase(copper().to_ase().repeat((1, 2, 1)))
    one, two = (densities(s.atomic_numbers, s.positions, s.cell, s.pbc) for s in (copper(), twice))
    np.testing.assert_allclose(two.mean(axis=0), one.mean(axis=0), atol=1e-9)


def test_fingerprints_are_finite_for_every_kind_of_structure(tmp_path):
    write_part(tmp_path / "p.h5", [s.with_(id=f"{k}") for k, s in enumerate(all_structures())])
    assert np.isfinite(fingerprints(Dataset(tmp_path / "p.h5"))).all()


def test_a_large_pool_is_divided(pool, monkeypatch):
    monkeypatch.setattr("potstill.label.select.POOL_AT_ONCE", 10)
    chosen = choose(pool, SelectOptions(fraction=0.5, by="farthest"), seed=1)
    assert len(chosen) == len(set(chosen.tolist())) == 22


def test_random_ones_depend_on_the_seed(pool):
    first, again, other = (choose(pool, SelectOptions(count=9, by="random"), seed=s) for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_selected_are_labelled_and_the_refusals_kept(pool, tmp_path):
    target = tmp_path / "selected.h5"
    options = SelectOptions(fraction=0.25, by="farthest")
    write_selected(pool.path, target, options, seed=1)
    before = target.stat().st_mtime_ns
    write_selected(pool.path, target, options, seed=1)
    assert target.stat().st_mtime_ns == before
    selected = Dataset(target)
    assert len(selected) == 11
    assert [r.id for r in selected.refused] == ["never"]
    assert sum(json.loads(selected.attributes["not_selected"]).values()) == 33
    config = LabelConfig(teacher=LennardJones(sigma_angstrom=0.9), structures_per_task=10)
    parts = label(config, target, tmp_path / "label", workers=1)
    assemble(parts, target, tmp_path / "d.h5", split=SplitConfig(), seed=1, attributes={})
    assert Dataset(tmp_path / "d.h5").ids.tolist() == selected.ids.tolist()


def test_a_committee_learns_from_whole_tasks_and_the_disputed_follow_them(pool, tmp_path):
    options = SelectOptions(count=20, first_fraction=0.45)
    first = write_first(pool.path, tmp_path / "first.h5", options, seed=1, at_once=4)
    assert len(Dataset(first)) == 8
    apart = np.arange(44, dtype=float)
    apart[3] = np.inf
    target = write_selected(pool.path, tmp_path / "selected.h5", options, seed=1, first=first, disagreement=apart)
    ids, known = Dataset(target).ids.tolist(), Dataset(first).ids.tolist()
    assert ids[:8] == known
    rest = [name for name in pool.ids.tolist() if name not in known]
    most = rest[-12:] if pool.ids[3] in known else [pool.ids[3], *rest[-11:]]
    assert ids[8:] == most
    assert sum(json.loads(Dataset(target).attributes["not_selected"]).values()) == 24


@pytest.mark.parametrize(("at_once", "expected"), [(1, 6), (4, 8), (32, 20)])
def test_there_are_never_more_first_ones_than_wanted(pool, tmp_path, at_once, expected):
    first = write_first(pool.path, tmp_path / "first.h5", SelectOptions(count=20), seed=1, at_once=at_once)
    assert len(Dataset(first)) == expected


@pytest.mark.parametrize("select", [{}, {"count": 3, "fraction": 0.5}])
def test_one_size_is_given(select):
    with pytest.raises(InputError, match="expected either 'count' or 'fraction'"):
        parse_config({"generate": {"sources": [{"source": "benchmark", "count": 3}]}, "label": {"select": select}})
