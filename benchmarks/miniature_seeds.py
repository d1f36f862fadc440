"""Whether the miniature's bases learn their task whatever the seed, and what that costs.

    python benchmarks/miniature_seeds.py [--seeds 0 1 2 3 4] [--csv benchmarks/miniature_seeds.csv]

Builds every architecture with every seed at the settings of ``config/mini.yaml`` and writes one row a base and
benchmark: what the gate measured, and the process time of the build in seconds (one thread).
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import pandas as pd
import yaml

from polycal.miniature import base_models, pretraining
from polycal.study import config, grid

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Build, gate and write the rows aside, then rename."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--csv", type=Path, default=ROOT / "benchmarks/miniature_seeds.csv")
    given = parser.parse_args()
    raw = [yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()) for name in ("languages", "mini")]
    rows = []
    for seed in given.seeds:
        merged = config.merge(config.merge(*raw), {"miniature": {"seed": seed}})
        study = config.resolve(merged)
        for architecture in sorted(pretraining.SPECIAL):
            cell = json.loads(grid.miniature_model_cell(study, architecture))
            begun = time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                made = Path(folder) / "model"
                passed = True
                try:
                    base_models.build_model(cell, made, {})
                    reached = json.loads((made / "gate.json").read_text())["gate"]
                except base_models.GateError as error:
                    print(error)
                    passed, reached = False, {"": {}}
            seconds = round(time.process_time() - begun, 1)
            for benchmark, found in sorted(reached.items()):
                one = {"seed": seed, "architecture": architecture, "benchmark": benchmark, "passed": passed}
                rows.append({**one, **{k: round(v, 4) for k, v in found.items()}, "cpu_seconds": seconds})
    aside = given.csv.with_name(f".{given.csv.name}.part")
    pd.DataFrame(rows).to_csv(aside, index=False)
    aside.replace(given.csv)
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
