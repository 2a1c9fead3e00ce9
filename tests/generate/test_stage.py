"""The stage does not depend on the number of workers, goes on where it stopped, and says what it could not make."""

from __future__ import annotations

import logging

import ase.io
import numpy as np
import pytest
from ase.build import bulk

from potstill.core.errors import InputError, PotstillError
from potstill.core.types import Refused
from potstill.dataset import open_dataset
from potstill.generate.files import Files
from potstill.generate.mix import MIX_FILE, Mix, read_mix
from potstill.generate.options import GenerateConfig
from potstill.generate.perturb import Perturb
from potstill.generate.stage import generate
from potstill.run.notices import Notices
from potstill.teacher.given import Given


@pytest.fixture
def config(tmp_path) -> GenerateConfig:
    frames = [
        bulk("Cu", cubic=True),
        bulk("Al"),
        bulk("Cu", cubic=True),
        bulk("Cu"),
        bulk("Ni") * (2, 1, 1),
        bulk("Ag", a=2.0),
    ]
    frames[4].rattle(0.02, seed=1)
    ase.io.write(tmp_path / "mine.extxyz", frames)
    sources = (Files(count=10, paths=(tmp_path / "mine.extxyz",)), Perturb(count=70), Perturb(count=3, label="more"))
    return GenerateConfig(sources=sources)


def run(config, folder, *, workers=1, seed=1):
    counts = generate(config, folder, seed=seed, workers=workers)
    return counts, (folder / "structures.h5").read_bytes()


def test_the_same_bytes_from_one_worker_and_from_two(config, tmp_path):
    assert run(config, tmp_path / "one")[1] == run(config, tmp_path / "two", workers=2)[1]


class Failing(Perturb):
    """Refuses or fails, by the number of the candidate."""

    fails_from: int = 0

    def propose(self, indices, seed, parents):
        few = [Refused("source_error", "OSError: no disk\n  at all")] * 2
        return [few[k] if k < 2 else Refused("source_error", f"trajectory {k}: ValueError: no {k}") if k >= self.fails_from
                else parents[0].with_(positions=parents[0].positions * (1 + 0.01 * k)) for k in indices]  # fmt: skip


@pytest.mark.parametrize("fails_from", [2, 9])
def test_a_source_that_fails_tells_its_most_frequent_error(config, tmp_path, caplog, fails_from):
    first = config.sources[0].model_copy(update={"count": 3})
    failing = [Failing.model_construct(count=9, label=name, fails_from=fails_from) for name in ("a", "b")]
    config = config.model_copy(update={"sources": (first, *failing)})
    said = []
    notices = Notices(said.append)
    logging.getLogger("potstill").addHandler(notices)
    try:
        counts = generate(config, tmp_path, seed=1, workers=1)
    finally:
        logging.getLogger("potstill").removeHandler(notices)
    assert (counts[1].accepted == 0) == (fails_from == 2)
    for name in ("a", "b"):
        (line,) = [line for line in said if f"source {name} gave" in line]
        assert "most often source_error: trajectory" in line
        assert ": ValueError: no" in line
    assert "most often source_error" in caplog.text


def test_another_seed_gives_others(config, tmp_path):
    assert run(config, tmp_path / "one")[1] != run(config, tmp_path / "two", seed=2)[1]


def test_names_counts_and_refusals(config, tmp_path):
    counts, _ = run(config, tmp_path)
    dataset = open_dataset(tmp_path / "structures.h5")
    files, perturb, more = counts
    assert (files.name, files.wanted, files.accepted) == ("files", 6, 3)  # the file holds six
    assert read_mix(tmp_path / MIX_FILE) == Mix({"files": 6, "perturb": 70, "more": 3})
    assert files.refused == {"duplicate": 1, "near_duplicate": 1, "too_close": 1}
    assert (perturb.accepted, more.accepted) == (70, 3)
    assert len(set(dataset.ids)) == len(dataset) == 76
    assert set(dataset.sources) == {"files", "perturb", "more"}
    assert not dataset.labelled
    assert dataset.verify() == []
    refused = [r for r in dataset.refused if r.source == "files"]
    assert sorted(r.id for r in refused) == ["files-000002", "files-000003", "files-000005"]
    assert {r.stage for r in dataset.refused} == {"generate"}
    assert set(dataset.families) == {"Cu", "Al", "Ni"}


