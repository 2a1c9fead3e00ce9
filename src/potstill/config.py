"""The config of a run: one frozen section per stage, each beside the code of its stage.

Reads a YAML file and returns a :class:`Config`. Each option's type, default, unit and description are at its field only;
templates and docs are made from them.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError, ValidationInfo, model_validator

from potstill.active_learning.options import SOURCE, ActiveLearningConfig
from potstill.audit.options import AuditConfig
from potstill.core.counts import several
from potstill.core.deprecation import Renamed
from potstill.core.errors import InputError
from potstill.core.registry import nearest
from potstill.core.section import Choices, Section, config_error, name_or_folder, read_yaml
from potstill.dataset.options import SplitConfig
from potstill.deploy.options import DeployConfig
from potstill.evaluate.options import EvaluateConfig
from potstill.execute.options import EXECUTORS, Local, Parsl
from potstill.generate.files import Files
from potstill.generate.options import SOURCES, GenerateConfig
from potstill.label.options import LabelConfig
from potstill.student.options import EVERY_DEFAULT, StudentConfig
from potstill.student.shipped import sizes_of
from potstill.teacher.choices import TEACHERS
from potstill.teacher.given import is_given
from potstill.train.options import LABEL_EXTRA, NO_LOSS, TrainConfig

CHOICES: Choices = {"source": SOURCES, "name": TEACHERS, "executor": EXECUTORS}
LABELS_OF_FILES = ("labels", "energy_key", "forces_key", "stress_key")
RENAMED = (
    Renamed("rounds", "active_learning", since="0.1"),
    Renamed("generate.door", "generate.filter", since="0.1"),
    Renamed("execute.backend", "execute.executor", since="0.1"),
)
"""Renamed options. A config with an old name is refused; the config of a run folder is upgraded."""


class Config(Section):
    """Config of a whole run."""

    seed: Annotated[int, Field(ge=0, lt=2**62, description="seed of every random number")] = 1
    workers: Annotated[int, Field(ge=0, description="number of processes for generate and label; 0: every core")] = 0
    batches: Annotated[
        tuple[Annotated[int, Field(gt=0)], ...],
        Field(
            max_length=99, description="relative sizes of the batches, such as [1, 2, 2, 1]; empty for a run without batches"
        ),
    ] = ()
    execute: Annotated[Local | Parsl, Field(discriminator="executor", description="executor of generate and label")] = (
        Local()
    )
    generate: GenerateConfig
    label: LabelConfig = LabelConfig()
    dataset: SplitConfig = SplitConfig()
    audit: AuditConfig = AuditConfig()
    student: StudentConfig = StudentConfig()
    train: TrainConfig = TrainConfig()
    active_learning: Annotated[
        ActiveLearningConfig | None,
        Field(
            description="rounds of active learning after the training: MD with the student, labelling, training; "
            "none where null"
        ),
    ] = None
    evaluate: EvaluateConfig = EvaluateConfig()
    deploy: DeployConfig = DeployConfig()

    @model_validator(mode="before")
    @classmethod
    def _refuse_old_names(cls, data: Any) -> Any:
        for option in RENAMED:
            section, key = _place(data, option.old)
            if section is not None and key in section:
                raise ValueError(f"'{option.old}' is called '{option.new}' since {option.since}: rename it in the config")
        return data

    @model_validator(mode="before")
    @classmethod
    def _sizes_of_start(cls, data: Any, info: ValidationInfo) -> Any:
        """Take the section ``student`` from the student that the training starts from."""
        train = data.get("train") if isinstance(data, dict) else None
        start = train.get("start") if isinstance(train, dict) else None
        if not isinstance(start, str) or not start:
            return data
        try:
            sizes = sizes_of(name_or_folder(start, info))
        except InputError as error:
            if (info.context or {}).get("past"):  # a run states the sizes too
                return data
            raise ValueError(f"train.start: {error}") from error
        given = data.get("student") or {}
        for option, value in sizes.items():
            if option in given and given[option] != value:
                says = f"student.{option} is {given[option]!r}, but train.start has {value!r}"
                raise ValueError(f"{says}: remove student.{option}, for sizes come from train.start")
        return {**data, "student": {**sizes, **given}}

    @model_validator(mode="after")
    def _active_learning_by_uncertainty(self) -> Config:
        if self.active_learning is not None and not self.train.uncertainty:
            raise ValueError("active learning needs the student's expected errors: set train.uncertainty to true")
        return self

    @model_validator(mode="after")
    def _active_learning_starts_from_sources(self) -> Config:
        names = [source.name for source in self.generate.sources]
        for name in self.active_learning.start_from if self.active_learning else ():
            if name not in names:
                raise ValueError(f"active_learning.start_from: there is no source '{name}'; {nearest(name, names)}")
        return self

    @model_validator(mode="after")
    def _patience_by_validation(self) -> Config:
        if self.train.patience_epochs and not self.dataset.valid_fraction:
            raise ValueError(
                "train.patience_epochs watches the error on 'valid', but dataset.valid_fraction is 0: raise that one, or "
                "leave patience_epochs out"
            )
        return self

    @model_validator(mode="after")
    def _given_labels(self) -> Config:
        """Refuse what needs a teacher to ask, where the labels come with the user's files."""
        asked_too = [*self.label.committee, *(getattr(source, "teacher", None) for source in self.generate.sources)]
        if any(map(is_given, asked_too)):
            raise ValueError("only label.teacher can be given: a source and a committee need a teacher to ask")
        if not is_given(self.label.teacher):
            self._refuse_labels_that_nothing_reads()
            return self
        made = [source.name for source in self.generate.sources if not isinstance(source, Files)]
        needs = {
            f"the source '{', '.join(made)}', whose structures have no labels": made,
            "active_learning": self.active_learning is not None,
            "label.select": self.label.select is not None,
            "label.extra": self.label.extra,
            **{f"the {loss} loss, whose labels only a teacher gives": self.train.wants(loss) for loss in LABEL_EXTRA},
        }
        if wrong := [name for name, asked in needs.items() if asked]:
            raise ValueError(f"label.teacher is given: there is no teacher to ask, so leave out {' and '.join(wrong)}")
        return self

    def _refuse_labels_that_nothing_reads(self) -> None:
        """Refuse options for labels of files where a teacher labels anew."""
        for source in self.generate.sources:
            asked = [name for name in LABELS_OF_FILES if getattr(source, name)] if isinstance(source, Files) else []
            if asked:
                raise ValueError(
                    f"the source '{source.name}' has {' and '.join(asked)}, but label.teacher labels its structures anew: "
                    "to take the labels of the files, write label.teacher: {name: given}; else leave this out"
                )

    @model_validator(mode="after")
    def _learn_what_is_stored(self) -> Config:
        for loss, extra in LABEL_EXTRA.items():
            if self.train.wants(loss) and extra not in self.label.extra:
                raise ValueError(f"train.{loss}_weight needs '{extra}' among label.extra: add it there")
        return self


