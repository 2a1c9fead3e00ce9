"""What the README says is so: its commands exist, its configs are good, its figures are those of the result file."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from potstill.cli.main import Template, app
from potstill.config import parse_config
from potstill.templates import read_template

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """First two words of every ``potstill …`` line in the README's shell blocks."""
    blocks = re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
    return sorted(set(re.findall(r"^potstill ([a-z]+)", "\n".join(blocks), flags=re.MULTILINE)))


@pytest.mark.parametrize("command", commands())
def test_every_command_of_the_readme_exists(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage" in result.output


@pytest.mark.parametrize("target", sorted(set(re.findall(r"^make ([a-z-]+)", README, flags=re.MULTILINE))))
def test_every_make_target_of_the_readme_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)


@pytest.mark.parametrize("name", [template.value for template in Template])
def test_templates_are_good(name: str) -> None:
    parse_config(yaml.safe_load(read_template(name)))


@pytest.mark.parametrize("name", ["measured", "my system", "speed"])
def test_marked_tables_are_those_of_the_result_files(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    marked = runpy.run_path(str(ROOT / "benchmarks" / "runs" / "readme_table.py"))["marked"]
    assert marked(name) in README


def test_the_error_of_the_student_general_is_that_of_its_result_file() -> None:
    rows = json.loads((ROOT / "benchmarks" / "results" / "general.json").read_text(encoding="utf-8"))["rows"]
    assert "its force error is a quarter of the mean force" in README
    assert max(rows, key=lambda row: row["labels"])["of_mean_force"] == pytest.approx(1 / 4, abs=0.04)
