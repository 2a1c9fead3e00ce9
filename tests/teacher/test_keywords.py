"""Keyword arguments of a calculator: one that nothing would read is refused before anything is labelled."""

from __future__ import annotations

import pytest
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.morse import MorsePotential
from ase.calculators.orca import ORCA

from potstill.core.errors import InputError
from potstill.teacher.ase import AseCalculator
from potstill.teacher.keywords import fault_of_keywords


class ReadsQuoted(Calculator):
    default_parameters = {"a": 1.0}  # noqa: RUF012 - as ASE's own

    def calculate(self, *arguments):
        return self.parameters.get("b", 2.0), self.parameters.c


class NamesArguments(LennardJones):
    def __init__(self, scale=1.0, **kwargs):
        self.scale = scale
        super().__init__(**kwargs)


def needs_an_argument(path):
    return EMT(label=path)


@pytest.mark.parametrize(
    ("made_by", "options", "said"),
    [
        (LennardJones, {"sigma": 2.0, "epsilo": 0.1}, "no option 'epsilo'; did you mean 'epsilon'?"),
        (LennardJones, {"Sigma": 2.0}, "no option 'Sigma'; did you mean 'sigma'?"),
        (EMT, {"asap_cutof": True}, "no option 'asap_cutof'; did you mean 'asap_cutoff'?"),
        (MorsePotential, {"rcut": 6.0}, "no option 'rcut'; did you mean 'rcut"),
        (ReadsQuoted, {"d": 1.0}, "no option 'd'"),
        (NamesArguments, {"scal": 1.0}, "no option 'scal'; did you mean 'scale'?"),
        (needs_an_argument, {}, "missing a required argument: 'path'"),
        (needs_an_argument, {"path": "x", "folder": "y"}, "no option 'folder'; (known: path)"),
    ],
)
def test_an_option_that_nothing_reads_is_named(made_by, options, said):
    assert said in fault_of_keywords(made_by, options)


@pytest.mark.parametrize(
    ("made_by", "options"),
    [
        (LennardJones, {"sigma": 2.0, "epsilon": 0.1, "rc": 6.0, "smooth": True, "label": "x"}),
        (EMT, {}),
        (EMT, {"asap_cutoff": True, "directory": "x"}),
        (ReadsQuoted, {"a": 1.0, "b": 1.0, "c": 1.0}),
        (NamesArguments, {"scale": 2.0, "sigma": 2.0}),
        (needs_an_argument, {"path": "x"}),
        (ORCA, {"orcasimpleinput": "B3LYP", "anything": 1}),
    ],
)
def test_what_a_calculator_reads_is_taken(made_by, options):
    assert not fault_of_keywords(made_by, options)


@pytest.mark.parametrize("method", ["check_weights", "load"])
def test_it_is_refused_by_check_and_before_the_first_label(method):
    options = AseCalculator(calculator="ase.calculators.lj:LennardJones", options={"sigma": 2.0, "epsilo": 0.1})
    with pytest.raises(InputError, match=r"label\.teacher\.options: no option 'epsilo'; did you mean 'epsilon'"):
        getattr(options, method)()
