"""A long run in batches (config: ``batches``): each is a run folder up to its audit, after which the user can decide.

The user's word is batch. The code calls it a subrun, since a batch of structures is what a model computes in one call.

Takes a config and returns the config of each subrun; takes the finished subruns and writes one ``dataset.h5``. A subrun has
its share of every source. Its candidates are numbered on from those of the subrun before it, and no structure is in two
subruns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from potstill.config import Config, dump_config
from potstill.core.errors import InputError
from potstill.core.section import parse_yaml, read_yaml
from potstill.dataset import Dataset
from potstill.dataset.combine import merge_datasets
from potstill.generate.mix import as_asked, as_json, together
from potstill.run.folder import SUBRUN_MAY_CHANGE, RunFolder
from potstill.run.upgrade import read_config


def subrun_configs(config: Config) -> list[Config]:
    """Return the config of each subrun, in order, for the folders ``01``, ``02``, … beside each other.

    The counts of a source are its shares of the total, rounded so that their sum is that total.
    """
    ends = np.cumsum([0, *config.batches]) / sum(config.batches)
    found = []
    for k, (start, end) in enumerate(pairwise(ends)):
        shares = [round(float(end) * s.count) - round(float(start) * s.count) for s in config.generate.sources]
        sources = tuple(
            source.model_copy(update={"count": share})
            for source, share in zip(config.generate.sources, shares, strict=True)
            if share
        )
        earlier = (Path("..") / f"{number:02d}" for number in range(1, k + 1))
        generate = config.generate.model_copy(update={"sources": sources, "after": (*config.generate.after, *earlier)})
        found.append(config.model_copy(update={"batches": (), "generate": generate}))
    return found


def claim(run: RunFolder, config: Config) -> Config | None:
    """Claim the folder of a subrun and return its config as stored there; None for a subrun that has passed.

    A subrun that has passed stays as it is, whatever the config says now. One that was begun for other structures or labels
    is renamed and begun anew. Data that were moved with the config, and another time limit of the teacher, change neither.
    """
    if run.passed():
        return None
    text = dump_config(config)
    if run.config.exists() and run.others_than(text):
        number = sum(1 for _ in run.path.parent.glob(f"{run.path.name}.aside-*")) + 1
        run.path.rename(run.path.with_name(f"{run.path.name}.aside-{number}"))
    run.begin(text, config.seed, resume=True, may_change=SUBRUN_MAY_CHANGE)
    return read_config(run)


def refuse_other_labels(subruns: Sequence[RunFolder], config: Config) -> None:
    """Raise InputError where a subrun that has passed has labels that cannot be merged with those of the config."""
    now = config.label.model_dump(mode="json")
    for run in subruns:
        before = read_config(run).label.model_dump(mode="json") if run.passed() else now
        for option, theirs, ours in (
            ("label.teacher", before["teacher"]["name"], now["teacher"]["name"]),
            ("label.extra", sorted(before["extra"]), sorted(now["extra"])),
        ):
            if theirs != ours:
                raise InputError(
                    f"{run.path} has passed with {option} {theirs}, and the config has {ours}: they cannot be merged\n"
                    f"  set {option} to {theirs}, or begin again with another --out"
                )


def join(subruns: Sequence[RunFolder], config: Config, path: Path, attributes: Mapping[str, Any]) -> None:
    """Merge the datasets of the subruns and split their families anew.

    The file states for each source the number of structures requested in all subruns.
    """
    asked = Counter[str]()
    for subrun in subruns:
        asked.update({s.name: s.count for s in read_config(subrun).generate.sources})
    sources = tuple(s.model_copy(update={"count": asked[s.name]}) for s in config.generate.sources if asked[s.name])
    whole = config.model_copy(update={"generate": config.generate.model_copy(update={"sources": sources})})
    found = [Dataset(subrun.dataset).attributes for subrun in subruns]
    merge_datasets(
        [subrun.dataset for subrun in subruns],
        path,
        split=config.dataset,
        seed=config.seed,
        attributes={
            **attributes,
            "config": dump_config(whole),
            "mix": _mixes(subruns),
            "workers": max(int(a["workers"]) for a in found),
            "merged_from": [subrun.path.name for subrun in subruns],
        },
        replace=True,
    )


def _mixes(subruns: Sequence[RunFolder]) -> str:
    """Return the number of structures that all subruns requested from each source; empty where each used its config."""
    mixes = [subrun.mix() for subrun in subruns]
    if not any(mixes):
        return ""
    own = [as_asked(read_config(subrun).generate.sources) for subrun in subruns]
    return as_json(together([mix or asked for mix, asked in zip(mixes, own, strict=True)]))


def advice_for_all(subrun: RunFolder, config: Config) -> str:
    """Return ``advice.yaml`` of a subrun as a config of the whole run; empty where the subrun has none."""
    path = subrun.path / "advice.yaml"
    if not path.exists():
        return ""
    before, advised = read_yaml(subrun.config), read_yaml(path)
    whole = parse_yaml(dump_config(config))
    asked = {_name(source): source["count"] for source in before["generate"]["sources"]}
    new = {_name(source): source for source in advised["generate"]["sources"]}
    sources = [
        {**new[_name(s)], "count": max(1, round(s["count"] * new[_name(s)]["count"] / asked[_name(s)]))}
        if _name(s) in new
        else s
        for s in whole["generate"]["sources"]
    ]
    generate = {**advised["generate"], "after": whole["generate"]["after"], "sources": sources}
    content = {**advised, "batches": whole["batches"], "generate": generate}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _name(source: dict[str, Any]) -> str:
    return str(source.get("label") or source["source"])
