"""The config: one frozen section per stage, refused with dotted paths and nearest names where it is wrong.

Enters a YAML file, leaves a :class:`Config`. Each option's type, default, unit and prose stand at its field and nowhere
else; templates and docs are made from them.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from potstill.errors import InputError
from potstill.execute.options import Local, Parsl
from potstill.generate.alloys import Alloys
from potstill.generate.benchmark import Benchmark
from potstill.generate.chempleter import Chempleter
from potstill.generate.clusters import Clusters
from potstill.generate.crystals import Crystals
from potstill.generate.defects import Defects
from potstill.generate.dimers import Dimers
from potstill.generate.door import DoorOptions
from potstill.generate.files import Files
from potstill.generate.liquids import Liquids
from potstill.generate.mattergen import MatterGen
from potstill.generate.md import MD
from potstill.generate.melts import Melts
from potstill.generate.mix import Contingency
from potstill.generate.moldiff import MolDiff
from potstill.generate.molecules import Molecules
from potstill.generate.mutants import Mutants
from potstill.generate.perturb import Perturb
from potstill.generate.prototypes import Prototypes
from potstill.generate.source import Families, SourceOptions
from potstill.generate.surfaces import Surfaces
from potstill.generate.torsions import Torsions
from potstill.generate.trees import Trees
from potstill.label.calculator import AseCalculator
from potstill.label.chgnet import CHGNet
from potstill.label.classical import EMT, LennardJones
from potstill.label.extras import Extra
from potstill.label.mace import MACE
from potstill.label.orb import OrbV2, OrbV3
from potstill.label.select import SelectOptions
from potstill.label.sevennet import SevenNet
from potstill.label.teacher import TeacherOptions
from potstill.label.xtb import XTB
from potstill.registry import nearest, plugins
from potstill.rounds.options import RoundsConfig
from potstill.student.config import Backend, StudentConfig

SOURCES: dict[str, type[SourceOptions]] = {
    "molecules": Molecules,
    "crystals": Crystals,
    "benchmark": Benchmark,
    "prototypes": Prototypes,
    "alloys": Alloys,
    "surfaces": Surfaces,
    "clusters": Clusters,
    "melts": Melts,
    "liquids": Liquids,
    "mutants": Mutants,
    "chempleter": Chempleter,
    "torsions": Torsions,
    "dimers": Dimers,
    "defects": Defects,
    "perturb": Perturb,
    "trees": Trees,
    "md": MD,
    "files": Files,
    "mattergen": MatterGen,
    "moldiff": MolDiff,
    **plugins("sources"),
}
TEACHERS: dict[str, type[TeacherOptions]] = {
    "sevennet": SevenNet,
    "chgnet": CHGNet,
    "orb-v2": OrbV2,
    "orb-v3": OrbV3,
    "mace": MACE,
    "xtb": XTB,
    "ase": AseCalculator,
    "lennard-jones": LennardJones,
    "emt": EMT,
    **plugins("teachers"),
}


BACKENDS: dict[str, type[BaseModel]] = {"local": Local, "parsl": Parsl}
if TYPE_CHECKING:
    AnySource = SourceOptions
    AnyTeacher = TeacherOptions
else:
    AnySource = Annotated[functools.reduce(operator.or_, SOURCES.values()), Field(discriminator="source")]
    AnyTeacher = Annotated[functools.reduce(operator.or_, TEACHERS.values()), Field(discriminator="name")]


AnySection = TypeVar("AnySection", bound="Section")


class Section(BaseModel):
    """Base of all sections: frozen, and an option that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _refuse_unknown_symbols(symbols: Iterable[str]) -> None:
    from ase.data import chemical_symbols

    unknown = [s for s in symbols if s not in chemical_symbols[1:]]
    if unknown:
        raise ValueError(f"not a chemical symbol: {', '.join(unknown)}")


