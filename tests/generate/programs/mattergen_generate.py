"""Stands in for ``mattergen/scripts/generate.py``: its signature, its files, and the faults it was seen to have."""

from __future__ import annotations

import ast
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
ELEMENTS = ("Na", "Cl")


def main(
    output_path,
    pretrained_name=None,
    model_path=None,
    batch_size=64,
    num_batches=1,
    config_overrides=None,
    checkpoint_epoch="last",
    properties_to_condition_on=None,
    sampling_config_path=None,
    sampling_config_name="default",
    sampling_config_overrides=None,
    record_trajectories=True,
    diffusion_guidance_factor=None,
    strict_checkpoint_loading=True,
    target_compositions=None,
):
    from mattergen.common.data.num_atoms_distribution import NUM_ATOMS_DISTRIBUTIONS

    called = {k: v for k, v in locals().items() if v is not None and k != "NUM_ATOMS_DISTRIBUTIONS"}
    called |= {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "HF_HUB_OFFLINE", "TMPDIR")}
    with (CHECKOUT / "calls.jsonl").open("a") as file:
        file.write(json.dumps(called) + "\n")
    assert (pretrained_name is None) != (model_path is None)
    out = Path(output_path)
    out.mkdir()
    fault = (CHECKOUT / "fault.txt").read_text()
    print(
        "Model config:\n"
        + "x: 1\n" * 10
        + "Generating samples:   0%|          | 0/1\rGenerating samples: 100%|##########| 1/1"
    )
    if fault == "memory" and batch_size > 2:
        raise SystemExit("torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB")
    if fault == "never":
        raise SystemExit("RuntimeError: CUDA error: out of memory")
    if fault == "crash":
        raise IndexError("index 0 is out of bounds for dimension 0 with size 0")
    if fault == "not saved":
        print("Got error [Errno 28] No space left on device writing the generated structures to disk.")
        return
    if fault == "hang":
        child = subprocess.Popen(["sleep", "600"])
        (CHECKOUT / "pids.txt").write_text(f"{os.getpid()} {child.pid}")
        time.sleep(600)
    sizes = NUM_ATOMS_DISTRIBUTIONS["ALEX_MP_20"]
    count = batch_size * num_batches + {"fewer": -1, "more": 3}.get(fault, 0)
    frames = [frame(random.choices(list(sizes), list(sizes.values()))[0], fault) for _ in range(count)]
    text = "".join(frames)
    if fault == "half":
        text = text[: len(text) - len(frames[-1]) // 3]
    (out / "generated_crystals.extxyz").write_text(text)
    (out / "generated_crystals_cif.zip").write_bytes(b"not read")
    if fault == "half":
        os.kill(os.getpid(), 11)
    if fault == "bad exit":
        raise SystemExit(1)


def frame(atoms, fault):
    """A chain of atoms along a, 2.6 Å apart, shifted at random so that some stand outside the cell."""
    shift = random.uniform(-30, 30)
    symbols = [ELEMENTS[k % 2] for k in range(atoms)]
    if fault == "mask":
        symbols[-1] = "Md"
    lines = [f"{s:8s} {2.6 * k + shift:.8f} {random.uniform(-9, 9):.8f} 0.00000000" for k, s in enumerate(symbols)]
    header = f'Lattice="{2.6 * atoms} 0.0 0.0 0.0 3.1 0.0 0.4 0.0 3.3" Properties=species:S:1:pos:R:3 pbc="T T T"'
    return "\n".join([str(atoms), header, *lines]) + "\n"


def _main():
    positional, named = [], {}
    for argument in sys.argv[1:]:
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--"):
            positional.append(argument)
            continue
        assert equals
        try:
            named[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            named[name] = value
    main(*positional, **named)
