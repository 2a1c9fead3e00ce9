"""Gates of the physics."""

import pytest

from potstill.config import parse_config
from potstill.core.errors import InputError
from potstill.evaluate.gates import GATES, judge
from potstill.evaluate.measured import Row
from potstill.evaluate.options import EvaluateConfig

SOME = {"forces": {"mae": 0.1, "zero_baseline_mae": 1.0, "ratio_to_zero_baseline": 0.1}, "per_source": {}, "nve": []}


def finding(*rows: Row, config: EvaluateConfig | None = None):
    report = {**SOME, "physics": [row.report() for row in rows]}
    (found,) = [f for f in judge(report, config or EvaluateConfig()) if f.check in GATES]
    return found


def test_the_worst_system_decides():
    found = finding(Row("bulk_modulus", 3.0, system="a"), Row("bulk_modulus", 30.0, system="b"))
    assert (found.verdict, found.measured, found.limit, found.unit) == ("NO_GO", 30.0, 15, "%")
    assert "b" in found.why


def test_what_is_not_finite_never_passes():
    assert finding(Row("nvt", float("inf"))).verdict == "NO_GO"
    assert finding(Row("nvt", float("nan")), Row("nvt", 1.0)).verdict == "NO_GO"


def test_one_system_that_did_not_run_is_no_pass():
    found = finding(Row("phonons", 1.0), Row("phonons", None, why="no phonopy", system="x"))
    assert found.verdict == "NOT_RUN"
    assert "no phonopy" in found.why


def test_a_config_has_other_limits():
    assert finding(Row("phonons", 8.0)).verdict == "GO"
    assert finding(Row("phonons", 8.0), config=EvaluateConfig(limits={"phonons": 5.0})).verdict == "NO_GO"


def test_a_limit_of_no_check_is_refused_with_the_nearest():
    config = {"generate": {"sources": [{"source": "benchmark", "count": 1}]}, "evaluate": {"limits": {"phonon": 1}}}
    with pytest.raises(InputError, match="did you mean 'phonons'"):
        parse_config(config)


def test_physics_without_figures_did_not_run():
    found = judge({**SOME, "physics": []}, EvaluateConfig())
    assert next(f for f in found if f.check == "physics").verdict == "NOT_RUN"
    wanted = EvaluateConfig(physics_crystals=0, physics_molecules=0)
    assert "physics" not in {f.check for f in judge({**SOME, "physics": []}, wanted)}


def test_every_gate_says_what_it_measures():
    assert all(gate.says and gate.unit and gate.limit >= 0 for gate in GATES.values())