def test_families_are_compositions_or_single_structures(config, tmp_path):
    run(config, tmp_path / "one")
    run(config.model_copy(update={"families": "structure"}), tmp_path / "two")
    one, two = (open_dataset(tmp_path / name / "structures.h5") for name in ("one", "two"))
    assert set(one.families) == {one[k].formula for k in range(3)}
    assert list(two.families) == list(two.ids) == list(one.ids)


def test_positions_are_stored_as_they_will_be_labelled(config, tmp_path):
    run(config, tmp_path)
    for structure in open_dataset(tmp_path / "structures.h5"):
        np.testing.assert_array_equal(structure.positions, structure.positions.astype(np.float32))


def test_it_goes_on_with_what_is_there(config, tmp_path):
    _, whole = run(config, tmp_path)
    parts = sorted((tmp_path / "parts").glob("*.h5"))
    assert len(parts) > 4
    kept = {p: p.stat().st_mtime_ns for p in parts[::2]}
    for part in parts[1::2]:
        part.unlink()
    (tmp_path / "structures.h5").unlink()
    assert run(config, tmp_path)[1] == whole
    assert {p: p.stat().st_mtime_ns for p in kept if "parents" not in p.name} == {
        p: t for p, t in kept.items() if "parents" not in p.name
    }


def test_a_shortfall_is_logged(config, tmp_path, caplog):
    run(config, tmp_path)
    (line,) = [r.getMessage() for r in caplog.records if "gave" in r.getMessage()]
    assert line.startswith("source files gave 3 of 6 structures: ")
    assert "1 near_duplicate" in line


def test_nothing_at_all_is_an_error(tmp_path):
    ase.io.write(tmp_path / "a.extxyz", [bulk("Ag", a=1.5)])
    config = GenerateConfig(sources=(Files(count=1, paths=(tmp_path / "a.extxyz",)), Perturb(count=2)))
    with pytest.raises(PotstillError, match="no source made any structure"):
        generate(config, tmp_path / "out", seed=1, workers=1)


def test_nothing_left_by_earlier_runs_is_named_as_such(tmp_path):
    ase.io.write(tmp_path / "a.extxyz", [bulk("Cu", a=3.5 + 0.02 * k) for k in range(3)])
    source = Files(count=3, paths=(tmp_path / "a.extxyz",))
    run(GenerateConfig(sources=(source,)), tmp_path / "one" / "structures")
    after = GenerateConfig(sources=(source,), after=(tmp_path / "one",))
    with pytest.raises(PotstillError, match=r"the runs in generate.after have taken every candidate of files"):
        generate(after, tmp_path / "two", seed=1, workers=1)


def test_what_earlier_runs_have_is_counted_in_a_shortfall(tmp_path, caplog):
    frames = [bulk("Cu", a=3.5 + 0.02 * k) for k in range(5)]
    ase.io.write(tmp_path / "a.extxyz", frames[:3])
    source = Files(count=3, paths=(tmp_path / "a.extxyz",))
    run(GenerateConfig(sources=(source,)), tmp_path / "one" / "structures")
    ase.io.write(tmp_path / "longer.extxyz", frames)
    more = GenerateConfig(sources=(Files(count=5, paths=(tmp_path / "longer.extxyz",)),), after=(tmp_path / "one",))
    generate(more, tmp_path / "two", seed=1, workers=1)
    (line,) = [r.getMessage() for r in caplog.records if "gave" in r.getMessage()]
    assert line.endswith("gave 2 of 5 structures: it has no more; the runs in generate.after have its first 3")


