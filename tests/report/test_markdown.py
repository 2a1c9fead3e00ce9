import re

import pytest

from potstill.core.types import Refused
from potstill.generate.mix import Mix, as_json
from potstill.report.markdown import write_audit_markdown

CONFIG = (
    "generate:\n  sources:\n  - {source: mattergen, count: 50}\n  - {source: molecules, count: 6}\n"
    "  - {source: crystals, count: 4, label: salts}\n"
)
RECORD = {
    "potstill": "0.1.0",
    "git": None,
    "seed": 3,
    "created": "2026-01-01T00:00:00+00:00",
    "machine": {"processor": "A chip", "cores": 2, "python": "3.11.7", "platform": "Linux", "versions": {"torch": "2.13.0"}},
    "stages": {"label": {"seconds": 135.5, "state": "done"}},
}


@pytest.fixture
def dataset(kit, build):
    structures = [*(kit.molecule(k) for k in range(6)), *(kit.crystal(k, source="salts") for k in range(6))]
    refused = [
        Refused("too_close", "0.1 Å", id="x", source="molecules", stage="generate"),
        Refused("force_limit", "90 eV/Å", id="y", source="salts", stage="label"),
    ]
    from potstill.dataset import open_dataset

    mix = Mix({"mattergen": 0, "molecules": 36, "salts": 24}, {"mattergen": "no environment\n  make it"})
    return open_dataset(build(structures, refused=refused, config=CONFIG, label_seconds=2.0, mix=as_json(mix)))


def rows_of(text, heading):
    part = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert len({len(row) for row in cells}) == 1, "each row has as many cells as the head"
    return {row[0]: dict(zip(cells[0], row, strict=True)) for row in cells[2:]}


def test_a_run_with_sources_that_stood_in(kit, dataset, tmp_path):
    report, _ = kit.audited(dataset)
    report["changed_gates"] = {
        "min_size_cv": {"default": 0.5, "now": 0.1},
        "max_force_per_source": {"default": {}, "now": {"a": 9}},
    }
    path = tmp_path / "audit.md"
    write_audit_markdown(report, dataset, path, record=RECORD)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# Audit of dataset.h5\n\n**NO-GO.**")
    sources = rows_of(text, "Sources")
    assert sources["mattergen"] | {"asked": "50", "asked after": "0", "got": "0"} == sources["mattergen"]
    assert sources["salts"]["refused in labelling"] == "1 (force limit 1)"
    assert sources["molecules"]["refused by the filter"] == "1 (too close 1)"
    assert sources["molecules"]["share"] == "50.0%"
    assert sources["**all**"]["asked"] == sources["**all**"]["asked after"] == "60"
    assert "mattergen (no environment)" in text
    checks = rows_of(text, "Checks")
    assert len(checks) == len(report["findings"])
    assert checks["label replay"]["verdict"] == "NOT RUN"
    assert "| min size cv | 0.5 | 0.1 |" in text
    assert "21,600 structures per hour" in text
    assert "teacher name: lennard-jones" in text
    assert "teacher weights:" in text
    assert "A chip, 2 cores" in text
    assert "torch 2.13.0" in text


def test_a_file_by_itself(kit, tmp_path):
    structures = [kit.molecule(0, source="a|b"), kit.molecule(1, source=kit.EVIL)]
    dataset = kit.make_dataset(tmp_path / "d.h5", structures)
    report, _ = kit.audited(dataset)
    report["findings"][0]["why"] = "one | two\nthree *four* <b>"
    path = tmp_path / "audit.md"
    write_audit_markdown(report, dataset, path)
    text = path.read_text(encoding="utf-8")
    assert "All limits are the defaults." in text
    assert "<" not in text.replace("&lt;", "")
    assert set(rows_of(text, "Sources")) == {"a\\|b", '&lt;script&gt;alert("1")&lt;/script&gt;', "**all**"}
    assert "one \\| two three \\*four\\* &lt;b&gt;" in text
    assert "Machine and versions" not in text
