"""The run folder: where each file of the contract stands, what was done, and who is writing.

``run.json`` is replaced as a whole after every change; a stage is done when it says so there and its file exists.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import yaml

import potstill
from potstill.core.errors import InputError, RunFolderError
from potstill.core.files import sealed
from potstill.generate.mix import MIX_FILE, Mix, read_mix

STAGES = ("generate", "label", "audit", "train", "evaluate", "deploy")
BATCHED_STAGES = ("batches", "audit", "train", "evaluate", "deploy")
MAY_CHANGE = frozenset({"workers", "execute", "audit"})  # sections that change no structure and no label
BATCH_MAY_CHANGE = frozenset({*MAY_CHANGE, "generate", "label"})  # as long as a batch has not passed


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved config."""
        return self.path / "config.yaml"

    @property
    def structures(self) -> Path:
        """Generated structures, before labelling."""
        return self.path / "structures" / "structures.h5"

    @property
    def selected(self) -> Path:
        """Those of them that are to be labelled, where not all are."""
        return self.path / "structures" / "selected.h5"

    @property
    def first(self) -> Path:
        """Those that a committee learns from before it selects the others."""
        return self.path / "structures" / "first.h5"

    @property
    def to_label(self) -> Path:
        """What the teacher is asked for: the selected structures where there are any, else all."""
        return next((path for path in (self.selected, self.first) if path.exists()), self.structures)

    @property
    def labelled_parts(self) -> Path:
        """Sealed parts of the labelling."""
        return self.path / "label"

    @property
    def committee(self) -> Path:
        """Checkpoints of the students that select."""
        return self.path / "label" / "committee"

    @property
    def dataset(self) -> Path:
        """The labelled dataset."""
        return self.path / "dataset.h5"

    @property
    def student(self) -> Path:
        """Weights and config of the student."""
        return self.path / "student"

    @property
    def active_learning(self) -> Path:
        """One folder for each round of the student's own dynamics."""
        return self.path / "active_learning"

    @property
    def deploy(self) -> Path:
        """Exports."""
        return self.path / "deploy"

    @property
    def report(self) -> Path:
        """The page to open first."""
        return self.path / "report.html"

    @property
    def metrics(self) -> Path:
        """JSON lines of progress."""
        return self.path / "metrics.jsonl"

    def json(self, stage: str) -> Path:
        """``audit.json`` or ``evaluate.json``."""
        return self.path / f"{stage}.json"

    def html(self, stage: str) -> Path:
        """``audit.html`` or ``evaluate.html``."""
        return self.path / f"{stage}.html"

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of its stages, in order; those of a run in batches are others."""
        return BATCHED_STAGES if (self.path / "batches").exists() else STAGES

    def batch(self, number: int) -> RunFolder:
        """The run folder of a batch, from 1."""
        return RunFolder(self.path / "batches" / f"{number:02d}")

    def batches(self) -> list[RunFolder]:
        """Those that have begun, in order."""
        return [RunFolder(path) for path in sorted((self.path / "batches").glob("[0-9][0-9]"))]

    def passed(self) -> bool:
        """Whether its audit is done and says GO."""
        if self.stage("audit")["state"] != "done":
            return False
        return bool(json.loads(self.json("audit").read_text(encoding="utf-8"))["verdict"] == "GO")

    def others_than(self, config_text: str) -> bool:
        """Whether its config asks for other structures or labels than this one."""
        return not differences(self._completed_config(), config_text) <= MAY_CHANGE

    @cached_property
    def _run_json(self) -> Path:
        return self.path / "run.json"

    def mix(self) -> Mix | None:
        """The sources that were taken where they are not those of the config."""
        return read_mix(self.structures.parent / MIX_FILE)

    def record(self) -> dict[str, Any]:
        """Contents of ``run.json``; empty where there is none."""
        return json.loads(self._run_json.read_text(encoding="utf-8")) if self._run_json.exists() else {}

    def update(self, **changes: Any) -> None:
        """Replace entries of ``run.json``."""
        content = {**self.record(), **changes}
        with sealed(self._run_json) as temporary:
            temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")

    def set_stage(self, stage: str, state: str, seconds: float) -> None:
        """Note a stage as ``running``, ``done`` or ``failed``, with its time so far."""
        stages = {**self.record().get("stages", {}), stage: {"seconds": round(seconds, 3), "state": state}}
        self.update(stages=stages)

    def stage(self, stage: str) -> dict[str, Any]:
        """State and seconds of a stage; ``waiting`` where it has not begun."""
        return dict(self.record().get("stages", {}).get(stage, {"seconds": 0.0, "state": "waiting"}))

    def log_metrics(self, **values: Any) -> None:
        """Append a line to ``metrics.jsonl``."""
        line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **values}, ensure_ascii=False)
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def begin(self, config_text: str, seed: int, *, resume: bool) -> None:
        """Claim the folder for a config.

        Raises
        ------
        RunFolderError
            If it holds another run, or the same run and ``resume`` was not asked for, or other files.
        """
        if self.config.exists():
            self._must_hold(config_text, resume=resume)
        elif self.path.exists() and not all(p.name.startswith((".lock", ".config.yaml.")) for p in self.path.iterdir()):
            raise RunFolderError(f"{self.path} holds files that are no run\n  give --out an empty or new folder")
        else:
            self.path.mkdir(parents=True, exist_ok=True)
            with sealed(self.config) as temporary:
                temporary.write_text(config_text, encoding="utf-8")
        if not self._run_json.exists():
            self.update(
                potstill=potstill.__version__,
                git=git_hash(),
                seed=seed,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                machine=machine(),
                stages={},
            )

    def _must_hold(self, config_text: str, *, resume: bool) -> None:
        other = differences(self._completed_config(), config_text)
        open_batches = self.stages == BATCHED_STAGES and self.stage("batches")["state"] != "done"
        may_change = BATCH_MAY_CHANGE if open_batches else MAY_CHANGE
        if not other <= may_change:
            raise RunFolderError(
                f"{self.path} holds another run: its config.yaml differs from this config in {', '.join(sorted(other))}\n"
                "  give --out another folder, or resume with the config that it was started with; "
                f"only {', '.join(sorted(may_change))} may change"
            )
        if not resume:
            raise RunFolderError(
                f"{self.path} holds this run already\n  go on with it by --resume, or give --out another folder"
            )
        if other:
            with sealed(self.config) as temporary:
                temporary.write_text(config_text, encoding="utf-8")
        if "audit" in other and self.stage("audit")["state"] == "done":  # judged by other gates
            self.set_stage("audit", "waiting", self.stage("audit")["seconds"])

    def _completed_config(self) -> str:
        """The run's config with the options that have been added since it began, at their defaults."""
        from potstill.config import dump_config, load_config

        try:
            return dump_config(load_config(self.config))
        except InputError:
            return self.config.read_text(encoding="utf-8")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder; a second process that wants it is refused. The lock ends with its process.

        Raises
        ------
        RunFolderError
            If another process writes to it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunFolderError(f"{self.path} is in use by another process ({_owner(file)})") from None
            file.seek(0)
            file.truncate()
            file.write(f"process {os.getpid()} on {platform.node()}")
            file.flush()
            for leftover in self.path.rglob(".*.tmp"):  # of writers that were killed; nobody else writes here now
                leftover.unlink(missing_ok=True)
            yield


def differences(one: str, other: str) -> frozenset[str]:
    """Sections in which two configs, as text, differ."""
    first, second = (yaml.safe_load(text) or {} for text in (one, other))
    return frozenset(name for name in {*first, *second} if first.get(name) != second.get(name))


def machine() -> dict[str, Any]:
    """What the run is done on."""
    from potstill.execute import available_cores

    versions = {}
    for name in ("torch", "numpy", "h5py", "ase", "lightning", "sevenn", "rdkit", "pyxtal"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": available_cores(),
        "python": platform.python_version(),
        "versions": versions,
    }


def git_hash() -> str | None:
    """Commit of the source tree that runs, or None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _owner(file: IO[str]) -> str:
    file.seek(0)
    return file.read().strip() or "unknown"
