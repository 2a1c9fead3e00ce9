"""A committee: apart where its students learnt nothing, the same after a stop, and a run that selects by it."""

from __future__ import annotations

import numpy as np
import pytest

import potstill.active_learning.committee
from potstill.active_learning.committee import disagreement
from potstill.core.errors import InputError
from potstill.dataset import Dataset, write_part
from potstill.teacher.classical import LennardJones
from potstill.testing import copper, rattled, rocksalt, water


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Labelled crystals that hardly move, and a pool of such, of shaken ones, and of molecules with other elements."""
    monkeypatch.setattr(potstill.active_learning.committee, "LOOKED_AT", 400)
    teacher = LennardJones(sigma_angstrom=1.2).load()
    calm = [rattled(make(), k, 0.03).with_(id=f"{make.__name__}-{k}") for k in range(8) for make in (copper, rocksalt)]
    labelled = [s.with_(labels=a) for s, a in zip(calm, teacher.label(calm), strict=True)]
    write_part(tmp_path / "part.h5", labelled, labelled=True)
    pool = (
        [rattled(copper(), 20 + k, 0.03) for k in range(4)] + [rattled(copper(), 30 + k, 0.3) for k in range(4)] + [water()]
    )
    write_part(tmp_path / "pool.h5", [s.with_(id=f"p{k}") for k, s in enumerate(pool)])
    return tmp_path / "part.h5", Dataset(tmp_path / "pool.h5")


def test_it_is_apart_on_what_it_did_not_see(files, tmp_path):
    part, pool = files
    told: list[str] = []
    apart = disagreement([part], pool, tmp_path / "a", cutoff_angstrom=4.0, seed=1, on_step=told.append)
    assert apart.shape == (9,)
    assert apart[4:8].min() > apart[:4].max() > 0
    assert np.isinf(apart[8])
    assert told[0] == "committee: student 1 of 2 is trained on 16 structures"


def test_stopped_and_taken_up_again_it_says_the_same(files, tmp_path):
    part, pool = files
    epochs = iter(range(100))

    def stop() -> None:
        if next(epochs) == 30:  # 25 of each student: in the second
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        disagreement([part], pool, tmp_path / "cut", cutoff_angstrom=4.0, seed=1, on_epoch=stop)
    cut, whole = (disagreement([part], pool, tmp_path / f, cutoff_angstrom=4.0, seed=1) for f in ("cut", "whole"))
    np.testing.assert_array_equal(cut, whole)


def test_without_labels_there_is_no_committee(files, tmp_path):
    write_part(tmp_path / "none.h5", [], labelled=True)
    with pytest.raises(InputError, match="labelled none of the committee's training structures"):
        disagreement([tmp_path / "none.h5"], files[1], tmp_path / "c", cutoff_angstrom=4.0, seed=1)
