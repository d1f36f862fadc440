"""The stage around a training on several ranks: it leaves a manifest or a state, and never the facts of a killed run."""

import json
import signal
from pathlib import Path

import pytest
from helpers import training

from polycal import errors
from polycal.training import divergence, finetune, launcher, micro_batches

CELL = {"seed": "0", "lr": "1", "beta": "0", "settings": training.SETTINGS}
USAGE = {"gpus": 0, "cpu_seconds": 3.5, "peak_memory_bytes": 7}


class Stamp:
    """A stamp that records the usage with which it is called."""

    fingerprint = "0123456789abcdef" * 4

    def __call__(self, **usage: float):
        return {"fingerprint": self.fingerprint, "cost": usage}


class Ranks:
    """A replacement for ``launcher.over_nodes``.

    Rank 0 saves a state and, with ``facts``, writes facts. All ranks end with ``code``.
    """

    def __init__(self, code: int = 0, facts: bool = True) -> None:
        self.code, self.facts, self.calls = code, facts, []

    def __call__(self, command, ranks, nodes, folder, threads):
        arguments = json.loads(command[-1])
        self.calls.append((arguments, ranks, nodes, folder, threads))
        state = Path(arguments["folder"], "state/step-1")
        state.mkdir(parents=True, exist_ok=True)
        if self.facts:
            facts = {"cell": arguments["cell"], "folder": "x/weights", "usage": USAGE}
            Path(arguments["facts"]).write_text(json.dumps(facts))
        return self.code


def run(monkeypatch, folder, started, **how):
    monkeypatch.setattr(launcher, "over_nodes", started)
    options = {"ranks": 2, "nodes": 1, "threads": 5, "zero_stage": 2, **how}
    finetune.finetune(
        CELL,
        model=folder / "model",
        instructions=folder / "rows.parquet",
        out=folder / "out/manifest.json",
        stamp=Stamp(),
        **options,
    )


def test_the_facts_of_rank_0_become_the_manifest_with_the_usage_of_all_ranks(monkeypatch, tmp_path):
    ranks = Ranks()
    run(monkeypatch, tmp_path, ranks, nodes=2)
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest == {
        "fingerprint": Stamp.fingerprint,
        "cost": USAGE,
        "cell": CELL,
        "folder": "x/weights",
    }
    [(arguments, *launched)] = ranks.calls
    assert launched == [2, 2, tmp_path / "out", 5]
    assert (arguments["fingerprint"], arguments["threads"]) == (Stamp.fingerprint, 2)
    assert arguments["folder"] == str(tmp_path / "out/0123456789ab")
    # neither facts nor training state remain
    assert list((tmp_path / "out/0123456789ab").iterdir()) == []


@pytest.mark.parametrize("code", [75, 1, 128 + signal.SIGKILL])
def test_ranks_that_did_not_finish_leave_their_state_and_no_result(monkeypatch, tmp_path, code):
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, tmp_path, Ranks(code))
    assert ended.value.code == code
    assert not (tmp_path / "out/manifest.json").exists()
    assert [path.name for path in (tmp_path / "out/0123456789ab").iterdir()] == ["state"]


@pytest.mark.parametrize(
    ("diverged", "final", "kind"),
    [
        (True, True, divergence.DivergenceError),
        (False, True, finetune.RankCellError),
        (False, False, finetune.RankError),
    ],
)
def test_the_sentence_of_rank_0_is_that_of_the_stage(monkeypatch, tmp_path, diverged, final, kind):
    class Failed(Ranks):
        def __call__(self, command, *words):
            super().__call__(command, *words)
            facts = {"error": "x: training diverged in step 2", "diverged": diverged, "final": final}
            Path(json.loads(command[-1])["facts"]).write_text(json.dumps(facts))
            return 1

    with pytest.raises(kind, match=r"^x: training diverged in step 2$") as raised:
        run(monkeypatch, tmp_path, Failed())
    assert errors.is_final(raised.value) == final
    assert not (tmp_path / "out/manifest.json").exists()
    assert [path.name for path in (tmp_path / "out/0123456789ab").iterdir()] == ["state"]


def test_facts_of_a_killed_attempt_are_never_a_result(monkeypatch, tmp_path):
    folder = tmp_path / "out/0123456789ab"

    class Killed(BaseException):
        """The process is killed here. The test undoes what is done after this error but not after a kill."""

    class KilledBeforeTheManifest(Ranks):
        def __call__(self, *words):
            super().__call__(*words)
            [facts] = folder.glob("facts-*.json")
            facts.rename(folder / "saved")
            raise Killed

    with pytest.raises(Killed):
        run(monkeypatch, tmp_path, KilledBeforeTheManifest())
    (folder / "saved").rename(folder / "facts-of-the-killed.json")
    assert (folder / "state").is_dir()
    with pytest.raises(finetune.RankError, match="missing although all ranks ended without an error"):
        run(monkeypatch, tmp_path, Ranks(facts=False))
    assert not (tmp_path / "out/manifest.json").exists()
    assert not list(folder.glob("facts-*"))


def test_a_batch_that_does_not_divide_by_all_ranks_is_an_error_before_any_work(monkeypatch, tmp_path):
    ranks = Ranks()
    with pytest.raises(micro_batches.BatchError, match="on 6 rank"):
        run(monkeypatch, tmp_path, ranks, ranks=2, nodes=3)
    assert ranks.calls == []
    assert not (tmp_path / "out").exists()
