"""Names resolve kindly; "missing" is told from "broken"."""

from __future__ import annotations

import importlib.util

import pytest

from potstill.core import registry
from potstill.core.errors import BrokenExtraError, InputError, MissingExtraError


def test_a_missing_package_names_its_install_line():
    with pytest.raises(MissingExtraError, match=r"the source 'x' needs the package 'nonexistent_package'.*") as caught:
        registry.borrow("nonexistent_package", "crystals", "the source 'x'")
    assert "pip install 'potstill[crystals]'" in str(caught.value)
    assert isinstance(caught.value, InputError)
    assert caught.value.exit_code == 2


def test_a_broken_package_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("raise RuntimeError('libfoo.so.3 not found')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BrokenExtraError, match=r"installed but fails on import.*libfoo\.so\.3") as caught:
        registry.borrow("broken_package", "crystals", "the source 'x'")
    assert not isinstance(caught.value, MissingExtraError)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_package_that_is_there(monkeypatch):
    assert registry.borrow("json", "crystals", "a test").__name__ == "json"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError):
        registry.borrow("json", "crystals", "a test")


def test_nearest_names():
    known = ["cutoff_angstrom", "features", "hidden"]
    assert registry.nearest("cutof_angstrom", known).startswith("did you mean 'cutoff_angstrom'? (known: ")
    assert registry.nearest("cu", ["Cu", "Sc", "Tc"]).startswith("did you mean 'Cu'? ")
    assert registry.nearest("qqq", known) == "(known: cutoff_angstrom, features, hidden)"


def test_plugins_come_from_entry_points(monkeypatch):
    class Point:
        name = "mine"

        @staticmethod
        def load():
            return dict

    monkeypatch.setattr(registry, "entry_points", lambda group: [Point] if group == "potstill.sources" else [])
    assert registry.plugins("sources") == {"mine": dict}
    assert registry.plugins("teachers") == {}