class GenerateConfig(Section):
    """Section ``generate``: which structures, from where."""

    elements: Annotated[
        tuple[str, ...], Field(description="chemical symbols allowed in every source; all that it can make where empty")
    ] = ()
    sources: Annotated[tuple[AnySource, ...], Field(min_length=1, description="sources, in order")]
    door: Annotated[DoorOptions, Field(description="geometry that is refused before labelling")] = DoorOptions()

    families: Annotated[
        Families,
        Field(
            description="what is held out as a whole: all structures of one composition with their copies; or structure: "
            "each by itself, for one system, where there is nothing else to hold out"
        ),
    ] = "composition"
    contingency: Annotated[
        Contingency, Field(description="the mix without a generative source that is missing or fails; see --fallback")
    ] = Contingency()
    balance: Annotated[
        float,
        Field(ge=0, lt=1, description="share of the candidates made of common elements that each source turns away"),
    ] = 0.0
    after: Annotated[
        tuple[Path, ...],
        Field(description="folders of earlier runs: candidates go on where theirs ended, and nothing is made twice"),
    ] = ()

    @field_validator("elements")
    @classmethod
    def _known_elements(cls, symbols: tuple[str, ...]) -> tuple[str, ...]:
        _refuse_unknown_symbols(symbols)
        return symbols

    @model_validator(mode="after")
    def _consistent(self) -> GenerateConfig:
        names = [source.name for source in self.sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sources are named {', '.join(twice)}; give one of them another 'label'")
        if self.sources[0].derived:
            raise ValueError(f"the source '{names[0]}' copies earlier sources, so it cannot come first")
        for k, source in enumerate(self.sources):
            for parent in getattr(source, "parents", ()):
                if parent not in names[:k]:
                    raise ValueError(
                        f"'{names[k]}' starts from '{parent}', no source before it; {nearest(parent, names[:k])}"
                    )
        return self

    def resolved_sources(self, teacher: TeacherOptions | None = None) -> list[SourceOptions]:
        """Sources with the section's elements, and the teacher of the labels, filled in where they state none."""
        shared = {"elements": self.elements, "teacher": teacher}
        return [
            s.model_copy(update={k: v for k, v in shared.items() if k in type(s).model_fields and not getattr(s, k)})
            for s in self.sources
        ]


class LabelConfig(Section):
    """Section ``label``: the teacher and what is accepted from it."""

    teacher: Annotated[AnyTeacher, Field(description="the slow model that is learnt from")] = SevenNet()
    max_force_ev_per_angstrom: Annotated[
        float, Field(gt=0, description="a structure with a larger force on any atom is refused")
    ] = 30.0
    max_stress_ev_per_cubic_angstrom: Annotated[
        float, Field(gt=0, description="a crystal with a larger component of stress is refused; 1 eV/Å^3 is 160 GPa")
    ] = 1.0
    timeout_seconds_per_structure: Annotated[
        float | None, Field(gt=0, description="a structure that takes the teacher longer is refused; no limit where null")
    ] = 120.0
    select: Annotated[
        SelectOptions | None, Field(description="which of the generated structures are labelled; all where null")
    ] = None
    extra: Annotated[
        tuple[Extra, ...],
        Field(
            description="what is stored of each atom beside the labels: local_energies, node_embeddings, "
            "hessian_vector_products (twice more questions to the teacher), force_disagreement (of the committee)"
        ),
    ] = ()
    committee: Annotated[
        tuple[AnyTeacher, ...], Field(description="further teachers, for the disagreement of the forces")
    ] = ()
    structures_per_task: Annotated[
        int, Field(gt=0, le=10_000, description="structures in one part file; a kill costs at most one part per worker")
    ] = 32

    @model_validator(mode="after")
    def _committee_and_its_use(self) -> LabelConfig:
        if bool(self.committee) != ("force_disagreement" in self.extra):
            raise ValueError("a 'committee' and the extra 'force_disagreement' belong together: give both or none")
        return self


class SplitConfig(Section):
    """Section ``dataset``: how families are divided."""

    valid_fraction: Annotated[float, Field(ge=0, lt=1, description="share of the families that watch the training")] = 0.05
    test_fraction: Annotated[float, Field(ge=0, lt=1, description="share of the families that are held out")] = 0.1

    @model_validator(mode="after")
    def _leave_some_to_train(self) -> SplitConfig:
        if self.valid_fraction + self.test_fraction >= 1:
            raise ValueError("valid_fraction + test_fraction must be below 1: nothing is left to train on")
        return self


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


Loss = Literal["energy", "forces", "stress", "local_energies", "node_embeddings", "hessian"]


def _rate_or_auto(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    try:
        return check(value)
    except ValidationError:
        raise ValueError(f"found {value!r}; it is a number above 0, or auto") from None


class TrainConfig(Section):
    """Section ``train``: how the student learns."""

    epochs: Annotated[int, Field(gt=0, description="passes over the training families")] = 100
    batch_structures: Annotated[int, Field(gt=0, description="structures in one step at most")] = 16
    batch_atoms: Annotated[
        int | None, Field(gt=0, description="atoms in one step at most; a structure with more has a step for itself")
    ] = None
    learning_rate: Annotated[
        Annotated[float, Field(gt=0)] | Literal["auto"],
        Field(description="highest learning rate (AdamW); auto: by a range test before the training"),
        WrapValidator(_rate_or_auto),
    ] = 2e-3
    processes: Annotated[
        int,
        Field(
            gt=0,
            description="that train together on a machine, each on its part of every batch: as many as there are GPUs; "
            "on a CPU threads do as well",
        ),
    ] = 1
    nodes: Annotated[
        int, Field(gt=0, description="of a SLURM job that train together, each with so many processes, which srun starts")
    ] = 1
    patience_epochs: Annotated[
        int | None,
        Field(
            gt=0,
            description="epochs without a smaller force error on 'valid' that end the training; the best student is kept. "
            "All epochs are done, and the last student is kept, where null",
        ),
    ] = None
    warmup_fraction: Annotated[float, Field(ge=0, lt=1, description="share of the steps before the cosine decay")] = 0.03
    weight_decay: Annotated[float, Field(ge=0, description="of AdamW")] = 1e-3
    energy_weight: Annotated[float, Field(ge=0, description="of the error of the energy per atom in eV")] = 1.0
    forces_weight: Annotated[float, Field(ge=0, description="of the length of the force error in eV/Å")] = 10.0
    stress_weight: Annotated[float, Field(ge=0, description="of the stress error in eV/Å^3")] = 10.0
    local_energies_weight: Annotated[
        float, Field(ge=0, description="of the error of each atom's energy in eV, where label.extra has local_energies")
    ] = 0.0
    node_embeddings_weight: Annotated[
        float,
        Field(
            ge=0,
            description="of the error of the teacher's features of each atom, in units of their spread, where label.extra "
            "has node_embeddings",
        ),
    ] = 0.0
    hessian_weight: Annotated[
        float,
        Field(
            ge=0,
            description="of the error of the Hessian's products in eV/Å^2, where label.extra has hessian_vector_products",
        ),
    ] = 0.0
    hessian_fraction: Annotated[
        float, Field(gt=0, le=1, description="share of each step's structures whose Hessian is looked at")
    ] = 0.25
    huber_ev_per_angstrom: Annotated[
        float, Field(ge=0, description="width of Huber's loss of a force error: below it, errors count by their square")
    ] = 0.0
    force_scale_ev_per_angstrom: Annotated[
        float | None, Field(gt=0, description="force whose error counts half; all count the same where null")
    ] = None
    source_weights: Annotated[
        dict[str, Annotated[float, Field(ge=0)]], Field(description="of all losses, by name of the source; 1 for the others")
    ] = {}
    element_weights: Annotated[
        dict[str, Annotated[float, Field(ge=0)]],
        Field(description="of what is learnt of each atom, by chemical symbol; 1 for the others"),
    ] = {}
    late_weights: Annotated[
        dict[Loss, Annotated[float, Field(ge=0)]],
        Field(
            description="weights of energy, forces, stress, local_energies, node_embeddings and hessian at the end, "
            "as in {energy: 20}"
        ),
    ] = {}
    late_from: Annotated[
        float, Field(ge=0, lt=1, description="share of the training after which weights move to late_weights")
    ] = 0.5
    ema_decay: Annotated[float, Field(ge=0, lt=1, description="of the averaged weights that become the student")] = 0.995
    clip_gradient: Annotated[float, Field(gt=0, description="largest norm of the gradient")] = 40.0
    checkpoint_minutes: Annotated[float, Field(ge=0, description="time between checkpoints; one is at each epoch's end")] = (
        5.0
    )
    uncertainty: Annotated[
        bool, Field(description="whether the student learns at the end what errors to expect of its own forces")
    ] = True
    tensorboard: Annotated[bool, Field(description="whether the errors of each epoch go to tensorboard/ as well")] = False
    backend: Annotated[
        Backend, Field(description="fused: the C++ kernel, on a CPU; torch: PyTorch; auto: the first if it can be had")
    ] = "auto"

    @field_validator("element_weights")
    @classmethod
    def _known_elements(cls, weights: dict[str, float]) -> dict[str, float]:
        _refuse_unknown_symbols(weights)
        return weights

    def wants(self, loss: Loss) -> bool:
        """Whether a loss ever has a weight."""
        return max(getattr(self, f"{loss}_weight"), self.late_weights.get(loss, 0.0)) > 0


class EvaluateConfig(Section):
    """Section ``evaluate``: the physics that the student is put through."""

    nve_ps: Annotated[float, Field(ge=0, description="length of each constant-energy run")] = 1.0
    nve_temperature_kelvin: Annotated[float, Field(gt=0, description="initial temperature")] = 300.0
    max_nve_drift_mev_per_atom: Annotated[
        float, Field(gt=0, description="largest accepted drift of the total energy over the run")
    ] = 5.0
    max_force_error_ratio: Annotated[
        float, Field(gt=0, description="largest accepted force MAE over that of predicting zero, all sources")
    ] = 1 / 3
    max_force_error_ratio_per_source: Annotated[float, Field(gt=0, description="the same for each source by itself")] = 0.5
    speed_repeats: Annotated[int, Field(gt=0, description="timed calls of student and teacher, in turn")] = 5
    speed_atoms: Annotated[int, Field(ge=0, description="largest cell of the curve of speed against size; 0 for none")] = 256
    max_force_error_ratio_per_element: Annotated[
        float, Field(gt=0, description="the same for the element whose forces are worst")
    ] = 0.7
    min_atoms_of_judged_element: Annotated[int, Field(ge=1, description="held-out atoms of an element to judge it")] = 20
    max_force_cosine_gap: Annotated[
        float, Field(gt=0, description="one less the mean cosine between the forces of student and teacher")
    ] = 0.15
    max_softening: Annotated[
        float, Field(gt=0, description="distance from 1 of the slope of the student's forces on the teacher's")
    ] = 0.08
    max_energy_error_ratio: Annotated[
        float, Field(gt=0, description="largest energy MAE over that of the composition alone")
    ] = 0.5
    max_stress_error_ratio: Annotated[float, Field(gt=0, description="largest stress MAE over that of predicting zero")] = (
        0.5
    )
    physics_crystals: Annotated[int, Field(ge=0, description="held-out crystals put through the physics checks")] = 2
    physics_molecules: Annotated[int, Field(ge=0, description="held-out molecules put through them")] = 1
    physics_pairs: Annotated[int, Field(ge=0, description="pairs of elements whose atoms are pulled apart by both")] = 10
    physics_ps: Annotated[float, Field(ge=0, description="length of the dynamics that the teacher runs too")] = 0.15
    stability_ps: Annotated[float, Field(ge=0, description="length of the student's hot run and of that under pressure")] = (
        1.0
    )
    limits: Annotated[
        dict[str, Annotated[float, Field(ge=0)]],
        Field(description="limits of physics checks by name, where others are wanted"),
    ] = {}

    @field_validator("limits")
    @classmethod
    def _refuse_unknown_checks(cls, limits: dict[str, float]) -> dict[str, float]:
        from potstill.evaluate.gates import GATES

        for name in limits:
            if name not in GATES:
                raise ValueError(f"no physics check '{name}'; {nearest(name, GATES)}")
        return limits


DeployFormat = Literal["ase", "lammps", "openmm", "torchsim", "metatomic", "ipi", "pt2"]


class DeployConfig(Section):
    """Section ``deploy``: formats to export."""

    formats: Annotated[tuple[DeployFormat, ...], Field(description="engines to export for")] = ("ase",)


class Config(Section):
    """A whole run."""

    seed: Annotated[int, Field(ge=0, description="of every random number")] = 1
    workers: Annotated[int, Field(ge=0, description="processes for generate and label; 0 means every core")] = 0
    batches: Annotated[
        tuple[Annotated[int, Field(gt=0)], ...],
        Field(max_length=99, description="sizes of batches to each other, as [1, 2, 2, 1]; empty for a run in one piece"),
    ] = ()
    execute: Annotated[Local | Parsl, Field(discriminator="backend", description="where generate and label run")] = Local()
    generate: GenerateConfig
    label: LabelConfig = LabelConfig()
    dataset: SplitConfig = SplitConfig()
    audit: AuditConfig = AuditConfig()
    student: StudentConfig = StudentConfig()
    train: TrainConfig = TrainConfig()
    rounds: Annotated[
        RoundsConfig | None,
        Field(description="what the student learns of its own dynamics, after the training"),
    ] = None
    evaluate: EvaluateConfig = EvaluateConfig()
    deploy: DeployConfig = DeployConfig()

    @model_validator(mode="after")
    def _rounds_by_uncertainty(self) -> Config:
        if self.rounds is not None and not self.train.uncertainty:
            raise ValueError("rounds choose frames by what errors the student expects: set train.uncertainty to true")
        return self

    @model_validator(mode="after")
    def _learn_what_is_stored(self) -> Config:
        stored: dict[Loss, Extra] = {
            "local_energies": "local_energies",
            "node_embeddings": "node_embeddings",
            "hessian": "hessian_vector_products",
        }
        for loss, extra in stored.items():
            if self.train.wants(loss) and extra not in self.label.extra:
                raise ValueError(f"train.{loss}_weight needs '{extra}' among label.extra: the teacher is asked for it there")
        return self


def load_config(path: Path) -> Config:
    """Read and check a YAML config; relative paths in it are relative to its folder.

    Raises
    ------
    InputError
        With one line per fault: dotted path, what was found, what was expected, the nearest name.
    """
    if not path.is_file():
        raise InputError(f"no config at {path}\n  print one with:  potstill template quickstart > {path.name}")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {error}") from error
    if not isinstance(data, dict):
        raise InputError(f"{path} holds no sections; a config starts with 'generate:'")
    return parse_config(data, str(path), path.parent)


def parse_config(data: dict[str, Any], title: str = "config", folder: Path | None = None) -> Config:
    """Check a config that was read already."""
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        raise _input_error(title, error, Config) from None
    return _anchor(config, folder) if folder else config


def read_section(path: Path, name: str, section: type[AnySection]) -> AnySection:
    """One section of a YAML file, whatever other sections it has.

    Raises
    ------
    InputError
        If the file or the section is wrong.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return section.model_validate(content[name])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        raise InputError(f"{path} has no section '{name}' that could be read: {error}") from error
    except ValidationError as error:
        raise InputError(f"{path}: {error}") from error


def parse_teacher(data: dict[str, Any]) -> TeacherOptions:
    """Check the options of a teacher.

    Raises
    ------
    InputError
        As :func:`load_config`.
    """
    try:
        return TypeAdapter[TeacherOptions](AnyTeacher).validate_python(data)
    except ValidationError as error:
        raise _input_error("teacher", error, TeacherOptions) from None


def _input_error(title: str, error: ValidationError, root: type[BaseModel]) -> InputError:
    faults = error.errors(include_url=False)
    # a list whose items are at fault is reported once more as too short: the items say enough
    deeper = [
        f
        for f in faults
        if f["type"] != "too_short" or not any(g["loc"][: len(f["loc"])] == f["loc"] and g != f for g in faults)
    ]
    lines = [_explain(fault, root) for fault in deeper]
    return InputError(f"{title} has {len(lines)} fault{'s' * (len(lines) > 1)}:\n" + "\n".join(f"  {x}" for x in lines))


def _explain(fault: Any, root: type[BaseModel]) -> str:
    """One line for one fault of pydantic."""
    # pydantic puts the name of the chosen source or teacher between its section and its option
    location = [p for k, p in enumerate(fault["loc"]) if k == 0 or p not in _tagged()]
    where = ".".join(str(part) for part in location) or "(top level)"
    found = fault["input"]
    match fault["type"]:
        case "extra_forbidden":
            return f"{where}: unknown option; {nearest(str(location[-1]), _fields_at(fault['loc'][:-1], root))}"
        case "union_tag_invalid":
            tag, key = fault["ctx"]["tag"], fault["ctx"]["discriminator"].strip("'")
            return f"{where}.{key}: unknown name '{tag}'; {nearest(tag, _choices(key))}"
        case "union_tag_not_found":
            key = fault["ctx"]["discriminator"].strip("'")
            return f"{where}: no '{key}' given; one of {', '.join(_choices(key))}"
        case "missing":
            return f"{where}: missing; it has no default"
        case "value_error":
            return f"{where}: {fault['ctx']['error']}"
        case _:
            return f"{where}: found {found!r} ({type(found).__name__}); {fault['msg'][0].lower()}{fault['msg'][1:]}"


def _choices(key: str) -> dict[str, type[BaseModel]]:
    """What may be chosen by a key, by its name."""
    choices: dict[str, dict[str, type[BaseModel]]] = {"source": {**SOURCES}, "name": {**TEACHERS}, "backend": BACKENDS}
    return choices[key]


def _tagged() -> dict[str, type[BaseModel]]:
    return {**SOURCES, **TEACHERS, **BACKENDS}


def _fields_at(location: tuple[Any, ...], root: type[BaseModel]) -> list[str]:
    """Names of the options of the section at a location."""
    tagged = _tagged()
    model: type[BaseModel] | None = root
    for part in location:
        if part in tagged:
            model = tagged[part]
        elif model is not None and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation)
    return list(model.model_fields) if model is not None else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The first pydantic model in an annotation such as ``tuple[A | B, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for m in map(_model_in, get_args(annotation)) if m is not None), None)


def _anchor(config: Config, folder: Path) -> Config:
    """Paths of the user's files, made absolute from the folder of the config."""
    sources = []
    for source in config.generate.sources:
        update: dict[str, Any] = {}
        for name in type(source).model_fields:
            value = getattr(source, name)
            if isinstance(value, Path):
                update[name] = _absolute(folder / value)
            elif isinstance(value, tuple) and value and all(isinstance(v, Path) for v in value):
                update[name] = tuple(_absolute(folder / v) for v in value)
        for path in [p for v in update.values() for p in (v if isinstance(v, tuple) else (v,))]:
            if not path.exists():
                raise InputError(f"generate.sources: the source '{source.name}' names {path}, which does not exist")
        sources.append(source.model_copy(update=update))
    after = tuple((folder / path).resolve() for path in config.generate.after)
    generate = config.generate.model_copy(update={"sources": tuple(sources), "after": after})
    teacher, *committee = (_anchor_weights(t, folder) for t in (config.label.teacher, *config.label.committee))
    label = config.label.model_copy(update={"teacher": teacher, "committee": tuple(committee)})
    return config.model_copy(update={"generate": generate, "label": label})


def _anchor_weights(teacher: TeacherOptions, folder: Path) -> TeacherOptions:
    found = {}
    weights = getattr(teacher, "weights", "")  # a name, or the path of a file
    if weights and (folder / weights).is_file():
        found["weights"] = str((folder / weights).resolve())
    if teacher.environment and (folder / teacher.environment).is_file():
        found["environment"] = str(_absolute(folder / teacher.environment))
    return teacher.model_copy(update=found)


def _absolute(path: Path) -> Path:
    """Absolute, the last link not followed: an environment's interpreter is one, and finds its packages by its place."""
    return path.parent.resolve() / path.name


def dump_config(config: Config) -> str:
    """The resolved config as YAML, every default written out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
