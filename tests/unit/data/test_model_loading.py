"""A model is loaded exactly as it was saved, or refused with a message of one sentence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import models as tiny
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken
from transformers import AutoConfig, AutoModelForCausalLM

from polycal.artifacts.checkpoints import CheckpointError
from polycal.data import model_loading
from polycal.data.model_loading import ModelError

Weights = dict[str, torch.Tensor]
MLP = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny model of each architecture."""
    base = tmp_path_factory.mktemp("models")
    return {name: tiny.save(name, base / name) for name in tiny.ARCHITECTURES}


@pytest.fixture
def folder(folders: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a tiny llama."""
    return Path(shutil.copytree(folders["llama"], tmp_path / "llama"))


def load(folder: Path, dtype: str = "float32", dropout: float | None = None) -> Any:
    tokenizer = model_loading.load_tokenizer(folder)
    return model_loading.load_model(folder, tokenizer, dtype=dtype, attention="eager", dropout=dropout)


def change_weights(folder: Path, change: Callable[[Weights], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file({n: t.contiguous() for n, t in weights.items()}, folder / "model.safetensors", {"format": "pt"})


def change_config(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def refused(folder: Path, message: str, **options: Any) -> None:
    with pytest.raises((ModelError, CheckpointError), match=message) as error:
        load(folder, **options)
    assert "\n" not in str(error.value)


def test_the_weights_are_those_of_the_files(folders: dict[str, Path]) -> None:
    for folder in folders.values():
        saved, loaded = load_file(folder / "model.safetensors"), load(folder).state_dict()
        assert all(torch.equal(loaded[name], tensor) for name, tensor in saved.items())


def test_missing_tensors_are_refused(folder: Path) -> None:
    change_weights(folder, lambda weights: [weights.pop(n) for n in list(weights) if "layers.1.mlp" in n])
    refused(folder, r"are missing from the weights \(3: model\.layers\.1\.mlp\.down_proj\.weight, .*\)")


def test_tensors_of_another_shape_are_refused(folder: Path) -> None:
    change_weights(folder, lambda weights: weights.update({MLP: torch.zeros(40, 32)}))
    refused(folder, r"have another shape .*\(1: .*up_proj\.weight \(40, 32\) for \(48, 32\)\)")


def test_tensors_that_the_model_does_not_have_are_refused(folder: Path) -> None:
    change_weights(folder, lambda weights: weights.update({f"score.{n}": torch.zeros(2) for n in range(5)}))
    refused(folder, r"are not part of the model .* \(5: score\.0, score\.1, score\.2, …\)")


def test_tensors_that_transformers_ties_or_ignores_are_accepted(folder: Path) -> None:
    change_config(folder, tie_word_embeddings=True)
    change_weights(folder, lambda weights: weights.pop("lm_head.weight"))
    ignored = {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": torch.ones(4) for layer in range(2)}
    change_weights(folder, lambda weights: weights.update(ignored))
    model = load(folder)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    change_config(folder, tie_word_embeddings=False)
    refused(folder, r"are missing from the weights \(1: lm_head\.weight\)")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(folder: Path, value: float) -> None:
    def set_value(weights: Weights) -> None:
        weights[MLP][3, 5] = value

    change_weights(folder, set_value)
    for dtype in ("float32", "bfloat16"):
        refused(folder, rf"up_proj\.weight contains values that are not finite in {dtype}", dtype=dtype)


def test_weights_beyond_the_range_of_the_loaded_type_are_refused(folder: Path) -> None:
    def set_value(weights: Weights) -> None:
        weights[MLP][3, 5] = 1e6

    change_weights(folder, set_value)
    assert load(folder).get_parameter(MLP)[3, 5] == 1e6
    refused(folder, "not finite in float16", dtype="float16")


def test_a_vocabulary_without_embeddings_is_refused(folder: Path) -> None:
    def shorten(weights: Weights) -> None:
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            weights[name] = weights[name][:200].clone()

    change_weights(folder, shorten)
    change_config(folder, vocab_size=200)
    refused(folder, "59 tokens of the tokenizer have ids up to 258, but the model has 200 embeddings")


def test_an_added_token_without_an_embedding_is_refused_if_a_text_contains_it(folder: Path) -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.add_tokens([AddedToken("[PAD]", special=True)])
    tokenizer.save_pretrained(folder)
    tokenizer, model = model_loading.load_tokenizer(folder), load(folder)
    model_loading.check_texts(model, tokenizer, {"questions.csv": ["Which lake?", "PAD"], "b.csv": []})
    with pytest.raises(
        ModelError, match=r"questions\.csv: contains the token '\[PAD\]' with id 259, but .* 259"
    ):
        model_loading.check_texts(model, tokenizer, {"a.csv": ["A lake?"], "questions.csv": ["Which [PAD]?"]})


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_incomplete_files_are_refused_before_anything_is_loaded(folder: Path, name: str) -> None:
    path = folder / name
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(CheckpointError, match="only the pointer of Git LFS"):
        model_loading.load_tokenizer(folder)


def test_a_model_that_transformers_cannot_load_is_refused_in_one_sentence(folder: Path) -> None:
    change_config(folder, model_type="unknown-type")
    refused(folder, "cannot be loaded|cannot load the model: .*unknown-type")
    (folder / "tokenizer.json").write_text("{}")
    refused(folder, "the tokenizer cannot be loaded: ")


def dropouts(model: Any) -> set[float]:
    """The dropout of each attention layer of a model, which is an attribute or a module of its own."""
    modules = dict(model.named_modules())
    attributes = {
        m.attention_dropout
        for m in modules.values()
        if isinstance(getattr(m, "attention_dropout", None), float)
    }
    return attributes | {
        m.p for name, m in modules.items() if name.endswith(("attn_dropout", "attention_dropout"))
    }


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
def test_the_dropout_of_attention_is_set_in_every_kind_of_configuration(tmp_path: Path, family: str) -> None:
    shape = {
        "vocab_size": 259,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 64,
    }
    image = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    parts = {"text_config": shape, "vision_config": {**image, "image_size": 28, "patch_size": 14}}
    config = AutoConfig.for_model(family, **(parts if family == "gemma3" else shape))
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    for dropout in (0.0, 0.25):
        model = load(tmp_path, dropout=dropout)
        text = model.model.language_model if family == "gemma3" else model
        assert dropouts(text) == {dropout}


def test_a_model_without_attention_dropout_accepts_only_zero(tmp_path: Path) -> None:
    config = AutoConfig.for_model("mamba", vocab_size=259, hidden_size=32, num_hidden_layers=1, state_size=4)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    load(tmp_path, dropout=0.0)
    refused(tmp_path, "mamba has no dropout of attention; set dropout to 0", dropout=0.1)
