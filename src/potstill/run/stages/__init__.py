"""The stages of a run as functions of a :class:`~potstill.run.context.Context`, each from files to files.

generate -> structures/structures.h5 -> label -> dataset.h5 -> audit -> audit.json
                                                  dataset.h5 -> train -> student/ -> evaluate -> evaluate.json
                                                                         student/ -> deploy -> deploy/

A run in batches has the stage ``batches`` instead of the first two, see :mod:`potstill.run.subrun_stage`.
"""

from __future__ import annotations

from collections.abc import Callable

from potstill.run.context import Context
from potstill.run.stages.data import run_audit, run_generate, run_label
from potstill.run.stages.student import run_deploy, run_evaluate, run_train

STAGE_FUNCTIONS: dict[str, Callable[[Context], None]] = {
    "generate": run_generate,
    "label": run_label,
    "audit": run_audit,
    "train": run_train,
    "evaluate": run_evaluate,
    "deploy": run_deploy,
}
