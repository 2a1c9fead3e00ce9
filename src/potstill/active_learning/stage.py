"""Active learning after the training: a student and its dataset in, ``active_learning/01/`` … and a better student out.

A round writes these files one after the other, each whole or not at all, and resumes after the last of them:

    visited.h5     frames of the student's own dynamics       label/   the teacher's labels of them, in parts
    spare.h5       more of them, for those that are refused   spare/   those that were needed, and their labels
    new.h5         the labelled frames, on their parents' side of the split
    round.json     errors of the student on them, and whether it passed       round.html
    dataset.h5     everything so far                          student/ trained further on it, from the last weights
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from potstill.active_learning.explore import Journey, visit
from potstill.active_learning.options import ActiveLearningConfig
from potstill.active_learning.students import errors_before, keep_first, made_from, take_over, with_uncertainty
from potstill.core.counts import several
from potstill.core.errors import InputError, PotstillError
from potstill.core.files import write_json
from potstill.core.types import Array, Labels, Structure
from potstill.dataset import Dataset, Records, merge, open_file, write_part
from potstill.deploy.student import DeployedStudent, load_student
from potstill.label.stage import label
from potstill.student.files import read_student
from potstill.student.uncertainty import judge
from potstill.teacher.batching import pick_device
from potstill.teacher.fingerprints import refuse_other_teacher
from potstill.train.job import TrainJob
from potstill.train.learning_rate import known_rate
from potstill.train.provenance import stated
from potstill.train.stage import train
from potstill.train.uncertainty import recalibrate

if TYPE_CHECKING:
    from potstill.execute import Executor
    from potstill.label.options import LabelConfig
    from potstill.student.options import StudentConfig
    from potstill.train.options import TrainConfig

log = logging.getLogger(__name__)
AT_ONCE = 32  # structures in one call of the student
INHERITED = ("teacher", "config", "potstill", "mix")  # attributes of the first dataset that hold for the grown ones


class Sections(Protocol):
    """The sections of a config that active learning needs, and the seed of the run."""

    @property
    def active_learning(self) -> ActiveLearningConfig | None: ...
    @property
    def label(self) -> LabelConfig: ...
    @property
    def student(self) -> StudentConfig: ...
    @property
    def train(self) -> TrainConfig: ...
    @property
    def seed(self) -> int: ...


def learn_actively(
    config: Sections,
    dataset: Path,
    student: Path,
    folder: Path,
    *,
    executor: Executor,
    on_step: Callable[[str], None] = lambda step: None,
    on_epoch: Callable[[int, int, dict[str, float]], None] = lambda number, epoch, errors: None,
    on_round: Callable[[list[dict[str, Any]], Path], None] = lambda reports, folder: None,
) -> list[dict[str, Any]]:
    """Run MD, label, judge and train until the student passes, or until ``max_rounds``.

    Parameters
    ----------
    config
        Sections of the run's config.
    dataset, student
        Files of the run; the last student replaces ``student`` after each round.
    folder
        ``active_learning/`` of the run.
    executor
        Executor of the teacher's calls.
    on_step
        Function called with a line of text before each step.
    on_epoch
        Function called with the round, the epoch and its errors.
    on_round
        Function called with the reports of all rounds so far and the folder of the last.

    Returns
    -------
    list of dict
        Contents of each ``round.json``.
    """
    options = config.active_learning
    if options is None:
        return []
    rate = known_rate(config.train, student)
    first = keep_first(student, folder)
    origin = stated(first) or {}
    learning = _Learning(config, options, folder, open_file(dataset), rate, errors_before(first), on_step)
    parts, judged, latest = [dataset], [], first
    for number in range(1, options.max_rounds + 1):
        one = _Round(learning, number, latest)
        new = one.labelled(one.visited(), executor)
        report = one.judged(new)
        judged.append(report)
        on_round(judged, one.folder)
        if report["passed"] or not len(new):  # without a labelled frame there is nothing to learn from
            latest = one.recalibrated(new)
            break
        parts.append(one.folder / "new.h5")
        latest = one.trained(parts, lambda epoch, errors, n=number: on_epoch(n, epoch, errors))  # type: ignore[misc]
        if stated(student) != made_from(origin, options):  # the student of the run is the latest one, also after Ctrl-C
            take_over(latest, student, made_from(origin, options, after_round=number))
    take_over(latest, student, made_from(origin, options))
    return judged


@dataclass(frozen=True, slots=True, eq=False)
class _Learning:
    """Data, options and callback that all rounds share.

    Parameters
    ----------
    config, options
        Sections of the run's config, and the one of active learning.
    folder
        ``active_learning/`` of the run.
    first
        Dataset of the training before the rounds.
    rate
        Learning rate of the training before the rounds.
    known_before
        Errors of ``train.start`` on held-out replayed structures; empty without replay.
    on_step
        Function called with a line of text before each step.
    """

    config: Sections
    options: ActiveLearningConfig
    folder: Path
    first: Dataset
    rate: float
    known_before: Mapping[str, float]
    on_step: Callable[[str], None]


class _Round:
    """One round, counted from 1, of the student in a folder; a step is skipped where its file exists."""

    def __init__(self, learning: _Learning, number: int, student: Path) -> None:
        self.config, self.options, self.first = learning.config, learning.options, learning.first
        self.number, self.student, self.folder = number, student, learning.folder / f"{number:02d}"
        self._rate, self._on_step = learning.rate, learning.on_step
        self._known_before = learning.known_before

    def _say(self, what: str) -> None:
        self._on_step(f"round {self.number}: {what}")

    def _tell(self, journey: Journey) -> None:
        self._say(f"{journey.start} at {journey.temperature_kelvin:g} K, {journey.length_ps:.3g} ps: {journey.ended}")

    def visited(self) -> Path:
        """Return the file with frames of the student's own MD."""
        path = self.folder / "visited.h5"
        if not path.exists():
            starts = starting_structures(self.first, self.options.start_from)
            self._say(f"{several(self.options.trajectories, 'trajectory')} of {self.options.length_ps:g} ps by the student")
            student = load_student(self.student, device=str(pick_device("auto")))
            seen = visit(
                student,
                starts,
                self.options,
                max_force=self.config.label.max_force_ev_per_angstrom,
                number=self.number,
                seed=self.config.seed,
                on_journey=self._tell,
                on_time=lambda ps: self._say(f"MD at {ps:g} of {self.options.length_ps:g} ps"),
            )
            write_part(self.folder / "spare.h5", seen.spares)
            write_part(path, seen.frames, attributes={"journeys": seen.journeys})
        return path

    def labelled(self, visited: Path, executor: Executor) -> Dataset:
        """Return the frames with the teacher's labels."""
        path = self.folder / "new.h5"
        if not path.exists():
            self._say(f"{several(len(open_file(visited)), 'frame')} for the teacher")
            parts = label(self.config.label, visited, self.folder / "label", executor=executor)
            parts += self._instead_of_refused(parts, executor)
            self._refuse_other_teacher(parts)
            sides = dict(zip(self.first.families.tolist(), np.asarray(self.first.splits).tolist(), strict=True))
            families = [family for part in parts for family in open_file(part).families.tolist()]
            splits = np.array([sides[family] for family in families], dtype=np.uint8)
            teacher = self.first.attributes["teacher"]
            merge(parts, path, attributes={"teacher": teacher, "round": self.number}, splits=splits, refused_before=visited)
        return open_file(path)

    def _instead_of_refused(self, parts: Sequence[Path], executor: Executor) -> list[Path]:
        """Return parts with labels of spare frames, as many as were refused, while there are any."""
        path, found = self.folder / "spare.h5", list[Path]()
        spares = list(open_file(path)) if path.exists() else []
        lacking = sum(len(open_file(part).refused) for part in parts)
        while lacking and spares:
            some, spares = spares[:lacking], spares[lacking:]
            here = self.folder / "spare" / f"{len(spares)}-left"
            if not (here / "frames.h5").exists():
                write_part(here / "frames.h5", some)
            self._say(f"{several(len(some), 'frame')} instead of refused ones")
            labelled = label(self.config.label, here / "frames.h5", here / "label", executor=executor)
            lacking = sum(len(open_file(part).refused) for part in labelled)
            found += labelled
        return found

    def judged(self, new: Dataset) -> dict[str, Any]:
        """Return ``round.json``: errors of the student on its own frames, by reason."""
        path, limit = self.folder / "round.json", self.options.max_force_error_ev_per_angstrom
        if not path.exists():
            self._say(f"errors on {several(len(new), 'frame')}")
            report = self._judge(new, load_student(self.student))
            write_json(path, report)
            if (mae := report["forces"]["mae"]) is not None:
                self._say(f"force MAE {mae:.3g} eV/Å on frames at regular times; the limit is {limit:g}")
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            before, passed = found["forces"]["limit"], _passes(found, limit)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PotstillError(
                f"{path} is damaged ({error})\n  remove it with  rm -r {path}  and run again with --resume"
            ) from error
        if before != limit:  # the gate was changed since
            found["forces"]["limit"], found["passed"] = limit, passed
            write_json(path, found)
        return found

    def _judge(self, new: Dataset, student: DeployedStudent) -> dict[str, Any]:
        frames = list(new)
        expected, error = errors_of(student, frames)
        reason = np.repeat([s.generator_metadata["reason"] for s in frames], [len(s) for s in frames])
        by_reason = {
            str(name): {"frames": n, "mae": float(np.abs(error[reason == name]).mean())}
            for name, n in sorted(Counter(s.generator_metadata["reason"] for s in frames).items())
        }
        journeys = json.loads(open_file(self.folder / "visited.h5").attributes["journeys"])
        broken = sum(journey["ended"] != "finished" for journey in journeys)
        limit = self.options.max_force_error_ev_per_angstrom
        mae = by_reason.get("regular", {}).get("mae")
        report: dict[str, Any] = {
            "round": self.number,
            "forces": {"mae": mae, "limit": limit, "unit": "eV/Å"},
            "by_reason": by_reason,
            "by_temperature": _by_temperature(frames, error),
            "broken_trajectories": broken,
            "trajectories": journeys,
            "refused": dict(Counter(r.reason for r in new.refused if r.stage == "label")),
            "parts": {name: len(new.split(name)) for name in ("train", "valid", "test")},
        }
        report["passed"] = _passes(report, limit)
        if frames:
            known = student.uncertainty
            limits = (0.0, 0.0) if known is None else (float(known.threshold), float(known.bound))
            report["uncertainty"] = judge(expected, np.linalg.norm(error, axis=1), *limits)
        return report

    def recalibrated(self, new: Dataset) -> Path:
        """Return the student's folder, or that of a copy whose expected errors are fitted to the errors on the new frames.

        The student was not trained on these frames of its own MD, so they tell better than held-out families how far off it
        is there. Frames at regular times tell it without bias; the others were chosen for large expected errors.
        """
        student, frames = load_student(self.student), list(new)
        regular = [frame for frame in frames if frame.generator_metadata["reason"] == "regular"]
        if student.uncertainty is None or not regular:
            return self.student
        found, figures = recalibrate(student.model, student.uncertainty, Records.of(frames), Records.of(regular))
        return with_uncertainty(self.student, self.folder / "recalibrated", found, {"of": "own trajectories", **figures})

    def trained(self, parts: Sequence[Path], on_epoch: Callable[[int, dict[str, float]], None]) -> Path:
        """Train the student of the round before on all parts, and return its folder."""
        path, target = self.folder / "dataset.h5", self.folder / "student"
        if not path.exists():
            splits = np.concatenate([np.asarray(open_file(part).splits) for part in parts])
            attributes = {name: v for name, v in self.first.attributes.items() if name in INHERITED}
            merge(parts, path, attributes={**attributes, "active_learning": self.number}, splits=splits)
        grown = open_file(path)
        rate = self.options.learning_rate or 0.5 * self._rate
        again = self.config.train.model_copy(update={"epochs": self.options.epochs, "learning_rate": rate})
        before, facts = read_student(self.student)
        seed = self.config.seed + self.number
        job = TrainJob.on(grown, self.config.student, again, target, seed=seed, start=before)
        if stated(target) != job.made_from():
            self._say(f"training on {len(grown.split('train'))} structures")
            told: dict[str, Any] = {name: facts[name] for name in ("teacher", "potstill") if name in facts}
            told |= {"dataset": json.loads(grown.attributes["checksums"]), "active_learning": self.number}
            train(job, on_epoch=on_epoch, provenance=told, known_before=self._known_before)
        return target

    def _refuse_other_teacher(self, parts: Sequence[Path]) -> None:
        known = json.loads(self.first.attributes["teacher"])
        for part in parts:
            found = json.loads(open_file(part).attributes["teacher"])
            remedy = f"remove {part.parent} and run again with --resume and the teacher of the dataset"
            refuse_other_teacher(f"the teacher of {part}", found, known, remedy)


