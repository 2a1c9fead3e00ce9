"""Labels that the user has: taken from the files, audited without a teacher to ask, and never asked for what has none."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from potstill.audit.stage import audit
from potstill.config import Config, dump_config, parse_config
from potstill.core.errors import InputError, PotstillError
from potstill.core.types import Labels, Refused, Structure
from potstill.dataset import open_file
from potstill.generate.stage import generate
from potstill.label.stage import assemble, label
from potstill.teacher.choices import parse_teacher
from potstill.teacher.given import Given


def labelled_copper(seed: int) -> object:
    """Return a strained and rattled cell of copper with labels by EMT."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell @ (np.eye(3) + rng.uniform(-0.03, 0.03, (3, 3))), scale_atoms=True)
    atoms.rattle(0.05, rng=rng)
    atoms.calc = EMT()
    results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(), "stress": atoms.get_stress()}
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def config_for(path: Path, **source: object) -> Config:
    """Return the config of a run on a file of the user's."""
    files = {"source": "files", "paths": [str(path)], "count": 50, **source}
    return parse_config(
        {
            "generate": {"families": "structure", "sources": [files]},
            "label": {"teacher": {"name": "given", "method": "EMT"}},
            "audit": {"min_element_entropy_bits": 0, "min_element_coverage": 1, "min_size_cv": 0},
        }
    )


class InThisProcess:
    """An executor without workers, which take seconds to start."""

    workers = 1

    def run(self, function, tasks, *, on_done=lambda task, result: None, **_):
        for task in tasks:
            on_done(task, function(task))

    def close(self):
        pass


def dataset_of(config: Config, folder: Path) -> Path:
    """Run generate and label and return the dataset."""
    teacher = config.label.teacher
    generate(config.generate, folder / "structures", seed=1, executor=InThisProcess(), teacher=teacher)
    structures = folder / "structures" / "structures.h5"
    parts = label(config.label, structures, folder / "label", executor=InThisProcess())
    attributes = {"label_seconds": 1.0, "workers": 1, "config": dump_config(config)}
    assemble(parts, structures, folder / "dataset.h5", split=config.dataset, seed=1, attributes=attributes)
    return folder / "dataset.h5"


def test_labels_of_the_files_reach_the_dataset_and_a_frame_without_is_refused(tmp_path):
    frames = [labelled_copper(k) for k in range(3)]
    write(tmp_path / "dft.extxyz", [*frames, bulk("Cu")])
    dataset = open_file(dataset_of(config_for(tmp_path / "dft.extxyz"), tmp_path))
    assert len(dataset) == 3
    for structure, frame in zip(dataset, frames, strict=True):
        assert structure.labels.energy == pytest.approx(frame.get_potential_energy(), abs=1e-9)
        assert structure.labels.forces == pytest.approx(frame.get_forces(), abs=1e-6)
        assert structure.labels.stress == pytest.approx(frame.get_stress(voigt=False), abs=1e-8)
    (refused,) = dataset.refused
    assert refused.reason == "no_labels"
    assert "dft.extxyz, frame 3" in refused.detail


def test_the_keys_of_the_labels_can_be_named(tmp_path):
    frame = labelled_copper(0)
    energy, forces = frame.get_potential_energy(), frame.get_forces()
    frame.calc = None
    frame.info["dft_energy"], frame.arrays["dft_forces"] = energy, forces
    write(tmp_path / "dft.extxyz", [frame])
    config = config_for(tmp_path / "dft.extxyz", energy_key="dft_energy", forces_key="dft_forces")
    (structure,) = open_file(dataset_of(config, tmp_path))
    assert structure.labels.energy == pytest.approx(energy, abs=1e-9)
    assert structure.labels.forces == pytest.approx(forces, abs=1e-6)


