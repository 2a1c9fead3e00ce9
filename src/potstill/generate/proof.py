"""Proof of an environment: its source makes two structures with the installed program."""

from __future__ import annotations

from potstill.core.errors import PotstillError
from potstill.core.types import Refused, Structure
from potstill.environments import home
from potstill.generate.program import ProgramSource, logs_in

STRUCTURES = 2
MOST_CHUNKS = 4


def prove(source: ProgramSource) -> list[str]:
    """Return the formulas of two structures that the source made.

    Raises
    ------
    PotstillError
        If the source made fewer in four chunks of two. The message names the last refusal and the log.
    """
    asked = source.model_copy(update={"batch_size": STRUCTURES, "label": f"{source.name}-proof"})
    found: list[Structure] = []
    last = Refused("program_no_output", "nothing was asked for")
    logs = home() / "environments" / source.environment / "proof"
    with logs_in(logs):
        for chunk in range(MOST_CHUNKS):
            for answer in asked.propose(range(chunk * STRUCTURES, (chunk + 1) * STRUCTURES), 0, ()):
                if isinstance(answer, Refused):
                    last = answer
                else:
                    found.append(answer)
            if len(found) >= STRUCTURES:
                return [structure.formula for structure in found[:STRUCTURES]]
    raise PotstillError(
        f"{source.environment} is installed, but made {len(found)} of {STRUCTURES} structures: "
        f"{last.reason}: {last.detail}\n"
        f"  its output is in {logs}; continue with:  potstill setup {source.environment}"
    )
