import copy
import json

import pytest

from potstill.audit.options import AuditConfig
from potstill.core.verdict import changed_gates
from potstill.report.audit import write_audit_page
from potstill.report.markdown import write_audit_markdown


def test_no_go_comes_first(kit, mixed, tmp_path):
    report, stats = kit.audited(mixed)
    write_audit_page(report, stats, mixed, tmp_path / "audit.html")
    text = (tmp_path / "audit.html").read_text(encoding="utf-8")
    page = kit.read_page(tmp_path / "audit.html")
    assert '<p class="lead"><span class="badge no-go">NO-GO</span>' in text
    failed = [f for f in report["findings"] if f["verdict"] == "NO_GO"]
    assert failed
    first_row = text[text.index("<tbody>") :]
    assert first_row.index(failed[0]["check"].replace("_", " ")) < first_row.index("</tr>")
    assert "label replay" in page.text
    assert "NOT RUN" in page.text


def test_distances_neighbours_and_reference_energies(kit, mixed, tmp_path):
    report, stats = kit.audited(mixed)
    write_audit_page(report, stats, mixed, tmp_path / "audit.html")
    text = (tmp_path / "audit.html").read_text(encoding="utf-8")
    for caption in (
        "Shortest distance of each pair",
        "Atoms within 5 Å of an atom",
        "Reference energy of each element",
    ):
        assert text.count(caption) == 1


def test_go(kit, mixed, tmp_path):
    report, stats = kit.audited(mixed)
    report = copy.deepcopy(report)
    report["verdict"] = "GO"
    for finding in report["findings"]:
        finding["verdict"] = "GO"
    write_audit_page(report, stats, mixed, tmp_path / "audit.html")
    text = (tmp_path / "audit.html").read_text(encoding="utf-8")
    assert '<span class="badge go">GO</span>' in text
    assert "badge no-go" not in text
    assert "checks that apply passed on 12 labelled structures" in kit.read_page(tmp_path / "audit.html").text


def test_changed_gates_are_shown(kit, mixed, tmp_path):
    report, stats = kit.audited(mixed)
    report["changed_gates"] = {"min_size_cv": {"default": 0.5, "now": 0.123}}
    write_audit_page(report, stats, mixed, tmp_path / "audit.html")
    assert "1 limit was changed" in kit.read_page(tmp_path / "audit.html").text
    assert "0.123" in kit.read_page(tmp_path / "audit.html").text


def test_changed_gates_of_a_table_are_shown_by_key(kit, mixed, tmp_path):
    report, stats = kit.audited(mixed)
    gates = AuditConfig(max_stress_per_source={"bulk": 2.5})
    report["changed_gates"] = json.loads(json.dumps(changed_gates(gates)))
    assert report["changed_gates"] == {"max_stress_per_source.bulk": {"default": None, "now": 2.5}}
    write_audit_page(report, stats, mixed, tmp_path / "audit.html")
    assert "max stress per source.bulk – 2.5" in " ".join(kit.read_page(tmp_path / "audit.html").text.split())
    write_audit_markdown(report, mixed, tmp_path / "audit.md")
    assert "| max stress per source.bulk | – | 2.5 |" in (tmp_path / "audit.md").read_text(encoding="utf-8")


def test_text_is_escaped(kit, tmp_path):
    structures = [kit.molecule(0, source=kit.EVIL), kit.molecule(1, source="a$b$ 水 & <i>")]
    dataset = kit.make_dataset(tmp_path / "d.h5", structures)
    report, stats = kit.audited(dataset)
    report["findings"][0].update(verdict="NO_GO", why=kit.EVIL, worst=[structures[0].id], unit=kit.EVIL)
    write_audit_page(report, stats, dataset, tmp_path / "audit.html")
    page = kit.read_page(tmp_path / "audit.html")
    assert kit.EVIL in page.text
    assert "i" not in page.tags


@pytest.mark.parametrize("make", ["molecule", "crystal"])
def test_one_structure(kit, tmp_path, make):
    dataset = kit.make_dataset(tmp_path / "d.h5", [getattr(kit, make)(0)])
    report, stats = kit.audited(dataset)
    write_audit_page(report, stats, dataset, tmp_path / "audit.html")
    assert getattr(kit, make)(0).id in kit.read_page(tmp_path / "audit.html").text


def test_not_labelled(kit, tmp_path):
    dataset = kit.make_dataset(tmp_path / "d.h5", [kit.molecule(0), kit.crystal(1)], labelled=False)
    report, stats = kit.audited(dataset)
    write_audit_page(report, stats, dataset, tmp_path / "audit.html")
    assert "NO-GO" in kit.read_page(tmp_path / "audit.html").text


def test_no_structure_at_all(kit, tmp_path):
    dataset = kit.make_dataset(tmp_path / "d.h5", [])
    report, stats = kit.audited(dataset)
    write_audit_page(report, stats, dataset, tmp_path / "audit.html")
    assert "NO-GO" in kit.read_page(tmp_path / "audit.html").text


def test_same_input_same_page(kit, mixed, tmp_path):
    report, stats = kit.audited(mixed)
    for name in ("a.html", "b.html"):
        write_audit_page(report, stats, mixed, tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
