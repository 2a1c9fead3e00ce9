"""Origin and files of each stage, for comparison with the present config and files.

``made_from`` of a stage holds the sections of the config that it depends on and the checksums of its input files. Sections
are stored in full, not as a checksum: an option that a later version adds changes no stored result. ``files`` holds a
checksum for each file that later stages or users rely on, and ``present`` for files that users may edit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
from pydantic import BaseModel

from potstill.core.checksums import sha256_of_file, sha256_of_text, with_contents
from potstill.core.errors import PotstillError
from potstill.student.shipped import student_folder

if TYPE_CHECKING:
    from potstill.config import Config
    from potstill.generate.source import SourceOptions
    from potstill.run.folder import RunFolder

PRESENT = "present"
MOST_BYTES_READ = 50_000_000  # of a dataset whose data are compared with its checksums at each look at a run
NO_FILE = "none"
INPUT_FILES = {"structures.h5", "dataset.h5", "student", "start"}  # in what a stage was made from
CHECKED_EXPORTS = (".safetensors", ".json", ".pt", ".pt2")
NO_RESULT = {  # options that change how a stage runs and not its results
    "label": {"timeout_seconds_per_structure"},
    "train": {"checkpoint_minutes", "tensorboard"},
}


class Table(dict[str, Any]):
    """An option whose keys are the user's, such as weights by source: each key of it counts, also a new one."""


