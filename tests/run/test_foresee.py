"""What can be known of a config before anything is run."""

from __future__ import annotations

import ase.io
import pytest
from ase.build import bulk

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
    assert "3 elements can have 1.58 at most" in second


def test_gates_that_fit_are_no_contradiction():
    gates = {"min_element_coverage": 3, "min_element_entropy_bits": 1.5}
    assert contradictions(config(["Cu", "Al", "Ni"], audit=gates)) == []
    assert contradictions(config()) == []  # which elements there will be is not known


def test_nothing_held_out_and_forces_beyond_the_gate():
    gates = {"max_force_ev_per_angstrom": 20.0}
    held, forces = contradictions(config(audit=gates, dataset={"test_fraction": 0.0}))
    assert "no structure is held out" in held
    assert "label.max_force_ev_per_angstrom is 30" in forces


def test_files_with_fewer_frames_than_a_run_in_batches_asks_for(tmp_path):
    path = tmp_path / "mine.extxyz"
    ase.io.write(path, [bulk("Cu", "fcc", a=a) for a in (3.5, 3.6, 3.7, 3.8)])
    source = {"source": "files", "paths": [str(path)], "count": 9}
    data = {"generate": {"sources": [source]}, "label": {"teacher": {"name": "emt"}}}
    assert contradictions(parse_config(data)) == []  # a run without batches takes those that there are
    (found,) = contradictions(parse_config({**data, "batches": [1, 2]}))
    assert found.startswith("generate.sources.0.count is 9, but the files hold 4 frames: set it to 4")
    source["count"] = 4
    assert contradictions(parse_config({**data, "batches": [1, 2]})) == []


@pytest.mark.parametrize("name", ["quickstart", "small_6k", "medium_10k", "production_120k"])
def test_templates_have_none(name):
    assert contradictions(parse_config(parse_yaml(read_template(name)))) == []
