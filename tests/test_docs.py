"""What README and documentation show is so: commands parse, configs are good, links lead somewhere, pages have a task."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import shutil
import sys
from functools import cache
from pathlib import Path

import ase.io
import numpy as np
import pytest
import typer
import yaml
from ase.build import bulk
from matplotlib import pyplot as plt

from potstill.cli.main import Template, app
from potstill.config import Config, parse_config
from potstill.core.errors import PotstillError

ROOT = Path(__file__).resolve().parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
REPORTS = ("10K_VALIDATION_REPORT.md", "120K_VALIDATION_REPORT.md")  # written by `potstill audit`
PAGES = [ROOT / "README.md", *DOCS, ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"]
HOME = "https://github.com/potstill/potstill/blob/main/"
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```", flags=re.MULTILINE | re.DOTALL)
COMMAND = typer.main.get_command(app)
GIVEN = {"generate": {"sources": [{"source": "molecules", "count": 1}]}}  # what a fragment of a config leaves out


@cache
def measured() -> dict:
    """Names of the hook that makes tables, loaded as MkDocs does: its folder is on the path meanwhile."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        return runpy.run_path(str(ROOT / "docs" / "measured.py"))
    finally:
        sys.path.remove(str(ROOT / "docs"))


def blocks(*languages: str) -> list[tuple[str, str]]:
    """Page and text of each fenced block in one of these languages."""
    found = []
    for page in PAGES:
        for indent, language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
            if language in languages:
                found.append((page.name, re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)))
    return found


def shell_lines() -> list[tuple[str, str]]:
    """Page and command, also those of consoles, without prompts, comments and outputs."""
    found = []
    for page, text in blocks("sh", "bash", "console"):
        prompted = any(line.startswith("$ ") for line in text.splitlines())
        for line in text.replace("\\\n", " ").splitlines():
            if not prompted or line.startswith("$ "):
                found += [(page, part.strip()) for part in line.removeprefix("$ ").split("&&")]
    return found


def commands() -> list[tuple[str, str]]:
    return sorted({(page, line) for page, line in shell_lines() if re.match(r"(python -m )?potstill ", line)})


@pytest.mark.parametrize(("page", "line"), commands(), ids=lambda text: text[:60])
def test_every_command_parses(page, line):
    """A command or option that does not exist fails here; nothing is run, and files need not exist."""
    words = shlex.split(line.split(" > ")[0], comments=True)
    words = words[3:] if words[0] == "python" else words[1:]
    words = [word for word in words if word not in ("…", "...")]
    command, context = COMMAND, None
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        assert words[0] in command.commands, f"{page}: no command {words[0]} in: {line}"
        command, words = command.commands[words[0]], words[1:]
    if hasattr(command, "commands"):  # potstill --version
        assert all(any(word in p.opts for p in command.params) for word in words), f"{page}: {line}"
        return
    given = [word for word in words if not word.startswith("-")]
    context = command.make_context("potstill", [*words], resilient_parsing=True)
    left = context.args + [word for word in context._protected_args if word.startswith("-")]
    known = {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
    assert not left, f"{page}: {left} of: {line}"
    assert {word.split("=")[0] for word in words if word.startswith("--")} <= known, f"{page}: {line}"
    if command.name == "template":
        assert not given or given[0] in {template.value for template in Template}, f"{page}: {line}"
    required = [p for p in command.params if p.required and p.param_type_name == "argument"]
    assert len(given) >= len(required), f"{page}: an argument is missing in: {line}"


@pytest.mark.parametrize("target", sorted({t for _, line in shell_lines() for t in re.findall(r"^make ([a-z-]+)", line)}))
def test_every_make_target_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)


@pytest.mark.parametrize(
    "module", sorted({m for _, line in shell_lines() for m in re.findall(r"^python -m (benchmarks[\w.]+)", line)})
)
def test_every_benchmark_exists(module):
    assert (ROOT / f"{module.replace('.', '/')}.py").exists()


def configs() -> list[tuple[str, str]]:
    """Fragments of configs: YAML whose keys are sections. A list of sources is a fragment of ``generate``."""
    return blocks("yaml")


