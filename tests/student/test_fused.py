"""The fused kernel says what PyTorch says; without a compiler the student still runs."""

import copy
import os
import pickle
import platform
import shutil
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from potstill.core import cpp
from potstill.core.batch import displaced, make_batch
from potstill.core.cpp import KernelError
from potstill.core.errors import PotstillError
from potstill.core.neighbors import structure_neighbors
from potstill.core.types import Batch, Structure
from potstill.deploy.student import DeployedStudent
from potstill.student import fused_library
from potstill.student.fused import FusedKernel
from potstill.student.model import Prediction, Student
from potstill.student.options import SIZES
from potstill.testing import (
    FLOAT32,
    all_structures,
    lone_crystal,
    one_atom,
    random_student,
    rattled,
    rocksalt,
    silicon,
    triclinic,
    water,
)
from potstill.testing.models import check_engine, in_elements
from potstill.testing.physics import force_is_slope, same, stress_is_slope

ELEMENTS = [1, 6, 8, 14, 29]
UNPADDED = {"features": 33, "channels": 17, "vectors": 19, "products": 18, "hidden": 65}  # one vector of floats and a bit
SHAPES = {
    **{tier: {"tier": tier} for tier in SIZES},
    "odd sizes": {"features": 11, "channels": 5, "vectors": 3, "products": 7, "hidden": 21, "experts": 3, "radial": 5},
    "unpadded": {**UNPADDED, "experts": 5, "radial": 9, "cutoff_angstrom": 6.0},
    "one layer": {"layers": 1},
    "one layer, l = 3": {**UNPADDED, "layers": 1, "l_max": 3, "radial": 16},
    "three layers, l = 3": {"l_max": 3, "layers": 3, "vectors": 5},
    "four layers": {"layers": 4, "vectors": 4, "radial": 2},
    "four layers, l = 3": {**UNPADDED, "layers": 4, "l_max": 3},
    "scalars only": {"vectors": 0, "experts": 2, "layers": 3},
    "scalars only, l = 3": {"vectors": 0, "l_max": 3, "experts": 1},
    "one vector": {"vectors": 1},
    "more vectors than channels": {"vectors": 40, "channels": 8},
    "relative distances": {"tier": "nano", "radial_distance": "relative"},
}
CLOSE = 2e-5  # largest accepted difference from float64, of the largest value where that exceeds one unit


@pytest.fixture(scope="module", autouse=True)
def library() -> str:
    """Path of the kernel, compiled at its first use; that it does not compile is a fault."""
    if not any(shutil.which(name) for name in (os.environ.get("CXX") or "c++ g++ clang++").split()):
        pytest.skip("there is no C++ compiler")
    return fused_library.load_library()._name


@pytest.fixture(scope="module")
def structures() -> list[Structure]:
    return [in_elements(rattled(s), ELEMENTS[k % 5 :] + ELEMENTS) for k, s in enumerate(all_structures())]


@pytest.fixture(scope="module")
def crystal() -> Structure:
    """96 atoms of five elements, so that there are several blocks of each."""
    return in_elements(rattled(Structure.from_ase(rocksalt().to_ase().repeat((4, 4, 3)))), ELEMENTS)


def lively(elements: list[int], **sizes) -> Student:
    """A student none of whose weights is as at the start, where some are alike."""
    model = random_student(elements, backend="torch", **sizes).model
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.add_(0.3 * parameter.abs().mean() * torch.randn(parameter.shape, generator=generator))
    model.scale.fill_(1.7)
    return model


def batch_of(model: Student, structures: list[Structure], skin: float = 0.0, dtype: torch.dtype = torch.float32) -> Batch:
    """A batch, with a skin as a Verlet list has it: edges beyond the cutoff."""
    cutoff = model.architecture.cutoff_angstrom
    return make_batch(structures, cutoff, neighbors=[structure_neighbors(s, cutoff + skin) for s in structures], dtype=dtype)


def in_float64(model: Student, structures: list[Structure]) -> Prediction:
    exact = copy.deepcopy(model).double()
    exact.reference_energies = model.reference_energies
    return exact.predict(batch_of(model, structures, dtype=torch.float64))