def test_one_structure_with_two_labels_ends_the_stage(tmp_path):
    frames = [labelled_copper(k) for k in range(3)]
    write(tmp_path / "dft.extxyz", frames)
    write(tmp_path / "copy.extxyz", frames[:1])
    text = (tmp_path / "copy.extxyz").read_text()
    energy = frames[0].get_potential_energy()
    (tmp_path / "dft.extxyz").write_text(
        (tmp_path / "dft.extxyz").read_text() + text.replace(f"energy={energy}", "energy=-99.5")
    )
    with pytest.raises(PotstillError, match="1 structure twice with different labels") as error:
        dataset_of(config_for(tmp_path / "dft.extxyz"), tmp_path)
    assert "dft.extxyz, frame 3" in str(error.value)


def test_a_file_without_any_labels_says_so(tmp_path):
    write(tmp_path / "bare.extxyz", [bulk("Cu")])
    with pytest.raises(InputError, match=r"bare\.extxyz, frame 0: the frame has no energy and forces"):
        dataset_of(config_for(tmp_path / "bare.extxyz"), tmp_path)


def test_the_audit_does_not_ask_a_teacher_and_can_be_go(tmp_path):
    write(tmp_path / "dft.extxyz", [labelled_copper(k) for k in range(40)])
    config = config_for(tmp_path / "dft.extxyz")
    report, _ = audit(open_file(dataset_of(config, tmp_path)), config.audit, teacher=None)
    verdicts = {finding["check"]: finding["verdict"] for finding in report["findings"]}
    assert report["verdict"] == "GO", [f for f in report["findings"] if f["verdict"] not in ("GO", "DOES_NOT_APPLY")]
    assert {verdicts[name] for name in ("label_replay", "gradients", "teacher_fingerprint")} == {"DOES_NOT_APPLY"}


def test_wrong_given_labels_are_no_go(tmp_path):
    frames = [labelled_copper(k) for k in range(40)]
    for frame in frames:  # the sign of the forces of a whole file
        frame.calc.results["forces"] = -frame.calc.results["forces"] + 1.0
    write(tmp_path / "dft.extxyz", frames)
    config = config_for(tmp_path / "dft.extxyz")
    report, _ = audit(open_file(dataset_of(config, tmp_path)), config.audit, teacher=None)
    assert report["verdict"] == "NO_GO"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"generate": {"sources": [{"source": "molecules", "count": 5}]}}, "source 'molecules'"),
        ({"active_learning": {}}, "active_learning"),
        ({"label": {"teacher": {"name": "given"}, "select": {"count": 5}}}, "label.select"),
        ({"label": {"teacher": {"name": "given"}, "extra": ["hessian_vector_products"]}}, "label.extra"),
        ({"train": {"hessian_weight": 1.0}}, "hessian loss"),
        (
            {
                "label": {"teacher": {"name": "given"}, "extra": ["hessian_vector_products"]},
                "train": {"late_weights": {"hessian": 1.0}},
            },
            "label.extra and the hessian loss",
        ),
    ],
)
def test_what_needs_a_teacher_is_refused(tmp_path, change, words):
    files = {"source": "files", "paths": [str(tmp_path)], "count": 50}
    data = {"generate": {"sources": [files]}, "label": {"teacher": {"name": "given"}}, **change}
    with pytest.raises(InputError, match=f"no teacher to ask, so leave out .*{words}"):
        parse_config(data)


def test_it_is_no_teacher_of_sources_or_committees(tmp_path):
    files = {"source": "files", "paths": [str(tmp_path)], "count": 50}
    md = {"source": "md", "count": 5, "parents": ["files"], "teacher": {"name": "given"}}
    with pytest.raises(InputError, match=r"only label\.teacher can be given"):
        parse_config({"generate": {"sources": [files, md]}, "label": {"teacher": {"name": "emt"}}})


def test_it_cannot_be_named_where_a_teacher_is_asked():
    with pytest.raises(InputError, match="cannot be asked"):
        parse_teacher({"name": "given"})


def test_it_returns_what_structures_carry():
    known = Labels(-1.0, np.zeros((3, 3)))
    water = Structure.from_ase(molecule("H2O"), id="water")
    answers = Given(method="CCSD(T)").load().label([water.with_(labels=known), water])
    assert answers[0] is known
    assert isinstance(answers[1], Refused)
    assert answers[1].reason == "no_labels"
