"""MkDocs hook: a line ``::measured NAME`` becomes a table made from the result files in ``benchmarks/results``.

``{figure NAME}`` within a sentence becomes one figure, and ``::printed FILE STEP`` the lines that a command printed. A
figure on a page is therefore always the figure of its result file or of the code. ``::checks`` becomes the list of all
audit checks with their limits and remedies, from the register of checks, and ``::citation`` BibTeX of ``CITATION.cff``. All
are in the package ``result_tables`` beside this file.
"""

from __future__ import annotations

import re
from typing import Any

from result_tables import FIGURES, TABLES, checks, citation, printed

DIRECTIVE = re.compile(r"^::measured ([\w-]+)$", re.MULTILINE)
PRINTED = re.compile(r"^::printed ([\w-]+) (\w+)$", re.MULTILINE)
FIGURE = re.compile(r"\{figure ([\w-]+)\}")
LISTS = {"::checks": checks, "::citation": citation}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace every directive of a page; MkDocs calls this."""
    markdown = DIRECTIVE.sub(lambda found: TABLES[found[1]](), markdown)
    markdown = PRINTED.sub(lambda found: printed(*found.groups()), markdown)
    markdown = FIGURE.sub(lambda found: FIGURES[found[1]](), markdown)
    for directive, make in LISTS.items():
        markdown = markdown.replace(directive, make()) if directive in markdown else markdown
    return markdown
