"""The commands ``potstill verify`` and ``potstill convert``, on dataset files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from potstill.cli.output import AsJson, print_json
from potstill.core.counts import several


def verify(data: Annotated[Path, typer.Argument(help="dataset.h5 or a run folder.")], as_json: AsJson = False) -> None:
    """Check schema, checksums and counts of a dataset; exit 1 where something is wrong."""
    from potstill.dataset import open_file

    dataset = open_file(data)
    faults = dataset.verify()
    if as_json:
        counts = {"structures": len(dataset), "atoms": int(dataset.ptr[-1])}
        print_json({"good": not faults, "path": str(dataset.path), **counts, "faults": list(faults)})
        raise typer.Exit(1 if faults else 0)
    for fault in faults:
        typer.echo(fault)
    if faults:
        raise typer.Exit(1)
    typer.echo(f"{dataset.path}: {several(len(dataset), 'structure')}, {int(dataset.ptr[-1])} atoms, every checksum right")


def convert(
    source: Annotated[Path, typer.Argument(help="File to read.")],
    target: Annotated[Path, typer.Argument(help="File to write; its ending says the format.")],
    energy_key: Annotated[str, typer.Option(help="Key of the energy in eV, such as dft_energy.")] = "",
    forces_key: Annotated[str, typer.Option(help="Key of the forces in eV/Å.")] = "",
    stress_key: Annotated[str, typer.Option(help="Key of the stress in eV/Å^3, + is tension.")] = "",
    species: Annotated[
        list[str] | None, typer.Option(help="Element of a type or atom name, such as 1=Si; may be given again.")
    ] = None,
    ignore_charge: Annotated[
        bool, typer.Option("--ignore-charge", help="Take structures with a stated charge or spin all the same.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Convert between dataset.h5, extended XYZ, ASE databases (.db) and LMDB (.aselmdb), by the endings."""
    from potstill.dataset.convert import convert as convert_file
    from potstill.dataset.inputs import ReadOptions
    from potstill.dataset.inputs.species import parse_species
    from potstill.run.progress import Progress

    with Progress().counts(None, "structures written and compared") as bar:
        options = ReadOptions(parse_species(species or ()), energy_key, forces_key, stress_key, ignore_charge)
        count = convert_file(source, target, bar.advance, options=options)
    if as_json:
        print_json({"path": str(target), "structures": count})
    else:
        typer.echo(f"{several(count, 'structure')} written to {target}")
