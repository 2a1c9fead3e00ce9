"""The packages form one column: each imports only packages below it, counting lazy imports and imports for types."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import potstill

SOURCE = Path(potstill.__file__).parent
COLUMN = (
    *("core", "execute", "environments", "dataset", "stats", "teacher", "student"),
    *("generate", "label", "audit", "train", "deploy", "evaluate", "active_learning"),
    *("config", "report", "run", "testing", "cli"),
)
OUTSIDE = {"templates"}  # files only


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Names of this package that a file imports anywhere, and the line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            if node.module == "potstill":
                yield from ((f"potstill.{alias.name}", node.lineno) for alias in node.names)
            elif node.module and node.module.startswith("potstill."):
                yield node.module, node.lineno
        elif isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names if alias.name.startswith("potstill."))


def room_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return parts[0]


def arrows() -> Iterator[tuple[str, str, str]]:
    """Package, package that it imports, and where."""
    for path in sorted(SOURCE.rglob("*.py")):
        room = room_of(path)
        if room in {"__init__", "__main__"}:  # the public names, which load on first use
            continue
        for name, line in imports(path):
            target = name.split(".")[1]
            if target in COLUMN and target != room:
                yield room, target, f"{path.relative_to(SOURCE)}:{line}"


def test_every_package_has_its_place():
    rooms = {path.stem if path.is_file() else path.name for path in SOURCE.iterdir() if not path.name.startswith(("_", "."))}
    assert rooms - {"py"} - OUTSIDE == set(COLUMN)


def test_every_import_points_down():
    upward = [
        f"{where}: {room} imports {target}"
        for room, target, where in arrows()
        if room not in OUTSIDE and COLUMN.index(target) > COLUMN.index(room)
    ]
    assert upward == []


def test_core_stands_alone():
    assert {target for room, target, _ in arrows() if room == "core"} == set()


def test_no_torch_before_it_is_needed():
    code = "import sys, potstill; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_tests_mirror_the_source():
    """Each test file stands where its module stands; a folder of tests has the name of a package."""
    here = Path(__file__).parent
    folders = {path.parent.relative_to(here).parts[0] for path in here.rglob("test_*.py") if path.parent != here}
    assert folders <= set(COLUMN)
