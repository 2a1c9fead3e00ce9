"""Section ``audit`` of the config: the limits of the checks."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from potstill.core.section import Section


class AuditConfig(Section):
    """Section ``audit``: the limits of the checks. The report shows the changed ones."""

    min_teacher_success: Annotated[
        float,
        Field(ge=0, le=1, description="smallest accepted share of labelled structures among those given to the teacher"),
    ] = 0.95
    min_within_limits: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="smallest accepted share of the teacher's labels within label.max_force_ev_per_angstrom and "
            "label.max_stress_ev_per_cubic_angstrom",
        ),
    ] = 0.8
    min_element_entropy_bits: Annotated[
        float, Field(ge=0, description="smallest accepted Shannon entropy of the elements over atoms, in bits")
    ] = 3.07
    min_element_coverage: Annotated[int, Field(ge=1, description="smallest accepted number of elements")] = 9
    min_size_cv: Annotated[
        float,
        Field(
            ge=0, description="smallest accepted ratio of standard deviation to mean of the number of atoms per structure"
        ),
    ] = 0.5
    max_duplicates: Annotated[
        int, Field(ge=0, description="largest accepted number of structures with the content of another")
    ] = 0
    max_near_duplicates: Annotated[
        int, Field(ge=0, description="largest accepted number of structures with the distances of another")
    ] = 0
    min_scaled_distance: Annotated[
        float, Field(ge=0, le=1, description="smallest accepted distance of two atoms over the sum of their covalent radii")
    ] = 0.6
    max_hydrogen_deficit: Annotated[
        float, Field(ge=0, description="largest accepted share of molecules that lack hydrogen atoms")
    ] = 0.0
    max_force_ev_per_angstrom: Annotated[float, Field(gt=0, description="largest accepted force on an atom, in eV/Å")] = 50.0
    min_structures_per_hour: Annotated[
        float, Field(ge=0, description="smallest accepted labelling rate, in structures per hour")
    ] = 100.0
    replay_fraction: Annotated[
        float, Field(ge=0, le=1, description="share of the structures that the teacher labels again, 0 to 1")
    ] = 0.01
    max_replay_force_ev_per_angstrom: Annotated[
        float, Field(gt=0, description="largest accepted difference between a stored and a repeated force, in eV/Å")
    ] = 1e-3
    max_volume_per_atom_cubic_angstrom: Annotated[
        float, Field(gt=0, description="largest accepted volume per atom of a crystal, in Å^3")
    ] = 120.0
    max_packing: Annotated[
        float, Field(gt=0, description="largest accepted volume of the atoms' covalent spheres over that of the cell")
    ] = 2.0
    max_vacuum_angstrom: Annotated[
        float, Field(gt=0, description="widest accepted layer without atoms where all three axes are periodic, in Å")
    ] = 15.0
    max_cell_ratio: Annotated[
        float, Field(ge=1, description="largest accepted product of the lengths of the lattice vectors over the volume")
    ] = 50.0
    max_overbonded_fraction: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="largest accepted share of molecules with an H, C, N, O or F atom that has too many bonds",
        ),
    ] = 0.01
    max_fragmented_fraction: Annotated[
        float, Field(ge=0, le=1, description="largest accepted share of molecules in more pieces than their SMILES")
    ] = 0.02
    max_charged: Annotated[
        int, Field(ge=0, description="largest accepted number of molecules whose SMILES has a net charge")
    ] = 0
    min_structures_per_element: Annotated[
        int, Field(ge=1, description="smallest accepted number of structures with the rarest element")
    ] = 3
    max_force_per_source: Annotated[
        dict[str, Annotated[float, Field(gt=0)]],
        Field(description="largest accepted force by name of the source, in eV/Å, instead of the general limit"),
    ] = {}
    max_stress_ev_per_cubic_angstrom: Annotated[
        float, Field(gt=0, description="largest accepted component of a stress, in eV/Å^3")
    ] = 3.0
    max_stress_per_source: Annotated[
        dict[str, Annotated[float, Field(gt=0)]],
        Field(
            description="largest accepted component of a stress by name of the source, in eV/Å^3, instead of the "
            "general limit"
        ),
    ] = {}
    max_stress_asymmetry_ev_per_cubic_angstrom: Annotated[
        float,
        Field(
            gt=0, description="largest accepted difference between two components of a stress across the diagonal, in eV/Å^3"
        ),
    ] = 1e-3
    max_energy_score: Annotated[
        float,
        Field(
            gt=0,
            description="largest accepted energy per atom less reference energies, in robust standard deviations of "
            "the source",
        ),
    ] = 30.0
    max_net_force_ev_per_angstrom: Annotated[
        float, Field(gt=0, description="largest accepted sum of a structure's forces per atom, in eV/Å")
    ] = 1e-3
    max_net_torque_ev: Annotated[
        float, Field(gt=0, description="largest accepted sum of the torques on a molecule per atom, in eV")
    ] = 1e-3
    max_energy_work_ratio: Annotated[
        float,
        Field(
            gt=0,
            description="largest accepted gap between the energy difference of siblings and the work between them, "
            "over its bound",
        ),
    ] = 1.5
    max_energy_work_slope: Annotated[
        float,
        Field(
            gt=0,
            description="largest accepted distance from 1 of the slope of siblings' energy differences on the work "
            "between them",
        ),
    ] = 0.1
    max_pair_fit_slope: Annotated[
        float,
        Field(
            gt=0,
            description="largest accepted distance from 1 of the slope of energies on those of a pair potential fitted "
            "to the forces",
        ),
    ] = 0.35
    max_label_scale: Annotated[
        float,
        Field(
            gt=1,
            description="factor between forces or energies that no teacher repeats and those of the student general, or its "
            "inverse; a warning above",
        ),
    ] = 5.0
    min_label_correlation: Annotated[
        float,
        Field(
            ge=-1,
            le=1,
            description="correlation of forces, shear stresses and energies that no teacher repeats with those of the "
            "student general; a warning below",
        ),
    ] = 0.5
    max_energies_apart: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="share of energies far from those of the student general, where most are near; a warning above",
        ),
    ] = 0.05
    max_wrong_lone_atoms: Annotated[
        int,
        Field(ge=0, description="number of lone atoms whose energy does not fit bonded structures; a warning above"),
    ] = 0
    max_gradient_error: Annotated[
        float,
        Field(
            gt=0,
            description="largest accepted relative gap between energy differences of the teacher and stored forces "
            "and stress",
        ),
    ] = 0.05
    max_force_floor_ratio: Annotated[
        float,
        Field(
            gt=0,
            description="part of the teacher's forces that no potential can reproduce, rms over their rms; a warning above",
        ),
    ] = 0.01
    max_equivalence_gap: Annotated[
        float,
        Field(
            gt=0,
            description="largest accepted difference of the teacher's answers to equal structures: energy per atom in eV, "
            "force in eV/Å, or stress times volume per atom in eV",
        ),
    ] = 0.05
    min_structural_entropy: Annotated[
        float, Field(ge=0, le=1, description="smallest accepted entropy of the atomic environments over its ceiling")
    ] = 0.3
    min_source_novelty: Annotated[
        float,
        Field(ge=0, le=1, description="share of a source's atomic environments that no other source has; a warning below"),
    ] = 0.02
    max_refused_fraction: Annotated[
        float, Field(ge=0, le=1, description="share of a source's candidates that are refused; a warning above")
    ] = 0.95
    min_share_of_asked: Annotated[
        float,
        Field(
            ge=0, le=1, description="smallest accepted share of labelled structures among those requested, for each source"
        ),
    ] = 0.8

    @property
    def by_source(self) -> dict[str, dict[str, float]]:
        """Return the options that hold a limit for each source, by their names."""
        return {name: getattr(self, name) for name in ("max_force_per_source", "max_stress_per_source")}
