"""Any ASE calculator as a teacher, named as ``module:callable`` with its options.

A callable named in a config runs the code of that module, as an import does: use configs of people you trust.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from potstill.core.checksums import sha256_of_file, sha256_of_text
from potstill.core.elements import atomic_numbers_of
from potstill.core.errors import InputError
from potstill.core.registry import nearest
from potstill.core.types import Teacher
from potstill.execute.worker import WORKER_VARIABLE
from potstill.teacher.keywords import fault_of_keywords
from potstill.teacher.options import AseTeacher, TeacherOptions, sha256_of_options

WORKER = "{worker}"
FINISHED = "potstill: import finished"
TRY_IMPORT = f"""
import importlib, json, sys
sys.path[:] = json.loads(sys.argv[1])
try:
    importlib.import_module(sys.argv[2])
except BaseException:
    pass  # which is told where it is imported again
print({FINISHED!r}, flush=True)
"""


def _remedy_of_import(error: BaseException) -> str:
    """Return what mends a module that cannot be imported."""
    if isinstance(error, SyntaxError):
        return f"correct line {error.lineno} of {error.filename}"
    if isinstance(error, SystemExit):
        return "its top level ends Python, such as by reading the command line: put that below  if __name__ == '__main__':"
    return (
        "install its package into this environment, put the module beside the config (without one: into a folder of "
        "PYTHONPATH), or correct the name"
    )


class AseCalculator(TeacherOptions):
    """Any ASE calculator: ``calculator: "ase.calculators.eam:EAM"`` and its options, structure by structure."""

    name: Literal["ase"] = "ase"
    calculator: Annotated[
        str, Field(description="module:callable that makes an ASE calculator", pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")
    ]
    folder: Annotated[
        str,
        Field(
            description="folder searched for the module after the installed packages; that of the config by default",
            validate_default=True,
        ),
    ] = ""
    options: Annotated[
        dict[str, Any],
        Field(
            description="keyword arguments of the callable that makes the calculator; {worker} in a text is the name of "
            "the worker process"
        ),
    ] = {}  # noqa: RUF012 - pydantic copies
    elements: Annotated[
        tuple[str, ...], Field(description="chemical symbols that the calculator supports; any where empty")
    ] = ()
    stress: Annotated[
        bool, Field(description="true: the calculator computes stress for periodic structures; false: labels have no stress")
    ] = True
    direct_forces: Annotated[
        bool,
        Field(
            description="true: the calculator predicts forces directly; false: forces are the negative gradient of "
            "its energy"
        ),
    ] = False
    precision: Annotated[Literal["float32", "float64"], Field(description="floating-point precision of the calculator")] = (
        "float64"
    )

    @field_validator("folder")
    @classmethod
    def _beside_the_config(cls, folder: str, info: ValidationInfo) -> str:
        config = info.context.get("folder") if isinstance(info.context, dict) else None
        if config is None:
            return folder
        if folder:
            return str((Path(config) / folder).resolve())
        top = str(info.data.get("calculator", "")).partition(":")[0].partition(".")[0]
        beside = Path(config).resolve()
        return str(beside) if top and any((beside / name).exists() for name in (f"{top}.py", f"{top}/__init__.py")) else ""

    @classmethod
    def example(cls) -> AseCalculator:
        return cls(calculator="ase.calculators.emt:EMT")

    @property
    def conservative(self) -> bool:
        return not self.direct_forces

    def check_weights(self) -> None:
        module = self.calculator.partition(":")[0]
        if module not in sys.modules and not module.startswith("ase."):
            self._try_import(module)
        made_by = self._callable()
        self._refuse_too_little(made_by)
        self._refuse_keywords(made_by)

    def _try_import(self, module: str) -> None:
        """Import the module in a process of its own first: code that ends its process must not end this one."""
        paths = [*sys.path, *([self.folder] if self.folder else [])]
        command = [sys.executable, "-P", "-c", TRY_IMPORT, json.dumps(paths), module]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if FINISHED not in done.stdout:
            code = done.returncode
            how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
            raise InputError(
                f"label.teacher.calculator: importing '{module}' of '{self.calculator}' ends the process ({how})\n"
                "  mend the module: what it does on import must return"
            )

    def load(self) -> Teacher:
        make = self._callable()
        self._refuse_keywords(make)
        module, _ = self.calculator.split(":")
        fingerprint = {
            "name": f"ase {self.calculator}",
            "version": _version(module),
            "weights": f"options sha256:{sha256_of_options(self.options)}",
            "dtype": self.precision,
        }

        def calculator() -> Any:
            try:
                made = make(**_with_worker(self.options))
            except Exception as error:
                raise self._not_made(error) from error
            if isinstance(made, type) or not hasattr(made, "get_potential_energy"):
                kind = f"the class {made.__name__} itself" if isinstance(made, type) else type(made).__name__
                raise InputError(
                    f"label.teacher.calculator: '{self.calculator}' returns {kind}, expected an ASE calculator\n"
                    "  name its class, or a function that returns one"
                )
            self._refuse_too_little(made)
            self._refuse_shared_files(made)
            return made

        return AseTeacher(calculator, fingerprint, atomic_numbers_of(self.elements) or None, stress=self.stress)

    def _not_made(self, error: Exception) -> InputError:
        """Return the refusal of a callable that raises, which only a TypeError blames on its arguments."""
        needs = "expected its keyword arguments in label.teacher.options"
        if not isinstance(error, TypeError):
            needs = "the calculator itself raises this: give it what it needs, such as a file, a variable or a device"
        how = f" with the options {self.options}" if self.options else ""
        return InputError(f"{self.calculator} cannot be made{how}:\n  {type(error).__name__}: {error}\n  {needs}")

    def _callable(self) -> Callable[..., Any]:
        module, _, attribute = self.calculator.partition(":")
        if self.folder and self.folder not in sys.path:
            sys.path.append(self.folder)  # last, so that a file of the user's never replaces an installed module
        try:
            found: Any = importlib.import_module(module)
        except (Exception, SystemExit) as error:
            raise InputError(
                f"label.teacher.calculator: the module '{module}' of '{self.calculator}' cannot be imported: {error!r}\n"
                f"  {_remedy_of_import(error)}"
            ) from error
        self._refuse_hidden(module)
        for name in attribute.split("."):
            if not hasattr(found, name):
                public = [n for n in dir(found) if not n.startswith("_") and callable(getattr(found, n))]
                raise InputError(f"label.teacher.calculator: no '{name}' in '{module}'; {nearest(name, public)}")
            found = getattr(found, name)
        if not callable(found):
            kind = type(found).__name__
            raise InputError(f"label.teacher.calculator: '{self.calculator}' is a {kind}, expected a callable")
        return found

    def _refuse_keywords(self, made_by: Callable[..., Any]) -> None:
        """Refuse options that the callable does not take, or that ASE would store and nothing would read."""
        if fault := fault_of_keywords(made_by, _with_worker(self.options)):
            raise InputError(
                f"label.teacher.options: {fault}\n  expected keyword arguments of '{self.calculator}'; if these are right, "
                "name a function of your own that makes it"
            )

    def _refuse_too_little(self, calculator: Any) -> None:
        """Refuse a calculator, or its class, that states its properties and lacks energy or forces."""
        stated = getattr(calculator, "implemented_properties", None)
        lacking = {"energy", "forces"} - set(stated or ("energy", "forces"))
        if lacking:
            raise InputError(
                f"label.teacher.calculator: '{self.calculator}' computes {', '.join(stated or ())}, and no "
                f"{' and '.join(sorted(lacking))}\n"
                "  a teacher needs energy and forces; add what it computes to its implemented_properties"
            )

    def _refuse_shared_files(self, calculator: Any) -> None:
        """Refuse a calculator that writes files in a second worker, where both would write the same files."""
        writes = hasattr(calculator, "write_input") or hasattr(calculator, "template")
        if writes and int(os.environ.get(WORKER_VARIABLE, "0")) > 0 and WORKER not in json.dumps(self.options, default=str):
            raise InputError(
                f"label.teacher.calculator: '{self.calculator}' writes its input and output as files, and several workers "
                f"would write the same ones\n  give each a folder, such as  options: {{directory: scratch/{WORKER}}},  "
                "or set  workers: 1"
            )

    def _refuse_hidden(self, module: str) -> None:
        """Refuse a module of Python or of an installed package where the folder contains one of the same name."""
        top = module.partition(".")[0]
        if not self.folder or not any((Path(self.folder) / name).exists() for name in (f"{top}.py", f"{top}/__init__.py")):
            return
        place = Path(getattr(sys.modules[module], "__file__", None) or "").resolve()
        if Path(self.folder).resolve() not in place.parents:
            raise InputError(
                f"label.teacher.calculator: '{module}' is also a module at {place}, which hides the one in {self.folder}\n"
                "  give your module another name"
            )


def _with_worker(value: Any) -> Any:
    """Return options in which each ``{worker}`` is the host and the number of this worker process."""
    if isinstance(value, dict):
        return {key: _with_worker(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_worker(item) for item in value]
    here = f"{platform.node()}-{os.environ.get(WORKER_VARIABLE, 'main')}"
    return value.replace(WORKER, here) if isinstance(value, str) else value


def _version(module: str) -> str:
    """Return name and version of the package that a module belongs to; without one, the hash of its files."""
    top = module.split(".", maxsplit=1)[0]
    packages = sorted(set(metadata.packages_distributions().get(top, ())))
    if packages:
        return " ".join(f"{package} {metadata.version(package)}" for package in packages)

    file = getattr(importlib.import_module(module), "__file__", None)
    if not file:
        return module
    above = module.count(".") + (Path(file).name == "__init__.py")
    files = _with_helpers(Path(file), Path(file).parents[above])
    sums = [sha256_of_file(path) for path in files]
    return f"{module} {sums[0] if len(sums) == 1 else sha256_of_text(' '.join(sums))}"


def _with_helpers(file: Path, top: Path) -> list[Path]:
    """Return a module of the user's, and the files beside it or below ``top`` that it imports, also through each other."""
    found = [file]
    for path in found:
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError, OSError):  # a compiled module
            continue
        names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                names += [node.module or "", *(f"{node.module or ''}.{alias.name}".strip(".") for alias in node.names)]
        parts = [name.split(".") for name in sorted(set(names)) if name]
        places = [folder.joinpath(*words) for words in parts for folder in dict.fromkeys((path.parent, top))]
        beside = [p for place in places for p in (place.with_suffix(".py"), place / "__init__.py") if p.is_file()]
        found += [p for p in beside if p not in found]
    return found
