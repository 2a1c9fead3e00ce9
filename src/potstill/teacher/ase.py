"""Any ASE calculator as a teacher, named as ``module:callable`` with its options.

Naming a callable in a config runs the code of that module, as importing it does: use configs of people you trust.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from potstill.core.elements import atomic_numbers_of
from potstill.core.errors import InputError
from potstill.core.registry import nearest
from potstill.core.types import Teacher
from potstill.teacher.options import AseTeacher, TeacherOptions, sha256_of_options


def _beside_the_config(path: Path | None, info: ValidationInfo) -> Path | None:
    """Return the folder of the module: as stated, relative to the config, or that of the config if the module is there."""
    folder = info.context.get("folder") if isinstance(info.context, dict) else None
    if folder is None:
        return path
    if path is not None:
        return (Path(folder) / path).resolve()
    top = str(info.data.get("calculator", "")).partition(":")[0].partition(".")[0]
    here = (Path(folder) / f"{top}.py").is_file() or (Path(folder) / top / "__init__.py").is_file()
    return Path(folder).resolve() if top and here else None


class AseCalculator(TeacherOptions):
    """Any ASE calculator: ``calculator: "ase.calculators.eam:EAM"`` and its options, structure by structure."""

    name: Literal["ase"] = "ase"
    calculator: Annotated[
        str, Field(description="module:callable that gives an ASE calculator", pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")
    ]
    module_folder: Annotated[
        Path | None,
        AfterValidator(_beside_the_config),
        Field(description="folder of the module; that of the config where the module is there", validate_default=True),
    ] = None
    options: Annotated[dict[str, Any], Field(description="keyword arguments of the callable")] = {}  # noqa: RUF012 - pydantic copies
    elements: Annotated[tuple[str, ...], Field(description="chemical symbols that it knows; any where empty")] = ()
    stress: Annotated[bool, Field(description="whether it gives stress for periodic structures")] = True
    direct_forces: Annotated[bool, Field(description="whether its forces are predicted and no slope of the energy")] = False
    precision: Annotated[Literal["float32", "float64"], Field(description="in which it computes")] = "float64"

    @classmethod
    def example(cls) -> AseCalculator:
        return cls(calculator="ase.calculators.emt:EMT")

    @property
    def conservative(self) -> bool:
        return not self.direct_forces

    def check_weights(self) -> None:
        self._callable()

    def load(self) -> Teacher:
        make = self._callable()
        module, _ = self.calculator.split(":")
        fingerprint = {
            "name": f"ase {self.calculator}",
            "version": _version(module),
            "weights": f"options sha256:{sha256_of_options(self.options)}",
            "dtype": self.precision,
        }

        def calculator() -> Any:
            try:
                return make(**self.options)
            except Exception as error:
                raise InputError(
                    f"{self.calculator} cannot be made with the options {self.options}:\n  {type(error).__name__}: {error}\n"
                    "  label.teacher.options are its keyword arguments"
                ) from error

        return AseTeacher(calculator, fingerprint, atomic_numbers_of(self.elements) or None, stress=self.stress)

    def _callable(self) -> Callable[..., Any]:
        module, _, attribute = self.calculator.partition(":")
        try:
            found: Any = self._module(module)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"label.teacher.calculator: the module '{module}' of '{self.calculator}' cannot be imported: {error!r}\n"
                "  install its package into this environment, put the module beside the config, or mend the name"
            ) from error
        for name in attribute.split("."):
            if not hasattr(found, name):
                public = [n for n in dir(found) if not n.startswith("_") and callable(getattr(found, n))]
                raise InputError(f"label.teacher.calculator: no '{name}' in '{module}'; {nearest(name, public)}")
            found = getattr(found, name)
        if not callable(found):
            kind = type(found).__name__
            raise InputError(f"label.teacher.calculator: '{self.calculator}' is a {kind}, expected a callable")
        return found

    def _module(self, name: str) -> ModuleType:
        """Import the module, from its folder where one is stated; an installed module of that name is refused then."""
        if self.module_folder is None:
            return importlib.import_module(name)
        folder = self.module_folder.resolve()
        if str(folder) not in sys.path:
            sys.path.append(str(folder))  # last: no module of Python or of a package is hidden by one of this folder
            importlib.invalidate_caches()
        found = importlib.import_module(name)
        place = Path(found.__file__ or "").resolve()
        if folder not in place.parents:
            raise InputError(
                f"label.teacher.calculator: '{name}' is also a module at {place}, which hides the one in {folder}\n"
                "  give your module another name"
            )
        return found


def _version(module: str) -> str:
    """Return name and version of the package that a module belongs to; without one, the hash of its file."""
    top = module.split(".", maxsplit=1)[0]
    packages = sorted(set(metadata.packages_distributions().get(top, ())))
    if packages:
        return " ".join(f"{package} {metadata.version(package)}" for package in packages)
    from potstill.teacher.options import sha256_of

    file = getattr(importlib.import_module(module), "__file__", None)
    return f"{module} sha256:{sha256_of(Path(file))}" if file else module
