import string
from dataclasses import asdict
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from potstill.audit.options import AuditConfig
from potstill.audit.stage import audit
from potstill.core.types import Labels, Refused, Structure
from potstill.dataset import merge, open_dataset, write_part
from potstill.evaluate.dynamics import Trajectory
from potstill.evaluate.errors import Comparison, per_element, summary
from potstill.evaluate.options import EvaluateConfig
from potstill.evaluate.stage import Evaluation, judge
from potstill.report.scripts import script

EVIL = '<script>alert("1")</script>'
SCRIPTS = ("explorer.js", "page.js")
BASE64 = set(string.ascii_letters + string.digits + "+/=")
VOID = {"meta", "br", "link", "img", "input", "hr", "circle", "line", "stop", "path", "rect", "use", "image"}


class Page(HTMLParser):
    """Checks that elements close in order, and notes ids, addresses, tags and text."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.ids, self.addresses, self.words, self.scripts = [], [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self._note(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self._note(tag, attrs)

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif not self.open or self.open[-1] != "style":
            self.words.append(data)

    def _note(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [v for k, v in attrs if k == "id"]
        self.addresses += [v for k, v in attrs if k in ("src", "href", "xlink:href", "data", "action")]
        assert not [k for k, _ in attrs if k.startswith("on")], "no event handlers"
        if tag == "svg":
            assert dict(attrs).get("aria-label") or dict(attrs).get("aria-hidden") == "true"


def read_page(path):
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>")
    own = [script for script in page.scripts if not set(script) <= BASE64]
    assert own in ([], *([str(script(name))] for name in SCRIPTS)), "one script at most, of the package"
    assert "@import" not in text
    assert len(page.ids) == len(set(page.ids)), "ids are unique"
    assert page.tags.count("h1") == 1
    for address in page.addresses:
        assert address.startswith(("#", "data:image/png;base64,")) or "://" not in address
    assert page.tags.count("table") >= page.tags.count("caption")
    return page


def molecule(k, source="molecules", rng=None):
    rng = rng or np.random.default_rng(k)
    positions = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]) + rng.normal(0, 0.03, (3, 3))
    labels = Labels(-14.0 + rng.normal(0, 0.1), rng.normal(0, 1, (3, 3)))
    return Structure([8, 1, 1], positions, id=f"{source}-{k}", source=source, family=f"f{k}", labels=labels)


def crystal(k, source="crystals", pbc=(True, True, True)):
    rng = np.random.default_rng(k)
    stress = rng.normal(0, 0.02, (3, 3))
    return Structure(
        [11, 17, 57],
        rng.uniform(0, 4, (3, 3)),
        np.diag([4.0, 4.5, 5.0]) + rng.normal(0, 0.2, (3, 3)),
        pbc,
        id=f"{source}-{k}",
        source=source,
        family=f"c{k}",
        labels=Labels(-9.0 + rng.normal(0, 0.1), rng.normal(0, 1, (3, 3)), (stress + stress.T) / 2 if all(pbc) else None),
    )


def make_dataset(path, structures, refused=(), *, labelled=True):
    part = path.with_name("part.h5")
    write_part(part, structures, refused, labelled=labelled)
    splits = np.arange(len(structures)) % 3 if labelled else None
    merge([part], path, attributes={"teacher": {"name": "lj"}} if labelled else {}, splits=splits)
    part.unlink()
    return open_dataset(path)


def audited(dataset):
    return audit(dataset, AuditConfig())


def make_evaluation(structures, *, error=0.1, finite=True):
    def guess(s):
        stress = s.labels.stress
        return Labels(s.labels.energy + error, s.labels.forces + error, None if stress is None else stress + error / 100)

    comparison = Comparison(structures, [guess(s) for s in structures])
    baseline = np.zeros(len(structures))
    report = summary(comparison, baseline)
    report["per_source"] = {
        name: summary(comparison.subset(rows), baseline[rows])
        for name in sorted(set(comparison.sources.tolist()))
        for rows in [np.flatnonzero(comparison.sources == name)]
    }
    report["per_element"] = per_element(comparison)
    time = np.linspace(0, 1, 20)
    energy = -4 + 1e-4 * time if finite else np.where(time > 0.5, np.nan, -4.0)
    frames = structures[0].positions + np.random.default_rng(0).normal(0, 0.05, (10, len(structures[0]), 3))
    runs = [
        Trajectory(s.id, "molecule", len(s), 1000, 1.0, time, energy, 300 + time, 1.0, s, frames) for s in structures[:1]
    ]
    report["nve"] = [run.report() for run in runs]
    row = {"system": EVIL, "atoms": 3, "student_s": 0.01, "teacher_s": 0.2, "ratio": 20.0}
    report["speed"] = [row]
    report["findings"] = [asdict(f) for f in judge(report, EvaluateConfig())]
    return Evaluation(report, comparison, runs)


@pytest.fixture
def kit():
    """Everything that the tests of the pages share."""
    made = (read_page, Page, molecule, crystal, make_dataset, audited, make_evaluation)
    return SimpleNamespace(EVIL=EVIL, **{thing.__name__: thing for thing in made})


@pytest.fixture
def mixed(tmp_path):
    refused = [
        Refused("too_close", "0.1 Å", id="x", source="molecules", stage="generate"),
        Refused(EVIL, EVIL, id=EVIL, source="crystals", stage="label"),
    ]
    structures = [*(molecule(k) for k in range(6)), *(crystal(k) for k in range(6))]
    return make_dataset(tmp_path / "dataset.h5", structures, refused)