def load_config(path: Path, *, past: bool = False) -> Config:
    """Read and check a YAML config; relative paths in it are relative to its folder.

    Parameters
    ----------
    path
        File of the config.
    past
        Whether a run has read the files that the config names, so that they may have been moved since.

    Raises
    ------
    InputError
        If the config is wrong: one line for each fault with its dotted path, found, expected and the nearest name.
    """
    if not path.is_file():
        raise InputError(f"no config at {path}\n  print one with:  potstill template quickstart > {path.name}")
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise InputError(f"{path} has no sections; a config starts with 'generate:'")
    config = parse_config(data, str(path), path.parent, past=past)
    if faults := _unknown_sources(config) + ([] if past else _nothing_to_learn(config)):
        raise InputError(f"{path} has {several(len(faults), 'fault')}:\n" + "\n".join(f"  {fault}" for fault in faults))
    return config


def _unknown_sources(config: Config) -> list[str]:
    """Return one line for each option by source that names a source which the config has not."""
    known = sorted({source.name for source in config.generate.sources} | ({SOURCE} if config.active_learning else set()))
    limits = {f"audit.{option}": values for option, values in config.audit.by_source.items()}
    named = {"train.source_weights": config.train.source_weights, **limits}
    return [
        f"{option}: no source '{name}'; {nearest(name, known)}"
        for option, values in named.items()
        for name in sorted(set(values) - set(known))
    ]


def _nothing_to_learn(config: Config) -> list[str]:
    """Return a line where weights of the losses are 0 for everything, which no training would tell by its errors."""
    weights = config.train.source_weights
    if not config.train.learns:
        return [NO_LOSS]
    if all(weights.get(source.name, 1.0) == 0 for source in config.generate.sources):
        return ["train.source_weights is 0 for every source, so that nothing would be learned: raise one of them"]
    return []


def parse_config(data: dict[str, Any], title: str = "config", folder: Path | None = None, *, past: bool = False) -> Config:
    """Check a config that was already read.

    Parameters
    ----------
    data
        Contents of the YAML file.
    title
        Name of the config in errors.
    folder
        Folder that relative paths start from; paths are left as they are where None.
    past
        As in :func:`load_config`.

    Raises
    ------
    InputError
        As :func:`load_config`.
    """
    try:
        return Config.model_validate(data, context={"folder": folder, "past": past} if folder else None)
    except ValidationError as error:
        raise config_error(title, error, Config, CHOICES) from None


def with_new_names(data: dict[str, Any]) -> dict[str, Any]:
    """Return the contents of a config with each old name of :data:`RENAMED` replaced by the new one."""
    found = copy.deepcopy(data)
    for option in RENAMED:
        section, key = _place(found, option.old)
        if section is None or key not in section:
            continue
        value = section.pop(key)
        target, name = _place(found, option.new)
        if target is not None:
            target.setdefault(name, value)
    return found


def _place(data: Any, path: str) -> tuple[dict[str, Any] | None, str]:
    """Return the section of an option with a dotted path, or None where there is none, and the option's own name."""
    *sections, key = path.split(".")
    for name in sections:
        data = data.get(name) if isinstance(data, dict) else None
    return (data if isinstance(data, dict) else None), key


def dump_config(config: Config) -> str:
    """Return the resolved config as YAML, every default written out."""
    return yaml.safe_dump(config.model_dump(mode="json", context=EVERY_DEFAULT), sort_keys=False, allow_unicode=True)
