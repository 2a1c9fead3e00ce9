"""A section of the config: frozen options, paths that are relative to the config, and errors that name the option.

A section reads plain data (what YAML holds). Validate it with ``context={"folder": FOLDER}`` to read relative paths from
that folder. With ``context={"folder": FOLDER, "past": True}`` files that it names may have been moved since.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from potstill.core.checksums import OF_A_RUN, WRITTEN
from potstill.core.errors import InputError
from potstill.core.files import file_error
from potstill.core.registry import nearest

AnySection = TypeVar("AnySection", bound="Section")
Choices = Mapping[str, Mapping[str, type[BaseModel]]]
NO_SECTION = ("dict_type", "model_type", "model_attributes_type")  # kinds of faults of pydantic
MOST_OWNERS = 2  # sections that are named as the place of an option
NO_LIST = ("list_type", "tuple_type")
FREE = (Any, object, dict, list, tuple, Mapping)  # types whose content no section checks
NO_JSON = (date, bytes, set)  # values of YAML that JSON has not


class Section(BaseModel):
    """Base of all sections: frozen, and an unknown option is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_as_a_number(cls, given: Any) -> Any:
        """Refuse true and false where a number is expected; pydantic would read them as 1 and 0."""
        for name, value in given.items() if isinstance(given, Mapping) else ():
            field = cls.model_fields.get(name)
            wanted = set(re.findall(r"\b(?:int|float|bool)\b", str(field.annotation))) if field else set()
            if wanted and "bool" not in wanted and (truth := _truth_in(value)) is not None:
                raise ValueError(f"{name}: found {str(truth).lower()}, expected a number")
        return given

    @field_validator("*")
    @classmethod
    def _free_data_as_json(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse data of the user's own keys that JSON would change; return them with the paths beside the config absolute.

        Workers and the run folder get JSON.
        """
        field = cls.model_fields.get(info.field_name or "")
        if field is None or not _is_free(field.annotation):
            return value
        if fault := _changed_by_json(value):
            raise ValueError(f"{fault}\n    write it into a function of your own, such as one that makes the calculator")
        folder = _folder(info)
        if folder is None or all((folder / name).exists() for name in OF_A_RUN):  # a run, whose paths are absolute already
            return value
        return _with_paths(value, folder)


def _truth_in(value: Any) -> bool | None:
    """Return the first true or false of an option or of its items; None where there is none."""
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else [value]
    return next((item for item in items if isinstance(item, bool)), None)


def _is_free(annotation: Any) -> bool:
    """Return whether a type, or one inside it, takes data of any kind."""
    return annotation in FREE or any(map(_is_free, get_args(annotation)))


def _changed_by_json(value: Any, path: str = "") -> str:
    """Return the first key or value that JSON would change, with its dotted path; empty where it changes nothing."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            where = f"{path}.{key}" if path else str(key)
            if not isinstance(key, str):
                return f"{where}: found the key {key!r} ({type(key).__name__}), expected a text: a worker would read '{key}'"
            if fault := _changed_by_json(item, where):
                return fault
    elif isinstance(value, list | tuple):
        return next((fault for k, item in enumerate(value) if (fault := _changed_by_json(item, f"{path}[{k}]"))), "")
    elif isinstance(value, NO_JSON) or (isinstance(value, float) and not math.isfinite(value)):
        kind = type(value).__name__
        return f"{path}: found {value!r} ({kind}), expected a finite number or a text: a worker would read another"
    return ""


def _with_paths(value: Any, folder: Path) -> Any:
    """Return free data in which each text that names something in the folder of the config is its absolute path.

    A text without a slash and a dot, such as PBE, is a name, even where a folder has it too.
    """
    if isinstance(value, Mapping):
        return {key: item if key in WRITTEN else _with_paths(item, folder) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_paths(item, folder) for item in value]
    if not isinstance(value, str) or not {"/", "."} & set(value) or Path(value).is_absolute():
        return value
    try:
        return str(_absolute(folder / value)) if (folder / value).exists() else value
    except (OSError, ValueError):  # a text that no path can be
        return value


def _folder(info: ValidationInfo) -> Path | None:
    """Return the folder of the config that is validated, or None for data that came from no file."""
    return info.context.get("folder") if isinstance(info.context, dict) else None


def _from_folder(path: Path, info: ValidationInfo) -> Path:
    folder = _folder(info)
    return path if folder is None else (folder / path).resolve()


def _existing(path: Path, info: ValidationInfo) -> Path:
    folder = _folder(info)
    if folder is None:
        return path
    absolute = _absolute(folder / path)
    if not absolute.exists() and not (info.context or {}).get("past"):
        raise ValueError(f"names {absolute}, which does not exist")
    return absolute


def _name_or_file(value: str, info: ValidationInfo) -> str:
    folder = _folder(info)
    if folder is None or not value or not (folder / value).is_file():
        return value
    return str(_absolute(folder / value))


def name_or_folder(value: str, info: ValidationInfo) -> str:
    """Return the absolute path of a folder that stands beside the config, and any other text as it is."""
    folder = _folder(info)
    if folder is None or not value or not (folder / value).is_dir():
        return value
    return str(_absolute(folder / value))


def _absolute(path: Path) -> Path:
    """Return the absolute path without following its last link.

    The interpreter of an environment is a link, and it finds its packages by its own place.
    """
    return path.parent.resolve() / path.name


ConfigPath = Annotated[Path, AfterValidator(_from_folder)]
"""A path that need not exist yet, relative to the config."""

ExistingPath = Annotated[Path, AfterValidator(_existing)]
"""A file or folder that must exist, relative to the config; one that a past run has read may be gone."""

NameOrPath = Annotated[str, AfterValidator(_name_or_file)]
"""A name, or the path of a file relative to the config."""


NameOrFolder = Annotated[str, AfterValidator(name_or_folder)]
"""A name, or the path of a folder relative to the config."""


def _rising(ends: tuple[Any, Any]) -> tuple[Any, Any]:
    if ends[0] > ends[1]:
        raise ValueError(f"a range from {ends[0]:g} to {ends[1]:g}; the smaller end comes first")
    return ends


Range = Annotated[tuple[NonNegativeFloat, NonNegativeFloat], AfterValidator(_rising)]
"""Two numbers from 0 on, the smaller first."""

CountRange = Annotated[tuple[NonNegativeInt, NonNegativeInt], AfterValidator(_rising)]
"""Two whole numbers from 0 on, the smaller first."""

ImageDistance = Annotated[
    float,
    Field(
        ge=0,
        description="smallest distance in Å between an atom and its own periodic images; cells with a lattice are "
        "repeated first, as far as max_atoms allows; 0: as they are",
    ),
]
"""Option ``min_image_angstrom`` of those that repeat cells by :func:`potstill.core.dynamics.repeat_crystal`."""


def refuse_unknown_symbols(symbols: Iterable[str]) -> None:
    """Raise ValueError if a text is not a chemical symbol."""
    from ase.data import chemical_symbols

    unknown = [s for s in symbols if s not in chemical_symbols[1:]]
    if unknown:
        raise ValueError(f"not a chemical symbol: {', '.join(unknown)}")


def read_section(path: Path, name: str, section: type[AnySection]) -> AnySection:
    """Read one section of a YAML file, whatever other sections it has.

    Raises
    ------
    InputError
        If the file or the section is wrong.
    """
    content = read_yaml(path)
    if not isinstance(content, dict) or name not in content:
        raise InputError(f"{path} has no section '{name}'\n  a YAML file with '{name}:' at the start of a line is expected")
    try:
        return section.model_validate(content[name])
    except ValidationError as error:
        raise config_error(f"{path}, section {name},", error, section, {}) from error


class _Loader(yaml.SafeLoader):
    """Loader of plain data that refuses a key given twice, of which YAML would silently keep the last.

    It also refuses whole numbers that YAML reads in another base: 010 as 8, and 1:30 as 90.
    """

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        number = int(super().construct_yaml_int(node))
        if re.match(r"[-+]?0[0-9_]|.*:", node.value):
            line = node.start_mark.line + 1
            raise yaml.YAMLError(f"'{node.value}' in line {line} is {number} in YAML: write {number}, or quote it as a text")
        return number

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                line = key.start_mark.line + 1
                if key.value in lines:
                    raise yaml.YAMLError(f"'{key.value}' is given twice, in lines {lines[key.value]} and {line}: remove one")
                lines[key.value] = line
        return dict(super().construct_mapping(node, deep))


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def read_yaml(path: Path) -> Any:
    """Read the plain data of a YAML file.

    Raises
    ------
    InputError
        If the file cannot be read, is not YAML, or gives a key twice.
    """
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise file_error(error) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8 (its byte {error.start} is not)\n  save it as UTF-8") from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is not YAML that can be read: {error}") from error


