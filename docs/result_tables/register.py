"""Lists and tables from the code: checks of the audit, tiers of the student."""

from __future__ import annotations

from pathlib import Path

from result_tables.base import markdown_table, table_of

ROOT = Path(__file__).resolve().parents[2]


def checks() -> str:
    """Every audit check with what it measures, its limits and what to do, in the order of its family."""
    from potstill.audit import checks as _registered  # noqa: F401 - defines the checks
    from potstill.audit.options import AuditConfig
    from potstill.audit.registry import ENTRIES, FAMILIES

    lines: list[str] = []
    for family in FAMILIES:
        lines.append(f"## {family.capitalize()}\n")
        for name, entry in ENTRIES.items():
            if entry.family != family:
                continue
            limits = [f"`audit.{gate}`, default {AuditConfig.model_fields[gate].default}" for gate in entry.gates]
            mend = entry.mend if isinstance(entry.mend, str) else (entry.mend.__doc__ or "").strip().split("\n")[0]
            lines += [f"### {name}", "", f"{_first_sentence(entry.check.__doc__)} Unit: {entry.unit or 'none'}.", ""]
            lines += [f"- Limit: {'; '.join(limits) if limits else 'fixed, no option'}."]
            remedy = mend.replace("{of}", "").replace("Propose ", "The file advice.yaml proposes ")
            lines += [f"- Remedy: {(remedy[0].upper() + remedy[1:]).rstrip('.') if remedy else HAND_WRITTEN[name]}.", ""]
    return "\n".join(lines)


HAND_WRITTEN = {
    "packing": "Lower the density of the source named, or leave out the structures that the page lists",
    "vacuum": "Call the structure periodic along fewer axes (`pbc`), for the stress of a cell with vacuum means nothing",
    "cell_shape": "Reduce the flat cells to compact ones, or leave them out",
}


def citation() -> str:
    """BibTeX of the software, from the repository's ``CITATION.cff``."""
    import yaml

    found = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    authors = " and ".join(f"{{{author['name']}}}" for author in found["authors"])
    lines = {"author": authors, "title": found["title"], "version": found["version"], "url": found["url"]}
    entry = ",\n".join(f"  {name:7} = {{{value}}}" for name, value in lines.items())
    return f"```bibtex\n@software{{potstill,\n{entry},\n}}\n```"


def _first_sentence(text: str | None) -> str:
    first = " ".join((text or "").split("\n\n")[0].split())
    return first if first.endswith(".") else f"{first}."


@table_of
def audit_checks() -> str:
    """Every audit check with its limits, one line each; the name leads to its remedy."""
    from potstill.audit import checks as _registered  # noqa: F401 - defines the checks
    from potstill.audit.options import AuditConfig
    from potstill.audit.registry import ENTRIES, FAMILIES

    cells: list[tuple[str, ...]] = []
    for family in FAMILIES:
        cells.append((f"**{family}**", ""))
        for name, entry in ENTRIES.items():
            if entry.family != family:
                continue
            defaults = {gate: AuditConfig.model_fields[gate].default for gate in entry.gates}
            limits = [f"`{gate}`: {'none' if default == {} else default}" for gate, default in defaults.items()]
            text = _first_sentence(entry.check.__doc__).replace("``", "`")
            cells.append((f"[`{name}`](no_go.md#{name})", "<br>".join([text, *limits])))
    return markdown_table(("check", "measures, and the options of section `audit` with their defaults"), cells)


@table_of
def tiers() -> str:
    """Parameters and sizes of each tier, for one element and for 94."""
    from potstill.student.files import count_parameters
    from potstill.student.model import Student
    from potstill.student.options import SIZES, StudentArchitecture

    cells = []
    for tier, sizes in SIZES.items():
        counts = [
            count_parameters(Student(StudentArchitecture(tier=tier, atomic_numbers=tuple(range(1, last + 1)))))
            for last in (1, 94)
        ]
        fewest, most = (f"{count / 1e6:.3g}" for count in counts)
        cells.append((f"`{tier}`", f"{fewest} to {most} million", *(str(value) for value in sizes.values())))
    return markdown_table(("tier", "parameters", "D", "C", "V", "P", "H", "experts"), cells)


@table_of
def gate_meanings() -> str:
    """Every gate by group, with what a failure means for a use of the student, as the pages of a run say it."""
    from potstill.report.meaning import GROUPS, MEANINGS

    cells = [
        (group if k == 0 else "", f"`{gate}`", meaning)
        for group in GROUPS
        for k, (gate, meaning) in enumerate((gate, text) for gate, (of, text) in MEANINGS.items() if of == group)
    ]
    return markdown_table(("group", "gate", "if it fails"), cells)
