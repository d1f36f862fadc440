"""``polycal status``, ``accept``, ``verify`` and ``prune`` on a study that was computed by the workflow."""

import json
import shutil
from collections import Counter

import pytest
import yaml
from helpers.hub import COMMIT
from helpers.world import OTHER

from polycal.artifacts import manifests
from polycal.training import resume_state

pytestmark = pytest.mark.apart

SCORING = ("src/polycal/scoring/multiple_choice.py", "\nimport", "\nEDITED = 1\nimport")
AGAIN = ("src/polycal/scoring/multiple_choice.py", "EDITED = 1", "EDITED = 2")


def said(world, *words):
    ran = world.book(*words)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_why_names_the_setting_the_module_and_the_input(world):
    world.configure({"recipes.brief.epochs": 1, "data.talks.revision": OTHER})
    world.edit(*SCORING)
    world.edit("envs/cpu.lock", "\ntrl==", "\ntrl==9")
    world.ask("yo", "What of {}?")
    text = said(world, "status")
    for words in (
        "settings.epochs: 2 → 1",
        f"source.revision: {COMMIT} → {OTHER}",
        "module scoring.multiple_choice changed",
        "locked version of trl: ",
        "input yo.jsonl has other content",
        "its input from fetch_instructions would be made anew",
    ):
        assert words in text, (words, text)
    only = said(world, "status", "resources/benchmarks")
    assert "fetch_benchmark: 1 job, 1 computed" in only
    assert "finetune" not in only
    refused = world.book("status", "scoer")
    assert refused.returncode == 1
    assert "did you mean score?" in refused.stderr


def test_an_accepted_change_runs_nothing_and_a_further_real_one_does(world):
    world.edit(*SCORING)
    assert world.planned()["score"] == 3
    refused = world.book("accept", "measure", "--because", "renamed", "--author", "someone")
    assert "nothing to accept" in refused.stderr
    assert "written to" in said(
        world, "accept", "score", "--because", "a constant only", "--author", "A. Author"
    )
    (entry,) = yaml.safe_load((world.code / "config/accepted.yaml").read_text())
    assert set(entry) == {"stage", "old", "new", "because", "author", "commit", "date"}
    # only the report, because it lists the acceptances on which its numbers rely
    page = world.work / "results/studies/tiny/report.html"
    assert "a constant only" not in page.read_text()
    assert world.planned() == {"report": 1}
    (one,) = world.status()
    assert f'acceptances: [] → ["score: {entry["old"]} → {entry["new"]}"]' in one["reasons"]
    assert world.run() == {"report": 1}
    assert "a constant only" in page.read_text()
    assert "a constant only" in page.with_name("provenance").joinpath("landing.yaml").read_text().replace(
        "\\", ""
    )
    output = said(world, "verify")
    assert "a constant only (6 results rely on it)" in output

    # a record that is made while the acceptance is valid names the code that made it
    world.configure({"grid.betas": [0, 0.1, 0.2]})
    assert world.run() == {"finetune": 1, "score": 2, "measure": 1, "report": 1}
    made = world.note("results/scores/**/beta=0.2/**/language=yo/scores.parquet")
    assert (made["code"], made["code_version"]) == (entry["old"], entry["new"])
    assert [one["because"] for one in made["acceptances"]] == ["a constant only"]
    assert "a constant only" in page.read_text()

    world.edit(*AGAIN)
    assert world.planned()["score"] == 4
    output = world.book("status").stdout
    assert f"unused acceptance: score: {entry['old']} → {entry['new']}" in output
    assert world.run() == {"score": 8, "report": 1}


def test_of_two_versions_the_results_of_both_are_handed_out(world):
    """One part of the grid is computed before an edit and one after it. Then the edit is accepted."""
    world.edit(*SCORING)
    assert world.run(first_record(world, "none")) == {"score": 2}
    said(world, "accept", "score", "--because", "a constant only", "--author", "A. Author")
    assert world.run()["score"] == 0
    assert world.planned() == {}
    assert "0 missing, 0 stale, 0 broken" in said(world, "verify")


def first_record(world, data):
    found = sorted(world.work.glob(f"results/scores/model=own/base_seed=none/data={data}/**/scores.parquet"))
    return str(found[0].relative_to(world.work))


