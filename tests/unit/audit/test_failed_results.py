"""Failed results in the audit: they are listed with their reason, and not as current, missing or broken."""

from pathlib import Path

import pandas as pd
import pytest
from helpers.stamps import FixedStamp
from helpers.studies import BASE

from polycal.artifacts import failures, files, records, tables
from polycal.artifacts.failures import Failure
from polycal.audit import expected_results, holes, lineage, prune, staleness, verify
from polycal.audit.artifact_index import ArtifactIndex
from polycal.audit.current_inputs import Manifests
from polycal.store import acceptances, cache, provenance
from polycal.study.config_loading import resolve
from polycal.vocabulary import CELL_KEYS

REASON = Failure("finetune", "lr=5e-06: training diverged in step 3 of 60.")
FAILED_HERE = ("finetune", "score")


def checked_inputs(result):
    """Input → checksum of its content, or the fingerprint of a failed input, as a failed result records them."""
    recorded = Manifests()
    return {role: failures.content(recorded.weights(path)) for role, path in result.inputs.items()}


def fail(result, **changes):
    """Write the failed result that a job of the workflow would write."""
    code = acceptances.accepted_version(result.stage)[0]
    inputs = checked_inputs(result)
    cell = {**result.cell, **changes}
    record = provenance.run_record(result.stage, cell, cache.fingerprint(cell, code, inputs), inputs)
    failures.write(Path(result.out), provenance.RunStamp(record)(), REASON)


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """The expected checkpoints and records of a study whose trainings failed. Its sources exist."""
    monkeypatch.chdir(tmp_path)
    expected = expected_results.expected_results(resolve(BASE))
    for result in expected:
        stamp = FixedStamp(stage=result.stage, cell=dict(result.cell), fingerprint="f" * 64)()
        if result.stage == "fetch_model":
            files.write_json(Path(result.out), stamp | {"folder": ".", "content": "a" * 64, "files": {}})
        elif result.stage == "fetch_instructions":
            records.write(Path(result.out), [], records.CONVERSATION, stamp)
        elif result.stage == "fetch_benchmark":
            records.write(Path(result.out), [], records.QUESTION, stamp)
    tuned = [one for one in expected if one.stage == "finetune"]
    scored = [one for one in expected if one.stage == "score" and one.cell["data"] != "none"]
    for result in [*tuned, *scored]:
        fail(result)
    return [*tuned, *scored]


def statuses(planned, **how):
    return staleness.statuses(planned, Manifests(), **how)


@pytest.mark.parametrize("scheduled", [False, True])
def test_a_failed_result_is_not_made_again_and_is_listed_once_with_its_reason(planned, scheduled):
    found = statuses(planned, scheduled=scheduled)
    assert {status.state for status in found} == {"failed"}
    assert {status.failure for status in found} == {REASON}
    text = staleness.as_text(found)
    assert text.startswith(
        "nothing would run: every other result is current\nfailed: 8 results, not tried again"
    )
    assert text.count(REASON.reason) == 1
    assert all(status.result.out in text for status in found)
    assert staleness.as_json(found) == []


def test_a_failed_result_is_stale_where_its_cell_code_or_input_changed(planned, monkeypatch):
    training, record = planned[0], planned[2]
    fail(training, beta="9")
    found = {status.result.out: status for status in statuses(planned)}
    assert found[training.out].state == "stale"
    assert any("beta: 9 → " in reason for reason in found[training.out].reasons)
    # records of this checkpoint are stale too; the other checkpoint and its records are not
    states = [(status.result.inputs.get("model") == training.out, status.state) for status in found.values()]
    assert states.count((True, "stale")) == 3
    assert states.count((False, "failed")) == 4

    fail(training)
    assert {status.state for status in statuses(planned)} == {"failed"}
    # the same checkpoint fails in another way
    manifest = files.canonical_json({**Manifests()[training.out], "fingerprint": "0" * 64})
    Path(training.out).write_text(manifest)
    [status] = [one for one in statuses(planned) if one.result is record]
    assert status.state == "stale"
    assert status.reasons == [f"input model ({training.out}) has other content"]


