"""Old names warn with the new one, and are gone in the version that was promised."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import potstill
from potstill.core.deprecation import deprecated

SOURCE = Path(potstill.__file__).parent


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def test_the_caller_is_warned_with_the_new_name():
    def old():
        deprecated("old", "new", since="0.1", removed_in="0.3")

    with pytest.warns(
        DeprecationWarning, match=r"^old is deprecated since 0\.1 and will be removed in 0\.3: use new$"
    ) as told:
        old()
    assert told[0].filename == __file__


def test_no_name_is_kept_longer_than_promised():
    """Every call in the source names a later version than this one."""
    overdue = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "deprecated":
                given = {k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)}
                given |= dict(zip(("old", "new", "since", "removed_in"), (a.value for a in node.args), strict=False))
                if version(given["removed_in"]) <= version(potstill.__version__)[:2]:
                    overdue.append(f"{path}:{node.lineno}")
    assert overdue == []
