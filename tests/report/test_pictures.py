import re

import numpy as np
import pytest

from potstill.core.elements import symbols_of
from potstill.core.types import Structure
from potstill.report.elements import periodic_table, place
from potstill.report.plots import beside, lines, matrix, paired_bars, parity
from potstill.report.structure import draw_structure


def test_molecule_has_atoms_and_bonds(kit):
    svg = draw_structure(kit.molecule(0))
    kit.Page(svg)
    assert svg.count("<circle") == 3
    assert svg.count('class="bond"') == 4
    assert "edge" not in svg


@pytest.mark.parametrize(("pbc", "edges"), [((True, True, True), 12), ((True, True, False), 4), ((False, False, True), 1)])
def test_cell_edges_of_periodic_axes(kit, pbc, edges):
    s = Structure([1], [[1.0, 1.0, 1.0]], np.diag([3.0, 4.0, 5.0]) * np.array(pbc), pbc)
    svg = draw_structure(s)
    kit.Page(svg)
    assert svg.count('class="edge"') == 8 * edges


def test_atom_on_a_corner_is_drawn_on_all_corners():
    svg = draw_structure(Structure([29], [[0.0, 0, 0]], np.eye(3) * 3, [True] * 3))
    assert svg.count("<circle") == 8


def test_one_atom_and_heavy_elements():
    assert draw_structure(Structure([118], [[0.0, 0, 0]])).count("<circle") == 1


def test_picture_is_not_a_mirror_image(kit):
    from potstill.report.structure import _crystal_axes, _principal_axes

    assert np.linalg.det(_principal_axes(kit.molecule(1).positions)) == pytest.approx(1)
    assert np.linalg.det(_crystal_axes(kit.crystal(1).cell)) == pytest.approx(1)
    assert np.linalg.det(_crystal_axes(kit.crystal(1).cell[[1, 0, 2]])) == pytest.approx(1)


def test_every_element_has_its_own_place():
    assert len({place(z) for z in range(1, 119)}) == 118
    assert place(71) == (7.4, 16)
    assert place(72) == (5, 3)


def test_periodic_table_shows_symbol_and_count(kit):
    svg = periodic_table({1: 6222, 57: 3}, "table")
    kit.Page(svg)
    assert "hydrogen: 6,222" in svg.lower()


def test_plots_take_odd_numbers_and_names(kit):
    odd = np.array([np.nan, np.inf, 0.0, 1.0, 1.0])
    kit.Page(parity({kit.EVIL: (odd[2:], odd[2:] + 1), "empty": (odd[:0], odd[:0])}, "eV", "parity"))
    kit.Page(paired_bars([kit.EVIL, "b"], [1.0, 2.0], [0.1, 20.0], ("a", "b"), "s", logarithmic=True))
    kit.Page(lines({"a": ([1.0], [2.0]), "b": ([1, 2], [np.nan, 3.0])}, "x", "y", logarithmic=True))


def test_nothing_to_draw():
    assert parity({}, "eV", "parity") is None
    assert paired_bars([], [], [], ("a", "b"), "s") is None


@pytest.mark.parametrize("logarithmic", [False, True])
def test_a_figure_that_is_not_finite_has_no_bar(logarithmic):
    nan, inf = float("nan"), float("inf")
    assert paired_bars(["a", "b", "c"], [nan, 1.0, inf], [0.1, 20.0, 1.0], ("a", "b"), "s", logarithmic=logarithmic)
    assert lines({"a": ([1.0], [np.nan])}, "x", "y") is None


def test_global_settings_are_left_alone():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    lines({"a": (np.arange(5.0), np.arange(5.0))}, "x", "y")
    assert dict(mpl.rcParams) == before


def test_counted_modes_have_whole_ticks():
    modes = np.arange(1.0, 22.0)
    numbers = 100 * modes
    assert ">12.5<" not in beside({"ethanol": [(modes, numbers, numbers)]}, "mode", "wave number, 1/cm")
    assert ">12.5<" in beside({"ethanol": [(modes + 0.25, numbers, numbers)]}, "mode", "wave number, 1/cm")


def test_one_pair_of_elements_does_not_fill_the_picture():
    one, two = (matrix(["Cu", "Ni"][:n], np.full((n, n), 0.78), "shortest distance") for n in (1, 2))
    assert "0.78" in one
    assert "0.78" in two


def test_names_of_many_elements_do_not_run_into_each_other():
    for n, along in ((20, 20), (89, 23)):
        names = list(symbols_of(range(1, n + 1)))
        svg = matrix(names, np.full((n, n), 0.78), "shortest distance")
        shown = re.findall(r"<text [^>]*>([A-Z][a-z]?)</text>", svg)
        assert len(shown) == 2 * along
        assert svg.count("rotate(-90)") == along


def test_there_is_no_half_round():
    svg = str(lines({"error": ([1, 2], [0.03, 0.02])}, "round", "Force MAE, eV/Å"))
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert texts[: texts.index("round")] == ["1", "2"]