def test_other_frames_under_a_label_of_an_earlier_run_are_refused(tmp_path):
    ase.io.write(tmp_path / "a.extxyz", [bulk("Cu", a=3.5 + 0.02 * k) for k in range(3)])
    ase.io.write(tmp_path / "b.extxyz", [bulk("Ni", a=3.5 + 0.02 * k) for k in range(9)])
    run(GenerateConfig(sources=(Files(count=3, paths=(tmp_path / "a.extxyz",)),)), tmp_path / "one" / "structures")
    for paths in (("b.extxyz",), ("b.extxyz", "a.extxyz")):  # also where those of then are now others of the numbers
        files = Files(count=2, paths=tuple(tmp_path / name for name in paths))
        with pytest.raises(InputError, match=r"one has other frames under the label 'files'.*\n.*label: files_2"):
            generate(GenerateConfig(sources=(files,), after=(tmp_path / "one",)), tmp_path / "two", seed=1, workers=1)
    named = files.model_copy(update={"label": "more"})
    generate(GenerateConfig(sources=(named,), after=(tmp_path / "one",)), tmp_path / "two", seed=1, workers=1)
    assert open_dataset(tmp_path / "two" / "structures.h5").ids.tolist() == ["more-000000", "more-000001"]


def test_progress_is_told(config, tmp_path):
    seen = []
    generate(config, tmp_path, seed=1, workers=1, on_progress=lambda c: seen.append((c.name, c.accepted)))
    assert ("perturb", 70) in seen
    assert [n for n, _ in seen] == sorted([n for n, _ in seen], key=["files", "perturb", "more"].index)


def test_candidates_that_a_batch_did_not_need_are_those_of_the_next(tmp_path):
    frames = [bulk("Cu", a=3.5 + 0.02 * k) for k in range(9)]
    ase.io.write(tmp_path / "mine.extxyz", frames)
    taken = []
    for name, earlier in (("01", ()), ("02", ("01",)), ("03", ("01", "02"))):
        source = Files(count=3, paths=(tmp_path / "mine.extxyz",))
        config = GenerateConfig(sources=(source,), after=tuple(tmp_path / e for e in earlier))
        counts, _ = run(config, tmp_path / name / "structures")
        assert counts[0].accepted == 3
        taken += open_dataset(tmp_path / name / "structures" / "structures.h5").ids.tolist()
    assert taken == [f"files-{k:06d}" for k in range(9)]


def labelled_frames(count: int, method: str, energy: str = "REF_energy") -> str:
    """Extended XYZ of one atom each, whose labels are of a method."""
    head = f"Properties=species:S:1:pos:R:3:REF_forces:R:3 functional={method} {energy}=-1.5"
    size = {"PBE": 2.5, "PBEsol": 3.0}[method]
    cells = [size + 0.05 * k for k in range(count)]
    return "".join(f'1\nLattice="{a} 0 0 0 {a} 0 0 0 {a}" {head}\nCu 0 0 0 0.1 0 0\n' for a in cells)


def test_keys_of_labels_that_are_not_read_are_named_in_the_shortfall(tmp_path, caplog):
    content = labelled_frames(3, "PBE") + labelled_frames(3, "PBE", energy="dft_energy").replace("Cu", "Ag")
    (tmp_path / "half.xyz").write_text(content)
    run(GenerateConfig(sources=(Files(count=9, paths=(tmp_path / "half.xyz",), labels=True),)), tmp_path / "out")
    (line,) = [r.getMessage() for r in caplog.records if "gave" in r.getMessage()]
    assert line.startswith("source files gave 3 of 6 structures: 3 no_labels; first no_labels: half.xyz, frame 3: ")
    assert "'dft_energy'" in line


@pytest.mark.parametrize("labels", [True, False])
def test_labels_of_two_methods_give_one_remark(tmp_path, caplog, labels):
    (tmp_path / "two.xyz").write_text(labelled_frames(3, "PBE") + labelled_frames(2, "PBEsol"))
    said: list[str] = []
    (logger := logging.getLogger("potstill")).addHandler(notices := Notices(said.append))
    try:
        config = GenerateConfig(sources=(Files(count=9, paths=(tmp_path / "two.xyz",), labels=labels),))
        teacher = Given(method="PBE") if labels else None
        generate(config, tmp_path / "out", seed=1, workers=1, teacher=teacher)
    finally:
        logger.removeHandler(notices)
    line = "source files: labels of 2 methods: PBE (3 structures), PBEsol (2); keep those of one"
    assert [r.getMessage() for r in caplog.records].count(line) == labels
    assert any(line in text for text in said) == labels