def made_from(run: RunFolder, config: Config, stage: str, formats: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the present origin of a stage: JSON data, sections of the config and checksums of files.

    Parameters
    ----------
    run, config
        Run folder and config.
    stage
        Name of the stage.
    formats
        Export formats of the stage ``deploy``; those of the config where empty.
    """
    found: dict[str, Any]
    match stage:
        case "generate":
            found = {"seed": config.seed, "generate": _generate(run, config)}
        case "batches":
            found = {"seed": config.seed, "dataset": _section(config, "dataset")}
        case "label":
            found = {
                "seed": config.seed,
                "structures.h5": file_checksum(run.structures),
                "label": _section(config, "label"),
                "dataset": _section(config, "dataset"),
            }
            if config.label.select is not None and config.label.select.by == "committee":
                found["student"] = {"cutoff_angstrom": config.student.cutoff_angstrom}
        case "audit":
            found = {"seed": config.seed, "dataset.h5": file_checksum(run.dataset), "audit": _section(config, "audit")}
        case "train":
            sections = {name: _section(config, name) for name in ("student", "train", "active_learning")}
            found = {"seed": config.seed, "dataset.h5": file_checksum(run.dataset), **sections}
            start = student_folder(config.train.start) if config.train.start else None
            if start is not None and start.is_dir():  # after the training it may be gone
                found["start"] = files_checksum(start)
        case "evaluate":
            section = _section(config, "evaluate")
            found = {"dataset.h5": file_checksum(run.dataset), "student": student_checksum(run), "evaluate": section}
        case _:
            student = student_checksum(run)
            chosen = sorted({*formats, *exported(run, student)} if formats else set(config.deploy.formats))
            found = {"student": student, "deploy": {"formats": chosen}}
    if stage in ("audit", "evaluate") or (stage == "train" and config.active_learning is not None):
        found["label"] = {"teacher": _section(config, "label")["teacher"]}
    return found


def exported(run: RunFolder, student: str) -> list[str]:
    """Return the formats in which a student was exported before and that are still there.

    Parameters
    ----------
    run
        Run folder.
    student
        Checksum of the student.
    """
    stored = run.stage("deploy").get("made_from", {})
    formats = stored.get("deploy", {}).get("formats", ()) if stored.get("student") == student else ()
    return [name for name in formats if (run.deploy / name).is_dir()]


def files_of(run: RunFolder, stage: str, formats: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the files that a stage wrote, by their path in the run folder, each with its checksum or ``present``."""
    found = {}
    for path in _files(run, stage, formats):
        if path.is_file():
            checked = path.suffix == ".h5" or (path.suffix in CHECKED_EXPORTS and path.name != "evaluate_data.npz")
            found[str(path.relative_to(run.path))] = file_checksum(path) if checked else PRESENT
    return found


def missing_files(run: RunFolder, stage: str, formats: tuple[str, ...] = ()) -> list[str]:
    """Return the required files of a finished stage that are missing."""
    needed = [path for path in _files(run, stage, formats) if path.name != "uncertainty.safetensors"]
    names = [str(path.relative_to(run.path)) for path in needed if path.suffix != ".html" and not path.is_file()]
    if stage == "deploy":
        names += [f"deploy/{name}" for name in formats if not (run.deploy / name).is_dir()]
    return names


def changed(stored: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the dotted names of options that differ.

    Options that only one of the two has do not count, except for keys of a :class:`Table`. Nor does a file that was moved or
    deleted since, or the folder of a start whose files are the same.
    """
    same_start = "start" in stored and stored["start"] == now.get("start")
    return [name for name in _differences(stored, now, "") if not (same_start and name == "train.start")]


def file_fault(folder: Path, entry: Mapping[str, Any]) -> str:
    """Return the fault of a stage's files, in words; empty where they are those that it wrote.

    Raises
    ------
    InputError
        If a file differs, and another process writes to it.
    """
    for name, stated in entry.get("files", {}).items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if stated == PRESENT and not path.stat().st_size:
            return f"{name} is empty"
        if stated != PRESENT and file_checksum(path) != stated:
            if path.suffix == ".h5":
                from potstill.dataset.read import refuse_locked

                refuse_locked(path)
            return f"{name} is not the file that the stage wrote"
    return ""


def rounds_fault(run: RunFolder) -> str:
    """Return the fault of the reports of active learning, in words; empty where they are those that the training wrote."""
    files = run.stage("train").get("files", {})
    reports = {name: stated for name, stated in files.items() if name.startswith(f"{run.active_learning.name}/")}
    missing = [path for path in _rounds(run) if not path.is_file()]
    lost = f"{missing[0].relative_to(run.path)} is missing" if missing else ""
    return lost or file_fault(run.path, {"files": reports})


def why_not_done(run: RunFolder, config: Config, stage: str, formats: tuple[str, ...] = ()) -> str:
    """Return why a stage recorded as done no longer counts as done, in words; empty where it does."""
    entry = run.stage(stage)
    asked = formats or (tuple(entry.get("made_from", {}).get("deploy", {}).get("formats", ())) if stage == "deploy" else ())
    if missing := missing_files(run, stage, asked):
        return f"{missing[0]} is missing"
    if fault := file_fault(run.path, entry):
        return fault
    other = _others(run, config, stage)
    return f"it was made with another {' and another '.join(other[:3])}" if other else ""


def other_options(run: RunFolder, config: Config, stage: str) -> list[str]:
    """Return the dotted names of options by which a finished stage was not made; files are not compared."""
    return [name for name in _others(run, config, stage) if name not in INPUT_FILES]


def _others(run: RunFolder, config: Config, stage: str) -> list[str]:
    """Return the names of options and files that are not those from which a finished stage was made."""
    entry = run.stage(stage)
    if "made_from" not in entry:  # a run folder of an earlier format
        return []
    now = made_from(run, config, stage)
    if stage == "deploy" and set(now["deploy"]["formats"]) <= set(entry["made_from"].get("deploy", {}).get("formats", ())):
        now["deploy"] = entry["made_from"]["deploy"]  # formats beyond those of the config
    return changed(entry["made_from"], now)


def other_input(run: RunFolder, stage: str) -> str:
    """Return the name of an input of a finished stage that is another one now; empty where none is, or it is missing.

    The dataset and the student are compared, and no config.
    """
    stored = run.stage(stage).get("made_from", {})
    if run.dataset.is_file() and stored.get("dataset.h5", now := file_checksum(run.dataset)) != now:
        return "dataset.h5"
    if isinstance(stored.get("student"), str) and (run.student / "weights.safetensors").is_file():
        return "student" if stored["student"] != student_checksum(run) else ""
    return ""


def student_checksum(run: RunFolder) -> str:
    """Return one checksum for weights and config of the student of a run."""
    return files_checksum(run.student)


def files_checksum(student: Path) -> str:
    """Return one checksum for the files of a student in a folder."""
    names = ("weights.safetensors", "config.json", "uncertainty.safetensors")
    return sha256_of_text(" ".join(file_checksum(student / name) for name in names))


def file_checksum(path: Path) -> str:
    """Return the checksum of a file, ``none`` where there is none.

    For HDF5 it is one checksum of the checksums in the file and of its teacher. A file that was made again with the same
    content does not differ. A file that was cut short cannot be opened, and differs.
    """
    if not path.is_file():
        return NO_FILE
    state = path.stat()
    return _checksum(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4096)
def _checksum(path: Path, _size: int, _written: int) -> str:
    if path.suffix == ".h5":
        try:
            with h5py.File(path, "r") as file:
                stated = [str(file.attrs.get(name, "")) for name in ("checksums", "teacher")]
        except (OSError, ValueError):
            stated = ["", ""]
        if stated[0] and (_size > MOST_BYTES_READ or _is_as_stated(path)):
            return sha256_of_text(" ".join(stated))
    return sha256_of_file(path)


def _is_as_stated(path: Path) -> bool:
    """Return whether the data of a dataset are those of its checksums: they may have been edited in place."""
    from potstill.dataset import Dataset

    try:
        return not Dataset(path, compare_blocks=False).verify()
    except (PotstillError, OSError, ValueError):
        return False


def _files(run: RunFolder, stage: str, formats: tuple[str, ...]) -> list[Path]:
    match stage:
        case "generate":
            return [run.structures]
        case "label" | "batches":
            return [run.dataset]
        case "audit" | "evaluate":
            return [run.json(stage), run.html(stage)]
        case "train":
            student = [run.student / name for name in ("weights.safetensors", "config.json", "uncertainty.safetensors")]
            return student + _rounds(run)
        case _:
            return sorted(p for name in formats for p in (run.deploy / name).rglob("*") if p.is_file())


def _rounds(run: RunFolder) -> list[Path]:
    """Return the reports of the rounds of active learning, the first one also where it is missing; none without rounds."""
    if not run.stage("train").get("made_from", {}).get("active_learning"):
        return []
    return sorted({run.active_learning / "01" / "round.json", *run.active_learning.glob("[0-9][0-9]/round.json")})


def _generate(run: RunFolder, config: Config) -> dict[str, Any]:
    section = _section(config, "generate")
    sources = config.generate.resolved_sources(config.label.teacher)
    section["sources"] = [_source(source) for source in sources]
    for parent in (run.path.parent, run.path.parent.resolve()):  # the folder may be reached by a link
        section["after"] = [path.removeprefix(str(parent)) for path in section["after"]]
    return section


def _section(config: Config, name: str) -> Any:
    """Return a section as JSON data, file paths replaced by checksums, without options that change no result."""
    section = getattr(config, name)
    return None if section is None else _dumped(section, NO_RESULT.get(name))


def _dumped(section: BaseModel, exclude: set[str] | None = None) -> Any:
    """Return options as JSON data, file paths replaced by checksums, tables marked as such."""
    return _with_tables(section, with_contents(section.model_dump(mode="json", exclude=exclude)))


def _with_tables(option: Any, data: Any) -> Any:
    """Return the JSON data of an option, in which each mapping with keys of the user is a :class:`Table`."""
    if isinstance(option, BaseModel):
        return {key: _with_tables(getattr(option, key, None), value) for key, value in data.items()}
    if isinstance(option, Mapping):
        return _table(with_contents(data, folders=True))
    if isinstance(option, list | tuple) and isinstance(data, list):
        return [_with_tables(one, value) for one, value in zip(option, data, strict=True)]
    return data


def _table(data: Any) -> Any:
    return Table({key: _table(value) for key, value in data.items()}) if isinstance(data, Mapping) else data


def _differences(stored: Any, now: Any, path: str) -> Iterator[str]:
    if isinstance(stored, Mapping) and isinstance(now, Mapping):
        either = [key for key in (*stored, *now) if (key in stored) != (key in now)] if isinstance(now, Table) else []
        yield from (f"{path}.{key}" for key in either)
        for key in stored:
            if key in now:
                yield from _differences(stored[key], now[key], f"{path}.{key}" if path else key)
    elif isinstance(stored, list) and isinstance(now, list) and len(stored) == len(now):
        for k, (one, other) in enumerate(zip(stored, now, strict=True)):
            yield from _differences(one, other, f"{path}[{k}]")
    elif stored != now and not _is_gone(stored, now):
        of_source = ".paths[" in path
        if (of_source or ".options." in path) and _is_checksum(now) and isinstance(stored, str) and stored.startswith("/"):
            return  # a folder, which earlier versions stored by its name
        yield f"file at {path}" if of_source and _is_checksum(stored) and _is_checksum(now) else path


def _is_checksum(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("sha256:")


def _source(source: SourceOptions) -> dict[str, Any]:
    """Return the options of a source, with a checksum in place of each file and folder that it reads."""
    from potstill.generate.files import Files, folder_checksum

    found: dict[str, Any] = _dumped(source)
    if isinstance(source, Files):
        found["paths"] = [folder_checksum(Path(p)) if Path(p).is_dir() else p for p in found["paths"]]
    return found


def _is_gone(stored: Any, now: Any) -> bool:
    """Return whether a file, stored as its checksum, is no longer there."""
    return _is_checksum(stored) and isinstance(now, str) and now.startswith("/") and not Path(now).exists()