def starting_structures(dataset: Dataset, sources: Sequence[str]) -> list[Structure]:
    """Return training structures of these sources: by default the user's own files, or else all sources.

    Raises
    ------
    InputError
        If a source is named of which no structure is trained on.
    """
    training = dataset.split("train")
    names = dataset.sources[training].astype(str)
    own = {s["label"] or s["source"] for s in _sources_of(dataset) if s.get("source") == "files"}
    wanted = set(sources) or own & set(names.tolist())
    if unknown := sorted(set(sources) - set(names.tolist())):
        raise InputError(f"active_learning.start_from: the training part has no structure of {', '.join(unknown)}")
    rows = training[np.isin(names, sorted(wanted))] if wanted else training
    found = [dataset[int(k)] for k in rows]
    return [s for s in found if len(s) > 1 or s.pbc.any()] or found  # a lone atom meets nothing


def _sources_of(dataset: Dataset) -> list[dict[str, Any]]:
    import yaml

    config = yaml.safe_load(dataset.attributes.get("config") or "{}") or {}
    return [{"label": "", **source} for source in config.get("generate", {}).get("sources", [])]


def errors_of(student: DeployedStudent, frames: Sequence[Structure]) -> tuple[Array, Array]:
    """Return (N,) expected errors and (N, 3) errors of the forces, in eV/Å."""
    known = student.uncertainty is not None
    expected, errors = [np.zeros(0)], [np.zeros((0, 3))]
    for start in range(0, len(frames), AT_ONCE):
        some = frames[start : start + AT_ONCE]
        for frame, found in zip(some, student.label(some, uncertainty=known), strict=True):
            labels: Labels | None = frame.labels
            if labels is not None:
                errors.append(found.forces - labels.forces)
                expected.append(found.extra.get("uncertainty", np.zeros(len(frame))))
    return np.concatenate(expected), np.concatenate(errors)


def _by_temperature(frames: Sequence[Structure], error: Array) -> list[dict[str, Any]]:
    """Return the force MAE in eV/Å at each temperature, from frames at regular times and all (N, 3) errors of all frames."""
    told = [(s.generator_metadata["temperature_kelvin"], s.generator_metadata["reason"] == "regular") for s in frames]
    kelvin = np.repeat([kelvin if regular else np.nan for kelvin, regular in told], [len(s) for s in frames])
    return [
        {"kelvin": float(t), "mae": float(np.abs(error[kelvin == t]).mean())} for t in np.unique(kelvin[np.isfinite(kelvin)])
    ]


def _passes(report: Mapping[str, Any], limit: float) -> bool:
    """Return whether a round's force MAE in eV/Å is within the limit, and no trajectory broke off."""
    mae, broken = report["forces"]["mae"], report["broken_trajectories"]
    return mae is not None and mae <= limit and not broken