def assert_close(found: Prediction, expected: Prediction) -> None:
    for name in ("energy", "local_energies", "forces", "stress"):
        one, other = getattr(found, name).double(), getattr(expected, name).double()
        assert one.shape == other.shape
        assert (one - other).abs().max() <= CLOSE * max(1.0, float(other.abs().max())), name


def assert_equal(found: Prediction, expected: Prediction) -> None:
    for name in ("energy", "local_energies", "forces", "stress"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


def both(student: DeployedStudent) -> tuple[DeployedStudent, DeployedStudent]:
    return (
        DeployedStudent(student.model, student.config, backend="fused"),
        DeployedStudent(student.model, student.config, backend="torch"),
    )


# the same numbers


@pytest.mark.parametrize("shape", SHAPES)
def test_fused_is_pytorch(shape, structures, crystal):
    model = lively(ELEMENTS, **SHAPES[shape])
    kernel = FusedKernel(model)
    for batch in (structures, [crystal]):
        expected = in_float64(model, batch)
        assert_close(model.predict(batch_of(model, batch)), expected)
        for skin in (0.0, 0.7):
            assert_close(model.predict(batch_of(model, batch, skin), kernel=kernel), expected)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_atoms_without_neighbours(layers):
    model = lively([1, 8, 18], layers=layers)
    kernel = FusedKernel(model)
    pair = Structure(np.array([1, 8]), np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 7.0]]))
    for structures in ([one_atom()], [pair], [lone_crystal()], [one_atom(), water(), pair], [water(), one_atom()]):
        found = model.predict(batch_of(model, structures), kernel=kernel)
        assert_close(found, in_float64(model, structures))
    assert batch_of(model, [one_atom()]).edge_index.shape == (2, 0)
    assert model.predict(batch_of(model, [one_atom(), pair]), kernel=kernel).forces.abs().max() == 0


def test_a_batch_of_all_elements():
    elements = list(range(1, 95))
    model = lively(elements, experts=4)
    crystal = in_elements(rattled(Structure.from_ase(rocksalt().to_ase().repeat((4, 4, 3)))), elements)
    assert len(set(crystal.atomic_numbers)) == 94
    found = model.predict(batch_of(model, [crystal, water()]), kernel=FusedKernel(model))
    assert_close(found, in_float64(model, [crystal, water()]))


def test_cells_so_small_that_atoms_neighbour_themselves():
    model = lively([14, 8], cutoff_angstrom=7.0)
    cell = Structure(np.array([14]), np.zeros((1, 3)), np.diag([2.3, 2.6, 3.0]), np.array([True] * 3))
    batch = batch_of(model, [cell, rattled(silicon())])
    receiver, sender = batch.edge_index
    assert (receiver == sender).sum() > 100
    assert_close(model.predict(batch, kernel=FusedKernel(model)), in_float64(model, [cell, rattled(silicon())]))


def test_atoms_that_are_pushed_together_repel_as_in_pytorch():
    model = lively([1, 79])
    for distance in (0.05, 0.3, 1.0, 1.4):
        pair = Structure(np.array([1, 79]), np.array([[0.0, 0.0, 0.0], [0.0, distance, 0.0]]))
        found, expected = model.predict(batch_of(model, [pair]), kernel=FusedKernel(model)), in_float64(model, [pair])
        assert_close(found, expected)
    assert expected.forces.abs().max() > 1.0


@pytest.mark.parametrize("shape", ["nano", "odd sizes", "four layers", "three layers, l = 3", "scalars only"])
def test_forces_and_stress_are_the_slope_of_the_kernels_own_energy(shape):
    student = random_student([12, 8, 1], **SHAPES[shape], backend="fused")
    tight = replace(FLOAT32, slope=4e-3, step_angstrom=5e-3, step_strain=1e-3)
    crystal = in_elements(rattled(triclinic()), [12, 8, 1])
    for structure in (crystal, in_elements(rattled(water()), [8, 1, 1])):
        force_is_slope(student.label, structure, tight)
    stress_is_slope(student.label, crystal, tight)


