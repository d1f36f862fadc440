"""Checks with several seeds that the miniature's base models learn their task, and measures the time.

    python benchmarks/miniature_seeds.py [--seeds 0 1 2 3 4] [--csv benchmarks/miniature_seeds.csv]

Builds every architecture with every seed, which is the seed of the world and of the base model, with the settings of
``config/mini.yaml``. Writes one row per base model and benchmark: the result of the gate, and the CPU seconds of the
build on one thread.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import pandas as pd
import yaml

from polycal.artifacts import files
from polycal.miniature import base_models, pretraining
from polycal.study import config_loading, identities

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Build all base models and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--csv", type=Path, default=ROOT / "benchmarks/miniature_seeds.csv")
    arguments = parser.parse_args()
    raw = [yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()) for name in ("languages", "mini")]
    rows = []
    for seed in arguments.seeds:
        merged = config_loading.merge(config_loading.merge(*raw), {"miniature": {"seed": seed}})
        study = config_loading.resolve(merged)
        for architecture in sorted(pretraining.SPECIAL_TOKENS):
            cell = json.loads(identities.miniature_model(study, architecture, str(seed)))
            begun = time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                out, passed = Path(folder) / "gate.json", True
                try:
                    base_models.miniature_model(cell, out=out, stamp=dict)
                    gate_results = json.loads(out.read_text())["gate"]
                except base_models.GateError as error:
                    print(error)
                    passed, gate_results = False, {"": {}}
            seconds = round(time.process_time() - begun, 1)
            for benchmark, result in sorted(gate_results.items()):
                row = {"seed": seed, "architecture": architecture, "benchmark": benchmark, "passed": passed}
                row |= {name: round(value, 4) for name, value in result.items()}
                rows.append({**row, "cpu_seconds": seconds})
    with files.replacing(arguments.csv) as part:
        pd.DataFrame(rows).to_csv(part, index=False)
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
