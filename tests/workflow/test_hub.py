"""The workflow from a hub on this machine to the table: fetch, tune, score and measure.

The hub serves repositories for every format of instructions and for both benchmarks. They have the names and columns
of the real ones.
"""

import json
import os
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from helpers import models, workflow
from helpers.hub import COMMIT, Hub, files

from polycal.artifacts import checkpoints, records

pytestmark = pytest.mark.apart

ROOT = Path(__file__).parents[2]
SHAPES = ROOT / "tests/fixtures/hub"
NAMES = {
    "tatsu-lab/alpaca": "alpaca",
    "arazd/tulu_stanford_alpaca": "tulu_stanford_alpaca",
    "allenai/tulu-3-sft-mixture": "tulu-3-sft-mixture",
    "teknium/OpenHermes-2.5": "OpenHermes-2.5",
    "li-lab/MMLU-ProX": "MMLU-ProX",
    "CohereLabs/Global-MMLU": "Global-MMLU",
}
AYA = "ai2-adapt-dev/tulu_v3.9_aya_100k"


def pinned(repository, **more):
    return {"hub": repository, "revision": COMMIT, **more}


STUDY = {
    "study": "shapes",
    "models": {"tiny": pinned("someone/tiny", dtype="float32")},
    "data": {
        "alpaca": pinned("tatsu-lab/alpaca", format="alpaca", language="en", licence="CC-BY-NC-4.0"),
        "stanford": pinned("arazd/tulu_stanford_alpaca", format="messages", rows=5),
        "tulu3": pinned("allenai/tulu-3-sft-mixture", format="messages"),
        "aya": pinned("allenai/tulu-3-sft-mixture", format="messages", sources=[AYA]),
        "openhermes": pinned("teknium/OpenHermes-2.5", format="openhermes"),
    },
    "benchmarks": {
        "prox": pinned("li-lab/MMLU-ProX", format="mmlu-prox", languages=["en", "sw", "zh"]),
        "global": pinned("CohereLabs/Global-MMLU", format="global-mmlu", languages=["en", "fr", "yo"], limit=9),
    },
    "recipes": {
        "brief": {
            "learning_rates": ["1e-2"], "epochs": 1, "global_batch_size": 8, "micro_batch_size": 8, "warmup_ratio": 0,
            "max_length": 128, "precision": "float32",
        }
    },
    "protocols": {"letters-0shot": {"candidates": "letters"}},
    "grid": {
        "models": ["tiny"], "data": ["alpaca", "stanford", "tulu3", "aya", "openhermes"],
        "recipes": ["brief"], "betas": [0.1], "seeds": [42], "benchmarks": ["prox", "global"],
        "protocols": ["letters-0shot"], "extra": [{"data": ["openhermes"], "betas": [0]}],
    },
    "languages_per_job": 3,
    "measure": {"bootstrap_samples": 20},
}  # fmt: skip


@pytest.fixture
def hub(tmp_path):
    hub = Hub()
    hub.repositories = {name: files(SHAPES / folder) for name, folder in NAMES.items()}
    hub.repositories["someone/tiny"] = {
        **files(models.save("llama", tmp_path / "tiny")),
        # files that must not be downloaded or run
        "pytorch_model.bin": b"pickle",
        "modeling_tiny.py": b"raise SystemExit",
    }
    yield hub
    hub.server.shutdown()


def snakemake(folder, hub, config, *words):
    folder.mkdir(exist_ok=True)
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("HF_")},
        "HF_HOME": str(folder / "hf"),
        "HF_ENDPOINT": hub.address,
    }
    return workflow.snakemake(folder, *words, configuration=[folder / "study.yaml"], environment=environment)


def fetched(config):
    return [
        *(f"resources/models/{name}/base_seed=none/manifest.json" for name in config["models"]),
        *(f"resources/instructions/{name}.parquet" for name in config["data"]),
        *(
            f"resources/benchmarks/{name}/{language}.parquet"
            for name, one in config["benchmarks"].items()
            for language in one["languages"]
        ),
    ]


