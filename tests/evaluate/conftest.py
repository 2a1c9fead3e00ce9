import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from potstill.core.types import Structure
from potstill.evaluate.model import TeacherModel
from potstill.evaluate.options import EvaluateConfig
from potstill.evaluate.pair import composition_baseline
from potstill.evaluate.stage import Evaluation, compare
from potstill.teacher import load_teacher
from potstill.teacher.options import AseTeacher
from potstill.testing import rattled

SHORT = EvaluateConfig(
    nve_ps=0.1, stability_ps=0.1, physics_ps=0.04, speed_repeats=1, speed_atoms=0, min_atoms_of_judged_element=5
)


def parents() -> list[Structure]:
    """An ordered alloy, copper, and a bent molecule of metal atoms: all that EMT is good at."""
    alloy = bulk("Cu", "fcc", a=3.71, cubic=True)
    alloy.symbols[0] = "Au"
    bent = molecule("H2O")
    bent.symbols[:] = ["Au", "Cu", "Cu"]
    bent.positions *= 2.5
    named = {"alloy": alloy, "copper": bulk("Cu", "fcc", a=3.6, cubic=True), "cluster": bent}
    return [Structure.from_ase(atoms, id=name, source=name, family=name) for name, atoms in named.items()]


@pytest.fixture(scope="session")
def alloys() -> list[Structure]:
    """Rattled copies, labelled by EMT."""
    made = [
        rattled(parent, k, sigma).with_(id=f"{parent.id}-{k}")
        for parent in parents()
        for k, sigma in enumerate((0.0, 0.03, 0.05, 0.08, 0.12))
    ]
    return [s.with_(labels=a) for s, a in zip(made, load_teacher("emt").label(made), strict=True)]


@pytest.fixture(scope="session")
def beside_emt(alloys):
    """``beside_emt(make)``: the evaluation of any ASE calculator with EMT as its teacher."""

    def evaluation(make=EMT, config=SHORT) -> Evaluation:
        fingerprint = {"name": "candidate", "version": "1", "weights": "none", "dtype": "float64"}
        candidate = TeacherModel(AseTeacher(make, fingerprint))
        emt = load_teacher("emt")
        return compare(candidate, alloys, composition_baseline(alloys), config, teacher=lambda: emt, seed=1)

    return evaluation
