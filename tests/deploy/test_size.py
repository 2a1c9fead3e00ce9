"""Counting a student before it is trained."""

import pytest
import torch
from typer.testing import CliRunner

from potstill.cli.main import app
from potstill.core.batch import make_batch
from potstill.core.errors import InputError
from potstill.deploy.size import _flops, measure_size
from potstill.student.options import StudentConfig
from potstill.testing import random_student, silicon

SMALL = {"tier": "nano", "features": 16, "channels": 8, "vectors": 4, "products": 8, "hidden": 16}


def test_parts_add_up_and_every_figure_is_there():
    size = measure_size(StudentConfig(**SMALL), ["Si", "O"])
    assert sum(size.parts.values()) == size.parameters
    assert min(size.parts.values()) > 0
    assert size.weight_megabytes == pytest.approx(4e-6 * size.parameters)
    assert size.atoms == 216
    assert 10 < size.neighbors_per_atom < 100
    assert all(seconds > 0 for seconds in size.seconds.values())
    assert size.kernel_kilobytes_per_atom is None or 1 < size.kernel_kilobytes_per_atom < 30
    assert "torch" in size.seconds


def test_experts_add_parameters_and_no_arithmetic():
    one, many = (measure_size(StudentConfig(**SMALL, experts=experts), ["Si"]) for experts in (1, 6))
    assert many.parameters > 2 * one.parameters
    assert many.flops_per_atom == pytest.approx(one.flops_per_atom, rel=0.02)


def test_flops_of_one_linear_map_are_counted():
    student = random_student([14], experts=2, hidden=32)
    wide = random_student([14], experts=2, hidden=64)
    batch = make_batch([silicon()], student.model.architecture.cutoff_angstrom)

    a = student.model.architecture
    per_atom = (_flops(wide.model, batch) - _flops(student.model, batch)) / len(silicon())
    widths = sum(layer.hidden.shape[0] + layer.out.shape[1] for layer in student.model.layers)
    forward = 2 * 32 * (widths + a.features + 1 + a.vectors)  # networks per atom, readout, gate of the first layer
    assert 1.5 * forward < per_atom < 2.5 * forward  # and about as much backward


def test_a_range_of_parameters_is_kept():
    with pytest.raises(InputError, match=r"million parameters.*5 to 20 million\n.*student.tier"):
        measure_size(StudentConfig(**SMALL, parameters_between=(5e6, 20e6)), ["Si"])


def test_size_leaves_the_random_numbers_alone():
    before = torch.get_rng_state()
    measure_size(StudentConfig(**SMALL), ["Si"])
    assert torch.equal(torch.get_rng_state(), before)


def test_command(tmp_path):
    config = tmp_path / "c.yaml"
    text = """
generate: {elements: [Si, O], sources: [{source: molecules, count: 1}]}
label: {teacher: {name: lennard-jones}}
student: {tier: nano, parameters_between: [%s]}
"""
    config.write_text(text % "1.0e5, 5.0e5", encoding="utf-8")
    shown = CliRunner().invoke(app, ["student", "size", str(config)])
    assert shown.exit_code == 0, shown.output
    assert "tier nano" in shown.output
    assert "MFLOP per atom" in shown.output
    config.write_text(text % "5.0e6, 2.0e7", encoding="utf-8")
    refused = CliRunner().invoke(app, ["student", "size", str(config)])
    assert refused.exit_code != 0
    assert isinstance(refused.exception, InputError)