def test_from_the_hub_to_the_table(hub, tmp_path):
    folder = tmp_path / "study"
    ran = snakemake(folder, hub, STUDY, "--", *fetched(STUDY))
    assert ran.returncode == 0, ran.stderr

    manifest = json.loads((folder / "resources/models/tiny/base_seed=none/manifest.json").read_text())
    assert manifest["revision"] == COMMIT
    assert {len(file["sha256"]) for file in manifest["files"].values()} == {64}
    assert not {"pytorch_model.bin", "modeling_tiny.py"} & set(manifest["files"])
    asked = {path for _, path, _ in hub.asked}
    assert not [path for path in asked if path.endswith((".bin", ".py"))]

    sets = {
        name: records.metadata(folder / f"resources/instructions/{name}.parquet") for name in STUDY["data"]
    }
    assert all(len(file["sha256"]) == 64 for said in sets.values() for file in said["files"].values())
    assert {name: said["source"]["revision"] for name, said in sets.items()} == dict.fromkeys(sets, COMMIT)
    assert sets["alpaca"]["by_language"] == {"en": sets["alpaca"]["conversations"]}
    assert sets["stanford"]["conversations"] == 5
    # like the real data set, it is not only in English
    assert {"sw", "yo", "ig", "zh", "de", "en"} <= set(sets["tulu3"]["by_language"])
    assert sets["tulu3"]["identifier"].startswith("pycld2")
    assert sets["aya"]["by_source"] == {AYA: 3}
    assert sets["openhermes"]["skipped"] == {"no assistant turn": 1, "empty conversation": 1}
    dropped = records.metadata(folder / "resources/benchmarks/prox/zh.parquet")["dropped"]
    assert dropped["test"] == [{"question_id": "3299", "reason": "option_8 is empty"}]

    # no hub any more from here on
    hub.asked.clear()
    hub.server.shutdown()
    hub.server.server_close()
    ran = snakemake(folder, hub, STUDY)
    assert ran.returncode == 0, ran.stderr
    assert not hub.asked

    cells = pd.read_parquet(folder / "results/studies/shapes/cells.parquet")
    # a base model and six tuned checkpoints, each scored in three languages of two benchmarks
    assert len(cells) == 7 * 6
    assert set(cells[cells.benchmark == "prox"].n) == {23, 24}
    assert set(cells[cells.benchmark == "global"].n) == {9}
    parallel = json.loads((folder / "resources/benchmarks/prox/parallel.json").read_text())
    assert (parallel["languages"], parallel["shared"]) == (3, 23)
    contents = [
        checkpoints.read(path).content
        for path in (folder / "results/checkpoints").rglob("lr=*/manifest.json")
    ]
    assert len(set(contents)) == 6
    table = pd.read_csv(folder / "results/studies/shapes/tables/table1.csv", keep_default_na=False)
    assert len(table) == 2 * 7
    changed = table[table.ece_change != ""]
    assert set(zip(changed.benchmark, changed.data, changed.beta, strict=True)) == {
        (benchmark, "openhermes", "0.1") for benchmark in ("prox", "global")
    }

    # the report says which data sets contain languages that are scored
    page = (folder / "results/studies/shapes/report.html").read_text()
    assert re.search(
        r"<td>aya</td><td>3</td><td>1</td>\n<td>3</td><td>(sw 1|yo 1), (sw 1|yo 1)</td><td>0</td>", page
    )

    assert f"<td>tatsu-lab/alpaca</td>\n<td><code>{COMMIT}</code></td><td>CC-BY-NC-4.0</td>" in page

    again = snakemake(folder, hub, STUDY)
    assert "Nothing to be done" in again.stderr


def test_what_the_hub_refuses_is_in_the_output_and_leaves_nothing(hub, tmp_path):
    hub.gated.add("someone/tiny")
    folder = tmp_path / "study"
    ran = snakemake(
        folder, hub, STUDY, "--show-failed-logs", "--", "resources/models/tiny/base_seed=none/manifest.json"
    )
    assert ran.returncode != 0
    assert (
        "polycal: someone/tiny: access is restricted; accept the licence at https://huggingface.co/someone/tiny,"
        " then give your token with `hf auth login` or the variable HF_TOKEN.\n"
    ) in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (folder / "resources/models/tiny/base_seed=none/manifest.json").exists()
