"""The run folder: the path of each file of the contract, the record of finished stages, and the claim of a config."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

import potstill
from potstill.config import dump_config, parse_config
from potstill.core.errors import InputError, PotstillError, RunFolderError
from potstill.core.files import quoted, read_json, sealed
from potstill.core.section import parse_yaml
from potstill.generate.mix import MIX_FILE, Mix, read_mix
from potstill.run.lock import locked, refuse_foreign
from potstill.run.machine import git_hash, machine
from potstill.run.made_from import changed, file_checksum, file_fault, made_from
from potstill.run.record import FORMAT, read_record, write_record
from potstill.run.upgrade import read_config, upgrade

STAGES = ("generate", "label", "audit", "train", "evaluate", "deploy")
STAGES_WITH_SUBRUNS = ("batches", "audit", "train", "evaluate", "deploy")
MAY_CHANGE = frozenset({"workers", "execute", "audit"})  # sections that change no structure and no label
SUBRUN_MAY_CHANGE = frozenset({*MAY_CHANGE, "generate", "label"})  # as long as a subrun has not passed


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run, absolute: a teacher may change the current folder of a process."""

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(os.path.abspath(os.path.expanduser(self.path))))  # noqa: PTH100, PTH111 - links stay

    @property
    def config(self) -> Path:
        """Return the path of the resolved config."""
        return self.path / "config.yaml"

    @property
    def structures(self) -> Path:
        """Return the path of the generated structures."""
        return self.path / "structures" / "structures.h5"

    @property
    def selected(self) -> Path:
        """Return the path of the structures selected for labelling, where not all are labelled."""
        return self.path / "structures" / "selected.h5"

    @property
    def first(self) -> Path:
        """Return the path of the structures that the committee is trained on before it selects the others."""
        return self.path / "structures" / "first.h5"

    @property
    def to_label(self) -> Path:
        """Return the path of the structures that the teacher labels: the selected ones if there are any, else all."""
        return next((path for path in (self.selected, self.first) if path.exists()), self.structures)

    @property
    def labelled_parts(self) -> Path:
        """Return the folder of the labelled parts."""
        return self.path / "label"

    @property
    def committee(self) -> Path:
        """Return the folder of the checkpoints of the committee."""
        return self.path / "label" / "committee"

    @property
    def dataset(self) -> Path:
        """Return the path of the labelled dataset."""
        return self.path / "dataset.h5"

    @property
    def student(self) -> Path:
        """Return the folder with weights and config of the student."""
        return self.path / "student"

    @property
    def active_learning(self) -> Path:
        """Return the folder of active learning, with one folder for each round."""
        return self.path / "active_learning"

    @property
    def deploy(self) -> Path:
        """Return the folder of the exports."""
        return self.path / "deploy"

    @property
    def report(self) -> Path:
        """Return the path of the page to open first."""
        return self.path / "report.html"

    @property
    def metrics(self) -> Path:
        """Return the path of the progress log, one JSON object a line."""
        return self.path / "metrics.jsonl"

    def json(self, stage: str) -> Path:
        """Return the path of ``audit.json`` or ``evaluate.json``."""
        return self.path / f"{stage}.json"

    def html(self, stage: str) -> Path:
        """Return the path of ``audit.html`` or ``evaluate.html``."""
        return self.path / f"{stage}.html"

    @property
    def stages(self) -> tuple[str, ...]:
        """Return the names of the stages, in order; a run in batches has others."""
        return STAGES_WITH_SUBRUNS if (self.path / "batches").exists() else STAGES

    def subrun(self, number: int) -> RunFolder:
        """Return the run folder of a batch of the run, counted from 1."""
        return RunFolder(self.path / "batches" / f"{number:02d}")

    def subruns(self) -> list[RunFolder]:
        """Return the run folders of the batches of the run that have begun, in order."""
        return [RunFolder(path) for path in sorted((self.path / "batches").glob("[0-9][0-9]"))]

    def is_batch(self) -> bool:
        """Return whether it is the folder of a batch, inside that of its run."""
        return self.path.parent.name == "batches" and RunFolder(self.path.parent.parent).config.is_file()

    def has_structures(self) -> bool:
        """Return whether all its structures are generated: those of each batch, in a run of several."""
        return bool(self.stage(self.stages[0])["state"] == "done")

    def passed(self) -> bool:
        """Return whether its audit is done, says GO, and judged the present dataset."""
        entry = self.stage("audit")
        files = (self.json("audit"), self.dataset)
        if entry["state"] != "done" or file_fault(self.path, entry) or not all(path.is_file() for path in files):
            return False
        present = file_checksum(self.dataset)
        if entry.get("made_from", {}).get("dataset.h5", present) != present:
            return False
        return bool(read_json(self.json("audit"), f"judge again:  potstill audit {quoted(self.path)}")["verdict"] == "GO")

    def others_than(self, config_text: str) -> bool:
        """Return whether a config requests other structures or labels than this run has made or begun to make.

        A file that was moved is the same file, and a time limit changes no label.
        """
        other = self._differences_from(config_text)
        if other <= MAY_CHANGE:
            return False
        begun = [(name, self.stage(name)) for name in ("generate", "label") if self.stage(name)["state"] != "waiting"]
        if not begun or not other <= SUBRUN_MAY_CHANGE or any("made_from" not in entry for _, entry in begun):
            return True
        config = parse_config(parse_yaml(config_text), folder=self.path)
        return any(changed(entry["made_from"], made_from(self, config, name)) for name, entry in begun)

    @property
    def record_file(self) -> Path:
        """Return the path of ``run.json``: stages, versions, machine."""
        return self.path / "run.json"

    @property
    def format(self) -> int:
        """Return the version of the folder's format; that of a folder without a record is the present one."""
        record = self.record()
        return int(record.get("format", 1)) if record else FORMAT

    def mix(self) -> Mix | None:
        """Return the contingency mix where it replaced the sources of the config, else None."""
        return read_mix(self.structures.parent / MIX_FILE)

    @property
    def created(self) -> str:
        """Return the date and time at which the run began, as in ``run.json``; empty where it has not begun."""
        return str(self.record().get("created", ""))

    def record(self) -> dict[str, Any]:
        """Return the contents of ``run.json``; empty where there is none."""
        return read_record(self.record_file)

    def update(self, **changes: Any) -> None:
        """Replace entries of ``run.json``."""
        write_record(self.record_file, {**self.record(), **changes})

    def set_stage(self, stage: str, state: str, seconds: float, **facts: Any) -> None:
        """Record a stage's state and time so far, and ``made_from`` and ``files``, which are unchanged where not given."""
        stages = self.record().get("stages", {})
        before = {key: value for key, value in stages.get(stage, {}).items() if key not in ("killed", "since")}
        if state == "running":
            facts = {"since": datetime.now(UTC).isoformat(timespec="milliseconds"), **facts}
        entry = {**before, "seconds": round(seconds, 3), "state": state, **facts}
        self.update(stages={**stages, stage: entry})

    def stage(self, stage: str) -> dict[str, Any]:
        """Return the entry of a stage; ``waiting`` where it has not begun."""
        return dict(self.record().get("stages", {}).get(stage, {"seconds": 0.0, "state": "waiting"}))

    def note_killed(self) -> None:
        """Record that each stage that is still recorded as running was killed, for the process that now holds the lock.

        Its time ends with the last line of the metrics.
        """
        last = self.metrics.stat().st_mtime if self.metrics.is_file() else 0.0
        for stage, entry in self.record().get("stages", {}).items():
            if entry["state"] == "running":
                since = datetime.fromisoformat(entry["since"]).timestamp() if "since" in entry else last
                self.set_stage(stage, "stopped", entry["seconds"] + max(0.0, last - since), killed=True)

    def log_metrics(self, **values: Any) -> None:
        """Append a line to ``metrics.jsonl``."""
        line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **values}, ensure_ascii=False)
        with self.metrics.open("a", encoding="utf-8", errors="replace") as file:
            file.write(line + "\n")

    def begin(self, config_text: str, seed: int, *, resume: bool, may_change: frozenset[str] | None = None) -> None:
        """Claim the folder for a config.

        Parameters
        ----------
        config_text
            Resolved config as YAML.
        seed
            Seed of the run.
        resume
            Whether the run may be there already.
        may_change
            Sections in which the config may differ from the run's; those that keep its results where None.

        Raises
        ------
        RunFolderError
            If it holds another run, or the same run and ``resume`` is false, or other files.
        """
        if self.config.exists():
            self._must_hold(config_text, resume=resume, may_change=may_change)
            upgrade(self)
        else:
            refuse_foreign(self.path)
            self.path.mkdir(parents=True, exist_ok=True)
            with sealed(self.config) as temporary:
                temporary.write_text(config_text, encoding="utf-8")
        if not self.record_file.exists():
            self.update(
                format=FORMAT,
                potstill=potstill.__version__,
                git=git_hash(),
                seed=seed,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                machine=machine(),
                stages={},
            )

    def _must_hold(self, config_text: str, *, resume: bool, may_change: frozenset[str] | None) -> None:
        other = self._differences_from(config_text)
        if may_change is None:
            open_subruns = self.stages == STAGES_WITH_SUBRUNS and self.stage("batches")["state"] != "done"
            may_change = SUBRUN_MAY_CHANGE if open_subruns else MAY_CHANGE
        subruns = self.stages == STAGES_WITH_SUBRUNS  # whose own records tell what they were made from
        if not other <= may_change and (subruns or not self._moved_alone(config_text, other - may_change)):
            self._refuse_other_files(config_text, other - may_change)
            raise RunFolderError(
                f"{self.path} contains another run: its config.yaml differs from this config in {', '.join(sorted(other))}\n"
                "  give --out another folder, or resume with the config that it was started with; "
                f"only {', '.join(sorted(may_change))} may change"
            )
        if not resume:
            raise RunFolderError(
                f"{self.path} contains this run already\n  continue it with --resume, or give --out another folder"
            )
        if other:
            with sealed(self.config) as temporary:
                temporary.write_text(config_text, encoding="utf-8")
        if "audit" in other and self.stage("audit")["state"] == "done":  # judged by other gates
            self.set_stage("audit", "waiting", self.stage("audit")["seconds"])

    def _moved_alone(self, config_text: str, sections: frozenset[str]) -> bool:
        """Return whether sections of a config differ from the run's by paths alone, of files with the same content.

        The stages that have begun tell the content. At least one must have, and none may have another origin.
        """
        begun = {name: self.stage(name) for name in STAGES[:-1] if self.stage(name)["state"] != "waiting"}
        if not begun or any("made_from" not in entry for entry in begun.values()):
            return False
        if not self._only_paths_differ(config_text, sections):
            return False
        try:
            config = parse_config(parse_yaml(config_text), folder=self.path)
        except InputError:
            return False
        others = [changed(entry["made_from"], made_from(self, config, stage)) for stage, entry in begun.items()]
        return {"structures.h5", "dataset.h5", "student"}.issuperset(chain(*others))  # another file makes a stage stale

    def _refuse_other_files(self, config_text: str, sections: frozenset[str]) -> None:
        """Raise RunFolderError where the config differs by paths alone, and so the content of the files differs."""
        if self._only_paths_differ(config_text, sections):
            raise RunFolderError(
                f"{self.path} was made from files at another place, and those that {', '.join(sorted(sections))} names now "
                "have other content\n  give --out another folder, or put the former content back"
            )

    def _only_paths_differ(self, config_text: str, sections: frozenset[str]) -> bool:
        """Return whether sections of a config are those of the run but for absolute paths; False for damaged text."""
        try:
            own, given = (_sections(text) for text in (self._completed_config(), config_text))
        except (yaml.YAMLError, ValueError, InputError):
            return False
        return all(only_paths_differ(own.get(name), given.get(name)) for name in sections)

    def _differences_from(self, config_text: str) -> frozenset[str]:
        """Return the sections in which a config differs from the run's, relative paths of both resolved in this folder."""
        try:
            data = parse_yaml(config_text)
            config_text = dump_config(parse_config(data, folder=self.path)) if isinstance(data, dict) else config_text
        except (InputError, yaml.YAMLError, ValueError):
            pass  # a difference is found below
        return differences(self._completed_config(), config_text)

    def _completed_config(self) -> str:
        """Return the run's config with the options that have been added since it began, at their defaults."""
        try:
            return dump_config(read_config(self))
        except InputError:
            return self.config.read_text(encoding="utf-8", errors="replace")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder, see :func:`potstill.run.lock.locked`."""
        with locked(self.path):
            yield


def _sections(config_text: str) -> dict[str, Any]:
    """Return the sections of a config; none of a text that is emptied or cut."""
    found = parse_yaml(config_text)
    return found if isinstance(found, dict) else {}


def only_paths_differ(one: Any, other: Any) -> bool:
    """Return whether two pieces of a config are equal but for absolute paths."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(only_paths_differ(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(only_paths_differ, one, other))
    paths = all(isinstance(value, str) and value.startswith("/") for value in (one, other))
    return one == other or paths


def differences(one: str, other: str) -> frozenset[str]:
    """Return the sections in which two configs, as text, differ.

    Raises
    ------
    PotstillError
        If one of them is no YAML.
    """
    try:
        first, second = (parse_yaml(text) or {} for text in (one, other))
    except (yaml.YAMLError, ValueError) as error:
        raise PotstillError(
            f"the config.yaml of the run folder is damaged ({error})\n  put the run's config there"
        ) from error
    if not isinstance(first, dict) or not isinstance(second, dict):
        return frozenset({"everything"})
    return frozenset(name for name in {*first, *second} if first.get(name) != second.get(name))