@pytest.mark.parametrize("shape", ["odd sizes", "one layer, l = 3", "four layers", "scalars only"])
def test_fused_passes_the_kit(shape):
    student = random_student([1, 8, 14], **SHAPES[shape], backend="fused")
    assert student.backend == "fused"
    check_engine(student.label, student, "fused")


@pytest.mark.parametrize("change", ["energy", "forces", "stress"])
def test_the_kit_finds_a_kernel_that_is_wrong(change):
    student = random_student([1, 8, 14], backend="fused")
    wrong = {
        "energy": lambda x: replace(x, energy=x.energy + 1e-3 * len(x.forces)),
        "forces": lambda x: replace(x, forces=1.001 * x.forces),
        "stress": lambda x: x if x.stress is None else replace(x, stress=-x.stress),
    }[change]
    with pytest.raises(AssertionError, match=f"fused against float64: {change}"):
        check_engine(lambda structures: [wrong(labels) for labels in student.label(structures)], student, "fused")


# memory and threads


def test_nothing_is_left_of_the_calls_before(structures, crystal):
    models = [
        lively(ELEMENTS, **SHAPES[shape]) for shape in ("unpadded", "one layer", "three layers, l = 3", "scalars only")
    ]
    kernels = [FusedKernel(model) for model in models]
    batches = [structures, [structures[0]], [crystal], [structures[2]], structures[4:7]]
    for batch in batches:  # large and small in turn, and all students in turn
        for model, kernel in zip(models, kernels, strict=True):
            found = model.predict(batch_of(model, batch), kernel=kernel)
            with ThreadPoolExecutor(1) as fresh:  # a new thread starts with no memory
                expected = fresh.submit(model.predict, batch_of(model, batch), kernel=FusedKernel(model)).result()
            assert_equal(found, expected)


def test_an_atom_of_silicon_takes_13_kilobytes():
    model = random_student([14], tier="base").model

    def bytes_for(repeats: int) -> tuple[int, int]:
        crystal, kernel = Structure.from_ase(silicon().to_ase() * ((repeats,) * 3)), FusedKernel(model)
        model.predict(batch_of(model, [crystal]), kernel=kernel)
        return len(crystal), kernel.bytes_held()

    with ThreadPoolExecutor(1) as fresh:
        (small, before), (large, after) = fresh.map(bytes_for, (9, 12))  # the kernel grows, and has some spare
    assert large > small > 1000
    assert (after - before) / (large - small) < 13_000


def test_answers_are_not_overwritten_by_the_next_call(structures):
    model = lively(ELEMENTS)
    kernel, batch = FusedKernel(model), batch_of(model, structures)
    first = model.predict(batch, kernel=kernel)
    kept = Prediction(*(getattr(first, name).clone() for name in ("energy", "forces", "stress", "local_energies", "virial")))
    model.predict(batch_of(model, structures[::-1]), kernel=kernel)
    assert_equal(first, kept)


def test_several_python_threads_at_once(structures, crystal):
    models = [lively(ELEMENTS, **SHAPES[shape]) for shape in ("nano", "three layers, l = 3")]
    kernels = [FusedKernel(model) for model in models]  # no element's matrices are mixed yet
    work = [(k, batch) for batch in ([crystal], structures, structures[:3], structures[5:6]) for k in (0, 1)]
    expected = [in_float64(models[k], batch) for k, batch in work]

    def predict(job: int) -> Prediction:
        k, batch = work[job % len(work)]
        return models[k].predict(batch_of(models[k], batch), kernel=kernels[k])

    with ThreadPoolExecutor(4) as pool:
        for job, found in enumerate(pool.map(predict, range(6 * len(work)))):
            assert_close(found, expected[job % len(work)])


def test_number_of_threads_does_not_matter(structures, crystal):
    model = lively(ELEMENTS, layers=3)
    kernel = FusedKernel(model)
    before = torch.get_num_threads()
    try:
        for batch in (structures, [crystal], [one_atom().with_(atomic_numbers=np.array([8]))]):
            answers = []
            for threads in (1, 2, 7):
                torch.set_num_threads(threads)
                answers.append(model.predict(batch_of(model, batch), kernel=kernel))
            for other in answers[1:]:
                assert torch.allclose(answers[0].energy, other.energy, rtol=1e-7)
                assert torch.allclose(answers[0].forces, other.forces, rtol=0, atol=2e-6)
    finally:
        torch.set_num_threads(before)