@pytest.mark.parametrize(("page", "text"), configs(), ids=lambda text: text.split("\n")[0][:50])
def test_every_config_is_good(page, text, tmp_path):
    """Each option exists and takes that value; files and packages that a fragment names need not be there."""
    config = yaml.safe_load(text)
    if isinstance(config, list):
        parents = [{"source": "molecules", "count": 1}]
        config = {"generate": {"sources": [*parents, *({"count": 1, **source} for source in config)]}}
    assert set(config) <= set(Config.model_fields), f"{page}: no section of a config among {sorted(config)}"
    for source in config.get("generate", {}).get("sources", []):
        for path in source.get("paths", []):
            (tmp_path / path).touch()
    for section, values in GIVEN.items():
        config[section] = {**values, **config.get(section, {})}
    weights = config.get("label", {}).get("teacher", {}).get("weights", "")
    if "." in str(weights):
        (tmp_path / weights).touch()
    if start := config.get("train", {}).get("start", ""):
        shutil.copytree(ROOT / "tests" / "deploy" / "copper_student", tmp_path / start)
    if replay := config.get("train", {}).get("replay"):
        (tmp_path / replay["dataset"]).parent.mkdir(parents=True)
        (tmp_path / replay["dataset"]).touch()
    try:
        parse_config(config, folder=tmp_path)
    except PotstillError as error:
        pytest.fail(f"{page}: {error}")


@pytest.mark.parametrize(("page", "text"), blocks("python"), ids=lambda text: text.split("\n")[0][:50])
def test_every_python_block_compiles(page, text):
    compile(text, page, "exec")


@pytest.mark.parametrize(("page", "text"), blocks("python"), ids=lambda text: text.split("\n")[0][:50])
def test_every_name_imported_from_potstill_exists(page, text):
    import importlib

    for module, names in re.findall(r"^from (potstill[\w.]*) import ([\w, ]+)$", text, flags=re.MULTILINE):
        if module == "potstill.deploy.torchsim":  # imports its engine, which need not be there
            continue
        found = importlib.import_module(module)
        for name in names.split(","):
            assert hasattr(found, name.strip()), f"{page}: {module} has no {name}"
    import potstill

    for name in re.findall(r"\bpotstill\.(load_\w+|open_\w+)\(", text):
        assert hasattr(potstill, name), f"{page}: no potstill.{name}"


def anchors(page: Path) -> set[str]:
    """Anchors of the headings of a page, as MkDocs makes them; those of generated lists too."""
    text = measured()["on_page_markdown"](page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", text), flags=re.MULTILINE)
    return {
        re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.replace("`", "").lower()).strip()) for heading in headings
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.removeprefix(HOME).partition("#")
        if path.startswith(("http", "mailto:")):
            continue
        base = ROOT if target.startswith(HOME) else page.parent
        found = base / path if path else page
        assert found.exists(), f"{page.name}: {target}"
        if anchor and found.suffix == ".md":
            assert anchor in anchors(found), f"{page.name}: no {anchor} in {found.name}"


def test_links_of_the_readme_work_on_a_package_index():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [t for t in re.findall(r"\]\(([^)\s]+)\)", text) if not t.startswith("https://")] == []


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_every_page_begins_with_a_task(page):
    """The first line is a sentence with an imperative verb, short enough to be read at a glance."""
    if page.name in REPORTS:
        return
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert lines[0].startswith("# ")
    first = lines[1]
    assert first[0].isupper()
    assert first.split()[0] not in {"A", "An", "The", "This", "What", "Of", "How", "Where", "Who", "Enters", "Files", "GO"}
    assert len(first.split()) <= 25, first


MOST_WORDS = 25
QUESTIONS = {"Of", "What", "Where", "Who", "Whose", "How", "Whether"}


def sentences(text: str) -> list[str]:
    """Sentences of the prose of a page, without code, tables, headings and addresses of links."""
    paragraphs, lines = [], []
    for line in [*BLOCK.sub("", text).splitlines(), ""]:
        words = line.strip()
        if not words or words.startswith(("#", "|", "::", "!!!", "![")) or re.match(r"([-*]|\d+\.) ", words):
            paragraphs.append(" ".join(lines))
            lines = [re.sub(r"^([-*]|\d+\.) ", "", words)] if re.match(r"([-*]|\d+\.) ", words) else []
        else:
            lines.append(words)
    plain = [re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "CODE", paragraph)) for paragraph in paragraphs]
    return [sentence for paragraph in plain for sentence in re.split(r"(?<=[.!?:;*])\s+(?=[A-Z\[*(0-9])", paragraph)]


