"""Next-token scores of tiny models, against the full softmax of a plain forward pass."""

import pytest
import torch
from helpers import models as tiny
from helpers.stamps import FixedStamp

from polycal.artifacts import records
from polycal.scoring import models, next_token

CELL = {
    "model": "m", "data": "none", "recipe": "none", "beta": "none", "seed": "none", "heldout": "h",
    "settings": {
        "conversations": None, "max_length": 200, "chat_template": "tulu", "dtype": "float32", "attention": "eager",
    },
}  # fmt: skip


@pytest.fixture(scope="module", params=["llama", "gemma2"])
def folder(request, tmp_path_factory):
    return tiny.save(request.param, tmp_path_factory.mktemp("model"))


def write_conversations(path, split="heldout", middle="gut"):
    turns = [("en", "hello", "a reply"), ("de", "wie geht es", middle), ("en", "one more", "yes, one")]
    rows = [
        {
            "messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}],
            "source": "s", "language": code, "split": split,
        }
        for code, q, a in turns
    ]  # fmt: skip
    records.write(path, rows, records.CONVERSATION)
    return path


def score(folder, instructions, out, **settings):
    cell = {**CELL, "settings": {**CELL["settings"], **settings}}
    next_token.score_next_token(cell, model=folder, instructions=instructions, out=out, stamp=FixedStamp())
    return records.read_tokens(out).to_pandas()


def test_predictions_are_those_of_the_full_softmax(folder, tmp_path):
    scores = score(folder, write_conversations(tmp_path / "c.parquet"), tmp_path / "tokens.parquet")
    assert scores.groupby("conversation").language.first().tolist() == ["en", "de", "en"]
    model, tokenizer = models.load(folder, "float32", "eager", "cpu")
    text = "<s><|user|>\nhello\n<|assistant|>\na reply</s>"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        log_p = model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
    first = scores[scores.conversation == 0]
    assert len(first) == len("a reply") + 1
    for row in first.itertuples():
        predicted = log_p[row.position - 1]
        assert row.logprob == pytest.approx(float(predicted[ids[row.position]]), abs=1e-4)
        assert row.top_logprob == pytest.approx(float(predicted.max()), abs=1e-4)
        assert row.correct == (int(predicted.argmax()) == ids[row.position])
        assert row.entropy == pytest.approx(float(-(predicted.exp() * predicted).sum()), abs=1e-4)
        assert row.sum_squared_prob == pytest.approx(float((predicted.exp() ** 2).sum()), abs=1e-4)


def test_a_skipped_conversation_does_not_change_the_numbers_of_the_others(folder, tmp_path):
    instructions = write_conversations(tmp_path / "c.parquet", middle="  ")
    scores = score(folder, instructions, tmp_path / "t.parquet")
    assert scores.conversation.unique().tolist() == [0, 2]
    facts = records.metadata(tmp_path / "t.parquet")
    assert (facts["conversations"], facts["skipped"]) == (2, {"no assistant turn": 1})
    with pytest.raises(next_token.NextTokenError, match="no held-out conversation has a target"):
        score(folder, instructions, tmp_path / "u.parquet", max_length=5)


def test_a_data_set_without_heldout_conversations_is_refused(folder, tmp_path):
    path = write_conversations(tmp_path / "c.parquet", "train")
    with pytest.raises(next_token.NextTokenError, match="contains no conversation of split 'heldout'"):
        score(folder, path, tmp_path / "t.parquet")
    assert not (tmp_path / "t.parquet").exists()
