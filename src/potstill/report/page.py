"""Rendering of every page: jinja2 templates with autoescape, formats of numbers, and sealed files.

The input is the name of a template and its facts, the output one HTML file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

import potstill
from potstill.core.files import sealed
from potstill.core.verdict import is_failure, is_pass, overall, word_of

SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
BADGES = {
    "GO": "go",
    "WARN": "warn",
    "NO_GO": "no-go",
    "NOT_RUN": "not-run",
    "DOES_NOT_APPLY": "idle",
    "done": "go",
    "running": "warn",
    "failed": "no-go",
    "waiting": "idle",
}


def write_page(path: Path, template: str, **facts: Any) -> None:
    """Render a template of this package and seal it at ``path``."""
    text = environment().get_template(template).render(version=potstill.__version__, **facts)
    with sealed(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


@cache
def environment() -> jinja2.Environment:
    """Return the environment of this package's templates: values are escaped, and a missing fact is an error."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    made = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters["sentence"] = sentence_case
    made.filters |= {"figure": figure, "formula": formula, "when": when, "readable": readable, "size": size}
    made.filters["amount"] = amount
    made.globals["badge"] = badge
    return made


def figure(value: float | None, digits: int = 3) -> str:
    """Return a number as text; a dash where there is none.

    >>> figure(0.012345), figure(2752), figure(None), figure(float("inf")), figure(161.4), figure(0.0000123)
    ('0.0123', '2,752', '–', '∞', '161', '1.23e-05')
    """
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    whole = float(value).is_integer() or abs(value) >= 10**digits
    text = f"{value:,.0f}" if whole else f"{value:.{digits}g}"
    return text.replace("-", "−") if text.startswith("-") else text


def amount(finding: Mapping[str, Any]) -> str:
    """Return the figure of a finding with its unit, in the singular for one of a count.

    >>> amount({"measured": 1.0, "unit": "pairs"}), amount({"measured": 0.65, "unit": "eV"})
    ('1 pair', '0.65 eV')
    """
    unit = finding["unit"].removesuffix("s") if finding["measured"] == 1 else finding["unit"]
    return f"{figure(finding['measured'])} {unit}".strip()


def formula(text: str) -> str:
    """Return a chemical formula with its numbers as subscripts.

    >>> formula("Al2O3")
    'Al₂O₃'
    """
    return text.translate(SUBSCRIPTS)


def sentence_case(text: str) -> str:
    """Return a reason as a sentence.

    >>> sentence_case("the data passed")
    'The data passed.'
    """
    return text[:1].upper() + text[1:].rstrip(".") + "."


def readable(name: str) -> str:
    """Return the name of a check or reason as words.

    >>> readable("too_close")
    'too close'
    """
    return name.replace("_", " ")


def when(text: str) -> str:
    """Return an ISO time in readable form, and any other text unchanged."""
    try:
        return datetime.fromisoformat(text).strftime("%d %B %Y, %H:%M %Z").strip()
    except ValueError:
        return text


def size(n_bytes: int) -> str:
    """Return the size of a file as text.

    >>> size(2_600_000)
    '2.6 MB'
    """
    amount = float(n_bytes)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} GB"


def badge(state: str, text: str | None = None) -> Markup:
    """Return a colored word for a verdict or a state; the word has the same meaning as the color."""
    return Markup('<span class="badge {}">{}</span>').format(BADGES.get(state, "idle"), text or word_of(state))


def verdict_of(findings: Sequence[Mapping[str, Any]]) -> str:
    """Return the verdict over findings: GO where at least one passed and none failed."""
    return str(overall(f["verdict"] for f in findings))


def warned(findings: Sequence[Mapping[str, Any]]) -> str:
    """Return the checks that passed with a warning, as the end of a sentence; empty where none did.

    >>> warned([{"check": "stand_ins", "verdict": "WARN"}, {"check": "size_cv", "verdict": "GO"}])
    ', 1 with a warning (stand ins)'
    """
    names = [readable(f["check"]) for f in findings if f["verdict"] == "WARN"]
    return f", {len(names)} with a warning ({', '.join(names)})" if names else ""


def uncompared(audit: Mapping[str, Any]) -> str:
    """Return which labels were not compared with energies, as the end of a sentence; empty where half of them were.

    Without a teacher, forces are compared with energies by near siblings or a fit, stresses by siblings in other cells or
    the same fit.
    """
    found = {f["check"]: f for f in audit["findings"]}
    skipped = {name for name, f in found.items() if f["verdict"] == "DOES_NOT_APPLY"}
    if "gradients" not in skipped:
        return ""
    whole = audit.get("labelled") or 0
    forces = max(_covered(found.get(name), whole) for name in ("energy_work", "pair_fit_slope"))
    fitted = found.get("pair_fit_slope", {}).get("covered_stresses") or 0
    stresses = max(_covered(found.get("stress_work_slope"), whole), fitted)
    told = []
    if not forces:
        told.append("no energy compared with forces (no teacher, and no near siblings)")
    elif 2 * forces < whole:
        told.append(f"energies compared with forces in {forces:,} of {whole:,} structures only (no teacher, few siblings)")
    without_stress = "stress_limits" in skipped
    if not without_stress and not stresses:
        told.append("no stress compared with energies (no teacher, and few near siblings in other cells)")
    elif not without_stress and 2 * stresses < whole:
        told.append(
            f"stresses compared with energies in {stresses:,} of {whole:,} structures only (no teacher, few siblings)"
        )
    return f", with {' and '.join(told)}" if told else ""


def _covered(finding: Mapping[str, Any] | None, whole: int) -> int:
    """Return the number of structures that a check looked at; of a report without it, all where it applied."""
    if finding is None or finding["verdict"] == "DOES_NOT_APPLY":
        return 0
    covered = finding.get("covered")
    return max(whole, 1) if covered is None else int(covered)


def tally(findings: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Return how many checks passed, and how many there are without those that do not apply."""
    verdicts = [f["verdict"] for f in findings]
    return sum(map(is_pass, verdicts)), sum(is_pass(v) or is_failure(v) for v in verdicts)


def worst_first(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return findings with failures first and those that do not apply last, else in their order."""
    order = ("NO_GO", "NOT_RUN", "WARN", "GO", "DOES_NOT_APPLY")
    return sorted(findings, key=lambda f: order.index(f["verdict"]) if f["verdict"] in order else 0)
