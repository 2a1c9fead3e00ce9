"""potstill dataset info, merge, subset, diff: what is answered, and the exit codes."""

from __future__ import annotations

import json

import pytest
import yaml

from potstill.dataset import open_dataset


@pytest.fixture
def halves(build, labelled, tmp_path):
    return [build(part).rename(tmp_path / name) for name, part in (("a.h5", labelled[::2]), ("b.h5", labelled[1::2]))]


@pytest.mark.parametrize("command", ["info", "merge", "subset", "diff"])
def test_help(potstill, command):
    answer = potstill("dataset", command, "--help")
    assert (answer.code, "Usage" in answer.out) == (0, True)


def test_info(potstill, build, labelled):
    answer = potstill("dataset", "info", build(labelled))
    assert answer.code == 0
    assert f"{len(labelled)} structures" in answer.out
    for word in ("split:", "neighbors within 5", "pressure", "reference", "C-H", "bits of at most"):
        assert word in answer.out or word.replace("C-H", "H-C") in answer.out


def test_info_as_json(potstill, build, labelled):
    answer = potstill("dataset", "info", build(labelled), "--json", "--workers", 1)
    read = json.loads(answer.out)
    assert (read["structures"], read["sources"]) == (len(labelled), {"metals": 12, "organic": 24})


def test_merge_subset_diff(potstill, halves, tmp_path):
    merged = tmp_path / "c.h5"
    answer = potstill("dataset", "merge", *halves, merged)
    assert answer.code == 0
    assert "families divided anew" in answer.out
    assert len(open_dataset(merged)) == sum(len(open_dataset(p)) for p in halves)
    some = tmp_path / "some.h5"
    assert potstill("dataset", "subset", merged, some, "--elements", "H,C", "--max-atoms", 8, "--first", 2).code == 0
    assert set(open_dataset(some).column("atoms/atomic_numbers").tolist()) == {1, 6}
    assert potstill("dataset", "diff", merged, merged).code == 0
    answer = potstill("dataset", "diff", merged, some)
    assert answer.code == 1
    assert "only in the first" in answer.out
    assert "subset_of" in answer.out


def test_bad_input(potstill, halves, tmp_path):
    out = tmp_path / "out.h5"
    for arguments, message in (
        (("merge", halves[0], out), "at least two"),
        (("merge", *halves, out, "--test-fraction", 1.5), "less than 1"),
        (("subset", halves[0], out, "--elements", "Xx"), "no element named 'Xx'"),
        (("subset", halves[0], out, "--source", "none"), "no source none"),
        (("info", out), "no dataset at"),
        (("diff", halves[0], out), "no dataset at"),
    ):
        answer = potstill("dataset", *arguments)
        assert (answer.code, message in answer.err) == (2, True), answer
        assert not out.exists()


def test_a_folder_of_datasets_is_no_single_file(potstill, halves, tmp_path):
    (folder := tmp_path / "two").mkdir()
    for half in halves:
        half.rename(folder / half.name)
    for arguments in (
        ("verify", folder),
        ("audit", folder),
        ("audit", folder, "--out", tmp_path / "out"),
        ("dataset", "info", folder),
        ("dataset", "merge", folder, folder / "a.h5", tmp_path / "c.h5"),
    ):
        answer = potstill(*arguments)
        assert answer.code == 2, answer
        assert f"{folder} is a folder of 2 dataset files" in answer.err
        assert "potstill dataset merge FILE... OUT.h5" in answer.err
    (empty := tmp_path / "empty").mkdir()
    assert "no dataset at" in potstill("verify", empty).err
    assert "is no run folder" in potstill("audit", empty).err


def test_info_on_one_element_is_in_the_singular(potstill, build, labelled):
    answer = potstill("dataset", "info", build([s for s in labelled if set(s.atomic_numbers) == {29}]), "--workers", 1)
    assert "Atoms of 1 element:" in answer.out
    assert "Closest pair of elements" in answer.out


def test_next_step_after_an_audit_of_a_file(potstill, build, labelled, tmp_path):
    data, out = tmp_path / "mine.extxyz", tmp_path / "out"
    assert potstill("convert", build([s for s in labelled if s.family in ("H2O", "CH4")]), data).code == 0
    answer = potstill("audit", data, "--out", out, "--json")
    then = json.loads(answer.out)["next"]
    assert answer.code == 3
    assert then.endswith(f"potstill audit {data} --out {out} --gates {out / 'advice.yaml'}")
    edited = "# my own limits\n" + (out / "advice.yaml").read_text()
    (out / "advice.yaml").write_text(edited)
    answer = potstill("audit", data, "--out", out, "--gates", out / "advice.yaml", "--json")
    assert answer.code == 0, answer.out
    assert "potstill template my_labels" in json.loads(answer.out)["next"]
    assert (out / "advice.yaml").read_text() == edited


def test_advice_after_other_limits_keeps_these(potstill, build, labelled, tmp_path):
    data, out = tmp_path / "mine.extxyz", tmp_path / "out"
    assert potstill("convert", build([s for s in labelled if s.family in ("H2O", "CH4")]), data).code == 0
    (tmp_path / "gates.yaml").write_text("audit: {max_near_duplicates: 7}\n")
    assert potstill("audit", data, "--out", out, "--gates", tmp_path / "gates.yaml").code == 3
    advised = yaml.safe_load((out / "advice.yaml").read_text())["audit"]
    assert advised["max_near_duplicates"] == 7
    assert len(advised) > 1


def test_merge_refuses_shares_that_are_no_numbers(potstill, halves, tmp_path):
    answer = potstill("dataset", "merge", *halves, tmp_path / "out.h5", "--valid-fraction", "nan")
    assert answer.code == 2
    assert "must not be negative and must add up to less than 1" in answer.err
