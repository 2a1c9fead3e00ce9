import json

import numpy as np
import pytest

from potstill.evaluate.stage import Evaluation
from potstill.report.evaluate import kept_figures, write_evaluate_page
from potstill.student.uncertainty import judge


def test_page(kit, tmp_path):
    evaluation = kit.make_evaluation([*(kit.molecule(k) for k in range(4)), *(kit.crystal(k) for k in range(4))])
    write_evaluate_page(evaluation, tmp_path / "evaluate.html")
    page = kit.read_page(tmp_path / "evaluate.html")
    assert "gates that apply are met" in page.text
    assert "GPa" in page.text
    assert "meV/atom" in page.text
    assert "20×" in page.text
    assert kit.EVIL in page.text
    assert set(kept_figures(tmp_path / "figures")) >= {"parity_forces", "parity_energy", "parity_stress", "nve_energy"}


def test_what_it_expects_of_its_errors_is_drawn(kit, tmp_path):
    evaluation = kit.make_evaluation([kit.molecule(0), kit.crystal(0)])
    rng = np.random.default_rng(0)
    expected = rng.uniform(0.01, 1.0, 200)
    evaluation.report["uncertainty"] = judge(expected, expected * rng.lognormal(0.0, 0.5, 200), 0.9)
    write_evaluate_page(evaluation, tmp_path / "e.html")
    page = kit.read_page(tmp_path / "e.html")
    assert f"{100 * evaluation.report['uncertainty']['auroc_large']:.3g} % of cases" in page.text
    assert "Mean error of a force" in (tmp_path / "e.html").read_text(encoding="utf-8")


def test_missed_gate_comes_first(kit, tmp_path):
    write_evaluate_page(kit.make_evaluation([kit.molecule(0), kit.crystal(0)], error=3.0), tmp_path / "e.html")
    text = (tmp_path / "e.html").read_text(encoding="utf-8")
    assert '<span class="badge no-go">NO-GO</span>' in text
    assert "are not met: force error" in kit.read_page(tmp_path / "e.html").text


@pytest.mark.parametrize("make", ["molecule", "crystal"])
def test_one_structure(kit, tmp_path, make):
    write_evaluate_page(kit.make_evaluation([getattr(kit, make)(0)]), tmp_path / "e.html")
    kit.read_page(tmp_path / "e.html")
    assert ("parity_stress" in kept_figures(tmp_path / "figures")) == (make == "crystal")


def test_exploded_dynamics(kit, tmp_path):
    evaluation = kit.make_evaluation([kit.molecule(0)], finite=False)
    assert evaluation.report["findings"][-1]["measured"] is None
    assert evaluation.report["findings"][-1]["verdict"] == "NO_GO"
    write_evaluate_page(evaluation, tmp_path / "e.html")
    page = kit.read_page(tmp_path / "e.html")
    assert "a constant-energy run exploded" in page.text
    assert "not finite" in page.text


def test_nothing_but_errors(kit, tmp_path):
    evaluation = kit.make_evaluation([kit.molecule(0)])
    evaluation.report.update(nve=[], speed=[], findings=[])
    write_evaluate_page(Evaluation(evaluation.report, evaluation.comparison, []), tmp_path / "e.html")
    assert "Nothing was timed" in kit.read_page(tmp_path / "e.html").text
    assert "nve_energy" not in kept_figures(tmp_path / "figures")


def test_foreign_figures_are_not_taken(tmp_path):
    (tmp_path / "parity_forces.svg").write_text('<svg class="plot"><script>1</script></svg>')
    (tmp_path / "parity_energy.svg").write_text("<p>no figure</p>")
    assert kept_figures(tmp_path) == {}


def test_report_is_json(kit):
    assert json.dumps(kit.make_evaluation([kit.molecule(0)]).report)
