"""Selection of the learning rate whose checkpoint is scored."""

import json

import pytest
from helpers.stamps import FixedStamp
from typer.testing import CliRunner

from polycal.artifacts import checkpoints, failures
from polycal.artifacts.failures import Failure
from polycal.cli import app
from polycal.store import manifest_schema
from polycal.training import lr_selection

RATES = ["5e-6", "1e-5", "0.0001"]


def given(folder, losses, rates=RATES):
    manifests = []
    for rate, loss in zip(rates, losses, strict=True):
        path = folder / f"lr={rate}" / "manifest.json"
        path.parent.mkdir()
        (path.parent / "config.json").write_text("{}")
        files = {"config.json": {"bytes": 2, "sha256": "0"}}
        said = {
            "cell": {"lr": rate},
            "heldout_nll": loss,
            "folder": ".",
            "content": f"c{rate}",
            "files": files,
        }
        path.write_text(json.dumps(said))
        manifests.append(path)
    return manifests


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ([1.2, 1.1, 1.3], "1e-5"),
        # the lower rate if losses are equal, for any order of the rates as text or in the list
        ([1.2, 1.1, 1.1], "1e-5"),
        ([1.1, 1.2, 1.1], "5e-6"),
    ],
)
def test_the_lowest_held_out_loss_is_scored(tmp_path, losses, best):
    manifests = given(tmp_path, losses)
    out = tmp_path / "selected.json"
    lr_selection.select_lr({"learning_rates": RATES}, manifests=manifests, out=out, stamp=FixedStamp())
    said = json.loads(out.read_text())
    assert (said["lr"], said["manifest"]) == (best, f"lr={best}/manifest.json")
    assert said["heldout_nll"] == dict(zip(RATES, losses, strict=True))
    assert f"at {best}, against" in said["why"]
    # scoring reads the chosen checkpoint
    assert checkpoints.read(out).content == f"c{best}"


@pytest.mark.parametrize(
    ("losses", "rates", "sentence"),
    [
        ([1.0, None, 1.0], RATES, r"lr=1e-5/manifest\.json: no held-out loss to choose by"),
        ([1.0, 1.0, float("nan")], RATES, r"lr=0\.0001/manifest\.json: the held-out loss is nan"),
        ([1.0, 1.0, 1.0], ["5e-6", "0.0001", "1e-5"], r"trained with learning rate 0\.0001, but 1e-5"),
    ],
)
def test_nothing_is_chosen_where_a_loss_is_missing(tmp_path, losses, rates, sentence):
    manifests = given(tmp_path, losses, rates)
    with pytest.raises(lr_selection.SelectionError, match=sentence):
        lr_selection.select_lr(
            {"learning_rates": RATES},
            manifests=manifests,
            out=tmp_path / "selected.json",
            stamp=FixedStamp(),
        )
    assert not (tmp_path / "selected.json").exists()


def fail(manifest):
    rate = json.loads(manifest.read_text())["cell"]["lr"]
    entries = {"stage": "finetune", "cell": {"lr": rate}, "fingerprint": f"f{rate}"}
    failures.write(manifest, entries, Failure("finetune", f"diverged at {rate}."))


def test_a_rate_whose_training_failed_is_left_out_and_named(tmp_path):
    manifests = given(tmp_path, [1.2, 1.1, 1.3])
    fail(manifests[1])
    out, cell = tmp_path / "selected.json", {"learning_rates": RATES}
    lr_selection.select_lr(cell, manifests=manifests, out=out, stamp=FixedStamp())
    said = json.loads(out.read_text())
    assert (said["lr"], said["manifest"]) == ("5e-6", "lr=5e-6/manifest.json")
    assert said["heldout_nll"] == {"5e-6": 1.2, "0.0001": 1.3}
    assert said["failed"] == {"1e-5": "diverged at 1e-5."}
    assert said["why"].endswith("at 5e-6, against 1.300000 at 0.0001, a failed training at 1e-5")
    assert "failed" in manifest_schema.Selected.model_fields
    checksums = lr_selection.input_checksums(cell, manifests=manifests)
    assert checksums == {"5e-6": "c5e-6 1.2", "1e-5": "f1e-5", "0.0001": "c0.0001 1.3"}


def test_nothing_is_chosen_where_every_training_failed(tmp_path):
    manifests = given(tmp_path, [1.2, 1.1, 1.3])
    for manifest in manifests:
        fail(manifest)
    with pytest.raises(
        lr_selection.NoRateError, match=r"at every learning rate: 5e-6: diverged at 5e-6\.; 1e-5"
    ):
        lr_selection.select_lr(
            {"learning_rates": RATES}, manifests=manifests, out=tmp_path / "o", stamp=FixedStamp()
        )
    assert not (tmp_path / "o").exists()


def test_an_input_is_identified_by_its_weights_and_its_loss(tmp_path):
    manifests = given(tmp_path, [1.2, 1.1, 1.3])
    checksums = lr_selection.input_checksums({"learning_rates": RATES}, manifests=manifests)
    assert checksums == {"5e-6": "c5e-6 1.2", "1e-5": "c1e-5 1.1", "0.0001": "c0.0001 1.3"}
    with pytest.raises(lr_selection.SelectionError, match="3 learning rates but 2 manifests"):
        lr_selection.input_checksums({"learning_rates": RATES}, manifests=manifests[:2])


def test_the_command_caches_its_choice_and_sees_another_loss(tmp_path):
    manifests = given(tmp_path, [1.2, 1.1, 1.3])
    out, cache = tmp_path / "selected.json", tmp_path / "results/.cache"
    cell = json.dumps({"stage": "select_lr", "learning_rates": RATES})
    words = ["select-lr", "--cell", cell, "--out", str(out), "--cache-dir", str(cache)]
    words += [word for path in manifests for word in ("--manifests", str(path))]
    assert CliRunner().invoke(app.app, words).exit_code == 0
    assert "nothing computed" in CliRunner().invoke(app.app, words).output
    said = json.loads(manifests[0].read_text())
    manifests[0].write_text(json.dumps({**said, "heldout_nll": 0.5}))
    assert CliRunner().invoke(app.app, words).exit_code == 0
    assert json.loads(out.read_text())["lr"] == "5e-6"
