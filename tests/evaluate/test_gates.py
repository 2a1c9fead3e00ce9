"""Gates of the physics."""

import pytest

from potstill.config import parse_config
from potstill.core.errors import InputError
from potstill.core.verdict import Verdict
from potstill.evaluate.gates import GATES, NEEDS, judge
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


def test_a_limit_with_an_option_of_its_own_is_refused_with_its_name():
    config = {"generate": {"sources": [{"source": "benchmark", "count": 1}]}, "evaluate": {"limits": {"softening": 0.2}}}
    with pytest.raises(InputError, match="has an option of its own: max_softening"):
        parse_config(config)


def judged(kinds: dict[str, bool], *rows: Row, **config) -> dict[str, Verdict]:
    report = {**SOME, "kinds": kinds, "physics": [row.report() for row in rows]}
    return {f.check: f.verdict for f in judge(report, EvaluateConfig(**config))}


def test_the_list_of_gates_is_what_was_asked_for():
    found = judged({"crystals": True, "molecules": True})
    assert {name for name in found if name in GATES} == {*GATES}
    assert {found[name] for name in GATES} == {"NOT_RUN"}
    assert not {*GATES} & {
        *judged({"crystals": True, "molecules": True}, physics_crystals=0, physics_molecules=0, physics_pairs=0)
    }


def test_crystals_do_not_apply_where_the_data_hold_none():
    found = judged({"crystals": False, "molecules": True}, Row("vibrations", 1.0))
    assert found["vibrations"] == "GO"
    assert found["torsions"] == found["force_slope"] == "NOT_RUN"
    for name in ("bulk_modulus", "phonons", "npt", "pressure", "stress_slope"):
        assert found[name] == "DOES_NOT_APPLY"
    assert found["nve_molecule"] == "NOT_RUN"


def test_slabs_alone_leave_gates_that_did_not_run():
    found = judged({"crystals": False, "molecules": False})
    assert (found["force_slope"], found["bulk_modulus"]) == ("NOT_RUN", "DOES_NOT_APPLY")


def test_a_row_that_does_not_apply_is_no_pass_and_no_failure():
    water = Row("torsions", None, why="no bond can be turned", system="water", applies=False)
    assert finding(water).verdict == "DOES_NOT_APPLY"
    assert finding(water, Row("torsions", 1.0)).verdict == "GO"


BROKEN_BONDS = (Row("surfaces", 40.0), Row("vacancies", 2.0), Row("dimers", 3))
BULK = {"crystals": True, "surfaces": False, "vacancies": False, "pairs": False}


class TestBeyondTheData:
    def test_the_figure_is_told_and_not_judged(self):
        found = {
            f.check: f
            for f in judge({**SOME, "kinds": BULK, "physics": [r.report() for r in BROKEN_BONDS]}, EvaluateConfig())
        }
        assert {found[name].verdict for name in NEEDS} == {"DOES_NOT_APPLY"}
        assert "contain no surfaces; measured all the same: 40 %, limit 20" in found["surfaces"].why

    def test_each_is_judged_where_the_data_contain_it(self):
        for check, kind in NEEDS.items():
            found = judged({**BULK, kind: True}, *BROKEN_BONDS)
            assert {name for name in NEEDS if found[name] == "NO_GO"} == {check}

    def test_a_limit_that_the_config_states_is_judged(self):
        assert judged(BULK, *BROKEN_BONDS, limits={"vacancies": 0.5})["vacancies"] == "NO_GO"


def test_reports_of_earlier_versions_are_judged():
    found = judge({**SOME, "physics": []}, EvaluateConfig())
    assert next(f for f in found if f.check == "physics").verdict == "NOT_RUN"


def test_every_gate_says_what_it_measures():
    assert all(gate.says and gate.unit and gate.limit >= 0 for gate in GATES.values())
