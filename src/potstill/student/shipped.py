"""Students that come with the package, by their names, and the folder of any student.

A name goes wherever a path of a student goes. Each folder of ``student/weights`` holds one student and its model card.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from potstill.core.errors import InputError
from potstill.core.registry import nearest
from potstill.student.options import StudentConfig

FOLDER = Path(__file__).resolve().parent / "weights"
CONFIG = "config.json"


def shipped_students() -> list[str]:
    """Return the names of the students that come with the package."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{CONFIG}"))


def student_folder(name_or_path: Path | str) -> Path:
    """Return the folder with the files of a student.

    Parameters
    ----------
    name_or_path
        Name of a student that comes with the package, ``student/`` of a run, the run folder itself, or an exported folder.
        A folder of that name in the current folder comes first.

    Raises
    ------
    InputError
        If it is neither a folder nor the name of a student.
    """
    folder = Path(name_or_path).expanduser()
    for found in (folder, folder / "student"):
        if (found / CONFIG).exists():
            return found
    if folder.exists() or len(folder.parts) > 1:
        return folder  # whose reader says what is missing
    name = str(name_or_path)
    if name in shipped_students():
        return FOLDER / name
    raise InputError(f"no folder of a student at {folder}, and no student of that name: {nearest(name, shipped_students())}")


def sizes_of(name_or_path: Path | str) -> dict[str, Any]:
    """Return the section ``student`` that describes a trained student.

    Raises
    ------
    InputError
        If there is no such student.
    """
    architecture = _architecture(name_or_path)
    return {
        option: architecture[option]
        for option in StudentConfig.model_fields
        if option in architecture and option != "parameters_between"
    }


def elements_of(name_or_path: Path | str) -> tuple[int, ...]:
    """Return the atomic numbers of the elements that a trained student knows; raise InputError as :func:`sizes_of`."""
    return tuple(_architecture(name_or_path)["atomic_numbers"])


def _architecture(name_or_path: Path | str) -> dict[str, Any]:
    folder = student_folder(name_or_path)
    if not folder.exists():
        raise InputError(
            f"there is no folder {folder}\n  name that of a run or of a student, or one of: {', '.join(shipped_students())}"
        )
    if not (folder / CONFIG).is_file():
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder of a student\n  name the folder that contains its {CONFIG}")
        trained = "\n  its run has no student yet: potstill run … --resume" if (folder / "run.json").exists() else ""
        raise InputError(f"{folder} is not a student: it has no {CONFIG} of one{trained}")
    try:
        architecture: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["architecture"]
        tuple(architecture["atomic_numbers"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder / CONFIG} is no config.json of a student: {error!r}") from error
    return architecture
