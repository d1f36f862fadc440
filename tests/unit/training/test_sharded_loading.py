"""A model under ZeRO stage 3 is loaded as it was saved, and is bit for bit the one that is loaded in float32."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import families, models

from polycal.data import model_loading
from polycal.data.tokenized import TokenizedRows
from polycal.training import batches, loss_check, packing_check, sharded_loading
from polycal.training.loss_check import LossCheckError

OPTIONS = {"attention": "eager", "dropout": 0.0}
ROWS = TokenizedRows.collect(
    (np.random.default_rng(n).integers(3, 60, n).astype(np.int32), np.arange(n) % 3 > 0) for n in (5, 23)
)


@pytest.fixture(scope="module", params=["llama", "gemma2", "gemma3_text"])
def pair(request, tmp_path_factory):
    """A model that was saved in bfloat16, loaded as under stage 3 and loaded in float32."""
    folder = tmp_path_factory.mktemp(request.param)
    built = families.build(request.param, tie_word_embeddings=request.param != "llama").to(torch.bfloat16)
    built.save_pretrained(folder)
    models.tokenizer().save_pretrained(folder)
    tokenizer = model_loading.load_tokenizer(folder)
    narrow = sharded_loading.load(folder, tokenizer, **OPTIONS)
    whole = model_loading.load_model(folder, tokenizer, dtype="float32", **OPTIONS)
    return SimpleNamespace(folder=folder, tokenizer=tokenizer, narrow=narrow, whole=whole)


def test_the_model_is_that_which_is_loaded_in_float32(pair):
    narrow, whole = (dict(model.named_parameters()) for model in (pair.narrow, pair.whole))
    assert narrow.keys() == whole.keys()
    for name, parameter in whole.items():
        assert narrow[name].dtype == (torch.float32 if parameter.ndim == 1 else torch.bfloat16)
        assert torch.equal(narrow[name].float(), parameter), name
    buffers = dict(pair.whole.named_buffers())
    assert buffers.keys() == dict(pair.narrow.named_buffers()).keys()
    for name, buffer in pair.narrow.named_buffers():
        assert buffer.dtype == buffers[name].dtype, name
        assert torch.equal(buffer, buffers[name]), name
    assert pair.narrow.config.to_dict() == pair.whole.config.to_dict()
    assert pair.narrow.generation_config.to_dict() == pair.whole.generation_config.to_dict()


def test_the_checks_give_the_bits_of_a_model_in_float32(pair):
    types = [parameter.dtype for parameter in pair.narrow.parameters()]
    batch = batches.pad(ROWS, [0, 1], 2)
    found = [
        sharded_loading.in_float32(model, lambda model=model: check(model, batch))
        for model in (pair.narrow, pair.whole)
    ]
    assert found[0] == found[1]
    # also that nothing had to be converted as a whole
    assert [parameter.dtype for parameter in pair.narrow.parameters()] == types


def check(model, batch):
    return loss_check.check(model, batch), packing_check.check(model, ROWS, [0, 1])


def test_if_a_check_fails_all_weights_are_converted_and_it_is_repeated(pair):
    model = sharded_loading.load(pair.folder, pair.tokenizer, **OPTIONS)
    seen = []

    def check():
        seen.append({parameter.dtype for parameter in model.parameters()})
        if len(seen) == 1:
            raise LossCheckError("a layer read the weights of another layer")
        return "passed"

    assert sharded_loading.in_float32(model, check) == "passed"
    assert seen == [{torch.bfloat16, torch.float32}, {torch.float32}]


def test_weights_of_several_types_are_loaded_in_float32(pair, tmp_path):
    whole = model_loading.load_model(pair.folder, pair.tokenizer, dtype="bfloat16", **OPTIONS)
    next(whole.parameters()).data = next(whole.parameters()).data.float() + 1e-7
    whole.save_pretrained(tmp_path)
    models.tokenizer().save_pretrained(tmp_path)
    mixed = sharded_loading.load(tmp_path, pair.tokenizer, **OPTIONS)
    assert {parameter.dtype for parameter in mixed.parameters()} == {torch.float32}
    assert torch.equal(next(mixed.parameters()), next(whole.parameters()))
