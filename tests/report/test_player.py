"""Trajectories that one can play: data for the script, and a picture without it."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import replace

import numpy as np
import pytest

from potstill.report.player import MOST_NUMBERS, players


def unpacked(text: str) -> tuple[dict, dict[str, np.ndarray]]:
    raw = zlib.decompress(base64.b64decode(text))
    length = int.from_bytes(raw[:4], "little")
    header, at, arrays = json.loads(raw[4 : 4 + length]), 4 + length, {}
    for name, kind, size in header["arrays"]:
        width = np.dtype(kind).itemsize
        block = np.frombuffer(raw[at : at + size * width], np.uint8).reshape(width, size)
        arrays[name] = np.ascontiguousarray(block.T).view(f"<{kind}").ravel()
        at += size * width
    return header, arrays


@pytest.fixture
def trajectory(kit):
    return kit.make_evaluation([kit.molecule(0)]).trajectories[0]


def test_distances_between_atoms_are_kept(trajectory):
    (player,) = players([trajectory])
    header, arrays = unpacked(player.data)
    drawn = arrays["xyz"].reshape(len(header["times"]), -1, 3) * header["quantum"]
    lengths = [np.linalg.norm(x[:, 0] - x[:, 1], axis=1) for x in (drawn, trajectory.frames)]
    assert np.abs(lengths[0] - lengths[1]).max() < 2 * header["quantum"]
    assert arrays["bonds"].reshape(-1, 2).tolist() == [[0, 1], [0, 2]]
    assert header["times"] == [round(t, 4) for t in trajectory.time_ps[::2].tolist()]
    assert player.still.startswith("<svg")


def test_atoms_of_a_crystal_begin_in_their_cell(kit):
    run = kit.make_evaluation([kit.crystal(0)]).trajectories[0]
    away = replace(run, frames=run.frames + 2 * np.asarray(run.final.cell)[0])
    first, second = (unpacked(players([r])[0].data)[1]["xyz"] for r in (run, away))
    assert np.abs(first.astype(int) - second.astype(int)).max() <= 1


def test_frames_end_where_the_run_exploded(trajectory):
    frames = trajectory.frames.copy()
    frames[4:] = np.nan
    header, _ = unpacked(players([replace(trajectory, frames=frames)])[0].data)
    assert len(header["times"]) == 4


def test_what_cannot_be_shown_is_left_out(trajectory):
    far = trajectory.frames.copy()
    far[3, 0] = 1e4
    large = np.zeros((2, MOST_NUMBERS, 3))
    for frames in (None, trajectory.frames[:1], np.full_like(far, np.nan), far, large):
        assert players([replace(trajectory, frames=frames)]) == []


def test_a_long_trajectory_is_thinned(trajectory):
    frames = np.repeat(trajectory.frames[:1], MOST_NUMBERS // 3, axis=0)
    times = np.arange(2 * len(frames)) * 1e-3
    header, arrays = unpacked(players([replace(trajectory, frames=frames, time_ps=times)])[0].data)
    assert MOST_NUMBERS / 2 < arrays["xyz"].size <= MOST_NUMBERS
    assert header["times"][1] == pytest.approx(times[2 * 4])
