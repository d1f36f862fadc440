"""The check of the loss before training: it finds changes of the logits behind the head, and changes nothing."""

import random
from types import MethodType

import numpy as np
import pytest
import torch
from helpers import families
from transformers import LlamaConfig, LlamaForCausalLM

from polycal.losses import smoothed_head
from polycal.training import loss_check

SHAPE = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}


def llama(**changes):
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SHAPE, **HEADS, **changes)).eval()


def micro_batch(rows=3, width=20, vocabulary=61):
    ids = np.random.default_rng(0).integers(3, vocabulary, (rows, width))
    mask = np.ones_like(ids)
    mask[1:, width - 5 :] = 0
    labels = np.where(mask > 0, ids, -100)
    labels[:, :6] = -100
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def change_logits(model, change):
    """Make the model's own forward pass change its logits after the head. Its configuration does not show this."""
    plain = model.forward

    def forward(self, *args, **kwargs):
        output = plain(*args, **kwargs)
        output.logits = change(output.logits)
        return output

    model.forward = MethodType(forward, model)
    return model


@pytest.mark.parametrize("name", ["llama", "gemma2", "gemma3", "gpt2", "gpt_neox", "olmo", "mamba", "opt"])
def test_families_whose_logits_are_those_of_the_head_pass(name):
    facts = loss_check.check(families.build(name), micro_batch(vocabulary=300)).facts()
    assert facts["loss_difference"] <= 1e-5
    assert facts["gradient_difference"] <= 1e-5
    assert facts["tolerance"] == loss_check.TOLERANCE


def test_a_family_that_scales_its_logits_is_refused():
    with pytest.raises(loss_check.LossCheckError, match=r"^granite \(GraniteForCausalLM\): "):
        loss_check.check(families.build("granite"), micro_batch(vocabulary=300))


@pytest.mark.parametrize(
    "change",
    [
        lambda z: z * 1.5,
        lambda z: z / 1.01,
        lambda z: 30 * torch.tanh(z / 30),
        lambda z: z + torch.arange(61),
    ],
    ids=["scale", "slight scale", "cap that small logits do not show", "bias"],
)
@pytest.mark.parametrize("size", [0.02, 0.5])
def test_a_change_behind_the_head_is_found_without_a_name(change, size):
    model = change_logits(llama(initializer_range=size), change)
    with pytest.raises(loss_check.LossCheckError, match=r"not that of the model's own logits: .* at beta 0"):
        loss_check.check(model, micro_batch())


def test_a_model_that_fails_or_is_not_a_number_is_refused_in_one_sentence():
    def fail(_):
        raise ValueError("token types are required\nin training")

    with pytest.raises(loss_check.LossCheckError, match=r"forward pass fails .* \(ValueError: token types"):
        loss_check.check(change_logits(llama(), fail), micro_batch())
    with pytest.raises(loss_check.LossCheckError, match=r"its own loss on the first conversations is nan"):
        loss_check.check(change_logits(llama(), lambda z: z * torch.nan), micro_batch())


def test_the_check_leaves_no_trace():
    model = llama(attention_dropout=0.3)
    model.model.layers[0].train()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    buffers = [(name, id(tensor), tensor.clone()) for name, tensor in model.named_buffers()]
    modes = [module.training for module in model.modules()]
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    loss_check.check(model, micro_batch())
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())
    for (name, identity, values), (now, tensor) in zip(buffers, model.named_buffers(), strict=True):
        assert (name, identity) == (now, id(tensor))
        assert torch.equal(values, tensor)
    assert modes == [module.training for module in model.modules()]
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (random.getstate(), np.random.get_state()[1].tolist())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert type(model.lm_head) is torch.nn.Linear
    assert "forward" not in vars(model)
    assert not model.lm_head._forward_pre_hooks


def test_weights_after_training_are_the_same_to_the_bit_with_and_without_the_check():
    def trained(check):
        model = llama(attention_dropout=0.3)
        batch = micro_batch()
        if check:
            loss_check.check(model, batch)
        smoothed_head.install(model, 0.1)
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for _ in range(3):
            model(**{name: torch.from_numpy(array) for name, array in batch.items()}).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return model.state_dict()

    with_check, without = trained(True), trained(False)
    assert all(torch.equal(tensor, with_check[name]) for name, tensor in without.items())


@pytest.mark.parametrize("vocabulary", [61, 300_000])
def test_a_part_of_a_large_micro_batch_is_compared_and_has_targets(vocabulary):
    batch = micro_batch(rows=16, width=3000)
    batch["labels"][:, :2500] = -100
    part = loss_check.shorten(batch, vocabulary)
    rows, length = part["labels"].shape
    assert rows * length <= loss_check.MAX_TOKENS
    assert rows * length * vocabulary <= loss_check.MAX_LOGITS
    assert (part["labels"][:, 1:] != -100).any(dim=1).all()


def test_rows_without_a_target_that_can_be_predicted_are_compared_all_the_same():
    batch = {name: array[:1, :1] for name, array in micro_batch().items()}
    part = loss_check.shorten(batch, 61)
    assert (part["labels"][:, 1:] != -100).all()
    assert loss_check.check(llama(), batch).tokens == loss_check.MIN_ROW - 1
