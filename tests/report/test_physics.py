import re

import numpy as np
import pytest

from potstill.evaluate.measured import Curve, Row
from potstill.report.evaluate import write_evaluate_page
from potstill.report.physics import physics_figures, physics_table


def row(check: str, names: tuple[str, ...], *, system: str = "s", spoil: bool = False) -> dict:
    x = np.linspace(0.5, 5, 20)
    wrong = np.where(x > 4, np.nan, x) if spoil else x
    curves = {
        name: Curve("distance, Å", "energy, eV", x, 4 * (wrong**-2.0 - wrong**-1.0), 4 * (x**-2 - x**-1)) for name in names
    }
    return Row(check, 1.0, {"K, GPa": 100.0}, {"K, GPa": 110.0}, curves, system=system).report()


@pytest.fixture
def rows(kit) -> list[dict]:
    pairs = tuple(f"{a}-{b}" for a in ("H", "C", "O", "Na") for b in ("H", "C", "O", "Cl"))
    return [
        row("bulk_modulus", ("equation of state",), system=kit.EVIL),
        row("bulk_modulus", ("equation of state",), system="another"),
        row("phonons", tuple(f"band {k}" for k in range(6))),
        row("torsions", ("C0-C1-O2-H3", "H4-C0-C1-O2"), spoil=True),
        row("rdf", ("rdf",)),
        row("dimers", pairs),
        Row("npt", None, why="it failed", system="s").report(),
    ]


def test_figures_and_figures_behind_them(rows):
    drawn = {caption: svg for svg, caption in physics_figures(rows).values() if svg is not None}
    assert len(drawn) == 5
    assert sum("Phonon" in caption for caption in drawn) == 1
    table = physics_table(rows)
    assert len(table) == 6  # what did not run has no quantities
    assert table[0] == {"check": "bulk modulus", "system": "<script>alert(\"1\")</script>", "quantity": "K, GPa"} | {
        "student": 100.0,
        "teacher": 110.0,
    }  # fmt: skip


def test_special_points_stand_below_their_places():
    x, y = np.array([0.0, 1.0, 2.0, 2.0, 4.0]), np.array([0.0, 3.0, 1.0, 2.0, 0.0])
    curve = Curve("wave vector, 1/Å", "frequency, THz", x, y, y + 0.1, marks=[(0.0, "Γ"), (2.0, "K|U"), (4.0, "X")])
    (svg,) = (
        svg
        for svg, _ in physics_figures([Row("phonons", 1.0, curves={"band 1": curve}, system="Cu").report()]).values()
        if svg is not None
    )
    found = {text: float(place) for place, text in re.findall(r'<text [^>]*x="([\d.]+)"[^>]*>([^<]+)</text>', svg)}
    lines = re.findall(r'<path d="([^"]+)" clip-path[^>]*stroke: #', svg)
    student = np.array(re.findall(r"([\d.]+) [\d.]+(?= |$)", lines[-1]), float)
    assert [found["Γ"], found["K|U"], found["X"]] == pytest.approx([student[0], student[2], student[4]])
    assert student[2] == student[3]
    assert lines[-1].count("M") == 2  # the path jumps, and no line crosses the jump
    assert "wave vector" in found
    assert "2.0" not in [text for text, place in found.items() if place > student[0]]


def test_special_points_that_are_near_stand_on_two_lines():
    x = np.linspace(0.0, 4.0, 9)
    marks = [(0.0, "Γ"), (2.0, "M"), (2.1, "K"), (4.0, "A")]
    curve = Curve("wave vector, 1/Å", "frequency, THz", x, x, x + 0.1, marks=marks)
    found = physics_figures([Row("phonons", 1.0, curves={"band 1": curve}, system="BN").report()]).values()
    (svg,) = (svg for svg, _ in found if svg is not None)
    texts = re.findall(r'<text [^>]*(?:y="|translate\([\d.]+ )([\d.]+)[^>]*>([^<]+)</text>', svg)
    lines = {text: float(y) for y, text in texts}
    assert lines["Γ"] == lines["M"] == lines["A"]
    assert lines["K"] > lines["M"] + 5


def test_nothing_measured_nothing_drawn():
    assert all(svg is None for svg, _ in physics_figures([]).values())
    assert physics_table([]) == []


def test_page_with_everything(kit, tmp_path, rows):
    evaluation = kit.make_evaluation([*(kit.molecule(k) for k in range(4)), *(kit.crystal(k) for k in range(4))])
    sizes = ("steps_per_second", "s", "ns_per_day", "memory_bytes")
    grown = [{"atoms": n, **{f"{who}_{s}": 1e6 / n for who in ("student", "teacher") for s in sizes}} for n in (8, 64, 512)]
    grown[-1] |= {f"teacher_{s}": None for s in sizes}
    bins = [{"from": 0.0, "to": 0.1, "atoms": 3, "mae": 0.1, "zero_baseline_mae": 0.2, "mean_cosine": None}]
    evaluation.report.update(physics=rows, speed_by_size=grown, per_force=[*bins, {**bins[0], "from": 0.1, "to": None}])
    write_evaluate_page(evaluation, tmp_path / "evaluate.html")
    page = kit.read_page(tmp_path / "evaluate.html")
    for words in ("Phonon bands", "The figures behind the gates", "0.1 eV/Å and more", "Calls per second", kit.EVIL):
        assert words in page.text
