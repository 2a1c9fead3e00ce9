"""Every way to get a config wrong, each answered by a line that says where, what was found and what was expected."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from potstill.audit.options import AuditConfig
from potstill.config import Config, dump_config, load_config, parse_config
from potstill.core.errors import InputError
from potstill.core.section import parse_yaml, read_section
from potstill.generate.options import SOURCES
from potstill.teacher.choices import parse_teacher
from potstill.teacher.options import TeacherOptions
from potstill.templates import read_template

GOOD = {"generate": {"sources": [{"source": "benchmark", "count": 3}]}}
TEMPLATES = ("quickstart", "small_6k", "medium_10k", "production_120k", "my_system")


def with_(**sections) -> dict:
    return {**GOOD, **sections}


def sources(*entries) -> dict:
    return {"generate": {"sources": list(entries)}}


def message(data) -> str:
    with pytest.raises(InputError) as caught:
        parse_config(data, "mine.yaml")
    return str(caught.value)


BENCHMARK = {"source": "benchmark", "count": 3}


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        (
            sources({"source": "molecule", "count": 3}),
            ["generate.sources.0.source", "'molecule'", "did you mean 'molecules'"],
        ),
        (sources({"source": "xyzzy", "count": 3}), ["unknown name 'xyzzy'", "known: ", "perturb"]),
        (sources({"count": 3}), ["generate.sources.0", "no 'source' given", "molecules"]),
        (sources({**BENCHMARK, "snapshot": 3}), ["generate.sources.0.snapshot", "did you mean 'snapshots'"]),
        (sources({"source": "benchmark"}), ["generate.sources.0.count", "missing"]),
        (sources({**BENCHMARK, "count": -1}), ["generate.sources.0.count", "-1", "greater than 0"]),
        (sources({**BENCHMARK, "count": "many"}), ["generate.sources.0.count", "'many'", "integer"]),
        (sources({**BENCHMARK, "count": 2.5}), ["generate.sources.0.count", "2.5"]),
        (sources({**BENCHMARK, "label": "a/b"}), ["generate.sources.0.label", "'a/b'"]),
        (sources("benchmark"), ["generate.sources.0", "'benchmark'"]),
        (sources(), ["generate.sources"]),
        (with_(label={"teacher": "emt"}), ["label.teacher: found 'emt' (str)", "such as  {name: emt}"]),
        (with_(label={"teacher": "xyzzy"}), ["label.teacher: found 'xyzzy' (str)", "one 'name: value' a line"]),
        (with_(train=["epochs"]), ["train: found ['epochs'] (list)", "one 'name: value' a line"]),
        (sources(BENCHMARK, BENCHMARK), ["two sources are named benchmark", "'label'"]),
        (sources({"source": "perturb", "count": 3}), ["'perturb' starts from earlier sources", "cannot be the first"]),
        (
            sources(BENCHMARK, {"source": "perturb", "count": 3, "parents": ["benchmrk"]}),
            ["'perturb' starts from 'benchmrk'", "did you mean 'benchmark'"],
        ),
        (
            sources(BENCHMARK, {"source": "md", "count": 3, "parents": ["trees"]}, {"source": "trees", "count": 3}),
            ["'md' starts from 'trees', no source before it"],
        ),
        (sources({"source": "files", "count": 3}), ["generate.sources.0.paths", "missing"]),
        ({"generate": {"elements": ["Xx", "H"], **GOOD["generate"]}}, ["generate.elements", "not a chemical symbol: Xx"]),
        ({"generate": {}}, ["generate.sources", "missing"]),
        ({}, ["generate", "missing"]),
        (with_(lable={}), ["lable", "unknown option", "did you mean 'label'"]),
        (with_(tier="nano"), ["tier: unknown option; it belongs to student"]),
        (
            {**GOOD, "active_learning": {"start_from": ["benchmrk"]}},
            ["active_learning.start_from: there is no source 'benchmrk'; did you mean 'benchmark'"],
        ),
        (with_(epochs=3), ["epochs: unknown option; it belongs to train or active_learning"]),
        (with_(train={"workers": 2}), ["train.workers: unknown option; it belongs to the top level"]),
        (with_(generate={**GOOD["generate"], "rattle_angstrom": 0.1}), ["it belongs to source: perturb or source: trees"]),
        (with_(generate={"sources": {"source": "benchmark"}}), ["generate.sources", "expected a list, one '- ' a line"]),
        (with_(files=3), ["files: unknown option", "known: "]),
        (with_(emt={}), ["emt: unknown option"]),
        (with_(student={"cutoff_angstrom": "5 nm"}), ["student.cutoff_angstrom", "'5 nm' (str)", "number"]),
        (with_(student={"cutoff": 5}), ["student.cutoff", "did you mean 'cutoff_angstrom'"]),
        (with_(student={"cutoff_angstrom": 50}), ["student.cutoff_angstrom", "50", "less than or equal to 8"]),
        (with_(student=None), ["student", "None"]),
        (with_(train={"epochs": 0}), ["train.epochs", "greater than 0"]),
        (with_(train={"learning_rate": float("nan")}), ["train.learning_rate"]),
        (with_(train={"learning_rate": float("inf")}), ["train.learning_rate"]),
        (with_(label={"teacher": {"name": "sevenet"}}), ["label.teacher.name", "did you mean 'sevennet'"]),
        (with_(label={"teacher": {}}), ["label.teacher", "no 'name' given", "emt"]),
        (with_(label={"teacher": "emt"}), ["label.teacher", "'emt'"]),
        (with_(label={"teacher": {"name": "emt", "weights": "x"}}), ["label.teacher.weights", "unknown option"]),
        (
            with_(label={"teacher": {"name": "lennard-jones", "sigma": 1}}),
            ["label.teacher.sigma", "did you mean 'sigma_angstrom'"],
        ),
        (with_(dataset={"valid_fraction": 0.5, "test_fraction": 0.5}), ["dataset", "below 1", "nothing is left"]),
        (
            with_(dataset={"valid_fraction": 0}, train={"patience_epochs": 3}),
            ["train.patience_epochs", "dataset.valid_fraction is 0"],
        ),
        (with_(audit={"min_size_cvv": 1}), ["audit.min_size_cvv", "did you mean 'min_size_cv'"]),
        (with_(deploy={"formats": ["lammps9"]}), ["deploy.formats.0", "'lammps9'"]),
        (with_(seed=-1), ["seed", "-1"]),
        (with_(workers="all"), ["workers", "'all'"]),
    ],
)
def test_a_fault_is_explained(data, parts):
    text = message(data)
    assert text.startswith("mine.yaml has 1 fault:\n")
    for part in parts:
        assert part in text
    assert "pydantic" not in text


@pytest.mark.parametrize(
    ("section", "option"),
    [("train", "source_weights"), ("audit", "max_force_per_source"), ("audit", "max_stress_per_source")],
)
def test_an_option_by_source_that_names_no_source_is_refused(tmp_path, section, option):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**GOOD, section: {option: {"bench": 2.0}}}))
    with pytest.raises(InputError, match=rf"{section}\.{option}: no source 'bench'; did you mean 'benchmark'"):
        load_config(path)
    path.write_text(
        yaml.safe_dump({**GOOD, section: {option: {"benchmark": 2.0, "active_learning": 1.0}}, "active_learning": {}})
    )
    assert getattr(getattr(load_config(path), section), option) == {"benchmark": 2.0, "active_learning": 1.0}


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"energy_weight": 0, "forces_weight": 0, "stress_weight": 0}, "the weights of all losses are 0"),
        ({"source_weights": {"benchmark": 0}}, "train.source_weights is 0 for every source"),
    ],
)
def test_weights_by_which_nothing_is_learned_are_refused(tmp_path, train, message):
    path = tmp_path / "config.yaml"
    generate = {"sources": [{"source": "benchmark", "count": 5}]}
    path.write_text(yaml.safe_dump({"generate": generate, "train": train}))
    with pytest.raises(InputError, match=message):
        load_config(path)
    more = [*generate["sources"], {"source": "perturb", "count": 5}]
    path.write_text(yaml.safe_dump({"generate": {"sources": more}, "train": {**train, "late_weights": {"energy": 1}}}))
    load_config(path)


def test_several_faults_are_listed_once_each():
    text = message({**sources({**BENCHMARK, "count": -1, "sap": 1}), "seed": "x"})
    lines = text.splitlines()
    assert lines[0] == "mine.yaml has 3 faults:"
    assert len(lines) == 4
    assert len({line.split(":")[0] for line in lines[1:]}) == 3


def test_all_sources_at_fault_are_not_reported_as_too_few():
    text = message(sources({"source": "benchmark", "count": 0}))
    assert text.count("\n") == 1
    assert "too short" not in text
    assert "at least 1 item" not in text


@pytest.mark.parametrize("data", [None, [], "text", 3])
def test_options_that_are_no_mapping(data):
    assert "generate" in message({"generate": data})


class TestFile:
    @pytest.mark.parametrize("text", ["", "# only a comment\n", "- a\n- b\n", "just words\n", "42\n", "null\n"])
    def test_no_sections(self, tmp_path: Path, text):
        (tmp_path / "c.yaml").write_text(text)
        with pytest.raises(InputError, match=r"c\.yaml has no sections"):
            load_config(tmp_path / "c.yaml")

    @pytest.mark.parametrize("content", [b"a: [1, 2\n", b"a: b: c\n", b"\tx: 1\n", b"a: !!python/object:os.x 1\n"])
    def test_no_yaml(self, tmp_path: Path, content):
        (tmp_path / "c.yaml").write_bytes(content)
        with pytest.raises(InputError, match="is not YAML"):
            load_config(tmp_path / "c.yaml")

    @pytest.mark.parametrize(
        ("content", "byte"), [("seed: 3".encode("utf-16"), 0), ("# Grüße\nseed: 3".encode("latin1"), 4)]
    )
    def test_another_encoding(self, tmp_path: Path, content, byte):
        (tmp_path / "c.yaml").write_bytes(content)
        with pytest.raises(InputError, match=rf"no text in UTF-8 \(its byte {byte} is not\)\n  save it as UTF-8"):
            load_config(tmp_path / "c.yaml")

    @pytest.mark.parametrize(("text", "number"), [("010", 8), ("1:30", 90), ("-017", -15)])
    def test_numbers_that_yaml_reads_in_another_base(self, tmp_path: Path, text, number):
        (tmp_path / "c.yaml").write_text(f"seed: 1\nworkers: {text}\n")
        with pytest.raises(InputError, match=f"'{text}' in line 2 is {number} in YAML: write {number}"):
            load_config(tmp_path / "c.yaml")
        assert parse_yaml("[0, 7, 1_000, 0x1F, '010', 1e3, 12:30:x]") == [0, 7, 1000, 31, "010", "1e3", "12:30:x"]

    def test_keys_that_are_no_text(self, tmp_path: Path):
        (tmp_path / "c.yaml").write_text("1: 2\ngenerate: {sources: [{source: benchmark, count: 1}]}\n")
        with pytest.raises(InputError, match="1"):
            load_config(tmp_path / "c.yaml")

    def test_missing(self, tmp_path: Path):
        with pytest.raises(InputError, match="potstill template"):
            load_config(tmp_path / "c.yaml")
        with pytest.raises(InputError, match="no config at"):
            load_config(tmp_path)

    def test_a_missing_structure_file(self, tmp_path: Path):
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(sources({"source": "files", "count": 1, "paths": ["gone.xyz"]})))
        with pytest.raises(InputError, match=r"generate\.sources\.0\.paths\.0: names .*gone\.xyz, which does not exist"):
            load_config(tmp_path / "c.yaml")

    def test_relative_paths_start_at_the_config(self, tmp_path: Path, monkeypatch):
        (tmp_path / "deep").mkdir()
        (tmp_path / "mine.smi").write_text("CC\n")
        data = sources({"source": "molecules", "count": 1, "smiles_file": "../mine.smi"})
        (tmp_path / "deep" / "c.yaml").write_text(yaml.safe_dump(data))
        monkeypatch.chdir("/")
        config = load_config(tmp_path / "deep" / "c.yaml")
        assert config.generate.sources[0].smiles_file == tmp_path / "mine.smi"

    def test_the_interpreter_of_an_environment_stays_a_link(self, tmp_path: Path):
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "python").symlink_to(sys.executable)
        data = sources({"source": "mattergen", "count": 1, "python": "bin/python"})
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(data))
        assert load_config(tmp_path / "c.yaml").generate.sources[0].python == tmp_path / "bin" / "python"

    def test_weights_are_a_name_or_a_path_from_the_config(self, tmp_path: Path, monkeypatch):
        (tmp_path / "mine.ckpt").write_bytes(b"weights")
        monkeypatch.chdir("/")
        for weights, expected in (("mine.ckpt", str(tmp_path / "mine.ckpt")), ("7net-0", "7net-0")):
            data = with_(label={"teacher": {"name": "sevennet", "weights": weights}})
            (tmp_path / "c.yaml").write_text(yaml.safe_dump(data))
            assert load_config(tmp_path / "c.yaml").label.teacher.weights == expected


class TestRoundTrip:
    @pytest.mark.parametrize("name", TEMPLATES)
    def test_every_template_is_good(self, name, tmp_path: Path):
        (tmp_path / "my_structures.extxyz").touch()
        (tmp_path / "c.yaml").write_text(read_template(name))
        config = load_config(tmp_path / "c.yaml")
        assert config.generate.sources
        (tmp_path / "resolved.yaml").write_text(dump_config(config))
        again = load_config(tmp_path / "resolved.yaml")
        assert again == config
        assert dump_config(again) == dump_config(config)

    def test_every_default_is_written_out(self):
        written = yaml.safe_load(dump_config(parse_config(GOOD)))
        assert set(written) == set(Config.model_fields)
        for name, section in written.items():
            if isinstance(section, dict):
                assert set(section) == set(type(getattr(parse_config(GOOD), name)).model_fields)

    def test_nothing_is_changed_in_place(self):
        config = parse_config(GOOD)
        with pytest.raises(ValueError, match="frozen"):
            config.seed = 2


def test_every_option_is_described():
    def undescribed(model, path):
        for name, field in model.model_fields.items():
            section = field.annotation
            if isinstance(section, type) and hasattr(section, "model_fields"):
                yield from undescribed(section, f"{path}.{name}")
            elif not field.description and name not in ("source", "name") and path != "Config":
                yield f"{path}.{name}"

    found = list(undescribed(Config, "Config"))
    for source in SOURCES.values():
        found += undescribed(source, source.__name__)
    assert found == []


def test_elements_of_the_section_reach_the_sources_without_their_own():
    data = sources(BENCHMARK, {"source": "crystals", "count": 1, "elements": ["Na", "Cl"]})
    data["generate"]["elements"] = ["H", "C"]
    first, second = parse_config(data).generate.resolved_sources()
    assert first.elements == ("H", "C")
    assert second.elements == ("Na", "Cl")


def test_teachers_are_checked_in_the_same_way():
    assert parse_teacher({"name": "lennard-jones", "epsilon_ev": 0.3}).epsilon_ev == 0.3
    with pytest.raises(InputError, match="did you mean 'epsilon_ev'"):
        parse_teacher({"name": "lennard-jones", "epsilon": 0.3})
    with pytest.raises(InputError, match="unknown name 'vasp'"):
        parse_teacher({"name": "vasp"})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("seed: 1\nseed: 2\n", "'seed' is given twice, in lines 1 and 2"),
        ("label:\n  teacher: {name: emt}\nlabel: {}\n", "'label' is given twice, in lines 1 and 3"),
        ("train: {epochs: 2, learning_rate: 0.1, epochs: 3}\n", "'epochs' is given twice"),
    ],
)
def test_a_key_that_is_given_twice_is_refused(tmp_path, text, found):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=found):
        load_config(path)


class TestNumbers:
    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"workers": True}, "workers: found true, expected a number"),
            ({"train": {"epochs": False}}, "train: epochs: found false, expected a number"),
            ({"audit": {"max_force_per_source": {"a": True}}}, "max_force_per_source: found true, expected a number"),
            (
                sources(BENCHMARK, {"source": "perturb", "count": 1, "rattle_angstrom": [False, True]}),
                "rattle_angstrom: found",
            ),
        ],
    )
    def test_true_is_no_number(self, changes, says):
        assert says in message(with_(**changes))
        assert parse_config(with_(workers=1, train={"uncertainty": False})).train.uncertainty is False

    @pytest.mark.parametrize(
        ("entry", "says"),
        [
            (
                {"source": "perturb", "rattle_angstrom": [0.08, 0.02]},
                "a range from 0.08 to 0.02; the smaller end comes first",
            ),
            ({"source": "perturb", "rattle_angstrom": [-0.02, 0.08]}, "greater than or equal to 0"),
            ({"source": "trees", "rattle_angstrom": [0.3, 0.05]}, "the smaller end comes first"),
            ({"source": "crystals", "volume_factor": [1.5, 1.0]}, "the smaller end comes first"),
            ({"source": "melts", "packing_fraction": [0.6, 0.3]}, "the smaller end comes first"),
            ({"source": "liquids", "density_g_per_cubic_cm": [2, 1]}, "the smaller end comes first"),
            ({"source": "surfaces", "thickness_angstrom": [12, 4]}, "the smaller end comes first"),
            ({"source": "dimers", "scaled_distance": [2, 1]}, "the smaller end comes first"),
            ({"source": "prototypes", "volume_factor": [1.2, 0.9]}, "the smaller end comes first"),
            ({"source": "moldiff", "heavy_atoms": [30, 10]}, "the smaller end comes first"),
        ],
    )
    def test_ranges_rise(self, entry, says):
        assert says in message(with_(**sources(BENCHMARK, {"count": 1, **entry})))

    def test_gates_of_a_file_are_told_like_a_config(self, tmp_path):
        (tmp_path / "gates.yaml").write_text("audit: {min_size_vc: 1, max_charged: -1}\n")
        with pytest.raises(InputError, match=r"gates\.yaml, section audit, has 2 faults:") as caught:
            read_section(tmp_path / "gates.yaml", "audit", AuditConfig)
        assert "min_size_vc: unknown option; did you mean 'min_size_cv'" in str(caught.value)
        assert "https://" not in str(caught.value)

    def test_a_seed_that_no_file_holds(self):
        assert "seed: found" in message(with_(seed=10**23))


class TestFreeOptions:
    """Options that the config passes on as they are, to workers as JSON."""

    ASE = {"name": "ase", "calculator": "ase.calculators.lj:LennardJones"}  # noqa: RUF012 - read only

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ("{table: {29: 0.4}}", "table.29: found the key 29 (int), expected a text"),
            ("{deep: [{a: {1.5: x}}]}", "deep[0].a.1.5: found the key 1.5 (float), expected a text"),
            ("{limit: .inf}", "limit: found inf (float), expected a finite number"),
            ("{limits: [1.0, .nan]}", "limits[1]: found nan (float), expected a finite number"),
            ("{day: 2026-11-29}", "day: found datetime.date(2026, 11, 29) (date), expected a finite number or a text"),
        ],
    )
    @pytest.mark.parametrize("place", ["label.teacher", "label.committee", "generate.sources"])
    def test_what_json_changes_is_refused_with_its_path(self, place, options, says):
        teacher = {**self.ASE, "options": parse_yaml(options)}
        data = {
            "label.teacher": with_(label={"teacher": teacher}),
            "label.committee": with_(label={"extra": ["force_disagreement"], "committee": [teacher]}),
            "generate.sources": sources(BENCHMARK, {"source": "trees", "count": 1, "teacher": teacher}),
        }[place]
        text = message(data)
        assert f"{place}." in text
        assert f"options: {says}" in text
        assert "a function of your own" in text

    def test_plain_data_and_typed_tables_stay(self):
        plain = {"a": [1, 2.5, None, True, {"b": "c"}], "Cu": {"29": 0.4}}
        config = parse_config(with_(label={"teacher": {**self.ASE, "options": plain}}))
        assert Config.model_validate_json(config.model_dump_json()).label.teacher.options == plain

        class Typed(TeacherOptions):
            table: dict[int, float]

            def load(self):
                raise NotImplementedError

        typed = Typed(table={29: 0.4})
        assert Typed.model_validate_json(typed.model_dump_json()) == typed

    def test_a_text_that_names_something_beside_the_config_is_its_path(self, tmp_path, monkeypatch):
        (tmp_path / "here" / "runs" / "one").mkdir(parents=True)
        (tmp_path / "here" / "cu.eam").touch()
        (tmp_path / "here" / "PBE").mkdir()
        (tmp_path / "elsewhere" / "lj").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / "elsewhere")
        given = {"path": "runs/one", "deep": [{"file": "cu.eam"}], "kind": "PBE", "directory": "runs", "long": "x" * 5000}
        teacher = {**self.ASE, "options": given}
        moved = {"source": "trees", "count": 1, "teacher": teacher}
        label = {"teacher": teacher, "extra": ["force_disagreement"], "committee": [teacher]}
        path = tmp_path / "here" / "config.yaml"
        path.write_text(yaml.safe_dump({**sources(BENCHMARK, moved), "label": label}))
        config = load_config(path)
        here = tmp_path / "here"
        expected = {**given, "path": str(here / "runs" / "one"), "deep": [{"file": str(here / "cu.eam")}]}
        for found in (config.label.teacher, *config.label.committee, config.generate.sources[1].teacher):
            assert found.options == expected
        (here / "run.json").touch()  # a run folder, in which names of stages are folders
        (here / "lj").mkdir()
        path.write_text(dump_config(config))
        assert load_config(path) == config
