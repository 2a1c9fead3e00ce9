import base64
import json
import zlib

import numpy as np
import pytest

from potstill.core.types import Structure
from potstill.report import explorer
from potstill.report.distributions import Axis, distributions
from potstill.report.explorer import SCRIPT, chosen
from potstill.report.scripts import script_hash
from potstill.report.similarity import similarity
from potstill.report.structure import as_viewed
from potstill.stats import collect

KINDS = {"u1": np.uint8, "u2": "<u2", "i2": "<i2", "f4": "<f4"}


def unpacked(text):
    raw = zlib.decompress(base64.b64decode(text))
    length = int.from_bytes(raw[:4], "little")
    header, at = json.loads(raw[4 : 4 + length]), 4 + length
    arrays = {}
    for name, kind, size in header["arrays"]:
        width = np.dtype(KINDS[kind]).itemsize
        planes = np.frombuffer(raw, np.uint8, size * width, at).reshape(width, size)
        arrays[name] = np.ascontiguousarray(planes.T).view(KINDS[kind]).ravel()
        at += size * width
    assert at == len(raw)
    return header, arrays


def distances(positions):
    return np.linalg.norm(positions[:, None] - positions[None], axis=2)


def test_every_structure_comes_back(kit, mixed):
    report, stats = kit.audited(mixed)
    header, arrays = unpacked(explorer.explorer(report, stats, mixed)["data"])
    assert header["ids"] == mixed.ids.tolist()
    ends = np.cumsum(arrays["sizes"])
    for k, s in enumerate(mixed):
        rows = slice(ends[k] - arrays["sizes"][k], ends[k])
        assert arrays["numbers"][rows].tolist() == s.atomic_numbers.tolist()
        places = arrays["xyz"].reshape(-1, 3)[rows] * header["quantum"]
        if not s.pbc.any():
            np.testing.assert_allclose(distances(places), distances(s.positions), atol=0.03)
        assert header["sources"][arrays["source"][k]] == s.source
        assert arrays["force"][k] == pytest.approx(np.linalg.norm(s.labels.forces, axis=1).max(), rel=1e-3)
    assert set(header["elements"]) == {"1", "8", "11", "17", "57"}


def test_crystals_are_turned_as_a_whole(kit):
    s = kit.crystal(3)
    places, cell = as_viewed(s)
    np.testing.assert_allclose(cell @ cell.T, s.cell @ s.cell.T, atol=1e-9)
    there, here = places @ np.linalg.inv(cell), s.positions @ np.linalg.inv(s.cell)
    np.testing.assert_allclose((there - here) % 1.0 % (1 - 1e-9), 0, atol=1e-6)


def test_a_large_set_is_thinned_out_but_what_checks_name_stays(kit, tmp_path, monkeypatch):
    structures = [*(kit.molecule(k) for k in range(40)), *(kit.crystal(k) for k in range(20))]
    dataset = kit.make_dataset(tmp_path / "d.h5", structures)
    stats = collect(dataset)
    monkeypatch.setattr(explorer, "MOST_ATOMS", 3 * 15)
    rows = chosen(stats, dataset, [7, 55])
    assert len(rows) == 15
    assert {7, 55} <= set(rows.tolist())
    assert 4 <= sum(rows >= 40) <= 6, "a third of each, as of the whole"
    report, _ = kit.audited(dataset)
    assert "15 of 60 structures are points" in explorer.explorer(report, stats, dataset)["caption"]


def test_what_cannot_be_drawn_is_left_out(kit, tmp_path):
    good, far = kit.molecule(0), kit.molecule(1)
    far = far.with_(positions=far.positions * 1000)
    dataset = kit.make_dataset(tmp_path / "d.h5", [good, far])
    assert chosen(collect(dataset), dataset, [1]).tolist() == [0]


def test_alike_structures_lie_near_to_each_other(kit, mixed, tmp_path):
    stats = collect(mixed)
    points = similarity(stats).points
    gap = distances(points)
    molecules = stats.molecule
    assert gap[molecules][:, molecules].max() < gap[molecules][:, ~molecules].min()
    turned = []
    for s in mixed:
        rotation = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
        rotation *= np.linalg.det(rotation)
        order = np.random.default_rng(6).permutation(len(s))
        numbers = s.atomic_numbers[order]
        turned.append(Structure(numbers, s.positions[order] @ rotation, s.cell @ rotation, s.pbc, id=s.id, source=s.source))
    again = similarity(collect(kit.make_dataset(tmp_path / "turned.h5", turned, labelled=False)))
    np.testing.assert_allclose(again.points, points, atol=1e-4)


def test_the_policy_names_the_script_on_the_page(kit, mixed, tmp_path):
    from potstill.report.audit import write_audit_page

    report, stats = kit.audited(mixed)
    write_audit_page(report, stats, mixed, tmp_path / "audit.html")
    text = (tmp_path / "audit.html").read_text(encoding="utf-8")
    policy = text[text.index("Content-Security-Policy") :]
    assert f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src '{script_hash(SCRIPT)}'" in policy
    assert "unsafe-eval" not in text


def test_rows_of_a_distribution(kit):
    values = {kit.EVIL: np.array([1.0, 2.0, 3.0, np.nan, np.inf]), "empty": np.array([np.nan]), "b": np.array([0.0, 50.0])}
    for logarithmic in (False, True):
        made = distributions(
            values, "eV", kit.EVIL, colours=dict.fromkeys(values, "#000"), logarithmic=logarithmic, limit=0.9, key="force"
        )
        page = kit.Page(made)
        assert kit.EVIL in page.text
        assert made.count('class="row" data-source') == 2
        assert 'data-source="2"' in made
        assert made.count('class="limit"') == 2
        assert "3 structures, median 2, nine in ten from 1.1 to 2.9 eV" in made


def test_nothing_to_draw():
    nothing = {"a": np.array([np.nan])}
    assert distributions(nothing, "eV", "energy", colours={"a": "#000"}) is None
    assert distributions({"a": np.array([0.0])}, "eV", "energy", colours={"a": "#000"}, logarithmic=True) is None


@pytest.mark.parametrize("axis", [Axis(-3.7, 12.0), Axis(0.02, 900.0, True), Axis(1.5, 9.0, True), Axis(1e-9, 3e-9)])
def test_ticks_are_few_and_inside(axis):
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 8
    assert all(-1e-6 <= float(axis(x)) <= 1 + 1e-6 for x in ticks)
