"""The plan: shares of batches, GPU hours and their price, and a scatter that comes from the probe."""

from __future__ import annotations

import io
import time

import pytest
from ase.calculators.emt import EMT
from ase.io import write
from rich.console import Console

from potstill.config import parse_config
from potstill.core.errors import PotstillError
from potstill.run.plan import missing_pieces, print_subruns
from potstill.run.probe import Cost, _rounds, probe
from potstill.run.probe_rounds import Rates
from potstill.teacher import load_teacher, opening
from potstill.testing import copper

CONFIG = {
    "batches": [1, 2, 1],
    "workers": 1,
    "generate": {
        "elements": ["Cu", "Al", "Ni"],
        "sources": [{"source": "prototypes", "count": 300}, {"source": "perturb", "count": 100}],
    },
    "label": {"teacher": {"name": "emt"}},
    "student": {"layers": 1, "features": 8, "channels": 4, "hidden": 8, "cutoff_angstrom": 4.0},
}
HOUR = 3600.0


def printed(costs: list[Cost], price: float | None) -> str:
    console = Console(file=io.StringIO(), width=160)
    print_subruns(parse_config(CONFIG), costs, console, price)
    return console.file.getvalue()


def costs(gpus: float) -> list[Cost]:
    return [
        Cost("generate", "", 4 * HOUR, 4e6, 0.0, scatter=0.3),
        Cost("label", "", 8 * HOUR, 8e6, 0.0, gpu_seconds=8 * HOUR * gpus, scatter=0.1),
        Cost("audit", "", 0.4 * HOUR, 0.0, 0.0),
        Cost("train", "", 2 * HOUR, 0.0, 0.0),
    ]


def test_batches_have_their_shares_of_gpu_hours_and_money():
    text = printed(costs(gpus=2.0), 3.0)
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│")]
    assert [row[:2] for row in rows] == [["01", "100"], ["02", "200"], ["03", "100"], ["then", "train"]]
    assert [row[3] for row in rows] == ["4.00 ± 0.40", "8.00 ± 0.80", "4.00 ± 0.40", "0.00 ± 0.00"]
    assert [row[5] for row in rows] == ["12.00 ± 1.20", "24.00 ± 2.40", "12.00 ± 1.20", "0.00 ± 0.00"]
    assert [row[4] for row in rows] == ["3.0 MB", "6.0 MB", "3.0 MB", "0.0 MB"]
    assert "± 12 %" in rows[0][2]  # sqrt(1.2² + 0.8²) hours of 12.4


def test_without_a_gpu_no_hours_of_it_are_made_up():
    text = printed(costs(gpus=0.0), 3.0)
    assert "no GPU here" in text
    assert "0.00" not in text


def test_rounds_cost_labels_and_training_on_ever_more():
    config = parse_config(
        {
            "generate": {"sources": [{"source": "crystals", "count": 100}]},
            "dataset": {"test_fraction": 0.2},
            "active_learning": {"max_rounds": 2, "frames": 10, "epochs": 3},
        }
    )
    (cost,) = _rounds(config, Rates(0.5, 0.25), 100, 4.0)
    assert cost.seconds == pytest.approx(4 * (0.5 * 20 + 0.25 * 3 * (90 + 100)))
    (with_starts,) = _rounds(config, Rates(0.5, 0.25, loading=7.0), 100, 4.0)
    assert with_starts.seconds == pytest.approx(cost.seconds + 2 * 7.0)
    assert _rounds(config.model_copy(update={"active_learning": None}), Rates(0.5, 0.25), 100, 4.0) == []


def test_the_start_of_the_teacher_is_part_of_a_stage_that_calls_it(monkeypatch):
    """It takes longer than the labels of a small run."""
    real = opening.open_teacher

    def slow(*args, **options):
        time.sleep(2)
        return real(*args, **options)

    monkeypatch.setattr(opening, "open_teacher", slow)
    found = {cost.stage: cost.seconds for cost in probe(parse_config(CONFIG))}
    assert found["label"] > 2
    assert found["audit"] > 2
    assert found["evaluate"] > 2


def test_the_probe_measures_a_scatter():
    found = {cost.stage: cost for cost in probe(parse_config(CONFIG))}
    assert found["generate"].scatter > 0
    assert found["label"].scatter > 0
    assert found["label"].seconds > 0
    assert found["label"].gpu_seconds == pytest.approx(0.0)


