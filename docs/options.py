"""MkDocs hook: a line ``::options potstill.config.TrainConfig`` becomes the table of that section's options.

Type, default and meaning come from the fields of the pydantic model, so that they are written once. ``::gates`` becomes the
table of the physics checks, ``::spoiled`` that of the spoiled students.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

DIRECTIVE = re.compile(r"^::options ([\w.]+)\.(\w+)$", re.MULTILINE)
GATES, SPOILED = "::gates", "::spoiled"
WORDS = {
    int: "integer",
    float: "number",
    str: "text",
    bool: "true or false",
    Path: "path",
    type(None): "null",
    dict: "names with values",
}
BOUNDS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace every directive of a page; MkDocs calls this."""
    for directive, table in ((GATES, gates_table), (SPOILED, spoiled_table)):
        if directive in markdown:
            markdown = markdown.replace(directive, table())
    return DIRECTIVE.sub(lambda found: options_table(getattr(import_module(found[1]), found[2])), markdown)


def gates_table() -> str:
    """Markdown table of the physics checks with their limits."""
    from potstill.evaluate.gates import GATES

    rows = ["| check | limit | unit | measured |", "|---|---|---|---|"]
    return "\n".join([*rows, *(f"| `{name}` | {g.limit:g} | {g.unit} | {g.says} |" for name, g in GATES.items())])


def spoiled_table() -> str:
    """Markdown table of the spoiled students and the checks that each fails."""
    from potstill.testing.spoiled import SPOILED

    rows = ["| student | what is wrong | fails |", "|---|---|---|"]
    for spoiled in SPOILED:
        checks = ", ".join(f"`{name}`" for name in sorted(spoiled.checks))
        rows.append(f"| `{spoiled.name}` | {spoiled.says} | {checks} |")
    return "\n".join(rows)


def options_table(model: type[BaseModel]) -> str:
    """Markdown table of a model's options, without the word that chooses the model itself."""
    rows = ["| option | type | default | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        if get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1:
            continue
        cells = (f"`{name}`", _type(field), _default(field), field.description or "")
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def _type(field: FieldInfo) -> str:
    bounds = [f"{sign} {getattr(m, key):g}" for m in field.metadata for key, sign in BOUNDS.items() if hasattr(m, key)]
    return " ".join([_word(field.annotation), ", ".join(bounds)]).strip()


def _word(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin is Annotated:
        return _word(inner[0])
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_word(part) for part in inner))
    if origin is tuple and inner[-1] is Ellipsis:
        return f"list of {_word(inner[0])}"
    if origin is tuple:
        return f"[{', '.join(_word(part) for part in inner)}]"
    return WORDS.get(origin or annotation, "section")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    value = field.default
    if isinstance(value, BaseModel):
        return "as stated there"
    if isinstance(value, tuple):
        return f"`[{', '.join(_plain(item) for item in value)}]`"
    return f"`{_plain(value)}`" if value not in (None, "") else "empty"


def _plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