def test_sentences_end_where_they_end():
    text = "# A *b*\n\nOne two `x. Y` three. Four\nfive: Six.\n\n- Seven [eight. Nine](a.md#B. C).\n- ten\n\n| no |\n"
    found = [sentence for sentence in sentences(text) if sentence]
    assert found == ["One two CODE three.", "Four five:", "Six.", "Seven [eight.", "Nine].", "ten"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_sentence_is_long(page):
    """Readers of many languages follow one thought a sentence."""
    if page.name in REPORTS:
        return
    text = page.read_text(encoding="utf-8")
    assert [sentence for sentence in sentences(text) if len(sentence.split()) > MOST_WORDS] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_sentence_begins_with_a_question_word(page):
    """A condition begins with "if"; a question may stand in a heading, or end with its mark."""
    if page.name in REPORTS:
        return
    found = sentences(page.read_text(encoding="utf-8"))
    assert [s for s in found if s.split(maxsplit=1)[:1] and s.split()[0] in QUESTIONS and not s.endswith("?")] == []


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert sorted(re.findall(r"(\w+\.md)$", text, flags=re.MULTILINE)) == sorted(page.name for page in DOCS)


def test_every_example_is_on_the_page_of_examples():
    page = (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")
    names = [p for p in (ROOT / "examples").iterdir() if p.name not in ("README.md", "__pycache__")]
    assert [p.name for p in names if f"examples/{p.name}" not in page] == []


def test_every_audit_check_has_an_entry_with_a_remedy():
    from potstill.audit import checks as _registered
    from potstill.audit.registry import ENTRIES

    text = measured()["checks"]()
    for name in ENTRIES:
        entry = text.split(f"### {name}\n")[1].split("###")[0]
        assert re.search(r"- Remedy: [A-Z].{8,}\.", entry), name
    assert _registered


def test_figures_on_pages_are_those_of_result_files():
    """Every table that a page asks for can be made, and every directive names one."""
    tables = measured()["TABLES"]
    asked = {name for page in DOCS for name in re.findall(r"^::measured ([\w-]+)$", page.read_text("utf-8"), re.MULTILINE)}
    assert asked <= set(tables)
    assert all(tables[name]().count("\n") >= 2 for name in asked)


def test_a_table_follows_its_result_file(tmp_path, monkeypatch):
    table, base = measured()["TABLES"]["waiting-threads"], sys.modules["result_tables.base"]
    found = base.result("waiting_threads")
    assert "987 ms" not in table()
    found["rows"][0]["cpu_s_per_step"] = 0.987
    (tmp_path / "waiting_threads.json").write_text(json.dumps(found), encoding="utf-8")
    monkeypatch.setattr(base, "RESULTS", tmp_path)
    assert "987 ms" in table()


def test_published_figures_name_the_version_of_their_source():
    text = measured()["TABLES"]["teachers-published"]()
    links = re.findall(
        r"\[(models/[\w/.-]+\.yml)\]\(https://github.com/janosh/matbench-discovery/blob/[0-9a-f]{40}/(\S+)\)", text
    )
    assert len(links) == text.count("\n") - 1
    assert all(shown == linked for shown, linked in links)


FIGURE = re.compile(r"\d ?(ms|s|µs|MB|GB|meV|eV|%|million|[MG]?FLOP|ns/day)\b|\bx\d")
TYPED = {  # tables with figures that no result file holds, by the first words of their head, with the reason
    **dict.fromkeys(REPORTS, ""),
    "dataset.md": "ending",  # rounding of each format, a test of which is in tests/dataset
    "student.md": "network",  # literature
    "README.md": "",  # written by benchmarks.runs.readme_table, and tested there
}


def typed_tables() -> list[tuple[str, str]]:
    """Tables of pages as they are in the repository, so without those that are generated."""
    text = {page.name: BLOCK.sub("", page.read_text(encoding="utf-8")) for page in PAGES}
    return [(name, table) for name, of in text.items() for table in re.findall(r"(?:^\|.*\|\n)+", of, flags=re.MULTILINE)]


def test_no_table_of_measured_figures_is_typed_by_hand():
    wrong = []
    for page, table in typed_tables():
        head, _, *rows = table.strip().split("\n")
        excused = page in TYPED and head.strip("| ").startswith(TYPED[page])
        if not excused and sum(bool(FIGURE.search(row)) for row in rows) > len(rows) / 2:
            wrong.append(f"{page}: {head}")
    assert wrong == []


WORDS = "an?|half an?|one|two|three|four|five|six|seven|eight|nine|ten|twelve|fifteen|twenty|thirty|hundred"
SYMBOLS = r"µs|ms|s|min|h|%|kB|MB|GB|TB|ns/day|steps/s|structures/h(?:our)?|meV|eV|MFLOP"
SPELT = "(?:micro|milli)?seconds?|minutes?|hours?|per cent|times|kilobytes?|megabytes?|gigabytes?|per (?:second|hour|day)"
IN_PROSE = re.compile(
    rf"(?<![\w.])\d[\d,.]*(?:e-?\d+)?(?:[ -]million)?[ -]?(?:{SYMBOLS}|{SPELT})(?![\w])"
    rf"|\b(?:{WORDS})[ -](?:{SPELT.replace('seconds?', 'seconds')})\b|\bx\d+|\d-fold"
    r"|\b(?:twice|half|three times) as (?:long|fast|large|much|slow)"
    r"|\b(?:third|quarter|fifth|fortieth) of (?:the mean|that|those)"
)
SETTINGS = {  # what is no result of a measurement, by page, with the reason
    "cluster.md": {"24,000 atoms per second": "assumed, with its source"},
    "report.md": {
        "20 meV/Å is good": "an example",
        "forces of 360 meV/Å": "an example",
        "a phonon at 5 meV/Å": "an example",
    },
    "train.md": {"errors above three times the median": "a definition"},
    "README.md": {"a quarter of the mean force": "compared with its result file in test_readme"},
}


def prose(page: Path) -> str:
    """Text of a page without code, links and tables, and without the figures that are filled in."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    text = re.sub(r"`[^`]*`|\]\([^)]*\)|^\|.*\|$", " ", text, flags=re.MULTILINE)
    return " ".join(text.split())


OWN = [page for page in PAGES if page.name not in REPORTS]


@pytest.mark.parametrize("page", OWN, ids=lambda page: page.name)
def test_no_measured_figure_is_typed_within_a_sentence(page):
    text = prose(page)
    for setting in SETTINGS.get(page.name if page.parent != ROOT / "benchmarks" else "", {}):
        assert setting in text, f"{page.name} no longer says '{setting}'"
        text = text.replace(setting, "")
    typed = [text[max(0, found.start() - 60) : found.end() + 20] for found in IN_PROSE.finditer(text)]
    assert typed == []


def test_figures_within_sentences_follow_their_files(tmp_path, monkeypatch):
    convert, base = measured()["on_page_markdown"], sys.modules["result_tables.base"]
    assert convert("took {figure long-run-minutes} minutes") == "took 12 minutes"
    found = base.result("production_120k")
    for row in found["rows"]:
        row.update({"wall_seconds": 6000.0} if row["batch"] == "whole" else {})
    (tmp_path / "production_120k.json").write_text(json.dumps(found), encoding="utf-8")
    monkeypatch.setattr(base, "RESULTS", tmp_path)
    assert convert("took {figure long-run-minutes} minutes") == "took 100 minutes"


def test_printed_lines_come_from_result_files():
    convert = measured()["on_page_markdown"]
    found = [line for page in DOCS for line in re.findall(r"^::printed .+$", page.read_text("utf-8"), re.MULTILINE)]
    assert found
    for line in found:
        shown = convert(line).splitlines()
        assert (shown[0], shown[-1]) == ("```text", "```"), line
        assert len(shown) > 2, line


def test_every_figure_is_made_and_used():
    figures = measured()["FIGURES"]
    used = {name for page in DOCS for name in re.findall(r"\{figure ([\w-]+)\}", page.read_text("utf-8"))}
    assert used == set(figures)
    assert all(re.search(r"\d", make()) for make in figures.values())


NAMED = re.compile(r"\b((?:tests|benchmarks|src|examples|docs)/[\w./-]+\.(?:py|yaml|cpp|json|md))\b")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page):
    named = {name for name in NAMED.findall(page.read_text(encoding="utf-8")) if "…" not in name}
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Folder with every picture, drawn from the result files."""
    folder = tmp_path_factory.mktemp("pictures")
    runpy.run_path(str(ROOT / "docs" / "pictures.py"))["draw_all"](folder)
    return folder


def test_every_picture_is_drawn_from_result_files_for_light_and_dark(pictures):
    drawn = {path.name for path in pictures.iterdir()}
    assert drawn == {path.name for path in (ROOT / "docs" / "images").iterdir()}
    for name in drawn:
        assert (pictures / name).read_bytes().startswith(b"\x89PNG")
    light, dark = ((plt.imread(pictures / name)[0, 0, :3] * 255).round() for name in ("result.png", "result_dark.png"))
    assert light.tolist() == [255, 255, 255]
    assert dark.max() < 50


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_a_page_shows_each_picture_in_light_and_dark(page):
    shown = re.findall(r"!\[[^\]]+\]\((images/[^)]+)\)", page.read_text(encoding="utf-8"))
    light = [path for path in shown if path.endswith("#only-light")]
    dark = [path.replace("_dark.png#only-dark", ".png#only-light") for path in shown if path.endswith("#only-dark")]
    assert len(shown) == len(light) + len(dark)
    assert light == dark


def section(page: str, title: str) -> str:
    """Python of one section of a page, with fewer steps."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8").split(f"## {title}\n")[1].split("\n## ")[0]
    (code,) = [block for _, language, block in BLOCK.findall(text) if language == "python"]
    return code.replace("10_000", "20").replace("n_steps=1000", "n_steps=5").replace("interval=100", "interval=10")


def answer(question: str) -> str:
    """Python below a question of the page of questions."""
    text = (ROOT / "docs" / "questions.md").read_text(encoding="utf-8").split(f"### {question}\n")[1].split("\n### ")[0]
    (code,) = [block for _, language, block in BLOCK.findall(text) if language == "python"]
    return code


def test_outcars_are_joined_with_the_energy_that_belongs_to_the_forces(tmp_path, monkeypatch):
    from ase.calculators.singlepoint import SinglePointCalculator

    from potstill.dataset.convert import read_structures

    rng = np.random.default_rng(1)

    def read(path: Path, index: str) -> list:
        """Two frames as ASE reads them of an OUTCAR: energy for sigma -> 0, and the free energy."""
        assert path.name == "OUTCAR"
        assert index == ":"
        frames = []
        for _ in range(2):
            atoms = bulk("Cu", cubic=True)
            forces, stress = rng.normal(size=(4, 3)), rng.normal(size=6)
            atoms.calc = SinglePointCalculator(atoms, energy=-3.0, free_energy=-3.5, forces=forces, stress=stress)
            frames.append(atoms)
        return frames

    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "OUTCAR").touch()
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(ase.io, "read", read)
        exec(compile(answer("I have 200 VASP OUTCARs. How do I make a potential of them?"), "questions.md", "exec"), {})  # noqa: S102
    found = list(read_structures(tmp_path / "my_labels.extxyz"))
    assert [structure.labels.energy for structure in found] == [-3.5] * 4
    assert all(structure.labels.stress.shape == (3, 3) for structure in found)


def test_expected_errors_are_saved_along_md(tmp_path, monkeypatch):
    ase.io.write(tmp_path / "start.extxyz", bulk("Cu", cubic=True))
    monkeypatch.chdir(tmp_path)
    code = answer("How do I save the expected error of each atom along MD?").replace("10_000", "20").replace("=100", "=10")
    exec(compile(code.replace("runs/my", "general"), "questions.md", "exec"), {})  # noqa: S102 - our own page
    assert [len(frame.arrays["expected_error"]) for frame in ase.io.read("md.extxyz", index=":")] == [4, 4, 4]


def test_the_citation_is_that_of_the_repository():
    from potstill import __version__

    text = measured()["citation"]()
    assert f"version = {{{__version__}}}" in text


@pytest.mark.parametrize(
    "title",
    ["ASE", pytest.param("OpenMM", marks=pytest.mark.engines), pytest.param("TorchSim", marks=pytest.mark.engines)],
)
@pytest.mark.filterwarnings("ignore")  # of packages that are not ours
def test_every_script_of_md_runs(title, tmp_path, monkeypatch):
    if title != "ASE":
        pytest.importorskip({"OpenMM": "openmm", "TorchSim": "torch_sim"}[title])
    copper = bulk("Cu", cubic=True).repeat(2)
    ase.io.write(tmp_path / "start.extxyz", copper)
    ase.io.write(tmp_path / "many.extxyz", [copper, copper])
    shutil.copytree(ROOT / "tests" / "deploy" / "copper_student", tmp_path / "runs" / "my" / "student")
    monkeypatch.chdir(tmp_path)
    found: dict[str, object] = {}
    exec(compile(section("engines.md", title), "engines.md", "exec"), found)  # noqa: S102 - our own page
    if title == "ASE":
        assert found["dynamics"].nsteps == 20
        assert len(ase.io.read("md.extxyz", index=":")) == 3
    elif title == "TorchSim":
        assert found["final"].n_systems == 2
    else:
        assert found["context"].getStepCount() == 20
