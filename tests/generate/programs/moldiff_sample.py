"""Stands in for ``scripts/sample_drug3d.py``: its arguments, its config, its files, and the faults it was seen to have."""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from pathlib import Path

import yaml

if __name__ == "__main__":
    sys.path.append(".")
    import numpy as np
    from utils.transforms import make_data_placeholder

    parser = argparse.ArgumentParser()
    parser.add_argument("--config", default="./configs/sample/sample_MolDiff.yml")
    parser.add_argument("--outdir", default="./outputs")
    parser.add_argument("--device", default="cuda:7")
    parser.add_argument("--batch_size", type=int, default=0)
    args = parser.parse_args()
    config = yaml.safe_load(Path(args.config).read_text())
    seed = config["sample"]["seed"] + np.sum([ord(s) for s in args.outdir])
    random.seed(seed)
    np.random.seed(seed)
    sizes = [int(n) for n in make_data_placeholder(n_graphs=args.batch_size)]
    with Path("calls.jsonl").open("a") as file:
        record = {"argv0": sys.argv[0], "seed": int(seed), "sizes": sizes, "device": args.device, "config": config}
        file.write(json.dumps(record) + "\n")
    fault = Path("fault.txt").read_text()
    log_dir = Path(args.outdir) / f"sample_{time.strftime('%Y%m%d_%H%M%S')}"
    log_dir.mkdir(parents=True)
    sdf_dir = Path(f"{log_dir}_SDF")
    wanted = config["sample"]["num_mols"]
    if fault == "crash":
        raise RuntimeError("size mismatch for node_embedder.weight")
    if fault == "memory" and args.batch_size > 2:
        raise SystemExit("RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 7.79 GiB total capacity)")
    if fault == "fewer":
        print("Too many failed molecules. Stop sampling.", file=sys.stderr)
    count = {"fewer": 1, "more": wanted + 2, "hang": wanted - 1}.get(fault, wanted)
    pool = sorted(Path("pool").glob("*.mol"))
    sdf_dir.mkdir()
    for k in range(count):
        (sdf_dir / f"{k}.sdf").write_text(random.choice(pool).read_text())
        (sdf_dir / f"traj_{k}.sdf").write_text("\n\n\n  0  0  0  0  0  0  0  0  0  0999 V2000\nM  END\n$$$$\n")
    (log_dir / "SMILES.txt").write_text("C\n" * count)
    if fault == "half":
        last = sdf_dir / f"{count - 1}.sdf"
        last.write_text(last.read_text()[:200])
        os.kill(os.getpid(), 6)
    if fault == "hang":
        while True:
            time.sleep(0.1)
