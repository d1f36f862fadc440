"""The code version of a stage covers all modules that the stage imports when it runs."""

import json
import subprocess
import sys

import pytest

from polycal.artifacts import records
from polycal.store import source_code
from polycal.store.stages import STAGES

MINIATURE = {
    "model": "llama", "base_seed": "0",
    "settings": {
        "seed": 0, "languages": ["en", "yo"], "questions": 8, "rows": 8, "steps": 1, "batch_size": 2,
        "learning_rate": "1e-3",
    },
}  # fmt: skip


def unseen(stage, imported, bare):
    """Modules that a stage imported, but that neither its code version nor the bare command covers.

    A stage whose input paths follow from its cell also imports modules that list these paths. They need no version,
    because the checksums of the inputs name each file.
    """
    declared = STAGES[stage]
    listing = {one.paths_of_cell.partition(":")[0] for one in declared.inputs if one.paths_of_cell}
    other = {declared.checksums.partition(":")[0], declared.whole.partition(":")[0]} - {""}
    covered = source_code.import_closure({*declared.modules, *listing, *other})
    packages = {name for name in imported if (source_code.PACKAGE / name.replace(".", "/")).is_dir()}
    # importing a module also imports the re-exports of its package, which it does not use
    packages |= source_code.import_closure(
        module for name in packages for _, _, module in source_code.imports(name)
    )
    return imported - bare - covered - packages - source_code.UNHASHED


@pytest.fixture(scope="module")
def bare():
    """The modules that the command imports before it knows which stage it runs."""
    words = "import json, sys, polycal.cli; print(json.dumps([m for m in sys.modules if m.startswith('polycal.')]))"
    ran = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    return {name.removeprefix("polycal.") for name in json.loads(ran.stdout)}


def test_the_bare_command_imports_no_stage(bare):
    assert not bare & {name for stage in STAGES.values() for name in stage.modules}


def test_every_stage_imports_only_what_its_version_covers(further, bare, tmp_path):
    world = further.copy(tmp_path / "copy")
    # these stages are run separately, because the tiny study has no miniature, no groups and only one learning rate
    manifest = next(world.work.glob("results/checkpoints/**/manifest.json"))
    rates = {"learning_rates": [json.loads(manifest.read_text())["cell"]["lr"]]}
    measured = records.metadata(next(world.work.glob("results/studies/*/cells.parquet")))["cell"]
    for command, cell, words in (
        ("select-lr", rates, ["--manifests", str(manifest), "--out", "selected.json"]),
        ("miniature-data", MINIATURE, ["--out", "small/data.json"]),
        ("miniature-model", MINIATURE, ["--out", "small/models/llama/gate.json"]),
        ("measure-groups", {**measured, "stage": "measure_groups", "by_group": True}, ["--out", "groups"]),
        ("world-benchmark", {}, ["--out", "world/world.json"]),
    ):
        ran = world.polycal(command, "--cell", json.dumps(cell), *words)
        assert ran.returncode == 0 or "Raise miniature.steps" in ran.stderr, ran.stderr
    seen = world.imported()
    assert set(seen) == set(STAGES)
    for stage, imported in seen.items():
        assert set(STAGES[stage].modules) <= imported, f"{stage}: the watch saw too little"
        assert not unseen(stage, imported, bare), stage


def test_an_import_that_the_static_walk_cannot_see_is_found(world, bare):
    hidden = "import importlib\nimportlib.import_module('polycal.miniature.' + 'pretraining')\nimport"
    world.edit("src/polycal/scoring/multiple_choice.py", "\nimport", f"\n{hidden}")
    world.forget()
    assert world.run()["score"] == 6
    assert unseen("score", world.imported()["score"], bare) == {"miniature.pretraining"}


def test_every_file_of_the_package_that_is_no_module_belongs_to_a_stage():
    named = {
        path
        for stage in STAGES.values()
        for pattern in stage.data_files
        for path in source_code.PACKAGE.glob(pattern)
    }
    there = {
        p for p in source_code.PACKAGE.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc", ".typed")
    }
    assert there == named
