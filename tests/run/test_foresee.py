"""What can be known of a config before anything is run."""

from __future__ import annotations

import pytest

from potstill.config import parse_config
from potstill.core.section import parse_yaml
from potstill.run.foresee import contradictions
from potstill.templates import read_template


def config(elements=(), **sections):
    sources = [{"source": "prototypes", "count": 10}]
    generate = {"elements": list(elements), "sources": sources}
    return parse_config({"generate": generate, "label": {"teacher": {"name": "emt"}}, **sections})


def test_three_elements_cannot_pass_a_gate_of_nine():
    first, second = contradictions(config(["Cu", "Al", "Ni"], audit={"min_element_coverage": 9}))
    assert "audit.min_element_coverage is 9, but generate.elements has 3" in first
    assert "3 elements have 1.58 at most" in second


def test_gates_that_fit_are_no_contradiction():
    gates = {"min_element_coverage": 3, "min_element_entropy_bits": 1.5}
    assert contradictions(config(["Cu", "Al", "Ni"], audit=gates)) == []
    assert contradictions(config()) == []  # which elements there will be is not known


def test_nothing_held_out_and_forces_beyond_the_gate():
    gates = {"max_force_ev_per_angstrom": 20.0}
    held, forces = contradictions(config(audit=gates, dataset={"test_fraction": 0.0}))
    assert "no structure is held out" in held
    assert "label.max_force_ev_per_angstrom is 30" in forces


@pytest.mark.parametrize("name", ["quickstart", "medium_10k", "production_120k"])
def test_templates_have_none(name):
    assert contradictions(parse_config(parse_yaml(read_template(name)))) == []