# who may ask, and how


def test_float64_runs_in_pytorch_and_says_so_when_asked_for_the_kernel():
    student = random_student([1, 8])
    assert DeployedStudent(student.model, student.config, dtype=torch.float64).backend == "torch"
    with pytest.raises(KernelError, match="float32 on a CPU"):
        DeployedStudent(student.model, student.config, dtype=torch.float64, backend="fused")


def test_a_batch_in_float64_is_refused():
    model = random_student([1, 8]).model
    with pytest.raises((PotstillError, RuntimeError)):
        model.predict(batch_of(model, [water()], dtype=torch.float64), kernel=FusedKernel(model))


def test_weights_are_those_of_the_time_when_the_kernel_was_made():
    model = lively([1, 8])
    kernel, batch = FusedKernel(model), batch_of(model, [water()])
    before = model.predict(batch, kernel=kernel)
    for parameter in model.parameters():
        parameter.mul_(1.1)
    assert_equal(model.predict(batch, kernel=kernel), before)
    assert_close(model.predict(batch, kernel=FusedKernel(model)), in_float64(model, [water()]))


def test_a_student_that_trains_can_be_asked_too():
    model = lively([1, 8])
    batch = batch_of(model, [water()])
    expected = model.predict(batch, kernel=FusedKernel(model))
    model.requires_grad_()
    found = model.predict(batch, kernel=FusedKernel(model))
    assert_equal(found, expected)
    assert not found.energy.requires_grad
    assert not found.forces.requires_grad


def test_modes_and_defaults_of_pytorch_do_not_matter():
    model = lively([1, 8], experts=2)
    batch = batch_of(model, [water()])
    expected = model.predict(batch, kernel=FusedKernel(model))
    strided = replace(
        batch,
        positions=batch.positions.T.contiguous().T.requires_grad_(),
        edge_vectors=batch.edge_vectors.T.contiguous().T.requires_grad_(),
        edge_index=batch.edge_index.T.contiguous().T,
    )
    assert_equal(model.predict(strided, kernel=FusedKernel(model)), expected)
    with torch.inference_mode():
        assert_equal(model.predict(batch, kernel=FusedKernel(model)), expected)
    assert_close(model.predict(batch), in_float64(model, [water()]))  # nothing of that mode is left
    torch.set_default_dtype(torch.float64)
    try:
        assert_equal(model.predict(batch, kernel=FusedKernel(model)), expected)
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.device("meta"):
        assert_equal(model.predict(batch, kernel=FusedKernel(model)), expected)


def test_what_is_not_a_number_stays_so():
    model = lively([1, 8])
    batch = batch_of(model, [water(), water()])
    by = torch.zeros_like(batch.positions)
    by[1, 0] = float("nan")
    found = model.predict(displaced(batch, by), kernel=FusedKernel(model))
    assert found.energy[0].isnan()
    assert found.forces[1].isnan().all()
    assert found.energy[1] == model.predict(batch, kernel=FusedKernel(model)).energy[1]


def test_a_student_with_its_kernel_can_be_copied_and_pickled():
    student = random_student([1, 8], backend="fused")
    (expected,) = student.label([water()])
    for other in (copy.deepcopy(student), pickle.loads(pickle.dumps(student))):  # noqa: S301 - what was just written
        assert other.backend == "fused"
        same("a copy", other.label([water()])[0], expected, FLOAT32)


