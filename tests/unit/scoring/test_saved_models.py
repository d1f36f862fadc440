"""The records of all three scoring stages do not depend on how a model was saved.

A broken model has no record.
"""

import json
import shutil

import pytest
import torch
from helpers import models as tiny
from helpers import tokenizer_kinds as kinds
from helpers.multiple_choice import ROWS, cell
from helpers.stamps import FixedStamp
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, processors

from polycal.artifacts import records
from polycal.artifacts.checkpoints import CheckpointError
from polycal.data.model_loading import ModelError
from polycal.scoring import multiple_choice, next_token, prompt_embeddings

BOS, EOS = ("<s>", 1), ("</s>", 2)
STAGES = ("score", "embed", "score_next_token")


def run(stage, folder, tmp_path, word="river"):
    """The rows of the record that a stage writes to ``tmp_path/out``.

    ``word`` is in the questions and the conversation.
    """
    questions, conversations, out = tmp_path / "q.parquet", tmp_path / "c.parquet", tmp_path / "out"
    rows = [{**row, "question": f"{row['question']} {word}"} for row in ROWS]
    records.write(questions, rows, records.QUESTION)
    turns = [("user", f"Name a {word}."), ("assistant", "The Ucayali\n\n  flows there."), ("user", "a")]
    turns += [("assistant", ""), ("user", "Well?"), ("assistant", "A lake")]
    messages = [{"role": role, "content": text} for role, text in turns]
    conversation = {"messages": messages, "source": "s", "language": "en", "split": "heldout"}
    records.write(conversations, [conversation], records.CONVERSATION)
    settings = {**cell("texts", 1)["settings"], "pooling": "last", "questions": None}
    settings |= {"conversations": None, "max_length": 200, "chat_template": "tulu", "pmi": True}
    stage_cell = {"model": "m", "language": "en", "settings": settings}
    if stage == "score_next_token":
        next_token.score_next_token(
            stage_cell, model=folder, instructions=conversations, out=out, stamp=FixedStamp()
        )
        return records.read_tokens(out).to_pylist()
    if stage == "score":
        multiple_choice.score(
            [stage_cell], model=folder, questions=[questions], out=[out], stamps=[FixedStamp()]
        )
        return records.read_scores(out).to_pylist()
    prompt_embeddings.embed(
        [stage_cell], model=folder, questions=[questions], out=[out], stamps=[FixedStamp()]
    )
    return records.read_embeddings(out).to_pylist()


@pytest.fixture
def folder(folders, tmp_path):
    return shutil.copytree(folders["llama"], tmp_path / "model")


def save_tokenizer(folder, processor):
    """Save the tokenizer of the tiny models with another post-processor, and with truncation and padding."""
    tokenizer = tiny.tokenizer()
    tokenizer.backend_tokenizer.post_processor = processor
    kinds.saved(tokenizer.backend_tokenizer, folder)


@pytest.mark.parametrize("stage", STAGES)
def test_the_saved_options_of_a_tokenizer_change_no_record(stage, folder, tmp_path):
    expected = run(stage, folder, tmp_path)
    template = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[BOS, EOS])
    post_processors = [processors.Sequence([processors.ByteLevel(trim_offsets=True), template])]
    post_processors += [template, processors.RobertaProcessing(EOS, BOS)]
    for processor in post_processors:
        save_tokenizer(folder, processor)
        assert run(stage, folder, tmp_path) == expected


def test_the_record_counts_answers_without_text(folder, tmp_path):
    run("score_next_token", folder, tmp_path)
    assert records.metadata(tmp_path / "out")["skipped"] == {"empty answer": 1}


@pytest.mark.parametrize("stage", STAGES)
def test_a_token_without_an_embedding_is_refused_without_a_record(stage, folder, tmp_path):
    tokenizer = tiny.tokenizer()
    tokenizer.add_tokens([AddedToken("[PAD]", special=True)])
    tokenizer.save_pretrained(folder)
    assert run(stage, folder, tmp_path)
    (tmp_path / "out").unlink()
    with pytest.raises(ModelError, match=r"parquet: contains the token '\[PAD\]' with id 259"):
        run(stage, folder, tmp_path, word="[PAD]")
    assert not (tmp_path / "out").exists()


def missing_tensors(folder, weights):
    save_file({n: t for n, t in weights.items() if "layers.1.mlp" not in n}, folder / "model.safetensors")


def broken_values(folder, weights):
    weights["model.norm.weight"][3] = torch.nan
    save_file(weights, folder / "model.safetensors")


def truncated_file(folder, weights):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:9999])


def quantised(folder, weights):
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("damage", [missing_tensors, broken_values, truncated_file, quantised])
def test_broken_weights_leave_no_record(stage, damage, folder, tmp_path):
    damage(folder, {name: tensor.clone() for name, tensor in load_file(folder / "model.safetensors").items()})
    with pytest.raises((ModelError, CheckpointError)):
        run(stage, folder, tmp_path)
    assert not (tmp_path / "out").exists()