def test_verify_counts_failed_results_and_misses_no_content_of_them(planned):
    found = verify.verify(planned)
    assert {status.state for status in found.statuses} == {"failed"}
    assert not found.complete
    text = verify.as_text(found)
    assert "8 results expected: 0 current, 8 failed, 0 missing, 0 stale, 0 broken" in text
    assert f"failed: {planned[0].out}\n  finetune: {REASON.reason}\n" in text


def test_verify_finds_a_failed_result_that_was_edited(planned):
    path = Path(planned[0].out)
    path.write_text(path.read_text().replace('"lr": "', '"lr": "1'))
    states = {status.result.out: status.state for status in verify.verify(planned[:1]).statuses}
    assert states == {planned[0].out: "broken"}


def test_provenance_names_the_reason_and_follows_a_failed_result_back(planned):
    index = ArtifactIndex(Path(planned[2].out))
    nodes = lineage.trace(index, index.owner(Path(planned[2].out)))
    # only these stages, because the invented sources have no complete manifest
    ours = [node for node in nodes if node.artifact.stage in FAILED_HERE]
    assert [node.artifact.path for node in ours] == [planned[2].out, planned[2].inputs["model"]]
    assert [node.problems for node in ours] == [[], []]
    assert lineage.as_text(nodes).count(f"FAILED in finetune: {REASON.reason}") == 2


def test_prune_removes_the_training_state_of_a_failed_run_and_no_other(planned):
    path = Path(planned[0].out)
    state = path.parent / Manifests()[planned[0].out]["fingerprint"][:12] / "state"
    state.mkdir(parents=True)
    (state / "optimizer").write_text("large")
    found = prune.find_unneeded([planned])
    assert [(one.path, one.what) for one in found] == [(state.parent, "training state of a failed run")]
    path.unlink()
    assert prune.find_unneeded([planned]) == []


def test_holes_are_named_by_reason_and_counted_beyond_twenty(planned):
    found = holes.failed([*(result.out for result in planned), "results/none.parquet"])
    assert set(found) == {result.out for result in planned}
    text = holes.failed_in_words(found)
    assert text.startswith("8 results have failed and would fail again as they are; ")
    assert text.count(REASON.reason) == 1
    assert all(f"    {result.out}" in text.splitlines() for result in planned)
    many = {f"a/{number}": REASON for number in range(19)} | {
        f"b/{n}": Failure("score", "no.") for n in range(9)
    }
    lines = holes.lines(many)
    assert lines[-3:] == ["  score: no.", "    b/0", "    and 8 more"]
    assert len(lines) == 1 + 19 + 3
    assert holes.failed_in_words({"a": REASON}).startswith(
        "1 result has failed and would fail again as it is;"
    )


def test_cells_that_measure_refused_are_holes_too(tmp_path):
    cell = dict.fromkeys(CELL_KEYS, "x") | {"language": "yo"}
    reasons = [
        ("measure", "scores.parquet: row 3: gold is outside the options."),
        ("finetune", REASON.reason),
    ]
    rows = [{**cell, "stage": stage, "reason": reason} for stage, reason in reasons]
    tables.write(pd.DataFrame(rows), tmp_path / "holes.parquet", {"stage": "measure"})
    none = pd.DataFrame(columns=[*CELL_KEYS, "stage", "reason"])
    tables.write(none, tmp_path / "next_token_holes.parquet", {"stage": "measure_next_token"})
    names = ("holes", "next_token_holes", "embedding_holes")
    found = holes.refused(str(tmp_path / f"{name}.parquet") for name in names)
    [(name, failure)] = found.items()
    assert failure == Failure(*reasons[0])
    assert name.startswith(f"{tmp_path}/holes.parquet (model=x, ")
    assert "language=yo" in name


def test_what_is_missing_is_named_with_what_can_be_done():
    text = holes.missing_in_words([f"{number}.parquet" for number in range(23)], "s-partial/report.html")
    first, *named = text.splitlines()
    assert first.startswith(
        "23 results are missing; start again to try once more, or give the target 'partial'"
    )
    assert "(s-partial/report.html)" in first
    assert named[0] == "    0.parquet"
    assert named[-1] == "    and 3 more"
    assert len(named) == 21
    assert holes.missing_in_words(["a"], "p").splitlines()[1:] == ["    a"]
