"""Conversations of a packed row do not see each other, and models that cannot keep them apart are refused."""

import numpy as np
import pytest
import torch
from helpers import families

from polycal.data.tokenized import TokenizedRows
from polycal.losses import smoothed_head
from polycal.training import batches, packed_attention, packing_check
from polycal.training.packing_check import PackingError

LENGTHS = (5, 23, 1, 40, 11)
ROWS = TokenizedRows.collect(
    (np.random.default_rng(n).integers(3, 60, n).astype(np.int32), np.arange(n) % 3 > 0) for n in LENGTHS
)


def packed(numbers):
    return {name: torch.from_numpy(array) for name, array in batches.pack(ROWS, numbers, 0).items()}


ATTENTIONS = [
    (name, attention)
    for name in ("llama", "gemma2", "gemma3_text", "gpt2")
    for attention in ("sdpa", "eager")
    if (name, attention) != ("gemma2", "sdpa")  # sdpa has no soft-cap
]


@pytest.fixture(params=ATTENTIONS, ids="-".join)
def model(request):
    name, attention = request.param
    built = families.build(name)
    built.set_attn_implementation(attention)
    return built


@pytest.mark.parametrize("by_parts", [True, False])
def test_a_neighbour_in_the_row_changes_nothing(model, by_parts):
    """Also with the block mask of transformers alone."""
    states = []
    for noise in (0, 1):
        inputs = packed([0, 1, 2, 3, 4])
        del inputs["labels"]
        ids = inputs["input_ids"]
        # all but the second row, on both sides of it
        ids[:, :5], ids[:, 28:] = (ids[:, :5] + noise) % 60, (ids[:, 28:] + 7 * noise) % 60
        with torch.no_grad(), packed_attention.within(inputs if by_parts else {}):
            states.append(model.base_model(**inputs, use_cache=False).last_hidden_state[0])
    own = slice(5, 28)
    assert torch.equal(states[0][own], states[1][own])
    assert not torch.allclose(states[0][28:], states[1][28:], rtol=1e-2)


def test_loss_and_gradient_of_a_packed_row_are_those_of_its_rows(model):
    model.double()
    smoothed_head.install(model, 0.1)
    gradients = []
    for parts in ([[3, 0, 4, 1]], [[0], [1], [3], [4]]):
        model.zero_grad()
        for numbers in parts:
            inputs = packed(numbers)
            with packed_attention.within(inputs):
                model(**inputs, num_items_in_batch=50).loss.backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    together, apart = gradients
    assert together.keys() == apart.keys()
    largest = max(float(gradient.norm()) for gradient in apart.values())
    # the norms of Gemma compute in float32 whatever the type of the model
    tolerance = 1e-6 if "gemma" in model.config.model_type else 1e-9
    for name, gradient in apart.items():
        assert float((together[name] - gradient).norm()) <= tolerance * largest, name


def test_the_attention_of_transformers_is_restored_after_an_error():
    found = packed_attention.ALL_ATTENTION_FUNCTIONS.get_interface

    def fail():
        with packed_attention.within(packed([0, 1])):
            assert found != packed_attention.ALL_ATTENTION_FUNCTIONS.get_interface
            raise KeyError("on purpose")

    with pytest.raises(KeyError, match="on purpose"):
        fail()
    assert found == packed_attention.ALL_ATTENTION_FUNCTIONS.get_interface


def test_models_that_keep_conversations_apart_pass_the_check(model):
    before = {name: p.clone() for name, p in model.named_parameters()}
    assert packing_check.check(model, ROWS, [3, 0, 1]) <= 1e-6
    assert packing_check.check(model, ROWS, [3]) <= 1e-6
    assert not model.training
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())


@pytest.mark.parametrize("name", ["mamba", "rwkv", "bloom", "recurrent_gemma", "falcon_h1"])
def test_models_that_mix_conversations_are_refused(name):
    model = families.build(name)
    with pytest.raises(PackingError, match=r"give the recipe micro_batch_size instead of tokens_per_micro_"):
        packing_check.check(model, ROWS, [3, 0])
