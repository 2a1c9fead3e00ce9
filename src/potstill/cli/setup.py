"""The command ``potstill setup NAME``: the isolated environment of a source or teacher, or the plugin for LAMMPS."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from potstill.cli.output import AsJson, ended_as_json
from potstill.core.errors import InputError

if TYPE_CHECKING:
    from potstill.environments import Installed, Options


def setup(  # noqa: PLR0913, PLR0917 - an option each
    name: Annotated[str, typer.Argument(help="What to set up: mattergen, moldiff, mace or lammps.")],
    weights: Annotated[Path | None, typer.Option(help="File or folder of weights to take.")] = None,
    checkpoint: Annotated[list[str] | None, typer.Option(help="Released model to download; may be given again.")] = None,
    repository: Annotated[Path | None, typer.Option(help="Checkout to use instead of cloning one.")] = None,
    python: Annotated[Path | None, typer.Option(help="Interpreter to make the environment with.")] = None,
    requirements: Annotated[Path | None, typer.Option(help="List of packages instead of the pinned one.")] = None,
    build: Annotated[
        str | None, typer.Option(help="Build of PyTorch, such as cpu; by the GPUs of this machine where not given.")
    ] = None,
    lammps: Annotated[Path | None, typer.Option(help="Source tree of LAMMPS to compile the plugin for.")] = None,
    proof: Annotated[bool, typer.Option(help="Make or label two structures at the end.")] = True,
    as_json: AsJson = False,
) -> None:
    """Make the isolated environment of a source or teacher, or compile the plugin for LAMMPS; what was done is skipped."""
    from potstill.environments import Options

    facts: dict[str, Any] = {"name": name, "ready": False, "folder": None, "files": []}
    with ended_as_json(as_json, lambda: facts):
        if name == "lammps":
            from potstill.deploy.lammps_setup import setup_lammps

            facts |= {"files": [str(file) for file in setup_lammps(lammps, typer.echo)], "ready": True}
            return
        if requirements is not None and not requirements.is_file():
            raise InputError(f"--requirements: no file at {requirements}")
        options = Options(weights, tuple(checkpoint or ()), repository, python, requirements, build)
        place = _environment(name, options, proof=proof)
        facts |= {"folder": str(place.folder), "ready": place.proved}
        typer.echo(f"{name} is ready in {place.folder}" if place.proved else f"{name} is made, but was never tried")


def _environment(name: str, options: Options, *, proof: bool) -> Installed:
    """Make an environment, or raise with the nearest name."""
    from potstill.core.registry import nearest
    from potstill.environments import ENVIRONMENTS
    from potstill.environments import setup as make

    if name not in ENVIRONMENTS:
        raise InputError(f"no environment named '{name}'; {nearest(name, [*ENVIRONMENTS, 'lammps'])}")
    return make(ENVIRONMENTS[name], options, say=typer.echo, prove=(lambda: _prove(name)) if proof else None)


def _prove(name: str) -> list[str]:
    from potstill.environments import installed
    from potstill.generate.options import SOURCES
    from potstill.generate.program import ProgramSource
    from potstill.generate.proof import prove
    from potstill.teacher.proof import prove_mace

    if name == "mace":
        return prove_mace()
    kind = SOURCES[name]
    assert issubclass(kind, ProgramSource)  # noqa: S101 - an environment without a source would be a fault of the catalogue
    return prove(kind.with_weights_of(installed(name)))
