"""Who shares a batch: every structure once, within the limits, the same order for the same seed and epoch."""

import numpy as np
import pytest

from potstill.train.sampler import BatchSampler

RNG = np.random.default_rng(0)
SIZES = RNG.integers(1, 200, 1001)
NEIGHBORS = RNG.uniform(0, 60, 1001)


def drawn(epoch: int = 0, sizes: np.ndarray = SIZES, **options) -> list[list[int]]:
    return [batch.tolist() for batch in BatchSampler(sizes, **{"batch_structures": 16, **options}).of_epoch(epoch)]


@pytest.mark.parametrize("neighbors", [None, NEIGHBORS], ids=["mixed", "by neighbours"])
@pytest.mark.parametrize("atoms", [None, 50, 300, 2000, 10**6])
@pytest.mark.parametrize("structures", [1, 4, 16, 1001, 5000])
def test_each_structure_once_per_epoch_within_the_limits(structures, atoms, neighbors):
    batches = BatchSampler(SIZES, structures, batch_atoms=atoms, neighbors=neighbors, seed=1)
    for epoch in (0, 7):
        found = [batch.tolist() for batch in batches.of_epoch(epoch)]
        assert sorted(k for batch in found for k in batch) == list(range(len(SIZES)))
        assert len(found) == len(batches)
        assert max(map(len, found)) <= structures
        if atoms:
            assert all(SIZES[batch].sum() <= atoms or len(batch) == 1 for batch in found)


@pytest.mark.parametrize("atoms", [None, 150, 2000])
def test_drawn_structures_keep_the_limits_of_every_draw(atoms):
    batches = BatchSampler(SIZES, 16, batch_atoms=atoms, neighbors=NEIGHBORS, seed=1, drawn=(400, 100))
    for epoch in range(10):
        found = [batch.tolist() for batch in batches.of_epoch(epoch)]
        every = sorted(k for batch in found for k in batch)
        assert every[:400] == list(range(400))
        assert len(every) == len(set(every)) == 500
        assert len(found) == len(batches)
        assert max(map(len, found)) <= 16
        if atoms:
            assert all(SIZES[batch].sum() <= atoms or len(batch) == 1 for batch in found)


def test_batches_are_of_like_size():
    atoms = [SIZES[batch].sum() for batch in drawn(batch_atoms=2000)]
    assert np.std(atoms) < 0.1 * np.mean(atoms)
    assert np.mean(atoms) > 0.8 * 2000


@pytest.mark.parametrize("ranks", [2, 3, 8])
@pytest.mark.parametrize("atoms", [None, 500])
def test_ranks_share_the_structures_and_have_as_many_batches(ranks, atoms):
    of_rank = [drawn(3, batch_atoms=atoms, part=slice(rank, None, ranks)) for rank in range(ranks)]
    assert len({len(batches) for batches in of_rank}) == 1
    together = sorted(k for batches in of_rank for batch in batches for k in batch)
    assert together == list(range(len(SIZES)))


def test_order_is_that_of_seed_and_epoch():
    assert drawn(4) == drawn(4)
    assert drawn(4) != drawn(5)
    assert drawn(4) != drawn(4, seed=1)
    assert {frozenset(b) for b in drawn(4)} != {frozenset(b) for b in drawn(5)}


def test_like_structures_share_a_batch_where_neighbours_are_given():
    def spread(batches):
        return np.mean([NEIGHBORS[b].std() for b in batches if len(b) > 1])

    assert spread(drawn(neighbors=NEIGHBORS)) < 0.3 * spread(drawn())


def test_partners_change_from_epoch_to_epoch():
    """Any two structures meet about as often as chance would have it, though strata are dealt."""
    sizes = np.arange(1, 65)
    met = np.zeros((64, 64))
    for epoch in range(400):
        for batch in drawn(epoch, sizes, batch_structures=8):
            met[np.ix_(batch, batch)] += 1
    far = met[:8, 56:]
    assert far.min() > 0.5 * far.mean()


def test_global_random_numbers_are_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    drawn()
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("sizes", [[], [5], [5, 5], [500, 1, 1]])
def test_few_structures(sizes):
    found = drawn(0, np.array(sizes, dtype=int), batch_atoms=10)
    assert sorted(k for batch in found for k in batch) == list(range(len(sizes)))