@pytest.mark.parametrize("edited", [False, True])
def test_a_folder_without_metadata_is_registered(world, edited):
    shutil.rmtree(world.work / ".snakemake")
    for path in world.work.joinpath("resources").rglob("*.*"):
        path.touch()
    if edited:
        world.configure({"recipes.brief.epochs": 1})
    assert "Snakemake has no metadata of" in said(world, "status")
    ran = world.book("verify", "--register")
    assert ran.returncode == (1 if edited else 0), ran.stderr
    assert "jobs registered" in ran.stdout
    expected = {"finetune": 2, "score": 2, "measure": 1, "report": 1} if edited else {}
    assert world.planned() == expected
    assert Counter({one["job"]: one["stage"] for one in world.status()}.values()) == expected


def test_verify_lists_what_is_missing_stale_broken_and_foreign(world):
    foreign = world.work / "results/scores/model=other/scores.parquet"
    foreign.parent.mkdir()
    shutil.copy(world.work / first_record(world, "none"), foreign)
    gone, spoiled = sorted(
        world.work.glob("results/scores/model=own/base_seed=none/data=talks/**/scores.parquet")
    )[:2]
    gone.unlink()
    shutil.copy(world.work / first_record(world, "none"), spoiled.with_name("aside"))
    spoiled.with_name("aside").replace(spoiled)
    (weights,) = world.work.glob("results/checkpoints/**/beta=0/**/model.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    ran = world.book("verify", "--json")
    assert ran.returncode == 1
    verified = json.loads(ran.stdout)
    states = Counter(one["state"] for one in verified["results"].values())
    # the table and the report are stale, because they depend on the missing record
    assert states == {"current": 10, "missing": 1, "stale": 3, "broken": 1}
    assert verified["foreign"] == [str(foreign.relative_to(world.work))]
    other = verified["results"][str(spoiled.relative_to(world.work))]
    assert other["state"] == "stale"
    assert "data: none → talks" in other["reasons"]


def test_prune_removes_what_no_study_needs_and_nothing_else(world):
    study = ("--configfile", *world.configurations())
    assert "0 not needed" in world.polycal("prune", *study).stdout
    world.configure({"recipes.brief.epochs": 1})
    world.run()
    manifest = next(world.work.glob("results/checkpoints/**/manifest.json"))
    state = manifest.parent / manifests.read(manifest)["fingerprint"][:12] / "state/step-1"
    state.mkdir(parents=True)
    (state / "optimizer").write_text("large")
    listed = world.polycal("prune", *study)
    # manifest and weights of two checkpoints, two records of each, the measured tables, and the report
    assert "11 not needed" in listed.stdout, listed.stdout + listed.stderr
    assert "training state of a finished run" in listed.stdout
    before = {p for p in world.work.glob("results/**/*") if ".cache" not in p.parts and p.is_file()}
    assert "freed" in world.polycal("prune", *study, "--remove").stdout
    assert "0 not needed" in world.polycal("prune", *study).stdout
    after = {p for p in world.work.glob("results/**/*") if ".cache" not in p.parts and p.is_file()}
    assert all("/lr=" in str(path) for path in before - after)
    for path in world.work.glob("results/scores/**/scores.parquet"):
        path.unlink()
    assert world.run() == {}


def test_prune_removes_unfinished_training_of_another_fingerprint_and_no_other(world):
    study = ("--configfile", *world.configurations())
    manifest = next(world.work.glob("results/checkpoints/**/manifest.json"))
    planned, other = manifests.read(manifest)["fingerprint"], "f" * 64
    for fingerprint in (planned, other):
        place = resume_state.begin(manifest.parent / fingerprint[:12] / "state", 3)
        (place / "optimizer.pt").write_bytes(bytes(2_000_000))
        resume_state.commit(place, fingerprint, 3)
    manifest.unlink()
    foreign = manifest.parent / other[:12]
    listed = world.polycal("prune", *study).stdout
    assert f"{foreign.relative_to(world.work)}: weights or training state, 2.0 MB" in listed
    assert planned[:12] not in listed
    assert foreign.exists()
    assert world.polycal("prune", *study, "--remove").returncode == 0
    assert not foreign.exists()
    assert resume_state.complete_states(manifest.parent / planned[:12] / "state", planned)


def test_prune_keeps_what_another_study_needs(world):
    study = ("--configfile", *world.configurations())
    (world.work / "over.yaml").write_text("grid: {betas: [0]}\n")
    less = (*study, "over.yaml")
    assert "0 not needed" not in world.polycal("prune", *less).stdout
    assert "0 not needed" in world.polycal("prune", *less, *study).stdout
    # without a study, each result at its own path is needed
    assert "0 not needed" in world.polycal("prune").stdout