@pytest.mark.parametrize(("extra", "calls"), [("hessian_vector_products", 3), ("force_disagreement", 2)])
def test_the_probe_asks_for_further_labels_and_trains_on_them(extra, calls, monkeypatch):
    asked, teacher = [], load_teacher("emt")

    class Counting:
        def label(self, structures):
            asked.append(len(structures))
            return teacher.label(structures)

    monkeypatch.setattr("potstill.teacher.opening.open_teacher", lambda *_, **__: Counting())
    data = {**CONFIG, "batches": []}
    probe(parse_config(data))
    plain = sum(asked) - 1  # without the first call
    asked.clear()
    more = {"committee": [{"name": "emt"}]} if extra == "force_disagreement" else {}
    data["label"] = {**CONFIG["label"], **more, "extra": [extra]}
    data["train"] = {} if more else {"hessian_weight": 0.5}
    probe(parse_config(data))
    assert sum(asked) - 1 == calls * plain


def test_only_selected_structures_are_labelled_and_learned(monkeypatch):
    monkeypatch.setattr("potstill.run.probe._probe_train", lambda *_: (1e-3, None))  # seconds for an atom

    def found(select, batches=()):
        data = {**CONFIG, "batches": list(batches), "label": {**CONFIG["label"], "select": select}}
        return {cost.stage: cost for cost in probe(parse_config(data))}

    assert found({"count": 40, "by": "random"})["label"].what == "40 structures"
    assert found({"count": 40, "by": "random"}, [1, 2, 1])["label"].what == "120 structures"
    few, all_of_them = found({"fraction": 0.1, "by": "random"}), found(None)
    assert few["label"].what == "40 structures"
    assert few["generate"].what == all_of_them["generate"].what == "400 structures"
    assert few["train"].seconds == pytest.approx(0.1 * all_of_them["train"].seconds)
    assert few["label"].disk_bytes == pytest.approx(0.1 * all_of_them["label"].disk_bytes, rel=0.1)
    with_students = found({"fraction": 0.1, "by": "committee"})["label"]
    assert with_students.seconds > 2 * 30_000 * 1e-3  # two students see 30,000 structures of an atom or more


def test_labels_of_files_need_no_process_to_be_probed(tmp_path):
    atoms = [copper().to_ase() for _ in range(3)]
    for k, frame in enumerate(atoms):
        frame.rattle(0.05, seed=k)
        frame.calc = EMT()
        frame.get_potential_energy()
    write(tmp_path / "mine.extxyz", atoms)
    sources = [{"source": "files", "paths": [str(tmp_path / "mine.extxyz")], "count": 3}]
    data = {"generate": {"sources": sources}, "label": {"teacher": {"name": "given"}}, "student": CONFIG["student"]}
    assert [cost.stage for cost in probe(parse_config(data))][:2] == ["generate", "label"]


def test_a_probe_without_a_label_tells_the_first_refusal():
    label = {"teacher": {"name": "emt"}, "extra": ["local_energies"]}
    with pytest.raises(PotstillError, match=r"none of the 24 probed.*\n  first refusal: no_local_energies: the teacher"):
        probe(parse_config({**CONFIG, "batches": [], "label": label}))


@pytest.mark.parametrize(
    ("teacher", "says"),
    [
        ({"calculator": "no_such_module:make"}, "'s': teacher.calculator: the module 'no_such_module'"),
        (
            {"calculator": "ase.calculators.lj:LennardJones", "options": {"sigm": 1}},
            "'s': teacher.options: no option 'sigm'",
        ),
        (
            {"calculator": "potstill.deploy:student_calculator", "options": {"path": "no/such"}},
            "'s': there is no folder no/such",
        ),
    ],
)
def test_the_teacher_of_a_source_is_looked_at_where_it_is_used(teacher, says):
    moved = {"source": "trees", "label": "s", "count": 3, "teacher": {"name": "ase", **teacher}}
    unused = {**moved, "source": "perturb"}

    def missing(source: dict, **more: bool) -> list[str]:
        sources = [*CONFIG["generate"]["sources"][:1], source]
        return missing_pieces(parse_config({"generate": {"sources": sources}, "label": CONFIG["label"]}), **more)

    assert [line.startswith(f"the teacher of the source {says}") for line in missing(moved)] == [True]
    assert missing(unused) == missing(moved, made=True) == missing({**moved, "teacher": None}) == []
