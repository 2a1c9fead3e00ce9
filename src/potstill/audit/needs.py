"""Needs of the checks, and whether data without them are incomplete or of another kind.

Data of a run must contain all that a run writes. A file of the user's own has no run, no split and perhaps no teacher.
Checks that need these do not apply to it.
"""

from __future__ import annotations

from potstill.audit.asked import config_in, generate_section
from potstill.audit.evidence import Evidence
from potstill.audit.registry import Need
from potstill.dataset.schema import PARTS

NAME_THE_TEACHER = "name the teacher that made the labels:  potstill audit FILE --teacher NAME"


def _always(_: Evidence) -> bool:
    return True


def _never(_: Evidence) -> bool:
    return False


def _of_no_run(evidence: Evidence) -> bool:
    return not evidence.of_run


def _of_no_whole_run(evidence: Evidence) -> bool:
    return evidence.of_batch or not evidence.of_run


def _no_labels(evidence: Evidence) -> str:
    return "" if evidence.stats.labelled else "the structures have no labels"


def _no_teacher(evidence: Evidence) -> str:
    if evidence.labels_given:
        return "the labels came with the user's files: no teacher can repeat them"
    return "" if evidence.teacher else "no teacher was named, so no label was repeated; name the one that made the labels"


def _a_teacher(evidence: Evidence) -> str:
    asked = evidence.teacher is not None and not evidence.labels_given
    return "the named teacher repeats labels, in its own units" if asked else ""


def _of_no_teacher(evidence: Evidence) -> bool:
    return evidence.labels_given or _of_no_run(evidence)


def _no_record(evidence: Evidence) -> str:
    if evidence.of_run or evidence.dataset.refused:
        return ""
    return "the file is not from a run: it does not state the structures requested and refused"


def _no_config(evidence: Evidence) -> str:
    sources = config_in(evidence.dataset.attributes).get("generate")
    return "" if sources else "the file does not state what its sources were to make"


def _no_time(evidence: Evidence) -> str:
    return "" if evidence.dataset.attributes.get("label_seconds") else "the file does not state the labelling time"


def _no_split(evidence: Evidence) -> str:
    return f"{evidence.name} has no split" if evidence.dataset.splits is None else ""


def _none_held_out(evidence: Evidence) -> str:
    parts = evidence.dataset.splits
    if parts is None or (parts == PARTS.index("test")).any():
        return ""
    counts = ", ".join(f"{name} {int((parts == k).sum())}" for k, name in enumerate(PARTS))
    return f"no structure is held out for the test ({counts}), so no student of this data can be evaluated"


def _more_to_hold_out(evidence: Evidence) -> str:
    if generate_section(evidence.dataset.attributes).get("families") == "structure":
        return f"{len(evidence.stats)} structures are too few for a split: add structures, or raise dataset.test_fraction"
    return "set  generate.families: structure  where there are few compositions, or add compositions of the same elements"


def _no_molecules(evidence: Evidence) -> str:
    return "" if (evidence.stats.molecule & ~evidence.stats.atom_pair).any() else "there are no molecules"


def _no_smiles(evidence: Evidence) -> str:
    stated = any('"smiles"' in text for text in evidence.dataset.text("structures/generator_metadata"))
    return "" if stated else "no structure states its SMILES"


def _no_crystals(evidence: Evidence) -> str:
    periodic = evidence.dataset.column("structures/pbc").all(axis=1)
    return "" if periodic.any() else "no structure is periodic in three directions"


def _no_stress(evidence: Evidence) -> str:
    periodic = evidence.dataset.column("structures/pbc").all(axis=1)
    if evidence.dataset.column("structures/has_stress").any():
        return ""
    return f"none of {int(periodic.sum())} structures periodic in three directions has a stress"


def _one_source(evidence: Evidence) -> str:
    return "" if len(evidence.stats.elements) > 1 else "there is one source only"


LABELS = Need(_no_labels, _never, "label the structures first")
TEACHER = Need(_no_teacher, _of_no_teacher, NAME_THE_TEACHER)
NOBODY_TO_ASK = Need(_a_teacher, _always)
RECORD = Need(_no_record, _always)
CONFIG = Need(_no_config, _of_no_run, "only the file of a run states what its sources were to make: audit the run itself")
TIME = Need(_no_time, _of_no_run, "the file does not state the labelling time; potstill label records it")
SPLIT = Need(_no_split, _of_no_run, "split by family: a run does so by its section dataset")
HELD_OUT = Need(
    _none_held_out,
    _of_no_whole_run,
    _more_to_hold_out,
)
MOLECULES = Need(_no_molecules, _always)
SMILES = Need(_no_smiles, _always)
CRYSTALS = Need(_no_crystals, _always)
STRESS = Need(_no_stress, _always)
SOURCES = Need(_one_source, _always)
