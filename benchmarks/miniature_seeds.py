"""Whether the miniature's bases learn their task with every seed, and how long that takes.

    python benchmarks/miniature_seeds.py [--seeds 0 1 2 3 4] [--csv benchmarks/miniature_seeds.csv]

Builds every architecture with every seed (of the world and of the base) at the settings of ``config/mini.yaml``.
Writes one row per base and benchmark: what the gate measured, and the process time of the build in seconds (one
thread).
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
    """Build all bases and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--csv", type=Path, default=ROOT / "benchmarks/miniature_seeds.csv")
    given = parser.parse_args()
    raw = [yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()) for name in ("languages", "mini")]
    rows = []
    for seed in given.seeds:
        merged = config_loading.merge(config_loading.merge(*raw), {"miniature": {"seed": seed}})
        study = config_loading.resolve(merged)
        for architecture in sorted(pretraining.SPECIAL_TOKENS):
            cell = json.loads(identities.miniature_model(study, architecture, str(seed)))
            begun = time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                out, passed = Path(folder) / "gate.json", True
                try:
                    base_models.miniature_model(cell, out=out, stamp=dict)
                    reached = json.loads(out.read_text())["gate"]
                except base_models.GateError as error:
                    print(error)
                    passed, reached = False, {"": {}}
            seconds = round(time.process_time() - begun, 1)
            for benchmark, result in sorted(reached.items()):
                row = {"seed": seed, "architecture": architecture, "benchmark": benchmark, "passed": passed}
                row |= {name: round(value, 4) for name, value in result.items()}
                rows.append({**row, "cpu_seconds": seconds})
    with files.replacing(given.csv) as part:
        pd.DataFrame(rows).to_csv(part, index=False)
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
