import json

import pytest

from potstill.audit.stage import write_report
from potstill.generate.mix import MIX_FILE, Mix, as_json
from potstill.report.evaluate import write_evaluate_page
from potstill.run.folder import STAGES, RunFolder
from potstill.run.lock import locked
from potstill.run.pages import write_run_page

CONFIG = "generate:\n  sources:\n  - {source: molecules, count: 8}\n  - {source: crystals, count: 6, label: salts}\n"


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.begin(CONFIG, 1, resume=False)
    return folder


def mark(run, upto, last="done"):
    done = STAGES[: STAGES.index(upto) + 1]
    for stage in done:
        run.set_stage(stage, last if stage == upto else "done", 100.0)


def structures(kit):
    return [*(kit.molecule(k) for k in range(6)), *(kit.crystal(k, source="salts") for k in range(6))]


def give_audit(kit, run, verdict):
    report, _ = kit.audited(kit.make_dataset(run.dataset, structures(kit)))
    if verdict == "GO":
        report["verdict"] = "GO"
        for finding in report["findings"]:
            finding["verdict"] = "GO"
    write_report(report, run.json("audit"))


def test_empty_folder(kit, tmp_path):
    write_run_page(RunFolder(tmp_path))
    assert "nothing is done yet" in kit.read_page(tmp_path / "report.html").text


def test_only_begun(kit, run):
    write_run_page(run)
    page = kit.read_page(run.report)
    assert "NOT RUN Neither data nor student is judged; nothing is done yet; next: generate." in page.text
    assert "14 structures asked for" in page.text


def test_the_contingency_mix_is_said_first(kit, run):
    run.structures.parent.mkdir()
    mix = Mix({"mattergen": 0, "crystals": 1400}, {"mattergen": "no weights"})
    (run.structures.parent / MIX_FILE).write_text(as_json(mix))
    write_run_page(run)
    text = kit.read_page(run.report).text
    assert text.index("This is the contingency mix") < text.index("Pipeline")
    assert "mattergen: no weights" in text
    assert "1,400 structures asked for" in text


def test_generated(kit, run):
    run.structures.parent.mkdir()
    kit.make_dataset(run.structures, structures(kit), labelled=False)
    mark(run, "generate")
    write_run_page(run)
    page = kit.read_page(run.report)
    assert "done: generate; next: label" in page.text
    assert "12 structures" in page.text
    assert "structures/structures.h5" in page.addresses
    assert "dataset.h5" not in page.addresses


@pytest.mark.parametrize("stage", ["generate", "label", "train"])
def test_failed(kit, run, stage):
    mark(run, stage, "failed")
    (run.path / "error.log").write_text(kit.EVIL)
    write_run_page(run)
    page = kit.read_page(run.report)
    assert f"the stage {stage} failed, and error.log says why" in page.text
    assert "NOT RUN" in page.text
    assert "error.log" in page.addresses


def test_no_go(kit, run):
    give_audit(kit, run, "NO_GO")
    mark(run, "audit")
    write_run_page(run)
    page = kit.read_page(run.report)
    assert "The data did not pass" in page.text
    assert "label replay NOT RUN" in page.text
    assert "nothing should be trained on these data yet" in page.text
    assert '<span class="badge no-go">NO-GO</span>' in run.report.read_text(encoding="utf-8")


def test_training(kit, run):
    give_audit(kit, run, "GO")
    mark(run, "train", "running")
    for epoch in range(3):
        run.log_metrics(stage="train", epoch=epoch, train_forces=1.0 / (epoch + 1))
    with run.metrics.open("a") as file:
        file.write('{"stage": "train", "epo')
    with locked(run.path):
        write_run_page(run)
    page = kit.read_page(run.report)
    assert "The data passed its audit, the student is not judged; the stage train is under way." in page.text
    assert "Force error, eV/Å" in page.text
    assert "not evaluated yet" in page.text


@pytest.mark.parametrize(("error", "word"), [(0.05, "the student meets all"), (3.0, "the student does not meet")])
def test_done(kit, run, error, word):
    give_audit(kit, run, "GO")
    evaluation = kit.make_evaluation(structures(kit), error=error)
    write_evaluate_page(evaluation, run.html("evaluate"))
    run.json("evaluate").write_text(json.dumps(evaluation.report))
    run.update(teacher={"name": kit.EVIL, "version": "1", "fingerprint": {"weights": "sha256:0"}})
    mark(run, "deploy")
    write_run_page(run)
    page = kit.read_page(run.report)
    assert word in page.text.replace("The student", "the student")
    assert kit.EVIL in page.text
    assert "Force components on held-out structures" in page.text
    assert {"audit.json", "evaluate.html", "dataset.h5", "config.yaml"} <= set(page.addresses)
    assert "deploy/" not in page.addresses
