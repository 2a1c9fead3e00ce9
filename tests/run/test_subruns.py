"""Batches: shares that add up, folders that are claimed, advice for the whole."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml

from potstill.config import Config, dump_config, load_config, parse_config
from potstill.core.errors import InputError
from potstill.run.folder import RunFolder
from potstill.run.made_from import made_from
from potstill.run.subruns import advice_for_all, claim, refuse_other_labels, subrun_configs


def whole(*counts: int, batches: tuple[int, ...] = (1, 2, 2, 1), **sections) -> Config:
    names = ("prototypes", "alloys", "clusters")
    sources = [{"source": name, "count": count} for name, count in zip(names, counts, strict=False)]
    data = {"batches": list(batches), "generate": {"sources": sources}, "label": {"teacher": {"name": "emt"}}, **sections}
    return parse_config(data)


def finished(run: RunFolder, verdict: str) -> None:
    run.set_stage("audit", "done", 1.0)
    run.json("audit").write_text(f'{{"verdict": "{verdict}"}}')
    run.dataset.touch()  # a batch without its labels has not passed


@pytest.mark.parametrize("counts", [(600, 60, 6), (7, 1, 2), (1, 1, 1), (119_999, 3, 17)])
def test_shares_add_up_to_the_counts_of_the_config(counts):
    config = whole(*counts)
    asked = Counter()
    batches = subrun_configs(config)
    for batch in batches:
        assert batch.batches == ()
        asked.update({source.name: source.count for source in batch.generate.sources})
    assert asked == {source.name: source.count for source in config.generate.sources}
    assert len(batches) == 4


def test_sizes_are_those_asked_for():
    sizes = [sum(s.count for s in b.generate.sources) for b in subrun_configs(whole(90_000, 24_000, 6_000))]
    assert sizes == [20_000, 40_000, 40_000, 20_000]
    assert [len(b.generate.after) for b in subrun_configs(whole(6))] == [0, 1, 2, 3]


def test_a_batch_that_passed_stays_and_one_that_did_not_is_begun_anew(tmp_path):
    config = whole(60)
    one, two = RunFolder(tmp_path / "01"), RunFolder(tmp_path / "02")
    first, second, *_ = subrun_configs(config)
    assert claim(one, first).generate.sources[0].count == 10
    assert claim(two, second).generate.after == (tmp_path.resolve() / "01",)
    finished(one, "GO")
    finished(two, "NO_GO")
    mended = whole(60, label={"teacher": {"name": "lennard-jones"}}, audit={"min_element_coverage": 2})
    first, second, *_ = subrun_configs(mended)
    assert claim(one, first) is None
    assert load_config(one.config).label.teacher.name == "emt"
    assert claim(two, second).label.teacher.name == "lennard-jones"
    assert two.stage("audit")["state"] == "waiting"
    assert RunFolder(tmp_path / "02.aside-1").json("audit").exists()


@pytest.mark.parametrize("relative", [False, True])
def test_a_batch_that_was_stopped_goes_on(tmp_path, monkeypatch, relative):
    """Batches after the first name the earlier ones by relative paths."""
    monkeypatch.chdir(tmp_path)
    config = whole(60)
    for number, own in enumerate(subrun_configs(config), 1):
        batch = RunFolder((Path() if relative else tmp_path) / f"{number:02d}")
        claim(batch, own)
        batch.set_stage("generate", "running", 5.0)
        part = batch.path / "structures" / "parts" / "prototypes-0-32.h5"
        part.parent.mkdir(parents=True)
        part.touch()
        claim(batch, own)
        assert part.exists()
        assert batch.stage("generate")["state"] == "running"
        gates = subrun_configs(whole(60, audit={"min_element_coverage": 2}))[number - 1]
        assert claim(batch, gates).audit.min_element_coverage == 2
        assert part.exists()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["01", "02", "03", "04"]


@pytest.mark.parametrize("what", ["moved", "time limit", "other data"])
def test_moved_data_and_another_time_limit_keep_a_batch(tmp_path, what):
    def project(folder: Path, **label) -> Config:
        folder.mkdir(exist_ok=True)
        (folder / "mine.xyz").write_text("1\n\nCu 0 0 0\n")
        sources = [{"source": "files", "count": 8, "paths": ["mine.xyz"]}]
        text = {"batches": [1, 1], "generate": {"sources": sources}, "label": {"teacher": {"name": "emt"}, **label}}
        (folder / "config.yaml").write_text(yaml.safe_dump(text))
        return load_config(folder / "config.yaml")

    before = subrun_configs(project(tmp_path / "old"))
    for number, own in enumerate(before, 1):
        batch = RunFolder(tmp_path / "old" / "run" / f"{number:02d}")
        claimed = claim(batch, own)
        for stage, state in (("generate", "done"), ("label", "stopped")):
            batch.set_stage(stage, state, 5.0, made_from=made_from(batch, claimed, stage))
    if what == "time limit":
        after = project(tmp_path / "old", timeout_seconds_per_structure=99.0)
    else:
        (tmp_path / "old").rename(tmp_path / "new")
        after = load_config(tmp_path / "new" / "config.yaml")
        if what == "other data":
            (tmp_path / "new" / "mine.xyz").write_text("1\n\nAu 0 0 0\n")
    runs = (tmp_path / ("old" if what == "time limit" else "new")) / "run"
    for number, own in enumerate(subrun_configs(after), 1):
        batch = RunFolder(runs / f"{number:02d}")
        taken = claim(batch, own)
        assert taken.generate.sources[0].paths == after.generate.sources[0].paths
        assert taken.label.timeout_seconds_per_structure == after.label.timeout_seconds_per_structure
        assert batch.stage("label")["state"] == ("waiting" if what == "other data" else "stopped")
    assert len(list(runs.iterdir())) == (4 if what == "other data" else 2)


def test_the_origin_of_a_batch_is_the_same_by_a_link_and_in_another_place(tmp_path):
    second = subrun_configs(whole(60))[1]
    batch = RunFolder(tmp_path / "run" / "02")
    config = claim(batch, second)
    stored = made_from(batch, config, "generate")
    assert stored["generate"]["after"] == ["/01"]
    (tmp_path / "link").symlink_to("run")
    by_link = RunFolder(tmp_path / "link" / "02")
    assert made_from(by_link, claim(by_link, second), "generate") == stored
    (tmp_path / "run").rename(tmp_path / "moved")
    moved = RunFolder(tmp_path / "moved" / "02")
    assert made_from(moved, claim(moved, second), "generate") == stored


def test_other_gates_and_workers_keep_what_was_labelled(tmp_path):
    run = RunFolder(tmp_path / "01")
    claim(run, subrun_configs(whole(60))[0])
    finished(run, "NO_GO")
    run.set_stage("label", "done", 5.0)
    changed = whole(60, workers=1, execute={"executor": "parsl"}, audit={"min_element_coverage": 2})
    taken = claim(run, subrun_configs(changed)[0])
    assert (taken.workers, taken.execute.executor, taken.audit.min_element_coverage) == (1, "parsl", 2)
    assert [run.stage(name)["state"] for name in ("label", "audit")] == ["done", "waiting"]


@pytest.mark.parametrize(
    "label", [{"teacher": {"name": "lennard-jones"}}, {"teacher": {"name": "emt"}, "extra": ["hessian_vector_products"]}]
)
def test_labels_that_could_not_be_merged_are_refused_before_they_are_made(tmp_path, label):
    run = RunFolder(tmp_path / "01")
    claim(run, subrun_configs(whole(60))[0])
    refuse_other_labels([run], whole(60, label=label))  # it has not passed, and is begun anew
    finished(run, "GO")
    refuse_other_labels([run], whole(60))
    with pytest.raises(InputError, match=r"has passed with label\.(teacher|extra)"):
        refuse_other_labels([run], whole(60, label=label))


def test_advice_for_a_batch_speaks_of_the_whole(tmp_path):
    config = whole(60, 30)
    run = RunFolder(tmp_path / "01")
    batch = claim(run, subrun_configs(config)[0])
    assert advice_for_all(run, config) == ""
    advised = yaml.safe_load(dump_config(batch))
    advised["generate"]["sources"][1]["count"] = 10
    advised["generate"]["filter"]["min_scaled_distance"] = 0.85
    (run.path / "advice.yaml").write_text(yaml.safe_dump(advised))
    mended = parse_config(yaml.safe_load(advice_for_all(run, config)))
    assert [s.count for s in mended.generate.sources] == [60, 60]
    assert mended.generate.filter.min_scaled_distance == 0.85
    assert mended.batches == config.batches


def test_a_batch_whose_dataset_is_not_the_one_that_was_judged_has_not_passed(tmp_path):
    run = RunFolder(tmp_path / "01")
    config = claim(run, subrun_configs(whole(60))[0])
    finished(run, "GO")
    run.dataset.write_bytes(b"labels of a run")
    run.set_stage("audit", "done", 1.0, made_from=made_from(run, config, "audit"))
    assert run.passed()
    run.dataset.write_bytes(b"labels")  # cut short
    assert not run.passed()


def test_sizes_must_be_positive():
    with pytest.raises(InputError, match="batches"):
        whole(60, batches=(1, 0))
