"""The commands ``potstill dataset info | merge | subset | diff``, on files of schema 1 or run folders that hold one."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from potstill.cli.output import AsJson, print_json
from potstill.core.counts import several
from potstill.core.errors import InputError

dataset_app = typer.Typer(
    name="dataset", help="Look into dataset files, join them, take parts of them.", no_args_is_help=True
)

DatasetFile = Annotated[Path, typer.Argument(help="dataset.h5 or a run folder.")]


class Part(StrEnum):
    """Parts of the split."""

    train = "train"
    valid = "valid"
    test = "test"


@dataset_app.command()
def info(
    data: DatasetFile,
    as_json: AsJson = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes to use; all cores if not given.")] = None,
) -> None:
    """Show counts, elements, sizes, energies, forces, stress, distances and neighbors, in one pass."""
    from rich.console import Console

    from potstill.dataset import open_file
    from potstill.dataset.statistics import dataset_statistics
    from potstill.dataset.tables import print_statistics

    dataset = open_file(data)
    stats = dataset_statistics(dataset, workers=workers)
    if as_json:
        print_json({"path": str(dataset.path), **stats.as_dict()})
    else:
        print_statistics(stats, Console())


@dataset_app.command()
def merge(
    files: Annotated[list[Path], typer.Argument(metavar="FILE... OUT", help="Datasets to join, and the file to write.")],
    valid_fraction: Annotated[float, typer.Option(help="Share of the families held out for validation.")] = 0.05,
    test_fraction: Annotated[float, typer.Option(help="Share of the families held out for the test.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Random seed of the new split.")] = 0,
    rename: Annotated[bool, typer.Option("--rename", help="Put the number of its file before each id.")] = False,
    as_json: AsJson = False,
) -> None:
    """Join datasets of one teacher; families are divided anew where every file has a split."""
    from potstill.dataset import open_file
    from potstill.dataset.combine import merge_datasets
    from potstill.dataset.options import SplitConfig

    *sources, target = files
    if len(sources) < 2:
        raise InputError("merge takes at least two datasets and the file to write:  potstill dataset merge A.h5 B.h5 OUT.h5")
    if not (min(valid_fraction, test_fraction) >= 0 and valid_fraction + test_fraction < 1):  # nor NaN
        raise InputError("valid_fraction and test_fraction must not be negative and must add up to less than 1")
    paths = [open_file(path).path for path in sources]
    parts = SplitConfig(valid_fraction=valid_fraction, test_fraction=test_fraction)
    split = merge_datasets(paths, target, split=parts, seed=seed, rename=rename)
    count = len(open_file(target))
    if as_json:
        print_json({"path": str(target), "structures": count, "split": split})
    else:
        typer.echo(f"{several(count, 'structure')} written to {target}, {split}")


@dataset_app.command()
def subset(  # noqa: PLR0913, PLR0917 - one for each option
    data: DatasetFile,
    target: Annotated[Path, typer.Argument(help="File to write.")],
    source: Annotated[list[str] | None, typer.Option(help="Only this source; may be given again.")] = None,
    elements: Annotated[str, typer.Option(help="Only structures of these elements, such as H,C,O.")] = "",
    max_atoms: Annotated[int | None, typer.Option(min=1, help="Largest number of atoms.")] = None,
    split: Annotated[Part | None, typer.Option(help="Only this side of the split.")] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="This many at random.")] = None,
    first: Annotated[int | None, typer.Option(min=1, help="This many from the start of what is left.")] = None,
    seed: Annotated[int, typer.Option(help="Random seed of the sample.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Write some structures of a dataset as another; all conditions given must hold."""
    from potstill.core.elements import atomic_numbers_of
    from potstill.dataset import open_file
    from potstill.dataset.combine import Choice, choose, write_subset

    dataset = open_file(data)
    numbers = frozenset(atomic_numbers_of(elements.replace(",", " ").split()))
    choice = Choice(tuple(source or ()), numbers, max_atoms, split.value if split else None, sample, first, seed)
    indices = choose(dataset, choice)
    write_subset(dataset, indices, target)
    if as_json:
        counts = {"structures": len(indices), "of": len(dataset), "refusals_left_out": len(dataset.refused)}
        print_json({"path": str(target), **counts})
        return
    typer.echo(f"{len(indices)} of {several(len(dataset), 'structure')} written to {target}")
    if dataset.refused:
        typer.echo(f"{len(dataset.refused)} refusals stay in {dataset.path}")


@dataset_app.command()
def diff(first: DatasetFile, second: DatasetFile, as_json: AsJson = False) -> None:
    """Show what differs between two datasets, by the ids of their structures; exit 1 where anything does."""
    from rich.console import Console

    from potstill.dataset import open_file
    from potstill.dataset.diff import diff_datasets
    from potstill.dataset.tables import print_difference

    found = diff_datasets(open_file(first), open_file(second))
    if as_json:
        print_json(found.as_dict())
    else:
        print_difference(found, Console())
    if found:
        raise typer.Exit(1)
