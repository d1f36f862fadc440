"""Embeddings and next tokens of tiny models against plain forward passes, and what is measured of them."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from helpers import models

from polycal.analysis import bootstrap, next_token_metrics
from polycal.artifacts import records
from polycal.metrics import calibration
from polycal.scoring import multiple_choice, next_token, prompt_embeddings

CELL = {
    "model": "m", "data": "none", "recipe": "none", "beta": "none", "seed": "none", "heldout": "h",
    "settings": {
        "conversations": None, "max_length": 200, "chat_template": "tulu", "dtype": "float32", "attention": "eager",
    },
}  # fmt: skip


@pytest.fixture(scope="module", params=["llama", "gemma2"])
def folder(request, tmp_path_factory):
    return models.save(request.param, tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_embeddings_are_those_of_a_prompt_alone(folder, pooling):
    model, tokenizer = multiple_choice.load(folder, "float32", "eager", "cpu")
    rows = tokenizer(["short", "a longer prompt than that", "中文"])["input_ids"]
    found = prompt_embeddings.vectors_of(model, rows, pooling, budget=64)
    for row, vector in zip(rows, found, strict=True):
        with torch.inference_mode():
            hidden = model(torch.tensor([row]), output_hidden_states=True).hidden_states[-1][0]
        expected = hidden[-1] if pooling == "last" else hidden.mean(0)
        assert vector == pytest.approx(expected.numpy(), abs=1e-4)


def conversations(path, split="heldout"):
    said = [("en", "hello", "a reply"), ("de", "wie geht es", "gut"), ("en", "one more", "yes, one")]
    rows = [
        {
            "messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}],
            "source": "s", "language": code, "split": split,
        }
        for code, q, a in said
    ]  # fmt: skip
    records.write(path, rows, records.CONVERSATION)
    return path


def test_predictions_are_those_of_the_whole_softmax(folder, tmp_path):
    out = tmp_path / "tokens.parquet"
    told = {"model": folder, "instructions": conversations(tmp_path / "c.parquet"), "out": out, "note": {}}
    next_token.score(CELL, **told)
    found = records.read_tokens(out).to_pandas()
    assert found.groupby("conversation").language.first().tolist() == ["en", "de", "en"]
    model, tokenizer = multiple_choice.load(folder, "float32", "eager", "cpu")
    text = "<s><|user|>\nhello\n<|assistant|>\na reply</s>"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        log_p = model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
    first = found[found.conversation == 0]
    assert len(first) == len("a reply") + 1
    for row in first.itertuples():
        at = log_p[row.position - 1]
        assert row.logprob == pytest.approx(float(at[ids[row.position]]), abs=1e-4)
        assert row.top_logprob == pytest.approx(float(at.max()), abs=1e-4)
        assert row.correct == (int(at.argmax()) == ids[row.position])
        assert row.entropy == pytest.approx(float(-(at.exp() * at).sum()), abs=1e-4)
        assert row.square == pytest.approx(float((at.exp() ** 2).sum()), abs=1e-4)


def test_a_set_that_holds_nothing_out_is_named(folder, tmp_path):
    path = conversations(tmp_path / "c.parquet", "train")
    with pytest.raises(next_token.NextTokenError, match="holds no conversation of split 'heldout'"):
        next_token.score(CELL, model=folder, instructions=path, out=tmp_path / "t.parquet", note={})
    assert not (tmp_path / "t.parquet").exists()


def record(path, beta, shift=0.0, count=40):
    rng = np.random.default_rng(0)
    conversation = np.repeat(np.arange(count), 5)
    top = np.clip(rng.uniform(0.2, 0.9, len(conversation)) + shift, 0, 1)
    correct = rng.random(len(top)) < top - shift
    table = pa.table(
        [
            conversation, np.where(conversation % 2, "en", "de"), np.tile(np.arange(5), count),
            np.where(correct, np.log(top), -3), np.log(top), correct, np.ones(len(top)), top**2,
        ],
        names=records.TOKEN_SCORE.names,
    )  # fmt: skip
    tuned = {"data": "d", "recipe": "r", "beta": beta, "seed": "1"} if beta != "none" else {}
    records.write(path, table, records.TOKEN_SCORE, {"cell": {**CELL, **tuned}, "vocabulary": 100})
    return path


SETTINGS = {"bins": 15, "binning": "width", "bootstrap_samples": 100, "seed": 0}


def test_cells_by_language_and_over_all_and_their_contrasts(tmp_path):
    files = [record(tmp_path / "a.parquet", "none"), record(tmp_path / "b.parquet", "0", 0.1)]
    next_token_metrics.measure(files, settings=SETTINGS, out=tmp_path / "out", note={})
    cells = pa.parquet.read_table(tmp_path / "out/next_token.parquet").to_pandas()
    assert cells.groupby("beta").language.apply(list).tolist() == [["all", "de", "en"]] * 2
    whole = records.read_tokens(files[0])
    expected = calibration.ece(
        np.exp(whole["top_logprob"].to_numpy().astype(float)), whole["correct"].to_numpy(zero_copy_only=False)
    )
    row = cells[(cells.language == "all") & (cells.beta == "none")].iloc[0]
    assert row.ece == pytest.approx(expected, abs=1e-12)
    assert row.ece_low <= row.ece <= row.ece_high
    found = pa.parquet.read_table(tmp_path / "out/next_token_contrasts.parquet").to_pandas()
    gap = found[(found.metric == "gap") & (found.language == "all")].iloc[0]
    assert gap.low > 0
    assert set(found.language) == {"all", "de", "en", "mean"}


def test_draws_are_the_metrics_of_the_repeated_conversations(tmp_path):
    table = records.read_tokens(record(tmp_path / "a.parquet", "none"))
    found, cluster = next_token_metrics.outcomes(table, 100), table["conversation"].to_numpy()
    weights = np.random.default_rng(1).integers(0, 3, (2, 40)).astype(float)
    drawn = next_token_metrics.draws(found, cluster, weights, bins=15, binning="width")
    for row, mine in zip(drawn, weights, strict=True):
        place = np.repeat(np.arange(len(cluster)), mine[cluster].astype(int))
        again = next_token_metrics.outcomes(table.take(place), 100)
        assert row == pytest.approx(bootstrap.estimates(again, bins=15, binning="width"), abs=1e-12)


def test_other_conversations_are_refused(tmp_path):
    files = [record(tmp_path / "a.parquet", "none"), record(tmp_path / "b.parquet", "0", count=30)]
    with pytest.raises(next_token_metrics.TokensError, match="hold different conversations"):
        next_token_metrics.measure(files, settings=SETTINGS, out=tmp_path / "out", note={})
    assert not (tmp_path / "out").exists()