def parse_yaml(text: str) -> Any:
    """Read the plain data of a YAML text; raise ``yaml.YAMLError`` where it is wrong or gives a key twice."""
    return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader


def config_error(title: str, error: ValidationError, root: type[BaseModel], choices: Choices) -> InputError:
    """Return an InputError with one line for each fault: dotted path, found, expected, the nearest name.

    Parameters
    ----------
    title
        Name of what was read, such as the path of the config.
    error
        Error that pydantic raised.
    root
        The section that was validated.
    choices
        For each discriminator (``source``, ``name``, ``executor``), its sections by name.
    """
    faults = error.errors(include_url=False)
    # pydantic reports a list with faulty items once more as too short; the items say enough
    deeper = [
        f
        for f in faults
        if f["type"] != "too_short" or not any(g["loc"][: len(f["loc"])] == f["loc"] and g != f for g in faults)
    ]
    lines = [_explain(fault, root, choices) for fault in deeper]
    return InputError(f"{title} has {len(lines)} fault{'s' * (len(lines) > 1)}:\n" + "\n".join(f"  {x}" for x in lines))


def _explain(fault: Any, root: type[BaseModel], choices: Choices) -> str:
    """Return one line for one fault of pydantic."""
    tagged = {name: section for sections in choices.values() for name, section in sections.items()}
    # pydantic puts the name of the chosen source or teacher between its section and its option
    location = [p for k, p in enumerate(fault["loc"]) if k == 0 or p not in tagged]
    where = ".".join(str(part) for part in location) or "(top level)"
    found = fault["input"]
    match fault["type"]:
        case "extra_forbidden":
            known = _options_at(fault["loc"][:-1], root, tagged)
            return f"{where}: unknown option; {_elsewhere(str(location[-1]), known, root, choices)}"
        case "union_tag_invalid":
            tag, key = fault["ctx"]["tag"], fault["ctx"]["discriminator"].strip("'")
            return f"{where}.{key}: unknown name '{tag}'; {nearest(tag, choices[key])}"
        case "union_tag_not_found":
            key = fault["ctx"]["discriminator"].strip("'")
            return f"{where}: no '{key}' given; one of {', '.join(choices[key])}"
        case "missing":
            return f"{where}: missing; it has no default"
        case "value_error":
            return f"{where}: {fault['ctx']['error']}" if location else str(fault["ctx"]["error"])
        case _:
            expected = f"{fault['msg'][0].lower()}{fault['msg'][1:]}"
            if fault["type"] in NO_LIST:
                expected = "expected a list, one '- ' a line, or in [ ]"
            if fault["type"] in NO_SECTION:
                key = next((key for key, names in choices.items() if isinstance(found, str) and found in names), "")
                such = f"such as  {{{key}: {found}}}" if key else "one 'name: value' a line"
                expected = f"expected options with their values, {such}"
            return f"{where}: found {found!r} ({type(found).__name__}); {expected}"


def _elsewhere(name: str, known: list[str], root: type[BaseModel], choices: Choices) -> str:
    """Return the place of an option that stands in another section, or the nearest names of its own section."""
    sections = {key: _model_in(field.annotation) for key, field in root.model_fields.items()}
    owners = ["the top level"] * (name in root.model_fields)
    owners += [key for key, model in sections.items() if model is not None and name in model.model_fields]
    if not owners:
        named = [(f"{key}: {tag}", model) for key, models in choices.items() for tag, model in models.items()]
        owners = [owner for owner, model in named if name in model.model_fields]
    if not 1 <= len(owners) <= MOST_OWNERS:
        return nearest(name, known)
    return f"it belongs to {' or '.join(owners)}"


def _options_at(location: tuple[Any, ...], root: type[BaseModel], tagged: Mapping[str, type[BaseModel]]) -> list[str]:
    """Return the names of the options of the section at a location."""
    model: type[BaseModel] | None = root
    for part in location:
        if part in tagged:
            model = tagged[part]
        elif model is not None and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation)
    return list(model.model_fields) if model is not None else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the first pydantic model in an annotation such as ``tuple[A | B, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for m in map(_model_in, get_args(annotation)) if m is not None), None)