def in_another_process(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run what might kill the process."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_wrong_input_is_refused_and_does_not_kill_the_process():
    done = in_another_process(
        """
        import resource
        from dataclasses import replace
        import torch
        from potstill.core.batch import make_batch
        from potstill.student.fused import FusedKernel
        from potstill.testing import random_student, rattled, water

        torch.set_num_threads(1)
        model = random_student([1, 8]).model
        kernel, batch = FusedKernel(model), make_batch([water()], 4.0)
        model.predict(batch, kernel=kernel)
        foreign = replace(batch, atomic_numbers=torch.tensor([8, 1, 29]))
        beyond = replace(batch, edge_index=batch.edge_index + 100_000)
        narrow = replace(batch, edge_index=batch.edge_index.int())
        large = make_batch([rattled(water(), k) for k in range(10_000)], 4.0)

        def limit_memory():
            pages = int(open("/proc/self/statm").read().split()[0])
            resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 30 * 2**20,) * 2)

        def ask(name, wrong):
            print(name, end=" ", flush=True)
            try:
                model.predict(wrong, kernel=kernel)
            except Exception as error:
                print("refused:", type(error).__name__, flush=True)
            else:
                print("answered", flush=True)

        ask("element", foreign)
        ask("index", beyond)
        ask("int32", narrow)
        limit_memory()
        ask("memory", large)
        """
    )
    found = [line.split(":")[0] for line in done.stdout.splitlines()]
    assert found == ["element refused", "index refused", "int32 answered", "memory refused"], (
        done.returncode,
        done.stdout,
        done.stderr[-500:],
    )


# compilers and their cache


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fused_library.loaded_library.cache_clear()
    fused_library._warned.clear()
    yield tmp_path / "cache" / "potstill"
    fused_library.loaded_library.cache_clear()


def executable(path: Path, script: str) -> Path:
    path.write_text(script, encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def quick_compiler(monkeypatch, library, empty_cache):
    """A compiler that copies what was compiled before, and counts how often it was asked to; the cache is empty."""
    folder = empty_cache.parents[1]
    script = f"""\
        #!/bin/sh
        if [ "$1" = --version ]; then echo quick 1.0; exit; fi
        echo compiled >> '{folder}/log'
        while [ "$1" != -o ]; do shift; done
        sleep 0.3
        cp '{library}' "$2"
        """
    compiler = executable(folder / "quick", textwrap.dedent(script))
    monkeypatch.setenv("CXX", str(compiler))
    return compiler


def times_compiled(tmp_path: Path) -> int:
    log = tmp_path / "log"
    return len(log.read_text(encoding="utf-8").splitlines()) if log.exists() else 0


BUILDS = {
    "AVX2": (None, ("-march=x86-64-v3", "-fopenmp")),
    "plain": (None, ()),
    "clang": ("clang++", ("-march=native",)),
}


@pytest.mark.parametrize("build", BUILDS)
def test_builds_for_other_machines_and_of_other_compilers_give_the_same(build, monkeypatch, structures):
    compiler, flags = BUILDS[build]
    if "v3" in "".join(flags) and not (platform.machine() == "x86_64" and torch.backends.cpu.get_cpu_capability() >= "AVX2"):
        pytest.skip("this processor has no AVX2")
    if compiler and not shutil.which(compiler):
        pytest.skip(f"there is no {compiler}")
    if compiler:
        monkeypatch.setenv("CXX", compiler)
    monkeypatch.setattr(cpp, "OPTIONAL_FLAGS", (flags,))
    fused_library.loaded_library.cache_clear()
    try:
        for shape in ("nano", "unpadded", "four layers, l = 3"):
            model = lively(ELEMENTS, **SHAPES[shape])
            found = model.predict(batch_of(model, structures, 0.5), kernel=FusedKernel(model))
            assert_close(found, in_float64(model, structures))
    finally:
        fused_library.loaded_library.cache_clear()


@pytest.mark.usefixtures("empty_cache")
def test_without_a_compiler_the_student_runs_in_pytorch(monkeypatch):
    monkeypatch.setenv("CXX", "/nonexistent/c++")
    student = random_student([1, 8])
    assert student.backend == "torch"
    assert np.isfinite(student.label([water()])[0].energy)
    with pytest.raises(KernelError, match=r"no C\+\+ compiler /nonexistent/c\+\+ .*\binstall"):
        FusedKernel(student.model)


@pytest.mark.usefixtures("empty_cache")
def test_with_nothing_on_the_path_a_compiler_is_asked_for(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(KernelError, match=r"no C\+\+ compiler c\+\+, g\+\+ or clang\+\+ .*\binstall"):
        fused_library.load_library()


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("#!/bin/sh\necho 'cannot do it' >&2; exit 1\n", "cannot do it"),
        ("#!/bin/sh\nexit 0\n", "compile"),  # says that all is well and writes nothing
        ("this is no program\n", "compile"),
        ('#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done; echo \'no library\' > "$2"\n', "load"),
        ('#!/bin/sh\n[ "$1" = --version ] || kill -9 $$\n', "compile"),
    ],
    ids=["fails", "writes nothing", "is no program", "writes nonsense", "is killed"],
)
def test_a_compiler_that_does_not_work_is_named(script, message, empty_cache, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", str(executable(tmp_path / "broken", script)))
    with pytest.raises(KernelError, match=message):
        fused_library.load_library()
    assert random_student([1, 8]).backend == "torch"
    assert not any(path.is_dir() for path in empty_cache.glob("*"))  # no temporary folder is left


@pytest.mark.usefixtures("quick_compiler")
def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(KernelError, match=str(tmp_path / "file")):
        fused_library.load_library()


@pytest.mark.usefixtures("quick_compiler")
def test_without_a_home_the_student_runs_in_pytorch(monkeypatch):
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(KernelError):
        fused_library.load_library()
    assert random_student([1, 8]).backend == "torch"


def test_a_compiler_with_options_is_understood(monkeypatch, quick_compiler):
    monkeypatch.setenv("CXX", f"{quick_compiler} -pipe")
    assert fused_library.load_library().student_lanes() in {8, 16}


@pytest.mark.usefixtures("quick_compiler")
def test_what_was_compiled_is_not_compiled_again(tmp_path, empty_cache):
    fused_library.load_library()
    assert times_compiled(tmp_path) == 1
    fused_library.loaded_library.cache_clear()
    fused_library.load_library()
    FusedKernel(random_student([1, 8]).model)
    assert times_compiled(tmp_path) == 1
    assert len(list(empty_cache.glob("*.so"))) == 1
    assert not any(path.is_dir() for path in empty_cache.iterdir())


@pytest.mark.usefixtures("quick_compiler")
def test_other_flags_and_another_source_are_compiled_anew(tmp_path, monkeypatch):
    fused_library.load_library()
    monkeypatch.setattr(cpp, "FLAGS", (*cpp.FLAGS, "-g"))
    fused_library.loaded_library.cache_clear()
    fused_library.load_library()
    changed = tmp_path / "fused.cpp"
    changed.write_bytes(fused_library.SOURCE.read_bytes() + b"// changed\n")
    monkeypatch.setattr(fused_library, "SOURCE", changed)
    fused_library.loaded_library.cache_clear()
    fused_library.load_library()
    assert times_compiled(tmp_path) == 3


LOAD = "from potstill.student.fused_library import load_library; print(load_library().student_lanes())"


@pytest.mark.usefixtures("quick_compiler")
@pytest.mark.parametrize("damage", ["text", "nothing", "half", "zeros"])
def test_a_damaged_library_is_compiled_again(damage, tmp_path, empty_cache):
    fused_library.load_library()
    (library,) = empty_cache.glob("*.so")
    whole = library.read_bytes()
    half = len(whole) // 2
    library.unlink()  # what is loaded stays as it is
    library.write_bytes(
        {"text": b"not a library", "nothing": b"", "half": whole[:half], "zeros": whole[:half] + bytes(half)}[damage]
    )
    done = in_another_process(LOAD)  # which a damaged library may kill
    assert done.returncode == 0, (signal.Signals(-done.returncode).name if done.returncode < 0 else "", done.stderr[-500:])
    assert times_compiled(tmp_path) == 2


@pytest.mark.usefixtures("quick_compiler")
def test_two_processes_that_compile_at_once_do_not_disturb_each_other(empty_cache):
    processes = [subprocess.Popen([sys.executable, "-c", LOAD], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate()[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert answers[0] == answers[1] == str(fused_library.load_library().student_lanes())
    assert len(list(empty_cache.glob("*.so"))) == 1
    assert not any(path.is_dir() for path in empty_cache.iterdir())


# whose library it is


def spoil(library: Path, how: str) -> None:
    """Let another user have written the library, as far as a test can."""
    if how == "library for the group":
        library.chmod(0o770)
    elif how == "library for all":
        library.chmod(0o707)
    elif how == "seal for all":
        library.with_suffix(".sha256").chmod(0o606)
    else:  # a link to a library elsewhere
        library.rename(library.with_name("elsewhere"))
        library.symlink_to("elsewhere")


@pytest.mark.usefixtures("quick_compiler")
@pytest.mark.parametrize("how", ["library for the group", "library for all", "seal for all", "link"])
def test_a_library_that_others_can_write_is_compiled_anew(how, tmp_path, empty_cache):
    fused_library.load_library()
    (library,) = empty_cache.glob("*.so")
    spoil(library, how)
    fused_library.loaded_library.cache_clear()
    fused_library.load_library()
    assert times_compiled(tmp_path) == 2
    assert not library.is_symlink()
    assert library.stat().st_mode & 0o022 == 0


@pytest.mark.usefixtures("quick_compiler")
@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_cache_folder_that_others_can_write_is_not_used(mode, tmp_path, empty_cache, caplog):
    fused_library.load_library()
    empty_cache.chmod(mode)
    fused_library.loaded_library.cache_clear()
    assert fused_library.load_library().student_lanes() in {8, 16}
    assert times_compiled(tmp_path) == 2
    assert f"can write to {empty_cache}" in caplog.text


@pytest.mark.usefixtures("quick_compiler")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("owned", ["folder", "library", "parent"])
def test_root_runs_no_library_of_another_user(owned, tmp_path, empty_cache, caplog):
    fused_library.load_library()
    (library,) = empty_cache.glob("*.so")
    os.chown({"folder": empty_cache, "library": library, "parent": empty_cache.parent}[owned], 12345, 12345)
    fused_library.loaded_library.cache_clear()
    fused_library.load_library()
    assert times_compiled(tmp_path) == 2
    assert owned == "library" or "belongs to another user (id 12345)" in caplog.text


def test_the_remedy_names_the_folder_that_others_can_write(tmp_path):
    above = tmp_path / "cache of all"
    (above / "potstill").mkdir(mode=0o700, parents=True)
    above.chmod(0o777)
    why, remedy = cpp._fault_of(above / "potstill")
    assert why == f"other users can write to {above}"
    assert remedy == f"fix it with:  chmod go-w '{above}'  or "


@pytest.mark.usefixtures("quick_compiler")
def test_a_relative_cache_folder_means_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    monkeypatch.chdir(tmp_path)
    fused_library.load_library()
    assert list((tmp_path / "home" / ".cache" / "potstill").glob("*.so"))
    assert not (tmp_path / "cache" / "potstill").exists()


@pytest.mark.usefixtures("empty_cache")
def test_a_foreign_library_falls_back_to_pytorch_with_a_warning(tmp_path, monkeypatch, caplog):
    """A whole library with another program in it."""
    (tmp_path / "other.cpp").write_text('extern "C" int other() { return 1; }', encoding="utf-8")
    monkeypatch.setattr(fused_library, "SOURCE", tmp_path / "other.cpp")
    assert random_student([1, 8]).backend == "torch"
    assert "it has no student_lanes" in caplog.text
    with pytest.raises(KernelError, match="is not the other kernel"):
        fused_library.load_library()


@pytest.mark.usefixtures("empty_cache")
def test_no_compiler_is_warned_of_once(monkeypatch, caplog):
    monkeypatch.setenv("CXX", "/nonexistent/compiler-of-this-test")
    for _ in range(3):
        assert random_student([1, 8]).backend == "torch"
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "several times slower" in warnings[0]
    assert "compiler-of-this-test" in warnings[0]


@pytest.mark.usefixtures("quick_compiler")
def test_a_folder_or_a_command_that_cannot_be_read_is_a_reason_too(monkeypatch):
    def unreadable(folder: Path) -> None:
        raise PermissionError(f"no access to {folder}")

    with monkeypatch.context() as only_here:
        only_here.setattr(cpp, "_fault_of", unreadable)
        with pytest.raises(KernelError, match=r"the fused kernel cannot be compiled or loaded: no access"):
            fused_library.load_library()
    fused_library.loaded_library.cache_clear()
    monkeypatch.setenv("CXX", 'g++ "')
    with pytest.raises(KernelError, match="CXX is no command"):
        fused_library.load_library()
