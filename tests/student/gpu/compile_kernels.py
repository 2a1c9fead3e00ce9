"""Compile all kernels of a student for a card that is not here: ``compile_kernels.py ARCHITECTURE ATOMS [KERNEL ...]``.

Prints the registers, the stack in bytes (spills) and the shared memory of each kernel.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from potstill.student.gpu import buffers, edges, geometry, launch, motion, pointwise, products, search
from potstill.student.gpu.weights import gpu_weights
from potstill.testing import random_student

TYPES = {torch.float32: "*fp32", torch.float64: "*fp64", torch.int32: "*i32", torch.int64: "*i64"}
launches = {}


class Recorder:
    """Notes with what a kernel would be launched."""

    def __init__(self, kernel):
        self.kernel = kernel

    def __getitem__(self, grid):
        return self.note

    def note(self, *args, **options):
        kernel = self.kernel
        tuned = {k: options.pop(k) for k in ("num_warps", "num_stages") if k in options}
        given = dict(zip(kernel.arg_names, args, strict=False)) | options
        signature, constants, aligned = {}, {}, {}
        for k, name in enumerate(kernel.arg_names):
            value = given[name]
            if kernel.params[k].is_constexpr:
                signature[name], constants[name] = "constexpr", getattr(value, "value", value)
            elif isinstance(value, torch.Tensor):
                signature[name], aligned[k,] = TYPES[value.dtype], [["tt.divisibility", 16]]
            else:
                signature[name] = "fp32" if isinstance(value, float) else "i32"
        key = (kernel.__name__, str(signature), str(constants), str(tuned))
        launches[key] = (kernel, signature, constants, aligned, tuned)


def main() -> None:
    """Record an evaluation and compile what it would launch."""
    architecture, atoms, wanted = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    for module in (edges, geometry, motion, pointwise, products, search):
        for name, value in list(vars(module).items()):
            if isinstance(value, triton.runtime.jit.JITFunction) and not name.startswith("_"):
                setattr(module, name, Recorder(value))
    model = random_student([1, 6, 8], backend="torch", tier="nano").model
    program = launch.Program(gpu_weights(model), model.architecture, buffers.Bucket(atoms, 1024, 1, 3))
    program.search()
    launch.BINS_FROM = 1
    program.search()
    program.evaluate()
    relative = random_student([1, 6, 8], backend="torch", tier="nano", radial_distance="relative").model
    launch.Program(gpu_weights(relative), relative.architecture, program.bucket).evaluate()
    program.neighbor_means(torch.zeros(1))
    move(program)
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    for kernel, signature, constants, aligned, tuned in launches.values():
        if wanted and kernel.__name__ not in wanted:
            continue
        source = ASTSource(kernel, signature, constants, aligned)
        made = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=tuned)
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            Path(file.name).write_bytes(made.asm["cubin"])
            told = subprocess.run(
                [tool, "--dump-resource-usage", file.name], capture_output=True, text=True, check=False
            ).stdout
        found = re.search(r"REG:(\d+) STACK:(\d+)", told)
        registers, stack = found.groups() if found else ("?", "?")
        print(kernel.__name__, registers, stack, made.metadata.shared, flush=True)


def move(program):
    """Record the kernels of dynamics."""
    x, y, number = program.inputs, program.outputs, torch.zeros(1, dtype=torch.float64)
    clock, seed = torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int32)
    moved = (x.positions, x.positions, y.forces, number, number, number, number, seed)
    motion.before_forces[(1,)](x.sizes, clock, *moved, BLOCK=128)
    motion.after_forces[(1,)](x.sizes, x.positions, y.forces, number, number, number, BLOCK=128)
    motion.record[(1,)](x.sizes, x.ptr, number, y.found, number, clock, 32, BLOCK=128)


if __name__ == "__main__":
    main()
