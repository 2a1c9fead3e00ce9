"""Section ``audit`` of the config: the limits of the checks."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from potstill.core.section import Section


class AuditConfig(Section):
    """Section ``audit``: the gates. A changed one is shown in the report."""

    min_teacher_success: Annotated[float, Field(ge=0, le=1, description="labelled / asked")] = 0.95
    min_element_entropy_bits: Annotated[float, Field(ge=0, description="Shannon entropy of elements over atoms")] = 3.07
    min_element_coverage: Annotated[int, Field(ge=1, description="number of elements")] = 9
    min_size_cv: Annotated[float, Field(ge=0, description="standard deviation / mean of atoms per structure")] = 0.5
    max_duplicates: Annotated[int, Field(ge=0, description="structures with the same content as another")] = 0
    max_near_duplicates: Annotated[int, Field(ge=0, description="structures with the distances of another")] = 0
    min_scaled_distance: Annotated[float, Field(ge=0, description="smallest distance over the sum of covalent radii")] = 0.6
    max_hydrogen_deficit: Annotated[float, Field(ge=0, description="share of molecules that lack hydrogen atoms")] = 0.0
    max_force_ev_per_angstrom: Annotated[float, Field(gt=0, description="largest force on an atom")] = 50.0
    min_structures_per_hour: Annotated[float, Field(ge=0, description="rate of labelling")] = 100.0
    replay_fraction: Annotated[float, Field(ge=0, le=1, description="share of labels that the teacher repeats")] = 0.01
    max_replay_force_ev_per_angstrom: Annotated[
        float, Field(gt=0, description="largest difference between a stored force and its repetition")
    ] = 1e-3
    max_volume_per_atom_cubic_angstrom: Annotated[float, Field(gt=0, description="largest volume per atom of a crystal")] = (
        120.0
    )
    max_packing: Annotated[float, Field(gt=0, description="covalent spheres of the atoms over the volume of the cell")] = 2.0
    max_vacuum_angstrom: Annotated[
        float, Field(gt=0, description="widest layer without atoms where all three axes are periodic")
    ] = 15.0
    max_cell_ratio: Annotated[float, Field(ge=1, description="lengths of the lattice vectors over the volume")] = 50.0
    max_overbonded_fraction: Annotated[
        float, Field(ge=0, le=1, description="share of molecules with an atom of H, C, N, O, F that has too many bonds")
    ] = 0.01
    max_fragmented_fraction: Annotated[
        float, Field(ge=0, le=1, description="share of molecules in more pieces than their SMILES has")
    ] = 0.02
    max_charged: Annotated[int, Field(ge=0, description="molecules whose SMILES has a net charge")] = 0
    min_structures_per_element: Annotated[int, Field(ge=1, description="structures that hold the rarest element")] = 3
    max_force_per_source: Annotated[
        dict[str, Annotated[float, Field(gt=0)]], Field(description="largest force by name of the source, in eV/Å")
    ] = {}
    max_stress_ev_per_cubic_angstrom: Annotated[float, Field(gt=0, description="largest component of a stress")] = 3.0
    max_stress_per_source: Annotated[
        dict[str, Annotated[float, Field(gt=0)]], Field(description="largest stress by name of the source, in eV/Å^3")
    ] = {}
    max_stress_asymmetry_ev_per_cubic_angstrom: Annotated[
        float, Field(gt=0, description="largest difference across the diagonal of a stress")
    ] = 1e-3
    max_energy_score: Annotated[
        float,
        Field(gt=0, description="energy per atom beyond references of the elements, in robust deviations of the source"),
    ] = 30.0
    max_net_force_ev_per_angstrom: Annotated[float, Field(gt=0, description="sum of a structure's forces, per atom")] = 1e-3
    max_net_torque_ev: Annotated[float, Field(gt=0, description="sum of the torques on a molecule, per atom")] = 1e-3
    max_energy_work_ratio: Annotated[
        float, Field(gt=0, description="energy difference of siblings less the work on the way, over its bound")
    ] = 1.5
    max_energy_work_slope: Annotated[
        float, Field(gt=0, description="distance from 1 of the slope of energy differences on that work")
    ] = 0.1
    max_gradient_error: Annotated[
        float, Field(gt=0, description="energy differences of the teacher against stored forces and stress, relative")
    ] = 0.05
    max_force_floor_ratio: Annotated[
        float, Field(gt=0, description="part of the teacher's forces that no potential can have, rms; a warning above")
    ] = 0.01
    min_structural_entropy: Annotated[
        float, Field(ge=0, le=1, description="entropy of the surroundings of atoms over its ceiling")
    ] = 0.3
    min_source_novelty: Annotated[
        float, Field(ge=0, le=1, description="share of a source's surroundings that no other has; a warning below")
    ] = 0.02
    max_refused_fraction: Annotated[
        float, Field(ge=0, le=1, description="share of a source's candidates that is refused; a warning above")
    ] = 0.95
    min_share_of_asked: Annotated[float, Field(ge=0, le=1, description="labelled / asked for, of each source")] = 0.8
